"""The report of a grid: its tables, and its cells with their own reports."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from apps.pipeline.cells import Cell, read_record
from apps.pipeline.tables import Table
from asd import files
from asd.page import comparison, html
from asd.page.html import Html, Section
from asd.paths import report_of

EXPLAINED = {
    "AUC": "How well scores part anomalous clips from normal ones, as the mean over the ids of a "
    "machine type: 50 is by chance, 100 without a mistake.",
    "pAUC": "The same where few false alarms are allowed.",
}
OFFICIAL = "The figure that the challenge of that year ranks by."


def write(folder: Path, name: str, cells: Sequence[Cell], tables: Sequence[Table]) -> Path:
    """Write report.html of a grid; its path."""
    parts = [comparison.section(one.title, one.lines, EXPLAINED.get(one.title, OFFICIAL))
             for one in tables]  # fmt: skip
    done = sum(cell.done for cell in cells)
    lead = html.paragraph(
        f"{done} of {len(cells)} runs are done. Where there is a ±, it is the standard deviation "
        "over the seeds: differences that are smaller mean little. The best of a column is bold."
    )
    text = html.page(f"Grid: {name}", [*parts, _runs(folder, cells)], [lead])
    with files.whole_file(report_of(folder)) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return report_of(folder)


def _runs(folder: Path, cells: Sequence[Cell]) -> Section:
    """Every cell: how it ended, how long it took, where its own report is."""
    rows = [[html.name(cell.name), *_ended(cell), _report(folder, cell)] for cell in cells]
    return Section("Runs", [html.table(["run", "state", "seconds", "report"], rows, "Runs")])


def _ended(cell: Cell) -> tuple[str, str]:
    record = read_record(cell.folder)
    if cell.done and record:
        return "done", f"{record.seconds:.0f}"
    if record is None or record.status is None:
        return "not at its end", "–"
    return f"{record.stage} ended with status {record.status}", f"{record.seconds:.0f}"


def _report(folder: Path, cell: Cell) -> Html | str:
    report = report_of(cell.paths.results)
    if not report.is_file():
        return "–"
    return html.tag("a", "open", href=Path(os.path.relpath(report, folder)).as_posix())
