"""PyTorch's checkpoints read without PyTorch, and without trust; without TensorFlow.

A checkpoint is a pickle of dictionaries, lists, plain values and tensors, whose numbers stand
beside it: as members of a zip archive, or, before PyTorch 1.6, behind it in one stream. The pickle
is not loaded but read, by `asd.networks.torch_pickle`.
"""

from __future__ import annotations

import io
import math
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from asd.networks.torch_pickle import (
    BFLOAT16,
    MOST_BYTES,
    MOST_PICKLE_BYTES,
    STORAGES,
    Refused,
    Storage,
    Tensor,
    expect,
    unpickled,
)
from common import UserError

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C  # what a stream of before 1.6 begins with
LEGACY_PROTOCOL = 1001
REMEDY = ("save it anew in PyTorch: torch.save({'cfg': checkpoint['cfg'], 'model': "
          "checkpoint['model']}, FILE)")  # fmt: skip


class Checkpoint(NamedTuple):
    """What a file holds.

    Attributes
    ----------
    values : nested dictionaries, lists, tuples, plain values and `Tensor`
    read : function of a storage's key and its bytes: its content
    """

    values: Any
    read: Callable[[str, int], bytes]

    def array(self, tensor: Tensor) -> np.ndarray:
        """The numbers of a tensor, of its own type; bfloat16 as float32.

        Raises
        ------
        Refused : its sizes are not those of its numbers.
        """
        kind, key, count = tensor.storage
        dtype, shape = np.dtype(STORAGES[kind]), tensor.shape
        reach = tensor.offset + sum((n - 1) * step for n, step in zip(shape, tensor.strides,
                                                                      strict=True)) + 1  # fmt: skip
        size = math.prod(shape)
        if size and (reach > count or size > count):
            raise Refused(f"a tensor of the shape {shape} that is larger than its {count} numbers")
        flat = np.frombuffer(self.read(key, count * dtype.itemsize), dtype)
        if kind == BFLOAT16:
            flat = (flat.astype("<u4") << 16).view("<f4")
        if not size:
            return np.empty(shape, flat.dtype)
        steps = [step * flat.itemsize for step in tensor.strides]
        view = np.lib.stride_tricks.as_strided(flat[tensor.offset :], shape, steps)
        return np.ascontiguousarray(view)


def opened(path: Path, use: Callable[[Checkpoint], Any]) -> Any:
    """What a function makes of a checkpoint, while its file is open.

    Raises
    ------
    UserError : it is damaged, or holds what is refused.
    OSError : it cannot be read.
    """
    try:
        with path.open("rb") as file:
            if path.stat().st_size > MOST_BYTES:
                raise Refused(f"it has more than {MOST_BYTES:,} bytes")
            if zipfile.is_zipfile(file):
                with zipfile.ZipFile(file) as archive:
                    return use(_of_zip(archive))
            file.seek(0)
            return use(_of_stream(file))
    except Refused as error:
        raise UserError(f"{path}: {error}; {REMEDY}") from error
    # What damage leads the readers to; none of it comes from what the file names.
    except (ValueError, IndexError, KeyError, TypeError, AttributeError, EOFError, MemoryError,
            OverflowError, RecursionError, NotImplementedError, RuntimeError, struct.error,
            zipfile.BadZipFile, zlib.error) as error:  # fmt: skip
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise UserError(f"{path}: not a readable PyTorch checkpoint ({reason}); download it anew, "
                        f"or {REMEDY}") from error  # fmt: skip


def _of_zip(archive: zipfile.ZipFile) -> Checkpoint:
    names = set(archive.namelist())
    (found, *more) = [name for name in names if name.split("/")[1:] == ["data.pkl"]] or [None]
    if found is None or more:
        raise ValueError("no data.pkl in it, or several")
    folder = found.removesuffix("data.pkl")
    order = f"{folder}byteorder"
    if order in names and _member(archive, order, 16) != b"little":
        raise Refused("its numbers have the most significant byte first")

    def read(key: str, size: int) -> bytes:
        name = f"{folder}data/{key}"
        there = archive.getinfo(name)
        if there.file_size != size:
            raise Refused(f"{name[:80]} has {there.file_size:,} bytes, and {size:,} are said of it")
        if there.compress_type != zipfile.ZIP_STORED:  # a few bytes may be many then
            raise Refused(f"{name[:80]} is compressed, which PyTorch never does")
        return _member(archive, name, size)

    content = _member(archive, found, MOST_PICKLE_BYTES)
    return Checkpoint(unpickled(io.BytesIO(content)), read)


def _member(archive: zipfile.ZipFile, name: str, limit: int) -> bytes:
    with archive.open(name) as member:
        content = member.read(limit + 1)
    if len(content) > limit:
        raise Refused(f"{name[:80]} has more than {limit:,} bytes")
    return content


def _of_stream(file: BinaryIO) -> Checkpoint:
    """Of before 1.6: magic number, version, byte order, values, storages' names, storages."""
    if file.read(2) != b"\x80\x02":  # how the pickle of its magic number begins
        raise ValueError("neither a zip archive nor a pickle")
    file.seek(0)
    if unpickled(file) != LEGACY_MAGIC or unpickled(file) != LEGACY_PROTOCOL:
        raise ValueError("another kind of pickle")
    system = unpickled(file)
    if not (isinstance(system, dict) and system.get("little_endian") is True):
        raise Refused("its numbers have the most significant byte first")
    kinds: dict[str, Storage] = {}
    values, keys = unpickled(file, kinds), unpickled(file)
    places: dict[str, tuple[int, int]] = {}  # of a storage's numbers, and its bytes
    for key in expect(keys, list):
        (count,) = struct.unpack("<q", file.read(8))
        if count != kinds[expect(key, str)].count:
            raise Refused(f"storage {key[:80]} has {count:,} numbers, and others are said of it")
        size = count * np.dtype(STORAGES[kinds[key].kind]).itemsize
        places[key] = file.tell(), size
        file.seek(size, io.SEEK_CUR)

    def read(key: str, size: int) -> bytes:
        start, there = places[key]
        file.seek(start)
        content = file.read(size) if size == there else b""
        if len(content) != size:
            raise ValueError(f"ends before the {size:,} bytes of storage {key[:80]}")
        return content

    return Checkpoint(values, read)
