"""A chain of dense layers as arrays, and how it runs in float32, without TensorFlow.

A chain is Dense layers (linear or ReLU, with bias), each perhaps followed by batch normalisation
and a ReLU: the auto-encoders of MLPerf Tiny and DCASE 2020 Task 2. Importing TensorFlow takes
longer than scoring a thousand clips.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from common import Predict, UserError

WINDOWS_PER_BLOCK = 1024  # hidden values of that many stay in a core's cache


class NotAChain(UserError):
    """A model that is no chain of dense layers."""


@dataclass
class Norm:
    """Batch normalisation; arrays (n_outputs,) float32, mean and variance those of inference."""

    gamma: np.ndarray
    beta: np.ndarray
    mean: np.ndarray
    variance: np.ndarray
    epsilon: float
    momentum: float  # by which training moves mean and variance


@dataclass
class Dense:
    """y = x @ weights + bias, then the normalisation, then ReLU or nothing."""

    weights: np.ndarray  # (n_inputs, n_outputs)
    bias: np.ndarray  # (n_outputs,)
    norm: Norm | None = None
    relu: bool = False


def activations(chain: Sequence[Dense], windows: np.ndarray) -> Iterator[np.ndarray]:
    """The output of each layer, in float32 and in the order of Keras' operations.

    Parameters
    ----------
    windows : (n, n_inputs) float32
    """
    values = windows
    for layer in chain:
        values = values @ np.asarray(layer.weights, np.float32)
        values += np.asarray(layer.bias, np.float32)
        if layer.norm:
            slope, intercept = _line(layer.norm)
            values *= slope
            values += intercept
        if layer.relu:
            np.maximum(values, 0, out=values)
        yield values


def predictor(chain: Sequence[Dense]) -> Predict:
    """The chain as a function of windows; see `activations`.

    Returns
    -------
    function (n, n_inputs) float32 -> (n, n_outputs) float32
    """

    def predict(windows: np.ndarray) -> np.ndarray:
        outputs = np.empty((len(windows), len(chain[-1].bias)), np.float32)
        for i in range(0, len(windows), WINDOWS_PER_BLOCK):
            block = slice(i, i + WINDOWS_PER_BLOCK)
            for values in activations(chain, windows[block]):
                last = values
            outputs[block] = last
        return outputs

    return predict


def _line(norm: Norm) -> tuple[np.ndarray, np.ndarray]:
    """Batch normalisation as slope and intercept, in float32 as TensorFlow computes them."""
    slope = norm.gamma * (1 / np.sqrt(norm.variance + np.float32(norm.epsilon)))
    return slope, norm.beta - norm.mean * slope
