"""Bands of frequencies louder or quieter: classes of sounds that no recording has.

What a fault does to a machine's spectrum is told apart from what it does when it is well only if
something has to be told apart there. So a clip that is altered is of a class of its own; classes
made by alterations: Inoue and others 2020, "Detection of anomalous sounds for machine condition
monitoring using classification confidence", DCASE Workshop, with shifts of pitch and time.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf

import common
from asd.augment import keys, settings

FLANK = 0.5  # standard deviation of a band's bell, in widths of bands


def bells(n_samples: int, n_bands: int, sample_rate: int) -> np.ndarray:
    """How much of a band's gain in dB each bin of a wave's spectrum has.

    Returns
    -------
    (n_bands, n_samples // 2 + 1) float32, bells over the HTK mel scale, 1 in the middle of the band
    """
    hz = np.fft.rfftfreq(n_samples, 1 / sample_rate)
    edges = np.linspace(0, n_bands, 1 + 64 * n_bands)
    place = np.interp(hz, common.mel_frequencies(len(edges), 0, sample_rate / 2, "htk"), edges)
    middles = np.arange(n_bands)[:, None] + 0.5
    return np.exp(-0.5 * np.square((place - middles) / FLANK)).astype(np.float32)


def emphasised(waves: tf.Tensor, gains_db: tf.Tensor) -> tf.Tensor:
    """Waves, (n, n_samples), with gains of their spectra, (n, n_samples // 2 + 1), dB."""
    ratios = tf.exp(gains_db * np.float32(np.log(10) / 20))
    spectra = tf.signal.rfft(waves)
    return tf.signal.irfft(spectra * tf.cast(ratios, spectra.dtype), [waves.shape[1]])


def altered(
    key: tf.Tensor,
    waves: tf.Tensor,
    n_bands: int,
    db: tuple[float, float],
    sample_rate: int,
    which: tf.Tensor,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Waves some of which have a band that is louder or quieter, each one by chance.

    Parameters
    ----------
    key : see `keys`
    waves : (n, n_samples)
    db : least and most in the band's middle
    which : are altered, (n,) bool

    Returns
    -------
    waves : (n, n_samples)
    kind : (n,) int32, the band where it is louder, n_bands + the band where it is quieter
    """
    n, (low, high) = tf.shape(waves)[0], db
    kind = tf.cast(keys.uniform(keys.split(key, 0), (n,)) * 2 * n_bands, tf.int32)
    gain = low + (high - low) * keys.uniform(keys.split(key, 2), (n,))
    band, quieter = kind % n_bands, kind // n_bands
    gain *= tf.cast(which, gain.dtype) * (1 - 2 * tf.cast(quieter, gain.dtype))
    of_bands = tf.constant(bells(waves.shape[1], n_bands, sample_rate))
    return emphasised(waves, gain[:, None] * tf.gather(of_bands, band)), kind


class Emphasis:
    """Waves of which a band is louder or quieter, and labels that say so."""

    def __init__(self, values: settings.Emphasis, sample_rate: int) -> None:
        self._values, self._sample_rate = values, sample_rate

    def __call__(
        self, key: tf.Tensor, waves: tf.Tensor, labels: dict[str, tf.Tensor]
    ) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """Augment a batch; see `mixing.Mixup`.

        A class c becomes the classes c * factor + k: k is 0 for clips as they are, 1 ... n_bands
        where that band is louder, n_bands + 1 ... where it is quieter.
        """
        values, n = self._values, tf.shape(waves)[0]
        coins = keys.coins(keys.split(key, 1), n, values.probability)
        waves, kind = altered(key, waves, values.bands, values.db, self._sample_rate, coins)
        which = tf.one_hot(tf.where(coins, 1 + kind, 0), values.factor)
        return waves, {name: _joint(one, which) for name, one in labels.items()}


def _joint(labels: tf.Tensor, which: tf.Tensor) -> tf.Tensor:
    """(n, n_classes) and (n, factor) -> (n, n_classes * factor)."""
    both = labels[:, :, None] * tf.cast(which, labels.dtype)[:, None]
    return tf.reshape(both, (-1, both.shape[1] * both.shape[2]))
