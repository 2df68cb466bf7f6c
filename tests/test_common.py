"""Samples, log-mel frames, windows, reconstruction errors."""

import sys

import librosa
import msgspec
import numpy as np
import pytest
import soundfile
from conftest import SAMPLE_RATE, clip_frames

import common
from asd import config
from common import UserError

FEATURE = config.load_config().feature
WHOLE = msgspec.structs.replace(FEATURE, central_frames=None)


# Samples


def test_samples_are_those_of_the_kept_frames_and_of_the_chosen_channel(tmp_path):
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, (128000, 8)).astype(np.float32)
    soundfile.write(tmp_path / "eight.wav", samples, SAMPLE_RATE, subtype="FLOAT")
    third = msgspec.structs.replace(FEATURE, channel=2)
    inside = common.read_clip(tmp_path / "eight.wav", third)[0]
    start = 50 * 512 - 512
    np.testing.assert_array_equal(inside, samples[start : start + 199 * 512 + 1024, 2])
    first = msgspec.structs.replace(third, central_frames=(0, 5))
    beginning = common.read_clip(tmp_path / "eight.wav", first)[0]
    np.testing.assert_array_equal(beginning, np.r_[np.zeros(512), samples[: 4 * 512 + 512, 2]])


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_samples_that_are_not_numbers_are_refused(tmp_path, value):
    samples = np.zeros(128000, np.float32)
    samples[60000] = value
    soundfile.write(tmp_path / "nan.wav", samples, SAMPLE_RATE, subtype="FLOAT")
    with pytest.raises(ValueError, match="not numbers"):
        clip_frames(tmp_path / "nan.wav", FEATURE)


# Log-mel frames


@pytest.mark.parametrize("scale", ["slaney", "htk"])
@pytest.mark.parametrize(("n_fft", "n_mels", "span"), [
    (1024, 128, None), (1023, 64, None), (256, 128, (0, 700)), (4096, 1, (50.5, 740.0)),
])  # fmt: skip
def test_mel_filters_are_librosas(n_fft, n_mels, span, scale):
    sizes = {"n_fft": n_fft, "n_mels": n_mels, "mel_range_hz": span, "mel_scale": scale}
    low, high = span or (0, None)
    for rate in (16000, 44100, 1500):
        feature = msgspec.structs.replace(FEATURE, sample_rate=rate, **sizes)
        how = {"htk": scale == "htk", "norm": None if scale == "htk" else "slaney"}
        expected = librosa.filters.mel(sr=rate, n_fft=n_fft, n_mels=n_mels, fmin=low, fmax=high,
                                       **how)  # fmt: skip
        ours = common.mel_filters(feature)
        assert ours.dtype == np.float32
        np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-9)
        together = np.zeros_like(ours)
        for part in common.mel_bands(feature):
            together[part.bands, part.bins] = part.weights.T
        np.testing.assert_array_equal(together, ours)


def librosa_frames(path, n_fft=1024, power=2.0):
    samples, rate = librosa.load(path, sr=None, mono=True)
    mel = librosa.feature.melspectrogram(
        y=samples, sr=rate, n_fft=n_fft, hop_length=512, n_mels=128, power=power
    )
    return (20 / power * np.log10(mel + sys.float_info.epsilon)).T


def assert_same_as_librosa(path):
    expected = librosa_frames(path)
    cropped = clip_frames(path, FEATURE)
    whole = clip_frames(path, WHOLE)
    assert cropped.shape == (200, 128)
    assert cropped.dtype == whole.dtype == np.float32
    np.testing.assert_allclose(cropped, expected[50:250], atol=1e-4, rtol=0)
    np.testing.assert_allclose(whole, expected, atol=1e-4, rtol=0)


TIME = np.arange(160000) / SAMPLE_RATE
SOUNDS = {
    "silence": 0 * TIME,
    "sine": 0.9 * np.sin(2 * np.pi * 1000 * TIME),
    "quiet sine": 1e-3 * np.sin(2 * np.pi * 440.3 * TIME),
    "noise": 0.1 * np.random.default_rng(0).standard_normal(len(TIME)),
    "impulse": np.eye(1, len(TIME), 80000)[0],
}


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "FLOAT"])
@pytest.mark.parametrize("sound", SOUNDS)
def test_frames_are_librosas(tmp_path, sound, subtype):
    soundfile.write(tmp_path / "a.wav", SOUNDS[sound], SAMPLE_RATE, subtype=subtype)
    assert_same_as_librosa(tmp_path / "a.wav")


def test_frames_are_librosas_for_other_settings(tmp_path):
    soundfile.write(tmp_path / "a.wav", SOUNDS["noise"], SAMPLE_RATE)
    for n_fft in (512, 1023):
        feature = msgspec.structs.replace(WHOLE, n_fft=n_fft, power=1.0)
        frames = clip_frames(tmp_path / "a.wav", feature)
        expected = librosa_frames(tmp_path / "a.wav", n_fft=n_fft, power=1.0)
        np.testing.assert_allclose(frames, expected, atol=1e-4)


def test_silence_is_the_floor(tmp_path):
    soundfile.write(tmp_path / "a.wav", SOUNDS["silence"], SAMPLE_RATE)
    frames = clip_frames(tmp_path / "a.wav", FEATURE)
    np.testing.assert_allclose(frames, 10 * np.log10(2.220446e-16), atol=1e-4)


def test_twice_the_amplitude_is_six_decibels_more():
    samples = SOUNDS["noise"].astype(np.float32)
    difference = common.log_mel(2 * samples, FEATURE) - common.log_mel(samples, FEATURE)
    np.testing.assert_allclose(difference, 20 * np.log10(2), atol=1e-3)


# Vectors and scores


def test_vectors_are_frame_major_views():
    frames = np.arange(7 * 3, dtype=np.float32).reshape(7, 3)
    windows = common.vectors(frames, 5)
    assert windows.shape == (3, 15)
    assert np.shares_memory(windows, frames)
    for i in range(3):
        np.testing.assert_array_equal(windows[i], np.concatenate(frames[i : i + 5]))


def test_scores_are_mean_squared_errors():
    rng = np.random.default_rng(0)
    clips = [rng.standard_normal((n, 4)).astype(np.float32) for n in (9, 5, 30, 12)]
    expected = []
    for frames in clips:
        windows = [np.concatenate(frames[i : i + 5]) for i in range(len(frames) - 4)]
        expected.append(np.mean([np.mean((0.5 * w) ** 2) for w in windows]))
    scores = common.anomaly_scores(lambda windows: 0.5 * windows, clips, 5)
    np.testing.assert_allclose(scores, expected, rtol=1e-6)


def test_a_model_that_gives_no_number_is_an_error():
    frames = [np.zeros((6, 4), np.float32)]
    with pytest.raises(UserError, match="not a number"):
        common.anomaly_scores(lambda windows: windows * np.nan, frames, 5)
