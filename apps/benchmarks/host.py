"""Time this project against the published way of working, on the same clips, in one run.

    python benchmarks/host.py [--size full|small] [--work FOLDER] [--out benchmarks] [--only ...]

Makes demo clips in the layout of ToyCar (11 s, 16 kHz), then measures both ways alternately:
features, training, scoring, calibration and conversion, the four scripts end to end, peak memory,
and how soon the scripts start. Writes <out>/host.csv and host.png, and prints the table. `full`
takes 23 minutes on two cores, and for a while all memory but the last gigabyte. Linux: memory is
read from /proc.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # run as a file

import common
from benchmarks.measure import Ran, Row, run, seconds_of, show, write
from benchmarks.place import SIZES, TYPE, Place, load_store
from common import UserError

STAGES = ("train", "test", "convert", "tflite")
SCRIPTS = dict(zip(STAGES, sorted(common.HERE.glob("0*.py")), strict=True))


# ---------------------------------------------------------------------------------------------
# Functions: both ways in this process.


def features(place: Place) -> Iterator[Row]:
    """From wavs to what training reads: the matrix of vectors, or the frame store."""
    from benchmarks import published

    paths = published.clips(place.data / "train")
    row = Row("features", "clips/s", least=6, more_is_better=True)
    published.matrix_of(paths[:4])  # librosa compiles and loads things at its first call
    for _ in range(place.size.repeats):
        row.published.append(seconds_of(lambda: published.matrix_of(paths)))
        cfg = common.load_config(place.config(place.fresh("features"), place.data.parent))
        row.ours.append(seconds_of(lambda cfg=cfg: load_store(cfg, "train")))
    row.rates(len(paths))
    yield row


def training(place: Place) -> Iterator[Row]:
    """Epochs after the first, validation included; and the machine's limit for these shapes."""
    size = place.size
    path = place.config(place.work / "training", place.data.parent, epochs=size.training_epochs)
    cfg = common.load_config(path)
    n_windows = int(load_store(cfg, "train").n_windows(cfg.feature.frames).sum())
    row = Row("training", "windows/s", least=3, more_is_better=True)
    share = Row("training, of the sgemm rate", "%", more_is_better=True)
    for seed in range(size.repeats):

        def epochs(way: str, seed: int = seed) -> list[float]:
            ran = run([sys.executable, "-m", "benchmarks.epochs", way, path, str(seed)])
            return [float(text) for text in ran.output.splitlines()[-1].split()[1:]]

        theirs, ours, (limit,) = epochs("published"), epochs("ours"), epochs("sgemm")
        row.published += theirs
        row.ours += ours
        share.published += [100 * limit / seconds for seconds in theirs]
        share.ours += [100 * limit / seconds for seconds in ours]
    row.rates(round(n_windows * (1 - cfg.fit.validation_split)))
    share.note = "the bare matrix products of these layers: 100; 60 is asked"
    yield row
    yield share


def _model_file(place: Place) -> Path:
    """A trained model, for scoring and conversion; one epoch is enough."""
    import keras_model
    from asd import training as ours

    folder = place.work / "training"
    cfg = common.load_config(place.config(folder, place.data.parent, epochs=1))
    path = folder / f"model_{TYPE}.keras"
    if not path.exists():
        model = keras_model.build(cfg.feature.vector_size)
        ours.fit(model, load_store(cfg, "train"), cfg)
        model.save(path)
    return path


def scoring(place: Place) -> Iterator[Row]:
    """From the frames of the test clips to their scores."""
    import keras_model
    from benchmarks import published

    path = _model_file(place)
    cfg = common.load_config(place.work / "training/host.yaml")
    store, n = load_store(cfg, "test"), cfg.feature.frames
    model, predict = keras_model.load(path, 640), keras_model.scorer(path, 640)
    vectors = [common.vectors(frames, n).astype(np.float64) for frames in store]
    row = Row("scoring from frames", "clips/s", least=20, more_is_better=True)
    expected = [published.score(model, one) for one in vectors]  # warms up, too
    for _ in range(place.size.repeats):
        row.published.append(seconds_of(lambda: [published.score(model, one) for one in vectors]))
        row.ours.append(seconds_of(lambda: common.anomaly_scores(predict, store, n)))
    worst = np.abs(common.anomaly_scores(predict, store, n) / expected - 1).max()
    row.note = f"largest relative difference of a score {worst:.1e}"
    row.rates(len(store))
    yield row


def conversion(place: Place) -> Iterator[Row]:
    """Batch-norm fold, calibration, five TFLite files."""
    import keras_model
    from asd import tflite
    from benchmarks import published

    path = _model_file(place)
    cfg = common.load_config(place.work / "training/host.yaml")
    store = load_store(cfg, "train")
    matrix = published.matrix_of([clip.path for clip in store.clips])
    size = cfg.feature.vector_size
    model = keras_model.load(path, size)

    def ours() -> None:
        prepared = tflite.prepare(keras_model.load_chain(path, size), cfg.convert)
        n = cfg.feature.frames
        count = cfg.convert.calibration_windows
        chosen = tflite.spread_windows(int(store.n_windows(n).sum()), count, cfg.seed)
        windows = store.gather(chosen, n)
        for variant in tflite.VARIANTS:
            tflite.convert(prepared, variant, windows)

    row = Row("calibration and the five conversions", "s", least=10)
    next(published.conversions(published.folded(model), matrix))  # TensorFlow's own start
    ours()
    for _ in range(place.size.repeats):
        theirs = published.conversions(published.folded(model), matrix)
        with common.quiet_stderr(), contextlib.redirect_stdout(io.StringIO()):
            row.published.append(seconds_of(lambda it=theirs: list(it)))
        row.ours.append(seconds_of(ours))
    yield row


# ---------------------------------------------------------------------------------------------
# Scripts: each in a process of its own.


def published_stage(stage: str, data: Path, folder: Path, epochs: int) -> Ran:
    """A script of the published way."""
    module = ["-m", "benchmarks.published", stage]
    return run([sys.executable, *module, data, folder, str(epochs)])


def our_stage(stage: str, config: Path, *python: str) -> Ran:
    """A script of ours; without emulated boards, which the published way does not have."""
    boards = ["--boards", "none"] if stage == "tflite" else []
    return run([sys.executable, *python, SCRIPTS[stage], "-d", "-c", config, *boards])


def end_to_end(place: Place) -> Iterator[Row]:
    """The four scripts, start-up included, and the losses that they end with."""
    size = place.size
    rows = {stage: Row(f"{SCRIPTS[stage].name} and its like", "s") for stage in STAGES}
    total = Row("the four scripts end to end", "s", least=3)
    losses = [Row("final training loss", "dB^2"), Row("final validation loss", "dB^2")]
    for seed in range(size.repeats):
        folder = place.fresh("published")
        for stage in STAGES:
            ran = published_stage(stage, place.data, folder, size.epochs)
            rows[stage].published.append(ran.seconds)
        folder = place.fresh("ours")
        config = place.config(folder, place.data.parent, seed, epochs=size.epochs)
        for stage in STAGES:
            rows[stage].ours.append(our_stage(stage, config).seconds)
        theirs = common.read_csv(place.work / "published/history.csv")[-1]
        ours = common.read_csv(folder / f"model/history_{TYPE}.csv")[-1][1:]
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


def memory(place: Place) -> Iterator[Row]:
    """Peak resident memory and time of training, one epoch, on few and on many clips."""
    start = "import keras_model; keras_model.start_tensorflow(0)"
    idle = run([sys.executable, "-c", start])
    yield Row("idle TensorFlow", "MB", ours=[idle.peak_mb])
    few, many = place.size.train_clips, place.size.train_clips * place.size.memory_times
    ran = {}
    for count, data in ((few, place.data.parent), (many, place.work / "many")):
        folder = place.fresh("ours")
        ran[count] = our_stage("train", place.config(folder, data, epochs=1))
        # After ours: it may take all memory, and with it what the system keeps of files.
        theirs = published_stage("train", data / TYPE, place.fresh("published"), 1)
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


def start_up(place: Place) -> Iterator[Row]:
    """How soon `-h`, wrong usage and `import common` end; how much of 01 and 03 is importing."""
    repeats = 3 * place.size.repeats

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

    config = place.config(place.fresh("ours"), place.work / "few", epochs=1)
    count = len(list((place.work / "few" / TYPE / "test").iterdir()))
    for stage in STAGES:
        ran = our_stage(stage, config)  # also what the next one reads
        if stage in ("test", "tflite"):
            walls = [our_stage(stage, config).seconds for _ in range(repeats)]
            ran = our_stage(stage, config, "-X", "importtime")
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
    parser.add_argument("--out", type=Path, default=common.HERE / "benchmarks")
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=list(SECTIONS))
    args = parser.parse_args(argv)
    # Not by start_tensorflow: in this process TensorFlow is as the published way has it.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if not Path("/proc/self/status").exists():
        raise UserError("peak memory is read from /proc, which only Linux has")
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as temporary:
        place = Place((args.work or Path(temporary)).resolve(), SIZES[args.size])
        place.make()
        for name in args.only:
            print(f"measuring {name} ...", flush=True)
            rows += SECTIONS[name](place)
            write(args.out, rows)
    print(f"\n{os.cpu_count()} cores, {args.size}: medians (from least to most)\n")
    print(show(rows))


if __name__ == "__main__":
    sys.exit(common.run(main))
