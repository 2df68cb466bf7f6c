"""The attributes of clips: from their names, and from the `attributes_<section>.csv` of a type."""

from __future__ import annotations

import csv
import dataclasses
from pathlib import Path

from asd.clips import Clip
from asd.corpora import names
from asd.messages import plain, shown
from common import UserError

_HELP = "rows are file_name,d1p,d1v,d2p,d2v and so on; mend or remove the file"


def read(path: Path) -> dict[str, dict[str, str]]:
    """By file name the attributes of clips, each name with its value.

    Raises
    ------
    UserError : the file is none of this kind.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            lines = csv.reader(file)
            if next(lines, [""])[0].strip() != "file_name":
                raise UserError(f"{path}: its first line does not begin with file_name; {_HELP}")
            return dict(_row(path, lines.line_num, row) for row in lines if any(row))
    except (csv.Error, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not a table of attributes ({error}); {_HELP}") from error


def _row(path: Path, number: int, row: list[str]) -> tuple[str, dict[str, str]]:
    fields = [field.strip() for field in row]
    while fields and not fields[-1]:
        fields.pop()
    name = fields[0].split("/")[-1] if fields else ""
    if not name:
        raise UserError(f"{path}: line {number}: no file name; {_HELP}")
    if len(fields) % 2 == 0 and fields[-1].lower().endswith(".wav"):  # the name with its label
        fields.pop()
    pairs = fields[1:]
    if len(pairs) % 2 or not all(pairs):
        raise UserError(f"{path}: line {number}: {shown(','.join(row))} is not a file name with "
                        f"pairs of an attribute and its value; {_HELP}")  # fmt: skip
    if pairs == [names.NO_ATTRIBUTE] * 2:
        pairs = []
    return name, dict(zip(pairs[::2], pairs[1::2], strict=True))


def filled(clips: list[Clip], folder: Path) -> list[Clip]:
    """The clips, with attributes of the tables in their machine type's folder where names say none.

    Where both say something else, the name holds, and that is printed.

    Raises
    ------
    UserError : see `read`.
    """
    said: dict[str, dict[str, str]] = {}
    for section in sorted({clip.section for clip in clips}):
        path = folder / f"attributes_{section}.csv"
        if path.is_file():
            said |= read(path)
    found, others = [], []
    for clip in clips:
        written = "_".join(part for pair in said.get(clip.path.name, {}).items() for part in pair)
        if written and clip.attributes in ("", names.NO_ATTRIBUTE):
            clip = dataclasses.replace(clip, attributes=written)
        elif written and written.replace("_", "") != clip.attributes.replace("_", ""):
            others.append(clip)
        found.append(clip)
    if others:
        print(plain(f"warning: {folder}: {len(others)} clips have other attributes in their names "
                    f"than in attributes_*.csv, as {others[0].path.name}; the names' are "
                    "taken"))  # fmt: skip
    return found
