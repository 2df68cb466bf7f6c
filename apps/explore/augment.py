"""Copies of recordings that differ from them: more noise, another beginning, another tempo."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator


def noise(samples: np.ndarray, snr_db: float, rng: Generator) -> np.ndarray:
    """White noise added, so that the recording's power is `snr_db` above the noise's.

    The ratio is that of the noise that was drawn, not of its expectation. To digital silence
    nothing is added.

    Parameters
    ----------
    samples : (n,) float32

    Returns
    -------
    (n,) float32
    """
    added = rng.standard_normal(len(samples))
    power = np.mean(np.square(samples, dtype=np.float64))
    gain = np.sqrt(power / np.mean(added**2) / 10 ** (snr_db / 10))
    return (samples + gain * added).astype(np.float32)


def roll(samples: np.ndarray, rng: Generator) -> np.ndarray:
    """Another beginning, drawn evenly from all others: the end goes before the beginning.

    Parameters
    ----------
    samples : (n,) float32, n at least 2
    """
    return np.roll(samples, int(rng.integers(1, len(samples))))


def stretch(samples: np.ndarray, rate: float) -> np.ndarray:
    """Faster (a rate above 1) or slower, at the same pitch, by librosa's phase vocoder.

    Parameters
    ----------
    samples : (n,) float32
    rate : above 0; the copy has round(n / rate) samples

    Raises
    ------
    ValueError : rate is not above 0.
    """
    import librosa

    if not rate > 0:
        raise ValueError(f"a rate is above 0, not {rate}")
    return librosa.effects.time_stretch(samples, rate=rate).astype(np.float32)
