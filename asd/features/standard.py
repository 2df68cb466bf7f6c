"""Bands brought to mean 0 and deviation 1, by what all training clips have."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np


class Clips(Protocol):
    """Rows of clips, (n_rows, width) each: a store, or several."""

    def __len__(self) -> int: ...

    def __getitem__(self, i: int) -> np.ndarray: ...


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


def of_rows(rows: np.ndarray) -> Standard:
    """Of some rows, (n, width); see `of_store`."""
    moments = _Moments(rows[0])
    moments.add(rows)
    return moments.standard()


def of_store(store: Clips) -> Standard:
    """Of the rows of all clips; the deviation divides by their number.

    A band that never changes has deviation 1, and none less than a share of the largest.
    """
    moments = _Moments(store[0][0])
    for i in range(len(store)):
        moments.add(store[i])
    return moments.standard()


class _Moments:
    """Sums over rows, about one of them: a band that never changes has a deviation of exactly 0."""

    def __init__(self, about: np.ndarray) -> None:
        self.about = about.astype(np.float64)
        self.n, self.total, self.squares = 0, np.zeros(len(about)), np.zeros(len(about))

    def add(self, rows: np.ndarray) -> None:
        away = rows - self.about
        self.n += len(rows)
        self.total += away.sum(axis=0)
        self.squares += np.square(away).sum(axis=0)

    def standard(self) -> Standard:
        mean = self.total / self.n
        std = np.sqrt(np.maximum(self.squares / self.n - mean * mean, 0))
        std[std == 0] = 1
        std = np.maximum(std, LEAST * std.max())
        return Standard((self.about + mean).astype(np.float32), std.astype(np.float32))
