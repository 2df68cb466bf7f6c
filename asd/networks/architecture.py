"""What pre-trained transformers are made of, and the files that hold them; without TensorFlow.

A network stands in an .npz file that `asd.networks.convert` writes: `config`, JSON of a section of
here, and an array for each name that `shapes` lists.
"""

from __future__ import annotations

import functools
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import numpy as np

from asd import files
from asd.sections import Limit, Section, as_section
from common import UserError

MOST_BYTES = 1 << 31  # of a file: the large sizes have 1.2 GB
SAMPLE_RATE = 16000  # Hz
PATCH, MELS = 16, 128  # frames and mel bands of a patch; mel bands of a frame
BANDS = MELS // PATCH  # patches one above the other
FRAMES_OF_EAT = 1024  # of a clip in its training: 10.24 s
GATE = 8  # outputs of a gate: two sums of four
CONVERT = "python -m asd.networks.convert CHECKPOINT.pt OUT.npz"
REMEDY = f"convert the checkpoint anew: {CONVERT}"

Count = Annotated[int, msgspec.Meta(ge=1, le=1 << 16)]
Layers = Annotated[int, msgspec.Meta(ge=1, le=256)]
Activation = Literal["gelu", "gelu_accurate", "relu"]


class Beats(Section):
    """BEATs: Chen and others 2022, arXiv:2212.09058."""

    kind: Literal["beats"]
    layers: Layers
    width: Count  # of tokens
    hidden: Count  # units between the two dense layers of a block
    heads: Count
    patch_width: Count  # of patches before they are projected to `width`
    patch_bias: bool
    kernel: Count  # tokens of the convolution that gives positions
    groups: Count  # of its channels
    norm_first: bool  # layer normalisation before, not after, what a block adds
    deep_norm: bool  # blocks weigh what they add to by (2 layers)^(1/4); arXiv:2203.00555
    buckets: Annotated[int, msgspec.Meta(ge=0, le=1 << 16)]  # of distances; 0: no bias by them
    max_distance: Count  # tokens; the last bucket begins there
    gated: bool  # the bias by distance is gated by the query
    activation: Activation

    def __post_init__(self) -> None:
        _check_parts(self.width, heads=self.heads, groups=self.groups)
        if self.deep_norm and self.norm_first:
            raise ValueError("deep_norm and norm_first exclude each other")
        # A direction has half of the buckets, and half of these are of one distance each.
        if self.buckets and (self.buckets < 4 or self.max_distance <= self.buckets // 4):
            raise ValueError(f"buckets {self.buckets}: 4 or more, and max_distance "
                             f"{self.max_distance} is above a fourth of them")  # fmt: skip

    @property
    def alpha(self) -> float:
        """By which a block multiplies what it adds to."""
        return (2 * self.layers) ** 0.25 if self.deep_norm else 1.0

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Of all arrays, by name: layer/part/array."""
        width, of_patches = self.width, self.patch_width
        found = {
            "patches/kernel": (PATCH * PATCH, of_patches),
            **_norm("patch_norm", of_patches),
            "position/kernel": (self.kernel, width // self.groups, width),
            "position/bias": (width,),
            **_norm("norm", width),
        }
        if self.patch_bias:
            found["patches/bias"] = (of_patches,)
        if of_patches != width:
            found |= _dense("project", of_patches, width)
        if self.buckets:
            found["distance/table"] = (self.buckets, self.heads)
        for i in range(self.layers):
            found |= _block(f"block{i}", width, self.hidden)
            if self.gated and self.buckets:
                found |= _dense(f"block{i}/gate", width // self.heads, GATE)
                found[f"block{i}/gate_scale"] = (self.heads,)
        return found


class Eat(Section):
    """EAT: Chen and others 2024, arXiv:2401.03497."""

    kind: Literal["eat"]
    layers: Layers
    width: Count
    hidden: Count
    heads: Count
    tokens: Count  # before those of patches; the first stands for the clip, CLS
    norm_first: bool
    epsilon: Limit  # of layer normalisation

    def __post_init__(self) -> None:
        _check_parts(self.width, heads=self.heads, quarters=4)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Of all arrays, by name: layer/part/array."""
        found = _dense("patches", PATCH * PATCH, self.width)
        found |= {"tokens/tokens": (self.tokens, self.width), **_norm("norm", self.width)}
        for i in range(self.layers):
            found |= _block(f"block{i}", self.width, self.hidden)
        return found


Architecture = Beats | Eat
KINDS: dict[str, type[Beats] | type[Eat]] = {"beats": Beats, "eat": Eat}


def _check_parts(width: int, **counts: int) -> None:
    for name, count in counts.items():
        if width % count:
            raise ValueError(f"width {width} is no multiple of {name} {count}")


def _dense(name: str, inputs: int, outputs: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}/kernel": (inputs, outputs), f"{name}/bias": (outputs,)}


def _norm(name: str, width: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}/gamma": (width,), f"{name}/beta": (width,)}


def _block(name: str, width: int, hidden: int) -> dict[str, tuple[int, ...]]:
    found = {}
    for part in ("q", "k", "v", "out"):
        found |= _dense(f"{name}/{part}", width, width)
    found |= _dense(f"{name}/fc1", width, hidden) | _dense(f"{name}/fc2", hidden, width)
    return found | _norm(f"{name}/norm1", width) | _norm(f"{name}/norm2", width)


def write(path: Path, architecture: Architecture, arrays: dict[str, np.ndarray]) -> None:
    """Write a network's file."""
    config = np.array(json.dumps(msgspec.to_builtins(architecture)))
    with files.whole_file(path) as temporary, temporary.open("wb") as file:
        np.savez(file, config=config, **arrays)


def told(path: Path, kind: str) -> Architecture:
    """The network in a file.

    Raises
    ------
    UserError : the file is damaged, or holds a network of another kind.
    """
    return _of_config(path, kind, _arrays(path, lambda name: name == "config")["config"])


def read(path: Path, kind: str) -> tuple[Architecture, dict[str, np.ndarray]]:
    """The network in a file, and its arrays, float32, as `shapes` lists them.

    Raises
    ------
    UserError : see `told`; or the arrays are others.
    """
    architecture = told(path, kind)
    arrays, shapes = _arrays(path, lambda name: name != "config"), architecture.shapes()
    if shapes.keys() != arrays.keys():
        (name, *_) = sorted(shapes.keys() ^ arrays.keys())
        what = "lacks" if name in shapes else "has an unknown"
        raise UserError(f"{path}: {what} array {name[:80]}; {REMEDY}")
    for name, shape in shapes.items():
        if arrays[name].shape != shape or arrays[name].dtype != np.float32:
            found = f"{arrays[name].dtype} {arrays[name].shape}"
            raise UserError(f"{path}: array {name} is {found}, not float32 {shape}; {REMEDY}")
        if not np.isfinite(arrays[name]).all():
            raise UserError(f"{path}: array {name} holds what is no number; {REMEDY}")
    return architecture, arrays


def _arrays(path: Path, wanted: Callable[[str], bool]) -> dict[str, np.ndarray]:
    """Arrays of a file by name, read with a bound on their bytes and without running code."""
    path.open("rb").close()  # what forbids that is no damage
    try:
        with zipfile.ZipFile(path) as archive:  # which reads no more than a member declares
            if sum(member.file_size for member in archive.infolist()) > MOST_BYTES:
                raise ValueError(f"more than {MOST_BYTES:,} bytes")
        with np.load(path, allow_pickle=False) as there:
            found = {name: there[name] for name in there.files if wanted(name)}
            if "config" not in there.files:
                raise ValueError("no config in it")
    except Exception as error:  # the reader raises whatever a damaged file leads it to
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise UserError(f"{path}: not a converted network ({reason}); {REMEDY}") from error
    return found


def _of_config(path: Path, kind: str, config: np.ndarray) -> Architecture:
    try:
        values = json.loads(str(config))
        own = values["kind"]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise UserError(f"{path}: not a converted network (its config is damaged); "
                        f"{REMEDY}") from error  # fmt: skip
    if own != kind and own in list(KINDS):
        raise UserError(f"{path}: holds a network of the kind {own}; write kind: {own}")
    return of_values(kind, path, values, "config.", REMEDY)


def of_values(
    kind: str, path: Path, values: dict[str, Any], prefix: str, remedy: str
) -> Architecture:
    """The network of plain values that a file holds.

    Raises
    ------
    UserError : it can be none; with the remedy behind.
    """
    try:
        return as_section(KINDS[kind], path, {"kind": kind} | values, prefix)
    except UserError as error:
        raise UserError(f"{error}; {remedy}") from error


def check_file(path: str) -> None:
    """See that a section's path names a file that is there.

    Raises
    ------
    ValueError : it does not, also where the disk cannot have such a name.
    """
    if not files.is_file(Path(path)):
        raise ValueError(f"path names no file that is there; make it: {CONVERT}: {path}")


def sha256(path: Path) -> str:
    """SHA-256 of a network's file, computed once for as long as it is left alone."""
    there = path.stat()
    return _sha256(path, there.st_size, there.st_mtime_ns)


@functools.lru_cache(maxsize=4)
def _sha256(path: Path, size: int, mtime_ns: int) -> str:
    return files.file_hash(path)
