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


# Instructions of ASD_PAIRS for four rows of a group, by its columns, and for a weight's remainder.
PAIRS_COSTS = {2: 30, 4: 46, 8: 78}
REMAINDER_COST = 14
# Of the weights of a group in a row: |sum of w * x| is then less than 2^15 for x in [-128, 127].
LARGEST_GROUP = 255


def _groups(weights: np.ndarray, group: int) -> np.ndarray:
    """Padded to blocks of four rows and whole groups of columns, (rows, groups, group) int64."""
    columns = _pad_rows(_pad_rows(weights).T, group).T
    return columns.reshape(len(columns), -1, group).astype(np.int64)


def pairs_group(layer: IntDense) -> int:
    """The columns that ASD_PAIRS takes together: those that cost the fewest instructions."""
    costs = {}
    for group, of_group in PAIRS_COSTS.items():
        groups = _groups(layer.weights, group)
        excess = np.maximum(np.abs(groups).sum(axis=2) - LARGEST_GROUP, 0)
        remainders = -(-excess // 128).sum()
        costs[group] = of_group * excess.size // 4 + REMAINDER_COST * remainders
    return min(costs, key=costs.__getitem__)


def pack_pairs(layer: IntDense) -> Packed:
    """ASD_PAIRS: a column of four rows in a word; after four rows what was taken off weights."""
    group = pairs_group(layer)
    groups = _groups(layer.weights, group)  # (rows, groups, group)
    kept = groups.copy()
    for row, at in np.argwhere(np.abs(groups).sum(axis=2) > LARGEST_GROUP):
        weights = kept[row, at]
        for i in np.argsort(-np.abs(weights), kind="stable"):
            excess = np.abs(weights).sum() - LARGEST_GROUP
            weights[i] -= np.sign(weights[i]) * np.clip(excess, 0, min(abs(weights[i]), 127))
    assert np.abs(kept).sum(axis=2).max() <= LARGEST_GROUP
    rest = (groups - kept).reshape(len(groups) // 4, 4, -1)
    bytes_ = (kept + 128).reshape(rest.shape).transpose(0, 2, 1)  # (blocks, columns, 4)
    words = np.ascontiguousarray(bytes_.astype(np.uint8)).view("<u4")[:, :, 0]
    parts = []
    for of_block, remainder in zip(words, rest, strict=True):
        row, column = np.nonzero(remainder)
        entries = column + (row << 16) + ((remainder[row, column] & 0xFF) << 24)
        parts += [of_block, [len(entries)], entries]
    return Packed(np.concatenate(parts).astype(np.uint32), _wrap(layer.raw_bias), group)


PACKINGS: dict[str, Callable[[IntDense], Packed | None]] = {
    "ASD_MLAL": pack_mlal,
    "ASD_DSP": pack_dsp,
    "ASD_PAIRS": pack_pairs,
}
