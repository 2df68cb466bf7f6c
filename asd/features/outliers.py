"""Proxy outliers: normal clips of other machines that stand for the anomalies nobody has heard.

Which of a list of training clips they are, by machine type and section, whatever learns from them.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Literal, get_args

import numpy as np

from asd.clips import Clip
from common import UserError

Which = Literal["none", "other_machines", "other_sections", "other_sections_and_machines"]


def of_machines(which: Which) -> bool:
    """Whether clips of other machine types are among them."""
    return which in ("other_machines", "other_sections_and_machines")


def of_sections(which: Which) -> bool:
    """Whether clips of the model's own machine type are among them."""
    return which in ("other_sections", "other_sections_and_machines")


def chosen(
    clips: Sequence[Clip], machine_type: str, sections: Collection[str], which: Which
) -> np.ndarray:
    """The outliers among clips, for a model of some sections of a machine type.

    Of its own machine type they are the clips of sections that it does not learn; where it learns
    all sections, and there are two or more, the clips of all of them: each is an outlier to the
    others. Clips of both domains are taken, but of the training split and normal ones only.

    Parameters
    ----------
    clips : of any machine types
    machine_type, sections : of the model; section names as clips have them
    which : "none", "other_machines", "other_sections" or both, "other_sections_and_machines"

    Returns
    -------
    (n_outliers,) int64, positions in `clips`, rising

    Raises
    ------
    UserError : a kind of outliers is asked for and not one is there.
    ValueError : no such `which`.
    """
    if which not in get_args(Which):
        raise ValueError(f"no outliers {which}; known: {', '.join(get_args(Which))}")
    normal = [clip.split == "train" and clip.label in (0, None) for clip in clips]
    there = {one.section for one in clips if one.machine_type == machine_type} | set(sections)
    left = there - set(sections) or there
    positions = [
        i
        for i, clip in enumerate(clips)
        if normal[i] and _is_outlier(clip, machine_type, left if len(there) > 1 else (), which)
    ]
    if which != "none" and not positions:
        what = which.replace("_", " ")
        raise UserError(f"{machine_type}: outliers of {what}, and there are none; its training "
                        f"clips are of section {', '.join(sorted(there))}; take other outliers, or "
                        "none")  # fmt: skip
    return np.array(positions, np.int64)


def _is_outlier(clip: Clip, machine_type: str, sections: Collection[str], which: Which) -> bool:
    if clip.machine_type != machine_type:
        return of_machines(which)
    return of_sections(which) and clip.section in sections
