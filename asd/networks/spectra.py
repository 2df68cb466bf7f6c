"""Layers from waves to spectrograms and spectra; they also run outside a network, as its front end.

Nothing in them is learnt.
"""

from __future__ import annotations

import math
from typing import Any

import keras
import msgspec
import numpy as np
import tensorflow as tf

import common
from asd.features.snippets import QUIETEST
from asd.networks.passes import fused

FLOOR = 2.22e-16  # below it magnitudes are no louder in dB: float64's epsilon


def bins(n_fft: int, sample_rate: int, range_hz: tuple[float, float]) -> slice:
    """The bins of a Fourier transform whose frequencies lie in a range, both ends included."""
    low, high = (limit * n_fft / sample_rate for limit in range_hz)
    return slice(math.ceil(low), min(math.floor(high), n_fft // 2) + 1)


def _magnitudes(spectra: tf.Tensor, start: int, stop: int) -> tf.Tensor:
    """Of bins from start to before stop."""
    return tf.abs(spectra[:, :, start:stop])


@keras.saving.register_keras_serializable("asd")
class Spectrogram(keras.layers.Layer):
    """Magnitudes of frames of n_fft samples, half overlapping, under a periodic Hann window.

    The first frame is centred on the first sample. Magnitudes are divided by the window's norm,
    sqrt(sum w^2). Bins, or HTK mel bands of height 1, of a range of frequencies.

    Parameters
    ----------
    n_fft : samples of a frame, even
    sample_rate : Hz
    range_hz : lowest and highest frequency
    n_mels : mel bands; None: bins
    padding : of waves by n_fft / 2 on either side: "zeros" or "reflect"
    log : 20 log10 of them, dB, those below 2.22e-16 as that
    subtract_time_mean : from every bin or band of a wave
    """

    def __init__(
        self,
        n_fft: int,
        sample_rate: int,
        range_hz: tuple[float, float],
        n_mels: int | None = None,
        padding: str = "zeros",
        log: bool = False,
        subtract_time_mean: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.own = {"n_fft": n_fft, "sample_rate": sample_rate, "range_hz": tuple(range_hz),
                    "n_mels": n_mels, "padding": padding, "log": log,
                    "subtract_time_mean": subtract_time_mean}  # fmt: skip
        self.n_fft, self.bins = n_fft, bins(n_fft, sample_rate, range_hz)
        window = common.hann(n_fft)
        self.window = window / np.sqrt(np.square(window).sum())  # (n_fft,) float64
        self.filters = None  # (n_bins, n_mels) float32
        if n_mels:
            feature = common.Feature(
                sample_rate=sample_rate, channel=None, n_mels=n_mels, frames=1, n_fft=n_fft,
                hop_length=n_fft // 2, power=1.0, central_frames=None, mel_scale="htk",
                mel_range_hz=self.own["range_hz"],
            )  # fmt: skip
            self.filters = common.mel_filters(feature).T[self.bins]
        self.mode = {"zeros": "CONSTANT", "reflect": "REFLECT"}[padding]

    def call(self, waves: tf.Tensor, training: bool = False) -> tf.Tensor:
        """(n_clips, n_samples) -> (n_clips, n_frames, n_bins or n_mels)."""
        hop = self.n_fft // 2
        padded = tf.pad(waves, ((0, 0), (hop, hop)), self.mode)
        n_hops = padded.shape[1] // hop
        hops = tf.reshape(padded[:, : n_hops * hop], (-1, n_hops, hop))
        frames = tf.concat([hops[:, :-1], hops[:, 1:]], axis=2)
        spectra = tf.signal.rfft(frames * tf.constant(self.window, waves.dtype))
        magnitudes = fused(_magnitudes) if training else _magnitudes
        values = magnitudes(spectra, self.bins.start, self.bins.stop)
        if self.filters is not None:
            values = tf.matmul(values, tf.constant(self.filters, waves.dtype))
        if self.own["log"]:
            values = 20 / math.log(10) * tf.math.log(tf.maximum(values, FLOOR))
        if self.own["subtract_time_mean"]:
            values -= tf.reduce_mean(values, axis=1, keepdims=True)
        return values

    def compute_output_shape(self, shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """The shape of `call`."""
        n = self.own["n_mels"] or self.bins.stop - self.bins.start
        return shape[0], shape[1] and 1 + shape[1] // (self.n_fft // 2), n

    def get_config(self) -> dict[str, Any]:
        """What makes the layer again."""
        return super().get_config() | self.own


@keras.saving.register_keras_serializable("asd")
class Spectrum(keras.layers.Layer):
    """Magnitudes of the Fourier transform of a whole wave, not scaled."""

    def call(self, waves: tf.Tensor) -> tf.Tensor:
        """(n_clips, n_samples) -> (n_clips, n_samples // 2 + 1)."""
        return tf.abs(tf.signal.rfft(waves))

    def compute_output_shape(self, shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """The shape of `call`."""
        return shape[0], shape[1] and shape[1] // 2 + 1


@keras.saving.register_keras_serializable("asd")
class LogMel(keras.layers.Layer):
    """Log-mel images of waves, dB, as torchaudio has them: see `asd.features.snippets.log_mel`.

    Parameters
    ----------
    feature : the values of a `common.Feature`
    """

    def __init__(self, feature: dict[str, Any], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.own, self.feature = dict(feature), msgspec.convert(feature, common.Feature)
        self.window = common.hann(self.feature.n_fft)  # (n_fft,) float64
        self.filters = common.mel_filters(self.feature).T  # (n_bins, n_mels) float32

    def call(self, waves: tf.Tensor) -> tf.Tensor:
        """(n, n_samples) -> (n, n_mels, n_frames, 1)."""
        n_fft, hop, power = self.feature.n_fft, self.feature.hop_length, self.feature.power
        frames = tf.signal.frame(waves, n_fft, hop) * tf.constant(self.window, waves.dtype)
        spectra = tf.signal.rfft(frames)
        # Not tf.abs to the power: the root of 0 has no gradient, and energies need none.
        energies = tf.square(tf.math.real(spectra)) + tf.square(tf.math.imag(spectra))
        if power != 2:
            energies = energies ** (power / 2)
        mel = energies @ tf.constant(self.filters, waves.dtype)
        level = 20 / power / math.log(10) * tf.math.log(tf.maximum(mel, QUIETEST))
        return tf.transpose(level, (0, 2, 1))[..., None]

    def compute_output_shape(self, shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """The shape of `call`."""
        n_frames = shape[1] and 1 + (shape[1] - self.feature.n_fft) // self.feature.hop_length
        return shape[0], self.feature.n_mels, n_frames, 1

    def get_config(self) -> dict[str, Any]:
        """What makes the layer again."""
        return super().get_config() | {"feature": self.own}


@keras.saving.register_keras_serializable("asd")
class BandNormalization(keras.layers.Layer):
    """Images less the mean of each band and divided by its deviation, which are not learnt."""

    def build(self, shape: tuple[int | None, ...]) -> None:
        """Make the variables, (n_mels,) each."""
        for name, initial in (("mean", "zeros"), ("deviation", "ones")):
            weight = self.add_weight((shape[1],), initial, name=name, trainable=False)
            setattr(self, name, weight)

    def call(self, images: tf.Tensor) -> tf.Tensor:
        """(n, n_mels, n_frames, 1) -> the same shape."""
        return (images - self.mean[:, None, None]) / self.deviation[:, None, None]
