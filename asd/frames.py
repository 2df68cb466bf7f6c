"""Frame stores: the log-mel frames of a set of clips, computed once, read from disk as needed.

A store is two files in the feature folder: `<mode>_<type>_<split>_<key>.f32`, the frames of all
clips one after the other, and a `.json` beside it that says where each clip begins. The key is
made of the feature settings, the folder, and the clips' names, sizes and times.
"""

from __future__ import annotations

import dataclasses
import zlib
from argparse import Namespace
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import msgspec
import numpy as np

import common
from asd import workers
from common import BadClip, Clip, Config, UserError

FORMAT = 2  # goes into the key: raise it when the meaning of the stored numbers changes


@dataclasses.dataclass(frozen=True)
class ClipSet:
    """The clips of one folder, and what was found wrong with others in it."""

    mode: str  # "dev" or "eval"
    machine_type: str
    split: str  # "train" or "test"
    clips: tuple[Clip, ...]
    bad: tuple[BadClip, ...] = ()

    @property
    def name(self) -> str:
        """`dev_ToyCar_train`."""
        return f"{self.mode}_{self.machine_type}_{self.split}"


@dataclasses.dataclass(frozen=True)
class FrameStore:
    """The kept frames of a clip set; `store[i]` reads those of clip i, (n_frames, n_mels), dB.

    Attributes
    ----------
    clips : the clips, in order
    path : the .f32 file, (n_frames, n_mels) float32, dB
    n_mels : mel bands of a frame
    offsets : (n_clips + 1,) int64, rows; clip i is rows offsets[i] to offsets[i + 1]
    checksum : CRC-32 of the file
    """

    clips: tuple[Clip, ...]
    path: Path
    n_mels: int
    offsets: np.ndarray
    checksum: int

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, i: int) -> np.ndarray:
        return self.read([range(len(self))[i]])

    @property
    def n_frames(self) -> int:
        """Frames of all clips."""
        return int(self.offsets[-1])

    def n_windows(self, n: int) -> np.ndarray:
        """Windows of n frames in each clip, (n_clips,) int64."""
        return np.diff(self.offsets) - n + 1

    def read(self, clips: Sequence[int], space: int = 0) -> np.ndarray:
        """The frames of some clips, one clip after the other.

        Parameters
        ----------
        space : rows to leave free before them

        Returns
        -------
        (space + n_frames, n_mels) float32, dB
        """
        counts = self.offsets[np.add(clips, 1)] - self.offsets[clips]
        rows = np.empty((space + counts.sum(), self.n_mels), np.float32)
        with self.path.open("rb", buffering=0) as file:
            at = space
            for clip, count in zip(clips, counts, strict=True):
                self._read_into(file, rows[at : at + count], self.offsets[clip])
                at += count
        return rows

    def gather(self, windows: np.ndarray, n: int) -> np.ndarray:
        """Windows of n frames by their numbers, counted through all clips.

        Returns
        -------
        (len(windows), n * n_mels) float32, dB
        """
        ends = np.cumsum(self.n_windows(n))
        clips = np.searchsorted(ends, windows, "right")
        starts = windows + clips * (n - 1)  # a clip has n - 1 frames more than windows
        vectors = np.empty((len(windows), n * self.n_mels), np.float32)
        with self.path.open("rb", buffering=0) as file:
            for vector, start in zip(vectors, starts, strict=True):
                self._read_into(file, vector, start)
        return vectors

    def _read_into(self, file: BinaryIO, values: np.ndarray, row: int) -> None:
        file.seek(int(row) * self.n_mels * values.itemsize)
        if file.readinto(values) != values.nbytes:
            raise UserError(f"{self.path}: changed while it was read; run again")

    @property
    def fingerprint(self) -> str:
        """16 hex digits that stand for the clips' names and frames."""
        return common.config_hash([[clip.path.name for clip in self.clips], self.checksum])


def survey(cfg: Config, args: Namespace, machine_types: Sequence[str], split: str) -> list[ClipSet]:
    """Find and check (name, header, length) the clips of some machine types.

    Raises
    ------
    UserError : a folder is missing or empty, or a clip cannot be used and --skip-bad-clips was
        not given.
    """
    sets = []
    for machine_type in machine_types:
        folder = cfg.data(args.mode) / machine_type / split
        found, bad = common.find_clips(folder, args.mode, split)
        clips = []
        for clip in found:
            if reason := common.check_clip(clip.path, cfg.feature):
                bad.append(BadClip(clip.path, reason))
            else:
                clips.append(clip)
        sets.append(ClipSet(args.mode, machine_type, split, tuple(clips), tuple(bad)))
    _judge(cfg, args, sets)
    return sets


def load(cfg: Config, args: Namespace, clip_set: ClipSet) -> FrameStore:
    """The frame store of a clip set; computed where it is missing, outdated or damaged.

    Raises
    ------
    UserError : as `survey`, for clips whose samples turn out to be unusable.
    """
    path = _store_path(cfg, clip_set)
    index = _read_index(path) or _compute(path, clip_set, cfg)
    if index.bad:
        bad = [BadClip(clip_set.clips[i].path, reason) for i, reason in index.bad.items()]
        clips = [clip for i, clip in enumerate(clip_set.clips) if i not in index.bad]
        told = len(clip_set.bad)
        clip_set = dataclasses.replace(clip_set, clips=tuple(clips), bad=(*clip_set.bad, *bad))
        _judge(cfg, args, [clip_set], told)
    offsets = np.array(index.offsets)
    return FrameStore(clip_set.clips, path, cfg.feature.n_mels, offsets, index.checksum)


class _Index(msgspec.Struct):
    """What the .json of a store says."""

    offsets: list[int]  # of the good clips, and the end
    bad: dict[int, str]  # position in the clip set: reason
    checksum: int  # CRC-32 of the .f32 file
    size: int  # bytes of the .f32 file
    seal: str = ""  # of the fields above

    def sealed(self) -> str:
        bad = {str(i): reason for i, reason in self.bad.items()}
        return common.config_hash([self.offsets, bad, self.checksum, self.size])


def _store_path(cfg: Config, clip_set: ClipSet) -> Path:
    folder = cfg.data(clip_set.mode) / clip_set.machine_type / clip_set.split
    stats = [clip.path.stat() for clip in clip_set.clips]
    clips = [
        (clip.path.name, stat.st_size, stat.st_mtime_ns)
        for clip, stat in zip(clip_set.clips, stats, strict=True)
    ]
    of_folder = common.config_hash([FORMAT, cfg.feature, str(folder.resolve())])[:8]
    of_clips = common.config_hash(clips)[:8]
    return Path(cfg.feature_directory) / f"{clip_set.name}_{of_folder}_{of_clips}.f32"


def _read_index(path: Path) -> _Index | None:
    """The index of a whole and undamaged store, else None; damage is said."""
    try:
        index = msgspec.json.decode(path.with_suffix(".json").read_bytes(), type=_Index)
    except FileNotFoundError:
        return None
    except (msgspec.DecodeError, UnicodeDecodeError):
        index = _Index([], {}, 0, -1)
    checksum, size = 0, 0
    if path.is_file():
        with path.open("rb") as file:
            while block := file.read(1 << 22):
                checksum, size = zlib.crc32(block, checksum), size + len(block)
    if (index.checksum, index.size, index.seal) == (checksum, size, index.sealed()):
        return index
    print(f"{path}: the frame store is damaged; computing it again")
    return None


def _compute(path: Path, clip_set: ClipSet, cfg: Config) -> _Index:
    """Compute the frames of all clips and write the store."""
    index = _Index([0], {}, 0, 0)
    with common.whole_file(path) as temporary, temporary.open("wb") as file:
        for i, result in enumerate(_extract(clip_set, cfg)):
            if isinstance(result, str):
                index.bad[i] = result
                continue
            file.write(result)
            index.offsets.append(index.offsets[-1] + len(result))
            index.checksum = zlib.crc32(result, index.checksum)
            index.size += result.nbytes
    index.seal = index.sealed()
    common.write_json(path.with_suffix(".json"), index)
    for old in path.parent.glob(f"{path.stem.rpartition('_')[0]}_*"):
        if old.stem != path.stem:
            old.unlink()
    return index


def _extract(clip_set: ClipSet, cfg: Config) -> Iterator[np.ndarray | str]:
    """The frames of each clip, or why it has none, in order."""
    import soundfile

    def frames_of(clip: Clip) -> np.ndarray | str:
        try:
            return common.clip_frames(clip.path, cfg.feature)
        except (ValueError, OSError, soundfile.LibsndfileError) as error:
            return f"{error}; replace it"

    title = f"log-mel frames, {clip_set.machine_type} {clip_set.split}"
    yield from workers.in_order(frames_of, clip_set.clips, title, cfg.workers)


def _judge(cfg: Config, args: Namespace, sets: Sequence[ClipSet], told: int = 0) -> None:
    """List the bad clips in skipped.csv and go on without them, or stop at them.

    The first `told` of them have been printed before.
    """
    bad = [clip for clip_set in sets for clip in clip_set.bad]
    lines = [f"{clip.path}: {clip.reason}" for clip in bad]
    if bad and not args.skip_bad_clips:
        if len(lines) > 10:
            lines[10:] = [f"and {len(lines) - 10} more"]
        lines[-1] += " (--skip-bad-clips goes on without)"
        raise UserError("\n".join(lines))
    for line in lines[told:]:
        print(f"skipped {line}")
    folders = {str(cfg.data(s.mode) / s.machine_type / s.split) for s in sets}
    _record_skipped(cfg.results / "skipped.csv", folders, bad)
    for clip_set in sets:
        if not clip_set.clips:
            raise UserError(f"{clip_set.name}: no usable clip is left")


def _record_skipped(path: Path, folders: set[str], bad: Sequence[BadClip]) -> None:
    """Replace the rows of some folders in skipped.csv; without any row there is no file."""
    header = ["file", "reason"]
    rows = common.read_csv(path)[1:] if path.exists() else []
    rows = [row for row in rows if row and str(Path(row[0]).parent) not in folders]
    rows += [[str(clip.path), clip.reason] for clip in bad]
    if rows:
        common.write_csv(path, [header, *rows])
    else:
        path.unlink(missing_ok=True)
