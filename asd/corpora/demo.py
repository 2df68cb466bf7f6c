"""Make a demo data set: synthetic machine sound in the layout of DCASE 2020 Task 2.

    python -m asd.corpora.demo [--out demo_data] [--seed 0] [-m DemoFan DemoPump] ...

Writes `<out>/{dev_data,eval_data}/<type>/{train,test}/*.wav` (16 kHz, 16 bit, mono),
`<out>/causes.csv`: what is wrong in each anomalous clip and how strongly, and `<out>/README.txt`.
Run again, it makes what is missing; with other options, it makes the set anew.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import os
import sys
import wave
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from asd import cli, files, workers
from asd.corpora import demo_sound
from asd.corpora.alone import alone
from common import UserError

STAMP = "demo.json"  # the options of the set that a folder holds, whole or interrupted
CAUSES = "causes.csv"  # written last: with it, the set is whole
GOLDEN = 0.618034  # its multiples modulo 1 fill [0, 1) evenly, however many there are
DEFAULT_TYPES = ["DemoFan", "DemoPump"]
MOST_IDS = 50  # per type: dev and eval share the numbers of two digits
MOST_CLIPS = 99_999_999  # a clip's number has eight digits
LEAST_SECONDS, MOST_SECONDS = 0.1, 3600.0  # of a clip
WAV_HEADER_BYTES = 44  # of the clips that `wave` writes
WEAKEST = 0.1  # strengths of anomalies lie in [WEAKEST, 1]

README = """DEMO SOUND, NOT RECORDINGS
These clips are synthetic (asd/corpora/demo_sound.py). They show that the tools work; results on
them mean nothing for real machines. ./get_dataset.sh gets recordings: DCASE 2020 Task 2.
Layout and names are those of DCASE 2020 Task 2. causes.csv says what is wrong in each anomalous
clip of dev_data and eval_data, and how strongly (0..1); clips that it does not list are normal.
Seed {seed}. All options: {options}
"""


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the clips depend on."""

    seed: int
    machine_types: tuple[str, ...]
    ids: int  # per machine type
    train_clips: int  # per id
    test_clips: int  # per id and label
    eval: bool
    seconds: float
    sound_version: int = demo_sound.VERSION

    def __post_init__(self) -> None:
        if unknown := set(self.machine_types) - set(demo_sound.MACHINES):
            raise ValueError(f"unknown machine type {unknown.pop()}")
        counts = self.train_clips, self.test_clips
        if not (
            1 <= self.ids <= MOST_IDS
            and all(1 <= count <= MOST_CLIPS for count in counts)
            and LEAST_SECONDS <= self.seconds <= MOST_SECONDS
        ):
            raise ValueError("a number beyond its limits")


@dataclass(frozen=True)
class DemoClip:
    """A clip of the set. Its sound depends on this, the seed and the length, on nothing else."""

    mode: str  # "dev" or "eval"
    machine_type: str
    machine_id: str  # two digits
    kind: str  # folder and label: "train/normal_", "test/normal_", "test/anomaly_" or "test/"
    number: int
    cause: str | None = None
    strength: float = 0.0

    @property
    def path(self) -> str:
        """Where it is in the set's folder."""
        folder = f"{self.mode}_data/{self.machine_type}"
        return f"{folder}/{self.kind}id_{self.machine_id}_{self.number:08d}.wav"


def plan(options: Options) -> Iterator[DemoClip]:
    """All clips of a set: dev ids 00, 02, 04, ...; eval ids 01, 03, 05, ... with half as many."""
    for machine_type, number in itertools.product(options.machine_types, range(options.ids)):
        unit = machine_type, f"{2 * number:02d}"
        for i in range(options.train_clips):
            yield DemoClip("dev", *unit, "train/normal_", i)
        for i in range(options.test_clips):
            yield DemoClip("dev", *unit, "test/normal_", i)
            yield DemoClip("dev", *unit, "test/anomaly_", i, *_fault(options.seed, *unit, i))
        if options.eval:
            yield from _eval_clips(options, machine_type, f"{2 * number + 1:02d}")


def _eval_clips(options: Options, *unit: str) -> Iterator[DemoClip]:
    for i in range(-(-options.train_clips // 2)):
        yield DemoClip("eval", *unit, "train/normal_", i)
    for i in range(-(-options.test_clips // 2)):
        # A coin for each pair: shuffled, and the same however many clips there are.
        fault = _fault(options.seed, *unit, i)
        coin = demo_sound.generator(options.seed, "/".join([*unit, str(i)])).integers(2)
        yield DemoClip("eval", *unit, "test/", 2 * i, *(fault if coin else ()))
        yield DemoClip("eval", *unit, "test/", 2 * i + 1, *(() if coin else fault))


def _fault(seed: int, machine_type: str, machine_id: str, i: int) -> tuple[str, float]:
    """Cause and strength of a machine's i-th anomaly: causes by turns, strengths evenly spread."""
    causes = demo_sound.MACHINES[machine_type].causes
    turn, which = divmod(i, len(causes))
    name = f"{machine_type}/{machine_id}/{causes[which]}"
    start = demo_sound.generator(seed, name).random()
    return causes[which], round(WEAKEST + (1 - WEAKEST) * ((start + turn * GOLDEN) % 1), 3)


def write_clip(out: Path, options: Options, clip: DemoClip) -> None:
    """Make one clip; the file appears under its name when it is whole."""
    cause = demo_sound.CAUSES.get(clip.cause)
    running = cause(clip.strength) if cause else demo_sound.Running()
    machine = demo_sound.unit(clip.machine_type, clip.machine_id)
    rng = demo_sound.generator(options.seed, clip.path)
    n_samples = round(options.seconds * demo_sound.SAMPLE_RATE)
    sound = demo_sound.clip(machine, running, rng, n_samples)
    samples = np.round(sound * np.iinfo(np.int16).max).astype("<i2")
    # Not soundfile: its errors of a full disk are no OSErrors.
    with files.whole_file(out / clip.path) as path, wave.open(str(path), "wb") as file:
        file.setparams((1, 2, demo_sound.SAMPLE_RATE, len(samples), "NONE", None))
        file.writeframes(samples.tobytes())


def _made(out: Path) -> Options | None:
    """The options of the set that is in a folder, whole or not; None where there is nothing.

    Raises
    ------
    UserError : the folder holds something else.
    """
    stamp = out / STAMP
    if not stamp.exists():
        if out.exists() and any(out.iterdir()):
            raise UserError(f"{out}: not empty, and no demo set; name another folder with --out")
        return None
    try:
        return msgspec.convert(files.read_json(stamp), Options)
    except msgspec.ValidationError as error:
        raise UserError(f"{stamp}: of another version; name another --out") from error


def _check_unchanged(out: Path, options: Options) -> None:
    """Refuse to remove a set in which somebody has put a clip of his own in the place of one.

    Raises
    ------
    UserError : a clip has another length than those that were made, or is newer than causes.csv,
        which is made after all of them.
    """
    n_bytes = WAV_HEADER_BYTES + 2 * round(options.seconds * demo_sound.SAMPLE_RATE)
    causes = out / CAUSES
    made_ns = causes.stat().st_mtime_ns if causes.exists() else None
    for clip in plan(options):
        path = out / clip.path
        if not os.path.lexists(path):
            continue
        status = path.lstat()
        if status.st_size != n_bytes or (made_ns is not None and status.st_mtime_ns > made_ns):
            raise UserError(
                f"{path}: not as it was made; move it away, or name another folder with --out"
            )


def _remove(out: Path, options: Options) -> None:
    """Remove a set's clips and causes.csv, and the folders that this leaves empty; nothing else."""
    (out / CAUSES).unlink(missing_ok=True)
    paths = [out / clip.path for clip in plan(options)]
    for path in paths:
        path.unlink(missing_ok=True)
    folders = {folder for path in paths for folder in list(path.parents)[:3]}  # below out
    for folder in sorted(folders, reverse=True):  # the deepest first
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    def number(kind: type, least: float, most: float) -> Callable[[str], float]:
        def convert(text: str) -> float:
            if not least <= (value := kind(text)) <= most:
                raise argparse.ArgumentTypeError(f"{text} is not between {least} and {most}")
            return value

        convert.__name__ = kind.__name__  # named when the text is no number
        return convert

    count = number(int, 1, MOST_CLIPS)
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add_number = functools.partial(parser.add_argument, metavar="N")
    add("--out", type=Path, default=Path("demo_data"), metavar="FOLDER", help="%(default)s")
    add("-m", "--machine-type", nargs="+", action="extend", metavar="TYPE",
        choices=demo_sound.MACHINES, help=f"any of {', '.join(demo_sound.MACHINES)}; "
        f"{' '.join(DEFAULT_TYPES)}")  # fmt: skip
    add_number(
        "--ids", type=number(int, 1, MOST_IDS), default=2, help="machines per type; %(default)s"
    )
    add_number("--train-clips", type=count, default=50, help="per id; %(default)s")
    add_number("--test-clips", type=count, default=25, help="per id and label; %(default)s")
    add("--no-eval", action="store_true", help="no eval_data")
    length = number(float, LEAST_SECONDS, MOST_SECONDS)
    add_number("--seconds", type=length, default=10.0, help="of a clip; %(default)s")
    add_number("--seed", type=number(int, 0, 2**63 - 1), default=0, help="%(default)s")
    add_number("--workers", type=count, default=os.cpu_count() or 1, help="threads; %(default)s")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Make a set, or what is missing of it."""
    args = _arguments(argv)
    types = tuple(sorted(set(args.machine_type or DEFAULT_TYPES)))
    sizes = args.ids, args.train_clips, args.test_clips, not args.no_eval, args.seconds
    args.out.mkdir(parents=True, exist_ok=True)
    with alone(args.out):
        make(args.out, Options(args.seed, types, *sizes), args.workers)


def make(out: Path, options: Options, n_workers: int) -> None:
    """Make a set, or what is missing of it, in a folder that no other run works in.

    Raises
    ------
    UserError : the folder holds something else, or a set of other options that was changed.
    """
    made, clips = _made(out), list(plan(options))
    if made and made != options:
        _check_unchanged(out, made)
        _remove(out, made)
    missing = [clip for clip in clips if not (out / clip.path).exists()]
    if not missing and (out / CAUSES).exists():
        print(f"{out}: this demo set is whole already, {len(clips)} clips")
        return
    files.write_json(out / STAMP, options)
    shown = msgspec.json.encode(options).decode()
    with files.whole_file(out / "README.txt") as path:
        text = README.format(seed=options.seed, options=shown)
        path.write_text(text, encoding="utf-8")
    write = functools.partial(write_clip, out, options)
    for _ in workers.in_order(write, missing, str(out), n_workers):
        pass
    faults = [(clip.path, clip.cause, clip.strength) for clip in clips if clip.cause]
    files.write_csv(out / CAUSES, [("path", "cause", "strength"), *sorted(faults)])
    print(f"{out}: {len(missing)} clips of synthetic demo sound made; see {out / 'README.txt'}")


if __name__ == "__main__":
    sys.exit(cli.run(main))
