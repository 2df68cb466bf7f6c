"""Int8 TFLite files of random chains of fully connected layers."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from asd.tflite import writer
from asd.tflite.int8 import IntDense, Scale


def int_dense(
    weights: np.ndarray,  # (outputs, inputs) int8
    bias: np.ndarray | None,  # (outputs,) int32
    weight_scales: Sequence[float],  # one, or one per output
    relu: bool,
    source: tuple[float, int],  # scale and zero point of the input
    target: tuple[float, int],  # of the output
) -> IntDense:
    """A layer as the file has it."""
    scales = np.array(weight_scales, np.float32)
    return IntDense(weights, bias, scales, relu, Scale(*source), Scale(*target))


def tflite(layers: Sequence[IntDense]) -> bytes:
    """The flatbuffer of a chain of layers."""
    return writer.of_integers(layers, int8_io=True)


def random_network(seed: int, max_width: int = 700, max_depth: int = 12) -> bytes:
    """A chain whose widths, depth, scales and zero points are drawn, extremes among them."""
    rng = np.random.default_rng(seed)
    depth = int(rng.integers(1, max_depth + 1)) if seed % 4 else 1
    largest = max_width if depth < 4 else 150  # so that a hundred networks take seconds
    widths = [int(w) for w in np.exp(rng.uniform(0, np.log(largest + 0.99), depth + 1))]
    if seed % 8 == 4:
        widths[-1] = min(8 * (1 + seed // 8 % 4), max_width)  # whole blocks of rows
    per_channel = bool(rng.integers(2))

    def zero_point():
        return int(rng.choice([-128, 127, 0, int(rng.integers(-128, 128))]))

    input_scale = float(np.float32(10.0 ** rng.uniform(-3, 1)))
    input_zero_point = zero_point()
    before, layers = (input_scale, input_zero_point), []
    for n_inputs, n_outputs in itertools.pairwise(widths):
        spread = rng.choice([3, 30, 127])
        least = rng.choice([-127, -127, -128])  # converters stop at -127, files need not
        weights = np.clip(rng.normal(0, spread, (n_outputs, n_inputs)).round(), least, 127)
        count = n_outputs if per_channel else 1
        weight_scales = np.float32(10.0 ** rng.uniform(-4, -1, count))
        # The output's scale follows from the size of the sums; a third of the layers saturates,
        # a third uses a few steps only.
        size = np.sqrt(n_inputs) * spread * 60 * np.median(weight_scales) * before[0]
        out_scale = float(np.float32(size / 60 * rng.choice([0.1, 1, 10])))
        after = out_scale, zero_point()
        largest_bias = rng.choice([3000, 3000, 2**22, 2**27])
        bias = rng.normal(0, largest_bias, n_outputs).astype(np.int32)
        bias = bias if rng.random() < 0.8 else None
        layers.append(
            int_dense(weights.astype(np.int8), bias, weight_scales, bool(rng.integers(2)),
                      before, after)
        )  # fmt: skip
        before = after
    return tflite(layers)
