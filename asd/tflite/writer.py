"""TFLite flatbuffers of dense chains, tensor by tensor: float, int8 weights only, int8."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from asd.tflite.chain import Dense
from asd.tflite.int8 import IntDense, Scale, int8_weights, weight_scales

FILE_VERSION, IDENTIFIER = 3, b"TFL3"
SIGNATURE = "serving_default"
ALIGNMENT = 16  # bytes, of the constants: what the schema asks for
# Versions of FULLY_CONNECTED in TensorFlow's op_version.cc: float; int8; int8 weights with float
# activations, one scale per tensor or per output.
FLOAT, INT8, WEIGHTS_PER_TENSOR, WEIGHTS_PER_CHANNEL = 1, 4, 9, 12
QUANTIZE, DEQUANTIZE = 1, 2
SOFTMAX = 2  # int8
PROBABILITIES = Scale(1 / 256, -128)  # what TFLite's int8 SOFTMAX has at its output, always

_KINDS = {"float32": schema.TensorType.FLOAT32, "int8": schema.TensorType.INT8,
          "int32": schema.TensorType.INT32}  # fmt: skip


class _Builder(flatbuffers.Builder):
    """Constants begin at multiples of `ALIGNMENT`."""

    def CreateNumpyVector(self, x: np.ndarray) -> int:
        self.StartVector(x.itemsize, x.size, ALIGNMENT)
        content = x.tobytes()
        self.head = self.Head() - len(content)
        self.Bytes[self.head : self.head + len(content)] = content
        return self.EndVector()


class _Graph:
    """A model that grows by tensors and operators."""

    def __init__(self) -> None:
        self.model, self.graph = schema.ModelT(), schema.SubGraphT()
        self.model.version, self.model.subgraphs = FILE_VERSION, [self.graph]
        self.model.buffers = [schema.BufferT()]  # the empty one
        self.model.operatorCodes, self.model.description = [], "asd"
        self.graph.name, self.graph.tensors, self.graph.operators = "main", [], []

    def tensor(self, name: str, shape: Sequence[int], kind: str, scale: Any = None) -> int:
        """A tensor without content; `scale` is a Scale, or the scales of weights."""
        tensor = schema.TensorT()
        tensor.name, tensor.shape, tensor.type = name, list(shape), _KINDS[kind]
        tensor.buffer, tensor.hasRank = 0, True
        if scale is not None:
            of_activations = isinstance(scale, Scale)
            scales = np.array([scale.scale] if of_activations else scale, np.float32)
            points = [scale.zero_point] if of_activations else [0] * len(scales)
            tensor.quantization = schema.QuantizationParametersT()
            tensor.quantization.scale = scales
            tensor.quantization.zeroPoint = np.array(points, np.int64)
            tensor.quantization.quantizedDimension = 0
        self.graph.tensors.append(tensor)
        return len(self.graph.tensors) - 1

    def windows(self, name: str, width: int, scale: Scale | None) -> int:
        """An activation of any number of windows."""
        number = self.tensor(name, (1, width), "float32" if scale is None else "int8", scale)
        self.graph.tensors[number].shapeSignature = [-1, width]
        return number

    def constant(self, name: str, values: np.ndarray, scales: np.ndarray | None = None) -> int:
        """A tensor with content."""
        number = self.tensor(name, values.shape, str(values.dtype), scales)
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(values.tobytes(), np.uint8)
        self.model.buffers.append(buffer)
        self.graph.tensors[number].buffer = len(self.model.buffers) - 1
        return number

    def operator(self, kind: int, version: int, inputs: list[int], output: int) -> Any:
        """An operator, without options."""
        known = [(code.builtinCode, code.version) for code in self.model.operatorCodes]
        if (kind, version) not in known:
            code = schema.OperatorCodeT()
            code.builtinCode = code.deprecatedBuiltinCode = kind
            code.version = version
            self.model.operatorCodes.append(code)
            known.append((kind, version))
        operator = schema.OperatorT()
        operator.opcodeIndex = known.index((kind, version))
        operator.inputs, operator.outputs = inputs, [output]
        self.graph.operators.append(operator)
        return operator

    def dense(self, version: int, inputs: list[int], output: int, relu: bool) -> None:
        """A FULLY_CONNECTED operator."""
        operator = self.operator(schema.BuiltinOperator.FULLY_CONNECTED, version, inputs, output)
        options = schema.FullyConnectedOptionsT()
        functions = schema.ActivationFunctionType
        options.fusedActivationFunction = functions.RELU if relu else functions.NONE
        options.asymmetricQuantizeInputs = version in (WEIGHTS_PER_TENSOR, WEIGHTS_PER_CHANNEL)
        operator.builtinOptionsType = schema.BuiltinOptions.FullyConnectedOptions
        operator.builtinOptions = options

    def softmax(self, source: int, output: int) -> None:
        """A SOFTMAX operator of int8."""
        operator = self.operator(schema.BuiltinOperator.SOFTMAX, SOFTMAX, [source], output)
        options = schema.SoftmaxOptionsT()
        options.beta = 1.0
        operator.builtinOptionsType = schema.BuiltinOptions.SoftmaxOptions
        operator.builtinOptions = options

    def finished(self, first: int, last: int) -> bytes:
        """The file of the graph from the first tensor to the last."""
        self.graph.inputs, self.graph.outputs = [first], [last]
        signature = schema.SignatureDefT()
        signature.signatureKey, signature.subgraphIndex = SIGNATURE, 0
        signature.inputs, signature.outputs = [], []
        for maps, name, number in (
            (signature.inputs, "windows", first),
            (signature.outputs, "output_0", last),
        ):
            one = schema.TensorMapT()
            one.name, one.tensorIndex = name, number
            maps.append(one)
        self.model.signatureDefs = [signature]
        builder = _Builder(1 << 20)
        builder.Finish(self.model.Pack(builder), IDENTIFIER)
        return bytes(builder.Output())


def of_floats(chain: Sequence[Dense], int8: bool = False, per_channel: bool = True) -> bytes:
    """A file that computes in float32; with `int8` weights in int8, and inputs of each layer
    quantised as they come (TensorFlow's dynamic range).

    Parameters
    ----------
    chain : folded, no batch normalisation
    """
    graph = _Graph()
    first = current = graph.windows("windows", len(chain[0].weights), None)
    version = (WEIGHTS_PER_CHANNEL if per_channel else WEIGHTS_PER_TENSOR) if int8 else FLOAT
    for i, layer in enumerate(chain):
        if int8:
            scales = weight_scales(layer, per_channel)
            weights = graph.constant(f"weights_{i}", int8_weights(layer, scales), scales)
        else:
            weights = graph.constant(f"weights_{i}", layer.weights.T.astype(np.float32))
        bias = graph.constant(f"bias_{i}", layer.bias.astype(np.float32))
        output = graph.windows(f"dense_{i}", len(layer.bias), None)
        graph.dense(version, [current, weights, bias], output, layer.relu)
        current = output
    return graph.finished(first, current)


def of_integers(layers: Sequence[IntDense], int8_io: bool, softmax: bool = False) -> bytes:
    """A file that computes in int8; without `int8_io` from and to float32.

    Parameters
    ----------
    softmax : the last layer's outputs become probabilities
    """
    graph = _Graph()
    width, operators = layers[0].weights.shape[1], schema.BuiltinOperator
    first = current = graph.windows("windows", width, layers[0].input if int8_io else None)
    if not int8_io:
        current = graph.windows("quantised", width, layers[0].input)
        graph.operator(operators.QUANTIZE, QUANTIZE, [first], current)
    for i, layer in enumerate(layers):
        weights = graph.constant(f"weights_{i}", layer.weights, layer.weight_scales)
        inputs = [current, weights, -1]
        if layer.bias is not None:
            scales = np.float32(layer.input.scale) * layer.weight_scales
            inputs[2] = graph.constant(f"bias_{i}", layer.bias, scales)
        output = graph.windows(f"dense_{i}", len(layer.weights), layer.output)
        graph.dense(INT8, inputs, output, layer.relu)
        current = output
    if softmax:
        output = graph.windows("probabilities", len(layers[-1].weights), PROBABILITIES)
        graph.softmax(current, output)
        current = output
    if not int8_io:
        output = graph.windows("dequantised", len(layers[-1].weights), None)
        graph.operator(operators.DEQUANTIZE, DEQUANTIZE, [current], output)
        current = output
    return graph.finished(first, current)
