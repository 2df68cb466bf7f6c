"""Wav files as recorders, editors and pipes write them: where their samples are, how many, whole?

libsndfile decodes them. It is shown another header where a wrong one would mislead it: a data
size of 0 with samples behind it, as an interrupted recorder leaves it, a chunk of odd length
without its pad byte, and RF64 of unknown length. The chunks are those of Microsoft's RIFF; RIFX
has its numbers the other way round, RF64 (EBU Tech 3306) the data size in a chunk of its own.
"""

from __future__ import annotations

import io
import os
import stat
import struct
import threading
import zlib
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from common import UnusableClip

READ_BYTES = 1 << 20  # block of a file whose checksum is taken
HEADER_BYTES = 1 << 12  # what is searched for the samples of a usual clip
IN_MEMORY_BYTES = 1 << 23  # a longer file is read by libsndfile itself
# Sizes from here on, 2 GB less 64 kB, mean that the end was not known: SoX writes 0x7ffff000 into
# a pipe, others 0x80000000, ffmpeg all ones.
STREAM_BYTES = 0x7FFF0000
UNKNOWN_64 = (1 << 64) - 1  # the same of RF64


class Layout(NamedTuple):
    """Where the samples of a wav file are."""

    order: str  # of bytes: "<" or ">"
    start: int  # byte of the first sample
    promised: int  # bytes of samples, by the header; -1: it tells none
    held: int  # bytes of samples that are there
    header: bytes  # the chunks that describe them
    misleading: bool  # libsndfile would not find all of them

    @property
    def truncated(self) -> bool:
        """Whether the header promises samples that are not there."""
        return self.promised > self.held


def layout(file: BinaryIO, size: int | None = None) -> Layout | None:
    """Where the samples of a wav file are; None where it is none, or has none.

    Parameters
    ----------
    file : open at any place
    size : bytes of the file, where only its beginning is given
    """
    size = size or file.seek(0, os.SEEK_END)
    file.seek(0)
    head = file.read(12)
    order = {b"RIFF": "<", b"RF64": "<", b"RIFX": ">"}.get(head[:4])
    if order is None or head[8:] != b"WAVE":
        return None
    at, header, unpadded, long_size = 12, b"", False, None
    while True:
        file.seek(at)
        chunk = file.read(8)
        if len(chunk) < 8:
            return None
        name, length = chunk[:4], struct.unpack(order + "I", chunk[4:])[0]
        at += 8
        if name == b"data":
            break
        if name == b"ds64":
            long_size = _long_size(file.read(24))
        elif name in (b"fmt ", b"fact"):
            header += chunk + file.read(length + length % 2)
        pad = _pad(file, at + length) if length % 2 else 0
        unpadded |= length % 2 != pad
        at += length + pad
    promised = _promised(length, long_size)
    held = size - at
    forgotten = promised == 0 and held > 0 and not _are_chunks(file, at, size, order)
    streamed = promised < 0 or forgotten
    misleading = unpadded or forgotten or (streamed and head[:4] == b"RF64")
    held = held if streamed else min(promised, held)
    return Layout(order, at, -1 if streamed else promised, held, header, misleading)


def _long_size(content: bytes) -> int | None:
    """The data size in the chunk ds64 of RF64."""
    return struct.unpack("<QQ", content[:16])[1] if len(content) >= 16 else None


def _promised(length: int, long_size: int | None) -> int:
    """Bytes of samples that a header promises; -1 where it marks a stream."""
    if long_size is not None and length == 0xFFFFFFFF:
        return -1 if long_size in (0, UNKNOWN_64) else long_size
    return -1 if length >= STREAM_BYTES else length


def _pad(file: BinaryIO, at: int) -> int:
    """1 where a pad byte stands behind a chunk, 0 where the next one begins at once."""
    file.seek(at)
    return int(file.read(1) in (b"\0", b""))  # no chunk's name begins with a zero


def _are_chunks(file: BinaryIO, at: int, size: int, order: str) -> bool:
    """Whether what follows is other chunks up to the file's end, and no samples."""
    while at < size:
        file.seek(at)
        chunk = file.read(8)
        if len(chunk) < 8 or not (chunk[:4].isascii() and chunk[:4].decode("ascii").isprintable()):
            return False
        length = struct.unpack(order + "I", chunk[4:])[0]
        at += 8 + length + length % 2
    return at in (size, size + 1)


def source(path: Path) -> bytes | BinaryIO:
    """What libsndfile reads: a file's name, or a copy in memory where its header is misleading."""
    with path.open("rb") as file:
        where = layout(file)
        if where is None or not where.misleading:
            return os.fsencode(path)
        if where.held > STREAM_BYTES:  # more than the header that it needs can tell
            raise UnusableClip("a stream of 2 GB or more without its length; write it anew")
        file.seek(0)
        return io.BytesIO(mended(file.read(), where))


class Pcm16:
    """The usual clips, as `soundfile.SoundFile` reads others: 16 bits need no decoding."""

    subtype = "PCM_16"

    def __init__(self, samples: np.ndarray) -> None:
        self._samples, self._at = samples, 0  # (n, n_channels) int16
        self.frames, self.channels = samples.shape

    def read(self, n: int, *_: Any, **__: Any) -> np.ndarray:
        """The next n samples, or those that are left."""
        self._at += n
        return self._samples[self._at - n : self._at]

    def __enter__(self) -> Pcm16:
        return self

    def __exit__(self, *_: Any) -> None:
        pass


def opened(path: Path) -> tuple[bytes | BinaryIO | Pcm16, str]:
    """What `common.read_clip` reads, and what stands for the file's bytes: number and CRC-32.

    The first is good until the next call in this thread, which uses its memory again.
    """
    with path.open("rb", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        if size <= IN_MEMORY_BYTES:
            content = _read(file, size)
            identity = f"{len(content)}-{zlib.crc32(content):08x}"
            where = layout(io.BytesIO(bytes(content[:HEADER_BYTES])), len(content))
            return plain(content, where) or source(path), identity
        size = checksum = 0
        while block := file.read(READ_BYTES):
            size, checksum = size + len(block), zlib.crc32(block, checksum)
    return source(path), f"{size}-{checksum:08x}"


def plain(content: bytes | memoryview, where: Layout | None) -> Pcm16 | None:
    """The samples of a whole file that need no decoding; None where they do."""
    form = plain_form(where) if where and not where.misleading else None
    if form is None:
        return None
    held = memoryview(content)[where.start : where.start + where.held]
    whole = len(held) // (2 * form.channels) * 2 * form.channels
    return Pcm16(np.frombuffer(held[:whole], "<i2").reshape(-1, form.channels))


_of_thread = threading.local()


def _read(file: BinaryIO, size: int) -> memoryview:
    """A whole file, in memory of this thread."""
    memory, done = _memory(size), 0
    while more := file.readinto(memory[done:]):  # over a network it may come in parts
        done += more
    if done != size:
        raise UnusableClip("changed while it was read; run again")
    return memory


def _memory(size: int) -> memoryview:
    """A thread's memory for a file, kept: new pages cost more than reading into them."""
    kept = getattr(_of_thread, "memory", None)
    if kept is None or len(kept) < size:
        kept = _of_thread.memory = bytearray(max(size, READ_BYTES))
    return memoryview(kept)[:size]


class Form(NamedTuple):
    """Of a recording of 16 bit integers, little endian."""

    sample_rate: int  # Hz
    channels: int


def plain_form(where: Layout) -> Form | None:
    """The form of a recording whose samples need no decoding; None of others."""
    if where.order != "<" or where.header[:4] != b"fmt " or len(where.header) < 24:
        return None
    kind, channels, rate, _, align, bits = struct.unpack("<HHIIHH", where.header[8:24])
    return (
        Form(rate, channels) if channels and (kind, bits, align) == (1, 16, 2 * channels) else None
    )


def mended(content: bytes, where: Layout) -> bytes:
    """The same recording with a header that says where its samples are."""
    samples = content[where.start : where.start + where.held]
    size = struct.pack(where.order + "I", len(samples))
    body = b"WAVE" + where.header + b"data" + size + samples
    name = b"RIFX" if where.order == ">" else b"RIFF"
    return name + struct.pack(where.order + "I", len(body)) + body


def check(path: Path) -> None:
    """See that a recording is a file, and whole.

    Raises
    ------
    UnusableClip : with the remedy.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # a pipe would be waited for
            raise UnusableClip("not a file; remove it")
        with path.open("rb") as file:
            if not file.read(1):
                raise UnusableClip("the file is empty; replace it")
            where = layout(file)
    except OSError as error:
        reason = error.strerror
        raise UnusableClip(f"cannot be read ({reason}); make it readable or remove it") from error
    if where and where.truncated:
        raise UnusableClip(
            f"truncated: its header promises {where.promised} bytes of samples, {where.held} are "
            "there; replace it"
        )
    if where and not where.held:
        raise UnusableClip("its data chunk is empty, no sample is in the file; replace it")
