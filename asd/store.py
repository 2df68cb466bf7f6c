"""Stores: rows of each clip of a set, computed once, read from disk as needed.

The rows are a clip's frames, or one embedding. A store is two files in the feature folder:
`<mode>_<type>_<split>_<key>.f32`, the rows of all clips one after the other, and a `.json` beside
it that says where each clip begins. The key is made of what the rows are, the folder, and what
the file system tells of the clips: names, sizes, times, inodes.
"""

from __future__ import annotations

import contextlib
import dataclasses
import glob
import os
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import msgspec
import numpy as np

from asd import files, workers
from asd.clips import NAMED_BAD_CLIPS, Clip, ClipSet, judge
from asd.paths import Paths
from asd.rows import Extracted, Rows
from common import UnusableClip, UserError

FORMAT = 4  # goes into the key: raise it when the meaning of the stored numbers changes
READ_BYTES = 1 << 22  # block of a file whose checksum is taken


@dataclasses.dataclass(frozen=True)
class Store:
    """Rows of clips; `store[i]` reads those of clip i, (n_rows, width) of the rows' dtype.

    Attributes
    ----------
    clips : the clips, in order
    rows : what they are
    path : the .f32 file, (n_rows, width) of the rows' dtype, mostly float32
    file : the same, open: another run may delete it meanwhile
    offsets : (n_clips + 1,) int64, rows; clip i is rows offsets[i] to offsets[i + 1]
    identities : of each clip, what stands for its bytes
    """

    clips: tuple[Clip, ...]
    rows: Rows
    path: Path
    file: BinaryIO
    offsets: np.ndarray
    identities: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, i: int) -> np.ndarray:
        return self.read([range(len(self))[i]])

    @property
    def width(self) -> int:
        """Values of a row."""
        return self.rows.width

    @property
    def n_rows(self) -> int:
        """Rows of all clips."""
        return int(self.offsets[-1])

    def n_windows(self, n: int) -> np.ndarray:
        """Windows of n successive rows in each clip, (n_clips,) int64."""
        return np.diff(self.offsets) - n + 1

    def read(self, clips: Sequence[int], space: int = 0) -> np.ndarray:
        """The rows of some clips, one clip after the other.

        Parameters
        ----------
        space : rows to leave free before them

        Returns
        -------
        (space + n_rows, width)
        """
        counts = self.offsets[np.add(clips, 1)] - self.offsets[clips]
        rows = np.empty((space + counts.sum(), self.width), self.rows.dtype)
        at = space
        for clip, count in zip(clips, counts, strict=True):
            self._read_into(rows[at : at + count], self.offsets[clip])
            at += count
        return rows

    def windows_of(self, clips: Sequence[int], n: int) -> np.ndarray:
        """The numbers of the windows of some clips, counted through all clips, int64."""
        counts = self.n_windows(n)
        starts = np.cumsum(counts) - counts
        some = [starts[clip] + np.arange(counts[clip]) for clip in clips]
        return np.concatenate([np.empty(0, np.int64), *some])

    def gather(self, windows: np.ndarray, n: int) -> np.ndarray:
        """Windows of n rows by their numbers, counted through all clips.

        Returns
        -------
        (len(windows), n * width)
        """
        ends = np.cumsum(self.n_windows(n))
        clips = np.searchsorted(ends, windows, "right")
        starts = windows + clips * (n - 1)  # a clip has n - 1 rows more than windows
        vectors = np.empty((len(windows), n * self.width), self.rows.dtype)
        for vector, start in zip(vectors, starts, strict=True):
            self._read_into(vector, start)
        return vectors

    def _read_into(self, values: np.ndarray, row: int) -> None:
        at = int(row) * self.width * values.itemsize
        if os.preadv(self.file.fileno(), [values], at) != values.nbytes:
            raise UserError(f"{self.path}: changed while it was read; run again")

    @property
    def fingerprint(self) -> str:
        """16 hex digits that stand for the clips, their names and bytes, and what rows are."""
        names = [clip.name for clip in self.clips]
        return files.fingerprint([names, self.identities, self.rows.title, self.rows.settings])

    def __str__(self) -> str:
        n_clips, feature = len(self), self.rows.feature
        text = f"{n_clips} clips, {self.n_rows} rows of {self.rows.title}"
        lengths = [clip.n_samples for clip in self.clips]
        if feature.central_frames is None or None in lengths:
            return text
        first, end = feature.central_frames
        used = (end - first) * feature.hop_length * n_clips / sum(lengths)
        return (f"{text}; {min(used, 1):.0%} of the clips' length is used, frames {first} to {end} "
                "(feature.central_frames)")  # fmt: skip


def load(paths: Paths, clip_set: ClipSet, rows: Rows, skip_bad_clips: bool, verify: bool) -> Store:
    """The store of a clip set; computed where it is missing, outdated or damaged.

    Parameters
    ----------
    skip_bad_clips : go on without clips whose samples turn out to be unusable
    verify : compare the checksum of a store that is there, not only its size and time

    Raises
    ------
    UserError : as `clips.judge`.
    """
    path = _path(paths, clip_set, rows)
    files.sweep(path.parent)
    file, index = _read(path, verify) or _compute(path, clip_set, rows, paths.cfg.workers)
    remarks = [f"{clip_set.clips[i].path}: {text}" for i, text in index.remarks.items()]
    if len(remarks) > NAMED_BAD_CLIPS:
        remarks[NAMED_BAD_CLIPS:] = [f"and {len(remarks) - NAMED_BAD_CLIPS} more clips"]
    for remark in remarks:
        print(f"warning: {remark}")
    if index.bad:
        told = len(clip_set.bad)
        clip_set = clip_set.without(index.bad)
        judge(paths, [clip_set], skip_bad_clips, told)
    return Store(clip_set.clips, rows, path, file, np.array(index.offsets), tuple(index.identities))


class _Index(msgspec.Struct):
    """What the .json of a store says."""

    offsets: list[int]  # of the good clips, and the end
    identities: list[str]  # of the good clips
    bad: dict[int, str]  # position in the clip set: reason
    remarks: dict[int, str]  # position in the clip set: what is odd about a good clip
    checksum: int  # CRC-32 of the .f32 file
    size: int  # bytes of the .f32 file
    modified_ns: int = 0  # when the .f32 file was
    seal: str = ""  # of the fields above

    def sealed(self) -> str:
        values = msgspec.to_builtins(self, str_keys=True)
        del values["seal"]
        return files.fingerprint(values)

    def write(self, path: Path) -> None:
        """Write the index of the store at `path`."""
        self.seal = self.sealed()
        files.write_json(path.with_suffix(".json"), self)


def _path(paths: Paths, clip_set: ClipSet, rows: Rows) -> Path:
    stats = [clip.path.stat() for clip in clip_set.clips]
    clips = [
        (clip.name, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino)
        for clip, stat in zip(clip_set.clips, stats, strict=True)
    ]
    folders = "\n".join(str(folder.resolve()) for folder in clip_set.folders)
    which = paths.cfg.training_ids
    of_folder = files.fingerprint([FORMAT, rows.title, rows.settings, folders, which])[:8]
    return paths.store(clip_set.name, f"{of_folder}_{files.fingerprint(clips)[:8]}")


def _read(path: Path, verify: bool) -> tuple[BinaryIO, _Index] | None:
    """A whole and undamaged store, opened, with its index, else None; damage is said."""
    try:
        content = path.with_suffix(".json").read_bytes()
    except FileNotFoundError:
        return None
    try:
        index = msgspec.json.decode(content, type=_Index)
        file = path.open("rb", buffering=0)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, FileNotFoundError):
        print(f"{path}: the stored features are damaged; computing them again")
        return None
    stat = os.fstat(file.fileno())
    whole = (index.size, index.seal) == (stat.st_size, index.sealed())
    moved = whole and stat.st_mtime_ns != index.modified_ns  # or written to
    if whole and (verify or moved):
        whole = _checksum(file) == index.checksum
    if not whole:
        print(f"{path}: the stored features are damaged; computing them again")
        file.close()
        return None
    if moved:
        index.modified_ns = stat.st_mtime_ns
        with contextlib.suppress(OSError):  # of a folder that cannot be written to
            index.write(path)
    return file, index


def _checksum(file: BinaryIO) -> int:
    checksum = 0
    while block := file.read(READ_BYTES):
        checksum = zlib.crc32(block, checksum)
    return checksum


def _compute(path: Path, clip_set: ClipSet, rows: Rows, n_workers: int) -> tuple[BinaryIO, _Index]:
    """Compute the rows of all clips and write the store."""
    index = _Index([0], [], {}, {}, 0, 0)
    with files.whole_file(path, durable=True) as temporary:
        with temporary.open("wb") as file:
            for i, result in enumerate(_extract(clip_set, rows, n_workers)):
                if isinstance(result, str):
                    index.bad[i] = result
                    continue
                file.write(result.rows)
                index.identities.append(result.identity)
                if result.remark:
                    index.remarks[i] = result.remark
                index.offsets.append(index.offsets[-1] + len(result.rows))
                index.checksum = zlib.crc32(result.rows, index.checksum)
                index.size += result.rows.nbytes
        index.modified_ns = temporary.stat().st_mtime_ns
        opened = temporary.open("rb", buffering=0)  # now: later it may be another run's
    index.write(path)
    for old in path.parent.glob(f"{glob.escape(path.stem.rpartition('_')[0])}_*"):
        if old.stem != path.stem:
            old.unlink(missing_ok=True)
    return opened, index


def _extract(clip_set: ClipSet, rows: Rows, n_workers: int) -> Iterator[Extracted | str]:
    """What is kept of each clip, or why nothing is, in order."""

    def of(clip: Clip) -> Extracted | str:
        try:
            return rows.of(clip.path)
        except UnusableClip as error:  # an OSError may pass, and ends the run
            return f"{error}; replace it"

    title = f"{rows.title}, {clip_set.machine_type} {clip_set.split}"
    yield from workers.in_order(of, clip_set.clips, title, n_workers)
