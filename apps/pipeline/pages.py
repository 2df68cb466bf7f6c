"""Pages that the steps leave: a picture, and the figures of all machine types."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path

from asd import files
from asd.page import html
from asd.page.html import Html, Section

HEADER = ("id", "clips", "AUC", "95 % interval", "pAUC")
AUC = (
    "The AUC tells how well the scores of a machine part anomalous clips from normal ones: 50 is "
    "by chance, 100 without a mistake; the interval says how sure that is with so many clips. The "
    "pAUC is the same where few false alarms are allowed. All are per cent."
)


def of_picture(path: Path, title: str, picture: Path) -> None:
    """Write a page that holds a PNG file."""
    data = base64.b64encode(picture.read_bytes()).decode("ascii")
    shown = html.tag("img", alt=title, src=f"data:image/png;base64,{data}", style="max-width:100%")
    _write(path, html.page(title, [], [shown]))


def of_figures(
    path: Path, figures: Mapping[str, Sequence[Mapping[str, str]]], links: Mapping[str, str]
) -> None:
    """Write a page with the figures of all machine types.

    Parameters
    ----------
    figures : by machine type the rows of its metrics.csv
    links : by machine type where its own report is, if it is anywhere
    """
    parts = [Section(name, _of_type(name, rows, links)) for name, rows in figures.items()]
    _write(path, html.page("Anomalous sounds of machines", parts, [html.paragraph(AUC)]))


def _of_type(name: str, rows: Sequence[Mapping[str, str]], links: Mapping[str, str]) -> list[Html]:
    if not rows:
        return [html.paragraph("Its test clips have no labels, so there is no AUC.")]
    cells = [[row["id"], row["clips"], *_figures(row)] for row in rows]
    body = [html.table(HEADER, cells, f"{name} by machine id")]
    if name in links:
        link = html.tag("a", "curves, pictures, sounds, what became of the model", href=links[name])
        body.append(html.paragraph("Its own report: ", link))
    return body


def _figures(row: Mapping[str, str]) -> list[str]:
    if not row["auc"]:
        return ["–", row["note"] or "–", "–"]
    auc, low, high, pauc = (f"{100 * float(row[key]):.2f}"
                            for key in ("auc", "auc_low", "auc_high", "pauc"))  # fmt: skip
    return [auc, f"{low} – {high}", pauc]


def _write(path: Path, text: str) -> None:
    with files.whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
