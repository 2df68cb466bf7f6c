"""Rounding of weights chosen by calibration windows, and evened activations; no training.

A layer's weights are rounded one input after the other, and those of the inputs still to come are
moved to make up for it, as far as the calibration windows say that inputs go together. Only int8
values are chosen: the file, its scales and its kernels are those of rounding to the nearest.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from asd.tflite.chain import Dense

# Measured on ad01.h5 and ad01_fp32.tflite, calibrated on either half of the normal files of
# y_labels_alt.csv: .01 to .1 are as good as each other, 1 is worse.
DAMPING = 0.01
# How far channels are brought to one largest value, 0 not at all, 1 wholly; and of what share of
# the layer's largest a channel's is taken for at least. Measured there, too: .3 to .5 per channel,
# .2 to .3 per tensor, where it is at the cost of the weights' common scale.
EVENED_PER_CHANNEL, EVENED_PER_TENSOR = 0.4, 0.3
LEAST_SHARE = 0.1
ROWS_PER_BLOCK = 1024  # so many products of int8 values sum to at most 2^24: exact in float32


def evened(chain: Sequence[Dense], largest: Sequence[np.ndarray], per_channel: bool) -> list[Dense]:
    """The same function with the channels of a ReLU layer nearer to one largest value.

    An int8 tensor has one scale for all channels, and a channel that stays small uses few of its
    steps. ReLU(s * x) = s * ReLU(x), so a factor on a channel is taken back on the next layer's
    input: `fold.equalise`, by the range of activations.

    Parameters
    ----------
    chain : folded, no batch normalisation
    largest : of each layer's outputs, arrays (n_outputs,), at least 0
    """
    share = EVENED_PER_CHANNEL if per_channel else EVENED_PER_TENSOR
    chain = [
        Dense(np.array(layer.weights), np.array(layer.bias), relu=layer.relu) for layer in chain
    ]
    for (first, second), high in zip(itertools.pairwise(chain), largest[:-1], strict=True):
        if not first.relu or not high.max() > 0:
            continue
        factor = np.maximum(high / high.max(), LEAST_SHARE) ** -share
        first.weights *= factor
        first.bias *= factor
        second.weights /= factor[:, None]
    return chain


def moments(inputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance of a layer's int8 inputs; their sums are exact.

    Parameters
    ----------
    inputs : (n, n_inputs) int8

    Returns
    -------
    mean : (n_inputs,) float64
    covariance : (n_inputs, n_inputs) float64
    """
    width = inputs.shape[1]
    total, products = np.zeros(width), np.zeros((width, width))
    for i in range(0, len(inputs), ROWS_PER_BLOCK):
        block = inputs[i : i + ROWS_PER_BLOCK].astype(np.float32)
        total += block.sum(axis=0)
        products += block.T @ block
    mean = total / len(inputs)
    return mean, products / len(inputs) - np.outer(mean, mean)


def rounded(weights: np.ndarray, covariance: np.ndarray, largest: int) -> np.ndarray:
    """Integers w whose sums over inputs differ least from those of the weights, by greedy steps.

    The error of an output is (w - weights)' C (w - weights), C the covariance; its mean is the
    bias' matter. Inputs are rounded in the order of their variance. What rounding one adds to the
    error is least when those that are left move by e * U[i, i + 1:] / U[i, i], e what it was
    rounded by and U'U = C^-1 (Frantar et al. 2023, arXiv:2210.17323, section 3.3; Hassibi and
    Stork 1992). A share of the mean variance on the diagonal keeps weights near where little is
    known of inputs.

    Parameters
    ----------
    weights : (n_inputs, n_outputs) float64, in steps
    covariance : (n_inputs, n_inputs) float64, of the inputs
    largest : w is within [-largest, largest]

    Returns
    -------
    (n_inputs, n_outputs) float64, whole numbers
    """
    variances = np.diag(covariance)
    order = np.argsort(-variances, kind="stable")
    damped = covariance[np.ix_(order, order)]
    damped[np.diag_indices_from(damped)] += DAMPING * variances.mean() or 1.0
    upper = np.linalg.cholesky(np.linalg.inv(damped)).T
    left = weights[order]  # a copy; rounded from the top on
    for i, row in enumerate(upper):
        whole = np.clip(np.rint(left[i]), -largest, largest)
        left[i + 1 :] -= np.outer(row[i + 1 :] / row[i], left[i] - whole)
        left[i] = whole
    found = np.empty_like(left)
    found[order] = left
    return found
