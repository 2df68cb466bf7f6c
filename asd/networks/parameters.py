"""Parameters of BEATs and EAT by the names that their programs have, as arrays by those of here."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Collection, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from asd.networks import architecture
from asd.networks.architecture import BANDS, PATCH, Architecture, Beats, Eat
from asd.networks.torch_file import Checkpoint
from asd.networks.torch_pickle import Refused, Tensor
from common import UserError

MOST_SHOWN = 3  # names of parameters in a message
SAME = 1e-3  # stored positions may differ by from the formula; float32 leaves 5e-5


def arrays(
    source: Path, checkpoint: Checkpoint, made: Architecture, tensors: dict[str, Tensor]
) -> dict[str, np.ndarray]:
    """The arrays that a network is made of, read once all tensors are known to be there.

    Raises
    ------
    UserError : parameters are missing, unknown, of other shapes or not finite.
    """
    size = 4 * sum(math.prod(shape) for shape in made.shapes().values())
    if size > architecture.MOST_BYTES:
        raise UserError(
            f"{source}: its cfg is of a network of {size:,} bytes, and "
            f"{architecture.MOST_BYTES:,} are the most; take one of a published size"
        )
    reader = _Reader(source, checkpoint, dict(tensors))
    makers = dict((_of_beats if isinstance(made, Beats) else _of_eat)(reader, made))
    if reader.missing:
        raise UserError(f"{source}: lacks parameters that its cfg asks for: "
                        f"{_named(reader.missing)}; download it anew")  # fmt: skip
    if reader.tensors:
        raise UserError(f"{source}: has parameters that are not known here: "
                        f"{_named(reader.tensors)}; take a checkpoint that the authors "
                        "published")  # fmt: skip
    found = {name: make() for name, make in makers.items()}
    for name, values in found.items():
        if not np.isfinite(values).all():
            raise UserError(f"{source}: what becomes {name} is not finite; download it anew")
    return found


def _named(names: Collection[str]) -> str:
    shown = ", ".join(str(one)[:80] for one in itertools.islice(names, MOST_SHOWN))
    return shown + (f" and {len(names) - MOST_SHOWN} more" if len(names) > MOST_SHOWN else "")


class _Reader:
    """The tensors of a checkpoint, each taken once.

    Attributes
    ----------
    tensors : those that are left
    missing : names of those that were asked for in vain
    """

    def __init__(self, source: Path, checkpoint: Checkpoint, tensors: dict[str, Tensor]) -> None:
        self._source, self._checkpoint, self.tensors = source, checkpoint, tensors
        self.missing: list[str] = []

    def take(self, name: str, *shape: int) -> Any:
        """A function that reads a tensor of that name and shape, float32.

        Raises
        ------
        UserError : it is of another shape, or no tensor.
        """
        if name not in self.tensors:
            self.missing.append(name)
            return None
        tensor = self.tensors.pop(name)
        there = tensor.shape if isinstance(tensor, Tensor) else type(tensor).__name__
        if there != shape:
            raise UserError(f"{self._source}: parameter {name} is {there}, and its cfg asks for "
                            f"{shape}; download it anew")  # fmt: skip

        def read() -> np.ndarray:
            values = self._checkpoint.array(tensor)
            if values.dtype.kind != "f":
                raise Refused(f"parameter {name} is of {values.dtype}, not of floats")
            return values.astype(np.float32)

        return read

    def dense(
        self, ours: str, theirs: str, inputs: int, outputs: int, bias: bool = True
    ) -> Iterator:
        """Kernel and bias of a dense layer."""
        kernel = self.take(f"{theirs}.weight", outputs, inputs)
        yield f"{ours}/kernel", lambda: np.ascontiguousarray(kernel().T)
        if bias:
            yield f"{ours}/bias", self.take(f"{theirs}.bias", outputs)

    def norm(self, ours: str, theirs: str, width: int) -> Iterator:
        """Gamma and beta of a layer normalisation."""
        yield f"{ours}/gamma", self.take(f"{theirs}.weight", width)
        yield f"{ours}/beta", self.take(f"{theirs}.bias", width)

    def patches(self, theirs: str, width: int, bias: bool) -> Iterator:
        """Kernel, whose inputs are the frames and bands of a patch, and bias."""
        kernel = self.take(f"{theirs}.weight", width, 1, PATCH, PATCH)
        yield "patches/kernel", lambda: np.ascontiguousarray(kernel().reshape(width, -1).T)
        if bias:
            yield "patches/bias", self.take(f"{theirs}.bias", width)

    def parts(self, i: int, parts: dict[str, str], width: int, hidden: int) -> Iterator:
        """The dense layers and norms of a block, by ours, of theirs."""
        for ours, theirs in parts.items():
            name = f"block{i}/{ours}"
            if ours.startswith("norm"):
                yield from self.norm(name, theirs, width)
            else:
                sizes = {"fc1": (width, hidden), "fc2": (hidden, width)}
                yield from self.dense(name, theirs, *sizes.get(ours, (width, width)))


BEATS_PARTS = {"q": "self_attn.q_proj", "k": "self_attn.k_proj", "v": "self_attn.v_proj",
               "out": "self_attn.out_proj", "fc1": "fc1", "fc2": "fc2",
               "norm1": "self_attn_layer_norm", "norm2": "final_layer_norm"}  # fmt: skip


def _of_beats(reader: _Reader, made: Beats) -> Iterator:
    width, of_patches = made.width, made.patch_width
    yield from reader.patches("patch_embedding", of_patches, made.patch_bias)
    yield from reader.norm("patch_norm", "layer_norm", of_patches)
    if of_patches != width:
        yield from reader.dense("project", "post_extract_proj", of_patches, width)
    yield from _positions(reader, made)
    yield from reader.norm("norm", "encoder.layer_norm", width)
    if made.buckets:
        yield "distance/table", _table(reader, made)
    for i in range(made.layers):
        layer = f"encoder.layers.{i}"
        parts = {ours: f"{layer}.{theirs}" for ours, theirs in BEATS_PARTS.items()}
        yield from reader.parts(i, parts, width, made.hidden)
        if made.gated:
            size = width // made.heads
            gate = dict(reader.dense(f"block{i}/gate", f"{layer}.self_attn.grep_linear", size,
                                     architecture.GATE))  # fmt: skip
            scale = reader.take(f"{layer}.self_attn.grep_a", 1, made.heads, 1, 1)
            gate[f"block{i}/gate_scale"] = lambda scale=scale: scale().ravel()
            yield from gate.items() if made.buckets else ()


def _positions(reader: _Reader, made: Beats) -> Iterator:
    """The convolution that gives positions, of which PyTorch keeps lengths and directions."""
    name, new = "encoder.pos_conv.0", "parametrizations.weight.original"
    names = [f"{name}.{new}0", f"{name}.{new}1"]
    if names[0] not in reader.tensors:
        names = [f"{name}.weight_g", f"{name}.weight_v"]
    lengths = reader.take(names[0], 1, 1, made.kernel)
    weights = reader.take(names[1], made.width, made.width // made.groups, made.kernel)

    def kernel() -> np.ndarray:
        of = weights().astype(np.float64)
        of *= lengths() / np.sqrt(np.square(of).sum(axis=(0, 1), keepdims=True))
        return np.ascontiguousarray(of.T, np.float32)

    yield "position/kernel", kernel
    yield "position/bias", reader.take(f"{name}.bias", made.width)


def _table(reader: _Reader, made: Beats) -> Any:
    """The bias by distance, which the blocks share, and which each has under its name."""
    names = [f"encoder.layers.{i}.self_attn.relative_attention_bias.weight"
             for i in range(made.layers)]  # fmt: skip
    there = [name for name in names if name == names[0] or name in reader.tensors]
    first, *others = [reader.take(name, made.buckets, made.heads) for name in there]

    def read() -> np.ndarray:
        values = first()
        if not all(np.array_equal(other(), values) for other in others):
            raise Refused("its blocks have different relative_attention_bias, and share one")
        return values

    return read


EAT_PARTS = {"out": "attn.proj", "fc1": "mlp.fc1", "fc2": "mlp.fc2", "norm1": "norm1",
             "norm2": "norm2"}  # fmt: skip


def _of_eat(reader: _Reader, made: Eat) -> Iterator:
    width, encoder = made.width, "modality_encoders.IMAGE"
    yield from reader.patches(f"{encoder}.local_encoder.proj", width, True)
    tokens = reader.take(f"{encoder}.extra_tokens", 1, made.tokens, width)
    yield "tokens/tokens", lambda: tokens()[0]
    before = sum(f"{encoder}.context_encoder.blocks.{i}.norm1.weight" in reader.tensors
                 for i in range(made.layers))  # fmt: skip
    _check_positions(reader, f"{encoder}.fixed_positional_encoder.positions", width)
    norm = "norm" if made.norm_first else f"{encoder}.context_encoder.norm"
    yield from reader.norm("norm", norm, width)
    for i in range(made.layers):
        block = f"blocks.{i - before}" if i >= before else f"{encoder}.context_encoder.blocks.{i}"
        parts = {ours: f"{block}.{theirs}" for ours, theirs in EAT_PARTS.items()}
        yield from reader.parts(i, parts, width, made.hidden)
        kernel = reader.take(f"{block}.attn.qkv.weight", 3 * width, width)
        bias = reader.take(f"{block}.attn.qkv.bias", 3 * width)
        for k, name in enumerate(("q", "k", "v")):
            own = slice(k * width, (k + 1) * width)
            yield f"block{i}/{name}/kernel", partial(_rows, kernel, own)
            yield f"block{i}/{name}/bias", partial(_rows, bias, own)


def _rows(read: Callable[[], np.ndarray], some: slice) -> np.ndarray:
    return np.ascontiguousarray(read()[some].T)


def _check_positions(reader: _Reader, name: str, width: int) -> None:
    """See that stored positions are those of the formula, which has some for any length."""
    tensor = reader.tensors.get(name)
    if not isinstance(tensor, Tensor) or len(tensor.shape) != 3:
        return  # not stored, or told as unknown
    count = tensor.shape[1]
    stored = reader.take(name, 1, count, width)()[0]
    times, bands = np.divmod(np.arange(count), BANDS)
    rates = 10000.0 ** -(np.arange(width // 4) * 4 / width)
    angles = [place[:, None] * rates for place in (bands, times)]
    ours = np.concatenate([turn(one) for one in angles for turn in (np.sin, np.cos)], axis=1)
    if np.abs(stored - ours).max(initial=0) > SAME:
        raise Refused(f"{name} are no sines of {BANDS} bands and of time")
