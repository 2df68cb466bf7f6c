"""Layers that Keras does not have: batch normalisation as PyTorch keeps it, padded max-pooling."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable("asd")
class BatchNormalization(keras.layers.Layer):
    """Batch normalisation of the last axis over all others.

    (x - mean) / sqrt(variance + epsilon) * gamma + beta; Ioffe and Szegedy 2015, arXiv:1502.03167.
    In training the mean and the biased variance are those of the batch, and the moving ones follow
    by a share of 1 - momentum; in inference, and where it is not trainable, they are the moving.

    Parameters
    ----------
    momentum : of the moving mean and variance; PyTorch's momentum is 1 - this
    epsilon : added to variances
    affine : with gamma and beta to be learnt; else they are 1 and 0
    unbiased : the moving variance follows sum / (n - 1), as PyTorch's; else sum / n, as Keras's
    """

    def __init__(
        self,
        momentum: float = 0.9,
        epsilon: float = 1e-5,
        affine: bool = True,
        unbiased: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.momentum, self.epsilon = momentum, epsilon
        self.affine, self.unbiased = affine, unbiased

    def build(self, shape: tuple[int | None, ...]) -> None:
        """Make the variables, (n_channels,) each: gamma and beta, the moving mean and variance."""

        def weight(name: str, initial: str, learnt: bool) -> keras.Variable:
            return self.add_weight((shape[-1],), initial, name=name, trainable=learnt,
                                   autocast=False)  # fmt: skip

        self.gamma = weight("gamma", "ones", True) if self.affine else None
        self.beta = weight("beta", "zeros", True) if self.affine else None
        self.moving_mean = weight("moving_mean", "zeros", False)
        self.moving_variance = weight("moving_variance", "ones", False)
        self.built = True

    def call(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
        """(..., n_channels) -> the same shape."""
        dtype = self.moving_mean.dtype  # half precision has it in float32
        x, fused = tf.cast(x, dtype), dtype == "float32"
        ones, zeros = tf.ones(x.shape[-1:], dtype), tf.zeros(x.shape[-1:], dtype)
        line = (ones, zeros) if not self.affine else (+self.gamma, +self.beta)
        if training and self.trainable:
            y, mean, variance = (_fused if fused else _plain)(x, *line, self.epsilon)
            self._follow(mean, variance, tf.size(x) // x.shape[-1])
        else:
            moving = +self.moving_mean, +self.moving_variance
            # On a GPU the fused one has no repeatable gradient, which a frozen layer's input needs.
            normalise = _fused if fused and not training else _plain
            y, *_ = normalise(x, *line, self.epsilon, moving)
        return tf.cast(y, self.compute_dtype)

    def _follow(self, mean: tf.Tensor, unbiased: tf.Tensor, n: tf.Tensor) -> None:
        """Move by the mean and variance of a batch of n values a channel."""
        n = tf.cast(n, mean.dtype)
        variance = unbiased if self.unbiased else unbiased * (tf.maximum(n - 1, 1) / n)
        for moving, new in ((self.moving_mean, mean), (self.moving_variance, variance)):
            moving.assign(moving * self.momentum + new * (1 - self.momentum))

    def compute_output_shape(self, shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """That of the input."""
        return shape

    def get_config(self) -> dict[str, Any]:
        """What makes the layer again."""
        own = {"momentum": self.momentum, "epsilon": self.epsilon, "affine": self.affine,
               "unbiased": self.unbiased}  # fmt: skip
        return super().get_config() | own


Moments = tuple[tf.Tensor, tf.Tensor]  # mean and variance
Normalised = tuple[tf.Tensor, tf.Tensor, tf.Tensor]  # outputs, mean, variance: unbiased if theirs


def _fused(
    x: tf.Tensor, gamma: tf.Tensor, beta: tf.Tensor, epsilon: float, moments: Moments | None = None
) -> Normalised:
    """By the one operation that TensorFlow has for it, three times as fast as `_plain`.

    `tf.nn.fused_batch_norm` would raise epsilon to 1.001e-5. Its variance is unbiased.
    """
    images = x if len(x.shape) == 4 else tf.reshape(x, (-1, 1, 1, x.shape[-1]))
    mean, variance = moments or (tf.zeros(0), tf.zeros(0))
    y, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
        x=images, scale=gamma, offset=beta, mean=mean, variance=variance, epsilon=epsilon,
        is_training=moments is None,
    )  # fmt: skip
    return y if images is x else tf.reshape(y, tf.shape(x)), mean, variance


def _plain(
    x: tf.Tensor, gamma: tf.Tensor, beta: tf.Tensor, epsilon: float, moments: Moments | None = None
) -> Normalised:
    """In float64, which `_fused` does not take."""
    mean, variance = moments or tf.nn.moments(x, list(range(len(x.shape) - 1)))
    y = tf.nn.batch_normalization(x, mean, variance, beta, gamma, epsilon)
    n = tf.cast(tf.size(x) // x.shape[-1], x.dtype)
    return y, mean, variance * (n / tf.maximum(n - 1, 1))


@keras.saving.register_keras_serializable("asd")
class PaddedMaxPooling2D(keras.layers.MaxPooling2D):
    """The largest of 3 x 3, step 2, of images padded by 1 on every side.

    Keras's padding "same" lies elsewhere where a size is even. In inference, padded are copies of
    the border, which are in the same windows as their originals: no window's largest changes, and
    unlike -infinity they are within the range of int8. In training it is the lowest number, with
    which the layer and its gradient take half of the time, and every largest value is the same.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{"pool_size": 3, "strides": 2, "padding": "valid"} | kwargs)

    def call(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
        """(n, height, width, c) -> (n, (height + 1) // 2, (width + 1) // 2, c)."""
        if training:
            return super().call(tf.pad(x, PAD_BY_ONE, constant_values=x.dtype.min))
        return super().call(tf.pad(x, PAD_BY_ONE, "SYMMETRIC"))

    def compute_output_spec(
        self, x: keras.KerasTensor, training: bool = False
    ) -> keras.KerasTensor:
        """The shape of `call`."""
        return keras.KerasTensor(self.compute_output_shape(x.shape), self.compute_dtype)

    def compute_output_shape(self, shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """The shape of `call`."""
        halves = (size and (size + 1) // 2 for size in shape[1:3])
        return (shape[0], *halves, shape[3])


PAD_BY_ONE = ((0, 0), (1, 1), (1, 1), (0, 0))
