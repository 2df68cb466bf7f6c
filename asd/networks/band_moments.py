"""Dense layers on how loud each mel band of a snippet is, and how much that changes.

What few clips of a steady sound are enough for, where a convolution first has to learn where on
the axis of frequency it is.
"""

from __future__ import annotations

import keras
import tensorflow as tf
from keras import layers

from asd.networks.layers import BatchNormalization
from asd.networks.settings import BandMoments


class Moments(keras.layers.Layer):
    """The mean and the standard deviation of each band's levels over time."""

    def call(self, images: tf.Tensor) -> tf.Tensor:
        """(n, n_mels, n_frames, 1) -> (n, 2 * n_mels)."""
        mean, variance = tf.nn.moments(images[..., 0], -1)
        return tf.concat([mean, tf.sqrt(variance)], -1)

    def compute_output_shape(self, shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """The shape of `call`."""
        return shape[0], 2 * shape[1]


def build(settings: BandMoments, images: keras.KerasTensor, n_classes: int) -> tuple:
    """The network behind images, (n, n_mels, n_frames, 1).

    Returns
    -------
    embedding : of the last hidden layer, (n, units)
    logits : (n, n_classes)
    """
    x = Moments(name="moments")(images)
    x = BatchNormalization(affine=False, name="moments.bn")(x)
    for i, units in enumerate(settings.hidden):
        x = layers.Dense(units, use_bias=False, name=f"d{i}")(x)
        x = layers.ReLU(name=f"d{i}.relu")(BatchNormalization(name=f"d{i}.bn")(x))
    return x, layers.Dense(n_classes, name="logits")(x)
