"""AdamW as PyTorch computes it, and the warm-up of its learning rate."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable(package="asd")
class AdamW(keras.optimizers.AdamW):
    """Adam with weight decay of its own, of all variables. Loshchilov and Hutter 2019,
    arXiv:1711.05101.

    As in PyTorch, epsilon is added after the bias correction, not before as in Keras: that tells
    while the variances are young. The corrections are computed in float64, as 1 - 0.999 in float32
    is wrong by 5e-5 of itself.

    Parameters
    ----------
    learning_rate : a number, or a schedule of the steps done
    weight_decay : a step takes learning_rate * weight_decay of each variable away
    """

    def __init__(
        self,
        learning_rate: float | keras.optimizers.schedules.LearningRateSchedule,
        weight_decay: float,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        **kwargs: Any,
    ) -> None:
        super().__init__(learning_rate, weight_decay, beta_1, beta_2, epsilon, **kwargs)
        if self.amsgrad:
            raise ValueError("amsgrad is not computed here")

    def update_step(
        self, gradient: tf.Tensor, variable: keras.Variable, learning_rate: tf.Tensor
    ) -> None:
        """Move a variable; its decay has been taken away before."""
        dtype = variable.dtype
        index = self._get_variable_index(variable)
        mean, square = self._momentums[index], self._velocities[index]
        gradient = tf.cast(gradient, dtype)
        self.assign_add(mean, (gradient - mean) * (1 - self.beta_1))
        self.assign_add(square, (tf.square(gradient) - square) * (1 - self.beta_2))
        step = tf.cast(self.iterations, tf.float64) + 1
        of_mean = 1 - tf.pow(tf.constant(self.beta_1, tf.float64), step)
        of_square = 1 - tf.pow(tf.constant(self.beta_2, tf.float64), step)
        root = tf.sqrt(square) / tf.cast(tf.sqrt(of_square), dtype)
        length = tf.cast(tf.cast(learning_rate, tf.float64) / of_mean, dtype)
        self.assign_sub(variable, length * mean / (root + self.epsilon))


@keras.saving.register_keras_serializable(package="asd")
class WarmUp(keras.optimizers.schedules.LearningRateSchedule):
    """A learning rate that rises in a straight line from 0, in the first step, and then stays.

    Parameters
    ----------
    peak : where it stays
    steps : after how many
    """

    def __init__(self, peak: float, steps: int) -> None:
        super().__init__()
        self.peak, self.steps = peak, steps

    def __call__(self, step: tf.Tensor | int) -> tf.Tensor:
        """The learning rate of a step, counted from 0, float32."""
        share = tf.minimum(tf.cast(step, tf.float64) / max(self.steps, 1), 1)
        return tf.cast(self.peak * share, tf.float32)

    def get_config(self) -> dict[str, Any]:
        return {"peak": self.peak, "steps": self.steps}
