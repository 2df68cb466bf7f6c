"""Keras to TFLite: batch-norm fold, cross-layer equalisation, conversion, and running the files.

From Python, with calibration windows of your own::

    import numpy as np
    from asd import dense, tflite

    chain = dense.read("ad01.h5")                   # or a Keras model
    windows = np.load("windows.npy")                # (n, 640) float32, dB
    folded = tflite.fold_batch_norm(chain)
    content = tflite.convert(folded, "_quant_fullint_micro_intio", windows)
    predict = tflite.predictor(content)             # (n, 640) float32 -> (n, 640) float32

For runtimes that know one scale per weight tensor::

    content = tflite.convert(tflite.equalise(folded), "_quant_fullint_micro_intio", windows,
                             per_channel=False)
"""

from __future__ import annotations

import itertools
import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import common
from asd import dense, quantise
from asd.dense import Dense
from common import Conversion, UserError

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True)
class Variant:
    """One kind of TFLite file."""

    suffix: str  # model_<type><suffix>.tflite
    title: str
    quantised: bool = False  # int8 weights
    calibrated: bool = False  # int8 activations, from calibration windows
    int8_io: bool = False  # int8 input and output


# The files of MLPerf Tiny's reference, under its names. The third leaves no operator in float, so
# the fourth, which the reference restricts to int8 operators, is the same.
VARIANTS = (
    Variant("", "float32"),
    Variant("_quant", "int8 weights", quantised=True),
    Variant("_quant_fullint", "int8", quantised=True, calibrated=True),
    Variant("_quant_fullint_micro", "int8, int8 operators only", quantised=True, calibrated=True),
    Variant("_quant_fullint_micro_intio", "int8 in and out (MCU)", True, True, int8_io=True),
)
BY_SUFFIX = {variant.suffix: variant for variant in VARIANTS}


def fold_batch_norm(model: keras.Model | Sequence[Dense], reference: bool = False) -> list[Dense]:
    """The same function as dense layers only: batch normalisation goes into the weights.

    With k = gamma / sqrt(variance + eps): weights * k, and bias (bias - mean) * k + beta
    (Jacob et al. 2018, arXiv:1712.05877, section 3.2, for a layer with a bias of its own).

    Parameters
    ----------
    model : a chain of Dense, BatchNormalization and ReLU layers: of `dense.read`, or Keras' own
    reference : drop the Dense bias, as the converter of MLPerf Tiny's published files does:
        bias -mean * k + beta. Another function than the model.

    Raises
    ------
    NotAChain : see `dense.of_model`.
    """
    chain = model if isinstance(model, Sequence) else dense.of_model(model)
    return [_folded(layer, reference) for layer in chain]


def _folded(layer: Dense, reference: bool) -> Dense:
    weights, bias = (np.asarray(a, np.float64) for a in (layer.weights, layer.bias))
    if norm := layer.norm:
        gamma, beta, mean, variance = (
            np.asarray(a, np.float64) for a in (norm.gamma, norm.beta, norm.mean, norm.variance)
        )
        k = gamma / np.sqrt(variance + norm.epsilon)
        weights = weights * k
        bias = ((0 if reference else bias) - mean) * k + beta
    return Dense(weights, bias, relu=layer.relu)


def equalise(chain: Sequence[Dense], rounds: int = 20) -> list[Dense]:
    """The same function with the weight ranges of neighbouring layers made alike.

    ReLU(s * x) = s * ReLU(x) for s > 0, so a factor on an output channel of a layer can be taken
    back on the next layer's input. With s = sqrt(r_next / r), r the largest weight of the channel
    on either side, both tensors use one int8 scale equally well. Repeated, as a layer has a
    neighbour on either side. Nagel et al. 2019, arXiv:1906.04721, section 4.1.

    Parameters
    ----------
    chain : of `fold_batch_norm`

    Raises
    ------
    UserError : batch normalisation is left.
    """
    _check_folded(chain)
    chain = [
        Dense(np.array(layer.weights), np.array(layer.bias), relu=layer.relu) for layer in chain
    ]
    for _ in range(rounds):
        for first, second in itertools.pairwise(chain):
            if not first.relu:
                continue
            here = np.abs(first.weights).max(axis=0)  # (n_channels,)
            there = np.abs(second.weights).max(axis=1)  # (n_channels,)
            alive = (here > 0) & (there > 0)
            factor = np.sqrt(np.where(alive, there, 1) / np.where(alive, here, 1))
            first.weights *= factor
            first.bias *= factor
            second.weights /= factor[:, None]
    return chain


def _check_folded(chain: Sequence[Dense]) -> None:
    if any(layer.norm for layer in chain):
        raise UserError("batch normalisation is not folded; fold_batch_norm comes first")


def prepare(chain: Sequence[Dense], conversion: Conversion) -> list[Dense]:
    """Fold, and equalise where one scale per weight tensor asks for it, as configured."""
    folded = fold_batch_norm(chain, conversion.reference_fold)
    per_tensor = conversion.dense_weights == "per_tensor"
    return equalise(folded) if per_tensor and conversion.equalise else folded


def spread_windows(n_windows: int, count: int, seed: int) -> np.ndarray:
    """Choose windows spread evenly over all: one at random from each of `count` equal parts.

    Returns
    -------
    (min(count, n_windows),) int64, ascending positions in 0..n_windows - 1
    """
    count = min(count, n_windows)
    edges = np.arange(count + 1) * n_windows // count
    return np.random.default_rng(seed).integers(edges[:-1], edges[1:])


def convert(
    chain: Sequence[Dense],
    variant: Variant | str,
    windows: np.ndarray | None = None,
    per_channel: bool = True,
    correct_bias: bool = True,
) -> bytes:
    """Convert a folded model.

    Parameters
    ----------
    chain : of `fold_batch_norm` or `equalise`
    variant : a row of `VARIANTS` or its suffix
    windows : (n, vector_size) float32, dB: calibrates the activations of int8 variants
    per_channel : one scale per output of a layer, or one per weight tensor
    correct_bias : of calibrated variants, see `quantise.quantise`

    Returns
    -------
    the TFLite flatbuffer

    Raises
    ------
    ValueError : a calibrated variant without windows, or with windows of another shape or of
        values that are not numbers.
    UserError : batch normalisation is left.
    """
    from asd import flatfile

    _check_folded(chain)
    variant = BY_SUFFIX[variant] if isinstance(variant, str) else variant
    if not variant.calibrated:
        return flatfile.of_floats(chain, variant.quantised, per_channel)
    size = len(chain[0].weights)
    windows = np.ascontiguousarray([] if windows is None else windows, np.float32)
    if windows.ndim != 2 or windows.shape[1] != size or not len(windows):
        raise ValueError(f"calibration needs windows of shape (n, {size})")
    if not np.isfinite(windows).all():
        raise ValueError("calibration windows hold values that are not numbers")
    integers = quantise.quantise(chain, windows, per_channel, correct_bias)
    return flatfile.of_integers(*integers, variant.int8_io)


def describe(content: bytes) -> dict[str, Any]:
    """What a TFLite file is: its size, input, output, weight scales and operators.

    Returns
    -------
    plain values: bytes, inputs and outputs (name, shape, type, scale, zero_point), weights
    (per_channel: whether some weight tensor has more than one scale), operators (name, version,
    count)
    """
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))
    graph = model.subgraphs[0]
    types = names_of(schema.TensorType)
    operators = names_of(schema.BuiltinOperator)

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
        return len(t.quantization.scale) if has and len(t.shape) == 2 else 0

    codes = [model.operatorCodes[op.opcodeIndex] for op in graph.operators]
    # Files older than 2020 have their operator in the deprecated field only.
    kinds = [max(code.builtinCode, code.deprecatedBuiltinCode) for code in codes]
    versions = [code.version for code in codes]
    counts = Counter((operators[kind], n) for kind, n in zip(kinds, versions, strict=True))
    return {
        "bytes": len(content),
        "inputs": [tensor(i) for i in graph.inputs],
        "outputs": [tensor(i) for i in graph.outputs],
        "weights": {"per_channel": any(scales(t) > 1 for t in graph.tensors)},
        "operators": [
            {"name": name, "version": version, "count": count}
            for (name, version), count in sorted(counts.items())
        ],
    }


def check_source(path: Path, model: Path) -> dict[str, Any]:
    """See that a TFLite file was made by 02_convert.py from the model that is there now.

    Returns
    -------
    the settings of its conversion: reference_fold, dense_weights, ...

    Raises
    ------
    UserError : the file or its record is missing, or either is of something else.
    """
    again = "run 02_convert.py"
    record_path = path.with_suffix(".tflite.json")
    for needed in (path, record_path):
        if not needed.is_file():
            raise UserError(f"{needed}: no such file; {again}")
    sha256, source, conversion = common.read_keys(
        record_path, "sha256", "source.sha256", "conversion"
    )
    if sha256 != common.file_hash(path):
        raise UserError(f"{path}: damaged, or not the file {record_path.name} describes; {again}")
    if source != common.file_hash(model):
        raise UserError(f"{path}: made from another model than {model}; {again}")
    return conversion


def names_of(enum: type) -> dict[int, str]:
    """The names of a TFLite schema's enumeration by value."""
    return {value: name for name, value in vars(enum).items() if isinstance(value, int)}


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
        with common.quiet_stderr():
            interpreter = Interpreter(model_content=content, num_threads=os.cpu_count())
            interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise UserError(f"{name}: not a readable TFLite model; run 02_convert.py again") from error
    source, target = interpreter.get_input_details()[0], interpreter.get_output_details()[0]

    def run(windows: np.ndarray) -> np.ndarray:
        if windows.ndim != 2 or windows.shape[1] != source["shape"][1]:
            raise ValueError(f"windows of shape (n, {source['shape'][1]}) are needed")
        if interpreter.get_input_details()[0]["shape"][0] != len(windows):
            interpreter.resize_tensor_input(source["index"], windows.shape)
            interpreter.allocate_tensors()
        interpreter.set_tensor(source["index"], np.ascontiguousarray(windows, source["dtype"]))
        interpreter.invoke()
        return interpreter.get_tensor(target["index"])

    facts = describe(content)
    run.source, run.target = facts["inputs"][0], facts["outputs"][0]
    return run


def predictor(model: bytes | str | Path) -> common.Predict:
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
) -> common.Predict:
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
            values = values.astype(np.float32) - target["zero_point"]
            values *= np.float32(target["scale"])
        return values

    return predict


def to_int8(values: np.ndarray, scale: float, zero_point: int) -> np.ndarray:
    """clamp(round(values / scale) + zero_point), ties to even, in float32; int8."""
    q = np.round(values / np.float32(scale)) + zero_point
    return np.clip(q, -128, 127).astype(np.int8)
