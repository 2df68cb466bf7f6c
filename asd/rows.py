"""What is kept of a clip: the rows that a detector works on, and what is odd about it."""

from __future__ import annotations

import dataclasses
import functools
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np

import common
from asd import wav
from common import Feature, Level, UnusableClip

TOO_LOUD = "too loud for feature.power; choose a smaller one"
REMARKABLE = 0.1  # share of a clip's length that is clipped or silent


_of_thread = threading.local()


class Extracted(NamedTuple):
    """What is kept of a clip."""

    rows: np.ndarray  # (n_rows, width) of `Rows.dtype`
    identity: str  # stands for the bytes of its file
    remark: str | None  # what is odd about it


@dataclasses.dataclass(frozen=True)
class Rows:
    """What a store holds of each clip.

    Attributes
    ----------
    title : in words
    settings : plain values that the rows depend on
    width : values of a row
    feature : which samples of a clip are needed
    of_samples : function of them, of full scale 1: (n_rows, width) in new memory
    padded : with the zeros that frames at a clip's ends reach into
    dtype : of the rows, little-endian, as on disk
    """

    title: str
    settings: Any
    width: int
    feature: Feature
    of_samples: Callable[[np.ndarray], np.ndarray]
    padded: bool = True
    dtype: str = "<f4"

    def of(self, path: Path) -> Extracted:
        """The rows of a recording.

        Raises
        ------
        UnusableClip : see `common.read_clip`; or it is too loud for these rows.
        OSError : it cannot be read.
        """
        source, identity = wav.opened(path)
        memory = getattr(_of_thread, "samples", None)  # kept: new pages cost a sixth of the time
        samples, level = common.read_clip(source, self.feature, memory)
        _of_thread.samples = samples if samples.base is None else memory
        if not self.padded:
            samples = self._inside(samples, _length(source))
        with np.errstate(over="ignore", invalid="ignore"):
            rows = self.of_samples(samples)
        if not np.isfinite(rows).all():
            raise UnusableClip(TOO_LOUD)
        return Extracted(rows, identity, _remark(level))

    def _inside(self, samples: np.ndarray, n_samples: int) -> np.ndarray:
        """Those samples that are in a clip of n_samples."""
        first, _ = self.feature.kept_frames(n_samples)
        start = first * self.feature.hop_length - self.feature.n_fft // 2
        return samples[max(-start, 0) : n_samples - start]


def _length(source: Any) -> int:
    """Samples of a recording that was read before."""
    if hasattr(source, "frames"):
        return source.frames
    import soundfile

    if hasattr(source, "seek"):
        source.seek(0)
    return soundfile.info(source).frames


def log_mel(feature: Feature) -> Rows:
    """Log-mel frames, whatever the frames of a window."""
    settings = msgspec.to_builtins(feature)
    del settings["frames"]
    of_samples = functools.partial(common.log_mel, feature=feature)
    return Rows("log-mel frames", settings, feature.n_mels, feature, of_samples)


FULL_SCALE = 32768  # of 16 bits


def waves(feature: Feature) -> Rows:
    """The samples themselves, in 16 bits: (n_samples, 1) int16."""
    settings = {"sample_rate": feature.sample_rate, "channel": feature.channel}
    whole = msgspec.structs.replace(feature, central_frames=None)
    return Rows("samples", settings, 1, whole, _in_16_bits, padded=False, dtype="<i2")


def _in_16_bits(samples: np.ndarray) -> np.ndarray:
    limits = np.iinfo(np.int16)
    return np.clip(np.rint(samples * FULL_SCALE), limits.min, limits.max).astype("<i2")[:, None]


def levels(feature: Feature) -> Rows:
    """The level of a clip alone, for methods that read no more of it: (1, 1) float32, dB."""
    settings = {"sample_rate": feature.sample_rate, "channel": feature.channel}
    whole = msgspec.structs.replace(feature, central_frames=None)
    return Rows("levels", settings, 1, whole, _level, padded=False)


def _level(samples: np.ndarray) -> np.ndarray:
    mean = np.mean(np.square(samples, dtype=np.float64)) if len(samples) else 0.0
    return np.array([[10 * np.log10(mean + np.finfo(np.float64).eps)]], np.float32)


def _remark(level: Level) -> str | None:
    odd = []
    if level.clipped > REMARKABLE:
        odd.append(f"{level.clipped:.0%} of its samples are at full scale, clipped")
    if level.still > REMARKABLE:
        odd.append(f"{level.still:.0%} of it is digital silence")
    return " and ".join(odd) or None
