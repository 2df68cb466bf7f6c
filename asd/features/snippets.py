"""Snippets: pieces of one length of clips of any, and their log-mel frames.

Clips stay on disk, in stores of samples; what a batch needs is read when it is needed.
"""

from __future__ import annotations

import numpy as np

import common
from common import Feature

QUIETEST = 1e-10  # energy of a mel band below which none is told apart: -100 dB


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
