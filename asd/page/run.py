"""A result folder, read for its report: facts, scores and tables."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from asd import files
from asd.evaluation import tables, verdicts
from asd.page import facts
from asd.page.facts import Facts, Machine
from asd.paths import facts_of, scores_of, table_of
from common import UserError

AGAIN = "run 01_test.py again"
CONVERTED = ("parity", "mcu")  # tables of 03_tflite_test.py
Row = dict[str, str]


class Run(NamedTuple):
    """What a report tells of."""

    folder: Path
    facts: Facts
    scores: dict[str, np.ndarray]  # by machine type, (n_clips,) float64
    metrics: list[Row]
    decisions: list[Row]
    parity: list[Row]
    boards: list[Row]
    official: list[list[str]]
    skipped: int  # clips that were left out

    @property
    def labelled(self) -> bool:
        """Whether all clips have labels."""
        clips = (clip for machine in self.facts.machines for clip in machine.clips)
        return all(clip.label is not None for clip in clips)

    def labels(self, machine: Machine) -> np.ndarray:
        """(n_clips,) int64: 0 normal, 1 anomalous, -1 unknown."""
        return np.array([-1 if clip.label is None else clip.label for clip in machine.clips])

    def limits(self, machine: Machine) -> dict[str, float]:
        """The thresholds of the sections of a machine type; none where nothing was decided."""
        return {row["section"]: float(row["threshold"]) for row in self.decisions
                if row["machine_type"] == machine.name and not row["domain"]}  # fmt: skip

    def of(self, rows: list[Row], machine: Machine) -> list[Row]:
        """The rows of a table that are of a machine type."""
        return [row for row in rows if row["machine_type"] == machine.name]


def read(folder: Path) -> Run:
    """What is in a result folder.

    Raises
    ------
    UserError : there is no `report.json`, or what it tells of is missing or damaged.
    """
    told = facts.read(folder)
    names = {machine.name for machine in told.machines}
    scores = {machine.name: _scores(folder, machine) for machine in told.machines}
    labelled = all(clip.label is not None for one in told.machines for clip in one.clips)
    metrics = _table(folder, "metrics", tables.METRICS_HEADER) if labelled else []
    if labelled and {row["machine_type"] for row in metrics} != names:
        raise UserError(f"{table_of(folder, 'metrics')}: of other machine types than "
                        f"{facts_of(folder).name}; {AGAIN}")  # fmt: skip
    decided = _table(folder, "decisions", verdicts.HEADER)
    official, skipped = (_rows(table_of(folder, name)) for name in ("official", "skipped"))
    return Run(folder, told, scores, metrics,
               [row for row in decided if row["machine_type"] in names],
               *(_converted(folder, told, name) for name in CONVERTED), official,
               max(len(skipped) - 1, 0))  # fmt: skip


def _scores(folder: Path, machine: Machine) -> np.ndarray:
    found: dict[tuple[str, str], float] = {}
    for section in {clip.section for clip in machine.clips}:
        path = scores_of(folder, machine.name, section)
        try:
            found |= {(section, name): float(score) for name, score in files.read_csv(path)}
        except (FileNotFoundError, ValueError) as error:
            raise UserError(f"{path}: missing or damaged; {AGAIN}") from error
    try:
        values = np.array([found[clip.section, clip.name] for clip in machine.clips])
    except KeyError as error:
        raise UserError(f"{folder}: no score of {error.args[0][1]}; {AGAIN}") from error
    if not np.isfinite(values).all():
        raise UserError(f"{folder}: a score of {machine.name} is not a number; {AGAIN}")
    return values


def _rows(path: Path) -> list[list[str]]:
    return files.read_csv(path) if path.exists() else []


def _table(folder: Path, name: str, header: tuple[str, ...] | None = None) -> list[Row]:
    """The rows of a table by heading; none where there is no file."""
    path = table_of(folder, name)
    first, *rows = _rows(path) or [[]]
    if first and header is not None and tuple(first) != header:
        raise UserError(f"{path}: other columns; {AGAIN}")
    if any(len(row) != len(first) for row in rows):
        raise UserError(f"{path}: damaged, a row is cut short; {AGAIN}")
    return [dict(zip(first, row, strict=True)) for row in rows]


def _converted(folder: Path, told: Facts, name: str) -> list[Row]:
    """A table of 03_tflite_test.py, where it is of the models and clips of the facts."""
    path = table_of(folder, name)
    if not path.exists() or told.converted.get(name) != files.file_hash(path):
        return []
    return _table(folder, name)


def converted(folder: Path) -> None:
    """Keep in the facts that the tables of 03_tflite_test.py are of the same models and clips."""
    told = facts.read(folder)
    paths = {name: table_of(folder, name) for name in CONVERTED}
    told.converted = {name: files.file_hash(path) for name, path in paths.items() if path.exists()}
    facts.write(folder, told)
