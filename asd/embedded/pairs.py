"""Weights as ASD_PAIRS of c/kernels_pairs.h reads them: two rows in one multiplication."""

from __future__ import annotations

import numpy as np

from asd.embedded import packing
from asd.tflite.int8 import IntDense

# Instructions of ASD_PAIRS for four rows of a group, by its columns, and for a weight's remainder.
COSTS = {2: 30, 4: 46, 8: 78}
REMAINDER_COST = 14
# Of the weights of a group in a row: |sum of w * x| is then less than 2^15 for x in [-128, 127].
LARGEST_GROUP = 255


def _padded(array: np.ndarray, multiple: int) -> np.ndarray:
    """With rows of zeros up to a whole multiple."""
    extra = -len(array) % multiple
    return np.concatenate([array, np.zeros((extra, array.shape[1]), array.dtype)])


def _groups(weights: np.ndarray, group: int) -> np.ndarray:
    """Padded to blocks of four rows and whole groups of columns, (rows, groups, group) int64."""
    columns = _padded(_padded(weights, 4).T, group).T
    return columns.reshape(len(columns), -1, group).astype(np.int64)


def columns_of_group(layer: IntDense) -> int:
    """The columns that ASD_PAIRS takes together: those that cost the fewest instructions."""
    costs = {}
    for group, of_group in COSTS.items():
        groups = _groups(layer.weights, group)
        excess = np.maximum(np.abs(groups).sum(axis=2) - LARGEST_GROUP, 0)
        remainders = -(-excess // 128).sum()
        costs[group] = of_group * excess.size // 4 + REMAINDER_COST * remainders
    return min(costs, key=costs.__getitem__)


def pack(layer: IntDense) -> packing.Packed:
    """ASD_PAIRS: a column of four rows in a word; after four rows what was taken off weights."""
    group = columns_of_group(layer)
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
    return packing.Packed(
        np.concatenate(parts).astype(np.uint32), packing.pack_plain(layer).bias, group
    )
