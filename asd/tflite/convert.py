"""Keras to TFLite: the variants of a model, and their conversion.

From Python, with calibration windows of your own::

    import numpy as np
    from asd.tflite import convert, fold, keras_chain, litert

    chain = keras_chain.read("ad01.h5")                  # or a Keras model
    windows = np.load("windows.npy")                     # (n, 640) float32, dB
    folded = fold.fold_batch_norm(chain)
    content = convert.convert(folded, convert.MCU, windows)
    predict = litert.predictor(content)                     # (n, 640) float32 -> (n, 640) float32

For runtimes that know one scale per weight tensor::

    content = convert.convert(fold.equalise(folded), convert.MCU, windows, per_channel=False)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from asd.config import Conversion
from asd.tflite import int8
from asd.tflite.chain import Dense
from asd.tflite.fold import check_folded
from asd.tflite.int8 import Way
from common import UserError


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
MCU = VARIANTS[-1]  # the one that becomes C


def spread_windows(n_windows: int, count: int, seed: int) -> np.ndarray:
    """Choose windows spread evenly over all: one at random from each of `count` equal parts.

    Returns
    -------
    (min(count, n_windows),) int64, ascending positions in 0..n_windows - 1
    """
    count = min(count, n_windows)
    edges = np.arange(count + 1) * n_windows // count
    return np.random.default_rng(seed).integers(edges[:-1], edges[1:])


def calibration_clips(conversion: Conversion, names: Sequence[str]) -> list[int]:
    """Which of some clips, by name, calibrate: all, or those of `calibration_list`.

    Listed clips that are not there are said.

    Returns
    -------
    their positions

    Raises
    ------
    UserError : there is no such list, or none of its clips is there.
    """
    if conversion.calibration_list is None:
        return list(range(len(names)))
    path = Path(conversion.calibration_list)
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such list of clips (convert.calibration_list)") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not a list of clips, one a line in UTF-8") from error
    listed = {line.strip().rpartition("/")[2] for line in lines} - {""}
    chosen = [i for i, name in enumerate(names) if name in listed]
    if not chosen:
        raise UserError(f"{path}: none of its clips is among the {len(names)} training clips")
    if missing := sorted(listed - {names[i] for i in chosen}):
        print(f"{path}: calibrated on {len(chosen)} of its {len(listed)} clips; not there is, to "
              f"name one, {missing[0]}")  # fmt: skip
    return chosen


def way_of(conversion: Conversion) -> Way:
    """How a configuration has chains quantised."""
    return Way(
        per_channel=conversion.dense_weights == "per_channel",
        correct_bias=conversion.bias_correction,
        rounding=conversion.rounding,
        range_margin=conversion.range_margin,
    )


def convert(
    chain: Sequence[Dense],
    variant: Variant | str,
    windows: np.ndarray | None = None,
    per_channel: bool = True,
    correct_bias: bool = True,
    **more: Any,
) -> bytes:
    """Convert a folded model.

    Parameters
    ----------
    chain : of `fold_batch_norm` or `equalise`
    variant : a row of `VARIANTS` or its suffix
    windows : (n, vector_size) float32, dB: calibrates the activations of int8 variants
    per_channel : one scale per output of a layer, or one per weight tensor
    correct_bias, more : of calibrated variants, see `int8.Way`

    Returns
    -------
    the TFLite flatbuffer

    Raises
    ------
    ValueError : a calibrated variant without windows, or with windows of another shape or of
        values that are not numbers.
    UserError : batch normalisation is left.
    """
    chosen = [BY_SUFFIX[variant] if isinstance(variant, str) else variant]
    ((_, content),) = conversions(chain, windows, Way(per_channel, correct_bias, **more), chosen)
    return content


def conversions(
    chain: Sequence[Dense],
    windows: np.ndarray | None = None,
    way: Way | None = None,
    variants: Sequence[Variant] = VARIANTS,
) -> Iterator[tuple[Variant, bytes]]:
    """Convert a folded model to several variants, quantised once; see `convert`."""
    from threadpoolctl import threadpool_limits

    from asd.tflite import writer

    check_folded(chain)
    way, integers = way or Way(), None
    for variant in variants:
        if not variant.calibrated:
            yield variant, writer.of_floats(chain, variant.quantised, way.per_channel)
            continue
        if integers is None:
            calibration = _calibration(windows, len(chain[0].weights))
            with threadpool_limits(1):  # of small products: threads would wait for one another
                integers = int8.quantise(chain, calibration, way)
        yield variant, writer.of_integers(integers, variant.int8_io)


def _calibration(windows: np.ndarray | None, size: int) -> np.ndarray:
    """Calibration windows, checked; (n, size) float32, dB."""
    windows = np.ascontiguousarray([] if windows is None else windows, np.float32)
    if windows.ndim != 2 or windows.shape[1] != size or not len(windows):
        raise ValueError(f"calibration needs windows of shape (n, {size})")
    if not np.isfinite(windows).all():
        raise ValueError("calibration windows hold values that are not numbers")
    return windows
