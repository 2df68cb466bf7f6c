"""Make a data folder of zip archives: it appears, or is replaced, in one rename."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from asd.corpora import folders, zips
from asd.corpora.alone import alone
from asd.corpora.fetch import PAUSE_SECONDS, Archive, download
from asd.corpora.folders import Contents
from common import UserError


@dataclass
class _Plan:
    """What a folder is made of."""

    held: Contents  # of what was in it, what stays
    kept: list[str]  # the files of these archives, and those that no archive brought
    linked: dict[str, Path] = field(default_factory=dict)  # md5: the folder that has its files
    unpacked: dict[str, Path] = field(default_factory=dict)  # md5: the zip


def fetch_folder(
    folder: Path,
    archives: Sequence[Archive],
    elsewhere: Sequence[Path] = (),
    pause_seconds: float = PAUSE_SECONDS,
) -> None:
    """Make `folder` hold these archives; it appears, or is replaced, in one rename.

    Files in it that no archive brought, or that are no longer as it brought them, are kept.

    Parameters
    ----------
    elsewhere : folders of ours; what they hold of the archives is linked, not downloaded again

    Raises
    ------
    UserError : see `held_md5s`, `mend`, `download` and `unpack`; a file that is kept has the name
        of an archive's; or another run is at work beside it.
    """
    parent = folder.parent
    parent.mkdir(parents=True, exist_ok=True)
    with alone(parent, *(other.parent for other in elsewhere if other.parent.is_dir())):
        folders.mend(folder)
        held, wanted = folders.held_md5s(folder), {archive.md5 for archive in archives}
        paths = {archive: parent / ".download" / archive.name for archive in archives}
        if held >= wanted:
            more = ", and holds other archives that are kept" if held > wanted else ""
            print(f"{folder}: whole, skipped{more}")
        else:
            _replace(folder, paths, elsewhere, pause_seconds)
        for path in paths.values():
            path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # another folder's archives wait there
            (parent / ".download").rmdir()


def _replace(
    folder: Path, paths: dict[Archive, Path], elsewhere: Sequence[Path], pause_seconds: float
) -> None:
    """Make the folder anew of what it keeps, of what is linked and what is downloaded."""
    plan = _planned(folder, {archive.md5 for archive in paths})
    for archive, path in paths.items():
        if archive.md5 in plan.held:
            continue
        if source := _holder(archive.md5, [folder, *elsewhere]):
            print(f"{folder}: {archive.name} is unpacked in {source}, linked")
            plan.linked[archive.md5] = source
            known = folders.contents(source)[archive.md5].items()
            brought = {one for names in plan.held.values() for one in names.items()}
            _check_free(plan, folder, source, sorted(name for name, _ in known - brought))
        else:
            download(archive, path, pause_seconds)
            plan.unpacked[archive.md5] = path
    if folder.exists() and not plan.held:
        names = ", ".join(archive.name for archive in paths)
        print(f"{folder}: holds other archives than {names}; replacing it")
    if plan.kept and not plan.held:
        print(f"{folder}: {folders.shown(plan.kept)} kept, no archive brought that")
    try:
        _build(folder, plan)
    except Exception:
        folders.mend(folder)
        raise
    print(f"{folder}: ready")


def _planned(folder: Path, wanted: set[str]) -> _Plan:
    """What a folder keeps when it is to hold the archives of these md5s.

    Raises
    ------
    UserError : what no archive brought cannot be told, or is in the place of an archive's file.
    """
    if not folder.exists():
        return _Plan({}, [])
    held = folders.contents(folder)
    if held.keys() < wanted:
        return _Plan(held, list(folders.files_in(folder)))
    if not all(names and all(names.values()) for names in held.values()):
        raise UserError(
            f"{folder}: holds other archives, unpacked by an older version; files of your own "
            "could not be told from theirs: move or delete it to download it"
        )
    plan = _Plan({}, folders.foreign(folder, held))
    for md5 in held.keys() & wanted:  # before hours of download
        _check_free(plan, folder, folder, held[md5])
    return plan


def _check_free(plan: _Plan, folder: Path, source: Path, names: Iterable[str]) -> None:
    """Refuse new files in the place, or below the place, of what is kept."""
    kept = set(plan.kept)
    kept_folders = {str(parent) for name in kept for parent in PurePosixPath(name).parents}
    for name in names:
        for place in (name, *map(str, PurePosixPath(name).parents)):
            if place in kept or name in kept_folders:
                raise UserError(
                    f"{source}: would overwrite {folder / place}, which is to be kept; "
                    "move that away, then run again"
                )


def _holder(md5: str, places: Sequence[Path]) -> Path | None:
    """A folder in which every file of an archive is known and there, as the archive brought it."""
    for folder in places:
        if (folder / folders.MARKER).is_file():
            names = folders.contents(folder).get(md5)
            if names and all(_there(folder / name, crc) for name, crc in names.items()):
                return folder
    return None


def _there(file: Path, crc: str) -> bool:
    return folders.intact(file, crc) if crc else file.is_file()


def _build(folder: Path, plan: _Plan) -> None:
    """Put a folder together aside, then swap it in."""
    paths = list(plan.unpacked.values())
    held = dict(plan.held) | {
        md5: folders.contents(source)[md5] for md5, source in plan.linked.items()
    }
    there = {*plan.kept, *(name for md5 in plan.linked for name in held[md5])}
    brought = {name: crc for names in held.values() for name, crc in names.items() if name in there}
    for path, names in zip(paths, zips.listed(paths, folder.name, brought), strict=True):
        _check_free(plan, folder, path, sorted(names.keys() - brought.keys()))
    staging = folders.staging(folder)
    staging.mkdir()
    (staging / folders.OWNER).write_text("get_dataset.sh works here, and may delete all of it\n")
    for name in plan.kept:
        folders.place(folder / name, staging / name)
    for md5, source in plan.linked.items():
        for name in held[md5]:
            folders.place(source / name, staging / name)
    held |= zip(plan.unpacked, zips.unpack(paths, folder.name, staging, brought), strict=True)
    folders.write(staging, held)
    folders.swap(folder)
