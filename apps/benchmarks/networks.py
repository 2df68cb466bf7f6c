"""Time training steps and scoring of networks against the same networks in PyTorch, by turns.

    python apps/benchmarks/networks.py --torch PYTHON [--size full|medium|small] [--work FOLDER]
                                       [--out FOLDER] [--only CASE ...] [--cores N]

PYTHON is one of an environment of its own with PyTorch, which nothing of the project imports:

    python -m venv FOLDER && FOLDER/bin/pip install -r apps/benchmarks/requirements.txt

Before anything is timed the networks must give the same embeddings and the same loss from the same
weights. Writes <out>/networks.csv and prints the table. `full` takes half an hour on two cores.

Beside other programs take `--cores 1` and the lines in CPU seconds: waiting threads are no measure.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # run as a file

import numpy as np
import yaml

import common
from apps.benchmarks.measure import Row, show, write_table
from apps.benchmarks.networks_cases import CASES, LAYOUTS, SIZES, Case, Size
from apps.benchmarks.serving import Worker
from asd import cli
from common import UserError

NEAR = 1e-4  # how far embeddings may be apart, as a part of the largest
UNITS = {"wall": "s", "cpu": "CPU s"}
RECIPES = common.HERE / "recipes"
SAMPLE_RATE = 16000  # Hz, the recipe's
SUB_CLUSTERS = 16  # the recipe's
MIXUP = 0.5  # the recipe's probability
CHECKED = 8  # clips whose embeddings are compared
IDS, DISTINCT, TRAIN_CLIPS = 4, 16, 64  # machine ids; wavs with bytes of their own; to train on


class Pair:
    """The same network in two processes, ours and PyTorch's."""

    def __init__(self, case: Case, size: Size, python: Path, work: Path) -> None:
        self.case, self.size, self.work = case, size, work
        work.mkdir(parents=True, exist_ok=True)
        self.width, self.batch = min(case.width, size.width), min(case.batch, size.batch)
        values = case.values(self.width)
        self._settings = {
            "network": values, "classes": size.classes, "of_each": SUB_CLUSTERS, "mixup": MIXUP,
            "batch": self.batch, "sample_rate": SAMPLE_RATE,
            "n_samples": round(size.seconds * SAMPLE_RATE), "threads": cores(),
        }  # fmt: skip
        detector: dict[str, Any] = {"learn_from": "own", "network": values}
        if case.values(1)["kind"] != "made":
            detector["seconds"] = size.seconds
        if case.scored:
            detector["backend"] = {"kind": "knn", "distance": "cosine", "neighbours": 1}
        folders = {f"{name}_directory": str(work / name) for name in ("feature", "model", "result")}
        config = {
            "base": str(RECIPES / case.recipe), "experiment": "", "corpus": "dcase2020", **folders,
            "dev_directory": str(work / "data"), "detector": detector,
            "fit": {"epochs": 1, "batch_size": self.batch, "verbose": 0},
        }  # fmt: skip
        (work / "case.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
        self._tell()
        self.ours = Worker([sys.executable, "-m", "apps.benchmarks.networks_ours", work])
        self.shapes = self.ours.ask("shapes")["result"]
        self._settings["convolutions"] = self.shapes
        self._tell()
        self.theirs = Worker([python, "-m", "apps.benchmarks.networks_torch", work])

    def _tell(self) -> None:
        text = json.dumps(self._settings)
        (self.work / "case.json").write_text(text, encoding="utf-8")

    def check(self) -> float:
        """How far embeddings, in training and in inference, and the loss are apart.

        Raises
        ------
        UserError : too far; they are not the same network.
        """
        n = min(CHECKED, self.batch)
        self.ours.ask("embeddings", n)
        worst = 0.0
        for layout in self.case.ways:
            self.theirs.ask("embeddings", layout, n)
            with np.load(self.work / "ours.npz") as ours, np.load(self.work / "theirs.npz") as them:
                for name in ours.files:
                    off = np.abs(ours[name] - them[name]).max() / np.abs(ours[name]).max()
                    worst = max(worst, float(off))
                    if not off < NEAR:
                        raise UserError(f"{self.case.title}: {name} in PyTorch is {off:.1e} off, "
                                        f"above {NEAR:g}: these are two networks")  # fmt: skip
        return worst

    def end(self) -> None:
        """Stop both processes."""
        self.ours.end()
        self.theirs.end()


def cores() -> int:
    """That this run has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def steps(pair: Pair, worst: float) -> Iterator[Row]:
    """Training steps, and the convolutions of one alone, by turns."""
    ways, count = pair.case.ways, pair.case.steps
    took: dict[str, list[dict[str, float]]] = {"ours": [], **{way: [] for way in ways}}
    alone: dict[str, list[Any]] = {way: [] for way in took}
    for turn in range(-1, pair.size.turns):  # the first compiles
        for way in took:
            worker, arguments = (pair.ours, ()) if way == "ours" else (pair.theirs, (way,))
            step = worker.ask("step", *arguments, count)
            convolutions = worker.ask("convolutions", *arguments)["result"] if pair.shapes else []
            if turn >= 0:
                took[way].append({clock: step[clock] / count for clock in UNITS})
                alone[way].append(convolutions)
    for i, clock in enumerate(UNITS):
        seconds = {way: [one[clock] for one in ones] for way, ones in took.items()}
        for way, name in ways.items():
            row = Row(f"training step, {pair.case.title}, {name}", UNITS[clock], seconds[way],
                      seconds["ours"], least=pair.case.least)  # fmt: skip
            row.note = f"batch {pair.batch}; outputs and loss {worst:.0e} apart at most"
            yield row
        if pair.shapes:
            yield from of_convolutions(pair, i, seconds, alone)


def of_convolutions(
    pair: Pair, i: int, seconds: dict[str, list[float]], alone: dict[str, list[Any]]
) -> Iterator[Row]:
    """What convolutions take alone, and of that rate what steps reach.

    Parameters
    ----------
    i : the clock, of `UNITS`
    seconds : of steps, by way
    alone : of each turn the seconds of each convolution, (convolutions, clocks), by way
    """
    unit, title = list(UNITS.values())[i], pair.case.title
    sums = {way: [float(np.sum(one, axis=0)[i]) for one in ones] for way, ones in alone.items()}
    for way, name in pair.case.ways.items():
        yield Row(f"its convolutions alone, {title}, {name}", unit, sums[way], sums["ours"])
    medians = [np.median(ones, axis=0) for ones in alone.values()]  # (convolutions, clocks) each
    best = np.min(medians, axis=0).sum(axis=0)[i]
    faster = min(pair.case.ways, key=lambda way: float(np.median(seconds[way])))
    shares = [[100 * best / one for one in seconds[way]] for way in (faster, "ours")]
    row = Row(f"step, of what its convolutions reach alone, {title}, by {unit}", "%", *shares)
    row.more_is_better = True
    row.note = (f"{pair.case.ways[faster]}; the fastest way of each of {len(pair.shapes)} "
                f"convolutions together {best:.2f} {unit}")  # fmt: skip
    if pair.case.scored:
        row.note += "; 50 is asked"
    yield row


def scoring(pair: Pair) -> Iterator[Row]:
    """From wavs to scores: embeddings, and the nearest of those of the training clips."""
    data = make_clips(pair.work / "data", pair.size)
    paths = sorted(map(str, (data / "test").iterdir()))
    pair.ours.ask("train")
    pair.ours.ask("scorer")
    network = pair.case.values(pair.width)
    width = pair.width * (len(network["n_ffts"]) + network["fft"])
    known = np.random.default_rng(0).standard_normal((TRAIN_CLIPS, width), np.float32)
    np.save(pair.work / "known.npy", known)
    files = [str(pair.work / name) for name in ("listed.txt", "known.npy", "scores.npy")]
    took: dict[str, list[dict[str, float]]] = {"ours": [], **{layout: [] for layout in LAYOUTS}}
    for turn in range(-1, pair.size.scorings):
        (pair.work / "listed.txt").write_text("\n".join(paths[: None if turn >= 0 else CHECKED]))
        for way, ones in took.items():
            if way == "ours":
                shutil.rmtree(pair.work / "feature", ignore_errors=True)
                ran = pair.ours.ask("score", turn < 0)
            else:
                ran = pair.theirs.ask("score", way, *files)
            if turn >= 0:
                ones.append(ran)
    for clock, unit in UNITS.items():
        for layout, name in LAYOUTS.items():
            seconds = [[one[clock] for one in took[way]] for way in (layout, "ours")]
            what = f"scoring {len(paths)} clips, {pair.case.title}, {name}"
            yield Row(what, unit, *seconds, least=pair.case.least)


def make_clips(folder: Path, size: Size) -> Path:
    """Clips of noise of one machine type; most of them are a few under other names."""
    import soundfile

    of_type, rng = folder / "fan", np.random.default_rng(0)
    made: list[Path] = []
    for split, count in (("train", TRAIN_CLIPS), ("test", size.clips)):
        (of_type / split).mkdir(parents=True, exist_ok=True)
        for i in range(count):
            label = "anomaly" if split == "test" and i % 2 else "normal"
            path = of_type / split / f"{label}_id_{i % IDS:02}_{i:08}.wav"
            if not path.exists():
                if len(made) < DISTINCT:
                    samples = rng.standard_normal(round(size.seconds * SAMPLE_RATE)) / 10
                    soundfile.write(path, samples, SAMPLE_RATE, "PCM_16")
                else:
                    os.link(made[i % DISTINCT], path)
            made.append(path)
    return of_type


def measured(case: Case, size: Size, python: Path, work: Path) -> Iterator[Row]:
    """The rows of a case."""
    pair = Pair(case, size, python, work)
    try:
        yield from steps(pair, pair.check())
        if case.scored:
            yield from scoring(pair)
    finally:
        pair.end()


def has_torch(python: Path) -> bool:
    """Whether a Python imports PyTorch."""
    try:
        return subprocess.run([python, "-c", "import torch"], capture_output=True).returncode == 0
    except OSError:
        return False


def main(argv: Sequence[str] | None = None) -> None:
    """See the module."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--torch", type=Path, default=Path("no Python given"))
    parser.add_argument("--size", choices=SIZES, default="full")
    parser.add_argument("--work", type=Path, help="clips and models go there, and stay")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    parser.add_argument("--only", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--cores", type=int, help="that both ways may use; all by default")
    args = parser.parse_args(argv)
    if not has_torch(args.torch):
        raise UserError(f"{args.torch}: no PyTorch there; python -m venv FOLDER && FOLDER/bin/pip "
                        "install -r apps/benchmarks/requirements.txt, then "
                        "--torch FOLDER/bin/python")  # fmt: skip
    if args.cores:
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: args.cores])  # inherited
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as temporary:
        work = (args.work or Path(temporary)).resolve()
        for name in args.only:
            print(f"measuring {name} ...", flush=True)
            for row in measured(CASES[name], SIZES[args.size], args.torch, work / name):
                rows.append(row)
                write_table(args.out / "networks.csv", rows, "pytorch")
    load = ", ".join(f"{one:.2f}" for one in os.getloadavg())
    print(f"\n{cores()} cores, {args.size}, load averages at the end {load}: "
          "medians (from least to most)\n")  # fmt: skip
    print(show(rows, "PyTorch"))


if __name__ == "__main__":
    sys.exit(cli.run(main))
