"""What the tests of a classifier of causes gave."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from apps.explore.learner import Clips, Heldout, Unheard


class Figure(NamedTuple):
    """A balanced accuracy with its 95 % interval."""

    split: str
    value: float
    low: float
    high: float


class Outcome(NamedTuple):
    """What the tests gave."""

    clips: Clips
    found: Heldout
    said: np.ndarray  # (n,) str, with UNKNOWN
    figures: list[Figure]
    unheard: list[Unheard]
    known_called_unknown: float
