"""A Keras file read without Keras, and without trust: its configuration and its arrays.

Whatever a file holds, reading it takes bounded memory, follows no link to another file, and ends
in one line where it is not what Keras writes. Nothing in it is run.
"""

from __future__ import annotations

import contextlib
import io
import json
import math
import resource
import sys
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from common import UserError

if TYPE_CHECKING:
    import h5py

# Of a model a thousand times as large as MLPerf Tiny's, which has 1 MB of arrays.
MOST_BYTES = 1 << 28  # of all arrays, unpacked
READING = 3  # times as much while a file is read: an archive's member, and arrays
MOST_CONFIG_BYTES = 1 << 22
MOST_OBJECTS = 10_000  # groups and arrays
MOST_DIMENSIONS = 6
MOST_NAMES = 1000  # arrays of a layer
MOST_BUILT_BYTES = 1 << 30  # of a model that Keras builds from a configuration

MODELS = {"Functional", "Sequential", "Model"}
# Keys of a layer's configuration by which its arrays grow.
WIDTHS = ("units", "filters", "output_dim", "input_dim", "num_heads", "key_dim", "kernel_size",
          "depth_multiplier", "pool_size")  # fmt: skip
SHAPES = ("batch_shape", "batch_input_shape", "target_shape")
GATES = 4  # arrays of an LSTM are so many times as large


class Unreadable(UserError):
    """Not what Keras writes; the message says in what."""


@dataclass
class KerasFile:
    """What a model file holds.

    Attributes
    ----------
    config : the model's configuration, `class_name` and `config`
    arrays : by their path in the HDF5 file, of float16, float32, float64 or integers
    names : of an .h5 file, by the path of a group the arrays that it lists
    """

    config: dict[str, Any] = field(default_factory=dict)
    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    names: dict[str, list[str]] = field(default_factory=dict)

    @property
    def legacy(self) -> bool:
        """Whether it is an .h5 file, as Keras wrote them before its own format."""
        return "model_weights" in self.names


def read(path: Path, remedy: str = "train it anew", most: int = MOST_BYTES) -> KerasFile:
    """Read a .keras, .h5 or .hdf5 file.

    Parameters
    ----------
    remedy : what is to be done about one that cannot be read
    most : bytes of all arrays

    Raises
    ------
    UserError : it is damaged, no Keras file, or asks for more than a model can need.
    OSError : it cannot be opened.
    """
    path = Path(path)
    with path.open("rb") as file, _bounded_memory(READING * most):
        try:
            return _of_zip(file, most) if zipfile.is_zipfile(file) else _of_hdf5(file, most)
        except Unreadable as error:
            reason = str(error)
        # What the readers raise at damage: OSError, KeyError and RuntimeError HDF5's, the rest
        # zipfile's and json's. None of it comes from code of ours.
        except (OSError, KeyError, RuntimeError, ValueError, TypeError, NotImplementedError,
                EOFError, RecursionError, MemoryError, OverflowError, zipfile.BadZipFile,
                zlib.error) as error:  # fmt: skip
            reason = " ".join(str(error).split())[:120] or type(error).__name__
    raise UserError(f"{path}: not a readable Keras model ({reason}); {remedy}")


@contextlib.contextmanager
def _bounded_memory(most: int) -> Iterator[None]:
    """Let allocations fail beyond a bound: HDF5 trusts the sizes in a damaged file."""
    if sys.platform != "linux":  # elsewhere the limit is none
        yield
        return
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    limits = [limit for limit in (soft, hard) if limit != resource.RLIM_INFINITY]
    resource.setrlimit(resource.RLIMIT_AS, (min([used + most, *limits]), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _of_zip(file: io.BufferedReader, most: int) -> KerasFile:
    with zipfile.ZipFile(file) as archive:
        config = _member(archive, "config.json", MOST_CONFIG_BYTES)
        weights = _member(archive, "model.weights.h5", most)
    result = _of_hdf5(io.BytesIO(weights), most, legacy=False)
    result.config = _json(config)
    return result


def _member(archive: zipfile.ZipFile, name: str, limit: int) -> bytes:
    if name not in archive.namelist():
        raise Unreadable(f"no {name} in it")
    with archive.open(name) as member:
        content = member.read(limit + 1)
    if len(content) > limit:
        raise Unreadable(f"{name} has more than {limit:,} bytes")
    return content


def _json(content: bytes | str) -> dict[str, Any]:
    config = json.loads(content, parse_constant=_no_number)
    inner = config.get("config") if isinstance(config, dict) else None
    layers = inner.get("layers") if isinstance(inner, dict) else None
    if not isinstance(layers, list) or not layers:
        raise Unreadable("its configuration lists no layers")
    return config


def _no_number(name: str) -> None:
    raise Unreadable(f"its configuration holds {name}")


def _of_hdf5(file: io.BufferedReader | io.BytesIO, most: int, legacy: bool = True) -> KerasFile:
    import h5py

    file.seek(0)
    result = KerasFile()
    with h5py.File(file, "r") as root:
        if legacy:
            result.config = _json(_text(root, "model_config", MOST_CONFIG_BYTES))
        budget = most
        for name, item in _walk(root):
            if isinstance(item, h5py.Dataset):
                budget -= _checked(name, item)
                if budget < 0:
                    raise Unreadable(f"its arrays have more than {most:,} bytes")
                result.arrays[name] = item[()]
            elif "weight_names" in item.attrs:
                result.names[name] = _names(item)
            elif name == "model_weights":
                result.names[name] = []
    return result


def layers(config: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Every layer of a model's configuration, those of nested models among them.

    Raises
    ------
    UserError : it is none of Keras'.
    """
    inner = config.get("config")
    listed = inner.get("layers") if isinstance(inner, dict) else None
    if not isinstance(listed, list):
        raise Unreadable("its configuration lists no layers")
    for one in listed:
        if not (isinstance(one, dict) and isinstance(one.get("config"), dict)):
            raise Unreadable("its configuration lists what is no layer")
        if one.get("class_name") in MODELS:
            yield from layers(one)
        else:
            yield one


def check_size(config: dict[str, Any]) -> None:
    """See that a model is small enough to be built, by its configuration alone.

    Raises
    ------
    UserError : its arrays may have more bytes than a limit.
    """
    try:
        of_layers = [one["config"] for one in layers(config)]
        shapes = [_product([one.get(key)]) for one in of_layers for key in SHAPES]
        widths = [_product([one.get(key) for key in WIDTHS]) for one in of_layers]
    except RecursionError as error:
        raise Unreadable("its configuration is nested too deeply") from error
    built = GATES * max(shapes + widths) * sum(widths) * np.dtype(np.float32).itemsize
    if built > MOST_BUILT_BYTES:
        raise Unreadable(f"its arrays may need more than {MOST_BUILT_BYTES:,} bytes")


def _product(values: Any) -> int:
    """The product of the numbers in values of a configuration, nested or not; at most a limit."""
    product = 1
    for value in values.values() if isinstance(values, dict) else values:
        if isinstance(value, (list, tuple, dict)):
            product *= _product(value)
        elif isinstance(value, (int, float)) and abs(value) > 1:
            product *= int(min(abs(value), MOST_BUILT_BYTES))
        product = min(product, MOST_BUILT_BYTES)
    return product


def _walk(root: h5py.File) -> Iterator[tuple[str, Any]]:
    """Every group and array of the file itself, with its path; links elsewhere are refused."""
    import h5py

    waiting, seen = [("", root)], set()
    while waiting:
        path, group = waiting.pop()
        for name in group:
            where = f"{path}/{name}".lstrip("/")
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                raise Unreadable(f"{where[:80]} is a link, not an array")
            item = group[name]
            address = h5py.h5o.get_info(item.id).addr
            if address in seen or len(seen) > MOST_OBJECTS:
                raise Unreadable(f"{where[:80]} is there twice, or one object too many")
            seen.add(address)
            if isinstance(item, h5py.Group):
                waiting.append((where, item))
            elif not isinstance(item, h5py.Dataset):
                raise Unreadable(f"{where[:80]} is neither a group nor an array")
            yield where, item


def _checked(name: str, array: h5py.Dataset) -> int:
    """The bytes of an array, seen to be one of the file itself and of plain numbers."""
    import h5py

    plan = array.id.get_create_plist()
    if plan.get_layout() not in (h5py.h5d.CONTIGUOUS, h5py.h5d.CHUNKED):
        raise Unreadable(f"{name[:80]} is stored neither in one piece nor in chunks")
    if plan.get_external_count():
        raise Unreadable(f"{name[:80]} is stored in another file")
    if array.dtype.kind not in "fiu" or array.shape is None:
        raise Unreadable(f"{name[:80]} is of the type {str(array.dtype)[:40]}")
    if len(array.shape) > MOST_DIMENSIONS:
        raise Unreadable(f"{name[:80]} has {len(array.shape)} dimensions")
    of_a_chunk = math.prod(array.chunks or ()) * array.dtype.itemsize
    if of_a_chunk > MOST_BYTES:
        raise Unreadable(f"{name[:80]} is stored in chunks of {of_a_chunk:,} bytes")
    return array.nbytes


def _text(group: h5py.Group, name: str, limit: int) -> str:
    """A text among the attributes of a group."""
    if name not in group.attrs:
        raise Unreadable(f"no {name} in it")
    kind = group.attrs.get_id(name)
    if kind.shape != () or kind.get_storage_size() > limit:
        raise Unreadable(f"its {name} is no text")
    value = group.attrs[name]
    value = value.decode() if isinstance(value, bytes) else value
    if not isinstance(value, str) or len(value) > limit:
        raise Unreadable(f"its {name} is no text")
    return value


def _names(group: h5py.Group) -> list[str]:
    """The names of a layer's arrays, in the order of the layer."""
    kind = group.attrs.get_id("weight_names")
    if len(kind.shape) != 1 or kind.shape[0] > MOST_NAMES:
        raise Unreadable(f"{group.name[:80]} lists no arrays")
    values = np.asarray(group.attrs["weight_names"]).tolist()
    return [one.decode() if isinstance(one, bytes) else str(one) for one in values]
