"""A picture as a page of its own, for artefacts that a browser shows."""

from __future__ import annotations

import base64
import html
from pathlib import Path


def write(path: Path, title: str, picture: Path) -> None:
    """Write a page without network that holds a PNG file."""
    data = base64.b64encode(picture.read_bytes()).decode("ascii")
    shown = html.escape(title)
    path.write_text(
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{shown}</title>'
        f'<h1>{shown}</h1><img alt="{shown}" style="max-width:100%" '
        f'src="data:image/png;base64,{data}"></html>\n',
        encoding="utf-8",
    )
