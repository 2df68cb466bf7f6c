"""Tables on the screen, and pages with pictures in them."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path

from asd import files
from asd.messages import plain
from asd.page import html
from asd.page.html import Html, Section


def show(header: Sequence[str], rows: Sequence[Sequence]) -> None:
    """Print a table, its first column to the left."""
    cells = [[plain(str(cell)) for cell in row] for row in (header, *rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        first, *rest = (
            cell.rjust(width) if i else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        print("  ".join((first, *rest)).rstrip())


def picture(path: Path, told: str) -> Html:
    """A PNG file as part of a page.

    Parameters
    ----------
    told : what is to be seen in it, for those who do not see
    """
    content = base64.b64encode(path.read_bytes()).decode()
    source = f"data:image/png;base64,{content}"
    style = "max-width: 100%; height: auto; background: white"
    return html.tag("figure", html.tag("img", src=source, alt=told, style=style))


def write(path: Path, title: str, sections: Sequence[Section], lead: Sequence[Html] = ()) -> None:
    """Write a page that needs nothing else."""
    with files.whole_file(path) as temporary:
        temporary.write_text(html.page(title, sections, lead), encoding="utf-8")
    print(f"{path}: the page")
