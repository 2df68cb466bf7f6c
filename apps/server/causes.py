"""Classifiers of causes that are served beside the models of their machine types."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from asd.causes.model import OK, Causes
from common import UserError, log_mel

UNSURE = ("the cause is told without this machine's own normal sound, so more is mistaken; name a "
          "machine_id that the classifier knows")  # fmt: skip


class Said(NamedTuple):
    """What a classifier says of a recording."""

    message: str
    classes: list[str]
    probabilities: list[float]
    warnings: list[str]


NOTHING = Said(OK, [], [], [])


def give(models: dict[str, Any], paths: Sequence[Path]) -> dict[str, Any]:
    """The `Model`s with their classifiers, known by the machines whose normal sound those hold.

    Raises
    ------
    UserError : see `Causes.load`; or one is of no machine type that is served, a second one, or
        of another sample rate.
    """
    found = dict(models)
    for path in paths:
        causes = Causes.load(path)
        types = {name.partition("/")[0] for name in causes.record.references}
        served = sorted(types & models.keys())
        if not served:
            raise UserError(f"{path}: of {', '.join(sorted(types))}, and served are "
                            f"{', '.join(models)}; name a model of its machine type")  # fmt: skip
        for name in served:
            if found[name].causes:
                raise UserError(f"{path}: a second classifier of causes for {name}; leave one out")
            rates = found[name].feature.sample_rate, causes.record.feature.sample_rate
            if rates[0] != rates[1]:
                raise UserError(f"{path}: hears {rates[1]} Hz, the model of {name} {rates[0]} Hz; "
                                "train it at that rate")  # fmt: skip
            found[name] = dataclasses.replace(found[name], causes=causes)
    return found


def ask(
    causes: Causes | None, samples: np.ndarray, machine_type: str, machine_id: str | None
) -> Said:
    """What a classifier says of samples, with the machine's own normal sound taken off if known."""
    if causes is None:
        return NOTHING
    machine = f"{machine_type}/id_{machine_id}" if machine_id else None
    known = machine in causes.record.references
    answer = causes.answer(log_mel(samples, causes.record.feature), machine if known else None)
    shares = answer.probabilities
    return Said(answer.message, list(shares), list(shares.values()), [] if known else [UNSURE])


def message(anomaly: bool, place: dict[str, list[float]], said: Said) -> str:
    """The line of a verdict.

    Parameters
    ----------
    place : `band_hz` and `seconds`, see `models.worst`
    """
    if not anomaly:
        return OK
    (low, high), (start, end) = place["band_hz"], place["seconds"]
    told = f"{said.message}. " if said.message != OK else ""
    return (f"{told}Sounds unlike normal, most of all between {low:,.0f} and {high:,.0f} Hz at "
            f"{start:.1f} to {end:.1f} s")  # fmt: skip
