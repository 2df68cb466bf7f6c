"""What a detector asks of a back end, whatever its kind, and what several kinds need."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from common import UserError

SEED = 0  # of SMOTE and k-means as published, and of everything else that draws


class BackEnd(Protocol):
    """From embeddings to scores."""

    title: str  # what the scores are, with their unit

    def fit(self, embeddings: np.ndarray, domains: Sequence[str]) -> None:
        """Learn from the embeddings of normal training clips.

        Parameters
        ----------
        embeddings : (n_clips, width) float32
        domains : of each clip, "source", "target" or "" where there are none

        Raises
        ------
        UserError : there are too few clips for the settings.
        """

    def score(self, embeddings: np.ndarray) -> np.ndarray:
        """(n_clips,) float64, higher is more anomalous.

        Equal embeddings have equal scores, to the last bit, whatever stands beside them.
        """

    def arrays(self) -> dict[str, np.ndarray]:
        """All that was fitted, as plain arrays by name."""

    def load(self, arrays: dict[str, np.ndarray]) -> None:
        """Take up what `arrays` gave.

        Raises
        ------
        Exception : of any kind, where it is something else.
        """


def of_target(domains: Sequence[str]) -> np.ndarray:
    """Which clips are of the target domain, (n_clips,) bool; a clip without domain is not."""
    return np.array([domain == "target" for domain in domains], bool)


def check_enough(setting: str, asked: int, there: int, whose: str = "") -> None:
    """See that there are as many training clips as a setting asks for.

    Raises
    ------
    UserError : there are fewer.
    """
    if there < asked:
        raise UserError(f"detector.backend: {setting}, but there are only {there} training clips "
                        f"{whose}".rstrip() + "; choose a smaller one")  # fmt: skip


def taken(arrays: dict[str, np.ndarray], name: str, like: str) -> np.ndarray:
    """An array of a file, if it is of as many axes as `like` has letters, finite and no text.

    Raises
    ------
    KeyError, ValueError : it is missing, or is something else.
    """
    values = arrays[name]
    if values.ndim != len(like) or values.dtype.str not in ("<f8", "<i8"):
        raise ValueError(f"{name} of shape {values.shape}, {values.dtype}")
    if not np.isfinite(values).all():
        raise ValueError(f"{name} holds what is no number")
    return values


def part(arrays: dict[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    """The arrays whose names begin with a prefix, by what follows it."""
    return {name.removeprefix(prefix): values for name, values in arrays.items()
            if name.startswith(prefix)}  # fmt: skip
