"""The normal reference of a machine that a stored classifier has not heard."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from apps.explore import recordings
from asd.causes import model, statistics
from common import UserError


def run(path: Path, folder: Path) -> None:
    """Add the mean of the normal recordings of each machine in a folder to MODEL.json.

    Raises
    ------
    UserError : no such classifier, no normal recording, or one that cannot be used.
    """
    record = model.Causes.load(path).record
    found = [one for one in recordings.find(folder) if one.label == recordings.NORMAL]
    if not found:
        raise UserError(
            f"{folder}: no recording that is called normal; put them in a folder normal"
        )
    rows = np.stack(recordings.each(found, record.feature, statistics.statistics, str(folder)))
    machines = np.array([one.machine for one in found])
    for machine in sorted(set(machines)):
        some = rows[machines == machine]
        written = model.with_reference(path, str(machine), some)
        print(f"{written}: the normal sound of {machine}, of {len(some)} recordings")
