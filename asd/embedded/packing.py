"""Weights and biases as the kernels of c/kernels.h read them.

Each packing comes with the proof that no sum of the kernel can leave its range; where there is
none, the layer runs through the plain kernel.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from asd.tflite.int8 import LEAST, MOST, IntDense


@dataclass(frozen=True)
class Packed:
    """A layer's weights and bias as a kernel reads them."""

    weights: np.ndarray  # (n,) int8 or uint32
    bias: np.ndarray  # (outputs, or rounded up to 4) int32
    packed: int  # 0: int8 row by row, for ASD_PLAIN; for ASD_PAIRS the columns of a group


def _bounds(weights: np.ndarray, low: int, high: int) -> tuple[np.ndarray, np.ndarray]:
    """Least and largest sum over inputs of weights * x for x in [low, high], each (outputs,)."""
    w = weights.astype(np.int64)
    least = np.minimum(w * low, w * high).sum(axis=1)
    return least, np.maximum(w * low, w * high).sum(axis=1)


def _wrap(values: np.ndarray) -> np.ndarray:
    """To int32 modulo 2^32, as the C arithmetic does."""
    return (values.astype(np.int64) & 0xFFFFFFFF).astype(np.uint32).view(np.int32)


def _pad_rows(array: np.ndarray, multiple: int = 4) -> np.ndarray:
    extra = -len(array) % multiple
    return np.concatenate([array, np.zeros((extra, *array.shape[1:]), array.dtype)])


def pack_plain(layer: IntDense) -> Packed:
    """int8, row by row: ASD_PLAIN, and ASD_MVE, which reads sixteen of a row at once."""
    return Packed(layer.weights.ravel(), _wrap(layer.raw_bias), 0)


def pack_mlal(layer: IntDense) -> Packed | None:
    """ASD_MLAL: a column of four rows in a word; None if a sum needs more than 24 bits."""
    rows = _pad_rows(layer.weights)
    least, largest = _bounds(rows, LEAST, MOST)
    if least.min() < -(2**23) or largest.max() >= 2**23:
        return None
    blocks = rows.reshape(-1, 4, rows.shape[1]).transpose(0, 2, 1).astype(np.int64)
    blocks = blocks + np.array([128, 0, 128, 0])  # (blocks, inputs, 4)
    words = np.ascontiguousarray(blocks & 0xFF).astype(np.uint8).view("<u4").ravel()
    return Packed(words, _pad_rows(_wrap(layer.raw_bias)), 1)


def pack_dsp(layer: IntDense) -> Packed | None:
    """ASD_DSP: four columns of a row in a word, four rows side by side; None if out of range.

    The halfwords of a word are 256 * w1 + w0 and 256 * w3 + w2, exactly, so the weights are at
    least -127; and 256 * acc has to fit 32 bits.
    """
    least, largest = _bounds(layer.weights, LEAST, MOST)
    bias = layer.raw_bias
    limit = 2**23
    if (
        layer.weights.min() < -127
        or (least + bias).min() < -limit
        or (largest + bias).max() >= limit
    ):
        return None
    rows = _pad_rows(layer.weights)
    columns = np.ascontiguousarray(_pad_rows(rows.T, 8).T).astype(np.int64)  # (rows, columns)
    halves = 256 * columns[:, 1::2] + columns[:, 0::2]  # (rows, columns / 2), fits int16
    assert np.abs(halves).max() < 2**15
    words = np.ascontiguousarray(halves.astype("<i2")).view("<u4")  # (rows, columns / 4)
    words = words.reshape(len(rows) // 4, 4, -1).transpose(0, 2, 1)  # (blocks, columns / 4, 4)
    # The kernel takes odd activations less 127, to keep its other operand within int16.
    odd = layer.weights[:, 1::2].sum(axis=1, dtype=np.int64)
    return Packed(
        np.ascontiguousarray(words).ravel(), _pad_rows(_wrap(256 * (bias + 127 * odd))), 1
    )


PACKINGS: dict[str, Callable[[IntDense], Packed | None]] = {
    "ASD_MLAL": pack_mlal,
    "ASD_DSP": pack_dsp,
}
