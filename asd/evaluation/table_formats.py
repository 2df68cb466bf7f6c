"""A table of experiments by machine types, as CSV, Markdown or LaTeX."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from typing import NamedTuple

from asd import csv_cells
from asd.evaluation.official import Spread, percent

TOTAL = "total"


class Line(NamedTuple):
    """An experiment over its seeds, or a published system."""

    name: str
    source: str  # "" of our own
    cells: dict[str, Spread]  # by machine type, and TOTAL


def best(lines: Sequence[Line]) -> dict[str, float]:
    """The highest value of each column that has one."""
    found: dict[str, float] = {}
    for line in lines:
        for column, cell in line.cells.items():
            if cell.mean.defined:
                found[column] = max(cell.mean.value, found.get(column, cell.mean.value))
    return found


def notes(lines: Sequence[Line]) -> list[str]:
    """Why there is no figure where a cell of our own is empty."""
    return [
        f"{line.name}, {column}: {cell.mean.reason}"
        for line in lines
        if not line.source
        for column, cell in line.cells.items()
        if not cell.mean.defined
    ]


def as_csv(title: str, lines: Sequence[Line]) -> str:
    """Fractions with all their digits; a column more for each deviation, and the notes."""
    columns, tops = list(lines[0].cells), best(lines)
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    spread = [name for column in columns for name in (column, f"{column} sd")]
    writer.writerow(["experiment", "seeds", *spread, "best in", "source", "note"])
    for line in lines:
        cells = list(line.cells.values())
        values = [value for cell in cells for value in (cell.mean.cell, _deviation(cell))]
        tops_here = [c for c in columns if is_best(line.cells[c], tops.get(c))]
        seeds = "" if line.source else max(cell.seeds for cell in cells)
        row = [line.name, seeds, *values, " ".join(tops_here), line.source or title,
               " | ".join(notes([line]))]  # fmt: skip
        writer.writerow([csv_cells.cell(value) for value in row])
    return file.getvalue()


def as_markdown(title: str, lines: Sequence[Line]) -> str:
    """Per cent, mean ± deviation over seeds, the best of a column bold."""
    columns, tops = list(lines[0].cells), best(lines)
    rows = [["", *columns, "source"], ["---"] * (len(columns) + 2)]
    for line in lines:
        cells = [shown(line.cells[c], tops.get(c), " ± ", "**{}**") for c in columns]
        rows.append([_markdown(line.name), *cells, _markdown(line.source)])
    table = "".join(f"| {' | '.join(row)} |\n" for row in rows)
    told = "".join(f"- {_markdown(note)}\n" for note in notes(lines))
    return f"{title}\n\n{table}" + (f"\nEmpty cells:\n\n{told}" if told else "")


def as_latex(title: str, lines: Sequence[Line]) -> str:
    """As `as_markdown`; a tabular, with its sources and notes as comments."""
    columns, tops = list(lines[0].cells), best(lines)
    rows = [" & ".join(["", *map(_latex, columns)]) + r" \\", r"\hline"]
    for line in lines:
        cells = [shown(line.cells[c], tops.get(c), r" $\pm$ ", r"\textbf{{{}}}") for c in columns]
        source = f" % {_comment(line.source)}" if line.source else ""
        rows.append(" & ".join([_latex(line.name), *cells]) + rf" \\{source}")
    comments = [f"% {_comment(one)}" for one in (title, *notes(lines))]
    begin = rf"\begin{{tabular}}{{l{'r' * len(columns)}}}"
    return "\n".join([*comments, begin, *rows, r"\end{tabular}"]) + "\n"


FORMATS = {"csv": as_csv, "markdown": as_markdown, "latex": as_latex}


def _deviation(cell: Spread) -> float | str:
    return "" if cell.deviation is None else cell.deviation


def is_best(cell: Spread, top: float | None) -> bool:
    """Whether a cell is the best of its column, see `best`."""
    return cell.mean.defined and cell.mean.value == top


def shown(cell: Spread, top: float | None, between: str, bold: str) -> str:
    """A cell in per cent, with its deviation behind `between`; `bold` has {} for the best."""
    if not cell.mean.defined:
        return ""
    text = percent(cell.mean.value)
    if cell.deviation is not None:
        text += between + percent(cell.deviation)
    return bold.format(text) if is_best(cell, top) else text


def _comment(text: str) -> str:
    return " ".join(text.split())


def _markdown(text: str) -> str:
    return re.sub(r"([\\|*_`<\[])", r"\\\1", _comment(text))


def _latex(text: str) -> str:
    marks = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    return re.sub(r"[\\~^&%$#_{}]", lambda m: marks.get(m[0], "\\" + m[0]), _comment(text))
