"""The archives of a year of DCASE Task 2: what a Zenodo record holds, with sizes and md5s.

An md5 that `checksums.py` does not have is taken from the record's own API; what the record says
is kept beside the archives, in `.records/<number>.json`, and said.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import msgspec

from asd import files
from asd.corpora.checksums import MD5S
from asd.corpora.fetch import PAUSE_SECONDS, Archive, receive
from asd.corpora.rows import Corpus
from asd.messages import plain
from common import UserError

ZENODO = "https://zenodo.org"
MOST_BYTES = 4 << 20  # of a record's description; those of DCASE have some kilobytes
NAMES_SHOWN = 300  # letters of a record's file names in a message


class _File(msgspec.Struct):
    """A file of a record, as Zenodo's API tells it."""

    key: str  # its name
    size: Annotated[int, msgspec.Meta(ge=0)]  # bytes
    checksum: str = ""  # md5:<32 hex digits>


class _Record(msgspec.Struct):
    files: list[_File]
    url: str = ""  # where it was asked for, in what is kept


def parts(corpus: Corpus, mode: str) -> list[tuple[int, str]]:
    """Records and archives' names, {} for the machine type, of "dev" or "eval" data."""
    both = list(zip(corpus.records, corpus.archives, strict=True))
    return both[:1] if mode == "dev" else both[1:]


def archives(
    corpus: Corpus,
    mode: str,
    machine_type: str,
    folder: Path,
    mirror: str | None = None,
    pause_seconds: float = PAUSE_SECONDS,
) -> list[Archive]:
    """The archives of a machine type, with their md5s.

    Parameters
    ----------
    folder : where those of all machine types are unpacked; `.records` is in it
    mirror : takes the place of Zenodo: `<mirror>/<name>`, `<mirror>/api/records/<number>`

    Raises
    ------
    UserError : the record cannot be had, is none, or has no archive of that name.
    """
    found = []
    for record, pattern in parts(corpus, mode):
        stem = pattern.format(machine_type)
        if md5 := MD5S.get(corpus.name, {}).get(stem):
            name = f"{stem}.zip"
        else:
            name, md5 = _described(record, stem, folder, mirror, pause_seconds)
        url = (
            f"{mirror.rstrip('/')}/{name}" if mirror else f"{ZENODO}/records/{record}/files/{name}"
        )
        found.append(Archive(name, url, md5))
    return found


def _described(
    record: int, stem: str, folder: Path, mirror: str | None, pause_seconds: float
) -> tuple[str, str]:
    """Name and md5 of an archive, as kept, or as the record's API tells them."""
    kept = folder / ".records" / f"{record}.json"
    if kept.exists() and (one := _newest(_decoded(kept, f"{kept}: damaged; remove it"), stem)):
        return one
    url = f"{(mirror or ZENODO).rstrip('/')}/api/records/{record}"
    part = kept.with_suffix(".part")
    kept.parent.mkdir(parents=True, exist_ok=True)
    part.unlink(missing_ok=True)
    try:
        receive(url, part, pause_seconds, MOST_BYTES)
        listed = _decoded(part, f"{url}: not the description of a record; try again later")
    finally:
        part.unlink(missing_ok=True)
    one = _newest(listed, stem)
    if one is None:
        names = plain(", ".join(file.key for file in listed), NAMES_SHOWN) or "nothing"
        raise UserError(f"{url}: no {stem}.zip with an md5 in it; it has {names}")
    files.write_json(kept, _Record(listed, url))
    print(f"{kept}: names, sizes and md5s of {len(listed)} files, as {url} tells them")
    return one


def _newest(listed: Sequence[_File], stem: str) -> tuple[str, str] | None:
    """Name and md5 of an archive, of its last release, if both are there."""
    releases: dict[int, tuple[str, str]] = {}
    for file in listed:
        name = re.fullmatch(rf"{re.escape(stem)}(?:_r([0-9]{{1,3}}))?\.zip", file.key)
        md5 = re.fullmatch("md5:([0-9a-f]{32})", file.checksum)
        if name:
            releases[int(name[1] or 1)] = file.key, md5[1] if md5 else ""
    last = releases[max(releases)] if releases else ("", "")
    return last if last[1] else None


def _decoded(path: Path, wrong: str) -> list[_File]:
    if path.stat().st_size > MOST_BYTES:
        raise UserError(wrong)
    try:
        return msgspec.json.decode(path.read_bytes(), type=_Record).files
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UserError(f"{wrong} ({plain(str(error), 100)})") from error
