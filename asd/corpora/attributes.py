"""The attributes of clips: from their names, and from the `attributes_<section>.csv` of a type.

Where two archives have another table each, the second is `attributes_<section>_<archive>.csv`.
"""

from __future__ import annotations

import csv
import dataclasses
import glob
from collections.abc import Sequence
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
    UserError : the file is none of this kind, or says two things of one clip.
    """
    said: dict[str, dict[str, str]] = {}
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            lines = csv.reader(file)
            if next(lines, [""])[0].strip() != "file_name":
                raise UserError(f"{path}: its first line does not begin with file_name; {_HELP}")
            for row in lines:
                if any(row):
                    name, pairs = _row(path, lines.line_num, row)
                    if not _added(said, name, pairs):
                        raise UserError(
                            f"{path}: line {lines.line_num}: {shown(name)} stands there twice, "
                            "with other attributes; remove one of the two lines"
                        )
    except (csv.Error, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not a table of attributes ({error}); {_HELP}") from error
    return said


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
    found = dict(zip(pairs[::2], pairs[1::2], strict=True))
    if 2 * len(found) < len(pairs):
        raise UserError(f"{path}: line {number}: one attribute has two values; {_HELP}")
    return name, found


def _added(said: dict[str, dict[str, str]], name: str, pairs: dict[str, str]) -> bool:
    """Add what is said of a clip, or tell that something else was; to say nothing is nothing."""
    if pairs and not said.get(name):
        said[name] = pairs
    return said.setdefault(name, pairs) == pairs or not pairs


def filled(clips: list[Clip], folder: Path) -> list[Clip]:
    """The clips, with attributes of the tables in their machine type's folder where names say none.

    Where both say something else, the name holds, and that is printed.

    Raises
    ------
    UserError : see `read`; or two tables say two things of one clip.
    """
    said = _of_sections(folder, sorted({clip.section for clip in clips}))
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


def _of_sections(folder: Path, sections: Sequence[str]) -> dict[str, dict[str, str]]:
    """What all tables of some sections say."""
    said: dict[str, dict[str, str]] = {}
    of: dict[str, Path] = {}  # by clip the table that says it
    for section in sections:
        stem = f"attributes_{section}"
        more = sorted(folder.glob(f"{glob.escape(stem)}_*.csv"))
        for path in (folder / f"{stem}.csv", *more):
            for name, pairs in read(path).items() if path.is_file() else ():
                if not _added(said, name, pairs):
                    where = f"{path}: {name} has other attributes there than in {of[name]}"
                    raise UserError(plain(f"{where}; remove the row in one of them"))
                if pairs:
                    of[name] = path
    return said
