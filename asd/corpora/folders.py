"""Folders of ours: what their marker says, and how one takes another's place without any loss."""

from __future__ import annotations

import os
import re
import shutil
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from asd.corpora.fetch import DISK_BYTES
from asd.corpora.zips import MARKER, OWNER, unsafe
from common import UserError

# By md5 the files of an archive: by name their CRC-32, 8 hex digits, "" where the marker of an
# older version has none. Of markers that are still older, no files.
Contents = dict[str, dict[str, str]]

NAMES_SHOWN = 3


def contents(folder: Path) -> Contents:
    """What the marker of a folder of ours says.

    Raises
    ------
    UserError : the marker is damaged.
    """
    return _read(folder / MARKER)


def _read(marker: Path) -> Contents:
    found: Contents = {}
    try:
        for line in filter(None, marker.read_text(encoding="utf-8").split("\n")):
            name, _, crc = line[1:].partition("\t")
            if line.startswith(" ") and found and not unsafe(name):
                found[list(found)[-1]][name] = crc
            elif re.fullmatch("[0-9a-f]{32}", line):
                found[line] = {}
            else:
                raise ValueError(f"{line[:80]!r}")
    except ValueError as error:
        raise UserError(
            f"{marker}: damaged ({error}); move or delete its folder to download it"
        ) from error
    return found


def write(folder: Path, held: Contents) -> None:
    """Write the marker."""
    lines = [
        line
        for md5 in sorted(held)
        for line in (md5, *(f" {name}\t{crc}".rstrip("\t") for name, crc in held[md5].items()))
    ]
    text = "".join(f"{line}\n" for line in lines)
    (folder / MARKER).write_text(text, encoding="utf-8")


def held_md5s(folder: Path) -> set[str]:
    """The md5s of the archives in a folder of ours; none where there is no folder.

    Raises
    ------
    UserError : there is something, and it is not ours, or its marker is damaged.
    """
    if (folder / MARKER).is_file():
        return set(contents(folder))
    if os.path.lexists(folder):
        raise UserError(f"{folder}: not made by get_dataset.sh; move or delete it to download it")
    return set()


def intact(file: Path, crc: str) -> bool:
    """Whether a file is the one that an archive brought."""
    if file.is_symlink() or not file.is_file():
        return False
    found = 0
    with file.open("rb") as opened:
        while block := opened.read(DISK_BYTES):
            found = zlib.crc32(block, found)
    return f"{found:08x}" == crc


def files_in(folder: Path) -> Iterator[str]:
    """Whatever is no folder in a folder of ours, but for our own two files; links as they are."""

    def stop(error: OSError) -> None:
        raise error

    for place, folders, files in os.walk(folder, onerror=stop):
        links = [name for name in folders if (Path(place) / name).is_symlink()]
        for name in sorted([*links, *files]):
            below = str((Path(place) / name).relative_to(folder))
            if below not in (MARKER, OWNER):
                yield below


def foreign(folder: Path, held: Contents) -> list[str]:
    """The files of a folder of ours that no archive brought as they are."""
    known = _known(held)
    return [name for name in files_in(folder) if not _ours(folder, name, known)]


def _known(held: Contents) -> dict[str, str]:
    return {name: crc for names in held.values() for name, crc in names.items() if crc}


def _ours(folder: Path, name: str, known: dict[str, str]) -> bool:
    return name in known and intact(folder / name, known[name])


def shown(names: Sequence[str]) -> str:
    """The first of some names, and how many there are more."""
    first = ", ".join(n if n.isprintable() else repr(n) for n in names[:NAMES_SHOWN])
    more = len(names) - NAMES_SHOWN
    return f"{first} and {more} more" if more > 0 else first


def place(source: Path, target: Path) -> None:
    """Put a file at another place too, a link where the file system has links."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_symlink():
        target.symlink_to(source.readlink())
        return
    try:
        target.hardlink_to(source)
    except FileExistsError as error:  # a copy would go into whatever that is linked to
        if _same(source, target):
            return
        raise UserError(
            f"{target}: in two archives of one folder; delete the folders that have them, run again"
        ) from error
    except OSError:  # a file system without hard links
        shutil.copy2(source, target)


def staging(folder: Path) -> Path:
    """Where a folder is made."""
    return folder.with_name(f".staging-{folder.name}")


def _old(folder: Path) -> Path:
    return folder.with_name(f".old-{folder.name}")


def swap(folder: Path) -> None:
    """Put the folder that was made in the place of the one that is there.

    Raises
    ------
    UserError : see `held_md5s` and `_retire`.
    """
    held_md5s(folder)  # one that somebody made meanwhile stays
    if folder.exists():
        folder.rename(_old(folder))
    staging(folder).rename(folder)
    _finish(folder)


def mend(folder: Path) -> None:
    """Put back the folder that an interrupted run had set aside; remove what else it left.

    Raises
    ------
    UserError : what stands in the way was not left by a run; or see `_retire`.
    """
    made, old = staging(folder), _old(folder)
    ready = (made / OWNER).is_file() and (made / MARKER).is_file()
    if os.path.lexists(old):
        if ready and (old / MARKER).is_file() and not os.path.lexists(folder):
            old.rename(folder)
        elif not (folder / OWNER).is_file() and not _left(old):
            raise UserError(_in_the_way(old))
    if os.path.lexists(made):
        if not _left(made):
            raise UserError(_in_the_way(made))
        remove(made)
    _finish(folder)


def _left(path: Path) -> bool:
    """Whether a run that was stopped left this; just before its first or last step, it is empty."""
    if path.is_symlink() or not path.is_dir():
        return False
    return (path / OWNER).is_file() or not any(path.iterdir())


def _in_the_way(path: Path) -> str:
    return f"{path}: in the way, not left by get_dataset.sh; move it away, then run again"


def _finish(folder: Path) -> None:
    """After a swap, which is known by OWNER in one of both."""
    if os.path.lexists(_old(folder)):
        _retire(_old(folder), folder)
    (folder / OWNER).unlink(missing_ok=True)


def _retire(old: Path, folder: Path) -> None:
    """Delete of a replaced folder what an archive brought, move the rest into the new one.

    Raises
    ------
    UserError : a file is neither an archive's nor in the new folder, where another has its name.
    """
    if old.is_symlink():  # what it leads to is somebody else's
        old.unlink()
        return
    if (old / MARKER).is_file():  # a half deleted folder never passes as whole
        (old / MARKER).replace(old / OWNER)
    held = _read(old / OWNER) if (old / OWNER).is_file() else {}
    known, all_known = _known(held), all(held.values())
    moved, left = [], []
    for name in list(files_in(old)):
        path, target = old / name, folder / name
        if _same(path, target) or _ours(old, name, known):
            path.unlink()
        elif all_known and folder.is_dir() and not os.path.lexists(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            path.rename(target)
            moved.append(name)
        else:
            left.append(name)
    if moved:
        print(f"{folder}: {shown(moved)} kept, no archive brought that")
    if left:
        raise UserError(
            f"{old}: {shown(left)} came from no archive and {folder} has not the same; move the "
            "folder away, then run again"
        )
    for path, _, _ in os.walk(old, topdown=False):
        if Path(path) == old:
            (old / OWNER).unlink(missing_ok=True)
        Path(path).rmdir()  # fails where a file has come meanwhile


def _same(path: Path, other: Path) -> bool:
    """Whether two places hold the same: one file, equal links or equal bytes."""
    if not os.path.lexists(other) or path.is_symlink() != other.is_symlink():
        return False
    if path.is_symlink():
        return path.readlink() == other.readlink()
    if not path.is_file() or not other.is_file():
        return False
    if path.samefile(other):
        return True
    if path.stat().st_size != other.stat().st_size:
        return False
    with path.open("rb") as one, other.open("rb") as two:
        while (block := one.read(DISK_BYTES)) == two.read(DISK_BYTES):
            if not block:
                return True
    return False


def remove(folder: Path) -> None:
    """Delete a folder that OWNER shows to be ours, that file last."""
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.name != OWNER:
            path.unlink()
    (folder / OWNER).unlink(missing_ok=True)
    folder.rmdir()
