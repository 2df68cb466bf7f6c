"""Running TFLite files by LiteRT, on int8 or float windows."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from asd import workers
from asd.cli import quiet_stderr
from asd.tflite import reader
from asd.tflite.int8 import Scale
from common import Predict, UserError

BYTES = {"int8": np.int8, "uint8": np.uint8}


def runner(model: bytes | str | Path) -> Callable[[np.ndarray], np.ndarray]:
    """A TFLite model, run by LiteRT, on arrays of the type that its input has.

    Parameters
    ----------
    model : the flatbuffer or the path of one

    Returns
    -------
    function (n, vector_size) -> (n, vector_size), of the type that the model has, whatever shapes
    its input and output have; in its attributes `source` and `target` what `describe` says of input
    and output, and `network`, a function that reads its layers

    Raises
    ------
    UserError : not a TFLite model.
    """
    from ai_edge_litert.interpreter import Interpreter

    name = "the TFLite model" if isinstance(model, bytes) else str(model)
    content = model if isinstance(model, bytes) else Path(model).read_bytes()
    try:
        facts = reader.describe(content)  # and a damaged file goes no further
    except UserError as error:
        raise UserError(f"{name}: {error}; run 02_convert.py again") from error
    try:
        with quiet_stderr():
            interpreter = Interpreter(model_content=content, num_threads=workers.cores())
            interpreter.allocate_tensors()
        source, target = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    except (ValueError, RuntimeError, IndexError, UserError) as error:
        raise UserError(f"{name}: not a readable TFLite model; run 02_convert.py again") from error

    run = _in_batches(interpreter, source, target)
    run.network = lambda: reader.read(content)
    run.source, run.target = facts["inputs"][0], facts["outputs"][0]
    return run


def _in_batches(
    interpreter: Any, source: dict[str, Any], target: dict[str, Any]
) -> Callable[[np.ndarray], np.ndarray]:
    """An interpreter as a function of flat windows, all of them at once if it can."""
    shape = [int(n) for n in source["shape"]]
    size = math.prod(shape)

    def resize(n: int) -> None:
        interpreter.resize_tensor_input(source["index"], [n, *shape[1:]])
        interpreter.allocate_tensors()

    def run(windows: np.ndarray) -> np.ndarray:
        if windows.ndim != 2 or windows.shape[1] != size:
            raise ValueError(f"windows of shape (n, {size}) are needed")
        if interpreter.get_input_details()[0]["shape"][0] != len(windows):
            try:
                resize(len(windows))
            except RuntimeError:  # a change of shape inside that is for one window
                resize(1)
                return np.concatenate([run(row[None]) for row in windows])
        given = np.ascontiguousarray(windows, source["dtype"]).reshape(len(windows), *shape[1:])
        interpreter.set_tensor(source["index"], given)
        interpreter.invoke()
        return interpreter.get_tensor(target["index"]).reshape(len(windows), -1)

    return run


def predictor(model: bytes | str | Path) -> Predict:
    """A TFLite model, run by LiteRT, as a function of float windows.

    Parameters
    ----------
    model : the flatbuffer or the path of one

    Returns
    -------
    function (n, vector_size) float32 -> (n, vector_size) float32; see `in_floats`

    Raises
    ------
    UserError : not a TFLite model.
    """
    run = runner(model)
    return in_floats(run, run.source, run.target)


def in_floats(
    run: Callable[[np.ndarray], np.ndarray], source: dict[str, Any], target: dict[str, Any]
) -> Predict:
    """A function of arrays of bytes as one of float32 arrays.

    Where the input is int8 or uint8 it is quantised, clamp(round(x / scale) + zero_point), ties to
    even; where the output is, it is dequantised, (q - zero_point) * scale.

    Parameters
    ----------
    source, target : type, scale and zero_point of input and output, as `describe` says them
    """

    def predict(windows: np.ndarray) -> np.ndarray:
        windows = np.ascontiguousarray(windows, np.float32)
        if source["type"] in BYTES:
            scale = source["scale"], source["zero_point"]
            windows = to_integers(windows, *scale, BYTES[source["type"]])
        values = run(windows)
        if target["type"] in BYTES:
            values = to_float(values, target["scale"], target["zero_point"])
        return values

    return predict


def in_bytes(run: Callable[[np.ndarray], np.ndarray]) -> Callable[[np.ndarray], np.ndarray]:
    """What a runner does, from int8 to int8 as generated C has it, whatever types its ends have.

    uint8 is 128 more than int8. A float32 end is the int8 behind it, or before it, times its scale:
    floats are made of bytes, and bytes of floats, without a rounding.

    Parameters
    ----------
    run : of `runner`, whose file has no SOFTMAX

    Returns
    -------
    function (n, inputs) int8 -> (n, outputs) int8
    """
    network = run.network()
    source, target = network.source, network.target

    def of_bytes(windows: np.ndarray) -> np.ndarray:
        values = run(_given(windows, source.type, source.scale))
        if target.type == "float32":
            return to_int8(values, target.scale.scale, target.scale.zero_point)
        return (values.view(np.int8) ^ np.int8(-128)) if target.type == "uint8" else values

    return of_bytes


def _given(windows: np.ndarray, kind: str, scale: Scale) -> np.ndarray:
    """int8 as a file takes it."""
    if kind == "float32":
        return to_float(windows, scale.scale, scale.zero_point)
    return windows.view(np.uint8) ^ np.uint8(128) if kind == "uint8" else windows


def to_int8(values: np.ndarray, scale: float, zero_point: int) -> np.ndarray:
    """See `to_integers`; int8."""
    return to_integers(values, scale, zero_point, np.int8)


def to_integers(values: np.ndarray, scale: float, zero_point: int, kind: type) -> np.ndarray:
    """clamp(round(values / scale) + zero_point), ties to even, in float32; of an integer type."""
    q = np.round(values / np.float32(scale)) + zero_point
    return np.clip(q, np.iinfo(kind).min, np.iinfo(kind).max).astype(kind)


def to_float(values: np.ndarray, scale: float, zero_point: int) -> np.ndarray:
    """(values - zero_point) * scale, float32; values of an integer type."""
    floats = values.astype(np.float32) - zero_point
    floats *= np.float32(scale)
    return floats
