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

    key: Annotated[str, msgspec.Meta(max_length=255, pattern=r"^[A-Za-z0-9][\w.+-]*$")]
    checksum: Annotated[str, msgspec.Meta(pattern="^md5:[0-9a-f]{32}$")]
    size: Annotated[int, msgspec.Meta(ge=0)]  # bytes


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
            listed = _listed(record, folder, mirror, pause_seconds)
            name, md5 = _newest(listed, stem, record)
        url = (
            f"{mirror.rstrip('/')}/{name}" if mirror else f"{ZENODO}/records/{record}/files/{name}"
        )
        found.append(Archive(name, url, md5))
    return found


def _newest(listed: Sequence[_File], stem: str, record: int) -> tuple[str, str]:
    """Name and md5 of an archive, of its last release."""
    releases = {}
    for file in listed:
        if match := re.fullmatch(rf"{re.escape(stem)}(?:_r([0-9]{{1,3}}))?\.zip", file.key):
            releases[int(match[1] or 1)] = file
    if not releases:
        names = plain(", ".join(file.key for file in listed), NAMES_SHOWN) or "nothing"
        raise UserError(f"record {record}: no {stem}.zip in it; it has {names}")
    newest = releases[max(releases)]
    return newest.key, newest.checksum.removeprefix("md5:")


def _listed(record: int, folder: Path, mirror: str | None, pause_seconds: float) -> Sequence[_File]:
    """The files of a record, as kept, or as its API tells."""
    kept = folder / ".records" / f"{record}.json"
    if kept.exists():
        return _decoded(kept, f"{kept}: damaged; remove it").files
    url = f"{(mirror or ZENODO).rstrip('/')}/api/records/{record}"
    part = kept.with_suffix(".part")
    kept.parent.mkdir(parents=True, exist_ok=True)
    part.unlink(missing_ok=True)
    try:
        receive(url, part, pause_seconds, MOST_BYTES)
        found = _decoded(part, f"{url}: not the description of a record; try again later")
    finally:
        part.unlink(missing_ok=True)
    files.write_json(kept, _Record(found.files, url))
    print(f"{kept}: names, sizes and md5s of {len(found.files)} files, as {url} tells them")
    return found.files


def _decoded(path: Path, wrong: str) -> _Record:
    if path.stat().st_size > MOST_BYTES:
        raise UserError(wrong)
    try:
        return msgspec.json.decode(path.read_bytes(), type=_Record)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UserError(f"{wrong} ({plain(str(error), 100)})") from error
