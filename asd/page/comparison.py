"""Experiments side by side: means and deviations over seeds, the best in bold."""

from __future__ import annotations

from collections.abc import Sequence

from asd.evaluation import table_formats
from asd.evaluation.table_formats import Line
from asd.page import html
from asd.page.html import Html, Section


def section(title: str, lines: Sequence[Line], explained: str) -> Section:
    """A figure of experiments by machine type.

    Parameters
    ----------
    explained : what the figure is, in a sentence
    """
    columns, tops = list(lines[0].cells), table_formats.best(lines)
    rows = [[html.name(line.name), *(_cell(line, c, tops.get(c)) for c in columns)]
            for line in lines]  # fmt: skip
    header = ["experiment", *map(html.name, columns)]
    body = [html.paragraph(explained), html.table(header, rows, f"{title}, per cent")]
    if told := table_formats.notes(lines):
        body.append(html.folded("Why cells are empty", *map(html.paragraph, told)))
    return Section(title, body)


def _cell(line: Line, column: str, top: float | None) -> Html:
    cell = line.cells[column]
    text = table_formats.shown(cell, None, " ± ", "") or "–"
    return html.tag("b", text) if table_formats.is_best(cell, top) else html.escaped(text)
