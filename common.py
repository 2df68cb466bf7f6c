"""The features that the scripts share: clip -> samples -> log-mel frames -> windows -> score.

Imports nothing else of this project, and neither TensorFlow nor matplotlib, so that `-h` and the
tools around the scripts start in an instant.
"""

from __future__ import annotations

import functools
import math
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated, BinaryIO, Literal, NamedTuple

import msgspec
import numpy as np

__version__ = "0.1.0"

HERE = Path(__file__).resolve().parent


class UserError(Exception):
    """Something the user can mend: shown as one line that names it and the remedy."""


class UnusableClip(ValueError):
    """A recording that cannot be used; the message says why."""


Positive = Annotated[int, msgspec.Meta(ge=1)]


class Feature(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True
):
    """What turns a clip into windows: the section `feature` of the YAML, where the numbers are.

    A default is what the record of a model without that key means.
    """

    sample_rate: Positive  # Hz
    channel: Annotated[int, msgspec.Meta(ge=0)] | None  # of several; null: clips must be mono
    n_mels: Annotated[int, msgspec.Meta(ge=1, le=4096)]
    frames: Annotated[int, msgspec.Meta(ge=1, le=1024)]  # per window
    n_fft: Annotated[int, msgspec.Meta(ge=2, le=2**20)]  # samples
    hop_length: Positive  # samples
    power: Annotated[float, msgspec.Meta(gt=0, le=10)]
    central_frames: tuple[int, int] | None  # kept frames [first, end); null: the whole clip
    mel_scale: Literal["slaney", "htk"] = "slaney"
    mel_range_hz: tuple[float, float] | None = None  # null: 0 to half the sample rate

    def __post_init__(self) -> None:
        if self.central_frames is not None:
            first, end = self.central_frames
            if first < 0 or end - first < self.frames:
                raise ValueError(
                    f"central_frames [{first}, {end}] must keep at least {self.frames} frames"
                )
        low, high = self.mel_range_hz or (0, self.sample_rate / 2)
        if not 0 <= low < high <= self.sample_rate / 2:
            raise ValueError(f"mel_range_hz [{low}, {high}] leaves 0 to {self.sample_rate / 2}")

    @property
    def vector_size(self) -> int:
        """Elements of a window: frames x mel bands."""
        return self.frames * self.n_mels

    def kept_frames(self, n_samples: int) -> tuple[int, int]:
        """Range [first, end) of the frames kept of a clip of n_samples."""
        return self.central_frames or (0, self.all_frames(n_samples))

    def all_frames(self, n_samples: int) -> int:
        """Frames of a clip of n_samples, padded by n_fft // 2 on either side."""
        return 1 + (n_samples + 2 * (self.n_fft // 2) - self.n_fft) // self.hop_length


# Samples.

TOO_LOUD = 10.0  # 20 dB above full scale: no converter gives that, integers in a float file do
FULL_SCALE = 32767 / 32768  # the largest sample of 16 bits
READ_TOGETHER = 2**20  # samples


class Level(NamedTuple):
    """What a whole clip is like, as shares of its length."""

    clipped: float  # samples at full scale
    still: float  # stretches of hop_length samples that are all alike: digital silence


def read_clip(
    source: Path | bytes | BinaryIO, feature: Feature, memory: np.ndarray | None = None
) -> tuple[np.ndarray, Level]:
    """The samples that the kept frames of a clip need; zeros stand where they leave the clip.

    Read from the clip's start to its end, as some formats must be; into `memory`, float32, where
    that is long enough.

    Returns
    -------
    samples : ((n_kept_frames - 1) * hop_length + n_fft,) float32, full scale is 1
    level : of the whole clip

    Raises
    ------
    UnusableClip : it cannot be decoded, ends early, or its samples are no numbers or too loud.
    """
    import soundfile

    hop, at, looks = feature.hop_length, 0, [(0.0, 0, 0)]
    try:
        with source if hasattr(source, "frames") else soundfile.SoundFile(source) as file:
            first, end = feature.kept_frames(file.frames)
            start = first * hop - feature.n_fft // 2
            count = (end - first - 1) * hop + feature.n_fft
            fits = memory is not None and len(memory) >= count
            samples = memory[:count] if fits else np.empty(count, np.float32)
            samples[: max(-start, 0)] = samples[max(file.frames - start, 0) :] = 0
            # The usual clips' integers: libsndfile takes five times as long to make them floats.
            kind, unit = ("int16", 2**-15) if file.subtype == "PCM_16" else ("float32", 1.0)
            while at < file.frames:
                block = file.read(max(READ_TOGETHER // hop, 1) * hop, kind, always_2d=True)
                if not len(block):
                    raise UnusableClip("ends early")
                one = block[:, feature.channel or 0]
                needed = one[max(start - at, 0) : max(start + len(samples) - at, 0)]
                into = samples[max(at - start, 0) :][: len(needed)]
                np.multiply(needed, np.float32(unit), into)
                looks.append(_look(one, hop, unit))
                at += len(block)
    except soundfile.LibsndfileError as error:
        raise UnusableClip(f"cannot be decoded ({error.error_string.rstrip('.')})") from error
    peak, clipped, still = np.max(looks, axis=0)[0], *np.sum(looks, axis=0)[1:]
    if not np.isfinite(peak):
        raise UnusableClip("holds samples that are not numbers (NaN or infinite)")
    if peak > TOO_LOUD:
        raise UnusableClip(f"samples up to {peak:.6g}, full scale is 1; if they are integers of 16 "
                           "bits in a float file, divide them by 32768")  # fmt: skip
    return samples, Level(clipped / max(at, 1), still * hop / max(at, 1))


def _look(samples: np.ndarray, hop: int, unit: float) -> tuple[float, int, int]:
    """Largest absolute value, samples at full scale, and stretches of a hop that are alike."""
    peak = unit * max(abs(float(samples.min())), abs(float(samples.max())))
    clipped = 0
    if peak >= FULL_SCALE:
        clipped = np.count_nonzero(np.abs(samples.astype(np.float32)) >= FULL_SCALE / unit)
    stretches = samples[: len(samples) // hop * hop].reshape(-1, hop)
    some = stretches[:, [0, hop // 4, hop // 2, hop - 1]]  # few need a second look
    alike = stretches[(some == some[:, :1]).all(axis=1)]
    still = np.count_nonzero((alike == alike[:, :1]).all(axis=1)) if hop > 1 else 0
    return peak, clipped, still


# Log-mel frames.

# Slaney's mel scale, of his Auditory Toolbox (1998): linear up to 1 kHz, then logarithmic.
_LINEAR_HZ, _BREAK_HZ = 200 / 3, 1000.0  # Hz of a mel below the break, and where that is
_LOG_STEP = math.log(6.4) / 27  # of a mel above it


def mels_of(hz: float, scale: str) -> float:
    """A frequency on a mel scale, see `Feature`."""
    if scale == "htk":
        return 2595 * math.log10(1 + hz / 700)
    if hz <= _BREAK_HZ:
        return hz / _LINEAR_HZ
    return _BREAK_HZ / _LINEAR_HZ + math.log(hz / _BREAK_HZ) / _LOG_STEP


def mel_frequencies(n: int, lowest: float, highest: float, scale: str) -> np.ndarray:
    """(n,) float64, Hz: from the lowest to the highest, evenly spread on a mel scale."""
    mels = np.linspace(mels_of(lowest, scale), mels_of(highest, scale), n)
    if scale == "htk":
        return 700 * (10 ** (mels / 2595) - 1)
    mel_of_break = _BREAK_HZ / _LINEAR_HZ
    logarithmic = _BREAK_HZ * np.exp(_LOG_STEP * (mels - mel_of_break))
    return np.where(mels < mel_of_break, mels * _LINEAR_HZ, logarithmic)


@functools.lru_cache(maxsize=4)
def mel_filters(feature: Feature) -> np.ndarray:
    """Mel bands, (n_mels, 1 + n_fft // 2) float32: triangles of area 1 (Slaney) or height 1."""
    bins = np.arange(1 + feature.n_fft // 2) * feature.sample_rate / feature.n_fft  # (n_bins,) Hz
    low_hz, high_hz = feature.mel_range_hz or (0, feature.sample_rate / 2)
    edges = mel_frequencies(feature.n_mels + 2, low_hz, high_hz, feature.mel_scale)[:, None]  # Hz
    low, centre, high = edges[:-2], edges[1:-1], edges[2:]
    triangles = np.minimum((bins - low) / (centre - low), (high - bins) / (high - centre))
    height = 1 if feature.mel_scale == "htk" else 2 / (high - low)
    return (np.maximum(triangles, 0) * height).astype(np.float32)


class Bands(NamedTuple):
    """Neighbouring mel bands, and the bins of the spectrum that they weigh."""

    bands: slice
    bins: slice
    weights: np.ndarray  # (n_bins, n_bands) float32


BANDS_TOGETHER = 32  # a band weighs few bins: the other 97 % of the products are by zero


@functools.lru_cache(maxsize=4)
def mel_bands(feature: Feature) -> tuple[Bands, ...]:
    """`mel_filters`, a few bands at a time, without most of their zeros."""
    filters = mel_filters(feature)
    parts = []
    for first in range(0, len(filters), BANDS_TOGETHER):
        some = filters[first : first + BANDS_TOGETHER]
        used = np.flatnonzero(some.any(axis=0))
        bins = slice(used[0], used[-1] + 1) if len(used) else slice(0, 0)
        bands = slice(first, first + len(some))
        parts.append(Bands(bands, bins, np.ascontiguousarray(some[:, bins].T)))
    return tuple(parts)


@functools.lru_cache(maxsize=4)
def hann(n: int) -> np.ndarray:
    """The periodic Hann window, (n,) float64."""
    return 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n) / n)


FRAMES_TOGETHER = 100  # their spectra, 0.8 MB, stay in a core's cache
_of_thread = threading.local()


def _buffers(n_fft: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A thread's memory for a transform, kept: new pages cost more than the transform itself.

    Tapered samples, (FRAMES_TOGETHER, n_fft) float64; spectra and energies, (FRAMES_TOGETHER,
    1 + n_fft // 2) complex128 and float32. The rounding of float32 would fill a tone's quiet bands.
    """
    kept = getattr(_of_thread, "buffers", None)
    if kept is None or kept[0].shape[1] != n_fft:
        shape = (FRAMES_TOGETHER, 1 + n_fft // 2)
        tapered = np.empty((FRAMES_TOGETHER, n_fft))
        kept = tapered, np.empty(shape, np.complex128), np.empty(shape, np.float32)
        _of_thread.buffers = kept
    return kept


def mel_spectrum(samples: np.ndarray, feature: Feature) -> np.ndarray:
    """Mel bands of |X| ** power, without padding: frame t starts at sample t * hop_length.

    Parameters
    ----------
    samples : ((n_frames - 1) * hop_length + n_fft,) float32, full scale is 1

    Returns
    -------
    (n_frames, n_mels) float32; energies at power 2, magnitudes at power 1
    """
    n_fft, parts = feature.n_fft, mel_bands(feature)
    views = np.lib.stride_tricks.sliding_window_view(samples, n_fft)[:: feature.hop_length]
    mel = np.empty((len(views), feature.n_mels), np.float32)  # (n_frames, n_mels)
    tapered, spectra, energies = _buffers(n_fft)
    for first in range(0, len(views), FRAMES_TOGETHER):
        some = views[first : first + FRAMES_TOGETHER]
        np.multiply(some, hann(n_fft), tapered[: len(some)])
        squares = np.fft.rfft(tapered[: len(some)], out=spectra[: len(some)]).view(np.float64)
        squares *= squares
        real, imaginary, energy = squares[:, ::2], squares[:, 1::2], energies[: len(some)]
        if feature.power == 2:
            np.add(real, imaginary, energy, casting="same_kind")
        else:
            np.power(real + imaginary, feature.power / 2, energy, casting="same_kind")
        for part in parts:
            of_bands = mel[first : first + len(some), part.bands]
            np.matmul(energy[:, part.bins], part.weights, of_bands)
    return mel


def log_mel(samples: np.ndarray, feature: Feature) -> np.ndarray:
    """Log-mel frames of samples; see `mel_spectrum`.

    (n_frames, n_mels) float32, dB: 20 / power * log10(mel + eps), eps = 2.220446e-16; no reference
    level, no floor, no normalisation: the features of MLPerf Tiny and the DCASE Task 2 baselines.
    Digital silence is -156.5 dB.
    """
    mel = mel_spectrum(samples, feature)
    mel += np.float32(np.finfo(np.float64).eps)
    level = np.log10(mel, mel)
    level *= np.float32(20 / feature.power)
    return level


# Windows of consecutive frames, each a vector, frame-major (element n_mels * t + m).


def vectors(frames: np.ndarray, n: int) -> np.ndarray:
    """All windows of n consecutive frames of one clip, (n_frames - n + 1, n * n_mels) float32.

    A read-only view of the frames, (n_frames, n_mels) float32, C-contiguous.
    """
    n_mels = frames.shape[1]
    flat = np.lib.stride_tricks.sliding_window_view(frames.reshape(-1), n * n_mels)
    return flat[::n_mels]


# Anomaly scores.

Predict = Callable[[np.ndarray], np.ndarray]
Error = Callable[[np.ndarray, np.ndarray], float]


def reconstruction_error(inputs: np.ndarray, outputs: np.ndarray) -> float:
    """Mean squared error of a clip over its windows, (n_windows, n * n_mels) float32, in dB^2."""
    return float(np.square(inputs - outputs).mean(axis=1, dtype=np.float64).mean())


def anomaly_scores(
    predict: Predict,
    clips: Sequence[np.ndarray],
    n: int,
    workers: int = 1,
    error: Error = reconstruction_error,
) -> np.ndarray:
    """The reconstruction error of each clip, (n_clips,) float64.

    Each goes through the model alone, as a product's rounding depends on a row's place in it:
    clips of equal frames have equal scores.

    Parameters
    ----------
    predict : the model, (n_windows, n * n_mels) float32 -> the same shape
    clips : for each clip its frames, (n_frames, n_mels) float32
    n, workers : frames per window; threads that may call the model at once
    error : of a clip, from its windows and what the model gives for them

    Raises
    ------
    UserError : a value that the model gives is not a number.
    """

    def score(i: int) -> float:
        inputs = np.ascontiguousarray(vectors(clips[i], n))
        return error(inputs, predict(inputs))

    from threadpoolctl import threadpool_limits

    with threadpool_limits(1), ThreadPoolExecutor(workers) as pool:
        scores = np.array(list(pool.map(score, range(len(clips)))))
    if not np.isfinite(scores).all():
        raise UserError("the model's output is not a number for some clip; train it anew")
    return scores
