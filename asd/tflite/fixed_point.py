"""Fixed-point arithmetic of the reference kernels: int32, and the functions in it.

A number of n integer bits is raw * 2^(n - 31). The formulas are those of gemmlowp's fixed point,
which TFLite Micro's int8 LOGISTIC and TANH go by: exp(x) from a polynomial on [-1/4, 0) and a
product for each bit above; 1 / (1 + x) by Newton's iteration. Arrays are int64, values int32.
"""

from __future__ import annotations

import math

import numpy as np

INTEGER_BITS = 4  # of what LOGISTIC and TANH take
LEAST, ONE = -(2**31), 2**31 - 1  # ONE: the largest of no integer bits
POWERS = range(-2, 5)  # exp(-2^i), for each bit above a quarter


def _raw(value: float, integer_bits: int = 0) -> int:
    """A real number in fixed point."""
    return round(value * 2 ** (31 - integer_bits))


def doubled_high(a: np.ndarray, b: np.ndarray | int) -> np.ndarray:
    """a * b / 2^31, rounded, ties away from zero downwards but for the sign of the product."""
    product = a * np.int64(b) if isinstance(b, int) else a * b
    shifted = product + np.where(product >= 0, 1 << 30, 1 - (1 << 30))
    return np.where(shifted >= 0, shifted >> 31, -(-shifted >> 31))  # division cuts off


def divided(x: np.ndarray, shift: int) -> np.ndarray:
    """x / 2^shift, rounded to the nearest, ties away from zero."""
    mask = (1 << shift) - 1
    return (x >> shift) + ((x & mask) > (mask >> 1) + (x < 0))


def multiplied(x: np.ndarray, q: int, shift: int) -> np.ndarray:
    """x * q * 2^(shift - 31) in two roundings; see `int8.multiplier`."""
    return divided(doubled_high(x << max(shift, 0), q), max(-shift, 0))


def _left(x: np.ndarray, shift: int) -> np.ndarray:
    return np.clip(x << shift, LEAST, ONE)


def _exp(x: np.ndarray, integer_bits: int) -> np.ndarray:
    """exp of a number that is not positive; no integer bits."""
    fraction = 31 - integer_bits
    quarter = 1 << (fraction - 2)
    rest = (x & (quarter - 1)) - quarter  # in [-1/4, 0)
    # Taylor's polynomial of the fourth degree about -1/8.
    a = _left(rest, integer_bits) + _raw(1 / 8)
    a2 = doubled_high(a, a)
    a3, a4 = doubled_high(a2, a), doubled_high(a2, a2)
    series = divided(doubled_high(divided(a4, 2) + a3, _raw(1 / 3)) + a2, 1)
    middle = np.full_like(x, _raw(math.exp(-1 / 8)))
    y = middle + doubled_high(middle, a + series)
    for power in POWERS:
        if power < integer_bits:
            bit = (rest - x) & (1 << (fraction + power))
            y = np.where(bit, doubled_high(y, _raw(math.exp(-(2.0**power)))), y)
    return np.where(x == 0, ONE, y)


def _reciprocal(x: np.ndarray) -> np.ndarray:
    """2 / (1 + x) of a number in [0, 1], in two integer bits."""
    half = (x + ONE + 1) // 2  # (1 + x) / 2
    y = _raw(48 / 17, 2) + doubled_high(half, _raw(-32 / 17, 2))
    for _ in range(3):
        y = y + _left(doubled_high(y, (1 << 29) - doubled_high(half, y)), 2)
    return y


def logistic(x: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-x)); no integer bits.

    Parameters
    ----------
    x : int64 of four integer bits
    """
    y = _left(_reciprocal(_exp(-np.abs(x), INTEGER_BITS)), 1)
    return np.where(x == 0, 1 << 30, np.where(x > 0, y, ONE - y))


def tanh(x: np.ndarray) -> np.ndarray:
    """tanh(x); no integer bits.

    Parameters
    ----------
    x : int64 of four integer bits
    """
    # As a number of one integer bit more the same raw value is 2 x.
    y = _left(_reciprocal(_exp(-np.abs(x), INTEGER_BITS + 1)) - (1 << 29), 2)
    return np.sign(x) * y
