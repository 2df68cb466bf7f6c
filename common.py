"""The features that the scripts share: clip -> samples -> log-mel frames -> windows -> score.

Imports nothing else of this project, and neither TensorFlow nor matplotlib, so that `-h` and the
tools around the scripts start in an instant.
"""

from __future__ import annotations

import functools
import math
import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Annotated, NamedTuple

import msgspec
import numpy as np

__version__ = "0.1.0"

HERE = Path(__file__).resolve().parent


class UserError(Exception):
    """Something the user can mend: shown as one line that names it and the remedy."""


Positive = Annotated[int, msgspec.Meta(ge=1)]


class Feature(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What turns a clip into windows: the section `feature` of the YAML, where the numbers are."""

    sample_rate: Positive  # Hz
    channel: Annotated[int, msgspec.Meta(ge=0)] | None  # of several; null: clips must be mono
    n_mels: Annotated[int, msgspec.Meta(ge=1, le=4096)]
    frames: Annotated[int, msgspec.Meta(ge=1, le=1024)]  # per window
    n_fft: Annotated[int, msgspec.Meta(ge=2, le=2**20)]  # samples
    hop_length: Positive  # samples
    power: Annotated[float, msgspec.Meta(gt=0, le=10)]
    central_frames: tuple[int, int] | None  # kept frames [first, end); null: the whole clip

    def __post_init__(self) -> None:
        if self.central_frames is not None:
            first, end = self.central_frames
            if first < 0 or end - first < self.frames:
                raise ValueError(
                    f"central_frames [{first}, {end}] must keep at least {self.frames} frames"
                )

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


def read_samples(path: Path, feature: Feature) -> np.ndarray:
    """The samples that the kept frames of a clip need; zeros stand where they leave the clip.

    Returns
    -------
    ((n_kept_frames - 1) * hop_length + n_fft,) float32, full scale is 1

    Raises
    ------
    ValueError : the file cannot be decoded, or a sample is not a number.
    """
    import soundfile

    try:
        with soundfile.SoundFile(str(path)) as file:
            first, end = feature.kept_frames(file.frames)
            start = first * feature.hop_length - feature.n_fft // 2
            stop = start + (end - first - 1) * feature.hop_length + feature.n_fft
            inside = slice(max(start, 0), min(stop, file.frames))
            file.seek(inside.start)
            count, whole = inside.stop - inside.start, file.subtype == "PCM_16"
            # The usual clips' integers: libsndfile takes five times as long to make them floats.
            block = file.read(count, "int16" if whole else "float32", always_2d=True)
    except soundfile.LibsndfileError as error:
        raise ValueError(f"cannot be decoded ({error.error_string.rstrip('.')})") from error
    if len(block) != count or not (whole or np.isfinite(block).all()):
        raise ValueError("holds samples that are not numbers (NaN or infinite), or ends early")
    samples = np.zeros(stop - start, np.float32)
    scale = np.float32(2**-15 if whole else 1)
    one = block[:, feature.channel or 0]
    np.multiply(one, scale, samples[inside.start - start : inside.stop - start])
    return samples


# Log-mel frames.


# Slaney's mel scale, of his Auditory Toolbox (1998): linear up to 1 kHz, then logarithmic.
_LINEAR_HZ, _BREAK_HZ = 200 / 3, 1000.0  # Hz of a mel below the break, and where that is
_LOG_STEP = math.log(6.4) / 27  # of a mel above it


def mel_frequencies(n: int, highest: float) -> np.ndarray:
    """Frequencies that are evenly spread on Slaney's mel scale, from 0 Hz to `highest`.

    Returns
    -------
    (n,) float64, Hz
    """
    mel_of_break = _BREAK_HZ / _LINEAR_HZ
    top = highest / _LINEAR_HZ
    if highest > _BREAK_HZ:
        top = mel_of_break + math.log(highest / _BREAK_HZ) / _LOG_STEP
    mels = np.linspace(0, top, n)
    logarithmic = _BREAK_HZ * np.exp(_LOG_STEP * (mels - mel_of_break))
    return np.where(mels < mel_of_break, mels * _LINEAR_HZ, logarithmic)


@functools.lru_cache(maxsize=4)
def mel_filters(sample_rate: int, n_fft: int, n_mels: int) -> np.ndarray:
    """Slaney mel bands from 0 Hz to half the sample rate, normalised by area.

    Triangles between the neighbours' centres, of height 2 / width in Hz.

    Returns
    -------
    (n_mels, 1 + n_fft // 2) float32
    """
    bins = np.arange(1 + n_fft // 2) * sample_rate / n_fft  # (n_bins,) float64, Hz
    edges = mel_frequencies(n_mels + 2, sample_rate / 2)[:, None]  # Hz
    low, centre, high = edges[:-2], edges[1:-1], edges[2:]
    triangles = np.minimum((bins - low) / (centre - low), (high - bins) / (high - centre))
    return (np.maximum(triangles, 0) * (2 / (high - low))).astype(np.float32)


class Bands(NamedTuple):
    """Neighbouring mel bands, and the bins of the spectrum that they weigh."""

    bands: slice
    bins: slice
    weights: np.ndarray  # (n_bins, n_bands) float32


BANDS_TOGETHER = 32  # a band weighs few bins: the other 97 % of the products are by zero


@functools.lru_cache(maxsize=4)
def mel_bands(sample_rate: int, n_fft: int, n_mels: int) -> tuple[Bands, ...]:
    """`mel_filters`, a few bands at a time, without most of their zeros."""
    filters = mel_filters(sample_rate, n_fft, n_mels)
    parts = []
    for first in range(0, n_mels, BANDS_TOGETHER):
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

    Returns
    -------
    tapered samples, (FRAMES_TOGETHER, n_fft) float64; spectra and energies, (FRAMES_TOGETHER,
    1 + n_fft // 2) complex128 and float32. In float64, for the rounding of a float32 transform
    would fill the quiet bands of a tone.
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
    n_fft = feature.n_fft
    parts = mel_bands(feature.sample_rate, n_fft, feature.n_mels)
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

    20 / power * log10(mel + eps), eps = 2.220446e-16; no reference level, no floor, no
    normalisation: the features of MLPerf Tiny and the DCASE 2020 Task 2 baseline. Digital
    silence is -156.5 dB.

    Returns
    -------
    (n_frames, n_mels) float32, dB
    """
    mel = mel_spectrum(samples, feature)
    mel += np.float32(np.finfo(np.float64).eps)
    level = np.log10(mel, mel)
    level *= np.float32(20 / feature.power)
    return level


Transform = Callable[[np.ndarray, Feature], np.ndarray]


def clip_frames(path: Path, feature: Feature, transform: Transform = log_mel) -> np.ndarray:
    """The kept frames of a clip, log-mel or of another transform; only their samples are read.

    Frame t is centred on sample t * hop_length; beyond the clip's ends stand zeros, as in
    librosa's melspectrogram(center=True) since 0.10.

    Returns
    -------
    (n_kept_frames, n_mels) float32; dB where they are log-mel frames

    Raises
    ------
    ValueError : see `read_samples`.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        frames = transform(read_samples(path, feature), feature)
    if not np.isfinite(frames).all():
        raise ValueError("holds samples that are far too large")
    return frames


# Windows of consecutive frames, each a vector, frame-major (element n_mels * t + m).


def vectors(frames: np.ndarray, n: int) -> np.ndarray:
    """All windows of n consecutive frames of one clip, as a view.

    Parameters
    ----------
    frames : (n_frames, n_mels) float32, C-contiguous

    Returns
    -------
    (n_frames - n + 1, n * n_mels) float32 view, read-only
    """
    n_mels = frames.shape[1]
    flat = np.lib.stride_tricks.sliding_window_view(frames.reshape(-1), n * n_mels)
    return flat[::n_mels]


# Anomaly scores.

Predict = Callable[[np.ndarray], np.ndarray]
WINDOWS_PER_CALL = 16384  # 42 MB


def clip_errors(inputs: np.ndarray, outputs: np.ndarray, counts: Sequence[int]) -> list[float]:
    """Mean squared reconstruction error of each clip, dB^2.

    Parameters
    ----------
    inputs, outputs : (n_windows, n * n_mels) float32, dB, one clip's windows after the other's
    counts : windows of each clip
    """
    errors = np.square(inputs - outputs).mean(axis=1, dtype=np.float64)  # (n_windows,)
    return [part.mean() for part in np.split(errors, np.cumsum(counts)[:-1])]


def anomaly_scores(predict: Predict, clips: Iterable[np.ndarray], n: int) -> np.ndarray:
    """Mean squared reconstruction error of each clip over all its windows and elements.

    Windows of many clips go through the model in one call.

    Parameters
    ----------
    predict : the model, (n_windows, n * n_mels) float32 -> the same shape
    clips : for each clip its frames, (n_frames, n_mels) float32
    n : frames per window

    Returns
    -------
    (n_clips,) float64, dB^2

    Raises
    ------
    UserError : the model gives a value that is not a number.
    """
    scores: list[float] = []
    batch: list[np.ndarray] = []
    waiting = 0

    def flush() -> None:
        inputs = np.concatenate(batch)  # (n_windows, n * n_mels) float32
        scores.extend(clip_errors(inputs, predict(inputs), [len(windows) for windows in batch]))

    for frames in clips:
        batch.append(vectors(frames, n))
        waiting += len(batch[-1])
        if waiting >= WINDOWS_PER_CALL:
            flush()
            batch, waiting = [], 0
    if batch:
        flush()
    result = np.array(scores)
    if not np.isfinite(result).all():
        raise UserError("the model's output is not a number for some clip; train it anew")
    return result
