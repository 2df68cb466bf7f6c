"""What flows through the scripts: clips, sets of them, and their anomaly scores."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from asd import files, messages
from asd.paths import Paths
from common import UserError

NAMED_BAD_CLIPS = 10  # in a message


@dataclass(frozen=True)
class Clip:
    """One recording."""

    path: Path
    machine_type: str
    section: str  # the machine id of DCASE 2020, digits: "01"
    split: str  # "train" or "test"
    label: int | None  # 0 normal, 1 anomalous, None unknown
    domain: str | None = None  # "source", "target"
    attributes: str = ""  # of the operation, as the name tells them
    n_samples: int | None = None  # its length, once its header was read
    alias: str = ""  # where the file's name alone is other clips' too

    @property
    def name(self) -> str:
        """What it is called in every file that is written: its file's name, or its alias."""
        return self.alias or self.path.name

    @property
    def place(self) -> tuple[int, str]:
        """By which sections are ordered: by number, where they are numbers."""
        return int(self.section) if self.section.isdecimal() else -1, self.section


@dataclass(frozen=True)
class BadClip:
    """A recording that cannot be used, and why, with the remedy."""

    path: Path
    reason: str


@dataclass(frozen=True)
class ClipSet:
    """The clips of a split of a machine type, and what was found wrong with others there."""

    mode: str  # "dev" or "eval"
    machine_type: str
    split: str  # "train" or "test"
    folders: tuple[Path, ...]
    clips: tuple[Clip, ...]
    bad: tuple[BadClip, ...] = ()

    @property
    def name(self) -> str:
        """`dev_ToyCar_train`."""
        return f"{self.mode}_{self.machine_type}_{self.split}"

    def without(self, bad: dict[int, str]) -> ClipSet:
        """The same without some clips, given by position, which turned out bad for a reason."""
        clips = tuple(clip for i, clip in enumerate(self.clips) if i not in bad)
        more = [BadClip(self.clips[i].path, reason) for i, reason in bad.items()]
        return dataclasses.replace(self, clips=clips, bad=(*self.bad, *more))


@dataclass(frozen=True)
class Scores:
    """The anomaly scores of clips of one machine type."""

    clips: tuple[Clip, ...]
    values: np.ndarray  # (n_clips,) float64; higher is more anomalous

    @property
    def machine_type(self) -> str:
        """The machine type of the clips."""
        return self.clips[0].machine_type

    @property
    def labels(self) -> np.ndarray:
        """(n_clips,) int64: 0 normal, 1 anomalous, -1 unknown."""
        return np.array([-1 if clip.label is None else clip.label for clip in self.clips])

    def at(self, index: np.ndarray) -> Scores:
        """Some of the clips, by position."""
        return Scores(tuple(self.clips[i] for i in index), self.values[index])

    def by_section(self) -> Iterator[tuple[str, Scores]]:
        """The scores of each section (machine id), in order."""
        sections = np.array([clip.section for clip in self.clips])
        for _, section in sorted({clip.place for clip in self.clips}):
            yield section, self.at(np.flatnonzero(sections == section))

    def relative_errors(self, values: np.ndarray) -> np.ndarray:
        """How far other scores of the same clips are from these: |other - this| / this.

        Parameters
        ----------
        values : (n_clips,) float64

        Returns
        -------
        (n_clips,) float64
        """
        return np.abs(values - self.values) / np.maximum(self.values, np.finfo(float).tiny)


def judge(paths: Paths, sets: Sequence[ClipSet], skip_bad_clips: bool, told: int = 0) -> None:
    """List the bad clips in skipped.csv and go on without them, or stop at them.

    Parameters
    ----------
    told : how many of them, the first, have been printed before

    Raises
    ------
    UserError : there are bad clips that are not to be skipped, or a set has no others.
    """
    bad = [clip for clip_set in sets for clip in clip_set.bad]
    lines = [messages.plain(f"{clip.path}: {clip.reason}") for clip in bad]
    if bad and not skip_bad_clips:
        if len(lines) > NAMED_BAD_CLIPS:
            lines[NAMED_BAD_CLIPS:] = [f"and {len(lines) - NAMED_BAD_CLIPS} more"]
        lines[-1] += " (--skip-bad-clips goes on without)"
        raise UserError("\n".join(lines))
    for line in lines[told:]:
        print(f"skipped {line}")
    _record_skipped(paths.table("skipped"), sets)
    for clip_set in sets:
        if not clip_set.clips:
            raise UserError(f"{clip_set.name}: no usable clip is left")


def _record_skipped(path: Path, sets: Sequence[ClipSet]) -> None:
    """Replace the rows of some sets in skipped.csv; without any row there is no file.

    A folder may hold clips of another split, too: their rows stay while they are there.
    """
    header = ["file", "reason"]
    folders = {str(folder) for one in sets for folder in one.folders}
    good = {str(clip.path) for one in sets for clip in one.clips}
    bad = {str(clip.path): clip.reason for one in sets for clip in one.bad}

    def stays(file: str) -> bool:
        if str(Path(file).parent) not in folders:
            return True
        return file not in good and file not in bad and Path(file).is_file()

    rows = files.read_csv(path)[1:] if path.exists() else []
    rows = [row for row in rows if row and stays(row[0])]
    rows += [[file, reason] for file, reason in bad.items()]
    if rows:
        files.write_csv(path, [header, *rows])
    else:
        path.unlink(missing_ok=True)
