"""The official score of a year of the run at hand: figures, printed and as official.csv."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from asd import files
from asd.clips import Scores
from asd.evaluation import official, official_interval
from asd.evaluation.official import Figure, undefined
from asd.evaluation.official_interval import Interval, Left
from asd.evaluation.years import Year

HEADINGS = {
    "s_auc": "AUC source", "t_auc": "AUC target", "s_pauc": "pAUC source", "t_pauc": "pAUC target",
    "smix_auc": "AUC source", "tmix_auc": "AUC target", "mix_pauc": "pAUC",
}  # fmt: skip
HEADINGS_WITHOUT_DOMAINS = {"s_auc": "AUC", "s_pauc": "pAUC"}
HEADER = ("machine_type", "figure", "value", "low", "high", "note")


class OfMachine(NamedTuple):
    """The figures of a machine type."""

    machine_type: str
    is_counted: bool  # in the total: it is one of the year's
    figures: dict[str, Figure]  # of `official.evaluate`
    left: list[Left]  # what its interval is made of; empty without an official score

    def official_figure(self, year: Year, mode: str) -> Figure:
        """The official score; undefined where there is none."""
        return self.figures[f"{year.part(mode)}_{year.official}"]


class OfYear(NamedTuple):
    """The figures of a run."""

    year: Year
    mode: str
    machines: tuple[OfMachine, ...]
    total: Interval | None  # of the year's machine types that are there
    note: str  # why there is no total

    @property
    def there(self) -> list[OfMachine]:
        """Those of the year."""
        return [one for one in self.machines if one.is_counted]


def evaluate(year: Year, mode: str, scored: Sequence[Scores]) -> OfYear:
    """The official figures of machine types, and the score of those of the year that are there.

    One that the year does not have is evaluated over the sections that it has, and is not in the
    total.

    Parameters
    ----------
    mode : "dev" or "eval", whose machine types and sections count
    scored : labelled
    """
    machines = tuple(_of_machine(year, mode, one) for one in scored)
    there = [one for one in machines if one.is_counted]
    scores = {one.machine_type: one.official_figure(year, mode) for one in there}
    if not there:
        return OfYear(year, mode, machines, None, "none of the year's machine types is here")
    if missing := official.mean(scores, year.harmonic).reason:
        return OfYear(year, mode, machines, None, missing)
    total = official_interval.of_left(year, [one.left for one in there])
    return OfYear(year, mode, machines, total, "")


def _of_machine(year: Year, mode: str, scored: Scores) -> OfMachine:
    name = scored.machine_type
    is_counted = name in year.machines(mode)
    if not is_counted:
        here = tuple(int(section) for section, _ in scored.by_section())
        both = (here, here) if year.part(mode) == "0" else (here, ())
        parts = both if mode == "dev" else both[::-1]
        year = dataclasses.replace(year, sections_of={**year.sections_of, name: parts})
    column = f"{year.part(mode)}_{year.official}"
    try:
        figures = official.of_scores(year, scored)
    except ValueError as error:  # of clips that are none of the year's
        return OfMachine(name, is_counted, {column: undefined(str(error))}, [])
    figures.setdefault(column, undefined("no test clip of its sections"))
    if not figures[column].defined:
        return OfMachine(name, is_counted, figures, [])
    return OfMachine(name, is_counted, figures, official_interval.left(year, mode, scored))


def write(path: Path, found: OfYear) -> None:
    """`official.csv`: a row a figure of each machine type, then the total; a note where undefined.

    The official scores have their 95 % interval.
    """
    year = found.year
    rows: list[Sequence[Any]] = [HEADER]
    for one in found.machines:
        for name, figure in one.figures.items():
            is_official = name == f"{year.part(found.mode)}_{year.official}"
            limits = (
                official_interval.of_left(year, [one.left])[1:] if is_official and one.left else ()
            )
            cells = [limit.cell for limit in limits] or ["", ""]
            note = figure.reason or (limits[0].reason if limits else "")
            rows.append((one.machine_type, name, figure.cell, *cells, note))
    name = f"{year.part(found.mode)}_{year.official}"
    if found.total is None:
        rows.append(("total", name, "", "", "", f"{_counted(found)}: {found.note}"))
    else:
        value, low, high = found.total
        note = "; ".join(filter(None, (_counted(found), low.reason)))
        rows.append(("total", name, value, low.cell, high.cell, note))
    files.write_csv(path, rows)


def _counted(found: OfYear) -> str:
    wanted = found.year.machines(found.mode)
    return f"{len(found.there)} of {len(wanted)} machine types"


def show(found: OfYear, path: Path) -> None:
    """Print the terms of the official score by machine type and section, and the total.

    Nothing of machine types that are all none of the year's.
    """
    year = found.year
    if not any(one.is_counted for one in found.machines):
        return
    headings = HEADINGS if year.has_domains else HEADINGS_WITHOUT_DOMAINS
    titles = "".join(f"{headings[term]:>12}" for term in year.terms)
    print(f"\n{'machine':<14}{'section':<9}{titles}{'official':>10}")
    for one in found.machines:
        for section, cells in _rows(found, one):
            print(f"{one.machine_type:<14}{section:<9}{cells}")
    if year.year > 2021:
        print("AUC source, AUC target: the normal clips of a domain against all anomalous ones")
    score = f"official score of DCASE {year.year} Task 2, {found.mode}, {_counted(found)}"
    if found.total is None:
        print(f"no {score}: {found.note}")
    else:
        value, low, high = found.total
        limits = (f"95 % interval {low.value:.4f} - {high.value:.4f}" if low.defined
                  else f"no interval: {low.reason}")  # fmt: skip
        print(f"{score}: {value:.4f}, {limits}")
    print(f"Every figure is in {path}")


def _rows(found: OfYear, one: OfMachine) -> list[tuple[str, str]]:
    """What is printed of a machine type: a row a section, and their means where there are more."""
    year, part, rows = found.year, found.year.part(found.mode), []
    sections = sorted({int(name.partition("_")[0]) for name in one.figures
                       if name[0].isdecimal() and year.official not in name})  # fmt: skip
    score = one.official_figure(year, found.mode)
    is_single = part == "0" and len(sections) == 1
    for section in sections if year.has_domains and not is_single else ():
        terms = [one.figures[f"{section}_{term}"] for term in year.terms]
        rows.append((f"{section:02}", _cells(terms, None)))
    prefix = f"{sections[0]}" if is_single else part
    # In years of one section there is no mean over several.
    terms = [one.figures.get(f"{prefix}_{term}", undefined("")) if is_single or part != "0"
             else undefined("") for term in year.terms]  # fmt: skip
    note = "" if one.is_counted else f"none of {year.year}'s machine types, not in the total"
    name = f"{sections[0]:02}" if is_single else "mean"
    return [*rows, (name, _cells(terms, score, note))]


def _cells(terms: Sequence[Figure], score: Figure | None, note: str = "") -> str:
    shown = "".join(f"{one.value:12.3f}" if one.defined else f"{'-':>12}" for one in terms)
    if score is not None:
        shown += f"{score.value:10.3f}" if score.defined else f"{'-':>10}"
    reasons = [score.reason] if score else dict.fromkeys(one.reason for one in terms)
    said = "; ".join(filter(None, [note, *reasons]))
    return f"{shown}  {said}".rstrip()
