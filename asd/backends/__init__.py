"""Back ends: from the embeddings of normal training clips to anomaly scores of others.

A back end is a class with a section `Settings` and the methods of `BackEnd`; `KINDS` lists them by
the name that `kind` has in the YAML.
"""

from __future__ import annotations

from asd.backends.backend import BackEnd
from asd.backends.fusion import Fusion
from asd.backends.knn import Knn
from asd.backends.single import SINGLE
from asd.sections import Choice

__all__ = ["KINDS", "BackEnd", "Knn", "of"]

KINDS = {**SINGLE, "fusion": Fusion}


def of(choice: Choice) -> BackEnd:
    """The back end that a section of the YAML names, not fitted.

    Raises
    ------
    UserError : see `Choice.section`.
    """
    kind, settings = choice.section(KINDS)
    return kind(settings)
