"""Unpack zip archives that may be damaged or hostile: checked whole before anything is written."""

from __future__ import annotations

import contextlib
import io
import shutil
import stat
import struct
import unicodedata
import zipfile
import zlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import BinaryIO, NamedTuple

from tqdm import tqdm

from asd.corpora.answers import one_line
from asd.corpora.fetch import DISK_BYTES
from common import UserError

MARKER = ".complete"  # in a folder of ours: what it holds
OWNER = ".get_dataset"  # in a folder that is being made or deleted
# DCASE 2020 Task 2 comes near none of these.
MOST_MEMBERS = 50_000  # of an archive
MOST_DIRECTORY_BYTES = 8 << 20  # of an archive's list of members, which is read at once
MOST_BYTES = 64 << 30  # unpacked, of all archives together
MOST_RATIO = 100  # unpacked to packed: sound has 1 to 3, a bomb up to 1032
PART_BYTES, NAME_BYTES = 255, 1000  # of a file's name, of its path: what file systems take
SHOWN = 80  # characters of a name in a message


class _Placed(NamedTuple):
    """A file of an archive, and where it goes."""

    member: zipfile.ZipInfo
    name: str  # below the folder
    there: bool = False  # another archive has brought the same

    @property
    def crc(self) -> str:
        return f"{self.member.CRC:08x}"


def tops(path: Path) -> list[str]:
    """The folders at the top of an archive; a UserError where one is unsafe, or it no sound zip."""
    with _opened(path) as archive:
        names = [member.filename for member in archive.infolist()]
    for name in names:
        if unsafe(name.removesuffix("/")):
            _refuse(path, name, "is not a plain file")
    return sorted({name.partition("/")[0] for name in names if "/" in name})


def unpack(
    zips: Sequence[Path],
    top: str,
    target: Path,
    others: Mapping[str, str],
    beside: Collection[str] = (),
) -> list[dict[str, str]]:
    """Unpack into the folder `target`, which is there, what archives hold below their `top`.

    A file that two archives have is there once. Where they have another of one name directly below
    `top`, as a table of attributes of the training clips and one of the test clips, the second
    one's name gets that of its archive: `attributes_00_<archive>.csv`; that is printed.

    Parameters
    ----------
    others : what other archives have brought: by name, relative to `target`, the CRC-32
    beside : other folders at the top of the archives, which are left there

    Returns
    -------
    the files of each archive: by name, relative to `target`, the CRC-32, 8 hex digits

    Raises
    ------
    UserError : before anything is written, see `listed`, or when the disk is too small; later,
        when an archive is damaged or holds a file that is there.
    """
    placed = _checked(zips, top, others, beside)
    new = [(path, [one for one in placed[path] if not one.there]) for path in zips]
    needed = sum(one.member.file_size for _, some in new for one in some)  # bytes
    free = shutil.disk_usage(target.parent).free
    if needed > free:
        raise UserError(
            f"{target.parent}: {needed / 1e9:.1f} GB are needed to unpack {top}, "
            f"{free / 1e9:.1f} GB are free; free some space and run again"
        )
    for path, one in ((path, one) for path, some in new for one in some):
        if one.name != _below_top(one.member):
            print(f"{top}/{_below_top(one.member)}: another one in {path.name}, kept as {one.name}")
    bar = tqdm(desc=f"unpacking {top}", total=needed, unit="B", unit_scale=True, disable=None)
    with bar:
        for path, some in new:
            with _opened(path) as archive:
                for one in some:
                    _unpack_member(archive, one.member, target / one.name)
                    bar.update(one.member.file_size)
    return [_sums(placed[path]) for path in zips]


def listed(zips: Sequence[Path], top: str, others: Mapping[str, str]) -> list[dict[str, str]]:
    """The files that are there after `unpack`, by archive: by name the CRC-32, 8 hex digits.

    Raises
    ------
    UserError : an archive is damaged or larger than any of ours, or a member could be stored
        nowhere, outside of `top`, in the place of another one, or only in part.
    """
    placed = _checked(zips, top, others)
    return [_sums(placed[path]) for path in zips]


def unsafe(name: str) -> bool:
    """Whether a relative path may lead out of its folder, or not every file system takes it."""
    parts = name.split("/")
    return (
        not name.isprintable()  # the marker is lines of names
        or any(sign in name for sign in "\\:")
        or any(part in ("", ".", "..") or len(part.encode()) > PART_BYTES for part in parts)
        or len(name.encode()) > NAME_BYTES
    )


def _below_top(member: zipfile.ZipInfo) -> str:
    return member.filename.partition("/")[2]


def _sums(placed: Sequence[_Placed]) -> dict[str, str]:
    return {one.name: one.crc for one in placed}


def _unpack_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    size = member.file_size
    member.file_size = size + 1  # zipfile would cut what is more, and nobody would know
    try:
        # "x": never into a file that is hard-linked to the folder in use.
        with archive.open(member) as source, file.open("xb") as sink:
            found = _copy(source, sink, size + 1)
    finally:
        member.file_size = size
    if found != size:
        raise zipfile.BadZipFile(f"{_shown(member.filename)} has another size than it announces")


def _copy(source: BinaryIO, sink: BinaryIO, most: int) -> int:
    """Copy `most` bytes or all that there are; how many there were."""
    done = 0
    while block := source.read(min(DISK_BYTES, most - done)):
        sink.write(block)
        done += len(block)
    return done


def _checked(
    zips: Sequence[Path], top: str, others: Mapping[str, str], beside: Collection[str] = ()
) -> dict[Path, list[_Placed]]:
    """The files of archives that can be unpacked together, and where each goes."""
    members = {path: _members(path, top, beside) for path in zips}
    spelled: dict[str, str] = {}  # by what file systems may take for the same: the name
    files: dict[str, tuple[Path | None, str]] = {}  # of which archive, CRC-32
    for name, crc in others.items():
        _spell(None, PurePosixPath(top, name), spelled)
        files[_key(PurePosixPath(top, name))] = None, crc
    placed: dict[Path, list[_Placed]] = {path: [] for path in zips}
    for path in zips:
        for member in members[path]:
            _spell(path, PurePosixPath(member.filename), spelled)
            one = _place(path, member, files)
            name = PurePosixPath(top, one.name)
            _spell(path, name, spelled)
            files.setdefault(_key(name), (path, one.crc))
            placed[path].append(one)
    for path in zips:
        for one in placed[path]:
            for folder in PurePosixPath(top, one.name).parents:
                if _key(folder) in files:
                    _refuse(path, str(folder), "is a file and a folder")
    needed = sum(member.file_size for path in zips for member in members[path])  # bytes
    if needed > MOST_BYTES:
        _refuse(zips[0], top, f"with {needed / 1e9:.0f} GB is larger than any data set of ours")
    return placed


def _spell(path: Path | None, name: PurePosixPath, spelled: dict[str, str]) -> None:
    """Refuse a name that some file systems take for another one, or one of a folder above it."""
    for each in (name, *name.parents):
        other = spelled.setdefault(_key(each), str(each))
        if other != str(each) and path:
            _refuse(path, str(each), f"and {_shown(other)} are alike")


def _place(
    path: Path, member: zipfile.ZipInfo, files: Mapping[str, tuple[Path | None, str]]
) -> _Placed:
    """Where a file of an archive goes, when others have gone to their places."""
    one, name = _Placed(member, _below_top(member)), PurePosixPath(member.filename)
    if _key(name) not in files:
        return one
    other, crc = files[_key(name)]
    if other != path and crc == one.crc:
        return one._replace(there=True)
    if other != path and "/" not in one.name and name.suffix.lower() != ".wav":
        renamed = name.with_name(f"{name.stem}_{path.stem}{name.suffix}")
        if _key(renamed) not in files and not unsafe(renamed.name):
            return one._replace(name=renamed.name)
    raise UserError(
        f"{path}: would overwrite {_shown(str(name))} of {other or 'another archive'}; delete "
        "both, or the folder that holds it, and run again"
    )


def _key(name: PurePosixPath) -> str:
    return unicodedata.normalize("NFKC", str(name)).casefold()


def _members(path: Path, top: str, beside: Collection[str]) -> list[zipfile.ZipInfo]:
    """The files of an archive below its folder `top`, all checked to be plain and whole."""
    with _opened(path) as archive:
        members, end = archive.infolist(), archive.start_dir
    if len(members) > MOST_MEMBERS:
        _refuse(path, top, f"has {len(members)} members, more than any data set of ours")
    for member in members:
        if why := _fault(member, top, beside):
            _refuse(path, member.orig_filename, why)
    for member in sorted(members, key=lambda member: member.header_offset, reverse=True):
        # 30 bytes and the name are the least that stands before a member's data.
        size = 30 + len(member.orig_filename) + member.compress_size
        if not 0 <= member.header_offset <= end - size:
            _refuse(path, member.orig_filename, "overlaps what comes after it")
        end = member.header_offset
    files = [member for member in members if not member.is_dir()]
    if sum(member.file_size for member in files) > MOST_RATIO * path.stat().st_size:
        _refuse(path, top, f"would unpack to more than {MOST_RATIO} times its size")
    return [member for member in files if member.filename.partition("/")[0] == top]


def _fault(member: zipfile.ZipInfo, top: str, beside: Collection[str]) -> str | None:
    """What is wrong with a member that is no plain file or folder below `top`."""
    name = member.orig_filename
    kind = stat.S_IFMT(member.external_attr >> 16)  # 0 where the archive tells none
    kinds = (0, stat.S_IFREG, stat.S_IFDIR) if name.endswith("/") else (0, stat.S_IFREG)
    parts = name.split("/")
    if (
        unsafe(name.removesuffix("/"))
        or parts[0] not in (top, *beside)
        or len(parts) == 1
        or name != member.filename  # zipfile cuts at a NUL, and knows a field for another name
        or kind not in kinds
    ):
        return f"is not a plain file in {top}/"
    if _key(PurePosixPath(parts[1])) in (MARKER, OWNER):
        return f"has the name of a file of ours in {top}/"
    if member.flag_bits & 0x41:
        return "is encrypted"
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return f"has the compression {member.compress_type}, which is not read here"
    return None


def _refuse(path: Path, name: str, why: str) -> None:
    raise UserError(
        f"{path}: refused, {_shown(name)} {why}; delete it and download it elsewhere, nothing "
        "was unpacked"
    )


def _shown(name: str) -> str:
    """A name of any characters and length as a piece of a line."""
    return repr(name) if len(name) <= SHOWN else f"{name[:SHOWN]!r}..."


class _Bounded(io.BufferedReader):
    """A file of which nobody reads more at once than an archive of ours needs."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > MOST_DIRECTORY_BYTES:
            raise zipfile.BadZipFile(f"a list of members of {size} bytes")
        return super().read(size)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    try:
        with _Bounded(io.FileIO(path)) as file, zipfile.ZipFile(file) as archive:
            yield archive
    except FileExistsError as error:
        raise UserError(f"{path}: would overwrite {error.filename}; move that away") from error
    # RuntimeError is how zipfile tells unknown features; names that are not UTF-8, sizes and
    # places that no file has are the others.
    except (zipfile.BadZipFile, zlib.error, struct.error, EOFError, RuntimeError, ValueError,
            OverflowError) as error:  # fmt: skip
        raise UserError(
            f"{path}: not a sound zip file ({one_line(error)}); delete it, run again"
        ) from error
