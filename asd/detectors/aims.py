"""The sections of the YAML that say what `kind: auxiliary` learns, and how."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from asd.features.outliers import Which
from asd.sections import Choice, Limit, Name, NotNegative, Section

Decibels = Annotated[float, msgspec.Meta(ge=0, le=60)]


class Optimiser(Section):
    """Adam with weight decay in its gradients, see `asd.optimisers`."""

    learning_rate: Limit
    weight_decay: Annotated[float, msgspec.Meta(ge=0, lt=1)]
    constant_epochs: NotNegative  # behind the first, at this rate
    falling_epochs: NotNegative  # to the lowest rate
    lowest_rate: Limit

    def __post_init__(self) -> None:
        if self.lowest_rate > self.learning_rate:
            raise ValueError(f"lowest_rate {self.lowest_rate} is above learning_rate "
                             f"{self.learning_rate}")  # fmt: skip


class Outliers(Section):
    """Which proxy outliers there are, see `asd.features.outliers`, and the weight of their loss."""

    of: Which
    weight: Limit


class Emphasis(Section):
    """Own clips as outliers: each again with a band louder or quieter, see `augment.emphasis`."""

    bands: Annotated[int, msgspec.Meta(ge=1, le=64)]  # of equal widths in mel
    db: tuple[Decibels, Decibels]  # least and most in the band's middle

    def __post_init__(self) -> None:
        if not self.db[0] < self.db[1]:
            raise ValueError(f"db [{self.db[0]}, {self.db[1]}] must rise")


class Alignment(Section):
    """CCSA between source and target clips, see `asd.losses.sections.alignment`."""

    margin: Annotated[float, msgspec.Meta(ge=0)]
    others: Annotated[float, msgspec.Meta(gt=0, lt=1)]  # share of the other losses; 1 would be all


class Settings(Section):
    """The network, what it learns and how; how clips are cut and scored."""

    network: Choice
    seconds: Limit  # of a snippet; shorter clips are filled up with zeros
    hop_seconds: Limit  # between the snippets of a test clip
    unit_rms: bool  # clips are scaled to a root mean square of 1
    normalisation: Literal["batchnorm", "mean_std"]
    task: Literal["sections", "own_or_not"]  # which section; or of each, whether it is that one
    outliers: Outliers
    mixing: bool  # own clips, with others of their batch
    alignment: Alignment | None  # null: target clips are not learnt from
    optimiser: Optimiser
    initial: Name | None = None  # an experiment whose models the training starts from
    emphasis: Emphasis | None = None  # altered clips of its own, beside the outliers
    learn_from: Literal["own", "both"] = "own"  # both: development and evaluation data
    faithful: bool = False  # as published, mistakes and all

    def __post_init__(self) -> None:
        if self.mixing and self.alignment:
            raise ValueError("mixing and alignment: a clip that is mixed has no section of its "
                             "own to be aligned by; leave one of them out")  # fmt: skip
        if self.task == "own_or_not" and self.outliers.of == "none":
            raise ValueError("task: own_or_not needs outliers, which a section's own clips are "
                             "told from")  # fmt: skip
