"""Kaldi's log mel bands of waves, as the pre-trained transformers take them; nothing is learnt."""

from __future__ import annotations

import functools
import math
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from asd.networks.architecture import MELS, PATCH, SAMPLE_RATE
from asd.networks.scaling import FRAME, HOP, Scaling, n_frames

N_FFT = 512  # the next power of two
PRE_EMPHASIS = 0.97
LOWEST_HZ = 20.0
FLOOR = float(np.finfo(np.float32).eps)  # of energies
POVEY = 0.85  # Hann's window to this power


@functools.cache
def mel_bands() -> np.ndarray:
    """(1 + N_FFT // 2, MELS) float64: triangles that are straight on the mel scale, of height 1.

    The highest frequency, half the sample rate, has no weight in any of them.
    """

    def mels(hz: np.ndarray | float) -> np.ndarray:
        return 1127.0 * np.log(1 + np.asarray(hz) / 700)

    edges = np.linspace(mels(LOWEST_HZ), mels(SAMPLE_RATE / 2), MELS + 2)
    low, centre, high = edges[:-2], edges[1:-1], edges[2:]  # (MELS,) each
    bins = mels(np.arange(1 + N_FFT // 2) * SAMPLE_RATE / N_FFT)[:, None]
    triangles = np.minimum((bins - low) / (centre - low), (high - bins) / (high - centre))
    triangles[-1] = 0
    return np.maximum(triangles, 0)


@functools.cache
def window(name: str) -> np.ndarray:
    """(FRAME,) float64; unlike `common.hann` it ends with 0, as it begins."""
    hanning = 0.5 - 0.5 * np.cos(2 * math.pi * np.arange(FRAME) / (FRAME - 1))
    return hanning**POVEY if name == "povey" else hanning


@keras.saving.register_keras_serializable("asd")
class Fbank(keras.layers.Layer):
    """Log energies of Kaldi's mel bands, without dither, scaled.

    Frames without their mean, x_t - 0.97 x_(t-1), a window, |FFT|^2, mel bands, natural logarithm
    of no less than float32's epsilon. The first frame starts with the first sample.
    """

    def __init__(self, scaling: Scaling | list[Any], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.scaling = Scaling(*scaling)

    def call(self, waves: tf.Tensor) -> tf.Tensor:
        """(n, n_samples) -> (n, n_frames, MELS), n_frames a multiple of PATCH."""
        own, dtype = self.scaling, waves.dtype
        if own.centred:
            waves -= tf.reduce_mean(waves, axis=1, keepdims=True)
        frames = tf.signal.frame(waves * own.gain, FRAME, HOP)  # (n, n_frames, FRAME)
        frames -= tf.reduce_mean(frames, axis=2, keepdims=True)
        before = tf.concat([frames[..., :1], frames[..., :-1]], axis=2)
        frames = (frames - PRE_EMPHASIS * before) * tf.constant(window(own.window), dtype)
        spectra = tf.signal.rfft(frames, [N_FFT])
        energies = tf.square(tf.math.real(spectra)) + tf.square(tf.math.imag(spectra))
        mel = tf.matmul(energies, tf.constant(mel_bands(), dtype))
        values = self._whole_patches(tf.math.log(tf.maximum(mel, FLOOR)))
        return (values - own.mean) / (2 * own.deviation)

    def _whole_patches(self, values: tf.Tensor) -> tf.Tensor:
        n, least = tf.shape(values)[1], self.scaling.least_frames
        if least is None:
            return values[:, : n // PATCH * PATCH]
        more = tf.maximum(least, -(-n // PATCH) * PATCH) - n
        return tf.pad(values, [[0, 0], [0, more], [0, 0]])

    def compute_output_shape(self, shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """The shape of `call`."""
        return shape[0], shape[1] and n_frames(shape[1], self.scaling), MELS

    def get_config(self) -> dict[str, Any]:
        """What makes the layer again."""
        return super().get_config() | {"scaling": list(self.scaling)}
