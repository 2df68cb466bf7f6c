"""FULLY_CONNECTED operators of a TFLite file as layers, in floats or in integers."""

from __future__ import annotations

from typing import Any

import numpy as np

from asd.tflite.chain import Dense
from asd.tflite.flatbuffer import names
from asd.tflite.int8 import LEAST, MOST, IntDense
from asd.tflite.operators import HOW, Operator, scale_of, size, type_of
from asd.tflite.tables import LIMITS
from common import UserError

MAX_SCALE, MAX_WIDTH = 256, 65535  # of XNNPACK; of a layer in generated C


def of_floats(one: Operator) -> Dense:
    """A FULLY_CONNECTED operator in float32."""
    weights, bias, activation = _fully_connected(one, ("NONE", "RELU"))
    for name, tensor in (("input", one.source), ("weights", weights), ("output", one.target)):
        if (kind := type_of(tensor)) != "float32":
            raise UserError(f"{one.where}: its {name} is {kind.upper()}; a model of float32 is "
                            "needed")  # fmt: skip
    n_outputs, n_inputs = _checked_shape(one, weights)
    values = one.constant(weights, "<f4").reshape(n_outputs, n_inputs)
    biases = np.zeros(n_outputs, np.float32)
    if bias is not None:
        biases = one.constant(bias, "<f4").reshape(n_outputs)
    if not (np.isfinite(values).all() and np.isfinite(biases).all()):
        raise UserError(f"{one.where}: its weights are not numbers")
    return Dense(np.ascontiguousarray(values.T), biases, relu=activation == "RELU")


def of_integers(one: Operator) -> IntDense:
    """A FULLY_CONNECTED operator, checked to be one that can be computed exactly."""
    weights, bias, activation = _fully_connected(one, ("NONE", *LIMITS))
    _check_types(one, weights, bias)
    shape = _checked_shape(one, weights)
    layer = IntDense(
        weights=_int8_weights(one, weights).reshape(shape),
        bias=None if bias is None else one.constant(bias, "<i4").reshape(shape[0]),
        weight_scales=_weight_scales(one, weights),
        relu=activation == "RELU",
        input=scale_of(one.source, "input", one.where),
        output=scale_of(one.target, "output", one.where),
        limits=LIMITS[activation] if activation not in ("NONE", "RELU") else None,
    )
    with np.errstate(all="ignore"):
        factors = layer.scales
    # XNNPACK takes factors below 256, and so does this; none is zero, negative or not a number.
    if not ((factors > 0) & (factors < MAX_SCALE)).all():
        raise UserError(f"{one.where}: a factor of {factors.max():g} from sums to outputs; it must "
                        f"be above 0 and below {MAX_SCALE}")  # fmt: skip
    return layer


def _fully_connected(one: Operator, allowed: tuple[str, ...]) -> tuple[Any, Any, str]:
    """Of a FULLY_CONNECTED operator the weights, the bias or None, and the fused activation."""
    from ai_edge_litert import schema_py_generated as schema

    op, tensors = one.op, one.graph.tensors
    weights = tensors[op.inputs[1]]
    bias = tensors[op.inputs[2]] if len(op.inputs) > 2 and op.inputs[2] >= 0 else None
    activation = op.builtinOptions.fusedActivationFunction
    kind = names(schema.ActivationFunctionType).get(activation, str(activation))
    if kind not in allowed:
        some = ", ".join(allowed[1:])
        raise UserError(f"{one.where}: fused activation {kind}; {some} or none is supported")
    if op.builtinOptions.weightsFormat != 0 or weights.sparsity is not None:
        raise UserError(f"{one.where}: shuffled or sparse weights; plain ones are supported")
    return weights, bias, kind


def _check_types(one: Operator, weights: Any, bias: Any) -> None:
    of_source, of_weights = type_of(one.source), type_of(weights)
    if of_source == "float32" and of_weights == "int8":
        raise UserError(f"{one.where}: int8 weights with float32 activations (dynamic range); "
                        f"quantise the float32 file that it came from: {HOW}")  # fmt: skip
    for name, tensor in (("input", one.source), ("output", one.target)):
        scale_of(tensor, name, one.where)
    if not of_source == of_weights == type_of(one.target):
        raise UserError(f"{one.where}: its weights are {of_weights.upper()}, its input {of_source} "
                        f"and its output {type_of(one.target)}; int8 or uint8 throughout is "
                        "supported")  # fmt: skip
    if bias is not None and type_of(bias) != "int32":
        raise UserError(f"{one.where}: its bias is {type_of(bias).upper()}, not int32")


def _checked_shape(one: Operator, weights: Any) -> tuple[int, int]:
    """Outputs and inputs."""
    n_outputs, n_inputs = (int(n) for n in weights.shape)
    if n_inputs > MAX_WIDTH or n_outputs > MAX_WIDTH:
        raise UserError(
            f"{one.where}: {n_outputs} x {n_inputs} weights; at most {MAX_WIDTH} a side"
        )
    for name, tensor, count in (("input", one.source, n_inputs), ("output", one.target, n_outputs)):
        if size(tensor) != count:
            shape = [int(n) for n in tensor.shape]
            raise UserError(f"{one.where}: its {name} has shape {shape}, not [1, {count}]")
    return n_outputs, n_inputs


def _int8_weights(one: Operator, weights: Any) -> np.ndarray:
    """Weights without their zero point, flat."""
    if type_of(weights) == "int8":
        return one.constant(weights, "i1")
    values = one.constant(weights, "u1").astype(np.int16) - int(weights.quantization.zeroPoint[0])
    if values.min() < LEAST or values.max() > MOST:
        raise UserError(f"{one.where}: uint8 weights {values.min()} to {values.max()} steps from "
                        "zero, which no int8 holds; convert it anew to int8")  # fmt: skip
    return values.astype(np.int8)


def _weight_scales(one: Operator, weights: Any) -> np.ndarray:
    """One scale per output, or one; float32."""
    n_outputs, quantization = int(weights.shape[0]), weights.quantization
    scales = np.asarray(quantization.scale, np.float32)
    known = (1, n_outputs) if type_of(weights) == "int8" else (1,)
    if len(scales) not in known or quantization.quantizedDimension != 0:
        raise UserError(f"{one.where}: {len(scales)} weight scales for {n_outputs} outputs")
    if type_of(weights) == "int8" and any(quantization.zeroPoint):
        raise UserError(f"{one.where}: weights with a zero point; symmetric weights are supported")
    return scales
