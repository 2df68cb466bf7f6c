"""Embeddings: a vector for each clip, of a front end that nobody trains here.

A kind is a class with a section `Settings` and the attributes of `Embedding`; `KINDS` lists them by
the name that `kind` has in the YAML.
"""

from __future__ import annotations

from asd.embeddings.embedding import Embedding
from asd.embeddings.mean_mel import MeanMel
from asd.embeddings.network import Network
from asd.embeddings.pretrained import Beats, Eat
from asd.sections import Choice
from common import Feature

KINDS = {"mean_mel": MeanMel, "file": Network, "beats": Beats, "eat": Eat}


def of(choice: Choice, feature: Feature) -> Embedding:
    """The embedding that a section of the YAML names.

    Raises
    ------
    UserError : see `Choice.section` and `Network`.
    """
    kind, settings = choice.section(KINDS)
    return kind(settings, feature)
