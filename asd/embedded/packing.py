"""Weights and biases as the kernels of c/kernels*.h read them; ASD_PAIRS' are in `pairs`.

Each packing comes with the proof that no sum of the kernel can leave its range; rows too wide for
it are split into parts of their columns, and a layer of which that cannot be proven runs through
the plain kernel.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from asd.tflite.int8 import LEAST, MOST, IntDense

DSP_LIMIT = 2**23  # 256 * acc has to fit 32 bits


@dataclass(frozen=True)
class Packed:
    """A layer's weights and bias as a kernel reads them."""

    weights: np.ndarray  # (n,) int8 or uint32
    bias: np.ndarray  # (n,) int32; (outputs, or rounded up to 4) where not split
    packed: int  # 0: int8 row by row, for ASD_PLAIN; 1: packed; n + 1: in n parts of the columns,
    # for ASD_PAIRS: in groups of so many columns


def _bounds(weights: np.ndarray, low: int, high: int) -> tuple[np.ndarray, np.ndarray]:
    """Least and largest sum over inputs of weights * x for x in [low, high], each (outputs,)."""
    w = weights.astype(np.int64)
    least = np.minimum(w * low, w * high).sum(axis=1)
    return least, np.maximum(w * low, w * high).sum(axis=1)


def _wrap(values: np.ndarray) -> np.ndarray:
    """To int32 modulo 2^32, as the C arithmetic does."""
    return (values.astype(np.int64) & 0xFFFFFFFF).astype(np.uint32).view(np.int32)


def pad_rows(array: np.ndarray, multiple: int = 4) -> np.ndarray:
    """An array with zeros after it, up to a whole multiple of rows."""
    extra = -len(array) % multiple
    return np.concatenate([array, np.zeros((extra, *array.shape[1:]), array.dtype)])


def pack_plain(layer: IntDense) -> Packed:
    """int8, row by row: ASD_PLAIN, and ASD_MVE, which reads sixteen of a row at once."""
    return Packed(layer.weights.ravel(), _wrap(layer.raw_bias), 0)


def pack_mlal(layer: IntDense) -> Packed:
    """ASD_MLAL: a column of four rows in a word. The kernel's own parts fit any weights."""
    rows = pad_rows(layer.weights)
    blocks = rows.reshape(-1, 4, rows.shape[1]).transpose(0, 2, 1).astype(np.int64)
    blocks = blocks + np.array([128, 0, 128, 0])  # (blocks, inputs, 4)
    words = np.ascontiguousarray(blocks & 0xFF).astype(np.uint8).view("<u4").ravel()
    return Packed(words, pad_rows(_wrap(layer.raw_bias)), 1)


def pack_dsp(layer: IntDense) -> Packed | None:
    """ASD_DSP: four columns of a row in a word, four rows side by side; None if out of range.

    The halfwords of a word are 256 * w1 + w0 and 256 * w3 + w2, exactly, so weights of -128 are
    out of range where a negative one comes before them.
    """
    rows = pad_rows(layer.weights)
    columns = np.ascontiguousarray(pad_rows(rows.T, 8).T).astype(np.int64)  # (rows, columns)
    halves = 256 * columns[:, 1::2] + columns[:, 0::2]  # (rows, columns / 2)
    if halves.min() < -(2**15):
        return None
    words = np.ascontiguousarray(halves.astype("<i2")).view("<u4")  # (rows, columns / 4)
    words = words.reshape(len(rows) // 4, 4, -1).transpose(0, 2, 1)  # (blocks, columns / 4, 4)
    words = np.ascontiguousarray(words).ravel()
    bias = pad_rows(layer.raw_bias)  # (rows,)
    if _fits(columns, bias):
        return Packed(words, _wrap(256 * (bias + _odd(columns))), 1)
    n = 1
    while not all(_fits(part, 0) for part in _parts(columns, n)):
        n += 1
    first = [256 * _odd(part) for part in _parts(columns, n)]  # of (rows,)
    split = np.stack([*first, bias]).reshape(len(first) + 1, -1, 4).transpose(1, 0, 2)
    return Packed(words, _wrap(split.ravel()), len(first) + 1)


def _odd(columns: np.ndarray) -> np.ndarray:
    """What the kernel's odd inputs, which are less by 127, take from a row's sum, (rows,)."""
    return 127 * columns[:, 1::2].sum(axis=1)


def _fits(columns: np.ndarray, bias: np.ndarray | int) -> bool:
    """Whether no sum and bias can leave the range of 256 * acc."""
    least, largest = _bounds(columns, LEAST, MOST)
    return bool((least + bias).min() >= -DSP_LIMIT and (largest + bias).max() < DSP_LIMIT)


def _parts(columns: np.ndarray, n: int) -> list[np.ndarray]:
    """The columns in n parts or fewer, as the kernel cuts them: all but the last as long."""
    eights = columns.shape[1] // 8
    step = 8 * -(-eights // n)
    return [columns[:, i : i + step] for i in range(0, columns.shape[1], step)]


def is_narrow(layer: IntDense) -> bool:
    """Whether no output leaves 16 bits, before it is cut to eight, with a zero point added."""
    least, largest = _bounds(layer.weights, LEAST, MOST)
    bias = layer.raw_bias
    sums = np.maximum(np.abs(least + bias), np.abs(largest + bias))
    return bool((sums * layer.scales.astype(np.float64)).max() < 2**15 - 2**9)


def pack_scales(
    layer: IntDense, packed: Packed, low_bits: int
) -> tuple[np.ndarray, tuple[int, int]] | None:
    """ASD_DSP with a float unit: biases and scales together, in six bytes a row.

    Parameters
    ----------
    packed : of `pack_dsp`, not split
    low_bits : 1 to 6, of a bias, that stand below its scale's 32 - low_bits; 16 stand apart

    Returns
    -------
    words : (outputs rounded up to 4, times 1.5) uint32, six for four rows; see
        kernels_dsp_inner.h
    constants : the bits of the layer's least scale, which the kernel adds to a row's; and by what
        it multiplies the 16 bits of a bias, below a number of 2^16; it adds both to the bias.
        None where the biases differ by more than 16 + low_bits bits hold.
    """
    factor = 1 << (8 + low_bits)
    biases = packed.bias.astype(np.int64)  # whole multiples of 256
    biases[len(layer.weights) :] = biases[0]
    middle = min((int(biases.min()) - factor + 2**15 * factor) // 2**16, 2**15 - 1)
    biases -= middle * 2**16 + factor
    if biases.max() >= 2**15 * factor:
        return None
    least, above = _above_least(layer)
    low = biases >> 8 & (2**low_bits - 1)
    words = (pad_rows(above) << low_bits | low).reshape(-1, 4)
    high = (biases // factor & 0xFFFF).reshape(-1, 2)
    pairs = (high[:, 0] | high[:, 1] << 16).reshape(-1, 2)
    # In the order of the registers that the kernel loads them to.
    columns = [pairs[:, 0], words[:, 0], words[:, 2], words[:, 3], pairs[:, 1], words[:, 1]]
    constants = least, (middle & 0xFFFF) << 16 | factor
    return np.stack(columns, axis=1).astype(np.uint32).ravel(), constants


def scale_bits(layer: IntDense) -> int:
    """How many bits the float32 scales need above the least of the layer."""
    return int(_above_least(layer)[1].max()).bit_length()


def _above_least(layer: IntDense) -> tuple[int, np.ndarray]:
    """The least scale's float32 bits, and how much more each row's are, (outputs,) int64."""
    scales = np.broadcast_to(layer.scales.astype(np.float32), len(layer.weights))
    bits = scales.view(np.uint32).astype(np.int64)  # in the order of the numbers: all are positive
    return int(bits.min()), bits - bits.min()
