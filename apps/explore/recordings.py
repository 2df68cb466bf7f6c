"""Recordings in any folders: what their paths tell of them, and their log-mel frames."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import numpy as np

import common
from asd import config, wav, workers
from asd.messages import plain
from common import Feature, UnusableClip, UserError

ENDINGS = (".wav", ".flac", ".ogg")
NORMAL, ABNORMAL = "normal", "abnormal"
_LABEL = re.compile("(?:^|[/_])(normal|abnormal|anomaly|anomalous)(?=[/_.])", re.IGNORECASE)
_ID = re.compile(r"(?:^|[/_])(id|section)_([A-Za-z0-9]+)", re.IGNORECASE)
_SNR = re.compile("(?:^|[/_])(-?[0-9]+)_?dB(?=[/_]|$)", re.IGNORECASE)
# Folders that say something else than what kind of machine it is.
_OTHERS = re.compile(
    "(dev|eval)_data|(source_|target_)?(train|test)|supplemental|source|target|normal|abnormal|"
    "anomaly|anomalous|(id|section)_[A-Za-z0-9]+|-?[0-9]+_?dB",
    re.IGNORECASE,
)
NAMED = 3  # recordings in a message


@dataclass(frozen=True)
class Recording:
    """A recording, and what its path tells; "" for what it does not tell."""

    path: Path
    name: str  # from the folder on that was named
    label: str  # NORMAL, ABNORMAL
    machine: str  # "fan/id_00"; "fan" where no id is told
    snr: str  # dB, as MIMII's folders say
    cause: str = ""

    @property
    def group(self) -> str:
        """What recordings share that are one recording, at several signal-to-noise ratios."""
        return f"{self.machine}/{self.label}/{self.path.name}" if self.snr else self.name


def find(folder: Path) -> list[Recording]:
    """The recordings in a folder and below, by name.

    Raises
    ------
    UserError : there is no such folder, or no recording in it.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder of recordings")
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in ENDINGS)
    below = [(path, path.relative_to(folder)) for path in paths]
    found = [described(path, folder) for path, name in below
             if not any(part[0] == "." for part in name.parts)]  # fmt: skip
    if not found:
        raise UserError(f"{folder}: no recording in it or below, {', '.join(ENDINGS)}")
    return found


def described(path: Path, folder: Path) -> Recording:
    """What the path of a recording tells, from the named folder's own name on.

    The last word counts, where there are several; a ratio may stand in the folders above, too.
    """
    name = path.relative_to(folder).as_posix()
    above = folder.resolve()
    text = f"{above.name}/{name}"
    labels, ids = _LABEL.findall(text), _ID.findall(text)
    snrs = _SNR.findall("/".join((*above.parts[-3:], name)))
    kinds = [part for part in text.split("/")[:-1] if not _OTHERS.fullmatch(part)]
    kind = kinds[-1] if kinds else ""
    machine = "/".join(filter(None, (kind, "_".join(ids[-1]).lower() if ids else "")))
    label = "" if not labels else NORMAL if labels[-1].lower() == NORMAL else ABNORMAL
    return Recording(path, name, label, machine, snrs[-1] if snrs else "")


def feature(rate: int | None = None, channel: int = 0) -> Feature:
    """The features of baseline.yaml, of whole clips.

    Parameters
    ----------
    rate : Hz; None: that of baseline.yaml
    channel : of clips with several
    """
    values = config.load_config().feature
    return msgspec.structs.replace(
        values, central_frames=None, channel=channel, sample_rate=rate or values.sample_rate
    )


def samples_of(path: Path, wanted: Feature) -> np.ndarray:
    """A channel of a recording, (n,) float32, full scale is 1.

    Raises
    ------
    UserError : it cannot be used; the remedy is named.
    """
    import soundfile

    try:
        wav.check(path)
        with soundfile.SoundFile(wav.source(path)) as file:
            if file.samplerate != wanted.sample_rate:
                raise UnusableClip(f"sample rate {file.samplerate} Hz, {wanted.sample_rate} Hz is "
                                   "expected; resample it, or say --rate")  # fmt: skip
            if (wanted.channel or 0) >= file.channels:
                raise UnusableClip(f"no channel {wanted.channel}, it has {file.channels}; say "
                                   "another --channel")  # fmt: skip
            if file.frames < wanted.n_fft:
                raise UnusableClip(f"{file.frames} samples; at least {wanted.n_fft} are needed")
            samples = file.read(dtype="float32", always_2d=True)[:, wanted.channel or 0]
    except soundfile.LibsndfileError as error:
        reason = error.error_string.rstrip(".")
        raise UserError(plain(f"{path}: cannot be decoded ({reason}); replace it")) from error
    except UnusableClip as error:
        raise UserError(plain(f"{path}: {error}")) from error
    if not len(samples) or not np.isfinite(samples).all():
        raise UserError(plain(f"{path}: holds samples that are not numbers, or none; replace it"))
    return np.ascontiguousarray(samples)


def frames_of(samples: np.ndarray, wanted: Feature) -> np.ndarray:
    """Log-mel frames of a whole clip, padded by zeros as `common.read_clip` does.

    Returns
    -------
    (1 + n // hop_length, n_mels) float32, dB
    """
    n_frames = wanted.all_frames(len(samples))
    padded = np.zeros((n_frames - 1) * wanted.hop_length + wanted.n_fft, np.float32)
    before = wanted.n_fft // 2
    some = samples[: len(padded) - before]
    padded[before : before + len(some)] = some
    return common.log_mel(padded, wanted)


def each(recordings: Sequence[Recording], wanted: Feature, function, title: str) -> list:
    """What a function makes of the log-mel frames of each recording, in order."""
    from threadpoolctl import threadpool_limits

    def one(recording: Recording):
        return function(frames_of(samples_of(recording.path, wanted), wanted))

    with threadpool_limits(1):  # a thread per recording is enough
        return list(workers.in_order(one, recordings, title))


def with_causes(recordings: Sequence[Recording], causes: dict[Path, str]) -> list[Recording]:
    """The same, with the causes that are told; normal ones have the cause `NORMAL`.

    Parameters
    ----------
    causes : by resolved path
    """
    return [
        replace(one, cause=causes.get(one.path.resolve(), NORMAL if one.label == NORMAL else ""))
        for one in recordings
    ]
