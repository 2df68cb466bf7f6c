"""The benchmark's first sections: features, training, scoring, conversion, both ways by turns."""

from __future__ import annotations

import contextlib
import io
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

import common
from apps.benchmarks.measure import Row, run, seconds_of
from apps.benchmarks.workspace import TYPE, Workspace, load_store, our_stage
from asd import cli, config
from asd.detectors import kinds
from asd.detectors.detector import Detector
from asd.tflite import fold
from asd.tflite.convert import conversions, spread_windows


def features(workspace: Workspace) -> Iterator[Row]:
    """From wavs to what training reads: the matrix of vectors, or the frame store."""
    from apps.benchmarks import published

    paths = published.clips(workspace.data / "train")
    row = Row("features", "clips/s", least=6, more_is_better=True)
    published.matrix_of(paths[:4])  # librosa compiles and loads things at its first call
    for _ in range(workspace.size.repeats):
        row.published.append(seconds_of(lambda: published.matrix_of(paths)))
        cfg = config.load_config(
            workspace.config(workspace.fresh("features"), workspace.data.parent)
        )
        row.ours.append(seconds_of(lambda cfg=cfg: load_store(cfg, "train")))
    row.rates(len(paths))
    yield row


@contextlib.contextmanager
def busy_core() -> Iterator[None]:
    """Another program that keeps a core busy meanwhile."""
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def training(workspace: Workspace) -> Iterator[Row]:
    """Epochs after the first, validation included; and the machine's limit for these shapes."""
    size = workspace.size
    folder = workspace.work / "training"
    path = workspace.config(folder, workspace.data.parent, epochs=size.training_epochs)
    cfg = config.load_config(path)
    n_windows = int(load_store(cfg, "train").n_windows(cfg.feature.frames).sum())
    row = Row("training", "windows/s", least=2, more_is_better=True)
    busy = Row("training, a core kept busy", "windows/s", least=1, more_is_better=True)
    step = Row("training by our Keras loop, a core kept busy", "windows/s", more_is_better=True)
    share = Row("training, of the sgemm rate", "%", more_is_better=True)
    for seed in range(size.repeats):

        def epochs(way: str, seed: int = seed) -> list[float]:
            ran = run([sys.executable, "-m", "apps.benchmarks.epochs", way, path, str(seed)])
            return [float(text) for text in ran.output.splitlines()[-1].split()[1:]]

        theirs, ours, (limit,) = epochs("published"), epochs("ours"), epochs("sgemm")
        row.published += theirs
        row.ours += ours
        share.published += [100 * limit / seconds for seconds in theirs]
        share.ours += [100 * limit / seconds for seconds in ours]
        with busy_core():
            busy.published += epochs("published")
            busy.ours += epochs("ours")
            step.ours += epochs("step")
    for one in (row, busy, step):
        one.rates(round(n_windows * (1 - cfg.fit.validation_split)))
    share.note = "the bare matrix products of these layers: 100; 60 is asked"
    yield from (row, busy, step, share)


def _trained(workspace: Workspace) -> tuple[config.Config, Detector, Path]:
    """A model for scoring and conversion, trained by its script; one epoch is enough."""
    folder = workspace.work / "trained"
    yaml_file = workspace.config(folder, workspace.data.parent, epochs=1)
    our_stage("train", yaml_file)
    cfg, path = config.load_config(yaml_file), folder / f"model/model_{TYPE}.keras"
    detector = kinds.of(cfg)
    detector.load(path)
    return cfg, detector, path


def scoring(workspace: Workspace) -> Iterator[Row]:
    """From the frames of the test clips to their scores."""
    import keras_model
    from apps.benchmarks import published

    cfg, detector, path = _trained(workspace)
    store, n = load_store(cfg, "test"), cfg.feature.frames
    model = keras_model.load(path, cfg.feature.vector_size)
    vectors = [common.vectors(frames, n).astype(np.float64) for frames in store]
    row = Row("scoring from frames", "clips/s", least=20, more_is_better=True)
    expected = [published.score(model, one) for one in vectors]  # warms up, too
    for _ in range(workspace.size.repeats):
        row.published.append(seconds_of(lambda: [published.score(model, one) for one in vectors]))
        row.ours.append(seconds_of(lambda: detector.score(store)))
    worst = np.abs(detector.score(store).values / expected - 1).max()
    row.note = f"largest relative difference of a score {worst:.1e}"
    row.rates(len(store))
    yield row


def conversion(workspace: Workspace) -> Iterator[Row]:
    """Batch-norm fold, calibration, five TFLite files."""
    import keras_model
    from apps.benchmarks import published

    cfg, detector, path = _trained(workspace)
    store = load_store(cfg, "train")
    matrix = published.matrix_of([clip.path for clip in store.clips])
    model = keras_model.load(path, cfg.feature.vector_size)

    def ours() -> None:
        detector.load(path)
        prepared = fold.prepare(detector.chain(), cfg.convert)
        n, count = cfg.feature.frames, cfg.convert.calibration_windows
        chosen = spread_windows(int(store.n_windows(n).sum()), count, cfg.seed)
        for _ in conversions(prepared, store.gather(chosen, n)):
            pass

    row = Row("calibration and the five conversions", "s", least=10)
    next(published.conversions(published.folded(model), matrix))  # TensorFlow's own start
    ours()
    for _ in range(workspace.size.repeats):
        theirs = published.conversions(published.folded(model), matrix)
        with cli.quiet_stderr(), contextlib.redirect_stdout(io.StringIO()):
            row.published.append(seconds_of(lambda it=theirs: list(it)))
        row.ours.append(seconds_of(ours))
    yield row
