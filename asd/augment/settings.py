"""The sections of augmentations in the YAML. TensorFlow is not needed to check them."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from asd.sections import NotNegative, Section
from common import Positive

Probability = Annotated[float, msgspec.Meta(ge=0, le=1)]  # of each clip
Decibels = Annotated[float, msgspec.Meta(ge=0, le=60)]
Partners = Literal["any", "reversed"]  # of each clip; reversed: the batch from its end


class Mixup(Section):
    """Two clips of the batch, added."""

    probability: Probability
    partners: Partners


class Cutmix(Section):
    """A stretch of one clip in another."""

    probability: Probability
    partners: Partners


class Emphasis(Section):
    """A band of frequencies louder or quieter, which makes a class of its own."""

    probability: Probability
    bands: Annotated[int, msgspec.Meta(ge=1, le=64)]  # of equal widths in mel, up to half the rate
    db: tuple[Decibels, Decibels]  # least and most in the band's middle

    def __post_init__(self) -> None:
        if not self.db[0] < self.db[1]:
            raise ValueError(f"db [{self.db[0]}, {self.db[1]}] must rise")

    @property
    def factor(self) -> int:
        """Classes that it makes of each: as it is, each band louder, each band quieter."""
        return 1 + 2 * self.bands


class SpecAugment(Section):
    """Stretches of time and bands of frequency set to 0."""

    probability: Probability  # of each of the two
    frames: NotNegative  # set to 0 at most
    bins: NotNegative
    n_fft: Annotated[int, msgspec.Meta(ge=4, le=2**20)]  # samples
    hop_length: Positive  # samples

    def __post_init__(self) -> None:
        if self.n_fft % 2 or self.hop_length > self.n_fft // 2:
            raise ValueError(f"n_fft {self.n_fft} and hop_length {self.hop_length}: n_fft must be "
                             "even and at least two hops, or waves are not restored")  # fmt: skip
