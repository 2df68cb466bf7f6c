"""Clips of a machine type from several stores of frames, and those of others that are outliers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from asd import files
from asd.clips import Clip
from asd.features import drawn, outliers
from asd.features.drawn import Part
from asd.store import Store


@dataclass(frozen=True)
class Company:
    """The own clips of a machine type, in the place of a store of them, and its outliers.

    Attributes
    ----------
    own : stores of the machine type
    others : stores of other machine types, as far as their clips are outliers
    outliers : numbers of clips, counted through `own` and then `others`, (n_outliers,) int64
    """

    own: tuple[Store, ...]
    others: tuple[Store, ...]
    outliers: np.ndarray

    @property
    def clips(self) -> list[Clip]:
        """Its own clips."""
        return [clip for store in self.own for clip in store.clips]

    @property
    def machine_type(self) -> str:
        """Of its own clips."""
        return self.clips[0].machine_type

    @property
    def sections(self) -> tuple[str, ...]:
        """The sections of its own clips, in order."""
        return tuple(section for _, section in sorted({clip.place for clip in self.clips}))

    @property
    def fingerprint(self) -> str:
        """16 hex digits that stand for the clips that are learnt from."""
        stores = [one.fingerprint for one in (*self.own, *self.others)]
        return files.fingerprint([*stores, len(self), self.outliers.tolist()])

    def __len__(self) -> int:
        return sum(map(len, self.own))

    def __getitem__(self, i: int) -> np.ndarray:
        for store in self.own:
            if i < len(store):
                return store[i]
            i -= len(store)
        raise IndexError(i)

    def __str__(self) -> str:
        text = f"{len(self)} clips of section {', '.join(self.sections)}"
        return f"{text}; {len(self.outliers)} outliers" if len(self.outliers) else text

    def normal_parts(self, sections: Sequence[str], target: bool) -> tuple[Part, ...]:
        """Its own clips, those of the target domain only where they are asked for.

        Parameters
        ----------
        sections : by whose order they are numbered
        """
        parts = []
        for store in self.own:
            some = [one.domain != "target" or target for one in store.clips]
            parts.append(Part(store, np.flatnonzero(some), drawn.numbers_of(store.clips, sections)))
        return tuple(one for one in parts if len(one.clips))

    def outlier_parts(self, sections: Sequence[str]) -> tuple[tuple[Part, ...], tuple[bool, ...]]:
        """The outliers, and of each part whether it is of the own machine type."""
        parts, own, first = [], [], 0
        for store in (*self.own, *self.others):
            numbers = self.outliers - first
            some = numbers[(numbers >= 0) & (numbers < len(store))]
            first += len(store)
            if len(some):
                parts.append(Part(store, some, drawn.numbers_of(store.clips, sections)))
                own.append(store.clips[0].machine_type == self.machine_type)
        return tuple(parts), tuple(own)


def of(machine_type: str, stores: Sequence[Store], which: outliers.Which) -> Company:
    """What the model of a machine type learns from, of all stores that are there.

    Raises
    ------
    UserError : see `outliers.chosen`.
    """
    own = tuple(one for one in stores if one.clips[0].machine_type == machine_type)
    others = [one for one in stores if one.clips[0].machine_type != machine_type]
    others = sorted(others, key=lambda one: one.clips[0].machine_type)
    if not outliers.of_machines(which):
        others = []
    clips = [clip for store in (*own, *others) for clip in store.clips]
    sections = {clip.section for store in own for clip in store.clips}
    return Company(own, tuple(others), outliers.chosen(clips, machine_type, sections, which))
