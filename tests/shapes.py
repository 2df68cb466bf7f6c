"""TFLite files of the shapes that public dense detectors have: a chain of any operators."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from asd.tflite import writer
from asd.tflite.int8 import IntDense, Scale

KINDS = schema.BuiltinOperator
# Versions for int8, of TensorFlow's op_version.cc.
VERSIONS = {"QUANTIZE": 2, "DEQUANTIZE": 2, "RESHAPE": 1, "SQUEEZE": 1, "EXPAND_DIMS": 1,
            "LOGISTIC": 2, "TANH": 2, "SOFTMAX": 2, "RELU": 2, "RELU6": 2, "RELU_N1_TO_1": 1}  # fmt: skip


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
        if step.kind == "SOFTMAX":
            op.builtinOptionsType = schema.BuiltinOptions.SoftmaxOptions
            op.builtinOptions = schema.SoftmaxOptionsT()
            op.builtinOptions.beta = 1.0

    def layer(self, layer: IntDense, activation: str = "") -> None:
        """A FULLY_CONNECTED operator after the last, of int8 or of uint8 throughout."""
        unsigned = self.type == "uint8"
        weights = layer.weights.astype(np.int16) + 128 if unsigned else layer.weights
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
