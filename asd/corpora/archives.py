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

from asd.corpora.fetch import DISK_BYTES, PAUSE_SECONDS, Archive, download
from common import UserError

# In a folder of ours; of every archive in it the md5, then its files, indented.
MARKER = ".complete"


def unpack(zips: Sequence[Path], top: str, target: Path) -> list[list[str]]:
    """Unpack into the folder `target` what archives hold below their own folder `top`.

    Returns
    -------
    the files of each archive, relative to `target`

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
                    file = target / _below_top(member)
                    file.parent.mkdir(parents=True, exist_ok=True)
                    # "x": never into a file that is hard-linked to the folder in use.
                    with archive.open(member) as source, file.open("xb") as sink:
                        shutil.copyfileobj(source, sink, DISK_BYTES)
                    bar.update(member.file_size)
    return [[_below_top(member) for member in members[path]] for path in zips]


def _below_top(member: zipfile.ZipInfo) -> str:
    return str(PurePosixPath(*PurePosixPath(member.filename).parts[1:]))


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
    folder: Path,
    archives: Sequence[Archive],
    elsewhere: Sequence[Path] = (),
    pause_seconds: float = PAUSE_SECONDS,
) -> None:
    """Make `folder` hold these archives; it appears, or is replaced, in one rename.

    Parameters
    ----------
    elsewhere : folders of ours; what they hold of the archives is linked, not downloaded again

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
        if held >= wanted:
            more = ", and holds other archives that are kept" if held > wanted else ""
            print(f"{folder}: whole, skipped{more}")
        else:
            _replace(folder, zips, held if held < wanted else set(), elsewhere, pause_seconds)
        for path in zips.values():
            path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # another folder's archives wait there
            (parent / ".download").rmdir()


def _replace(
    folder: Path,
    zips: dict[Archive, Path],
    kept: set[str],
    elsewhere: Sequence[Path],
    pause_seconds: float,
) -> None:
    """Make the folder anew of what it keeps (md5s), of what is linked and what is downloaded."""
    linked: list[tuple[Path, str]] = []
    missing = []
    for archive, path in zips.items():
        if archive.md5 in kept:
            continue
        if source := _holder(archive.md5, [folder, *elsewhere]):
            print(f"{folder}: {archive.name} is unpacked in {source}, linked")
            linked.append((source, archive.md5))
        else:
            download(archive, path, pause_seconds)
            missing.append((path, archive.md5))
    if folder.exists() and not kept:
        print(
            f"{folder}: holds other archives than {', '.join(a.name for a in zips)}; replacing it"
        )
    _build(folder, bool(kept), linked, missing)
    print(f"{folder}: ready")


def _contents(folder: Path) -> dict[str, list[str]]:
    """What the marker says: by md5 the files of an archive; none of those of older versions."""
    contents: dict[str, list[str]] = {}
    for line in (folder / MARKER).read_text(encoding="utf-8").splitlines():
        if line.startswith(" ") and contents:
            contents[list(contents)[-1]].append(line[1:])
        else:
            contents[line] = []
    return contents


def _holder(md5: str, folders: Sequence[Path]) -> Path | None:
    """A folder in which every file of an archive is known and there."""
    for folder in folders:
        if (folder / MARKER).is_file():
            names = _contents(folder).get(md5)
            if names and all((folder / name).is_file() for name in names):
                return folder
    return None


def held_md5s(folder: Path) -> set[str]:
    """The md5s of the archives in a folder of ours; none where there is no folder.

    Raises
    ------
    UserError : there is a folder, and it is not ours.
    """
    if (folder / MARKER).is_file():
        return set(_contents(folder))
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


def _build(
    folder: Path,
    keep: bool,
    linked: Sequence[tuple[Path, str]],
    zips: Sequence[tuple[Path, str]],
) -> None:
    """Put a folder together aside, then swap it in.

    Parameters
    ----------
    keep : with the files that it has
    linked : with the files of archives (md5) that are unpacked in other folders
    zips : with the files of these archives
    """
    staging, old = (folder.with_name(f".{word}-{folder.name}") for word in ("staging", "old"))
    contents = {}
    if keep:  # but the marker: hard-linked, the new one would show in the old folder
        contents |= _contents(folder)
        other = shutil.ignore_patterns(MARKER)
        shutil.copytree(folder, staging, ignore=other, copy_function=_link)
    for source, md5 in linked:
        contents[md5] = _contents(source)[md5]
        for name in contents[md5]:
            target = staging / name
            target.parent.mkdir(parents=True, exist_ok=True)
            _link(str(source / name), str(target))
    files = unpack([path for path, _ in zips], folder.name, staging)
    contents |= {md5: names for (_, md5), names in zip(zips, files, strict=True)}
    lines = [line for md5 in sorted(contents) for line in (md5, *(f" {n}" for n in contents[md5]))]
    (staging / MARKER).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
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
