"""Layers of densities: dense with a condition and closed weights, the normalisation of a flow."""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from asd.networks import initialisers


class Closed(keras.constraints.Constraint):
    """Sets closed weights to 0 after each step.

    A product in the steps' place: what a closed weight does in a step then is nothing, as it is 0,
    and no step needs the product of weights and mask, nor its gradient. Adam moves each weight by
    itself, so the open ones go as if the closed were not there.

    Parameters
    ----------
    mask : (n_in, n_out), 1 open, 0 closed
    """

    def __init__(self, mask: np.ndarray) -> None:
        with tf.init_scope():  # a graph then refers to it, and holds no copy
            self._mask = tf.constant(mask)

    def __call__(self, weights: tf.Tensor) -> tf.Tensor:
        """(n_in, n_out) -> the same shape."""
        return weights * tf.cast(self._mask, weights.dtype)


class ConditionalDense(keras.layers.Layer):
    """Weights, bias and a second bias for each condition: x @ kernel + bias + cond[condition].

    Weights begin as PyTorch's, those of conditions uniform within 0 and 1 / sqrt(n_conditions).

    Parameters
    ----------
    units : outputs
    mask : (n_in, units), 0 where a weight stays 0; None: all are open
    n_conditions : how many there are; 0 for a layer without
    """

    def __init__(
        self, units: int, mask: np.ndarray | None = None, n_conditions: int = 0, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.units, self.mask, self.n_conditions = units, mask, n_conditions

    def build(self, shape: tuple[int | None, ...]) -> None:
        """Make the variables kernel, (n_in, units), bias, (units,), cond, (n_conditions, units)."""
        n_in = shape[-1]
        closed = None if self.mask is None else Closed(self.mask)
        self.kernel = self.add_weight((n_in, self.units), initialisers.by_inputs(), name="kernel",
                                      constraint=closed)  # fmt: skip
        if closed:
            self.kernel.assign(closed(self.kernel.value))
        self.bias = self.add_weight((self.units,), initialisers.bias_by_inputs(n_in), name="bias")
        self.cond = None
        if self.n_conditions:
            upto = keras.initializers.RandomUniform(0, 1 / math.sqrt(self.n_conditions))
            self.cond = self.add_weight((self.n_conditions, self.units), upto, name="cond")
        self.built = True

    def call(self, x: tf.Tensor, condition: tf.Tensor | None = None) -> tf.Tensor:
        """(n, n_in) and conditions by number, (n,) int32, or None -> (n, units)."""
        y = tf.nn.bias_add(tf.matmul(x, self.kernel), self.bias)
        if self.cond is None or condition is None:
            return y
        # A product, as the gradient of tf.gather is one that the optimiser would have to scatter.
        return y + tf.matmul(tf.one_hot(condition, self.n_conditions, dtype=y.dtype), self.cond)


class FlowNormalization(keras.layers.Layer):
    """Batch normalisation as a step of a flow, which knows by how much it changes volumes.

    y = exp(log_gamma) (x - mean) / sqrt(var + 1e-5) + beta. In training mean and the UNBIASED
    variance are the batch's, and the moving ones follow by a tenth. Papamakarios and others 2017,
    arXiv:1705.07057, section 3.4.
    """

    EPSILON, MOMENTUM = 1e-5, 0.9

    def build(self, shape: tuple[int | None, ...]) -> None:
        """Make the variables, (width,) each."""
        self.log_gamma = self.add_weight(shape[-1:], "zeros", name="log_gamma")
        self.beta = self.add_weight(shape[-1:], "zeros", name="beta")
        self.mean = self.add_weight(shape[-1:], "zeros", name="mean", trainable=False)
        self.var = self.add_weight(shape[-1:], "ones", name="var", trainable=False)
        self.built = True

    def call(self, x: tf.Tensor, training: bool = False) -> tuple[tf.Tensor, tf.Tensor]:
        """(n, width) -> (n, width), and the log of the change of volume, ()."""
        mean, var = +self.mean, +self.var
        if training:
            n = tf.cast(tf.shape(x)[0], x.dtype)
            mean, biased = tf.nn.moments(x, [0])
            var = biased * (n / (n - 1))
            for moving, new in ((self.mean, mean), (self.var, var)):
                moving.assign(moving * self.MOMENTUM + new * (1 - self.MOMENTUM))
        y = tf.exp(self.log_gamma) * (x - mean) / tf.sqrt(var + self.EPSILON) + self.beta
        return y, tf.reduce_sum(self.log_gamma - 0.5 * tf.math.log(var + self.EPSILON))
