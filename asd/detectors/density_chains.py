"""A conditional auto-encoder given its section: a plain chain of dense layers, of dB."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from asd.features.standard import Standard
from asd.tflite.chain import Dense, Norm
from common import Error

if TYPE_CHECKING:
    from asd.densities.networks import ConditionalAutoEncoder


def given(network: ConditionalAutoEncoder, section: int, standard: Standard) -> list[Dense]:
    """The chain that reconstructs windows of a section, (n, size) dB -> the same.

    A section's row of each layer goes into its bias; what brings bands to mean 0 and deviation 1
    into the first layer, and its reverse into the last.

    Parameters
    ----------
    section : its number
    """
    *hidden, last = network.parts.values()
    dense = [*hidden[::2], last]
    chain = []
    for layer, norm in zip(dense, [*hidden[1::2], None], strict=True):
        kernel, bias = (one.numpy().astype(np.float64) for one in (layer.kernel, layer.bias))
        if layer.cond is not None:
            bias = bias + layer.cond.numpy()[section]
        chain.append(Dense(kernel, bias, norm and _norm(norm), relu=norm is not None))
    repeats = network.size // len(standard.mean)
    mean, std = (np.tile(one.astype(np.float64), repeats) for one in (standard.mean, standard.std))
    first, end = chain[0], chain[-1]
    first.weights = first.weights / std[:, None]
    first.bias = first.bias - mean @ first.weights
    end.weights, end.bias = end.weights * std, end.bias * std + mean
    return chain


def _norm(layer: object) -> Norm:
    names = "gamma", "beta", "moving_mean", "moving_variance"
    arrays = (getattr(layer, name).numpy() for name in names)
    return Norm(*arrays, epsilon=layer.epsilon, momentum=layer.momentum)


def error_of(standard: Standard) -> Error:
    """The mean squared error of a clip's windows, by the deviations of their bands."""

    def error(inputs: np.ndarray, outputs: np.ndarray) -> float:
        away = (inputs - outputs).reshape(len(inputs), -1, len(standard.std)) / standard.std
        return float(np.square(away).mean(axis=(1, 2), dtype=np.float64).mean())

    return error
