"""Bands brought to mean 0 and deviation 1, by what all training clips have."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

LEAST = 1e-4  # of the largest deviation: what changes less is not blown up to the same size


@dataclass(frozen=True)
class Standard:
    """The mean and deviation of each band, (width,) float32."""

    mean: np.ndarray
    std: np.ndarray

    def of(self, windows: np.ndarray) -> np.ndarray:
        """Windows of whole rows, (n, k * width) float32, brought to that mean and deviation."""
        rows = windows.reshape(-1, len(self.mean))
        return ((rows - self.mean) / self.std).reshape(windows.shape)


def as_they_are(width: int) -> Standard:
    """What leaves rows as they are."""
    return Standard(np.zeros(width, np.float32), np.ones(width, np.float32))


def of_clips(clips: Iterable[np.ndarray]) -> Standard:
    """Of the rows of all clips, see `statistics`."""
    found = statistics(clips)
    return Standard(found.mean.astype(np.float32), found.deviation.astype(np.float32))


class Statistics(NamedTuple):
    """Of each band: (width,) float64."""

    mean: np.ndarray
    deviation: np.ndarray


def statistics(clips: Iterable[np.ndarray]) -> Statistics:
    """Mean and deviation of each band over the rows of all clips, read one after the other.

    A band that never changes has a deviation of 1, any other at least 1e-4 of the largest. Chan,
    Golub and LeVeque 1979: no sum of squares, whose difference would be rounding only.

    Parameters
    ----------
    clips : (n_rows, width) each
    """
    n, mean, squares = 0, 0.0, 0.0
    lowest, highest = np.inf, -np.inf
    for rows in clips:
        more, own = len(rows), rows.mean(0, dtype=np.float64)
        step = own - mean
        squares = squares + np.square(rows - own).sum(0) + step**2 * (n * more / (n + more))
        mean = mean + step * (more / (n + more))
        lowest, highest = np.minimum(lowest, rows.min(0)), np.maximum(highest, rows.max(0))
        n += more
    deviation = np.where(lowest == highest, 1.0, np.sqrt(squares / n))
    return Statistics(mean, np.maximum(deviation, LEAST * deviation.max()))
