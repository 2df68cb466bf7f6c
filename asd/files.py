"""Files that appear under their names only when whole; CSV and JSON."""

from __future__ import annotations

import contextlib
import csv
import errno
import fcntl
import functools
import hashlib
import json
import operator
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from asd import csv_cells, messages
from common import UserError

OURS = ".asd-"  # folders of files that are being written


@contextlib.contextmanager
def whole_file(path: Path, durable: bool = False) -> Iterator[Path]:
    """A temporary file of the same name, renamed to `path` on success and removed on failure.

    It stands in a folder of its own beside `path`, locked while this process lives, so that what
    a killed one left is told from what others are writing, on whatever machine, and removed.

    Parameters
    ----------
    durable : on disk before it appears: after a power failure it is whole or not there
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    sweep(path.parent)
    folder, lock = _own_folder(path)
    temporary = folder / path.name
    try:
        yield temporary
        if durable:
            _flush(temporary)
        temporary.replace(path)
        if durable:
            _flush(path.parent)
    except OSError as error:
        if error.filename in (None, str(temporary), temporary):
            error.filename = str(path)  # the name that a person knows
        raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def is_file(path: Path) -> bool:
    """Whether a regular file is there; see `exists`."""
    return exists(path) and path.is_file()


def exists(path: Path) -> bool:
    """Whether something is there: not under a name that the disk cannot have.

    Nor in a folder that must not be read.
    """
    try:
        return path.exists()
    except OSError:
        return False


def _own_folder(path: Path) -> tuple[Path, int]:
    """A new folder beside `path`, and what holds its lock until it is closed."""
    while True:
        try:
            folder = Path(tempfile.mkdtemp(prefix=OURS, dir=path.parent))
        except OSError as error:
            error.filename = str(path)
            raise
        try:
            lock = os.open(folder, os.O_RDONLY)
            with contextlib.suppress(OSError):  # a file system without locks: never swept
                fcntl.flock(lock, fcntl.LOCK_EX)
        except FileNotFoundError:  # swept by another run in the moment before it was locked
            continue
        if folder.is_dir():
            return folder, lock
        os.close(lock)


@functools.cache
def sweep(folder: Path) -> None:
    """Remove what dead runs left half written in a folder; once in a process."""
    for left in folder.glob(f"{OURS}*"):
        with contextlib.suppress(OSError):  # somebody is writing there, or has just ended
            lock = os.open(left, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(left)
            finally:
                os.close(lock)


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno != errno.EINVAL:  # a file system that cannot do that to a folder
            raise
    finally:
        os.close(handle)


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Wait until no other run publishes files in a folder that belong together."""
    lock = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def read_bounded(path: Path, most: int) -> bytes:
    """The bytes of a file.

    Raises
    ------
    UserError : it has more than `most`.
    """
    with path.open("rb") as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise UserError(f"{path}: more than {most:,} bytes, which is no model for here")
    return content


def check_writable(folder: Path) -> None:
    """Raise the OSError that writing into the folder would, before any work is spent."""
    folder.mkdir(parents=True, exist_ok=True)
    sweep(folder)
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        error.filename = str(folder)
        raise


MOST_LEVELS = 30  # of a record; ours have five
# Names that are not UTF-8 keep their bytes, whatever the locale.
_UTF8 = {"encoding": "utf-8", "errors": "surrogateescape"}


def write_csv(path: Path, rows: Iterable[Sequence[Any]]) -> None:
    """Write rows; floats with all their digits, lines ended by a newline alone.

    No text becomes a spreadsheet's formula: see `asd.csv_cells`.
    """
    with whole_file(path) as temporary, temporary.open("w", newline="", **_UTF8) as file:
        plain = csv.writer(file, lineterminator="\n")
        quoted = csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_ALL)
        for row in rows:
            cells = [csv_cells.cell(value) for value in row]
            # Some Pythons leave a carriage return bare, and then read it as the end of a row.
            with_return = any(isinstance(cell, str) and "\r" in cell for cell in cells)
            (quoted if with_return else plain).writerow(cells)


def read_csv(path: Path) -> list[list[str]]:
    """All rows of a CSV file, as text, as they were given to `write_csv`.

    Raises
    ------
    FileNotFoundError : there is none.
    UserError : it is damaged.
    """
    try:
        with path.open(newline="", **_UTF8) as file:
            return [[csv_cells.text(cell) for cell in row] for row in csv.reader(file)]
    except csv.Error as error:
        raise UserError(f"{path}: damaged ({error}); remove it") from error


def read_table(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file by the names in its first one; none where there is no file.

    Raises
    ------
    UserError : it is damaged.
    """
    names, *rows = read_csv(path) if path.is_file() else [[]]
    if any(len(row) != len(names) for row in rows):
        raise UserError(f"{path}: damaged, a row is cut short; remove it")
    return [dict(zip(names, row, strict=True)) for row in rows]


def write_json(
    path: Path, values: Any, durable: bool = False, instead_of: Path | None = None
) -> None:
    """Write plain values as indented JSON.

    Parameters
    ----------
    durable : see `whole_file`
    instead_of : a file that is removed when this one is on disk, before it appears
    """
    with whole_file(path, durable) as temporary:
        text = json.dumps(msgspec.to_builtins(values), indent=2) + "\n"
        temporary.write_text(text, encoding="utf-8")
        if instead_of:
            _flush(temporary)
            instead_of.unlink(missing_ok=True)


def read_json(path: Path) -> Any:
    """Read a JSON file of ours.

    Raises
    ------
    UserError : the file is missing or damaged.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file") from error
    except RecursionError as error:
        raise UserError(f"{path}: damaged (nested too deep); remove it") from error
    except ValueError as error:
        raise UserError(
            f"{path}: damaged ({messages.plain(str(error), 100)}); remove it"
        ) from error


def read_mapping(path: Path) -> dict[str, Any]:
    """Read a JSON file of ours that holds keys and values.

    Raises
    ------
    UserError : the file is missing or damaged, or holds something else.
    """
    values = read_json(path)
    if not isinstance(values, dict):
        raise UserError(f"{path}: damaged, it does not hold keys and values; remove it")
    level = [values]
    for _ in range(MOST_LEVELS):
        inside = (one.values() if isinstance(one, dict) else one for one in level)
        level = [part for parts in inside for part in parts if isinstance(part, dict | list)]
    if level:
        raise UserError(f"{path}: damaged (nested too deep); remove it")
    return values


def read_keys(path: Path, *keys: str) -> list[Any]:
    """The values of some keys, dotted where they lie deeper, of a JSON file of ours.

    Raises
    ------
    UserError : the file is missing or damaged.
    """
    record = read_mapping(path)
    try:
        return [functools.reduce(operator.getitem, key.split("."), record) for key in keys]
    except (KeyError, TypeError, IndexError) as error:
        raise UserError(f"{path}: damaged, it lacks {' or '.join(keys)}; remove it") from error


def file_hash(path: Path) -> str:
    """SHA-256 of a file, 64 hex digits."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def fingerprint(values: Any) -> str:
    """A short fingerprint of plain values: 16 hex digits of the SHA-256 of their JSON."""
    text = json.dumps(msgspec.to_builtins(values), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
