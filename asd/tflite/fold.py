"""Before quantisation: batch normalisation into the weights, and cross-layer equalisation."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from asd.config import Conversion
from asd.tflite import keras_chain
from asd.tflite.chain import Dense
from common import UserError

if TYPE_CHECKING:
    import keras


def fold_batch_norm(model: keras.Model | Sequence[Dense], reference: bool = False) -> list[Dense]:
    """The same function as dense layers only: batch normalisation goes into the weights.

    With k = gamma / sqrt(variance + eps): weights * k, and bias (bias - mean) * k + beta
    (Jacob et al. 2018, arXiv:1712.05877, section 3.2, for a layer with a bias of its own).

    Parameters
    ----------
    model : a chain of Dense, BatchNormalization and ReLU layers: of `keras_chain.read`, or Keras'
        own
    reference : drop the Dense bias, as the converter of MLPerf Tiny's published files does:
        bias -mean * k + beta. Another function than the model.

    Raises
    ------
    NotAChain : see `keras_chain.of_model`.
    """
    chain = model if isinstance(model, Sequence) else keras_chain.of_model(model)
    return [_folded(layer, reference) for layer in chain]


def _folded(layer: Dense, reference: bool) -> Dense:
    weights, bias = (np.asarray(a, np.float64) for a in (layer.weights, layer.bias))
    if norm := layer.norm:
        gamma, beta, mean, variance = (
            np.asarray(a, np.float64) for a in (norm.gamma, norm.beta, norm.mean, norm.variance)
        )
        k = gamma / np.sqrt(variance + norm.epsilon)
        weights = weights * k
        bias = ((0 if reference else bias) - mean) * k + beta
    return Dense(weights, bias, relu=layer.relu)


def equalise(chain: Sequence[Dense], rounds: int = 20) -> list[Dense]:
    """The same function with the weight ranges of neighbouring layers made alike.

    ReLU(s * x) = s * ReLU(x) for s > 0, so a factor on an output channel of a layer can be taken
    back on the next layer's input. With s = sqrt(r_next / r), r the largest weight of the channel
    on either side, both tensors use one int8 scale equally well. Repeated, as a layer has a
    neighbour on either side. Nagel et al. 2019, arXiv:1906.04721, section 4.1.

    Parameters
    ----------
    chain : of `fold_batch_norm`

    Raises
    ------
    UserError : batch normalisation is left.
    """
    check_folded(chain)
    chain = [
        Dense(np.array(layer.weights), np.array(layer.bias), relu=layer.relu) for layer in chain
    ]
    for _ in range(rounds):
        for first, second in itertools.pairwise(chain):
            if not first.relu:
                continue
            here = np.abs(first.weights).max(axis=0)  # (n_channels,)
            there = np.abs(second.weights).max(axis=1)  # (n_channels,)
            alive = (here > 0) & (there > 0)
            factor = np.sqrt(np.where(alive, there, 1) / np.where(alive, here, 1))
            first.weights *= factor
            first.bias *= factor
            second.weights /= factor[:, None]
    return chain


def check_folded(chain: Sequence[Dense]) -> None:
    """Raise a UserError for a chain with batch normalisation left in it."""
    if any(layer.norm for layer in chain):
        raise UserError("batch normalisation is not folded; fold_batch_norm comes first")


def prepare(chain: Sequence[Dense], conversion: Conversion) -> list[Dense]:
    """Fold, and equalise where one scale per weight tensor asks for it, as configured."""
    folded = fold_batch_norm(chain, conversion.reference_fold)
    per_tensor = conversion.dense_weights == "per_tensor"
    return equalise(folded) if per_tensor and conversion.equalise else folded
