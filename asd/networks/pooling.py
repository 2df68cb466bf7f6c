"""Frames of any number as one vector."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from asd.networks.layers import BatchNormalization

LEAST_VARIANCE = 1e-4  # below it the root is too steep


@keras.saving.register_keras_serializable(package="asd")
class AttentivePooling(keras.layers.Layer):
    """Attentive statistics pooling: mean and deviation over frames that are weighed for each value.

    The weights come from each frame beside the mean and deviation of all. Okabe et al. 2018,
    arXiv:1803.10963, with the context of Desplanques et al. 2020, arXiv:2005.07143.

    Parameters
    ----------
    units : of the result
    hidden : units that the weights are taken from; None: a 16th of the values of a frame
    """

    def __init__(self, units: int, hidden: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.units, self.hidden = units, hidden

    def build(self, frames_shape: tuple[int | None, ...]) -> None:
        values = frames_shape[-1]
        hidden = self.hidden or max(values // 16, 1)
        dense, norm = keras.layers.Dense, BatchNormalization
        how = {"dtype": self.dtype_policy}
        self.narrow = dense(hidden, name="narrow", **how)
        self.narrow_norm = norm(name="narrow_norm", **how)
        self.wide = dense(values, name="wide", **how)
        self.norm = norm(name="norm", **how)
        self.dense = dense(self.units, name="dense", **how)
        self.out_norm = norm(name="out_norm", **how)
        of_frames = ((self.narrow, 3 * values), (self.narrow_norm, hidden), (self.wide, hidden))
        of_clips = ((self.norm, 2 * values), (self.dense, 2 * values), (self.out_norm, self.units))
        for layer, width in of_frames:
            layer.build((None, None, width))
        for layer, width in of_clips:
            layer.build((None, width))

    def call(self, frames: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """(n, n_frames, n_values) -> (n, units)."""
        count = tf.cast(tf.shape(frames)[1], frames.dtype)
        mean = tf.reduce_mean(frames, 1, keepdims=True)
        squares = tf.reduce_sum(tf.square(frames - mean), 1, keepdims=True)
        variance = squares / tf.maximum(count - 1, 1)  # a single frame has none
        deviation = tf.sqrt(tf.maximum(variance, LEAST_VARIANCE))
        context = tf.concat(
            [tf.broadcast_to(one, tf.shape(frames)) for one in (mean, deviation)], 2
        )
        hidden = tf.nn.relu(self.narrow(tf.concat([frames, context], 2)))
        hidden = tf.tanh(self.narrow_norm(hidden, training=training))
        weights = tf.nn.softmax(self.wide(hidden), axis=1)  # (n, n_frames, n_values)
        mean = tf.reduce_sum(weights * frames, 1)
        variance = tf.reduce_sum(weights * tf.square(frames), 1) - tf.square(mean)
        deviation = tf.sqrt(tf.maximum(variance, LEAST_VARIANCE))
        pooled = self.norm(tf.concat([mean, deviation], 1), training=training)
        return self.out_norm(self.dense(pooled), training=training)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"units": self.units, "hidden": self.hidden}
