"""Time one way of training, in a process of its own.

    python -m apps.benchmarks.epochs {published,ours,step,sgemm} CONFIG SEED

Reads the frame store of CONFIG. Prints the seconds of each epoch but the first, which compiles;
for sgemm those of the bare matrix products of an epoch, the machine's limit for these layers.
"""

from __future__ import annotations

import itertools
import statistics
import sys
import time
from collections.abc import Sequence

import numpy as np

import keras_model
from apps.benchmarks import published
from apps.benchmarks.workspace import hidden_units, load_store
from asd import training
from asd.config import Config, load_config
from asd.features.windows import split

SGEMM_CALLS = 50


def of_published(cfg: Config, seed: int) -> list[float]:
    """When each epoch of Keras' fit on the whole matrix ended."""
    import keras

    keras.utils.set_random_seed(seed)
    matrix = published.matrix_of([clip.path for clip in load_store(cfg, "train").clips])
    ends: list[float] = []
    callback = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda *_: ends.append(time.perf_counter())
    )
    published.fit(matrix, cfg.fit.epochs, [callback])
    return ends


def of_ours(cfg: Config, seed: int) -> list[float]:
    """When each epoch of ours ended."""
    keras_model.start_tensorflow(seed)
    model = keras_model.build(cfg.feature.vector_size, hidden_units(cfg))
    windows = split(load_store(cfg, "train"), cfg.feature.frames, cfg.fit, cfg.seed)
    rows = training.epochs(model, *windows, cfg.fit, cfg.seed)
    return [time.perf_counter() for _ in rows]


def of_step(cfg: Config, seed: int) -> list[float]:
    """When each epoch of ours ended, with the steps that Keras takes for any other model."""
    training._steps = training._keras_steps
    return of_ours(cfg, seed)


def sgemm_seconds(batch: int, widths: Sequence[int], training: bool) -> float:
    """The matrix products of a batch by NumPy's BLAS: each at its median, into ready memory.

    Forward X W of each layer; for training also X' dY, and dY W' but for the first layer.
    """
    rng = np.random.default_rng(0)
    seconds = 0.0
    for i, (n_in, n_out) in enumerate(itertools.pairwise(widths)):
        shapes = [(batch, n_in, n_out)]
        if training:
            shapes += [(n_in, batch, n_out)] + [(batch, n_out, n_in)] * (i > 0)
        for m, k, n in shapes:
            a, b = (rng.standard_normal(shape, np.float32) for shape in ((m, k), (k, n)))
            out, times = np.empty((m, n), np.float32), []
            for _ in range(SGEMM_CALLS):
                start = time.perf_counter()
                np.matmul(a, b, out)
                times.append(time.perf_counter() - start)
            seconds += statistics.median(times)
    return seconds


def of_sgemm(cfg: Config, _: int) -> list[float]:
    """0, and the seconds of an epoch's products."""
    widths = (cfg.feature.vector_size, *hidden_units(cfg), cfg.feature.vector_size)
    n_windows = int(load_store(cfg, "train").n_windows(cfg.feature.frames).sum())
    batches = n_windows / cfg.fit.batch_size
    share = cfg.fit.validation_split
    training, validation = (
        sgemm_seconds(cfg.fit.batch_size, widths, training) for training in (True, False)
    )
    return [0.0, batches * ((1 - share) * training + share * validation)]


WAYS = {"published": of_published, "ours": of_ours, "step": of_step, "sgemm": of_sgemm}

if __name__ == "__main__":
    way, config, random_seed = sys.argv[1:]
    moments = WAYS[way](load_config(config), int(random_seed))
    print("seconds", *np.diff(moments))
