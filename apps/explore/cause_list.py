"""A list of causes: a CSV with the columns `path` (or `file`) and `cause`, others as you like."""

from __future__ import annotations

import csv
from pathlib import Path

from asd.messages import shown
from common import UserError

COLUMNS = "columns are path (from the list's folder on) and cause"


def read(path: Path) -> dict[Path, str]:
    """The cause of each listed recording, by resolved path.

    Raises
    ------
    UserError : no such file, or no such list; a path stands there twice, or without a cause.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            lines = csv.reader(file, strict=True)
            header = [name.strip() for name in next(lines, [])]
            where, what = _columns(path, header)
            causes: dict[Path, str] = {}
            for row in lines:
                if not any(cell.strip() for cell in row):
                    continue
                if len(row) != len(header):
                    raise UserError(f"{path}: line {lines.line_num}: {len(row)} fields, the header "
                                    f"has {len(header)}")  # fmt: skip
                name, cause = row[where].strip(), row[what].strip()
                if not name or not cause or "\0" in name:
                    raise UserError(f"{path}: line {lines.line_num}: no path or no cause")
                clip = (path.parent / name).resolve()
                if causes.setdefault(clip, cause) != cause:
                    raise UserError(f"{path}: line {lines.line_num}: {shown(name)} has two "
                                    "causes; remove one")  # fmt: skip
    except (csv.Error, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not a list of causes ({error}); {COLUMNS}") from error
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such list of causes; {COLUMNS}") from error
    if not causes:
        raise UserError(f"{path}: no recording in it; {COLUMNS}")
    return causes


def _columns(path: Path, header: list[str]) -> tuple[int, int]:
    where = next((name for name in ("path", "file") if name in header), None)
    if where is None or "cause" not in header:
        raise UserError(f"{path}: no column {'cause' if where else 'path'}; {COLUMNS}")
    return header.index(where), header.index("cause")
