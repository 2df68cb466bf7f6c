"""Time this project against the published way of working, on the same clips, in one run.

    python apps/benchmarks/host.py [--size full|small] [--work FOLDER] [--out FOLDER] [--only ...]

Makes demo clips in the layout of ToyCar (11 s, 16 kHz), then measures both ways alternately:
features, training, scoring, calibration and conversion, the four scripts end to end, peak memory,
and how soon the scripts start. Writes <out>/host.csv and host.png, and prints the table. `full`
takes 30 minutes on two cores, and for a while all memory but the last gigabyte. Linux: memory is
read from /proc.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # run as a file

import common
from apps.benchmarks.functions import conversion, features, scoring, training
from apps.benchmarks.measure import Row, run, show, write
from apps.benchmarks.workspace import (
    SCRIPTS,
    SIZES,
    STAGES,
    TYPE,
    Workspace,
    our_stage,
    published_stage,
)
from asd import cli, files
from common import UserError


def end_to_end(workspace: Workspace) -> Iterator[Row]:
    """The four scripts, start-up included, and the losses that they end with."""
    size = workspace.size
    rows = {stage: Row(f"{SCRIPTS[stage].name} and its like", "s") for stage in STAGES}
    total = Row("the four scripts end to end", "s", least=3)
    losses = [Row("final training loss", "dB^2"), Row("final validation loss", "dB^2")]
    for seed in range(size.repeats):
        folder = workspace.fresh("published")
        for stage in STAGES:
            ran = published_stage(stage, workspace.data, folder, size.epochs)
            rows[stage].published.append(ran.seconds)
        folder = workspace.fresh("ours")
        yaml_file = workspace.config(folder, workspace.data.parent, seed, epochs=size.epochs)
        for stage in STAGES:
            rows[stage].ours.append(our_stage(stage, yaml_file).seconds)
        theirs = files.read_csv(workspace.work / "published/history.csv")[-1]
        ours = files.read_csv(folder / f"model/history_{TYPE}.csv")[-1][1:]
        for row, published, our in zip(losses, theirs, ours, strict=True):
            row.published.append(float(published))
            row.ours.append(float(our))
    for way in ("published", "ours"):
        parts = zip(*(getattr(row, way) for row in rows.values()), strict=True)
        getattr(total, way).extend(sum(part) for part in parts)
    yield total
    yield from rows.values()
    for row in losses:
        row.note = f"seeds 0 to {size.repeats - 1}, {size.epochs} epochs"
        yield row


def memory(workspace: Workspace) -> Iterator[Row]:
    """Peak resident memory and time of training, one epoch, on few and on many clips."""
    start = "import keras_model; keras_model.start_tensorflow(0)"
    idle = run([sys.executable, "-c", start])
    yield Row("idle TensorFlow", "MB", ours=[idle.peak_mb])
    few, many = workspace.size.train_clips, workspace.size.train_clips * workspace.size.memory_times
    ran = {}
    for count, data in ((few, workspace.data.parent), (many, workspace.work / "many")):
        folder = workspace.fresh("ours")
        ran[count] = our_stage("train", workspace.config(folder, data, epochs=1))
        # After ours: it may take all memory, and with it what the system keeps of files.
        theirs = published_stage("train", data / TYPE, workspace.fresh("published"), 1)
        row = Row(f"peak memory, {count} clips", "MB", [theirs.peak_mb], [ran[count].peak_mb])
        row.least = 6 if count == many else None
        row.note = f"ours {ran[count].peak_mb - idle.peak_mb:.0f} MB above idle TensorFlow"
        if theirs.stopped:
            row.note += "; the published way was stopped there, at the end of this machine's memory"
        yield row
        seconds = [] if theirs.stopped else [theirs.seconds]
        yield Row(f"training script, one epoch, {count} clips", "s", seconds, [ran[count].seconds])
        shutil.rmtree(folder)
    growth = (ran[many].seconds - idle.seconds) / (ran[few].seconds - idle.seconds)
    row = Row(f"time of {many} clips / time of {few}", "times", ours=[growth])
    row.note = f"without TensorFlow's start; {many // few} is in proportion"
    yield row


def start_up(workspace: Workspace) -> Iterator[Row]:
    """How soon `-h`, wrong usage and `import common` end; how much of 01 and 03 is importing."""
    repeats = workspace.size.starts

    def seconds(*command: str | Path, status: int = 0) -> list[float]:
        arguments = [sys.executable, *map(str, command)]
        times = []
        for _ in range(repeats):
            start = time.perf_counter()
            done = subprocess.run(arguments, cwd=common.HERE, capture_output=True)
            times.append(time.perf_counter() - start)
            if done.returncode != status:
                raise UserError(f"{' '.join(arguments)}: status {done.returncode}")
        return times

    for script in SCRIPTS.values():
        yield Row(f"{script.name} -h", "s", ours=seconds(script, "-h"), note="below .3 is asked")
    wrong = seconds(SCRIPTS["train"], "--nonsense", status=2)
    yield Row("wrong usage", "s", ours=wrong, note="below .3 is asked")
    common_alone = seconds("-c", "import common")
    yield Row("import common", "s", ours=common_alone, note="below .4 is asked")

    yaml_file = workspace.config(workspace.fresh("ours"), workspace.work / "few", epochs=1)
    count = len(list((workspace.work / "few" / TYPE / "test").iterdir()))
    for stage in STAGES:
        if repeats > 1 or stage not in ("test", "tflite"):
            our_stage(stage, yaml_file)  # also what the next one reads
        if stage in ("test", "tflite"):
            walls = [our_stage(stage, yaml_file).seconds for _ in range(repeats)]
            ran = our_stage(stage, yaml_file, "-X", "importtime")
            times = re.findall(r"^import time: +(\d+) \|", ran.errors, re.M)
            row = Row(f"{SCRIPTS[stage].name}, {count} clips", "s", ours=walls)
            row.note = f"{sum(map(int, times)) / 1e6:.2f} s of it imports"
            yield row


SECTIONS = {
    part.__name__: part
    for part in (features, training, scoring, conversion, end_to_end, memory, start_up)
}


def main(argv: Sequence[str] | None = None) -> None:
    """See the module."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--size", choices=SIZES, default="full")
    parser.add_argument("--work", type=Path, help="clips and models go there, and stay")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=list(SECTIONS))
    args = parser.parse_args(argv)
    # Not by start_tensorflow: in this process TensorFlow is as the published way has it.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if not Path("/proc/self/status").exists():
        raise UserError("peak memory is read from /proc, which only Linux has")
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as temporary:
        workspace = Workspace((args.work or Path(temporary)).resolve(), SIZES[args.size])
        workspace.make()
        for name in args.only:
            print(f"measuring {name} ...", flush=True)
            rows += SECTIONS[name](workspace)
            write(args.out, rows)
    print(f"\n{os.cpu_count()} cores, {args.size}: medians (from least to most)\n")
    print(show(rows))


if __name__ == "__main__":
    sys.exit(cli.run(main))
