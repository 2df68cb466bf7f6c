"""Frame stores: the log-mel frames of a set of clips, computed once, memory-mapped from disk.

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

import msgspec
import numpy as np

import common
from asd import workers
from common import BadClip, Clip, Config, Feature, UserError

FORMAT = 1  # goes into the key: raise it when the meaning of the stored numbers changes


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
    """The kept frames of a clip set.

    Attributes
    ----------
    clips : the clips, in order
    frames : (n_frames, n_mels) float32, dB, memory-mapped, read-only
    offsets : (n_clips + 1,) int64, rows; clip i is frames[offsets[i]:offsets[i + 1]]
    checksum : CRC-32 of the frames
    """

    clips: tuple[Clip, ...]
    frames: np.ndarray
    offsets: np.ndarray
    checksum: int

    def __len__(self) -> int:
        return len(self.clips)

    def __iter__(self) -> Iterator[np.ndarray]:
        """The frames of each clip, (n_frames_of_clip, n_mels) float32, dB."""
        for first, end in zip(self.offsets[:-1], self.offsets[1:], strict=True):
            yield self.frames[first:end]

    def window_starts(self, n: int, clips: slice | None = None) -> np.ndarray:
        """Row of the first frame of every window of n frames, of all clips or of some.

        Returns
        -------
        (n_windows,) int32
        """
        index = range(len(self))[clips or slice(None)]
        ranges = [np.arange(self.offsets[i], self.offsets[i + 1] - n + 1) for i in index]
        return np.concatenate(ranges or [np.arange(0)]).astype(np.int32)

    def gather(self, starts: np.ndarray, n: int) -> np.ndarray:
        """The vectors that begin at the given rows.

        Returns
        -------
        (len(starts), n * n_mels) float32, dB
        """
        return self.frames[starts[:, None] + np.arange(n)].reshape(len(starts), -1)

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
    shape = (index.offsets[-1], cfg.feature.n_mels)
    frames = np.memmap(path, np.float32, mode="r", shape=shape)
    return FrameStore(clip_set.clips, frames, np.array(index.offsets), index.checksum)


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
    """The frames of each clip, or why it has none, in order, from worker processes."""
    feature = cfg.feature
    filters = common.mel_filters(feature.sample_rate, feature.n_fft, feature.n_mels)
    title = f"log-mel frames, {clip_set.machine_type} {clip_set.split}"
    paths = [clip.path for clip in clip_set.clips]
    yield from workers.in_order(_work, paths, title, cfg.workers, _start_worker, (feature, filters))


_worker: tuple[Feature, np.ndarray]  # set once in each worker process


def _start_worker(feature: Feature, filters: np.ndarray) -> None:
    global _worker
    _worker = feature, filters


def _work(path: Path) -> np.ndarray | str:
    import soundfile

    try:
        return common.clip_frames(path, *_worker)
    except (ValueError, OSError, soundfile.LibsndfileError) as error:
        return f"{error}; replace it"


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
