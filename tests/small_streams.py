"""A small int8 model with a stream in its record, and a slow model of what a stream computes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np

import common
from asd import config, files
from asd.clips import Clip
from asd.evaluation import serving, streaming
from asd.paths import record_of
from asd.sections import merge
from asd.tflite import convert, litert
from asd.tflite.chain import Dense
from asd.tflite.convert import MCU
from common import Feature

RATE = 8000  # Hz
FEATURE = {"sample_rate": RATE, "n_mels": 16, "frames": 3, "n_fft": 256, "hop_length": 128,
           "central_frames": [0, 60]}  # fmt: skip
STREAM = {"windows": 12, "step": 5, "alarm": [2, 3], "share": 0.9}
CODE = 4  # values in the middle of the network


class Clips:
    """Log-mel frames of clips in memory, in the place of a store."""

    def __init__(self, frames: list[np.ndarray]) -> None:
        self.frames = frames
        self.clips = tuple(Clip(Path(f"normal_id_00_{i:08}.wav"), "ToyTest", "00", "train", 0,
                                n_samples=8000) for i in range(len(frames)))  # fmt: skip

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, i: int) -> np.ndarray:
        return self.frames[i]


def noise(n_samples: int, seed: int = 0, size: float = 0.05) -> np.ndarray:
    """Samples of a machine that runs as usual, (n_samples,) int16: noise with more bass."""
    white = np.random.default_rng(seed).standard_normal(n_samples + 1)
    return np.rint(32768 * size * (white[1:] + 0.9 * white[:-1]) / 1.35).astype(np.int16)


def faulty(n_samples: int, seed: int = 0) -> np.ndarray:
    """The same with a whistle at 2,500 Hz."""
    time = np.arange(n_samples) / RATE
    whistle = np.rint(3000 * np.sin(2 * np.pi * 2500 * time))
    return (noise(n_samples, seed) + whistle).astype(np.int16)


def settings(**more: Any) -> config.Config:
    """The configuration of the small model."""
    values = merge(config.load_values(config.BASELINE), {"feature": FEATURE, "stream": STREAM})
    return config.of_values(config.BASELINE, merge(values, more))


def make(folder: Path, **more: Any) -> Path:
    """Write the model, a projection onto what varies most in the training clips, and its record."""
    cfg = settings(**more)
    feature = cfg.feature
    samples = [noise(61 * 128 + 256, seed).astype(np.float32) / 32768 for seed in range(10)]
    store = Clips([common.log_mel(one, feature)[:60] for one in samples])
    windows = np.concatenate([common.vectors(one, feature.frames) for one in store.frames])
    mean = windows.mean(axis=0)
    _, _, axes = np.linalg.svd(windows - mean, full_matrices=False)
    chain = [Dense(axes[:CODE].T, -mean @ axes[:CODE].T), Dense(axes[:CODE], mean)]
    content = convert.convert(chain, MCU, windows)
    stream = streaming.of(cfg, serving.heard(litert.predictor(content), store, feature.frames))
    # Noise of ten clips is not all there is: a threshold that other seeds stay below.
    stream = changed(stream, threshold=2 * stream.threshold, release=1.6 * stream.threshold)
    path = folder / "model_ToyTest_int8.tflite"
    path.write_bytes(content)
    told = {"sha256": files.file_hash(path), streaming.KEY: stream}
    files.write_json(record_of(path), told)
    return path


def by_the_contract(
    stream: streaming.Stream,
    model: Path,
    samples: np.ndarray,
    gaps: tuple[int, ...] = (),
    predict: common.Predict | None = None,
) -> list[dict[str, Any]]:
    """What each hop of a stream is to be, one after the other, from its definition.

    Parameters
    ----------
    gaps : before these samples others are missing
    predict : in the model's place
    """
    feature, predict = stream.feature, predict or litert.predictor(model)
    found, alarm = [], False
    parts = np.split(samples, list(gaps))
    at = 0
    for part in parts:
        level = bands = None
        frames: list[np.ndarray] = []
        errors: list[int] = []
        above: list[bool] = []
        start, heard = 0, 0
        while start + feature.n_fft <= len(part):
            own, new = part[start : start + feature.n_fft], part[heard : start + feature.n_fft]
            heard = start + feature.n_fft
            frame = common.log_mel(own.astype(np.float32) / 32768, feature)[0]
            frames.append(frame)
            mean = float(frame.mean(dtype=np.float64))
            level = mean if level is None else level + (mean - level) / stream.windows
            flags = {"gap"} if start == 0 else set()
            flags |= {"clipped"} if set(new.tolist()) & {-32768, 32767} else set()
            flags |= {"silent"} if len(set(own.tolist())) == 1 else set()
            flags |= {"low"} if level < stream.level_db[0] - 6 else set()
            flags |= {"high"} if level > stream.level_db[1] + 6 else set()
            hop = {"end": at + heard, "level": level, "flags": flags, "score": None,
                   "decided": False, "band": -1}  # fmt: skip
            if len(frames) >= feature.frames:
                window = np.concatenate(frames[-feature.frames :])[None]
                difference = (window - predict(window)).astype(np.float64)
                squares = np.square(difference).reshape(feature.frames, feature.n_mels)
                own_bands = squares.mean(axis=0)
                bands = own_bands if bands is None else bands + (own_bands - bands) / stream.windows
                hop["band"] = int(np.argmax(bands / np.array(stream.band_errors)))
                errors.append(min(round(float(squares.mean()) * 4096), 2**32 - 1))
                last = errors[-stream.windows :]
                hop["score"] = sum(last) / (4096 * len(last))
                number = len(errors) - stream.windows
                if number >= 0 and number % stream.step == 0:
                    limit = round((stream.release if alarm else stream.threshold) * 4096)
                    above.append(sum(last) > limit * stream.windows)
                    alarm = sum(above[-stream.n :]) >= stream.k
                    hop |= {"decided": True, "above": above[-1], "limit": limit / 4096}
            found.append(hop | {"alarm": alarm})
            start += feature.hop_length
        at += len(part)
    return found


def changed(stream: streaming.Stream, **values: Any) -> streaming.Stream:
    """The same stream with some of its values, or of its feature's, changed."""
    names = set(Feature.__struct_fields__)
    of_feature = {key: value for key, value in values.items() if key in names}
    own = {key: value for key, value in values.items() if key not in names}
    feature = msgspec.structs.replace(stream.feature, **of_feature)
    return msgspec.structs.replace(stream, feature=feature, **own)
