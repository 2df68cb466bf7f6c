"""The sections of losses in the YAML. TensorFlow is not needed to check them."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from asd.sections import Choice, Limit, Section
from common import Positive

Angle = Annotated[float, msgspec.Meta(ge=0, lt=3.141592653589793)]  # radians
Probability = Annotated[float, msgspec.Meta(ge=0, le=1)]
Centres = Literal["trained", "fixed"]  # fixed: they stay as they were drawn


class AdaCos(Section):
    """One centre a class."""

    scale: Literal["fixed", "dynamic"]  # of the cosines; dynamic: follows the training
    centres: Centres
    faithful: bool = False  # as published, mistakes and all


class ScAdaCos(Section):
    """Several centres a class."""

    sub_clusters: Positive  # centres of a class
    scale: Literal["fixed", "dynamic"]
    centres: Centres
    faithful: bool = False


class ArcFace(Section):
    """One centre a class, and a margin between the classes."""

    margin: Angle
    scale: Limit
    centres: Centres
    faithful: bool = False


class AdaProj(Section):
    """A linear subspace for each class."""

    dimensions: Positive  # vectors that span the subspace of a class
    scale: Literal["fixed", "dynamic"]
    centres: Centres
    faithful: bool = False


class FeatEx(Section):
    """A second head tells whether parts of an embedding belong together."""

    main: Choice  # the head of the embedding as it is
    exchanged: Choice  # the head of embeddings with parts of others
    part: Positive  # elements of a part of the embedding
    probability: Probability  # of an exchange in training
    weight: Limit  # of the second head's loss
    faithful: bool = False


class Subspace(Section):
    """Each part of the embedding has a head too."""

    main: Choice  # the head of the whole embedding
    parts: Choice  # the head of each part
    part: Positive  # elements of a part of the embedding
    weight: Limit  # of the parts' losses
    faithful: bool = False
