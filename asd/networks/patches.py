"""Log-mel patches of waves, as layers: what small networks look at, one patch after the other.

Nothing in them is learnt.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf

import common


def starts(n_frames: int, length: int, step: int) -> np.ndarray:
    """The first frames of the patches of a clip; the last patch ends with the clip, (n,) int64.

    Raises
    ------
    ValueError : there are fewer frames than a patch has.
    """
    if n_frames < length:
        raise ValueError(f"{n_frames} frames are fewer than the {length} of a patch")
    found = np.arange(0, n_frames - length + 1, step)
    return found if found[-1] + length == n_frames else np.append(found, n_frames - length)


@keras.saving.register_keras_serializable("asd")
class LogMelPatches(keras.layers.Layer):
    """Log-mel frames as `common.log_mel` has them, dB, of whole clips, cut into patches.

    The patches of a clip follow each other where the clips of a batch do: the first axis becomes
    longer. Spectra are in float64, as there: float32's rounding would fill a tone's quiet bands.

    Parameters
    ----------
    sample_rate : Hz
    n_mels, n_fft, hop_length : as in the section `feature`
    frames, step : of a patch, and from one to the next
    """

    def __init__(
        self,
        sample_rate: int,
        n_mels: int,
        n_fft: int,
        hop_length: int,
        frames: int,
        step: int,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.own = {"sample_rate": sample_rate, "n_mels": n_mels, "n_fft": n_fft,
                    "hop_length": hop_length, "frames": frames, "step": step}  # fmt: skip
        self.feature = common.Feature(
            sample_rate=sample_rate, channel=None, n_mels=n_mels, frames=frames, n_fft=n_fft,
            hop_length=hop_length, power=2.0, central_frames=None,
        )  # fmt: skip

    def starts(self, n_samples: int) -> np.ndarray:
        """The first frames of the patches of a clip of n_samples; see `starts`."""
        n_frames = self.feature.all_frames(n_samples)
        return starts(n_frames, self.own["frames"], self.own["step"])

    def call(self, waves: tf.Tensor) -> tf.Tensor:
        """(n_clips, n_samples) -> (n_clips * n_patches, frames, n_mels), dB."""
        n_fft = self.own["n_fft"]
        padded = tf.pad(tf.cast(waves, tf.float64), ((0, 0), (n_fft // 2, n_fft // 2)))
        views = tf.signal.frame(padded, n_fft, self.own["hop_length"])
        spectra = tf.signal.rfft(views * common.hann(n_fft))
        energies = tf.square(tf.math.real(spectra)) + tf.square(tf.math.imag(spectra))
        mel = tf.matmul(tf.cast(energies, tf.float32), common.mel_filters(self.feature).T)
        eps = np.float32(np.finfo(np.float64).eps)
        level = tf.math.log(mel + eps) * np.float32(10 / np.log(10))  # (n_clips, n_frames, n_mels)
        frames, n_mels = self.own["frames"], self.own["n_mels"]
        rows = self.starts(waves.shape[1])[:, None] + np.arange(frames)  # (n_patches, frames)
        patches = tf.gather(level, rows, axis=1)
        return tf.cast(tf.reshape(patches, (-1, frames, n_mels)), self.compute_dtype)

    def compute_output_shape(self, shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """The shape of `call`."""
        n_patches = len(self.starts(shape[1]))
        return shape[0] and shape[0] * n_patches, self.own["frames"], self.own["n_mels"]

    def get_config(self) -> dict[str, Any]:
        """What makes the layer again."""
        return super().get_config() | self.own


@keras.saving.register_keras_serializable("asd")
class MeanOfFrames(keras.layers.Layer):
    """The mean of the frames of a patch."""

    def call(self, frames: tf.Tensor) -> tf.Tensor:
        """(n, n_frames, n_mels) -> (n, n_mels)."""
        return tf.reduce_mean(frames, axis=1)

    def compute_output_shape(self, shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """The shape of `call`."""
        return shape[0], shape[2]


@keras.saving.register_keras_serializable("asd")
class MeanOfPatches(keras.layers.Layer):
    """The mean of what a network gives for the patches of a clip.

    Parameters
    ----------
    n_patches : of a clip
    """

    def __init__(self, n_patches: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.n_patches = n_patches

    def call(self, values: tf.Tensor) -> tf.Tensor:
        """(n_clips * n_patches, width) -> (n_clips, width)."""
        width = values.shape[-1]
        return tf.reduce_mean(tf.reshape(values, (-1, self.n_patches, width)), axis=1)

    def compute_output_shape(self, shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """The shape of `call`."""
        return shape[0] and shape[0] // self.n_patches, shape[1]

    def get_config(self) -> dict[str, Any]:
        """What makes the layer again."""
        return super().get_config() | {"n_patches": self.n_patches}


@keras.saving.register_keras_serializable("asd")
class Clipped(keras.layers.Layer):
    """Values cut at +- most, so that int8 spends no steps on what is rare.

    Parameters
    ----------
    most : the largest that stays as it is
    """

    def __init__(self, most: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.most = most

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """Any shape -> the same."""
        return tf.clip_by_value(x, -self.most, self.most)

    def compute_output_shape(self, shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """That of the input."""
        return shape

    def get_config(self) -> dict[str, Any]:
        """What makes the layer again."""
        return super().get_config() | {"most": self.most}
