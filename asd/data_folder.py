"""Make a data folder of zip archives: it appears, or is replaced, in one rename."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import stat
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from tqdm import tqdm

from asd.fetch import DISK_BYTES, PAUSE_SECONDS, Archive, download
from common import UserError

MARKER = ".complete"  # in a folder of ours: the md5 of every archive in it, one per line


def unpack(zips: Sequence[Path], top: str, target: Path) -> None:
    """Unpack into the folder `target` what archives hold below their own folder `top`.

    Raises
    ------
    UserError : before anything is written, when a member is not a file below `top` or the disk
        is too small; later, when an archive is damaged or holds a file that is there.
    """
    members = {path: _members(path, top) for path in zips}
    needed = sum(member.file_size for path in zips for member in members[path])  # bytes
    free = shutil.disk_usage(target.parent).free
    if needed > free:
        raise UserError(
            f"{target.parent}: {needed / 1e9:.1f} GB are needed to unpack {top}, "
            f"{free / 1e9:.1f} GB are free; free some space and run again"
        )
    target.mkdir(exist_ok=True)
    bar = tqdm(desc=f"unpacking {top}", total=needed, unit="B", unit_scale=True, disable=None)
    with bar:
        for path in zips:
            with _opened(path) as archive:
                for member in members[path]:
                    file = target.joinpath(*PurePosixPath(member.filename).parts[1:])
                    file.parent.mkdir(parents=True, exist_ok=True)
                    # "x": never into a file that is hard-linked to the folder in use.
                    with archive.open(member) as source, file.open("xb") as sink:
                        shutil.copyfileobj(source, sink, DISK_BYTES)
                    bar.update(member.file_size)


def _members(path: Path, top: str) -> list[zipfile.ZipInfo]:
    """The files of an archive, all checked to be plain and below its folder `top`."""
    with _opened(path) as archive:
        members = archive.infolist()
    for member in members:
        parts = PurePosixPath(member.filename).parts
        kind = stat.S_IFMT(member.external_attr >> 16)  # 0 where the archive tells none
        if parts[:1] != (top,) or ".." in parts or kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise UserError(f"{path}: refused, {member.filename!r} is not a plain file in {top}/")
    return [member for member in members if not member.is_dir()]


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except FileExistsError as error:
        raise UserError(f"{path}: would overwrite {error.filename}") from error
    # RuntimeError is how zipfile tells encryption and unknown compression.
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:
        raise UserError(f"{path}: not a sound zip file ({error}); delete it, run again") from error


def fetch_folder(
    folder: Path, archives: Sequence[Archive], pause_seconds: float = PAUSE_SECONDS
) -> None:
    """Make `folder` hold exactly these archives; it appears, or is replaced, in one rename.

    Raises
    ------
    UserError : see `held_md5s`, `download` and `unpack`; or another run is at work beside it.
    """
    parent = folder.parent
    parent.mkdir(parents=True, exist_ok=True)
    with _alone(parent):
        _mend(parent)
        held, wanted = held_md5s(folder), {archive.md5 for archive in archives}
        zips = {archive: parent / ".download" / archive.name for archive in archives}
        if held == wanted:
            print(f"{folder}: whole, skipped")
        else:
            kept = held if held < wanted else set()
            if held and not kept:
                print(f"{folder}: holds other archives than {', '.join(a.name for a in archives)}; "
                      "downloading all of them")  # fmt: skip
            missing = {a: path for a, path in zips.items() if a.md5 not in kept}
            for archive, path in missing.items():
                download(archive, path, pause_seconds)
            _build(folder, bool(kept), list(missing.values()), wanted)
            print(f"{folder}: ready")
        for path in zips.values():
            path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # another folder's archives wait there
            (parent / ".download").rmdir()


def held_md5s(folder: Path) -> set[str]:
    """The md5s of the archives in a folder of ours; none where there is no folder.

    Raises
    ------
    UserError : there is a folder, and it is not ours.
    """
    if (folder / MARKER).is_file():
        return set((folder / MARKER).read_text().split())
    if folder.exists():
        raise UserError(f"{folder}: not made by get_dataset.sh; move or delete it to download it")
    return set()


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Refuse a second run: it would take the first one's staging folder for a left-over."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(f"{folder}: another get_dataset.sh works in it; wait for it") from error
        except OSError:  # some network file systems cannot lock a folder: go on unguarded
            pass
        yield
    finally:
        os.close(handle)


def _build(folder: Path, keep: bool, zips: Sequence[Path], md5s: set[str]) -> None:
    staging, old = (folder.with_name(f".{word}-{folder.name}") for word in ("staging", "old"))
    if keep:  # but the marker: hard-linked, the new one would show in the old folder
        other = shutil.ignore_patterns(MARKER)
        shutil.copytree(folder, staging, ignore=other, copy_function=_link)
    unpack(zips, folder.name, staging)
    (staging / MARKER).write_text("".join(f"{md5}\n" for md5 in sorted(md5s)))
    if (folder / MARKER).is_file():
        folder.rename(old)
    staging.rename(folder)
    _remove(old)


def _link(source: str, target: str) -> None:
    try:
        Path(target).hardlink_to(source)
    except OSError:  # a file system without hard links
        shutil.copy2(source, target)


def _mend(parent: Path) -> None:
    """Put back the folders that an interrupted run had set aside; remove what else it left."""
    for old in parent.glob(".old-*"):
        folder = parent / old.name.removeprefix(".old-")
        if (old / MARKER).is_file() and not folder.exists():
            old.rename(folder)
        _remove(old)
    for staging in parent.glob(".staging-*"):
        _remove(staging)


def _remove(folder: Path) -> None:
    """Delete a folder of ours, its marker first: what an interrupt leaves never passes as whole."""
    if folder.is_symlink():
        folder.unlink()
    elif folder.exists():
        (folder / MARKER).unlink(missing_ok=True)
        shutil.rmtree(folder)
