"""TFLite files of the shapes that public dense detectors have: a chain of any operators."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from asd.tflite import writer
from asd.tflite.int8 import IntDense, Scale

KINDS = schema.BuiltinOperator
# Versions for int8, of TensorFlow's op_version.cc.
VERSIONS = {"QUANTIZE": 2, "DEQUANTIZE": 2, "RESHAPE": 1, "SQUEEZE": 1, "EXPAND_DIMS": 1,
            "LOGISTIC": 2, "TANH": 2, "SOFTMAX": 2, "RELU": 2, "RELU6": 2,
            "RELU_N1_TO_1": 1}  # fmt: skip


INPUT = Scale(0.25, 17)


class Step(NamedTuple):
    """An operator, and the tensor that it gives."""

    kind: str  # of VERSIONS
    scale: Scale | None = None  # None: that of its input
    type: str = ""  # "": that of its input
    shape: Sequence[int] | None = None  # None: that of its input


class Builder(writer._Graph):
    """A model that grows at its end."""

    def __init__(self, shape: Sequence[int], type: str, scale: Scale | None) -> None:
        super().__init__()
        self.first = self.last = self.made("first", shape, type, scale)

    def made(self, name: str, shape: Sequence[int], type: str, scale: Scale | None) -> int:
        """A tensor of any type."""
        number = self.tensor(name, shape, "int8", scale)
        self.graph.tensors[number].type = getattr(schema.TensorType, type.upper())
        self.shape, self.type, self.scale = list(shape), type, scale
        return number

    def add(self, step: Step) -> None:
        """An operator after the last."""
        shape = self.shape if step.shape is None else step.shape
        before, inputs = self.last, [self.last]
        if step.kind in ("RESHAPE", "EXPAND_DIMS"):
            values = shape if step.kind == "RESHAPE" else [shape.index(1)]
            inputs.append(self.constant(f"shape_{before}", np.array(values, np.int32)))
        scale = None if step.type == "float32" else step.scale or self.scale
        self.last = self.made(f"after_{before}", shape, step.type or self.type, scale)
        op = self.operator(getattr(KINDS, step.kind), VERSIONS[step.kind], inputs, self.last)
        if step.kind == "SQUEEZE":
            op.builtinOptionsType = schema.BuiltinOptions.SqueezeOptions
            op.builtinOptions = schema.SqueezeOptionsT()
            op.builtinOptions.squeezeDims = [1]
        if step.kind == "SOFTMAX":
            op.builtinOptionsType = schema.BuiltinOptions.SoftmaxOptions
            op.builtinOptions = schema.SoftmaxOptionsT()
            op.builtinOptions.beta = 1.0

    def layer(self, layer: IntDense, activation: str = "") -> None:
        """A FULLY_CONNECTED operator after the last, of int8 or of uint8 throughout."""
        unsigned = self.type == "uint8"
        weights = self.constant("weights", layer.weights, layer.weight_scales)
        if unsigned:
            tensor = self.graph.tensors[weights]
            tensor.type, tensor.quantization.zeroPoint = schema.TensorType.UINT8, [128]
            data = self.model.buffers[tensor.buffer]
            data.data = data.data ^ 128
        scales = np.float32(layer.input.scale) * layer.weight_scales
        bias = -1 if layer.bias is None else self.constant("bias", layer.bias, scales)
        before, points = self.last, 128 if unsigned else 0
        scale = Scale(layer.output.scale, layer.output.zero_point + points)
        self.last = self.made(f"dense_{before}", (1, len(layer.weights)), self.type, scale)
        version = 1 if unsigned else writer.INT8
        self.dense(version, [before, weights, bias], self.last, layer.relu)
        if activation:
            options: Any = self.graph.operators[-1].builtinOptions
            options.fusedActivationFunction = getattr(schema.ActivationFunctionType, activation)

    def content(self) -> bytes:
        """The file."""
        return self.finished(self.first, self.last)


def dense(
    seed: int, widths: tuple[int, int], source: Scale, activation: str = "", unit: float = 1.0
) -> IntDense:
    """A layer of random weights, whose outputs are some units in size."""
    rng = np.random.default_rng(seed)
    n_inputs, n_outputs = widths
    weights = np.clip(rng.normal(0, 40, (n_outputs, n_inputs)).round(), -127, 127)
    size = np.sqrt(n_inputs) * 40 * 70 * source.scale  # of the sums
    scales = np.float32(unit / size * rng.uniform(0.5, 2, n_outputs if seed % 2 else 1))
    bias = rng.normal(0, 3000, n_outputs).astype(np.int32)
    target = Scale(float(np.float32(unit / 60)), int(rng.integers(-60, 60)))
    return IntDense(weights.astype(np.int8), bias, scales, activation == "RELU", source, target)


def chain(
    builder: Builder, seed: int, widths: Sequence[int], steps: Sequence[Sequence[Step]] = ()
) -> Builder:
    """Layers of some widths, each with operators behind it; the hidden ones with a ReLU without."""
    for i, pair in enumerate(itertools.pairwise(widths)):
        behind = steps[i] if i < len(steps) else ()
        activation = "" if behind or i == len(widths) - 2 else "RELU"
        points = 128 if builder.type == "uint8" else 0
        source = Scale(builder.scale.scale, builder.scale.zero_point - points)
        builder.layer(dense(seed + 2 * i, pair, source, activation))
        for step in behind:
            builder.add(step)
    return builder


LOGISTIC, TANH = Step("LOGISTIC", Scale(1 / 256, -128)), Step("TANH", Scale(1 / 128, 0))
PLUS = Scale(INPUT.scale, INPUT.zero_point + 128)  # the same bytes as uint8


def reference() -> Builder:
    """As MLPerf Tiny's: int8 from end to end."""
    return chain(Builder((1, 40), "int8", INPUT), 1, (40, 24, 5, 24, 40))


def float_ends() -> Builder:
    """int8 inside, float32 outside."""
    builder = Builder((1, 40), "float32", None)
    builder.add(Step("QUANTIZE", INPUT, "int8"))
    chain(builder, 2, (40, 9, 40)).add(Step("DEQUANTIZE", None, "float32"))
    return builder


def flatten() -> Builder:
    """Frames of bands, made flat and put back."""
    builder = Builder((1, 5, 8), "int8", INPUT)
    builder.add(Step("RESHAPE", shape=(1, 40)))
    shapes = [[Step("EXPAND_DIMS", shape=(1, 1, 9)), Step("SQUEEZE", shape=(1, 9))]]
    chain(builder, 3, (40, 9, 40), shapes).add(Step("RESHAPE", shape=(1, 5, 8)))
    return builder


def logistic() -> Builder:
    """An auto-encoder of values from 0 to 1."""
    return chain(Builder((1, 40), "int8", INPUT), 4, (40, 9, 40), [(), [LOGISTIC]])


def tanh() -> Builder:
    """tanh in the hidden layers."""
    return chain(Builder((1, 40), "int8", INPUT), 5, (40, 17, 9, 40), [[TANH], [TANH]])


def softmax(cut: bool = False) -> Builder:
    """A classifier; `cut`: without what makes probabilities."""
    builder = chain(Builder((1, 40), "int8", INPUT), 6, (40, 24, 7))
    if not cut:
        builder.add(Step("SOFTMAX", Scale(1 / 256, -128)))
        builder.add(Step("DEQUANTIZE", None, "float32"))
    return builder


def relu6() -> Builder:
    """RELU6 in a layer and behind one."""
    builder = Builder((1, 40), "int8", INPUT)
    # 6 is 37.5 steps: where it is cut off depends on the rounding.
    for i, (widths, fused) in enumerate([((40, 17), "RELU6"), ((17, 9), "RELU_N1_TO_1")]):
        layer = dense(7 + i, widths, builder.scale, unit=9.6 - 8 * i)
        builder.layer(layer, fused)
    builder.layer(dense(9, (9, 40), builder.scale, unit=10))
    builder.add(Step("RELU6"))
    return builder


def uint8_ends() -> Builder:
    """int8 inside, uint8 outside."""
    builder = Builder((1, 40), "uint8", PLUS)
    builder.add(Step("QUANTIZE", INPUT, "int8"))
    chain(builder, 10, (40, 9, 40))
    plus = Scale(builder.scale.scale, builder.scale.zero_point + 128)
    builder.add(Step("QUANTIZE", plus, "uint8"))
    return builder


def scales() -> Builder:
    """Other scales before the first layer, between two, and behind a ReLU."""
    builder = Builder((1, 40), "int8", Scale(0.1, -20))
    builder.add(Step("QUANTIZE", INPUT))
    steps = [[Step("QUANTIZE", Scale(0.07, 3))], [Step("RELU", Scale(0.02, -128))]]
    return chain(builder, 11, (40, 17, 9, 40), steps)


def uint8() -> Builder:
    """uint8 throughout, weights too: files from before 2020."""
    return chain(Builder((1, 40), "uint8", PLUS), 12, (40, 18, 9, 40))


SHAPES = (reference, float_ends, flatten, logistic, tanh, softmax, relu6, uint8_ends, scales)


def _random_step(rng: np.random.Generator, source: Scale, rounding: str) -> Step:
    """An operator byte by byte that both the file and the interpreter of a rounding allow."""
    kinds = ["LOGISTIC", "TANH", "QUANTIZE", "RELU", "RELU6"]
    kind = str(rng.choice(kinds + ["RELU_N1_TO_1"] * (rounding == "single")))
    if kind in ("LOGISTIC", "TANH"):
        return LOGISTIC if kind == "LOGISTIC" else TANH
    if kind == "RELU6" and rounding == "double":
        return Step(kind)
    scale = float(np.float32(source.scale * 2.0 ** rng.uniform(-3, 3)))
    return Step(kind, Scale(scale, int(rng.integers(-128, 128))))


def random_steps(seed: int, rounding: str, most: int = 300) -> Builder:
    """Layers of any width with steps at random: before them, within, behind; each with one scale
    or one a row.

    Parameters
    ----------
    rounding : of what the interpreter of "single" or "double" runs
    most : the widest vector
    """
    rng = np.random.default_rng(seed)
    edges = [width for width in (1, 3, 5, 8, 16, 64, most) if width <= most]
    any_width = np.exp(rng.uniform(0, np.log(most), 9)).astype(int)
    widths = [int(rng.choice([*edges, n])) for n in any_width[: rng.integers(2, 6)]]
    source = Scale(float(np.float32(10.0 ** rng.uniform(-2, 0))), int(rng.integers(-128, 128)))
    builder = Builder((1, widths[0]), "int8", source)
    for _ in range(int(rng.choice([0, 0, 1, 2]))):
        builder.add(_random_step(rng, builder.scale, rounding))
    for n_inputs, n_outputs in itertools.pairwise(widths):
        spread = rng.choice([5, 40, 90])
        least = rng.choice([-127, -127, -127, -128])
        weights = np.clip(rng.normal(0, spread, (n_outputs, n_inputs)).round(), least, 127)
        count = n_outputs if rng.integers(2) else 1
        scales = np.float32(2.0 ** rng.uniform(-9, -5, count))
        size = np.sqrt(n_inputs) * spread * 70 * np.median(scales) * builder.scale.scale
        target = Scale(float(np.float32(size / 60)), int(rng.choice([-128, 0, 127, -40, 31])))
        bias = rng.normal(0, rng.choice([3000, 2.0**22]), n_outputs).astype(np.int32)
        fused = str(rng.choice(["", "RELU", "RELU6", "RELU_N1_TO_1"], p=[0.4, 0.4, 0.1, 0.1]))
        layer = IntDense(weights.astype(np.int8), bias, scales, fused == "RELU", builder.scale,
                         target)  # fmt: skip
        builder.layer(layer, fused)
        for _ in range(int(rng.choice([0, 1, 1, 2]))):
            builder.add(_random_step(rng, builder.scale, rounding))
    return builder
