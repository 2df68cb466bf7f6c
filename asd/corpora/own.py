"""One's own recordings, `corpus: folder`: described by a `clips.csv`, or by their folders' names.

A `clips.csv` in the data folder has a header and a row a clip. Columns: `file` (from the data
folder on), `machine_type` and `split` (train, test); and, where they say something, `section`
(00 without), `domain` (source, target), `label` (normal, anomaly) and `attributes`.

Without one, a machine type is a folder of the data folder that holds .wav files at any depth, and
the folders between say the rest in the same words: `fan/train/a.wav`,
`fan/test/anomaly/b.wav`, `fan/section_01/target/test/normal/c.wav`.

Training clips without a label are normal. Test clips need one, but for the evaluation data.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePath

from asd.clips import BadClip, Clip
from asd.corpora.dcase2020 import choose
from asd.messages import plain, shown
from common import UserError

LIST = "clips.csv"
NEEDED, ALLOWED = ("file", "machine_type", "split"), ("section", "domain", "label", "attributes")
SECTION = "00"  # of clips of which none is told
_LABELS = {"normal": 0, "anomaly": 1, "anomalous": 1, "abnormal": 1, "0": 0, "1": 1}
_FOLDERS = {
    "train": ("split", "train"), "test": ("split", "test"),
    "source": ("domain", "source"), "target": ("domain", "target"),
    "normal": ("label", "normal"), "anomaly": ("label", "anomaly"),
    "anomalous": ("label", "anomaly"), "abnormal": ("label", "anomaly"),
}  # fmt: skip
_TYPE = re.compile(r"[A-Za-z0-9][\w.-]*", re.ASCII)
_SECTION = re.compile(r"[A-Za-z0-9-]+")
_HELP = f"columns are {', '.join(NEEDED)} and any of {', '.join(ALLOWED)}"


def find_machine_types(folder: Path, wanted: Sequence[str] = ()) -> list[str]:
    """The machine types of a data folder, sorted; or those wanted, checked to be there.

    Raises
    ------
    UserError : no such folder, no clip in it, or its list is none; a wanted one is not there; or
        see `dcase2020.choose`.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder of recordings")
    found = sorted({machine_type for machine_type, *_ in _described(folder)})
    if not found:
        raise UserError(
            f"{folder}: no machine type in it: no {LIST}, and no folder with .wav files"
        )
    return choose(folder, wanted, found)


def has_clips(folder: Path, machine_type: str, split: str) -> bool:
    """Whether there are clips of that split of a machine type."""
    return any(of == machine_type and said.get("split") == split
               for of, _, said in _described(folder))  # fmt: skip


def find_clips(
    folder: Path, mode: str, machine_type: str, split: str
) -> tuple[list[Clip], list[BadClip]]:
    """The clips of a split of a machine type, and those of which too little is told.

    Parameters
    ----------
    folder : the data folder
    mode : "dev" or "eval": whose test clips need no label
    split : "train" or "test"

    Raises
    ------
    UserError : there is none, or the list is none.
    """
    clips, bad = [], []
    for of, path, said in _described(folder):
        if of != machine_type or said.get("split", split) != split:
            continue
        if why := _fault(path, said, mode, split):
            bad.append(BadClip(path, why))
            continue
        label = _LABELS.get(said.get("label", ""), 0 if split == "train" else None)
        section = said.get("section", SECTION)
        clips.append(Clip(path, machine_type, section, split, label, said.get("domain"),
                          said.get("attributes", "")))  # fmt: skip
    if not clips and not bad:
        raise UserError(f"{folder}: no {split} clip of {machine_type}; put some there")
    return clips, bad


def _fault(path: Path, said: dict[str, str], mode: str, split: str) -> str | None:
    """Why a clip cannot be used, as far as it is told."""
    if "split" not in said:
        return f"no folder train or test above it; move it, or write a {LIST}"
    if not path.is_file():
        return f"{LIST} names it, and it is not there; mend the row"
    if split == "train" and said.get("label", "normal") != "normal":
        return "told anomalous, training clips are normal; make it a test clip"
    if (mode, split) == ("dev", "test") and "label" not in said:
        return "told neither normal nor anomaly, as test clips of the development data are; say it"
    return None


def _described(folder: Path) -> Iterator[tuple[str, Path, dict[str, str]]]:
    """Machine type and path of every clip, and what is told of it by column."""
    listed = folder / LIST
    if listed.exists():
        yield from _listed(listed)
        return
    for top in sorted(p for p in folder.iterdir() if p.is_dir() and p.name[0] != "."):
        for path in sorted(top.rglob("*")):
            below = path.relative_to(top)
            hidden = any(part[0] == "." for part in below.parts)
            if path.suffix.lower() == ".wav" and not hidden:
                yield top.name, path, _of_folders(path, below)


def _of_folders(path: Path, below: PurePath) -> dict[str, str]:
    said: dict[str, str] = {}
    for part in below.parts[:-1]:
        if match := re.fullmatch("(?:section|id)_([A-Za-z0-9-]+)", part, re.IGNORECASE):
            field, value = "section", match[1]
        elif part.lower() in _FOLDERS:
            field, value = _FOLDERS[part.lower()]
        else:
            continue
        if said.setdefault(field, value) != value:
            raise UserError(
                plain(f"{path}: its folders say {said[field]} and {value}; move it to one of them")
            )
    return said


def _listed(path: Path) -> Iterator[tuple[str, Path, dict[str, str]]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            lines = csv.reader(file)
            header = [name.strip() for name in next(lines, [])]
            _check_header(path, header)
            found: set[Path] = set()
            for row in lines:
                if any(field.strip() for field in row):
                    machine_type, clip, said = _row(path, lines.line_num, header, row)
                    if clip in found:
                        raise UserError(f"{path}: line {lines.line_num}: {shown(clip.name)} stands "
                                        "there twice; remove one of the two lines")  # fmt: skip
                    found.add(clip)
                    yield machine_type, clip, said
    except (csv.Error, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not a list of clips ({error}); {_HELP}") from error


def _check_header(path: Path, header: Sequence[str]) -> None:
    if lacking := [name for name in NEEDED if name not in header]:
        raise UserError(f"{path}: no column {lacking[0]}; {_HELP}")
    if other := [name for name in header if name not in (*NEEDED, *ALLOWED)]:
        raise UserError(f"{path}: no column is called {shown(other[0])}; {_HELP}")
    if len(set(header)) < len(header):
        raise UserError(f"{path}: one column stands there twice; {_HELP}")


def _row(
    path: Path, number: int, header: Sequence[str], row: Sequence[str]
) -> tuple[str, Path, dict[str, str]]:
    if len(row) != len(header):
        raise UserError(f"{path}: line {number}: {len(row)} fields, the header has {len(header)}")
    said = {k: v.strip() for k, v in zip(header, row, strict=True) if v.strip()}
    for field, right in (
        ("file", lambda value: "\0" not in value),
        ("machine_type", _TYPE.fullmatch),
        ("split", ("train", "test").__contains__),
        ("section", _SECTION.fullmatch),
        ("domain", ("source", "target").__contains__),
        ("label", _LABELS.__contains__),
    ):
        if field in NEEDED and field not in said:
            raise UserError(f"{path}: line {number}: no {field}")
        if field in said and not right(said[field]):
            raise UserError(f"{path}: line {number}: {shown(said[field])} is no {field}; "
                            f"{_HELP}")  # fmt: skip
    if "label" in said:
        said["label"] = ("normal", "anomaly")[_LABELS[said["label"]]]
    return said.pop("machine_type"), path.parent / said.pop("file"), said
