"""Multiply-accumulates of a TFLite file, counted from its operators' shapes."""

from __future__ import annotations

import math
from typing import Any

from asd.tflite.flatbuffer import kind_of, parsed
from asd.tflite.reader import MALFORMED
from common import UserError


def multiply_accumulates(content: bytes) -> int:
    """Products of one inference by weights: convolutions, depthwise ones, dense layers.

    An output of a convolution takes height x width x channels of its kernel, of a depthwise one
    height x width, of a dense layer as many as it has inputs. Biases, pooling, and products of two
    activations or by a constant are not counted, as is usual.

    Raises
    ------
    UserError : it is no TFLite file, or has shapes that are not known before it runs.
    """
    from ai_edge_litert import schema_py_generated as schema

    model, graph = parsed(content)
    kinds = schema.BuiltinOperator
    try:
        return sum(_of(graph, op, kind_of(model.operatorCodes[op.opcodeIndex]), kinds)
                   for op in graph.operators)  # fmt: skip
    except MALFORMED as error:
        raise UserError(f"not a readable TFLite file ({type(error).__name__})") from error


def _of(graph: Any, op: Any, kind: int, kinds: Any) -> int:
    if kind not in (kinds.CONV_2D, kinds.DEPTHWISE_CONV_2D, kinds.FULLY_CONNECTED):
        return 0
    output = [int(n) for n in graph.tensors[op.outputs[0]].shape]
    weights = [int(n) for n in graph.tensors[op.inputs[1]].shape]
    if min(output) < 1:
        raise UserError(f"an output of the shape {output}; export it for one row at a time")
    # (outputs, height, width, channels), (1, height, width, outputs) or (outputs, inputs)
    each = weights[1:3] if kind == kinds.DEPTHWISE_CONV_2D else weights[1:]
    return math.prod(output) * math.prod(each)
