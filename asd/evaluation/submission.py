"""Score and decision files of a system: those that a year's challenge takes, written and checked.

Two columns without a header: the name of a clip, and its anomaly score or its decision, 0 or 1.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from asd import files, messages
from asd.clips import Scores
from asd.evaluation.years import Year
from common import UserError

SCORE, DECISION = "anomaly_score", "decision_result"
Part = tuple[str, int, str | None]  # machine type, section, and domain where it has a file


def expected(year: Year) -> Iterator[Part]:
    """The machine types, sections and domains that have files of their own."""
    for machine_type in year.eval_machines:
        for section in list(year.parts(machine_type).values())[-1]:
            for domain in ("source", "target") if "{domain}" in year.submitted else (None,):
                yield machine_type, section, domain


def kinds(year: Year) -> tuple[str, ...]:
    """What is submitted: scores, and since 2021 decisions."""
    return (SCORE, DECISION) if year.decisions else (SCORE,)


def name_of(year: Year, kind: str, machine_type: str, section: int, domain: str | None) -> str:
    """The name of a file."""
    return year.submitted.format(kind=kind, machine=machine_type, section=section, domain=domain)


def names(year: Year) -> set[str]:
    """The names of all files of a submission."""
    return {name_of(year, kind, *key) for kind in kinds(year) for key in expected(year)}


def parts(
    year: Year, scored: Sequence[Scores], decisions: Sequence[np.ndarray]
) -> dict[Part, list[tuple[str, float, int]]]:
    """Name, score and decision of the clips of each file, by what the file is of.

    The section is -1 where it is no number.

    Raises
    ------
    UserError : there are not as many decisions as clips.
    """
    found: dict[Part, list[tuple[str, float, int]]] = {}
    for scores, decided in zip(scored, decisions, strict=True):
        if len(decided) != len(scores.values):
            raise UserError(f"{scores.machine_type}: {len(decided)} decisions for "
                            f"{len(scores.values)} clips; decide on each clip")  # fmt: skip
        for i, clip in enumerate(scores.clips):
            domain = clip.domain if "{domain}" in year.submitted else None
            section = int(clip.section) if clip.section.isdecimal() else -1
            part = found.setdefault((clip.machine_type, section, domain), [])
            part.append((clip.name, float(scores.values[i]), int(decided[i])))
    return found


def lacking(year: Year, scored: Sequence[Scores]) -> list[str]:
    """The machine types, sections and domains without clips, of which there are to be files."""
    there = parts(year, scored, [np.zeros(len(one.values)) for one in scored])
    return [called(*key) for key in expected(year) if key not in there]


def write(
    folder: Path, year: Year, scored: Sequence[Scores], decisions: Sequence[np.ndarray]
) -> list[Path]:
    """Every file of a year's submission; nothing is written of one that is not whole.

    Parameters
    ----------
    scored : of the year's evaluation machine types, in any order
    decisions : of each, (n_clips,) 0 or 1; not used in a year that takes none

    Raises
    ------
    UserError : a machine type, section or domain is missing or too many; a score is not finite or
        a decision is neither 0 nor 1; two clips have one name.
    """
    rows_of = parts(year, scored, decisions)
    wanted = list(expected(year))
    _same("clips", {called(*key) for key in rows_of}, {called(*key) for key in wanted}, year)
    for key, rows in rows_of.items():
        _check_rows(called(*key), rows)
    written = []
    for key in wanted:
        for column, kind in enumerate(kinds(year), 1):
            path = folder / name_of(year, kind, *key)
            files.write_csv(path, [(row[0], row[column]) for row in rows_of[key]])
            written.append(path)
    return written


def check(folder: Path, year: Year) -> None:
    """See that a folder holds a year's whole submission: every file, each of them usable.

    Raises
    ------
    UserError : a file is missing, damaged or of none of the year's; scores and decisions are of
        other clips.
    """
    wanted = names(year)
    found = {path.name for path in folder.glob("*.csv")}
    _same(str(folder), found, wanted, year)
    for key in expected(year):
        scores = read(folder / name_of(year, SCORE, *key))
        if year.decisions:
            path = folder / name_of(year, DECISION, *key)
            decided = read(path)
            if set(decided) != set(scores):
                raise UserError(f"{path}: of other clips than the scores beside it; write both "
                                "anew")  # fmt: skip
            _decisions(path, decided)


def called(machine_type: str, section: int, domain: str | None) -> str:
    """What a file is of, in words."""
    return f"{machine_type} section {section:02}" + (f" {domain}" if domain else "")


def _same(where: str, found: set[str], wanted: set[str], year: Year) -> None:
    for problem, names in (("lacks", wanted - found), ("has", found - wanted)):
        if names:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            remedy = "add them" if problem == "lacks" else f"none of {year.year}'s; remove them"
            raise UserError(f"{where}: {problem} {messages.plain(min(names))}{more}; {remedy}")


def _check_rows(where: str, rows: list[tuple[str, float, int]]) -> None:
    seen = set()
    for name, score, decision in rows:
        if name in seen:
            raise UserError(f"{where}: two clips are called {messages.plain(name)}; leave one out")
        if not math.isfinite(score) or decision not in (0, 1):
            raise UserError(f"{where}: {messages.plain(name)} has score {score} and decision "
                            f"{decision}; score it anew")  # fmt: skip
        seen.add(name)


def _decisions(path: Path, decided: dict[str, float]) -> None:
    for name, value in decided.items():
        if value not in (0, 1):
            raise UserError(f"{path}: {messages.plain(name)} is {value}; a decision is 0 or 1")


def read(path: Path) -> dict[str, float]:
    """The value of each clip in a score or decision file, by name.

    Raises
    ------
    UserError : it is missing or damaged, a value is not finite, a name stands twice.
    """
    try:
        rows = files.read_csv(path)
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file; write it with the others") from error
    values: dict[str, float] = {}
    for number, row in enumerate(rows, 1):
        where = f"{path}: line {number}"
        try:
            name, value = row[0], float(row[1])
        except (IndexError, ValueError) as error:
            raise UserError(f"{where}: not a name and a number; mend it") from error
        if len(row) != 2 or not math.isfinite(value):
            raise UserError(f"{where}: not a name and a finite number; mend it")
        if name in values:
            raise UserError(f"{where}: {messages.plain(name)} stands twice; leave one out")
        values[name] = value
    return values


def read_decisions(path: Path) -> dict[str, float]:
    """`read` of decisions; the same errors, and one where a value is neither 0 nor 1."""
    decided = read(path)
    _decisions(path, decided)
    return decided
