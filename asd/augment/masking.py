"""SpecAugment: stretches of time and bands of frequency set to 0. Park et al. 2019,
arXiv:1904.08779.
"""

from __future__ import annotations

import tensorflow as tf

from asd.augment import keys, settings


def stretch(
    width: tf.Tensor, place: tf.Tensor, widest: int, size: tf.Tensor | int
) -> tuple[tf.Tensor, tf.Tensor]:
    """First bin or frame that is masked, and the one after the last, (n,) int32 each.

    Parameters
    ----------
    width, place : (n,) in [0, 1): how much of `widest`; where
    widest, size : bins or frames masked at most; of the whole
    """
    whole = tf.cast(size, width.dtype)
    much = width * tf.minimum(tf.cast(widest, width.dtype), whole)
    first = tf.floor(place * (whole - much))
    return tf.cast(first, tf.int32), tf.cast(first + tf.floor(much), tf.int32)


def masked(
    spectra: tf.Tensor, firsts: tf.Tensor, ends: tf.Tensor, applied: tf.Tensor, axis: int
) -> tf.Tensor:
    """Spectra, (n, n_bins, n_frames), real or complex, with bins or frames [first, end) set to 0.

    Parameters
    ----------
    firsts, ends : (n,) int
    applied : (n,), 1 or True where they are set to 0
    axis : 1 for bins, 2 for frames
    """
    at = tf.range(tf.shape(spectra)[axis])[None]
    firsts, ends = tf.cast(firsts, tf.int32)[:, None], tf.cast(ends, tf.int32)[:, None]
    inside = (at >= firsts) & (at < ends) & tf.cast(applied, tf.bool)[:, None]
    return tf.where(tf.expand_dims(inside, 3 - axis), tf.zeros((), spectra.dtype), spectra)


def hann(n_fft: int, dtype: tf.DType) -> tf.Tensor:
    """The periodic Hann window, (n_fft,)."""
    return tf.signal.hann_window(n_fft, periodic=True, dtype=dtype)


def transformed(waves: tf.Tensor, n_fft: int, hop: int) -> tf.Tensor:
    """Short-time spectra of waves, (n, n_samples), centred, with zeros beyond the ends.

    Returns
    -------
    (n, 1 + n_fft // 2, 1 + n_samples // hop) complex
    """
    waves = tf.convert_to_tensor(waves)
    padded = tf.pad(waves, ((0, 0), (n_fft // 2, n_fft // 2)))
    frames = tf.signal.frame(padded, n_fft, hop) * hann(n_fft, waves.dtype)
    return tf.transpose(tf.signal.rfft(frames), (0, 2, 1))


def restored(spectra: tf.Tensor, n_fft: int, hop: int, n_samples: tf.Tensor | int) -> tf.Tensor:
    """The waves, (n, n_samples), whose spectra are nearest: Griffin and Lim 1984,
    doi:10.1109/TASSP.1984.1164317. `transformed` of no change gives the waves again.
    """
    frames = tf.signal.irfft(tf.transpose(spectra, (0, 2, 1)), (n_fft,))
    window = hann(n_fft, frames.dtype)
    sums = tf.signal.overlap_and_add(frames * window, hop)
    squares = tf.tile(tf.square(window)[None], (tf.shape(frames)[1], 1))
    weights = tf.signal.overlap_and_add(squares, hop)
    kept = slice(n_fft // 2, n_fft // 2 + n_samples)
    return sums[:, kept] / weights[kept]


class SpecAugment:
    """Waves with a stretch of time and a band of frequencies gone."""

    def __init__(self, values: settings.SpecAugment, sample_rate: int = 0) -> None:
        self._values = values

    def __call__(
        self, key: tf.Tensor, waves: tf.Tensor, labels: dict[str, tf.Tensor]
    ) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """Augment a batch, (n, n_samples); see `mixing.Mixup`. Labels stay."""
        values = self._values
        spectra = transformed(waves, values.n_fft, values.hop_length)
        masks, any_mask = self._masks(key, spectra)
        for mask in masks:
            spectra = masked(spectra, *mask)
        made = restored(spectra, values.n_fft, values.hop_length, tf.shape(waves)[1])
        return tf.where(any_mask[:, None], made, waves), labels

    def of_spectra(self, key: tf.Tensor, spectra: tf.Tensor) -> tf.Tensor:
        """The same of spectra, (n, n_bins, n_frames)."""
        for mask in self._masks(key, spectra)[0]:
            spectra = masked(spectra, *mask)
        return spectra

    def _masks(self, key: tf.Tensor, spectra: tf.Tensor) -> tuple[list[tuple], tf.Tensor]:
        """For `masked`, of time, then of frequency; and which clips have one or both."""
        n, n_bins, n_frames = tf.unstack(tf.shape(spectra))
        masks, values = [], self._values
        for axis, size, widest in ((2, n_frames, values.frames), (1, n_bins, values.bins)):
            own = keys.split(key, axis)
            width, place = (keys.uniform(keys.split(own, i), (n,)) for i in (0, 1))
            applied = keys.coins(keys.split(own, 2), n, values.probability)
            masks.append((*stretch(width, place, widest, size), applied, axis))
        return masks, masks[0][2] | masks[1][2]
