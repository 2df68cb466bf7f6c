"""Stores: rows of each clip of a set, computed once, read from disk as needed.

The rows are a clip's frames, or one embedding. A store is two files in the feature folder:
`<mode>_<type>_<split>_<key>.f32`, the rows of all clips one after the other, and a `.json` beside
it that says where each clip begins. The key is made of what the rows are, the folder, and the
clips' names, sizes and times.
"""

from __future__ import annotations

import contextlib
import dataclasses
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
import numpy as np

from asd import files, workers
from asd.clips import Clip, ClipSet, judge
from asd.files import Paths
from common import UserError

FORMAT = 3  # goes into the key: raise it when the meaning of the stored numbers changes
READ_BYTES = 1 << 22  # block of a file whose checksum is taken


@dataclasses.dataclass(frozen=True)
class Rows:
    """What a store holds of each clip.

    Attributes
    ----------
    title : in words
    settings : plain values that the rows depend on
    width : values of a row
    of_clip : function of a clip's path: (n_rows, width) float32; a ValueError says what is wrong
        with the clip
    """

    title: str
    settings: Any
    width: int
    of_clip: Callable[[Path], np.ndarray]


@dataclasses.dataclass(frozen=True)
class Store:
    """Rows of clips; `store[i]` reads those of clip i, (n_rows, width) float32.

    Attributes
    ----------
    clips : the clips, in order
    path : the .f32 file, (n_rows, width) float32
    width : values of a row
    offsets : (n_clips + 1,) int64, rows; clip i is rows offsets[i] to offsets[i + 1]
    checksum : CRC-32 of the file
    """

    clips: tuple[Clip, ...]
    path: Path
    width: int
    offsets: np.ndarray
    checksum: int

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, i: int) -> np.ndarray:
        return self.read([range(len(self))[i]])

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
        (space + n_rows, width) float32
        """
        counts = self.offsets[np.add(clips, 1)] - self.offsets[clips]
        rows = np.empty((space + counts.sum(), self.width), np.float32)
        with self.path.open("rb", buffering=0) as file:
            at = space
            for clip, count in zip(clips, counts, strict=True):
                self._read_into(file, rows[at : at + count], self.offsets[clip])
                at += count
        return rows

    def gather(self, windows: np.ndarray, n: int) -> np.ndarray:
        """Windows of n rows by their numbers, counted through all clips.

        Returns
        -------
        (len(windows), n * width) float32
        """
        ends = np.cumsum(self.n_windows(n))
        clips = np.searchsorted(ends, windows, "right")
        starts = windows + clips * (n - 1)  # a clip has n - 1 rows more than windows
        vectors = np.empty((len(windows), n * self.width), np.float32)
        with self.path.open("rb", buffering=0) as file:
            for vector, start in zip(vectors, starts, strict=True):
                self._read_into(file, vector, start)
        return vectors

    def _read_into(self, file: BinaryIO, values: np.ndarray, row: int) -> None:
        file.seek(int(row) * self.width * values.itemsize)
        if file.readinto(values) != values.nbytes:
            raise UserError(f"{self.path}: changed while it was read; run again")

    @property
    def fingerprint(self) -> str:
        """16 hex digits that stand for the clips' names and rows."""
        return files.fingerprint([[clip.path.name for clip in self.clips], self.checksum])


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
    index = _read_index(path, verify) or _compute(path, clip_set, rows, paths.cfg.workers)
    if index.bad:
        told = len(clip_set.bad)
        clip_set = clip_set.without(index.bad)
        judge(paths, [clip_set], skip_bad_clips, told)
    return Store(clip_set.clips, path, rows.width, np.array(index.offsets), index.checksum)


class _Index(msgspec.Struct):
    """What the .json of a store says."""

    offsets: list[int]  # of the good clips, and the end
    bad: dict[int, str]  # position in the clip set: reason
    checksum: int  # CRC-32 of the .f32 file
    size: int  # bytes of the .f32 file
    modified_ns: int = 0  # when the .f32 file was
    seal: str = ""  # of the fields above

    def sealed(self) -> str:
        bad = {str(i): reason for i, reason in self.bad.items()}
        values = [self.offsets, bad, self.checksum, self.size, self.modified_ns]
        return files.fingerprint(values)

    def write(self, path: Path) -> None:
        """Write the index of the store at `path`."""
        self.seal = self.sealed()
        files.write_json(path.with_suffix(".json"), self)


def _path(paths: Paths, clip_set: ClipSet, rows: Rows) -> Path:
    stats = [clip.path.stat() for clip in clip_set.clips]
    clips = [
        (clip.path.name, stat.st_size, stat.st_mtime_ns)
        for clip, stat in zip(clip_set.clips, stats, strict=True)
    ]
    folder = str(clip_set.folder.resolve())
    which = paths.cfg.training_ids
    of_folder = files.fingerprint([FORMAT, rows.title, rows.settings, folder, which])[:8]
    return paths.store(clip_set.name, f"{of_folder}_{files.fingerprint(clips)[:8]}")


def _read_index(path: Path, verify: bool) -> _Index | None:
    """The index of a whole and undamaged store, else None; damage is said."""
    try:
        index = msgspec.json.decode(path.with_suffix(".json").read_bytes(), type=_Index)
    except FileNotFoundError:
        return None
    except (msgspec.DecodeError, UnicodeDecodeError):
        index = _Index([], {}, 0, -1)
    stat = path.stat() if path.is_file() else None
    whole = stat and (index.size, index.seal) == (stat.st_size, index.sealed())
    moved = whole and stat.st_mtime_ns != index.modified_ns  # or written to
    if whole and (verify or moved):
        whole = _checksum(path) == index.checksum
    if not whole:
        print(f"{path}: the stored features are damaged; computing them again")
        return None
    if moved:
        index.modified_ns = stat.st_mtime_ns
        with contextlib.suppress(OSError):  # of a folder that cannot be written to
            index.write(path)
    return index


def _checksum(path: Path) -> int:
    checksum = 0
    with path.open("rb") as file:
        while block := file.read(READ_BYTES):
            checksum = zlib.crc32(block, checksum)
    return checksum


def _compute(path: Path, clip_set: ClipSet, rows: Rows, n_workers: int) -> _Index:
    """Compute the rows of all clips and write the store."""
    index = _Index([0], {}, 0, 0)
    with files.whole_file(path) as temporary:
        with temporary.open("wb") as file:
            for i, result in enumerate(_extract(clip_set, rows, n_workers)):
                if isinstance(result, str):
                    index.bad[i] = result
                    continue
                file.write(result)
                index.offsets.append(index.offsets[-1] + len(result))
                index.checksum = zlib.crc32(result, index.checksum)
                index.size += result.nbytes
        index.modified_ns = temporary.stat().st_mtime_ns
    index.write(path)
    for old in path.parent.glob(f"{path.stem.rpartition('_')[0]}_*"):
        if old.stem != path.stem:
            old.unlink()
    return index


def _extract(clip_set: ClipSet, rows: Rows, n_workers: int) -> Iterator[np.ndarray | str]:
    """The rows of each clip, or why it has none, in order."""

    def rows_of(clip: Clip) -> np.ndarray | str:
        try:
            return rows.of_clip(clip.path)
        except (ValueError, OSError) as error:
            return f"{error}; replace it"

    title = f"{rows.title}, {clip_set.machine_type} {clip_set.split}"
    yield from workers.in_order(rows_of, clip_set.clips, title, n_workers)
