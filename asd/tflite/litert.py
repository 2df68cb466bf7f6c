"""Running TFLite files by LiteRT, on int8 or float windows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from asd import workers
from asd.cli import quiet_stderr
from asd.tflite.reader import describe
from common import Predict, UserError


def runner(model: bytes | str | Path) -> Callable[[np.ndarray], np.ndarray]:
    """A TFLite model, run by LiteRT, on arrays of the type that its input has.

    Parameters
    ----------
    model : the flatbuffer or the path of one

    Returns
    -------
    function (n, vector_size) -> (n, vector_size), float32 or int8 as the model has it; in its
    attributes `source` and `target` what `describe` says of input and output

    Raises
    ------
    UserError : not a TFLite model.
    """
    from ai_edge_litert.interpreter import Interpreter

    name = "the TFLite model" if isinstance(model, bytes) else str(model)
    content = model if isinstance(model, bytes) else Path(model).read_bytes()
    try:
        facts = describe(content)  # and a damaged file goes no further
    except UserError as error:
        raise UserError(f"{name}: {error}; run 02_convert.py again") from error
    try:
        with quiet_stderr():
            interpreter = Interpreter(model_content=content, num_threads=workers.cores())
            interpreter.allocate_tensors()
        source, target = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    except (ValueError, RuntimeError, IndexError, UserError) as error:
        raise UserError(f"{name}: not a readable TFLite model; run 02_convert.py again") from error

    def run(windows: np.ndarray) -> np.ndarray:
        if windows.ndim != 2 or windows.shape[1] != source["shape"][1]:
            raise ValueError(f"windows of shape (n, {source['shape'][1]}) are needed")
        if interpreter.get_input_details()[0]["shape"][0] != len(windows):
            interpreter.resize_tensor_input(source["index"], windows.shape)
            interpreter.allocate_tensors()
        interpreter.set_tensor(source["index"], np.ascontiguousarray(windows, source["dtype"]))
        interpreter.invoke()
        return interpreter.get_tensor(target["index"])

    run.source, run.target = facts["inputs"][0], facts["outputs"][0]
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
    """A function of int8 arrays as one of float32 arrays.

    Where the input is int8 it is quantised, clamp(round(x / scale) + zero_point), ties to even;
    where the output is int8 it is dequantised, (q - zero_point) * scale.

    Parameters
    ----------
    source, target : type, scale and zero_point of input and output, as `describe` says them
    """

    def predict(windows: np.ndarray) -> np.ndarray:
        windows = np.ascontiguousarray(windows, np.float32)
        if source["type"] == "int8":
            windows = to_int8(windows, source["scale"], source["zero_point"])
        values = run(windows)
        if target["type"] == "int8":
            values = to_float(values, target["scale"], target["zero_point"])
        return values

    return predict


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
