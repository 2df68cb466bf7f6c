"""Reading TFLite files: what a file is, and the layers of a chain in int8 or in floats."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from asd.tflite.chain import Dense
from asd.tflite.flatbuffer import kind_of, names, parsed
from asd.tflite.int8 import LEAST, MOST, IntDense, Scale
from common import UserError

MAX_SCALE, MAX_WIDTH = 256, 65535  # of XNNPACK; of a layer in generated C
Layer = TypeVar("Layer")
# What tensors and operators raise that lack what they should have.
MALFORMED = (AttributeError, IndexError, KeyError, OverflowError, TypeError, ValueError)


def describe(content: bytes) -> dict[str, Any]:
    """What a TFLite file is: its size, input, output, weight scales and operators.

    Returns
    -------
    plain values: bytes, inputs and outputs (name, shape, type, scale, zero_point), weights
    (per_channel: whether some weight tensor has more than one scale), operators (name, version,
    count)

    Raises
    ------
    UserError : it is no TFLite file.
    """
    model, graph = parsed(content)
    try:
        return {"bytes": len(content), **_described(model, graph)}
    except MALFORMED as error:
        raise UserError(f"not a readable TFLite file ({type(error).__name__})") from error


def _described(model: Any, graph: Any) -> dict[str, Any]:
    from ai_edge_litert import schema_py_generated as schema

    types, operators = names(schema.TensorType), names(schema.BuiltinOperator)

    def tensor(index: int) -> dict[str, Any]:
        t = graph.tensors[index]
        quantised = t.quantization is not None and t.quantization.scale is not None
        return {
            "name": t.name.decode(),
            "shape": [int(n) for n in t.shape],
            "type": types[t.type].lower(),
            "scale": float(t.quantization.scale[0]) if quantised else None,
            "zero_point": int(t.quantization.zeroPoint[0]) if quantised else None,
        }

    def scales(t: Any) -> int:
        has = t.quantization is not None and t.quantization.scale is not None
        constant = model.buffers[t.buffer].data is not None
        return len(t.quantization.scale) if has and constant and len(t.shape) in (2, 4) else 0

    codes = [model.operatorCodes[op.opcodeIndex] for op in graph.operators]
    counts = Counter((operators[kind_of(code)], code.version) for code in codes)
    return {
        "inputs": [tensor(i) for i in graph.inputs],
        "outputs": [tensor(i) for i in graph.outputs],
        "weights": {"per_channel": any(scales(t) > 1 for t in graph.tensors)},
        "operators": [
            {"name": name, "version": version, "count": count}
            for (name, version), count in sorted(counts.items())
        ],
    }


@dataclass(frozen=True)
class Network:
    """A chain of layers, and what its input and output stand for."""

    layers: tuple[IntDense, ...]
    sha256: str  # of the TFLite file

    @property
    def inputs(self) -> int:
        """Elements of the input."""
        return self.layers[0].weights.shape[1]

    @property
    def outputs(self) -> int:
        """Elements of the output."""
        return self.layers[-1].weights.shape[0]


def read(content: bytes) -> Network:
    """The layers of an int8 TFLite file.

    Raises
    ------
    UserError : the file is not TFLite, or holds something else than a chain of fully connected
        int8 layers; the operator is named with its index.
    """
    return Network(tuple(_chain(content, _layer)), hashlib.sha256(content).hexdigest())


def read_floats(content: bytes) -> list[Dense]:
    """The layers of a float TFLite file.

    Raises
    ------
    UserError : as `read`, for layers of float32.
    """
    return list(_chain(content, _float_layer))


def _chain(content: bytes, layer_of: Callable[..., Layer]) -> Iterator[Layer]:
    """What `layer_of` makes of each operator of a chain of FULLY_CONNECTED."""
    from ai_edge_litert import schema_py_generated as schema

    model, graph = parsed(content)
    try:
        one_each = len(graph.inputs) == len(graph.outputs) == 1
        operators = [(op, kind_of(model.operatorCodes[op.opcodeIndex])) for op in graph.operators]
        current, last = graph.inputs[0], graph.outputs[0]
    except MALFORMED as error:
        raise UserError(f"its graph is incomplete or malformed ({error})") from error
    if len(model.subgraphs) != 1 or not one_each:
        raise UserError("not one graph from one input to one output")
    known = names(schema.BuiltinOperator)
    for index, (op, kind) in enumerate(operators):
        where = f"operator {index}, {known.get(kind, kind)}"
        if kind != schema.BuiltinOperator.FULLY_CONNECTED:
            raise UserError(f"{where}: only chains of FULLY_CONNECTED are supported")
        try:
            if op.inputs[0] != current:
                raise UserError(
                    f"{where}: its input is not the output before; only chains are supported"
                )
            yield layer_of(model, graph, op, where, schema)
            current = op.outputs[0]
        except MALFORMED as error:
            raise UserError(f"{where}: incomplete or malformed ({error})") from error
    if not operators or last != current:
        raise UserError("not a chain of operators from one input to one output")


def _fully_connected(graph: Any, op: Any, where: str, schema: Any) -> tuple[Any, Any, Any, Any]:
    """Tensors of a FULLY_CONNECTED operator: input, weights, output and bias or None."""
    source, weights, target = (
        graph.tensors[i] for i in (op.inputs[0], op.inputs[1], op.outputs[0])
    )
    bias = graph.tensors[op.inputs[2]] if len(op.inputs) > 2 and op.inputs[2] >= 0 else None
    functions = schema.ActivationFunctionType
    activation = op.builtinOptions.fusedActivationFunction
    if activation not in (functions.NONE, functions.RELU):
        kind = names(functions).get(activation, activation)
        raise UserError(f"{where}: fused activation {kind}; RELU or none is supported")
    if op.builtinOptions.weightsFormat != 0 or weights.sparsity is not None:
        raise UserError(f"{where}: shuffled or sparse weights; plain ones are supported")
    return source, weights, target, bias


def _float_layer(model: Any, graph: Any, op: Any, where: str, schema: Any) -> Dense:
    """A FULLY_CONNECTED operator in float32."""
    source, weights, target, bias = _fully_connected(graph, op, where, schema)
    for name, tensor in (("input", source), ("weights", weights), ("output", target)):
        if tensor.type != schema.TensorType.FLOAT32:
            kind = names(schema.TensorType).get(tensor.type, tensor.type)
            raise UserError(f"{where}: its {name} is {kind}; a model of float32 is needed")
    _check_shapes(source, weights, target, where)
    n_outputs, n_inputs = (int(n) for n in weights.shape)
    values = _constant(model, weights, "<f4", where).reshape(n_outputs, n_inputs)
    biases = np.zeros(n_outputs, np.float32)
    if bias is not None:
        biases = _constant(model, bias, "<f4", where).reshape(n_outputs)
    if not (np.isfinite(values).all() and np.isfinite(biases).all()):
        raise UserError(f"{where}: its weights are not numbers")
    relu = op.builtinOptions.fusedActivationFunction == schema.ActivationFunctionType.RELU
    return Dense(np.ascontiguousarray(values.T), biases, relu=relu)


def _constant(model: Any, tensor: Any, kind: str, where: str) -> np.ndarray:
    """What a tensor holds, flat."""
    data = model.buffers[tensor.buffer].data
    if data is None or not len(data):
        raise UserError(f"{where}: its weights are not constant")
    return np.frombuffer(bytes(data), kind)


def _layer(model: Any, graph: Any, op: Any, where: str, schema: Any) -> IntDense:
    """A FULLY_CONNECTED operator, checked to be one that can be computed exactly."""
    source, weights, target, bias = _fully_connected(graph, op, where, schema)
    _check_types(source, weights, target, bias, where, schema)
    _check_shapes(source, weights, target, where)
    _check_zero_points(source, target, where)
    shape = [int(n) for n in weights.shape]
    relu = op.builtinOptions.fusedActivationFunction == schema.ActivationFunctionType.RELU
    layer = IntDense(
        weights=_constant(model, weights, "i1", where).reshape(shape),
        bias=None if bias is None else _constant(model, bias, "<i4", where).reshape(shape[0]),
        weight_scales=_weight_scales(weights, where),
        relu=relu,
        input=_scale(source),
        output=_scale(target),
    )
    with np.errstate(all="ignore"):
        factors = layer.scales
    # XNNPACK takes factors below 256, and so does this; none is zero, negative or not a number.
    if not ((factors > 0) & (factors < MAX_SCALE)).all():
        raise UserError(f"{where}: a factor of {factors.max():g} from sums to outputs; it must be "
                        f"above 0 and below {MAX_SCALE}")  # fmt: skip
    return layer


def _check_types(
    source: Any, weights: Any, target: Any, bias: Any, where: str, schema: Any
) -> None:
    types = schema.TensorType
    for name, tensor in (("input", source), ("weights", weights), ("output", target)):
        if tensor.type != types.INT8:
            kind = names(types).get(tensor.type, tensor.type)
            raise UserError(f"{where}: its {name} is {kind}; int8 is supported: convert with int8 "
                            "input and output")  # fmt: skip
    if bias is not None and bias.type != types.INT32:
        kind = names(types).get(bias.type, bias.type)
        raise UserError(f"{where}: its bias is {kind}, not int32")


def _check_shapes(source: Any, weights: Any, target: Any, where: str) -> None:
    n_outputs, n_inputs = (int(n) for n in weights.shape)
    if n_inputs > MAX_WIDTH or n_outputs > MAX_WIDTH:
        raise UserError(f"{where}: {n_outputs} x {n_inputs} weights; at most {MAX_WIDTH} a side")
    for name, tensor, size in (("input", source, n_inputs), ("output", target, n_outputs)):
        shape = [int(n) for n in tensor.shape]
        if math.prod(shape) != size:
            raise UserError(f"{where}: its {name} has shape {shape}, not [1, {size}]")


def _check_zero_points(source: Any, target: Any, where: str) -> None:
    for name, tensor in (("input", source), ("output", target)):
        zero_point = int(tensor.quantization.zeroPoint[0])
        if not LEAST <= zero_point <= MOST:
            raise UserError(f"{where}: its {name} has the zero point {zero_point}, not int8")


def _weight_scales(weights: Any, where: str) -> np.ndarray:
    """One scale per output, or one; float32."""
    n_outputs = int(weights.shape[0])
    scales = np.asarray(weights.quantization.scale, np.float32)
    if len(scales) not in (1, n_outputs) or weights.quantization.quantizedDimension != 0:
        raise UserError(f"{where}: {len(scales)} weight scales for {n_outputs} outputs")
    if any(weights.quantization.zeroPoint):
        raise UserError(f"{where}: weights with a zero point; symmetric weights are supported")
    return scales


def _scale(tensor: Any) -> Scale:
    """The scale of an activation."""
    quantization = tensor.quantization
    return Scale(float(np.float32(quantization.scale[0])), int(quantization.zeroPoint[0]))
