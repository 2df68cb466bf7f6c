"""Which weights of an autoregressive network are open: MADE, Germain and others 2015,
arXiv:1502.03509.

Every unit has a degree. The outputs that tell of an input are made of the inputs of lower degree
alone, so their product of conditional densities is a density of all inputs.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Literal

import numpy as np

Degrees = Literal["cyclic", "spread"]


def input_degrees(size: int, is_reversed: bool = False) -> np.ndarray:
    """0 to size - 1, in the order of the inputs or against it, (size,) int64."""
    return np.arange(size)[::-1] if is_reversed else np.arange(size)


def hidden_degrees(width: int, size: int, how: Degrees = "cyclic") -> np.ndarray:
    """Degrees of the units of a hidden layer, (width,) int64, each below size - 1.

    Parameters
    ----------
    size : how many inputs the network has, two or more
    how : "cyclic", 0, 1, 2, ... from the start again after size - 2; a layer of fewer units has the
        lowest degrees only, and no input of a higher one is looked at. "spread", evenly over all
        degrees, whatever the width.
    """
    if how == "cyclic":
        return np.arange(width) % (size - 1)
    return np.arange(width) * (size - 1) // width


def masks(
    size: int, hidden: Sequence[int], is_reversed: bool = False, how: Degrees = "cyclic"
) -> list[np.ndarray]:
    """1 where a weight is open, 0 where it is closed, of each layer, (n_in, n_out) float32.

    A unit is open to all of at most its own degree; an output to all below that of its input.

    Parameters
    ----------
    size : inputs and outputs
    hidden : units of the hidden layers
    """
    inputs = input_degrees(size, is_reversed)
    degrees = [inputs, *(hidden_degrees(width, size, how) for width in hidden), inputs - 1]
    return [
        (below[:, None] <= above[None, :]).astype(np.float32)
        for below, above in itertools.pairwise(degrees)
    ]
