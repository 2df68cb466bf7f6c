"""What a byte becomes in an operator that takes them one by one: tables of 256, and clamps.

With one rounding they are those of LiteRT's default kernels: LOGISTIC and TANH by float32, a
QUANTIZE from int8 to int8 by a factor of eight bits behind the point (XNNPACK), a RELU by the
rounding multiply of the reference kernels. With two they are TFLite Micro's, whose LOGISTIC and
TANH are integers throughout; their fixed-point functions are in `fixed_point`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from asd.tflite import fixed_point
from asd.tflite.int8 import LEAST, MOST, Elementwise, IntDense, Scale, multiplier
from common import UserError

BYTES = np.arange(LEAST, MOST + 1)  # (256,) int64
# What XNNPACK takes of the ratio of two scales; beyond it other kernels run.
LEAST_RATIO, MOST_RATIO = 2.0**-8, 2.0**7
LIMITS = {"RELU": (0.0, np.inf), "RELU6": (0.0, 6.0), "RELU_N1_TO_1": (-1.0, 1.0)}
# The only scales that the kernels allow at the output.
FIXED = {"LOGISTIC": Scale(1 / 256, -128), "TANH": Scale(1 / 128, 0)}


class After(NamedTuple):
    """What is done to each byte that a layer gives: a clamp, or a table that holds it, too."""

    low: int
    high: int
    table: np.ndarray | None  # (256,) int8 for the bytes from -128 to 127


def after(layer: IntDense, rounding: str) -> After:
    """The clamp of a layer's fused activation, and what the operators behind it do.

    Parameters
    ----------
    rounding : "single" or "double"

    Raises
    ------
    UserError : see `of`.
    """
    low, high = layer.low, MOST
    if layer.limits:
        low, high = _bounds(layer.limits, layer.output, rounding == "single")
    values = composed(layer.after, rounding)[np.clip(BYTES, low, high) - LEAST]
    if np.array_equal(values, np.clip(BYTES, values[0], values[-1])):
        return After(int(values[0]), int(values[-1]), None)
    return After(low, MOST, values)


def composed(steps: tuple[Elementwise, ...], rounding: str) -> np.ndarray:
    """What a byte becomes in some operators one after the other, (256,) int8."""
    values = BYTES
    for step in steps:
        values = of(step, rounding).astype(int)[values - LEAST]
    return values.astype(np.int8)


def of(step: Elementwise, rounding: str) -> np.ndarray:
    """What the bytes from -128 to 127 become in an operator, (256,) int8.

    Raises
    ------
    UserError : the interpreter's own bytes depend on where they stand, or it has no such operator.
    """
    single = rounding == "single"
    if step.kind in FIXED:
        if step.target != FIXED[step.kind]:
            fixed = FIXED[step.kind]
            raise UserError(f"{step.where}: its output has the scale {step.target.scale:g} and the "
                            f"zero point {step.target.zero_point}; TFLite's are {fixed.scale:g} "
                            f"and {fixed.zero_point}")  # fmt: skip
        return _in_floats(step) if single else _in_integers(step)
    if step.kind == "QUANTIZE":
        return _requantised(step) if single else _clip(_multiplied(step), step.target)
    if not single and step.kind != "RELU" and step.source != step.target:
        raise UserError(f"{step.where}: another scale behind it, which TFLite Micro does not heed; "
                        "--rounding single")  # fmt: skip
    if not single and step.kind == "RELU_N1_TO_1":
        raise UserError(f"{step.where}: TFLite Micro has no such operator; --rounding single")
    low, high = _bounds(LIMITS[step.kind], step.target, even=False)
    return _clip(_multiplied(step), step.target, low, high)


def _bounds(limits: tuple[float, float], scale: Scale, even: bool) -> tuple[int, int]:
    """Two values as bytes: ties to even with the zero point (XNNPACK), or away from zero."""
    values = np.float32(limits) / np.float32(scale.scale)
    if even:
        q = np.rint(values + np.float32(scale.zero_point))
    else:
        q = np.trunc(values + np.copysign(np.float32(0.5), values)) + scale.zero_point
    low, high = np.clip(q, LEAST, MOST)
    return int(low), int(high)


def _clip(values: np.ndarray, scale: Scale, low: int = LEAST, high: int = MOST) -> np.ndarray:
    return np.clip(values + scale.zero_point, low, high).astype(np.int8)


def _in_floats(step: Elementwise) -> np.ndarray:
    """LOGISTIC or TANH: the real function of the real value, in float32."""
    x = np.float32(BYTES - step.source.zero_point) * np.float32(step.source.scale)
    # By float64 to float32, so that every machine has the same.
    wide = x.astype(np.float64)
    if step.kind == "TANH":
        y = np.tanh(wide).astype(np.float32)
    else:
        with np.errstate(over="ignore"):
            y = 1 / (1 + np.exp(-wide).astype(np.float32))
    return _clip(np.rint(y / np.float32(step.target.scale)), step.target)


def _in_integers(step: Elementwise) -> np.ndarray:
    """LOGISTIC or TANH: see `fixed_point`."""
    x = BYTES - step.source.zero_point
    q, shift = multiplier(step.source.scale * 2.0 ** (31 - fixed_point.INTEGER_BITS))
    # Beyond it the value leaves the integer bits.
    largest = 2**fixed_point.INTEGER_BITS - 1
    radius = largest * 2 ** (31 - fixed_point.INTEGER_BITS) / 2**shift
    inner = np.abs(x) < int(radius)
    values = fixed_point.multiplied(np.where(inner, x, 0), q, shift)
    if step.kind == "LOGISTIC":
        y = fixed_point.divided(fixed_point.logistic(values), 31 - 8)
    else:
        y = fixed_point.divided(fixed_point.tanh(values), 31 - 7)
    ends = np.where(x < 0, LEAST, MOST)
    return np.where(inner, _clip(y, step.target), ends).astype(np.int8)


def _multiplied(step: Elementwise) -> np.ndarray:
    """From scale to scale by the multiply that rounds twice, without the zero point."""
    q, shift = multiplier(step.source.scale / step.target.scale)
    return fixed_point.multiplied(BYTES - step.source.zero_point, q, shift)


def _requantised(step: Elementwise) -> np.ndarray:
    """A QUANTIZE from bytes to bytes as LiteRT's default kernels have it."""
    x = BYTES - step.source.zero_point
    ratio = np.float32(step.source.scale) / np.float32(step.target.scale)
    if ratio == 1:
        return _clip(x, step.target)
    if step.mixed:
        raise UserError(f"{step.where}: int8 and uint8 of two scales; LiteRT's bytes then depend "
                        "on where they stand: convert it anew, or --rounding double")  # fmt: skip
    if not LEAST_RATIO <= ratio <= MOST_RATIO:
        raise UserError(f"{step.where}: scales {ratio:g} times apart; at most {MOST_RATIO:g} and "
                        f"at least {LEAST_RATIO:g} are supported")  # fmt: skip
    factor = int(np.rint(256 * ratio))
    return _clip((x * factor + 128) >> 8, step.target)
