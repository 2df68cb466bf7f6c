"""What the numbered scripts share, in the order of the data flow.

Configuration, clips, log-mel frames, vectors, anomaly scores, CSV files, command line.
Imports neither TensorFlow nor matplotlib nor anything else of this project, so that `-h`, the
feature workers and the tools around it start in an instant.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import difflib
import errno
import functools
import hashlib
import json
import math
import operator
import os
import re
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar, get_args

import msgspec
import numpy as np

if TYPE_CHECKING:
    import yaml

__version__ = "0.1.0"

HERE = Path(__file__).resolve().parent
BASELINE = HERE / "baseline.yaml"


class UserError(Exception):
    """Something the user can mend: shown as one line that names it and the remedy."""


# ---------------------------------------------------------------------------------------------
# Configuration: YAML read into frozen objects. The numbers themselves stand in baseline.yaml.

Positive = Annotated[int, msgspec.Meta(ge=1)]
NotNegative = Annotated[int, msgspec.Meta(ge=0)]
Seed = Annotated[int, msgspec.Meta(ge=0, lt=2**32)]  # what NumPy and Keras take
Tolerance = Annotated[float, msgspec.Meta(gt=0)]
Share = Annotated[float, msgspec.Meta(ge=0, lt=1)]
Name = Annotated[str, msgspec.Meta(min_length=1)]


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A mapping of the YAML file; every key is required."""


class Feature(Section):
    """What turns a clip into vectors."""

    sample_rate: Positive  # Hz
    channel: NotNegative | None  # of a clip with several; null: clips must be mono
    n_mels: Annotated[int, msgspec.Meta(ge=1, le=4096)]
    frames: Annotated[int, msgspec.Meta(ge=1, le=1024)]  # per vector
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
        """Elements of a vector: frames x mel bands."""
        return self.frames * self.n_mels

    def kept_frames(self, n_samples: int) -> tuple[int, int]:
        """Range [first, end) of the frames kept of a clip of n_samples."""
        return self.central_frames or (0, self.all_frames(n_samples))

    def all_frames(self, n_samples: int) -> int:
        """Frames of a clip of n_samples, padded by n_fft // 2 on either side."""
        return 1 + (n_samples + 2 * (self.n_fft // 2) - self.n_fft) // self.hop_length


class Compile(Section):
    """Keras' names of the optimiser and the loss."""

    optimizer: Name
    loss: Name


class Fit(Section):
    """How the auto-encoder is trained."""

    compile: Compile
    epochs: Positive
    batch_size: Positive
    shuffle: bool
    validation_split: Share
    verbose: Literal[0, 1, 2]


class Conversion(Section):
    """How the Keras model becomes TFLite files."""

    reference_fold: bool
    dense_weights: Literal["per_channel", "per_tensor"]
    equalise: bool
    bias_correction: bool
    calibration_windows: Positive


class Bar(Section):
    """How far a converted model may be from the Keras model; null: not limited."""

    score_max: Tolerance | None  # largest relative score difference of a clip
    score_median: Tolerance | None  # median relative score difference
    auc_drop: Tolerance  # AUC below Keras


class Parity(Section):
    """The bars of 03_tflite_test.py."""

    float: Bar
    per_channel: Bar
    per_tensor: Bar
    chance_p: Tolerance  # a drop in AUC with a larger paired p value is within chance
    board_clips: Positive  # test clips of a machine type that C code and boards are compared on


class Config(Section):
    """The whole configuration: baseline.yaml, with a recipe's overrides."""

    dev_directory: Name
    eval_directory: Name
    feature_directory: Name
    model_directory: Name
    result_directory: Name
    result_file: Name
    max_fpr: Annotated[float, msgspec.Meta(gt=0, le=1)]
    seed: Seed
    workers: NotNegative  # threads that compute features; 0: one per core
    feature: Feature
    fit: Fit
    convert: Conversion
    parity: Parity

    @property
    def models(self) -> Path:
        """Folder of the models."""
        return Path(self.model_directory)

    @property
    def results(self) -> Path:
        """Folder of the result files."""
        return Path(self.result_directory)

    def data(self, mode: str) -> Path:
        """Folder of the recordings of `mode`, "dev" or "eval"."""
        return Path(self.dev_directory if mode == "dev" else self.eval_directory)


def load_config(path: str | Path = BASELINE) -> Config:
    """Read a YAML file over the values of baseline.yaml.

    Parameters
    ----------
    path : the file; it may name only the keys in which it differs from baseline.yaml.

    Raises
    ------
    UserError : no such file, not YAML, or a key that is unknown, missing or ill-typed; the
        message names the file, the key, and for an unknown key the nearest valid one.
    """
    path = Path(path)
    overrides, base = read_yaml(path), read_yaml(BASELINE)
    for file, values in ((path, overrides), (BASELINE, base)):
        _check_keys(file, values, Config)
    return as_section(Config, path, _merge(base, overrides))


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping that a YAML file holds.

    Raises
    ------
    UserError : no such file, not YAML, a key stands twice, or something else than a mapping.
    """
    import yaml

    try:
        values = yaml.load(path.read_text(encoding="utf-8"), Loader=_yaml_loader())
    except (FileNotFoundError, IsADirectoryError) as error:
        raise UserError(f"{path}: no such configuration file") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not a YAML file: {' '.join(str(error).split())}") from error
    if not isinstance(values, dict | None):
        raise UserError(f"{path}: not a mapping of keys to values, as baseline.yaml is")
    return values or {}


@functools.cache
def _yaml_loader() -> type[yaml.SafeLoader]:
    """YAML 1.1 but for two traps: 1e-4 is a number, and a key that stands twice is an error."""
    import yaml

    class Loader(yaml.SafeLoader):
        def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
            keys = [self.construct_object(key, deep=True) for key, _ in node.value]
            for key in keys:
                if keys.count(key) > 1:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"key {key} stands twice", node.start_mark
                    )
            return super().construct_mapping(node, deep)

    number = re.compile(r"^[-+]?\d+(\.\d*)?[eE][-+]?\d+$")
    Loader.add_implicit_resolver("tag:yaml.org,2002:float", number, list("-+0123456789"))
    return Loader


SectionType = TypeVar("SectionType", bound=Section)


def as_section(kind: type[SectionType], path: Path, values: dict[str, Any]) -> SectionType:
    """The values of a YAML file as a typed, frozen object.

    Raises
    ------
    UserError : a key is unknown, missing or ill-typed; the message names the file, the key, and
        for an unknown key the nearest valid one.
    """
    _check_keys(path, values, kind)
    try:
        return msgspec.convert(values, kind)
    except msgspec.ValidationError as error:
        raise UserError(f"{path}: {_plain(error, values, kind)}") from error


def _merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(base.get(key), dict)
        merged[key] = _merge(base[key], value) if both else value
    return merged


def _is_section(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Section)


def _keys(section: type, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every dotted key below a section, with its type."""
    for field in msgspec.structs.fields(section):
        yield prefix + field.name, field.type
        if _is_section(field.type):
            yield from _keys(field.type, f"{prefix}{field.name}.")


def _check_keys(path: Path, values: dict[str, Any], kind: type) -> None:
    """Raise a UserError for a key that the section does not have."""
    if unknown := _unknown_key(values, kind):
        key, here = unknown
        near = _nearest_key(key, here, [name for name, _ in _keys(kind)])
        raise UserError(f"{path}: unknown key {key}; did you mean {near}?")


def _unknown_key(
    values: dict[str, Any], section: type, prefix: str = ""
) -> tuple[str, list[str]] | None:
    """The first unknown key, dotted, and the keys that its section has."""
    known = {field.name: field.type for field in msgspec.structs.fields(section)}
    for key, value in values.items():
        if key not in known:
            return f"{prefix}{key}", [prefix + name for name in known]
        if isinstance(value, dict) and _is_section(known[key]):
            problem = _unknown_key(value, known[key], f"{prefix}{key}.")
            if problem:
                return problem
    return None


def _nearest_key(key: str, here: list[str], everywhere: list[str]) -> str:
    """The same name elsewhere, else the likest of the same section, else the likest of all."""
    same = [name for name in everywhere if name.split(".")[-1] == key.split(".")[-1]]
    of_section = difflib.get_close_matches(key, here, 1, cutoff=0.5)
    likest = difflib.get_close_matches(key, everywhere, 1, cutoff=0.0)
    return [*same, *of_section, *likest][0]


def _plain(error: msgspec.ValidationError, values: dict[str, Any], kind: type) -> str:
    """The validation library's message with the key first and the offending value last."""
    message, _, where = str(error).partition(" - at `$")
    where = where.rstrip("`")
    missing = re.fullmatch(r"Object missing required field `(.+)`", message)
    key = ".".join(filter(None, [where.strip("."), missing[1] if missing else ""]))
    if missing:
        return f"key {key} is missing"
    value: Any = values
    for part in re.findall(r"\w+", where):
        value = value[int(part)] if isinstance(value, (list, tuple)) else value[part]
    message = message.replace("`", "").replace("Expected", "expected")
    if message.startswith("Invalid enum value"):
        choices = get_args(dict(_keys(kind)).get(key))
        message = f"expected one of {', '.join(map(str, choices))}"
    shown = "" if isinstance(value, dict) else f", and this is {value!r}"
    return f"key {key}: {message}{shown}" if key else message


def config_hash(values: Any) -> str:
    """A short fingerprint of plain values: 16 hex digits of the SHA-256 of their JSON."""
    text = json.dumps(msgspec.to_builtins(values), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


# ---------------------------------------------------------------------------------------------
# Clips: recordings in the layout of DCASE 2020 Task 2.


@dataclass(frozen=True)
class Clip:
    """One recording."""

    path: Path
    machine_id: str  # two digits, "01"
    label: int | None  # 0 normal, 1 anomalous, None unknown


@dataclass(frozen=True)
class BadClip:
    """A recording that cannot be used, and why, with the remedy."""

    path: Path
    reason: str


# What a clip may be called, by mode and folder.
_NAMES = {
    ("dev", "train"): ("normal_id_XX_NNNNNNNN.wav", r"(?P<label>normal)_id_(?P<id>\d\d)_\d+\.wav"),
    ("dev", "test"): (
        "normal_id_XX_NNNNNNNN.wav or anomaly_id_XX_NNNNNNNN.wav",
        r"(?P<label>normal|anomaly)_id_(?P<id>\d\d)_\d+\.wav",
    ),
    ("eval", "train"): ("normal_id_XX_NNNNNNNN.wav", r"(?P<label>normal)_id_(?P<id>\d\d)_\d+\.wav"),
    ("eval", "test"): ("id_XX_NNNNNNNN.wav", r"(?P<label>)id_(?P<id>\d\d)_\d+\.wav"),
}
_LABELS = {"normal": 0, "anomaly": 1, "": None}


def find_machine_types(folder: Path, wanted: Sequence[str] = ()) -> list[str]:
    """Machine types below a data folder, sorted; or those wanted, checked to be there.

    Raises
    ------
    UserError : no such folder, none in it, or a wanted one that is not there.
    """
    help_line = "./get_dataset.sh downloads recordings, ./get_dataset.sh --demo makes demo sound"
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder of recordings; {help_line}")
    found = sorted(p.name for p in folder.iterdir() if p.is_dir() and p.name[0] != ".")
    if not found:
        raise UserError(f"{folder}: no machine type in it; {help_line}")
    for name in wanted:
        if name not in found:
            raise UserError(f"{folder}: no machine type {name}; there is {', '.join(found)}")
    return list(dict.fromkeys(wanted)) or found


def find_clips(folder: Path, mode: str, split: str) -> tuple[list[Clip], list[BadClip]]:
    """Clips of a folder, and the .wav files whose names say no id or label.

    Training clips come sorted by name; test clips by id, then normal before anomalous.

    Parameters
    ----------
    folder : `<data>/<machine type>/<split>`
    mode : "dev" or "eval"
    split : "train" or "test"

    Raises
    ------
    UserError : the folder is missing or holds no .wav file.
    """
    if not folder.is_dir():
        raise UserError(
            f"{folder}: no such folder; put clips into it, or choose other machine types with -m"
        )
    expected, pattern = _NAMES[mode, split]
    clips, bad = [], []
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() != ".wav" or path.name[0] == ".":
            continue
        if match := re.fullmatch(pattern, path.name, re.IGNORECASE):
            clips.append(Clip(path, match["id"], _LABELS[match["label"].lower()]))
        else:
            bad.append(BadClip(path, f"the name is not {expected}; rename or remove the file"))
    if not clips and not bad:
        raise UserError(f"{folder}: no .wav file in it; clips are called {expected}")
    if split == "test":
        clips.sort(key=lambda clip: (clip.machine_id, clip.label or 0, clip.path.name))
    return clips, bad


def check_clip(path: Path, feature: Feature) -> str | None:
    """What is wrong with a clip as far as its header tells, with the remedy; None if nothing."""
    import soundfile

    try:
        with path.open("rb") as file:
            riff_size = int.from_bytes(file.read(8)[4:], "little")  # bytes, without these 8
            size = file.seek(0, os.SEEK_END)  # bytes
    except OSError as error:
        return f"cannot be read ({error.strerror}); make it readable or remove it"
    if size == 0:
        return "the file is empty; replace it"
    try:
        info = soundfile.info(str(path))
    except soundfile.LibsndfileError as error:
        return f"not a readable wav file ({error.error_string.rstrip('.')}); replace it"
    if info.format not in ("WAV", "WAVEX"):
        return f"a {info.format} file, not wav; convert it to wav"
    if size < riff_size + 8 and riff_size != 0xFFFFFFFF:  # all ones: written as a stream
        return f"truncated: its header promises {riff_size + 8} bytes, it has {size}; replace it"
    if info.samplerate != feature.sample_rate:
        return (
            f"sample rate {info.samplerate} Hz, feature.sample_rate is {feature.sample_rate} Hz; "
            "resample the clip"
        )
    if feature.channel is None and info.channels != 1:
        return (
            f"{info.channels} channels, one is expected; choose one with feature.channel: "
            f"0 to {info.channels - 1}"
        )
    if feature.channel is not None and feature.channel >= info.channels:
        return f"no channel {feature.channel}, it has {info.channels}; change feature.channel"
    first, end = feature.kept_frames(info.frames)
    n_frames, needed = feature.all_frames(info.frames), max(end, first + feature.frames)
    if n_frames < needed:
        return (
            f"too short: {n_frames} frames ({info.frames} samples), {needed} frames are needed; "
            "remove the clip or change feature.central_frames"
        )
    return None


# ---------------------------------------------------------------------------------------------
# Log-mel frames.


def read_samples(path: Path, start: int, stop: int, channel: int | None) -> np.ndarray:
    """Samples [start, stop) of a clip; zeros stand where the range leaves the clip.

    Returns
    -------
    (stop - start,) float32, full scale is 1.

    Raises
    ------
    ValueError : the file cannot be decoded, or a sample is not a number.
    """
    import soundfile

    samples = np.zeros(stop - start, np.float32)
    try:
        with soundfile.SoundFile(str(path)) as file:
            inside = slice(max(start, 0), min(stop, file.frames))
            file.seek(inside.start)
            count, whole = inside.stop - inside.start, file.subtype == "PCM_16"
            # The usual clips' integers: libsndfile takes five times as long to make them floats.
            block = file.read(count, "int16" if whole else "float32", always_2d=True)
    except soundfile.LibsndfileError as error:
        raise ValueError(f"cannot be decoded ({error.error_string.rstrip('.')})") from error
    if len(block) != count or not (whole or np.isfinite(block).all()):
        raise ValueError("holds samples that are not numbers (NaN or infinite), or ends early")
    scale = np.float32(2**-15 if whole else 1)
    np.multiply(block[:, channel or 0], scale, samples[inside.start - start : inside.stop - start])
    return samples


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


@dataclass(frozen=True)
class Bands:
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


def log_mel(samples: np.ndarray, feature: Feature) -> np.ndarray:
    """Log-mel frames of samples, without padding: frame t starts at sample t * hop_length.

    20 / power * log10(mel + eps), eps = 2.220446e-16; no reference level, no floor, no
    normalisation: the features of MLPerf Tiny and the DCASE 2020 Task 2 baseline. Digital
    silence is -156.5 dB.

    Parameters
    ----------
    samples : ((n_frames - 1) * hop_length + n_fft,) float32, full scale is 1

    Returns
    -------
    (n_frames, n_mels) float32, dB
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
    mel += np.float32(np.finfo(np.float64).eps)
    level = np.log10(mel, mel)
    level *= np.float32(20 / feature.power)
    return level


def clip_frames(path: Path, feature: Feature) -> np.ndarray:
    """The kept log-mel frames of a clip; only the samples they need are read.

    Frame t is centred on sample t * hop_length; beyond the clip's ends stand zeros, as in
    librosa's melspectrogram(center=True) since 0.10.

    Returns
    -------
    (n_kept_frames, n_mels) float32, dB

    Raises
    ------
    ValueError : see `read_samples`.
    """
    import soundfile

    n_samples = 0 if feature.central_frames else soundfile.info(str(path)).frames
    first, end = feature.kept_frames(n_samples)
    start = first * feature.hop_length - feature.n_fft // 2
    stop = start + (end - first - 1) * feature.hop_length + feature.n_fft
    with np.errstate(over="ignore", invalid="ignore"):
        frames = log_mel(read_samples(path, start, stop, feature.channel), feature)
    if not np.isfinite(frames).all():
        raise ValueError("holds samples that are far too large")
    return frames


# ---------------------------------------------------------------------------------------------
# Vectors: windows of consecutive frames, frame-major (element n_mels * t + m).


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


# ---------------------------------------------------------------------------------------------
# Anomaly scores.

Predict = Callable[[np.ndarray], np.ndarray]
WINDOWS_PER_CALL = 16384  # 42 MB of vectors


def anomaly_scores(predict: Predict, clips: Iterable[np.ndarray], n: int) -> np.ndarray:
    """Mean squared reconstruction error of each clip over all its windows and elements.

    Windows of many clips go through the model in one call.

    Parameters
    ----------
    predict : the model, (n_windows, n * n_mels) float32 -> the same shape
    clips : for each clip its frames, (n_frames, n_mels) float32
    n : frames per vector

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
        errors = np.square(inputs - predict(inputs)).mean(axis=1, dtype=np.float64)
        ends = np.cumsum([len(windows) for windows in batch])[:-1]
        scores.extend(part.mean() for part in np.split(errors, ends))

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


# ---------------------------------------------------------------------------------------------
# Files: they appear under their names only when whole.


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`, renamed to it on success and removed on failure."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        yield temporary
        temporary.replace(path)
    except OSError as error:
        if error.filename in (None, str(temporary), temporary):
            error.filename = str(path)  # the name that a person knows
        raise
    finally:
        temporary.unlink(missing_ok=True)


def check_writable(folder: Path) -> None:
    """Raise the OSError that writing into the folder would, before any work is spent."""
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        error.filename = str(folder)
        raise


def write_csv(path: Path, rows: Iterable[Sequence[Any]]) -> None:
    """Write rows; floats with all their digits, lines ended by a newline alone."""
    with whole_file(path) as temporary, temporary.open("w", newline="") as file:
        plain = ([x.item() if isinstance(x, np.generic) else x for x in row] for row in rows)
        csv.writer(file, lineterminator="\n").writerows(plain)


def read_csv(path: Path) -> list[list[str]]:
    """All rows of a CSV file, as text.

    Raises
    ------
    FileNotFoundError : there is none.
    UserError : it is damaged.
    """
    try:
        with path.open(newline="") as file:
            return list(csv.reader(file))
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path}: damaged ({error}); remove it") from error


def write_json(path: Path, values: Any) -> None:
    """Write plain values as indented JSON."""
    with whole_file(path) as temporary:
        temporary.write_text(json.dumps(msgspec.to_builtins(values), indent=2) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file of ours.

    Raises
    ------
    UserError : the file is missing or damaged.
    """
    try:
        return json.loads(path.read_text())
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file") from error
    except ValueError as error:
        raise UserError(f"{path}: damaged ({error}); remove it") from error


def read_keys(path: Path, *keys: str) -> list[Any]:
    """The values of some keys, dotted where they lie deeper, of a JSON file of ours.

    Raises
    ------
    UserError : the file is missing or damaged.
    """
    record = read_json(path)
    try:
        return [functools.reduce(operator.getitem, key.split("."), record) for key in keys]
    except (KeyError, TypeError, IndexError) as error:
        raise UserError(f"{path}: damaged, it lacks {' or '.join(keys)}; remove it") from error


def file_hash(path: Path) -> str:
    """SHA-256 of a file, 64 hex digits."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def score_path(folder: Path, prefix: str, machine_type: str, machine_id: str) -> Path:
    """`<prefix>anomaly_score_<type>_id_XX.csv`; prefix "" for Keras, `tflite<suffix>_` else."""
    return folder / f"{prefix}anomaly_score_{machine_type}_id_{machine_id}.csv"


# ---------------------------------------------------------------------------------------------
# Command line.


def parse_args(doc: str, argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The arguments of the numbered scripts; the mode is in `.mode`, "dev" or "eval"."""
    parser = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    mode = parser.add_mutually_exclusive_group(required=True)
    mode.add_argument(
        "-d",
        "--dev",
        dest="mode",
        action="store_const",
        const="dev",
        help="the development data: labelled test clips",
    )
    mode.add_argument(
        "-e",
        "--eval",
        dest="mode",
        action="store_const",
        const="eval",
        help="the evaluation data: test clips without labels",
    )
    parser.add_argument("-v", "--version", action="version", version=__version__)
    parser.add_argument(
        "-c",
        "--config",
        type=Path,
        default=BASELINE,
        metavar="FILE",
        help="YAML file over the values of baseline.yaml",
    )
    parser.add_argument(
        "-m",
        "--machine-type",
        action="append",
        default=[],
        metavar="TYPE",
        help="a machine type, repeatable; all that are found without it",
    )
    parser.add_argument(
        "--overwrite",
        action="store_true",
        help="train anew where a model of another configuration or of other "
        "clips is there (scores and TFLite files are always written anew)",
    )
    parser.add_argument(
        "--skip-bad-clips",
        action="store_true",
        help="go on without clips that cannot be used; they are listed in "
        "skipped.csv of the result folder",
    )
    parser.add_argument(
        "--boards",
        nargs="+",
        default=[],
        metavar="NAME",
        help="03_tflite_test.py: emulated boards, or all, or none; those whose "
        "tools are installed without it",
    )
    parser.add_argument(
        "--all-windows",
        action="store_true",
        help="03_tflite_test.py: compare C code and boards on every test clip, not on a sample",
    )
    return parser.parse_args(argv)


@contextlib.contextmanager
def quiet_stderr() -> Iterator[None]:
    """Keep what C++ libraries write to stderr (banners, advice) from the user's screen."""
    sys.stderr.flush()
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(nowhere)
        os.close(kept)


def run(main: Callable[[], int | None]) -> int:
    """Run a script's main; return its exit status.

    0 done, 1 failed (one line on stderr for what a user can mend), 130 interrupted. Wrong
    usage, 2, is argparse's own exit.
    """
    interrupted = False

    def on_interrupt(*_: Any) -> None:
        nonlocal interrupted
        interrupted = True
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # one is enough, while things are put away
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, on_interrupt)
    try:
        return main() or 0
    except BaseException as error:
        # An import or a callback of C code may turn the interrupt into an error of its own.
        if interrupted or isinstance(error, KeyboardInterrupt):
            print("\ninterrupted; what was finished is kept, run again to go on", file=sys.stderr)
            return 130
        line = _one_line(error)
        if line is None:
            raise
        print(f"error: {line}", file=sys.stderr)
        return 1


def _one_line(error: BaseException) -> str | None:
    """The line that tells a user's mistake or a full disk; None for a fault of the program."""
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, OSError):
        remedies = {
            errno.ENOSPC: "; free some space and run again",
            errno.EACCES: "; change its permissions, or name another folder in the YAML",
            errno.EPERM: "; change its permissions, or name another folder in the YAML",
            errno.EROFS: "; name another folder in the YAML",
            errno.ENOTDIR: "; a file stands where a folder is needed",
            errno.EEXIST: "; a file stands where a folder is needed",
        }
        if isinstance(error, BrokenPipeError):
            sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - for the flush at exit
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{error.strerror or error}{remedies.get(error.errno, '')}"
    return None
