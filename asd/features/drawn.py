"""Windows drawn from clips by chance, anew in each epoch, and their conditions.

A clip gives as many windows as would cover it without overlapping; nothing but the batch at hand is
in memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from asd.clips import Clip
from asd.features.ahead import ahead
from asd.features.altered import Altered
from asd.features.standard import Standard
from asd.store import Store
from common import UserError


class Part(NamedTuple):
    """Some clips of a store, and what is known of them.

    Attributes
    ----------
    clips : their positions in the store, (n,) int64
    conditions : of all clips of the store, by number, (n_clips,) int64; -1: unknown
    """

    store: Store
    clips: np.ndarray
    conditions: np.ndarray


class Drawn(NamedTuple):
    """Windows that an epoch goes through, in its order; (n,) int64 each."""

    part: np.ndarray  # which of the parts
    number: np.ndarray  # of the window, counted through all clips of the part's store
    condition: np.ndarray

    def at(self, some: slice) -> Drawn:
        """A few of them."""
        return Drawn(*(one[some] for one in self))


class Parts:
    """Clips of several stores of one width, as windows of n rows.

    Parameters
    ----------
    parts : which clips; without one there is nothing to draw
    n : rows of a window
    span : rows that a window covers with the hop after it, by which a clip's windows are counted
    """

    def __init__(self, parts: tuple[Part, ...], n: int, span: int) -> None:
        self.parts, self.n, self._span = parts, n, span
        self._begins, self._counts = [], []
        for part in parts:
            counts = part.store.n_windows(n)
            self._begins.append(np.cumsum(counts) - counts)
            self._counts.append(counts)

    def __len__(self) -> int:
        """Windows of an epoch."""
        return sum(int(self._drawn_of(i).sum()) for i in range(len(self.parts)))

    def _drawn_of(self, i: int) -> np.ndarray:
        """How many windows are drawn of each clip of a part."""
        rows = self._counts[i][self.parts[i].clips] + self.n - 1
        return -(-rows // self._span)

    def draw(self, rng: np.random.Generator) -> Drawn:
        """The windows of an epoch in an order of its own."""
        found = [Drawn(*np.empty((3, 0), np.int64))]
        for i, part in enumerate(self.parts):
            clips = np.repeat(part.clips, self._drawn_of(i))
            number = self._begins[i][clips] + rng.integers(self._counts[i][clips])
            found.append(Drawn(np.full(len(clips), i), number, part.conditions[clips]))
        whole = [np.concatenate(arrays) for arrays in zip(*found, strict=True)]
        order = rng.permutation(len(whole[0]))
        return Drawn(*(one[order] for one in whole))

    def read(self, some: Drawn, standard: Standard) -> np.ndarray:
        """The windows, (n, size) float32, standardised."""
        size = self.n * self.parts[0].store.width if self.parts else 0
        windows = np.empty((len(some.part), size), np.float32)
        for i, part in enumerate(self.parts):
            own = np.flatnonzero(some.part == i)
            windows[own] = part.store.gather(some.number[own], self.n)
        return standard.of(windows) if len(windows) else windows


class Batch(NamedTuple):
    """Windows, (n, size) float32, the first of which are normal, and all conditions, (n,) int32."""

    windows: np.ndarray
    conditions: np.ndarray
    n_normal: int


@dataclass(frozen=True)
class NormalAndOutliers:
    """What a density learns from.

    Attributes
    ----------
    normal, others : the windows of normal clips, and of those that stand for anomalies
    own : of each part of the others, whether its clips are of the own machine type
    n_conditions : how many there are; 0: none
    altered : how normal windows become outliers, which stand behind the others
    """

    normal: Parts
    others: Parts
    own: tuple[bool, ...]
    n_conditions: int
    standard: Standard
    altered: Altered | None = None

    def __len__(self) -> int:
        """Normal windows of an epoch, those that fill no batch too."""
        counts = (len(one) for one in (self.normal, self.others) if one.parts)
        return min(counts)

    def batches(self, size: int, seed: int, epoch: int) -> Iterator[Batch]:
        """Those of an epoch, with as many outliers as normal windows; the next is read meanwhile.

        Where normal windows are altered, there are as many of these, too, under their conditions.
        The shorter list ends it, and a last batch that is not full is left out: the next epoch
        draws others.

        Raises
        ------
        UserError : there is no full batch.
        """
        rng = np.random.default_rng([seed, epoch])
        normal, others = self.normal.draw(rng), self.others.draw(rng)
        count = len(normal.part)
        if self.others.parts:
            count = min(count, len(others.part))
            own = np.array(self.own)[others.part]
            others = others._replace(condition=others_conditions(
                others.condition, own, self.n_conditions, rng))  # fmt: skip
        if count < size:
            raise UserError(f"an epoch has {count} windows, and fit.batch_size is {size}; take a "
                            "smaller one, or more clips")  # fmt: skip

        def read(first: int) -> Batch:
            parts = [(self.normal, normal.at(slice(first, first + size)))]
            if self.others.parts:
                parts.append((self.others, others.at(slice(first, first + size))))
            windows = [one.read(some, self.standard) for one, some in parts]
            conditions = [some.condition for _, some in parts]
            if self.altered:
                own_rng = np.random.default_rng([seed, epoch, 1 + first])
                windows.append(self._altered(windows[0], own_rng))
                conditions.append(conditions[0])
            return Batch(np.concatenate(windows), np.concatenate(conditions).astype(np.int32), size)

        yield from ahead(read, range(0, count - size + 1, size))

    def _altered(self, windows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        width = len(self.standard.std)
        gains = self.altered.gains(rng, len(windows), width) / self.standard.std
        return windows + np.tile(gains, windows.shape[1] // width)


def others_conditions(
    conditions: np.ndarray, own: np.ndarray, n: int, rng: np.random.Generator
) -> np.ndarray:
    """The conditions under which outliers are to be unlikely, (n_outliers,) int64.

    A clip of the own machine type is told to be of another of its sections, a clip of another
    machine type to be of any.

    Parameters
    ----------
    conditions : by number, (n_outliers,); of other machine types anything
    own : whether they are of the own machine type, (n_outliers,) bool
    n : how many conditions there are; 0: none
    """
    if not n:
        return np.zeros(len(conditions), np.int64)
    others = (conditions + rng.integers(1, max(n, 2), len(conditions))) % n
    return np.where(own, others, rng.integers(n, size=len(conditions)))


def numbers_of(clips: Sequence[Clip], sections: Sequence[str]) -> np.ndarray:
    """Of each clip the number of its section among some, (n_clips,) int64; -1: none of them."""
    known = {section: i for i, section in enumerate(sections)}
    return np.array([known.get(clip.section, -1) for clip in clips], np.int64)
