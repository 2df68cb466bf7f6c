"""Waves of one length from clips of several stores, and their classes: what an embedding learns.

A clip that is shorter is repeated, a longer one cut; nothing but the batch at hand is in memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from asd import files
from asd.clips import Clip
from asd.features import waves
from asd.features.ahead import ahead
from asd.features.stores import Waves

PARTS = {
    "machine": lambda clip: clip.machine_type,
    "section": lambda clip: str(int(clip.section)) if clip.section.isdecimal() else clip.section,
    "attributes": lambda clip: clip.attributes,
    "domain": lambda clip: str(int(clip.domain == "target")),
}
JOINT = "---"  # between the parts of a class's name


class Classes(NamedTuple):
    """The classes of clips by some of what is known of them."""

    names: tuple[str, ...]  # sorted
    of_clips: np.ndarray  # (n_clips,) int64


def class_of(clip: Clip, parts: Sequence[str]) -> str:
    """`fan---0---vel_6---1`: the parts of a clip, see `PARTS`."""
    return JOINT.join(PARTS[part](clip) for part in parts)


def classes(clips: Sequence[Clip], parts: Sequence[str], others: Sequence[Clip] = ()) -> Classes:
    """The classes that there are among clips, which are those that train.

    Parameters
    ----------
    others : whose classes are there, too
    """
    own = [class_of(clip, parts) for clip in clips]
    names = np.unique(own + [class_of(clip, parts) for clip in others])
    return Classes(tuple(names.tolist()), np.searchsorted(names, own))


@dataclass(frozen=True)
class Segments(Waves):
    """Waves of `n_samples` of the clips of some stores of samples, see `rows.waves`.

    Attributes
    ----------
    others : test clips, whose names tell of classes where a training is faithful to the published
    """

    n_samples: int
    others: tuple[Clip, ...] = ()

    @property
    def identities(self) -> list[str]:
        """Of each clip, what stands for its bytes."""
        return [one for store in self.stores for one in store.identities]

    @property
    def fingerprint(self) -> str:
        """16 hex digits that stand for the clips and their length."""
        more = [sorted({class_of(clip, PARTS) for clip in self.others})] if self.others else []
        known = [self.n_samples, *(store.fingerprint for store in self.stores), *more]
        return files.fingerprint(known)

    def __str__(self) -> str:
        return f"{len(self)} clips of {len(self.stores)} machine types"

    def wave(self, i: int, rng: np.random.Generator | None = None) -> np.ndarray:
        """The wave of clip i, (n_samples,) float32, full scale 1.

        Parameters
        ----------
        rng : draws where a longer clip is cut; None: at its start
        """
        return waves.fixed_length(self[i], self.n_samples, rng=rng)

    def batches(
        self, order: np.ndarray, size: int, seed: Sequence[int]
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """The clips of an order, a batch at a time; the next is read meanwhile.

        Parameters
        ----------
        order : numbers of clips
        seed : of the cuts; with the number of the batch

        Yields
        ------
        numbers of clips, (n,) int64, and their waves, (n, n_samples) float32
        """

        def read(first: int) -> tuple[np.ndarray, np.ndarray]:
            some = order[first : first + size]
            rng = np.random.default_rng([*seed, first])
            found = np.empty((len(some), self.n_samples), np.float32)
            for row, i in enumerate(some):
                found[row] = self.wave(int(i), rng)
            return some, found

        yield from ahead(read, range(0, len(order), size))
