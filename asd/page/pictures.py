"""Pictures of clips, their log-mel frames and reconstruction error; and their sound."""

from __future__ import annotations

import base64
import io
import struct
import zlib
from collections.abc import Sequence
from typing import NamedTuple

import msgspec
import numpy as np

import common
from asd.clips import Clip
from asd.evaluation import canvas
from common import Feature

MOST_COLUMNS = 420  # of a picture; frames beyond are averaged: it is shown about so wide
LEVEL_COLOURS, ERROR_COLOURS = "magma", "viridis"  # of matplotlib; readable in grey as well
LEVEL_SHARES = (0.02, 0.998)  # quantiles that the ends of colours show
ERROR_SHARES = (None, 0.995)  # from 0
MOST_SECONDS = 60  # of a clip that can be listened to
MOST_CLIP_BYTES = 700_000  # of its sound as FLAC: some 20 s of noise
MOST_BYTES = 3_600_000  # of all sound: 4.8 MB in the page


class Maps(NamedTuple):
    """What there is to draw of a clip, each (n_frames, n_mels) float32."""

    level: np.ndarray  # dB, of the whole clip
    heard: tuple[int, int]  # frames that are scored
    error: np.ndarray | None  # dB^2, of these


class Colours(NamedTuple):
    """From values to colours."""

    low: float
    high: float
    palette: bytes  # 256 times red, green, blue

    def png(self, values: np.ndarray) -> bytes:
        """A picture of (n_frames, n_mels), time to the right, low bands below."""
        scaled = (_narrowed(values) - self.low) / (self.high - self.low) * 255
        pixels = np.clip(np.rint(scaled), 0, 255).astype(np.uint8).T[::-1]
        rows = np.zeros((len(pixels), pixels.shape[1] + 1), np.uint8)  # 0 before a row: no filter
        rows[:, 1:] = pixels
        size = struct.pack(">IIBBBBB", pixels.shape[1], len(pixels), 8, 3, 0, 0, 0)  # 3: a palette
        parts = (b"IHDR", size), (b"PLTE", self.palette), (b"IDAT", zlib.compress(rows, 9))
        return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(*one) for one in (*parts, (b"IEND", b"")))


def _chunk(kind: bytes, content: bytes) -> bytes:
    """A part of a PNG file (ISO/IEC 15948)."""
    checksum = struct.pack(">I", zlib.crc32(kind + content))
    return struct.pack(">I", len(content)) + kind + content + checksum


def _narrowed(values: np.ndarray) -> np.ndarray:
    """Means of neighbouring frames, where there are more than `MOST_COLUMNS`."""
    if len(values) <= MOST_COLUMNS:
        return values
    starts = np.linspace(0, len(values), MOST_COLUMNS, endpoint=False).astype(int)
    return np.add.reduceat(values, starts) / np.diff([*starts, len(values)])[:, None]


def colours(parts: Sequence[np.ndarray], shares: tuple[float | None, float], name: str) -> Colours:
    """The same colours for all clips of a machine type, so that pictures can be compared.

    Parameters
    ----------
    shares : of the values that are below the darkest and the brightest colour; None: that is of 0
    """
    values = np.concatenate([part.ravel() for part in parts])
    low, high = (0.0 if share is None else float(np.quantile(values, share)) for share in shares)
    if not high > low:
        high = low + 1
    return Colours(low, high, canvas.palette(name).tobytes())


def samples_of(clip: Clip, feature: Feature) -> np.ndarray:
    """All samples of a clip, with `n_fft // 2` zeros, or some more, on either side.

    Raises
    ------
    UnusableClip : see `common.read_clip`.
    """
    whole = msgspec.structs.replace(feature, central_frames=None)
    return common.read_clip(clip.path, whole)[0]


def sound(samples: np.ndarray, feature: Feature) -> bytes:
    """A clip's samples, see `samples_of`, as FLAC of 16 bits; nothing of one that is too long."""
    inside = samples[feature.n_fft // 2 :][: len(samples) - 2 * (feature.n_fft // 2)]
    if len(inside) > MOST_SECONDS * feature.sample_rate:
        return b""
    import soundfile

    memory = io.BytesIO()
    soundfile.write(memory, np.clip(inside, -1, 1), feature.sample_rate, "PCM_16", format="FLAC")
    content = memory.getvalue()
    return content if len(content) <= MOST_CLIP_BYTES else b""


def text(content: bytes) -> str:
    """Bytes as a page holds them."""
    return base64.b64encode(content).decode("ascii")
