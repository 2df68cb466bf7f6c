"""The files of the page: read once, when the service starts."""

from __future__ import annotations

import mimetypes
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parent / "page"
INDEX = "index.html"
# Those that a machine's own table may have otherwise, or not at all.
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".json": "application/json",
    ".wasm": "application/wasm",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".ico": "image/x-icon",
    ".wav": "audio/wav",
    ".txt": "text/plain; charset=utf-8",
}
MOST_BYTES = 1 << 24  # of a file


class Page(NamedTuple):
    """A file as it is served."""

    content: bytes
    content_type: str


def read(folders: Sequence[Path]) -> dict[str, Page]:
    """The files of folders by their names below them; those of later folders win.

    Links are left out, as they may lead elsewhere, and so are hidden files.
    """
    found = {}
    for folder in folders:
        for path in sorted(folder.rglob("*")) if folder.is_dir() else ():
            name = path.relative_to(folder)
            hidden = any(part.startswith((".", "__")) for part in name.parts)
            if hidden or path.is_symlink() or not path.is_file():
                continue
            if path.stat().st_size <= MOST_BYTES:
                kind = TYPES.get(path.suffix.lower()) or mimetypes.guess_type(path.name)[0]
                found[name.as_posix()] = Page(path.read_bytes(), kind or "application/octet-stream")
    return found
