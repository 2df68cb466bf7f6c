"""Adam and AdamW as PyTorch computes them, and schedules of their learning rate."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf


class _AsTorch:
    """The step of Adam: epsilon is added after the bias correction, not before as in Keras.

    That tells while the variances are young. The corrections are computed in float64, as 1 - 0.999
    in float32 is wrong by 5e-5 of itself.
    """

    def update_step(
        self, gradient: tf.Tensor, variable: keras.Variable, learning_rate: tf.Tensor
    ) -> None:
        """Move a variable; a decay of its own has been taken away before."""
        dtype = variable.dtype
        index = self._get_variable_index(variable)
        mean, square = self._momentums[index], self._velocities[index]
        gradient = self._decayed(tf.cast(gradient, dtype), variable)
        self.assign_add(mean, (gradient - mean) * (1 - self.beta_1))
        self.assign_add(square, (tf.square(gradient) - square) * (1 - self.beta_2))
        step = tf.cast(self.iterations, tf.float64) + 1
        of_mean = 1 - tf.pow(tf.constant(self.beta_1, tf.float64), step)
        of_square = 1 - tf.pow(tf.constant(self.beta_2, tf.float64), step)
        root = tf.sqrt(square) / tf.cast(tf.sqrt(of_square), dtype)
        length = tf.cast(tf.cast(learning_rate, tf.float64) / of_mean, dtype)
        self.assign_sub(variable, length * mean / (root + self.epsilon))

    def _decayed(self, gradient: tf.Tensor, variable: keras.Variable) -> tf.Tensor:
        return gradient


@keras.saving.register_keras_serializable(package="asd")
class AdamW(_AsTorch, keras.optimizers.AdamW):
    """Adam with weight decay of its own, of all variables. Loshchilov and Hutter 2019,
    arXiv:1711.05101.

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


@keras.saving.register_keras_serializable(package="asd")
class Adam(_AsTorch, keras.optimizers.Adam):
    """Adam whose weight decay is part of the gradient. Kingma and Ba 2015, arXiv:1412.6980.

    Parameters
    ----------
    learning_rate : a number, or a schedule of the steps done
    decay : decay * variable is added to the gradient of each variable
    """

    def __init__(
        self,
        learning_rate: float | keras.optimizers.schedules.LearningRateSchedule,
        decay: float = 0.0,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        **kwargs: Any,
    ) -> None:
        super().__init__(learning_rate, beta_1, beta_2, epsilon, **kwargs)
        if self.amsgrad:
            raise ValueError("amsgrad is not computed here")
        self.decay = decay

    def _decayed(self, gradient: tf.Tensor, variable: keras.Variable) -> tf.Tensor:
        return gradient + self.decay * tf.convert_to_tensor(variable)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"decay": self.decay}


def falling_rate(
    epoch: int, peak: float, lowest: float, constant: int, falling: int, faithful: bool = False
) -> float:
    """The learning rate of an epoch: constant, then in a straight line down to the lowest.

    Parameters
    ----------
    epoch : from 0
    constant : the last epoch at the peak
    falling : in how many epochs after it the lowest is reached
    faithful : the lowest rate is taken for a share of the peak, as the published program does
    """
    end = lowest * peak if faithful else lowest
    if epoch <= constant:
        return peak
    left = max(falling - (epoch - constant), 0) / falling if falling else 0.0
    return end + (peak - end) * left


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
