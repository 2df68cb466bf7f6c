"""The table of a grid: AUC, pAUC and the official score by recipe and machine type, over seeds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from apps.pipeline.cells import Cell
from asd import files
from asd.evaluation import official, table_formats, years
from asd.evaluation.official import Figure, undefined
from asd.evaluation.table_formats import TOTAL, Line
from asd.evaluation.years import Year

Figures = dict[str, Figure]  # by machine type


class Table(NamedTuple):
    """A figure of all recipes."""

    title: str
    lines: list[Line]  # a recipe each, with a column a machine type and the total


def of(cells: Sequence[Cell]) -> list[Table]:
    """The tables of a grid's cells, done or not: what the CSV, the Markdown and a page show.

    AUC and pAUC are a machine type's means over its ids, as metrics.csv has them, and their total
    is the mean over machine types; the official score is there where a recipe's corpus is a year
    that has some of the machine types, and its total is of those, by the year's own mean.
    """
    found = [
        Table("AUC", _lines(cells, lambda cell: _metric(cell, "auc"), lambda _: None)),
        Table("pAUC", _lines(cells, lambda cell: _metric(cell, "pauc"), lambda _: None)),
    ]
    of_years = [year for cell in cells if (year := _year(cell))]
    if of_years:
        names = " and ".join(dict.fromkeys(f"DCASE {year.year}" for year in of_years))
        title = f"official score of {names} Task 2, {cells[0].paths.mode}"
        found.append(Table(title, _lines(cells, _official, _year)))
    return found


def _year(cell: Cell) -> Year | None:
    """The year of a cell's corpus, if it has any of the cell's machine types."""
    year = years.of_corpus(cell.paths.cfg.corpus)
    has_some = year and set(cell.machine_types) & set(year.machines(cell.paths.mode))
    return year if has_some else None


def _lines(
    cells: Sequence[Cell], read: Callable[[Cell], Figures], year: Callable[[Cell], Year | None]
) -> list[Line]:
    """A line a recipe.

    Parameters
    ----------
    read : the figures of a cell that is done
    year : whose mean makes the total of the machine types that it has; None: the mean of all
    """
    machine_types = list(dict.fromkeys(name for cell in cells for name in cell.machine_types))
    lines = []
    for recipe in dict.fromkeys(cell.recipe for cell in cells):
        own = [cell for cell in cells if cell.recipe == recipe]
        by_seed: dict[int, Figures] = {}
        for cell in own:
            failed = dict.fromkeys(cell.machine_types, undefined("the cell is not done"))
            by_seed.setdefault(cell.seed, {}).update(read(cell) if cell.done else failed)
        whose = next(filter(None, map(year, own)), None)
        columns = {name: {f"seed {seed}": of_seed[name] for seed, of_seed in by_seed.items()}
                   for name in machine_types}  # fmt: skip
        columns[TOTAL] = {f"seed {seed}": _total(of_seed, whose, own[0].paths.mode)
                          for seed, of_seed in by_seed.items()}  # fmt: skip
        lines.append(Line(recipe, "", {c: official.over_seeds(f) for c, f in columns.items()}))
    return lines


def _total(of_seed: Figures, year: Year | None, mode: str) -> Figure:
    if year is None:
        return official.mean(of_seed, harmonic=False)
    counted = {name: one for name, one in of_seed.items() if name in year.machines(mode)}
    return official.mean(counted, year.harmonic)


def _metric(cell: Cell, column: str) -> Figures:
    """A column of metrics.csv, averaged over the ids of each machine type."""
    path = cell.paths.table("metrics")
    if not path.exists():
        return dict.fromkeys(
            cell.machine_types, undefined(f"no {path}: not tested, or clips without labels")
        )
    found = {}
    for values in files.read_table(path):
        if values["id"] == "average":
            found[values["machine_type"]] = _figure(values[column], values["note"])
    return {name: found.get(name, undefined(f"not in {path}")) for name in cell.machine_types}


def _official(cell: Cell) -> Figures:
    """The official scores of official.csv."""
    year, path, found = _year(cell), cell.paths.table("official"), {}
    rows = files.read_csv(path)[1:] if year and path.exists() else []
    for machine_type, name, value, *_, note in rows:
        if year and name == f"{year.part(cell.paths.mode)}_{year.official}":
            found[machine_type] = _figure(value, note)
    counted = year.machines(cell.paths.mode) if year else ()
    return {
        name: found.get(name, undefined(f"not in {path}")) if name in counted
        else undefined("none of the year's machine types")
        for name in cell.machine_types
    }  # fmt: skip


def _figure(value: str, note: str) -> Figure:
    return Figure(float(value)) if value else undefined(note or "undefined")


def write(folder: Path, tables: Sequence[Table]) -> list[Path]:
    """grid.csv, in which `source` tells the figure, and grid.md, the best in bold."""
    csv = [table_formats.as_csv(table.title, table.lines) for table in tables]
    same_header = [text.partition("\n")[2] for text in csv[1:]]
    markdown = [table_formats.as_markdown(table.title, table.lines) for table in tables]
    written = {"grid.csv": "".join([csv[0], *same_header]), "grid.md": "\n".join(markdown)}
    for name, text in written.items():
        with files.whole_file(folder / name) as temporary:
            temporary.write_text(text, encoding="utf-8")
    return [folder / name for name in written]
