"""Detectors with a chain for each section: what of theirs becomes TFLite and C, by name."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from asd import files
from asd.clips import Clip, Scores
from asd.detectors.detector import Detector
from asd.store import Store
from asd.tflite.chain import Dense

ALL = ""  # in the place of a section: one chain for all of them


def chains(detector: Detector) -> dict[str, list[Dense]]:
    """The chains of a detector by section; nothing of one that has none.

    Raises
    ------
    UserError : see `Detector.chain`.
    """
    if hasattr(detector, "chains"):
        return detector.chains()
    chain = detector.chain()
    return {ALL: chain} if chain else {}


def name_of(machine_type: str, section: str) -> str:
    """What the model of a machine type and section is called: `fan_section_00`."""
    return f"{machine_type}_section_{section}" if section else machine_type


def clips_of(clips: Sequence[Clip], section: str) -> list[int]:
    """The positions of the clips of a section among some."""
    return [i for i, clip in enumerate(clips) if section in (ALL, clip.section)]


@dataclasses.dataclass(frozen=True)
class Some:
    """Frames of some clips of a store, in the place of a store.

    Attributes
    ----------
    index : which, by position
    """

    store: Store
    index: Sequence[int]

    @property
    def clips(self) -> tuple[Clip, ...]:
        """These clips."""
        return tuple(self.store.clips[i] for i in self.index)

    @property
    def fingerprint(self) -> str:
        """16 hex digits that stand for these clips."""
        return files.fingerprint([self.store.fingerprint, list(self.index)])

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, i: int) -> np.ndarray:
        return self.store[self.index[i]]


def told_apart(scores: Scores, section: str) -> Scores:
    """The same as of a machine type that is called by the section, too: `fan 00`."""
    name = f"{scores.machine_type} {section}".rstrip()
    clips = tuple(dataclasses.replace(clip, machine_type=name) for clip in scores.clips)
    return Scores(clips, scores.values)
