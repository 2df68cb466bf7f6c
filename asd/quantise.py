"""Post-training quantisation of a dense chain: calibrated ranges, int8 weights, int32 biases.

The arithmetic is that of Jacob et al. 2018, arXiv:1712.05877: real = scale * (q - zero_point);
weights symmetric in [-127, 127], activations in [-128, 127] with 0 exactly represented.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from asd import dense
from asd.dense import Dense

LARGEST_WEIGHT = 127
LEAST, MOST = -128, 127  # of an activation
LARGEST_BIAS = 2**30  # leaves as much again of 32 bits for the sum of products


@dataclass(frozen=True)
class Scale:
    """How int8 activations stand for real values."""

    scale: float  # a float32
    zero_point: int


@dataclass(frozen=True)
class IntDense:
    """A layer in integers."""

    weights: np.ndarray  # (n_outputs, n_inputs) int8
    bias: np.ndarray | None  # (n_outputs,) int32, of scale input scale * weight scale
    weight_scales: np.ndarray  # (n_outputs,) float32, or (1,)
    relu: bool
    output: Scale


def calibrate(chain: Sequence[Dense], windows: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
    """What values the input and the layers' outputs take.

    Parameters
    ----------
    windows : (n, n_inputs) float32, dB

    Returns
    -------
    ranges : (1 + n_layers, 2) float64, the least and the largest, and 0 between them
    means : of each input and output, 1 + n_layers arrays of float64
    """
    ranges = np.zeros((1 + len(chain), 2))
    sums = [np.zeros(len(chain[0].weights)), *(np.zeros(len(layer.bias)) for layer in chain)]
    for i in range(0, len(windows), dense.WINDOWS_PER_BLOCK):
        block = windows[i : i + dense.WINDOWS_PER_BLOCK]
        of_block = [block, *dense.activations(chain, block)]
        for limits, total, values in zip(ranges, sums, of_block, strict=True):
            limits[:] = min(limits[0], values.min()), max(limits[1], values.max())
            total += values.sum(axis=0)
    return ranges, [total / len(windows) for total in sums]


def scale_of(low: float, high: float) -> Scale:
    """The scale by which [low, high], which holds 0, fills the 256 steps; 1 for nothing but 0."""
    scale = np.float32((high - low) / (MOST - LEAST)) or np.float32(1)
    zero_point = int(np.clip(np.rint(LEAST - low / float(scale)), LEAST, MOST))
    return Scale(float(scale), zero_point)


def weight_scales(layer: Dense, per_channel: bool, input_scale: float | None = None) -> np.ndarray:
    """One scale per output, or one: the largest weight is 127, or the largest bias 2^30 if more.

    Parameters
    ----------
    input_scale : of the int8 input; None where biases stay floats

    Returns
    -------
    (n_outputs,) or (1,) float32, above 0
    """
    scales = np.abs(layer.weights).max(axis=0) / LARGEST_WEIGHT
    if input_scale:
        scales = np.maximum(scales, np.abs(layer.bias) / (input_scale * LARGEST_BIAS))
    scales = scales if per_channel else scales.max(keepdims=True)
    scales = scales.astype(np.float32)
    return np.where(scales > 0, scales, np.float32(1))


def int8_weights(layer: Dense, scales: np.ndarray) -> np.ndarray:
    """(n_outputs, n_inputs) int8"""
    q = np.rint(layer.weights.T / scales[:, None].astype(np.float64))
    return np.clip(q, -LARGEST_WEIGHT, LARGEST_WEIGHT).astype(np.int8)


def quantise(
    chain: Sequence[Dense], windows: np.ndarray, per_channel: bool, correct_bias: bool
) -> tuple[Scale, list[IntDense]]:
    """The scale of the input, and the layers in integers.

    Parameters
    ----------
    chain : folded, no batch normalisation
    windows : (n, n_inputs) float32, dB, that calibrate the activations
    correct_bias : biases make up for what the rounding of weights adds to a layer's outputs in
        the mean over the windows; Nagel et al. 2019, arXiv:1906.04721, section 4.2
    """
    ranges, means = calibrate(chain, windows)
    source, *outputs = (scale_of(low, high) for low, high in ranges)
    layers, before = [], source
    for layer, after, mean in zip(chain, outputs, means[:-1], strict=True):
        scales = weight_scales(layer, per_channel, before.scale)
        weights, bias = int8_weights(layer, scales), layer.bias
        steps = scales.astype(np.float64)
        if correct_bias:
            bias = bias + mean @ layer.weights - (weights @ mean) * steps
        bias = np.rint(bias / (before.scale * steps)).astype(np.int32)
        layers.append(IntDense(weights, bias, scales, layer.relu, after))
        before = after
    return source, layers
