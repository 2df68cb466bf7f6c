"""TFLite networks of any operators, run by LiteRT."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from asd import files, workers
from asd.cli import quiet_stderr
from asd.embeddings.engine import Opened, one_each, reason
from asd.tflite import flatbuffer, litert
from common import UserError

TRIAL = """
import sys
import numpy as np
from ai_edge_litert.interpreter import Interpreter
network = Interpreter(sys.argv[1])
(source,) = network.get_input_details()
values = np.zeros([int(n) for n in sys.argv[2:]], source["dtype"])
network.resize_tensor_input(source["index"], values.shape)
network.allocate_tensors()
network.set_tensor(source["index"], values)
network.invoke()
"""


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
    content = files.read_bounded(path, flatbuffer.MOST_BYTES)
    try:
        kernels, late = _kernels(*flatbuffer.parsed(content))  # and a damaged file goes no further
        interpreter = _interpreter(content)
        inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
    except Exception as error:  # whatever a damaged file leads the readers to
        raise UserError(f"not a TFLite model that LiteRT runs ({reason(error)}); export it anew, "
                        "with TFLite's own operators only") from error  # fmt: skip
    one_each(inputs, outputs)
    source, target = inputs[0], outputs[0]
    _check_types(source, target)
    lock, state = threading.Lock(), {"shape": None, "survived": None}

    def resize(shape: tuple[int, ...]) -> None:
        interpreter.resize_tensor_input(source["index"], shape)
        state["shape"] = None
        interpreter.allocate_tensors()
        _check_sizes(interpreter, kernels)
        if late and (state["survived"] is None or np.prod(shape) < state["survived"]):
            _try(path, shape)
            state["survived"] = np.prod(shape)
        state["shape"] = shape

    def run(values: np.ndarray) -> np.ndarray:
        if _is_quantised(source):
            values = litert.to_integers(values, *source["quantization"], source["dtype"])
        with lock:
            if values.shape != state["shape"]:
                resize(values.shape)
            interpreter.set_tensor(source["index"], values.astype(source["dtype"], copy=False))
            interpreter.invoke()
            result = interpreter.get_tensor(target["index"])
        return litert.to_float(result, *target["quantization"]) if _is_quantised(target) else result

    shape = tuple(None if n < 0 else int(n) for n in source["shape_signature"])
    return shape, [int(n) for n in target["shape_signature"]], run


def _interpreter(content: bytes) -> Any:
    """LiteRT's interpreter of a file."""
    from ai_edge_litert.interpreter import Interpreter

    with quiet_stderr():
        interpreter = Interpreter(model_content=content, num_threads=workers.cores())
        interpreter.allocate_tensors()
    return interpreter


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


def _kernels(model: Any, graph: Any) -> tuple[list[Kernel], bool]:
    """The kernels whose input's shape is known before the network runs; whether there are others.

    Parameters
    ----------
    model, graph : the schema's objects
    """
    from ai_edge_litert import schema_py_generated as schema

    kinds = schema.BuiltinOperator
    convolutions = kinds.CONV_2D, kinds.DEPTHWISE_CONV_2D
    late, found = _late(model, graph), []
    for op in graph.operators:
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
        found.append(Kernel(int(op.inputs[0]), height, width))
    known = [kernel for kernel in found if kernel.tensor not in late]
    return known, len(known) < len(found)


def _late(model: Any, graph: Any) -> set[int]:
    """The tensors whose shape is known only when the network runs.

    That is what an operator makes of integers that are no constants, the shape to make, and all
    that follows from it.
    """
    from ai_edge_litert import schema_py_generated as schema

    late: set[int] = set()
    for op in graph.operators:
        inputs = {int(i) for i in op.inputs if i >= 0}
        tensors = [graph.tensors[i] for i in inputs]
        shaped = any(
            tensor.type in (schema.TensorType.INT32, schema.TensorType.INT64)
            and model.buffers[tensor.buffer].data is None
            for tensor in tensors
        )
        if shaped or inputs & late:
            late |= {int(i) for i in op.outputs}
    return late


def _check_sizes(interpreter: Any, kernels: Sequence[Kernel]) -> None:
    """See that no input is smaller than its kernel: LiteRT would read memory beyond it.

    Raises
    ------
    ValueError : one is.
    """
    shapes = {tensor["index"]: tensor["shape"] for tensor in interpreter.get_tensor_details()}
    for kernel in kernels:
        height, width = shapes[kernel.tensor][1:3]
        if height < kernel.height or width < kernel.width:
            raise ValueError(f"a kernel of {kernel.height} x {kernel.width} on {height} x {width}")


def _try(path: Path, shape: Sequence[int]) -> None:
    """Run a network on an input of that shape in another process, which may die of it.

    Raises
    ------
    ValueError : it did.
    """
    command = [sys.executable, "-c", TRIAL, str(path), *map(str, shape)]
    if subprocess.run(command, capture_output=True).returncode < 0:  # killed by a signal
        raise ValueError("LiteRT crashes on it")
