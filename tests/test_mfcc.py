"""MFCC of our log-mel frames, against librosa's of the same frames and against the formula."""

import librosa
import numpy as np
import pytest

from asd.features.mfcc import mfcc


def frames(seed=0, n_frames=31, n_mels=128):
    return np.random.default_rng(seed).uniform(-80, 0, (n_frames, n_mels)).astype(np.float32)


@pytest.mark.parametrize("count", [1, 20, 40, 128])
def test_they_are_librosas_of_the_same_log_mel(count):
    theirs = librosa.feature.mfcc(S=frames().T, n_mfcc=count)
    ours = mfcc(frames(), count)
    assert ours.shape == (31, count) and ours.dtype == np.float32
    np.testing.assert_allclose(ours, theirs.T, atol=1e-3)  # of coefficients up to 700 dB


def test_they_are_the_formula_s():
    x, n = frames(n_frames=3, n_mels=16).astype(np.float64), 16
    k, m = np.mgrid[:n, :n]
    scale = np.where(np.arange(n) == 0, np.sqrt(1 / n), np.sqrt(2 / n))
    wanted = x @ (scale[:, None] * np.cos(np.pi * k * (2 * m + 1) / (2 * n))).T
    np.testing.assert_allclose(mfcc(x, 16), wanted, atol=1e-4)


def test_level_is_in_the_first_alone_and_nothing_is_lost():
    louder = mfcc(frames() + 6, 128) - mfcc(frames(), 128)
    assert np.abs(louder[:, 0] - 6 * np.sqrt(128)).max() < 1e-3
    assert np.abs(louder[:, 1:]).max() < 1e-3
    energy = np.sum(mfcc(frames(), 128).astype(np.float64) ** 2)
    assert energy == pytest.approx(np.sum(frames().astype(np.float64) ** 2), rel=1e-5)


@pytest.mark.parametrize("count", [0, 129])
def test_there_are_as_many_as_bands(count):
    with pytest.raises(ValueError, match=f"{count} coefficients of 128 mel bands"):
        mfcc(frames(), count)
