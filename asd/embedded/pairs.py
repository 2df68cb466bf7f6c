"""Weights as ASD_PAIRS of c/kernels_pairs.h reads them: two rows in one multiplication."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from asd.embedded import packing
from asd.tflite.int8 import IntDense

# Instructions of ASD_PAIRS for four rows of a group, by its columns, and for a weight's remainder.
COSTS = {2: 30, 4: 46, 8: 78}
REMAINDER_COST = 18
# The same on RV32, and of ASD_PLAIN there for four rows of a column. On Armv6-M, which has too few
# registers for its sums, that is 25, and pairs always cost less.
RV32_COSTS = {2: 33, 4: 50, 8: 85}
RV32_PLAIN_COST = 13.5
LEAST_GAIN = 1.02  # pairs take more flash
# Of the weights of a group in a row: |sum of w * x| is then less than 2^15 for x in [-128, 127].
LARGEST_GROUP = 255
LARGEST_STEP = 2**8 - 1  # columns from what was taken off a weight to the next


def _groups(weights: np.ndarray, group: int) -> np.ndarray:
    """Padded to blocks of four rows and whole groups of columns, (rows, groups, group) int64."""
    columns = packing.pad_rows(packing.pad_rows(weights).T, group).T
    return columns.reshape(len(columns), -1, group).astype(np.int64)


def _costs(layer: IntDense, of_groups: Mapping[int, int]) -> dict[int, int]:
    """Instructions of a layer's sums by the columns that are taken together."""
    costs = {}
    for group, of_group in of_groups.items():
        groups = _groups(layer.weights, group)
        excess = np.maximum(np.abs(groups).sum(axis=2) - LARGEST_GROUP, 0)
        remainders = -(-excess // 96).sum()
        costs[group] = int(of_group * excess.size // 4 + REMAINDER_COST * remainders)
    return costs


def columns_of_group(layer: IntDense) -> int:
    """The columns that ASD_PAIRS takes together: those that cost the fewest instructions."""
    costs = _costs(layer, COSTS)
    return min(costs, key=costs.__getitem__)


def pay_on_rv32(layers: Sequence[IntDense]) -> bool:
    """Whether ASD_PAIRS costs less than ASD_PLAIN there: not where many weights are large."""
    of_pairs, of_plain = 0.0, 0.0
    for layer in layers:
        n_outputs, n_inputs = layer.weights.shape
        of_pairs += _costs(layer, RV32_COSTS)[columns_of_group(layer)]
        of_plain += RV32_PLAIN_COST * n_inputs * -(-n_outputs // 4)
    return LEAST_GAIN * of_pairs < of_plain


def pack(layer: IntDense) -> packing.Packed:
    """ASD_PAIRS: a column of four rows in a word; after four rows what was taken off weights."""
    group = columns_of_group(layer)
    groups = _groups(layer.weights, group)  # (rows, groups, group)
    kept = groups.copy()
    entries: dict[int, list[tuple[int, int, int]]] = {}  # of a block: column, row, multiple of 32
    for row, at in np.argwhere(np.abs(groups).sum(axis=2) > LARGEST_GROUP).tolist():
        for column, times in _taken_off(kept[row, at]):
            entries.setdefault(row // 4, []).append((at * group + column, row % 4, times))
    bytes_ = (kept + 128).reshape(len(kept) // 4, 4, -1).transpose(0, 2, 1)  # (blocks, columns, 4)
    words = np.ascontiguousarray(bytes_.astype(np.uint8)).view("<u4")[:, :, 0]
    parts = []
    for i, of_block in enumerate(words):
        halves = _halves(sorted(entries.get(i, [])))
        parts += [of_block, [len(halves) // 2], halves[0::2] + (halves[1::2] << 16)]
    return packing.Packed(
        np.concatenate(parts).astype(np.uint32), packing.pack_plain(layer).bias, group
    )


def _taken_off(weights: np.ndarray) -> Iterator[tuple[int, int]]:
    """Make the weights of a group smaller until it holds them; columns and multiples of 32."""
    while (excess := np.abs(weights).sum() - LARGEST_GROUP) > 0:
        i = int(np.abs(weights).argmax())  # 32 or more, as a group has 8 at most
        sign = 1 if weights[i] > 0 else -1
        times = sign * min(-(-int(excess) // 32), abs(int(weights[i])) // 32, 3)
        weights[i] -= 32 * times
        yield i, times


def _halves(entries: list[tuple[int, int, int]]) -> np.ndarray:
    """Entries in 16 bits: multiple of 32 << 13, columns from the last one << 5, row."""
    halves, last = [], 0
    for column, row, times in entries:
        while column - last > LARGEST_STEP:
            halves.append(LARGEST_STEP << 5)
            last += LARGEST_STEP
        halves.append((times & 7) << 13 | (column - last) << 5 | row)
        last = column
    return np.array(halves + [0] * (len(halves) % 2), np.int64)
