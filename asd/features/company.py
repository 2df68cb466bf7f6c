"""Clips of a machine type from several stores, and those of others that are outliers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from asd import files
from asd.clips import Clip
from asd.features import drawn, outliers
from asd.features.drawn import Part
from asd.features.stores import Stores
from asd.store import Store


@dataclass(frozen=True)
class Company:
    """The own clips of a machine type, in the place of a store of them, and its outliers.

    Attributes
    ----------
    own : the clips of the machine type
    heard : these, and behind them those of other machine types as far as they are outliers
    outliers : which of the clips that are heard, (n_outliers,) int64
    """

    own: Stores
    heard: Stores
    outliers: np.ndarray

    @property
    def clips(self) -> list[Clip]:
        """Its own clips."""
        return self.own.clips

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
        return files.fingerprint([self.heard.fingerprint, len(self), self.outliers.tolist()])

    def __len__(self) -> int:
        return len(self.own)

    def __getitem__(self, i: int) -> np.ndarray:
        return self.own[i]

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
        for store in self.own.stores:
            some = [one.domain != "target" or target for one in store.clips]
            parts.append(Part(store, np.flatnonzero(some), drawn.numbers_of(store.clips, sections)))
        return tuple(one for one in parts if len(one.clips))

    def outlier_parts(self, sections: Sequence[str]) -> tuple[tuple[Part, ...], tuple[bool, ...]]:
        """The outliers, and of each part whether it is of the own machine type."""
        parts, own, first = [], [], 0
        for store in self.heard.stores:
            numbers = self.outliers - first
            some = numbers[(numbers >= 0) & (numbers < len(store))]
            first += len(store)
            if len(some):
                parts.append(Part(store, some, drawn.numbers_of(store.clips, sections)))
                own.append(store.clips[0].machine_type == self.machine_type)
        return tuple(parts), tuple(own)


def of(
    machine_type: str,
    stores: Sequence[Store],
    which: outliers.Which,
    joined: type[Stores] = Stores,
    kind: type[Company] = Company,
) -> Company:
    """What the model of a machine type learns from, of all stores that are there.

    Parameters
    ----------
    joined, kind : how clips are read, and what is made of them

    Raises
    ------
    UserError : see `outliers.chosen`.
    """
    own = [one for one in stores if one.clips[0].machine_type == machine_type]
    others = [one for one in stores if one.clips[0].machine_type != machine_type]
    others.sort(key=lambda one: one.clips[0].machine_type)
    # Clips that nothing is learnt from are no part of the fingerprint.
    there = joined(tuple(own))
    heard = joined((*own, *others)) if outliers.of_machines(which) else there
    sections = {clip.section for clip in there.clips}
    return kind(there, heard, outliers.chosen(heard.clips, machine_type, sections, which))
