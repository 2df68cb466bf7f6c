"""The operators of a TFLite file one after the other, and the tensors between them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from asd.tflite.flatbuffer import kind_of, names, parsed
from asd.tflite.int8 import LEAST, MOST, Scale
from common import UserError

# What tensors and operators raise that lack what they should have.
MALFORMED = (AttributeError, IndexError, KeyError, OverflowError, TypeError, ValueError)
SAME_ELEMENTS = ("RESHAPE", "EXPAND_DIMS", "SQUEEZE")
# They compute shapes, for a RESHAPE: its elements and their order are the same whatever it is.
OF_SHAPES = ("SHAPE", "STRIDED_SLICE", "PACK")
HOW = "python -m asd.tflite.quantise FILE OUT --calibrate FOLDER"


@dataclass(frozen=True)
class Operator:
    """An operator of a chain."""

    kind: str  # its name in TFLite's schema
    where: str  # what to call it in a message
    op: Any
    model: Any
    graph: Any

    @property
    def source(self) -> Any:
        """The tensor that it takes from the operator before."""
        return self.graph.tensors[self.op.inputs[0]]

    @property
    def target(self) -> Any:
        """The tensor that it gives."""
        return self.graph.tensors[self.op.outputs[0]]

    def constant(self, tensor: Any, kind: str) -> np.ndarray:
        """What a constant tensor holds, flat."""
        data = self.model.buffers[tensor.buffer].data
        if data is None or not len(data):
            raise UserError(f"{self.where}: its weights are not constant")
        return np.frombuffer(bytes(data), kind)

    def keeps_size(self) -> bool:
        """Whether it gives as many elements as it takes."""
        return size(self.source) == size(self.target)

    def keeps_elements(self) -> bool:
        """Whether it changes the shape only."""
        same_type = self.source.type == self.target.type
        return self.kind in SAME_ELEMENTS and same_type and self.keeps_size()


def size(tensor: Any) -> int:
    """Elements of a tensor, for one window."""
    return math.prod(int(n) for n in tensor.shape)


def type_of(tensor: Any) -> str:
    """int8, uint8, float32, ..."""
    from ai_edge_litert import schema_py_generated as schema

    return names(schema.TensorType).get(tensor.type, str(tensor.type)).lower()


def scale_of(tensor: Any, name: str, where: str) -> Scale:
    """The scale of an activation, of uint8 as that of int8 128 below."""
    kind = type_of(tensor)
    if kind not in ("int8", "uint8"):
        raise UserError(f"{where}: its {name} is {kind.upper()}; int8 is supported: convert with "
                        f"int8 activations, or quantise the file of float32: {HOW}")  # fmt: skip
    quantization = tensor.quantization
    zero_point = int(quantization.zeroPoint[0]) - (128 if kind == "uint8" else 0)
    if not LEAST <= zero_point <= MOST:
        raise UserError(
            f"{where}: its {name} has the zero point {int(quantization.zeroPoint[0])}, not {kind}"
        )
    return Scale(float(np.float32(quantization.scale[0])), zero_point)


def chain(content: bytes) -> list[Operator]:
    """The operators of a file, each of which takes what the one before it gives.

    Raises
    ------
    UserError : it is no TFLite file, or its graph is no chain.
    """
    from ai_edge_litert import schema_py_generated as schema

    model, graph = parsed(content)
    known = names(schema.BuiltinOperator)
    try:
        one_each = len(graph.inputs) == len(graph.outputs) == 1
        kinds = [kind_of(model.operatorCodes[op.opcodeIndex]) for op in graph.operators]
        current, last = graph.inputs[0], graph.outputs[0]
    except MALFORMED as error:
        raise UserError(f"its graph is incomplete or malformed ({error})") from error
    if len(model.subgraphs) != 1 or not one_each:
        raise UserError("not one graph from one input to one output")
    found = []
    for index, (op, number) in enumerate(zip(graph.operators, kinds, strict=True)):
        kind = known.get(number, str(number))
        one = Operator(kind, f"operator {index}, {kind}", op, model, graph)
        if kind in OF_SHAPES:
            continue
        try:
            if op.inputs[0] != current:
                raise UserError(_no_chain(one))
            current = op.outputs[0]
        except MALFORMED as error:
            raise UserError(f"{one.where}: incomplete or malformed ({error})") from error
        found.append(one)
    if not found or last != current:
        raise UserError("not a chain of operators from one input to one output")
    return found


def _no_chain(one: Operator) -> str:
    if one.kind == "DEQUANTIZE" and one.model.buffers[one.source.buffer].data is not None:
        return (f"{one.where}: weights of {type_of(one.source)} that are dequantised; convert to "
                f"float32 without optimisations, then quantise that file: {HOW}")  # fmt: skip
    return f"{one.where}: its input is not the output before; only chains are supported"
