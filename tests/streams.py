"""Streams for tests: small models with their rules, the published one, and sound for them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from asd import config
from asd.embedded import codegen, stream
from asd.evaluation.streaming import Stream
from common import Feature
from tests.networks import int_dense, tflite

RATE = 16000


def feature_of(**changes) -> Feature:
    """Features of a small model: 8 bands, windows of 3 frames of 256 samples."""
    small = {"sample_rate": RATE, "channel": None, "n_mels": 8, "frames": 3, "n_fft": 256,
             "hop_length": 128, "power": 2.0, "central_frames": None}  # fmt: skip
    return Feature(**(small | changes))


def stream_of(feature: Feature, **changes) -> Stream:
    """A rule for it."""
    values = {"feature": feature, "windows": 5, "step": 3, "k": 2, "n": 3, "threshold": 900.0,
              "release": 700.0, "level_db": (-40.0, -30.0), "share": 0.9, "false_alarms": {},
              "band_errors": tuple(np.linspace(3, 9, feature.n_mels).tolist())}  # fmt: skip
    return Stream(**(values | changes))


def small_model(feature: Feature, seed: int = 4) -> bytes:
    """An int8 file for its windows, of random weights."""
    rng, width = np.random.default_rng(seed), feature.vector_size
    narrow, wide = (rng.integers(-99, 99, size, np.int8) for size in ((4, width), (width, 4)))
    return tflite([
        int_dense(narrow, np.zeros(4, np.int32), [0.01], True, (0.4, 50), (0.3, -128)),
        int_dense(wide, np.zeros(width, np.int32), [0.01], False, (0.3, -128), (0.4, 60)),
    ])  # fmt: skip


def published(real: Path, **changes) -> tuple[bytes, Stream]:
    """The published ad01 model, with a rule."""
    feature = config.load_config(config.BASELINE).feature
    rule = {"windows": 31, "step": 8, "threshold": 12.0, "release": 10.0} | changes
    return (real / "reference" / "ad01_int8.tflite").read_bytes(), stream_of(feature, **rule)


def written(folder: Path, content: bytes, rule: Stream) -> Path:
    """The whole C source, in a folder."""
    codegen.write(content, folder)
    stream.write(content, rule, folder)
    return folder


def sound(seconds: float, seed: int = 0) -> np.ndarray:
    """Noise, a tone, silence, clipping, the least noise and alternating extremes, (n,) int16."""
    rng, n = np.random.default_rng(seed), int(seconds * RATE / 6)
    tone = 20000 * np.sin(np.arange(n) * 0.3)
    parts = [rng.normal(0, 800, n), tone, np.full(n, 7), 5 * tone, rng.integers(-1, 2, n),
             np.where(np.arange(n) % 2, 32767, -32768)]  # fmt: skip
    return np.clip(np.concatenate(parts), -32768, 32767).astype(np.int16)
