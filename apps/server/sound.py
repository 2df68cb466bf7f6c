"""Uploads as samples: wav, flac and ogg of any rate and channels, from memory.

A recording that is mono, or has the channel that the model wants, at the model's sample rate is
taken as it is; what else is done to one is said in words.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from apps.server.limits import Limits, Refused
from asd import wav
from common import Feature, Level, UnusableClip, read_clip

READ_FRAMES = 1 << 16  # of a recording, at a time
MOST_CHANNELS, RATES_HZ = 64, (1_000, 768_000)
QUALITY = "HQ"  # of soxr: 20 bits
SILENT = 0.99  # of a recording's whole stretches of hop_length that are digitally still
WAV = (b"RIFF", b"RIFX", b"RF64")
OTHERS = (b"fLaC", b"OggS")


class Samples(wav.Pcm16):
    """Decoded samples as `common.read_clip` reads them, (n, 1) float32."""

    subtype = "FLOAT"


@dataclass(frozen=True)
class Sound:
    """A recording."""

    samples: np.ndarray  # float32, those that the kept frames need
    level: Level
    seconds: float
    rate_hz: int
    channels: int
    changed: tuple[str, ...]  # what was done to it


def read(content: memoryview, feature: Feature, limits: Limits) -> Sound:
    """Decode a recording.

    Raises
    ------
    Refused : 415, of another kind; 400, it is damaged; 413, too long; 422, it cannot be judged.
    """
    where, content = _whole(content)
    rate_hz, channels = (_rate(where), 0) if where else (0, 0)
    plain = wav.plain(content, where) if where and rate_hz == feature.sample_rate else None
    changed: list[str] = []
    try:
        if plain is not None:
            source, channels = plain, plain.channels
            _check_size(plain.frames, rate_hz, channels, limits)
            _channel(channels, feature, changed)
            seconds = plain.frames / rate_hz
        else:
            source, seconds, rate_hz, channels = _decoded(content, feature, limits, changed)
    except UnusableClip as error:
        raise Refused(400, f"damaged, it {error}; record or export it again") from error
    return _judged(source, feature, seconds, rate_hz, channels, changed)


def read_samples(samples: np.ndarray, feature: Feature, rate_hz: int) -> Sound:
    """Samples at the model's rate, (n,) float32, full scale 1, as a recording.

    Raises
    ------
    Refused : 422, they cannot be judged.
    """
    source = Samples(samples[:, None])
    return _judged(source, feature, len(samples) / rate_hz, rate_hz, 1, [])


def _judged(
    source: wav.Pcm16, feature: Feature, seconds: float, rate_hz: int, channels: int,
    changed: list[str],
) -> Sound:  # fmt: skip
    """What of it is judged."""
    _check_length(source.frames, feature)
    if source.channels == 1:  # of decoded samples there is one only
        feature = msgspec.structs.replace(feature, channel=None)
    try:
        samples, level = read_clip(source, feature)
    except UnusableClip as error:
        remedy = "" if ";" in str(error) else "; record or export it again"
        raise Refused(422, f"the recording {error}{remedy}") from error
    whole = 1 - feature.hop_length / source.frames  # a last part of a stretch is not looked at
    if level.still > SILENT * whole:
        raise Refused(422, "the recording is digital silence; check the microphone and its cable")
    return Sound(samples, level, seconds, rate_hz, channels, tuple(changed))


def _whole(content: memoryview) -> tuple[wav.Layout | None, memoryview | bytes]:
    """Where the samples of a wav file are; None of flac and ogg."""
    if content[:4] in OTHERS:
        return None, content
    if content[:4] not in WAV or content[8:12] != b"WAVE":
        raise Refused(415, "no wav, flac or ogg file; convert the recording to one of them")
    try:
        where = wav.layout(io.BytesIO(content[: wav.HEADER_BYTES]), len(content))
        if where is None:  # other chunks stand before the samples
            where = wav.layout(io.BytesIO(content))
    except (ValueError, struct.error, OverflowError):
        where = None
    if where is not None and where.truncated:
        raise Refused(400, f"truncated: its header promises {where.promised} bytes of samples, "
                      f"{where.held} are there; send it again")  # fmt: skip
    if where is None or not where.held:
        raise Refused(400, "a wav file without samples; record or export it again")
    return where, wav.mended(bytes(content), where) if where.misleading else content


def _rate(where: wav.Layout) -> int:
    """Hz, of a usual wav file; 0 where only libsndfile tells."""
    if where.misleading or where.order != "<" or len(where.header) < 24:
        return 0
    return struct.unpack("<I", where.header[12:16])[0]


def _check_size(frames: int, rate_hz: int, channels: int, limits: Limits) -> None:
    if not RATES_HZ[0] <= rate_hz <= RATES_HZ[1]:
        raise Refused(422, f"{rate_hz} samples a second; {RATES_HZ[0]} to {RATES_HZ[1]} are known")
    if not 1 <= channels <= MOST_CHANNELS:
        raise Refused(422, f"{channels} channels; at most {MOST_CHANNELS} are known")
    if frames > limits.seconds * rate_hz:
        raise Refused(413, f"longer than {limits.seconds:g} s; send a part of it")


def _channel(channels: int, feature: Feature, changed: list[str]) -> int:
    """Which channel is judged."""
    wanted = feature.channel or 0
    if channels == 1:
        return 0
    if wanted >= channels:
        raise Refused(422, f"{channels} channels, and the model hears channel {wanted} (from 0); "
                      "record with that microphone")  # fmt: skip
    changed.append(f"channel {wanted} (from 0) of {channels} was taken")
    return wanted


def _check_length(frames: int, feature: Feature) -> None:
    """As `asd.corpora.survey` does of clips."""
    first, end = feature.kept_frames(frames)
    needed = max(end, first + feature.frames)
    if feature.all_frames(frames) < needed:
        least = ((needed - 1) * feature.hop_length + feature.n_fft % 2) / feature.sample_rate
        raise Refused(422, f"too short: {frames / feature.sample_rate:.3g} s, at least "
                      f"{least:.3g} s are needed; record longer")  # fmt: skip


def _decoded(
    content: memoryview | bytes, feature: Feature, limits: Limits, changed: list[str]
) -> tuple[Samples, float, int, int]:
    """By libsndfile, a block at a time, one channel, at the model's rate."""
    import soundfile

    try:
        with soundfile.SoundFile(io.BytesIO(content)) as file:
            rate_hz, channels, frames = file.samplerate, file.channels, file.frames
            _check_size(frames, rate_hz, channels, limits)
            one = _channel(channels, feature, changed)
            blocks = _blocks(file, one)
            if rate_hz != feature.sample_rate:
                changed.append(f"resampled from {rate_hz} to {feature.sample_rate} Hz")
                blocks = _resampled(blocks, rate_hz, feature.sample_rate)
            samples = np.concatenate([np.empty(0, np.float32), *blocks])
    except soundfile.LibsndfileError as error:
        raise Refused(400, "damaged, it cannot be decoded; record or export it again") from error
    return Samples(samples[:, None]), frames / rate_hz, rate_hz, channels


def _blocks(file: Any, channel: int) -> Iterator[np.ndarray]:
    """One channel, float32, to the length that the file promises."""
    left = file.frames
    while left > 0:
        block = file.read(min(READ_FRAMES, left), "float32", always_2d=True)[:, channel]
        if not len(block):
            raise UnusableClip("ends early")
        left -= len(block)
        yield np.ascontiguousarray(block)


def _resampled(blocks: Iterator[np.ndarray], rate_hz: int, wanted_hz: int) -> Iterator[np.ndarray]:
    import soxr

    stream = soxr.ResampleStream(rate_hz, wanted_hz, 1, dtype="float32", quality=QUALITY)
    for block in blocks:
        yield stream.resample_chunk(block)
    yield stream.resample_chunk(np.empty(0, np.float32), last=True)
