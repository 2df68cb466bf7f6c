"""Scores of several detectors in one measure: by those of a section's training clips."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from common import UserError


@dataclass(frozen=True)
class Norms:
    """Mean and deviation of the training clips' scores of each member and section.

    Attributes
    ----------
    sections : their names
    mean, std : (n_members, n_sections) float64; deviations divide by the number of clips
    """

    sections: tuple[str, ...]
    mean: np.ndarray
    std: np.ndarray

    def z(self, scores: np.ndarray, sections: Sequence[str]) -> np.ndarray:
        """Scores, (n_members, n_clips), brought to mean 0 and deviation 1 by their sections.

        Raises
        ------
        KeyError : a section is not among these.
        """
        number = {name: i for i, name in enumerate(self.sections)}
        own = [number[section] for section in sections]
        return (scores - self.mean[:, own]) / self.std[:, own]


def norms_of(scores: np.ndarray, sections: Sequence[str]) -> Norms:
    """Of the scores of training clips, (n_members, n_clips), and their sections.

    Raises
    ------
    UserError : a member gives all clips of a section one score.
    """
    names, own = tuple(sorted(set(sections))), np.array(sections)
    # A member's clips at a time: the rounding of sums over one axis of two depends on their layout.
    parts = [[member[own == name] for name in names] for member in scores]
    mean = np.array([[part.mean() for part in of_member] for of_member in parts])
    std = np.array([[part.std() for part in of_member] for of_member in parts])
    if not (std > 0).all():
        member, section = np.argwhere(std <= 0)[0]
        raise UserError(f"member {member + 1}: one score for all training clips of section "
                        f"{names[section]}, which give it no measure; leave it out, or train it "
                        "on more clips")  # fmt: skip
    return Norms(names, mean, std)


def combined(z: np.ndarray, of_source: Sequence[int], of_target: Sequence[int],
             is_target: np.ndarray) -> np.ndarray:  # fmt: skip
    """The mean over members, (n_clips,): some for clips of the target domain, others for the rest.

    Parameters
    ----------
    z : (n_members, n_clips)
    of_source, of_target : which members
    is_target : (n_clips,) bool
    """
    source, target = (z[list(which)].mean(axis=0) for which in (of_source, of_target))
    return np.where(is_target, target, source)
