"""The layers of an int8 TFLite file: a chain of fully connected ones, as integers and scales."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from asd.tflite import names_of
from common import UserError

INT8 = (-128, 127)
MAX_SCALE = 256


@dataclass(frozen=True)
class Layer:
    """A fully connected int8 layer: y = clamp(round(scale * acc) + zero_point).

    acc = bias + sum over inputs of weights * (x - input_zero_point), in int32.
    """

    weights: np.ndarray  # (outputs, inputs) int8
    bias: np.ndarray  # (outputs,) int32
    input_zero_point: int
    zero_point: int  # of the output
    relu: bool
    input_scale: np.float32
    output_scale: np.float32
    weight_scales: np.ndarray  # (outputs,) or (1,) float32

    @property
    def low(self) -> int:
        """The least output: -128, or what stands for zero after a ReLU."""
        return max(self.zero_point, INT8[0]) if self.relu else INT8[0]

    @property
    def scales(self) -> np.ndarray:
        """The factor from acc to the output as XNNPACK has it, (outputs,) or (1,) float32."""
        return np.float32(self.input_scale) * self.weight_scales / np.float32(self.output_scale)

    @property
    def raw_bias(self) -> np.ndarray:
        """The bias of the sum over weights * x, for x with its zero point, (outputs,) int64."""
        sums = self.weights.sum(axis=1, dtype=np.int64)
        return self.bias.astype(np.int64) - self.input_zero_point * sums

    def multipliers(self) -> tuple[np.ndarray, np.ndarray]:
        """The same factor as TFLite Micro has it: q * 2^(shift - 31), q in [2^30, 2^31).

        Returns
        -------
        q : (outputs,) or (1,) int64
        shift : (outputs,) or (1,) int64, left where positive
        """
        pairs = [
            _multiplier(float(self.input_scale) * float(s) / float(self.output_scale))
            for s in self.weight_scales
        ]
        q, shift = np.array(pairs, np.int64).T
        return q, shift


def _multiplier(factor: float) -> tuple[int, int]:
    fraction, exponent = math.frexp(factor)
    q = round(fraction * 2**31)
    if q == 2**31:
        q, exponent = q // 2, exponent + 1
    if exponent < -31:  # every acc becomes 0
        return 0, 0
    return (2**31 - 1, 30) if exponent > 30 else (q, exponent)


@dataclass(frozen=True)
class Network:
    """A chain of layers, and what its input and output stand for."""

    layers: tuple[Layer, ...]
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
    from ai_edge_litert import schema_py_generated as schema

    if content[4:8] != b"TFL3":
        raise UserError("not a TFLite file")
    try:
        model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))
        graph = model.subgraphs[0]
    except Exception as error:  # the reader raises whatever damaged offsets lead it to
        raise UserError(f"not a readable TFLite file ({type(error).__name__})") from error
    if len(model.subgraphs) != 1 or len(graph.inputs) != 1 or len(graph.outputs) != 1:
        raise UserError("not one graph from one input to one output")
    layers: list[Layer] = []
    current = graph.inputs[0]
    for index, op in enumerate(graph.operators):
        code = model.operatorCodes[op.opcodeIndex]
        kind = max(code.builtinCode, code.deprecatedBuiltinCode)
        where = f"operator {index}, {names_of(schema.BuiltinOperator)[kind]}"
        if kind != schema.BuiltinOperator.FULLY_CONNECTED:
            raise UserError(f"{where}: only chains of FULLY_CONNECTED are supported")
        if op.inputs[0] != current:
            raise UserError(
                f"{where}: its input is not the output before; only chains are supported"
            )
        try:
            layers.append(_layer(model, graph, op, where, schema))
        except (
            AttributeError,
            IndexError,
            KeyError,
            OverflowError,
            TypeError,
            ValueError,
        ) as error:
            raise UserError(f"{where}: incomplete or malformed ({error})") from error
        current = op.outputs[0]
    if not layers or graph.outputs[0] != current:
        raise UserError("not a chain of operators from one input to one output")
    return Network(tuple(layers), hashlib.sha256(content).hexdigest())


def _layer(model: Any, graph: Any, op: Any, where: str, schema: Any) -> Layer:
    source, weights, target = (
        graph.tensors[i] for i in (op.inputs[0], op.inputs[1], op.outputs[0])
    )
    bias = graph.tensors[op.inputs[2]] if len(op.inputs) > 2 and op.inputs[2] >= 0 else None
    types = schema.TensorType
    for name, tensor in (("input", source), ("weights", weights), ("output", target)):
        if tensor.type != types.INT8:
            kind = names_of(types)[tensor.type]
            raise UserError(f"{where}: its {name} is {kind}; int8 is supported: convert with int8 "
                            "input and output")  # fmt: skip
    if bias is not None and bias.type != types.INT32:
        raise UserError(f"{where}: its bias is {names_of(types)[bias.type]}, not int32")
    activation = op.builtinOptions.fusedActivationFunction
    functions = schema.ActivationFunctionType
    if activation not in (functions.NONE, functions.RELU):
        kind = names_of(functions)[activation]
        raise UserError(f"{where}: fused activation {kind}; RELU or none is supported")
    data = model.buffers[weights.buffer].data
    if data is None or not len(data):
        raise UserError(f"{where}: its weights are not constant")
    n_outputs, n_inputs = (int(n) for n in weights.shape)
    if n_inputs > 65535 or n_outputs > 65535:
        raise UserError(f"{where}: {n_outputs} x {n_inputs} weights; at most 65535 a side")
    for name, tensor, size in (("input", source, n_inputs), ("output", target, n_outputs)):
        shape = [int(n) for n in tensor.shape]
        if math.prod(shape) != size:
            raise UserError(f"{where}: its {name} has shape {shape}, not [1, {size}]")
        zero_point = int(tensor.quantization.zeroPoint[0])
        if not INT8[0] <= zero_point <= INT8[1]:
            raise UserError(f"{where}: its {name} has the zero point {zero_point}, not int8")
    if op.builtinOptions.weightsFormat != 0 or weights.sparsity is not None:
        raise UserError(f"{where}: shuffled or sparse weights; plain ones are supported")
    scales = np.asarray(weights.quantization.scale, np.float32)
    if len(scales) not in (1, n_outputs) or weights.quantization.quantizedDimension != 0:
        raise UserError(f"{where}: {len(scales)} weight scales for {n_outputs} outputs")
    if any(weights.quantization.zeroPoint):
        raise UserError(f"{where}: weights with a zero point; symmetric weights are supported")
    layer = Layer(
        weights=np.frombuffer(bytes(data), np.int8).reshape(n_outputs, n_inputs),
        bias=_bias(model, bias, n_outputs),
        input_zero_point=int(source.quantization.zeroPoint[0]),
        zero_point=int(target.quantization.zeroPoint[0]),
        relu=activation == functions.RELU,
        input_scale=np.float32(source.quantization.scale[0]),
        output_scale=np.float32(target.quantization.scale[0]),
        weight_scales=scales,
    )
    with np.errstate(all="ignore"):
        factors = layer.scales
    # XNNPACK takes factors below 256, and so does this; none is zero, negative or not a number.
    if not ((factors > 0) & (factors < MAX_SCALE)).all():
        raise UserError(f"{where}: a factor of {factors.max():g} from sums to outputs; it must be "
                        f"above 0 and below {MAX_SCALE}")  # fmt: skip
    return layer


def _bias(model: Any, bias: Any, n_outputs: int) -> np.ndarray:
    """The bias of a layer, zeros where it has none, (n_outputs,) int32."""
    if bias is None:
        return np.zeros(n_outputs, np.int32)
    return np.frombuffer(bytes(model.buffers[bias.buffer].data), "<i4").reshape(n_outputs)
