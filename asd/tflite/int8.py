"""Post-training quantisation of a dense chain: calibrated ranges, int8 weights, int32 biases.

The arithmetic is that of Jacob et al. 2018, arXiv:1712.05877: real = scale * (q - zero_point);
weights symmetric in [-127, 127], activations in [-128, 127] with 0 exactly represented.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from asd.config import Rounding
from asd.tflite import chain as float_chain
from asd.tflite import rounding
from asd.tflite.chain import Dense

LARGEST_WEIGHT = 127
LEAST, MOST = -128, 127  # of an activation
LARGEST_BIAS = 2**30  # leaves as much again of 32 bits for the sum of products


@dataclass(frozen=True)
class Way:
    """How a chain becomes integers."""

    per_channel: bool = True  # one scale per output of a layer, or one per weight tensor
    # Biases make up for what the rounding of weights, and of the layers before, adds to a layer's
    # outputs in the mean over the windows; Nagel et al. 2019, arXiv:1906.04721, section 4.2.
    correct_bias: bool = True
    # calibrated: activations are evened and weights rounded by the windows, see `rounding`;
    # nearest: as TensorFlow's converter does.
    rounding: Rounding = "calibrated"
    range_margin: float = 0.03  # by which share the ranges are wider than what the windows give


@dataclass(frozen=True)
class Scale:
    """How int8 activations stand for real values."""

    scale: float  # a float32
    zero_point: int

    def to_int8(self, values: np.ndarray) -> np.ndarray:
        """clamp(round(values / scale) + zero_point), ties to even, in float32; int8."""
        q = np.rint(values / np.float32(self.scale)) + self.zero_point
        return np.clip(q, LEAST, MOST).astype(np.int8)


@dataclass(frozen=True)
class Elementwise:
    """An operator that makes a byte of each byte; uint8 is seen as int8, 128 less."""

    kind: str  # QUANTIZE, LOGISTIC, TANH, RELU, RELU6 or RELU_N1_TO_1
    source: Scale
    target: Scale
    where: str  # what the file calls it
    mixed: bool = False  # between int8 and uint8


@dataclass(frozen=True)
class IntDense:
    """A layer in integers: y = clamp(round(scale * acc) + output.zero_point).

    acc = bias + sum over inputs of weights * (x - input.zero_point), in int32.
    """

    weights: np.ndarray  # (n_outputs, n_inputs) int8
    bias: np.ndarray | None  # (n_outputs,) int32, of scale input scale * weight scale; None: 0
    weight_scales: np.ndarray  # (n_outputs,) or (1,) float32
    relu: bool
    input: Scale
    output: Scale
    limits: tuple[float, float] | None = None  # of a fused clamp other than a ReLU
    after: tuple[Elementwise, ...] = ()  # operators up to the next layer

    @property
    def result(self) -> Scale:
        """What the bytes stand for that the next layer gets."""
        return self.after[-1].target if self.after else self.output

    @property
    def low(self) -> int:
        """The least output: -128, or what stands for zero after a ReLU."""
        return max(self.output.zero_point, LEAST) if self.relu else LEAST

    @property
    def scales(self) -> np.ndarray:
        """The factor from acc to the output as XNNPACK has it, (outputs,) or (1,) float32."""
        return np.float32(self.input.scale) * self.weight_scales / np.float32(self.output.scale)

    @property
    def raw_bias(self) -> np.ndarray:
        """The bias of the sum over weights * x, for x with its zero point, (outputs,) int64."""
        sums = self.weights.sum(axis=1, dtype=np.int64)
        bias = 0 if self.bias is None else self.bias.astype(np.int64)
        return bias - self.input.zero_point * sums

    def outputs(self, inputs: np.ndarray) -> np.ndarray:
        """The outputs as XNNPACK has them, rounded once; (n, inputs) int8 -> (n, outputs) int8."""
        # Sums of up to 1,024 products are at most 2^24: exact in float32, which takes half as long.
        kind = np.float32 if self.weights.shape[1] <= 1024 else np.float64
        weights, bias = self.weights.T.astype(kind), self.raw_bias
        found = np.empty((len(inputs), len(bias)), np.int8)
        for i in range(0, len(inputs), float_chain.WINDOWS_PER_BLOCK):
            block = slice(i, i + float_chain.WINDOWS_PER_BLOCK)
            acc = inputs[block].astype(kind) @ weights + bias  # exact: bias is int64
            q = np.rint(acc.astype(np.float32) * self.scales) + self.output.zero_point
            found[block] = np.clip(q, self.low, MOST)
        return found

    def multipliers(self) -> tuple[np.ndarray, np.ndarray]:
        """The same factor as TFLite Micro has it: q * 2^(shift - 31), q in [2^30, 2^31).

        Returns
        -------
        q : (outputs,) or (1,) int64
        shift : (outputs,) or (1,) int64, left where positive
        """
        pairs = [
            multiplier(self.input.scale * float(s) / self.output.scale) for s in self.weight_scales
        ]
        q, shift = np.array(pairs, np.int64).T
        return q, shift


def multiplier(factor: float) -> tuple[int, int]:
    """A factor as TFLite Micro has it: q in [2^30, 2^31) and the shift of q * 2^(shift - 31)."""
    fraction, exponent = math.frexp(factor)
    q = round(fraction * 2**31)
    if q == 2**31:
        q, exponent = q // 2, exponent + 1
    if exponent < -31:  # every acc becomes 0
        return 0, 0
    return (2**31 - 1, 30) if exponent > 30 else (q, exponent)


def calibrate(
    chain: Sequence[Dense], windows: np.ndarray
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """What values the input and the layers' outputs take.

    Parameters
    ----------
    windows : (n, n_inputs) float32, dB

    Returns
    -------
    extremes : of each input and output the least and the largest, and 0 between them; 1 + n_layers
        arrays (2, width) of float64
    means : likewise, (width,)
    """
    widths = [len(chain[0].weights), *(len(layer.bias) for layer in chain)]
    extremes, sums = [np.zeros((2, width)) for width in widths], [np.zeros(n) for n in widths]
    for i in range(0, len(windows), float_chain.WINDOWS_PER_BLOCK):
        block = windows[i : i + float_chain.WINDOWS_PER_BLOCK]
        of_block = [block, *float_chain.activations(chain, block)]
        for (least, largest), total, values in zip(extremes, sums, of_block, strict=True):
            np.minimum(least, values.min(axis=0), out=least)
            np.maximum(largest, values.max(axis=0), out=largest)
            total += values.sum(axis=0)
    return extremes, [total / len(windows) for total in sums]


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


def quantise(chain: Sequence[Dense], windows: np.ndarray, way: Way) -> list[IntDense]:
    """The layers in integers.

    Parameters
    ----------
    chain : folded, no batch normalisation
    windows : (n, n_inputs) float32, dB, that calibrate the activations
    """
    calibrated = way.rounding == "calibrated"
    extremes, means = calibrate(chain, windows)
    if calibrated:
        chain = rounding.evened(chain, [high for _, high in extremes[1:]], way.per_channel)
        extremes, means = calibrate(chain, windows)
    wider = 1 + way.range_margin
    source, *outputs = (scale_of(wider * low.min(), wider * high.max()) for low, high in extremes)
    layers, before = [], source
    q = source.to_int8(windows)
    for layer, after, mean in zip(chain, outputs, means[:-1], strict=True):
        scales = weight_scales(layer, way.per_channel, before.scale)
        steps = scales.astype(np.float64)
        if calibrated:
            of_q, covariance = rounding.moments(q)
            heard = (of_q - before.zero_point) * before.scale
            weights = rounding.rounded(layer.weights / steps, covariance, LARGEST_WEIGHT)
            weights = np.ascontiguousarray(weights.T, np.int8)
        else:
            weights, heard = int8_weights(layer, scales), mean
        bias = layer.bias
        if way.correct_bias:
            bias = bias + mean @ layer.weights - (weights @ heard) * steps
        bias = np.rint(bias / (before.scale * steps)).astype(np.int32)
        layers.append(IntDense(weights, bias, scales, layer.relu, before, after))
        q, before = layers[-1].outputs(q) if calibrated else q, after
    return layers
