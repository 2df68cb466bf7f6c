"""Make a demo data set: synthetic machine sound in the layout of a year of DCASE Task 2.

    python -m asd.corpora.demo [--out demo_data] [--seed 0] [-m DemoFan DemoPump] ...
    python -m asd.corpora.demo --layout dcase2023 [--out demo_data] [-m fan bandsaw] ...

Writes `<out>/{dev_data,eval_data}/<type>/{train,test}/*.wav` (16 kHz, 16 bit, mono),
`<out>/causes.csv`: what is wrong in each anomalous clip and how strongly, and `<out>/README.txt`.
Of a year, it has the machine types, sections, folders, names and channels, two domains of which
names tell the attributes, and the labels of evaluation clips as that year published them:
`<out>/eval_data_list_<year>.csv`, and from 2022 on the official evaluator's files in
`<out>/evaluator`. Run again, it makes what is missing; with other options, it makes the set anew.
"""

from __future__ import annotations

import argparse
import functools
import os
import sys
import wave
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import numpy as np

from asd import cli, files, workers
from asd.corpora import demo_plan, demo_sound, demo_tables, rows
from asd.corpora.alone import alone
from asd.corpora.demo_plan import (
    DEFAULT_IDS,
    LEAST_SECONDS,
    MOST_CLIPS,
    MOST_IDS,
    MOST_SECONDS,
    DemoClip,
    Options,
    plan,
)
from asd.messages import shown
from common import UserError

STAMP = "demo.json"  # the options of the set that a folder holds, whole or interrupted
CAUSES = "causes.csv"  # written last: with it, the set is whole
DEFAULT_TYPES = ["DemoFan", "DemoPump"]
WAV_HEADER_BYTES = 44  # of the clips that `wave` writes
# Clips of a set: for training by id or section; for testing by id and label, domain and label.
CLIPS_2020, CLIPS = (50, 25), (20, 5)

README = """DEMO SOUND, NOT RECORDINGS
These clips are synthetic (asd/corpora/demo_sound.py). They show that the tools work; results on
them mean nothing for real machines. ./get_dataset.sh gets recordings: DCASE {year} Task 2.
Layout and names are those of DCASE {year} Task 2. causes.csv says what is wrong in each anomalous
clip of dev_data and eval_data, and how strongly (0..1); clips that it does not list are normal.
{more}Seed {seed}. All options: {options}
"""


OF_A_YEAR = """\
Machine types bear the year's names, so that its official score can be computed; their sound is
that of the demo's machines. evaluation_labels may be {labels}.
"""
OF_DOMAINS = """\
Clips of the target domain run or are recorded otherwise than those of the source domain; the
attributes in names say how.
"""


def write_clip(out: Path, options: Options, clip: DemoClip) -> None:
    """Make one clip; the file appears under its name when it is whole."""
    cause = demo_sound.CAUSES.get(clip.cause)
    running = clip.running & (cause(clip.strength) if cause else demo_sound.Running())
    machine = demo_sound.unit(*clip.unit)
    rng = demo_sound.generator(options.seed, clip.path)
    n_samples = round(options.seconds * demo_sound.SAMPLE_RATE)
    n_channels = len(options.corpus.channels)
    record = demo_sound.clip if n_channels == 1 else demo_sound.stereo
    sound = record(machine, running, rng, n_samples).T  # (n_samples[, n_channels]) float32
    samples = np.round(sound * np.iinfo(np.int16).max).astype("<i2")
    # Not soundfile: its errors of a full disk are no OSErrors.
    with files.whole_file(out / clip.path) as path, wave.open(str(path), "wb") as file:
        file.setparams((n_channels, 2, demo_sound.SAMPLE_RATE, len(samples), "NONE", None))
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
    """Refuse to remove a set in which somebody has put a file of his own in the place of one.

    Raises
    ------
    UserError : a clip has another length than those that were made, or a file is newer than
        causes.csv, which is made after all of them.
    """
    n_samples = round(options.seconds * demo_sound.SAMPLE_RATE)
    n_bytes = WAV_HEADER_BYTES + 2 * len(options.corpus.channels) * n_samples
    causes = out / CAUSES
    made_ns = causes.stat().st_mtime_ns if causes.exists() else None
    for path in _files(out, options):
        if not os.path.lexists(path):
            continue
        status = path.lstat()
        is_other = path.suffix == ".wav" and status.st_size != n_bytes
        if is_other or (made_ns is not None and status.st_mtime_ns > made_ns):
            raise UserError(
                f"{path}: not as it was made; move it away, or name another folder with --out"
            )


def _files(out: Path, options: Options) -> list[Path]:
    """The clips and tables of a set, without causes.csv."""
    clips = list(plan(options))
    return [out / name for name in (*(c.path for c in clips), *demo_tables.of(options, clips))]


def _remove(out: Path, options: Options) -> None:
    """Remove a set's clips and tables, and the folders that this leaves empty; nothing else."""
    (out / CAUSES).unlink(missing_ok=True)
    paths = _files(out, options)
    for path in paths:
        path.unlink(missing_ok=True)
    folders = {folder for path in paths for folder in path.parents if out in folder.parents}
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
    add("--layout", choices=rows.CORPORA, default=rows.FIRST, help="%(default)s")
    add("-m", "--machine-type", nargs="+", action="extend", metavar="TYPE",
        help=f"any of {', '.join(demo_sound.MACHINES)} in 2020's layout, and any of the year's in "
        f"any; {' '.join(DEFAULT_TYPES)}, or all of the year's")  # fmt: skip
    add_number("--ids", type=number(int, 1, MOST_IDS),
               help=f"machines per type; {DEFAULT_IDS}, or all of the year's sections")  # fmt: skip
    add_number("--train-clips", type=count, help="per id, {}, or section, {}".format(
        *(numbers[0] for numbers in (CLIPS_2020, CLIPS))))  # fmt: skip
    add_number("--test-clips", type=count,
               help="per id and label, {}, or section, domain and label, {}".format(
        *(numbers[1] for numbers in (CLIPS_2020, CLIPS))))  # fmt: skip
    add("--no-eval", action="store_true", help="no eval_data")
    length = number(float, LEAST_SECONDS, MOST_SECONDS)
    add_number("--seconds", type=length, default=10.0, help="of a clip; %(default)s")
    add_number("--seed", type=number(int, 0, 2**63 - 1), default=0, help="%(default)s")
    add_number("--workers", type=count, default=os.cpu_count() or 1, help="threads; %(default)s")
    args = parser.parse_args(argv)
    known = demo_plan.machine_types(args.layout)
    for name in args.machine_type or ():
        if name not in known:
            parser.error(f"argument -m/--machine-type: {shown(name)} is none of {args.layout}: "
                         f"{', '.join(known)}")  # fmt: skip
    return args


def _options(args: argparse.Namespace) -> Options:
    """What the command line says, and of a layout where it does not."""
    is_first = args.layout == rows.FIRST
    wanted = DEFAULT_TYPES if is_first else demo_plan.machine_types(args.layout)
    types = tuple(sorted(set(args.machine_type or wanted)))
    ids = DEFAULT_IDS if args.ids is None and set(types) <= set(demo_sound.MACHINES) else args.ids
    train, test = CLIPS_2020 if is_first else CLIPS
    sizes = args.train_clips or train, args.test_clips or test
    return Options(
        args.seed, types, ids, *sizes, not args.no_eval, args.seconds, layout=args.layout
    )


def main(argv: Sequence[str] | None = None) -> None:
    """Make a set, or what is missing of it."""
    args = _arguments(argv)
    args.out.mkdir(parents=True, exist_ok=True)
    with alone(args.out):
        make(args.out, _options(args), args.workers)


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
    tables = demo_tables.of(options, clips)
    missing = [clip for clip in clips if not (out / clip.path).exists()]
    missing_tables = [name for name in tables if not (out / name).exists()]
    if not missing and not missing_tables and (out / CAUSES).exists():
        print(f"{out}: this demo set is whole already, {len(clips)} clips")
        return
    files.write_json(out / STAMP, demo_plan.described(options))
    with files.whole_file(out / "README.txt") as path:
        path.write_text(_readme(options, tables), encoding="utf-8")
    write = functools.partial(write_clip, out, options)
    for _ in workers.in_order(write, missing, str(out), n_workers):
        pass
    for name in missing_tables:
        files.write_csv(out / name, tables[name])
    faults = [(clip.path, clip.cause, clip.strength) for clip in clips if clip.cause]
    files.write_csv(out / CAUSES, [("path", "cause", "strength"), *sorted(faults)])
    print(f"{out}: {len(missing)} clips of synthetic demo sound made; see {out / 'README.txt'}")


def _readme(options: Options, tables: demo_tables.Tables) -> str:
    labels = [demo_tables.list_name(options)]
    if any(name.startswith(demo_tables.EVALUATOR) for name in tables):
        labels.append(f"{demo_tables.EVALUATOR}/")
    more = OF_A_YEAR.format(labels=" or ".join(labels)) if tables else ""
    more += OF_DOMAINS if options.corpus.has_domains else ""
    said = msgspec.json.encode(demo_plan.described(options)).decode()
    return README.format(seed=options.seed, options=said, year=options.corpus.year, more=more)


if __name__ == "__main__":
    sys.exit(cli.run(main))
