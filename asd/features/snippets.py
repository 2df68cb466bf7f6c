"""Snippets: pieces of one length of clips of any, and log-mel statistics of whole clips.

Clips stay on disk, in stores of samples; what a batch needs is read when it is needed.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

import common
from asd.features.stores import Stores
from asd.rows import FULL_SCALE
from common import Feature

QUIETEST = 1e-10  # energy of a mel band below which none is told apart: -100 dB
LEAST_DEVIATION = 1e-4  # of a band, as a share of the largest


def starts(n_samples: int, length: int, hop: int) -> np.ndarray:
    """Where the snippets of a test clip start, (n_snippets,) int64, samples.

    One a hop until the clip's end is reached; of a clip that is shorter than a snippet, one.
    """
    count = max(-(-(n_samples - length + hop) // hop), 1)
    return np.arange(count) * hop


def random_starts(n_samples: int, length: int, rng: np.random.Generator) -> np.ndarray:
    """Where snippets of a training clip start: as many as cover it, (n_snippets,) int64."""
    count = max(-(-n_samples // length), 1)
    return rng.integers(0, max(n_samples - length, 0) + 1, count)


def cut(samples: np.ndarray, start: int, length: int) -> np.ndarray:
    """A snippet, (length,) of the samples' type; zeros stand behind the clip's end."""
    there = samples[start : start + length]
    return there if len(there) == length else np.pad(there, (0, length - len(there)))


def unit_rms(samples: np.ndarray) -> np.ndarray:
    """A clip scaled so that the mean of its squares is 1; digital silence stays as it is."""
    square = float(np.mean(np.square(samples, dtype=np.float64)))
    return samples / np.float32(np.sqrt(square)) if square else samples


def log_mel(samples: np.ndarray, feature: Feature) -> np.ndarray:
    """Log-mel frames without padding, (n_frames, n_mels) float32, dB.

    20 / power * log10(max(mel, 1e-10)): torchaudio's, of HTK bands of height 1; librosa's, of
    Slaney bands of area 1. Digital silence is -100 dB at power 2.
    """
    level = np.log10(np.maximum(common.mel_spectrum(samples, feature), np.float32(QUIETEST)))
    return level * np.float32(20 / feature.power)


class Statistics(NamedTuple):
    """Of each band: (n_mels,) float64, dB."""

    mean: np.ndarray
    deviation: np.ndarray


def statistics(clips: Iterable[np.ndarray]) -> Statistics:
    """Mean and deviation of each band over the frames of all clips, read one after the other.

    A band that never changes has a deviation of 1, any other at least 1e-4 of the largest. Chan,
    Golub and LeVeque 1979: no sum of squares, whose difference would be rounding only.

    Parameters
    ----------
    clips : (n_frames, n_mels) each, dB
    """
    n, mean, squares = 0, 0.0, 0.0
    lowest, highest = np.inf, -np.inf
    for frames in clips:
        more, own = len(frames), frames.mean(0, dtype=np.float64)
        step = own - mean
        squares = squares + np.square(frames - own).sum(0) + step**2 * (n * more / (n + more))
        mean = mean + step * (more / (n + more))
        lowest, highest = np.minimum(lowest, frames.min(0)), np.maximum(highest, frames.max(0))
        n += more
    deviation = np.where(lowest == highest, 1.0, np.sqrt(squares / n))
    return Statistics(mean, np.maximum(deviation, LEAST_DEVIATION * deviation.max()))


class Waves(Stores):
    """The clips of some stores of samples, see `rows.waves`."""

    def __getitem__(self, i: int) -> np.ndarray:
        """The samples of clip i, (n_samples,) float32, full scale 1."""
        return super().__getitem__(i)[:, 0].astype(np.float32) / FULL_SCALE

    def n_samples(self, i: int) -> int:
        """The length of clip i."""
        store, i = self.place(i)
        return int(store.offsets[i + 1] - store.offsets[i])
