"""Windows of log-mel frames of which some bands are louder or quieter: outliers made of own clips.

The same in decibels as `asd.augment.emphasis` does to waves: a gain that changes little within a
mel band adds its decibels to the band's level.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

FLANK = 0.5  # standard deviation of the bell of gains, in widths of bands


@dataclass(frozen=True)
class Altered:
    """How windows are altered.

    Attributes
    ----------
    bands : of equal numbers of mel bands; which one is altered is drawn
    db : least and most in that band's middle
    """

    bands: int
    db: tuple[float, float]

    def bells(self, width: int) -> np.ndarray:
        """The share of a band's gain that each mel band has, (bands, width) float32."""
        place = (np.arange(width) + 0.5) * (self.bands / width)
        middles = np.arange(self.bands)[:, None] + 0.5
        return np.exp(-0.5 * np.square((place - middles) / FLANK)).astype(np.float32)

    def gains(self, rng: np.random.Generator, n: int, width: int) -> np.ndarray:
        """What is added to the levels of n windows' mel bands, dB, (n, width) float32."""
        sign = 2 * rng.integers(2, size=n) - 1
        most = (sign * rng.uniform(*self.db, size=n)).astype(np.float32)
        return most[:, None] * self.bells(width)[rng.integers(self.bands, size=n)]
