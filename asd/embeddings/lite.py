"""TFLite networks of any operators, run by LiteRT."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from asd import files
from asd.cli import quiet_stderr
from asd.embeddings.engine import Opened, one_each, reason
from asd.tflite import flatbuffer, litert
from common import UserError


class Kernel(NamedTuple):
    """What a convolution or pooling without padding takes at least."""

    tensor: int  # its input, (1, height, width, channels)
    height: int
    width: int


def opened(path: Path) -> Opened:
    """Load a network of floats or integers; threads share its one interpreter.

    Raises
    ------
    UserError : LiteRT does not run it, or it has not one input and one output.
    """
    from ai_edge_litert.interpreter import Interpreter

    content = files.read_bounded(path, flatbuffer.MOST_BYTES)
    try:
        needed = list(_kernels(*flatbuffer.parsed(content)))  # and a damaged file goes no further
        with quiet_stderr():
            interpreter = Interpreter(model_content=content, num_threads=os.cpu_count())
            interpreter.allocate_tensors()
        inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
        written = _shapes(interpreter)
    except Exception as error:
        raise UserError(
            f"not a TFLite model that LiteRT runs ({reason(error)}); export it anew, "
            "with TFLite's own operators only"
        ) from error
    one_each(inputs, outputs)
    source, target = inputs[0], outputs[0]
    _check_types(source, target)
    lock, state = threading.Lock(), {"shape": None}

    def run(values: np.ndarray) -> np.ndarray:
        if _is_quantised(source):
            values = litert.to_integers(values, *source["quantization"], source["dtype"])
        with lock:
            if values.shape != state["shape"]:
                interpreter.resize_tensor_input(source["index"], values.shape)
                state["shape"] = None
                interpreter.allocate_tensors()
                known = values.shape == tuple(source["shape"])
                _check_sizes(interpreter, needed, {} if known else written)
                state["shape"] = values.shape
            interpreter.set_tensor(source["index"], values.astype(source["dtype"], copy=False))
            interpreter.invoke()
            result = interpreter.get_tensor(target["index"])
        return litert.to_float(result, *target["quantization"]) if _is_quantised(target) else result

    shape = tuple(None if n < 0 else int(n) for n in source["shape_signature"])
    return shape, [int(n) for n in target["shape"]], run


def _is_quantised(tensor: dict[str, Any]) -> bool:
    """Whether integers of a tensor stand for numbers."""
    return np.issubdtype(tensor["dtype"], np.integer) and tensor["quantization"][0] > 0


def _check_types(source: dict[str, Any], target: dict[str, Any]) -> None:
    """See that input and output are floats or stand for some."""
    for name, tensor in (("input", source), ("output", target)):
        if not (np.issubdtype(tensor["dtype"], np.floating) or _is_quantised(tensor)):
            kind = np.dtype(tensor["dtype"]).name
            raise UserError(f"its {name} is of {kind} without a scale; float32, or integers with "
                            "a scale, are needed")  # fmt: skip


def _kernels(model: Any, graph: Any) -> Iterator[Kernel]:
    """Those of a network, as the schema's objects."""
    from ai_edge_litert import schema_py_generated as schema

    kinds = schema.BuiltinOperator
    convolutions = kinds.CONV_2D, kinds.DEPTHWISE_CONV_2D
    for op in graph.operators or ():
        kind = flatbuffer.kind_of(model.operatorCodes[op.opcodeIndex])
        if kind not in (*convolutions, kinds.MAX_POOL_2D, kinds.AVERAGE_POOL_2D):
            continue
        options = op.builtinOptions
        if options.padding != schema.Padding.VALID:
            continue
        if kind in convolutions:
            height, width = (int(n) for n in graph.tensors[op.inputs[1]].shape[1:3])
            height = (height - 1) * options.dilationHFactor + 1
            width = (width - 1) * options.dilationWFactor + 1
        else:
            height, width = options.filterHeight, options.filterWidth
        yield Kernel(int(op.inputs[0]), height, width)


def _shapes(interpreter: Any) -> dict[int, tuple[int, ...]]:
    """The shapes of all tensors, as far as they are known before the network is run."""
    return {one["index"]: tuple(one["shape"]) for one in interpreter.get_tensor_details()}


def _check_sizes(
    interpreter: Any, kernels: Sequence[Kernel], unknown: dict[int, tuple[int, ...]]
) -> None:
    """See that no input is smaller than its kernel: LiteRT would read memory beyond it.

    Parameters
    ----------
    unknown : shapes that tell nothing; a tensor keeps its shape in the file, of one step in time,
        until the network is run, where an operator works its shape out

    Raises
    ------
    ValueError : one is.
    """
    shapes = _shapes(interpreter)
    for kernel in kernels:
        shape = shapes[kernel.tensor]
        smaller = shape[1] < kernel.height or shape[2] < kernel.width
        if smaller and shape != unknown.get(kernel.tensor):
            raise ValueError(f"a kernel of {kernel.height} x {kernel.width} on {shape[1]} x "
                             f"{shape[2]}")  # fmt: skip
