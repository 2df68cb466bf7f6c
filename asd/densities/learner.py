"""Training a density: an epoch at a time, resumed where it ended.

What is drawn depends on the seed and the epoch only, so a training that was interrupted and goes on
from the checkpoint of an epoch gives the same weights as one that was not.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from asd.densities import losses
from asd.densities.networks import Density
from asd.discriminative import Resumable
from asd.features.drawn import NormalAndOutliers
from asd.optimisers import Adam
from asd.training import Epoch
from common import UserError


class Ranking(NamedTuple):
    """The loss of outliers: its margin, nats an element, and its weight in the sum."""

    margin: float
    weight: float


class Learner(Resumable):
    """A density in training.

    Parameters
    ----------
    rate : the learning rate of an epoch, counted from 0
    decay : of weights, see `Adam`
    ranking : of outliers
    """

    def __init__(
        self,
        network: Density,
        rate: Callable[[int], float],
        decay: float,
        ranking: Ranking,
        seed: int,
    ) -> None:
        self._network, self._rate, self._ranking, self._seed = network, rate, ranking, seed
        network.make()
        variables = list(network.named().values())
        self._trainable = [one for one in variables if one.trainable]
        self._optimiser = Adam(rate(0), decay)
        self._optimiser.build(self._trainable)
        self._all = variables + self._optimiser.variables
        self._step = tf.function(self._one_step, reduce_retracing=True)

    def _one_step(
        self, windows: tf.Tensor, conditions: tf.Tensor, n_normal: tf.Tensor
    ) -> tf.Tensor:
        # Outliers are in the batch of the normal windows: they share its mean and variance.
        with tf.GradientTape() as tape:
            given = conditions if self._network.n_conditions else None
            found = self._network(windows, given, training=True) / self._network.size
            loss = losses.negative_log_likelihood(found[:n_normal])
            if self._ranking.weight:
                others = found[n_normal:]  # of other clips, altered ones, or both, n_normal each
                normal = tf.tile(found[:n_normal], [tf.shape(others)[0] // n_normal])
                ranking = losses.margin_ranking(normal, others, self._ranking.margin)
                loss += self._ranking.weight * ranking
        gradients = tape.gradient(loss, self._trainable)
        self._optimiser.apply_gradients(zip(gradients, self._trainable, strict=True))
        return loss

    def epoch(self, train: NormalAndOutliers, number: int, size: int, told: Callable) -> Epoch:
        """Go through the windows that an epoch draws.

        Parameters
        ----------
        number : of the epoch, from 1
        size : normal windows of a batch
        told : is called with the loss of each batch and how many normal windows it has

        Raises
        ------
        UserError : there is no full batch, or the loss is not a number.
        """
        self._optimiser.learning_rate = self._rate(number - 1)
        found = []
        for windows, conditions, n_normal in train.batches(size, self._seed, number):
            arrays = tf.constant(windows), tf.constant(conditions), tf.constant(n_normal)
            found.append(float(self._step(*arrays)))
            told(found[-1], n_normal)
            if not np.isfinite(found[-1]):
                raise UserError(f"the training loss of epoch {number} is {found[-1]}; take a "
                                "smaller learning rate, and check the recordings")  # fmt: skip
        return Epoch(number, float(np.mean(found)), None)
