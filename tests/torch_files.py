"""PyTorch's checkpoints written without it, from NumPy's arrays, and networks of small widths."""

from __future__ import annotations

import contextlib
import io
import pickle
import struct
import sys
import types
import zipfile
from collections import OrderedDict
from pathlib import Path
from unittest import mock

import numpy as np

STORAGES = {"float32": "FloatStorage", "float64": "DoubleStorage", "float16": "HalfStorage",
            "int64": "LongStorage", "uint16": "BFloat16Storage"}  # fmt: skip


class Stored:
    """A storage in a pickle, by its key."""

    def __init__(self, key, values):
        self.key, self.values = str(key), values


class Of:
    """A tensor in a pickle: part of a storage."""

    def __init__(self, storage, shape, strides, offset=0):
        self.args = storage, offset, tuple(shape), tuple(strides), False, OrderedDict()

    def __reduce__(self):
        return sys.modules["torch._utils"]._rebuild_tensor_v2, self.args


@contextlib.contextmanager
def torch_names():
    """The names that PyTorch's pickles are made of can be looked up, as pickling does."""
    torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")
    for name in STORAGES.values():
        setattr(torch, name, type(name, (), {"__module__": "torch", "__qualname__": name}))

    def _rebuild_tensor_v2():
        pass

    _rebuild_tensor_v2.__module__ = "torch._utils"
    _rebuild_tensor_v2.__qualname__ = "_rebuild_tensor_v2"
    utils._rebuild_tensor_v2 = _rebuild_tensor_v2
    with mock.patch.dict(sys.modules, {"torch": torch, "torch._utils": utils}):
        yield torch


class Pickler(pickle.Pickler):
    """Pickles tensors as PyTorch does, and notes their storages."""

    legacy = False

    def __init__(self, file, torch):
        super().__init__(file, protocol=2)
        self.torch, self.storages = torch, {}

    def persistent_id(self, value):
        if not isinstance(value, Stored):
            return None
        self.storages[value.key] = value.values
        kind = getattr(self.torch, STORAGES[value.values.dtype.name])
        found = "storage", kind, value.key, "cpu", value.values.size
        return (*found, None) if self.legacy else found


def tensors(values, count=None):
    """Nested values with tensors in the place of arrays; the same array is the same storage."""
    seen = {} if count is None else count
    if isinstance(values, np.ndarray):
        storage = seen.setdefault(id(values), Stored(len(seen), values.ravel()))
        strides = [step // values.itemsize for step in values.strides]
        return Of(storage, values.shape, strides)
    if isinstance(values, dict):
        return type(values)((key, tensors(one, seen)) for key, one in values.items())
    return values


def pickled(values, legacy=False):
    """A pickle and its storages."""
    with torch_names() as torch:
        stream = io.BytesIO()
        pickler = Pickler(stream, torch)
        pickler.legacy = legacy
        pickler.dump(tensors(values))
    return stream.getvalue(), pickler.storages


def write(path: Path, values, change=None) -> Path:
    """Write a zip archive as `torch.save` has it since 1.6.

    Parameters
    ----------
    change : of members, by their names behind the folder, to others, or to None
    """
    content, storages = pickled(values)
    members = {"data.pkl": content, "byteorder": b"little", "version": b"3\n"}
    members |= {f"data/{key}": one.tobytes() for key, one in storages.items()}
    members |= change or {}
    with zipfile.ZipFile(path, "w") as archive:
        for name, one in members.items():
            if one is not None:
                archive.writestr(f"archive/{name}", one)
    return path


def write_legacy(path: Path, values) -> Path:
    """Write a stream as `torch.save` had it before 1.6."""
    content, storages = pickled(values, legacy=True)
    system = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"int": 4}}
    with path.open("wb") as file:
        for one in (0x1950A86A20F9469CFC6C, 1001, system):
            pickle.dump(one, file, protocol=2)
        file.write(content)
        pickle.dump(sorted(storages), file, protocol=2)
        for key in sorted(storages):
            file.write(struct.pack("<q", storages[key].size) + storages[key].tobytes())
    return path


BEATS = {
    "input_patch_size": 16, "embed_dim": 12, "conv_bias": False, "encoder_layers": 3,
    "encoder_embed_dim": 24, "encoder_ffn_embed_dim": 40, "encoder_attention_heads": 4,
    "activation_fn": "gelu", "layer_norm_first": False, "deep_norm": True, "conv_pos": 8,
    "conv_pos_groups": 2, "relative_position_embedding": True, "num_buckets": 20,
    "max_distance": 37, "gru_rel_pos": True, "dropout": 0.1, "encoder_layerdrop": 0.05,
    "finetuned_model": False,
}  # fmt: skip
EAT = {
    "_name": "data2vec_multi", "depth": 3, "embed_dim": 24, "num_heads": 4, "mlp_ratio": 2.0,
    "norm_eps": 1e-6, "layer_norm_first": False, "supported_modality": "IMAGE",
    "modalities": {"image": {
        "in_chans": 1, "patch_size": 16, "embed_dim": 24, "num_extra_tokens": 1,
        "prenet_depth": 0, "use_alibi_encoder": False, "fixed_positions": True}},
}  # fmt: skip


class Draws:
    """Parameters as small random numbers, by name."""

    def __init__(self, seed):
        self.rng, self.found = np.random.default_rng(seed), OrderedDict()

    def add(self, name, *shape, mean=0.0, deviation=None):
        if deviation is None:
            deviation = 1 / np.sqrt(np.prod(shape[1:])) if len(shape) > 1 else 0.2
        drawn = mean + deviation * self.rng.standard_normal(shape)
        self.found[name] = drawn.astype(np.float32)

    def dense(self, name, outputs, *inputs, bias=True):
        self.add(f"{name}.weight", outputs, *inputs)
        if bias:
            self.add(f"{name}.bias", outputs)

    def norm(self, name, width):
        self.add(f"{name}.weight", width, mean=1.0)
        self.add(f"{name}.bias", width)


def beats(seed=0, **changed):
    """cfg and parameters of a BEATs of random weights, as its checkpoints have them."""
    cfg, draws = BEATS | changed, Draws(seed)
    width, of_patches = cfg["encoder_embed_dim"], cfg["embed_dim"]
    hidden, heads, length = (cfg[key] for key in (
        "encoder_ffn_embed_dim", "encoder_attention_heads", "conv_pos"))  # fmt: skip
    if of_patches != width:
        draws.dense("post_extract_proj", width, of_patches)
    draws.dense("patch_embedding", of_patches, 1, 16, 16, bias=cfg["conv_bias"])
    draws.add("encoder.pos_conv.0.bias", width)
    draws.add("encoder.pos_conv.0.weight_g", 1, 1, length, mean=1.0, deviation=0.3)
    draws.add("encoder.pos_conv.0.weight_v", width, width // cfg["conv_pos_groups"], length)
    for i in range(cfg["encoder_layers"]):
        layer = f"encoder.layers.{i}"
        attention = f"{layer}.self_attn"
        if cfg["relative_position_embedding"]:
            name = "relative_attention_bias.weight"
            if not i:
                draws.add(f"{attention}.{name}", cfg["num_buckets"], heads, deviation=1.0)
            draws.found[f"{attention}.{name}"] = draws.found[f"encoder.layers.0.self_attn.{name}"]
        for part in ("k_proj", "v_proj", "q_proj", "out_proj"):
            draws.dense(f"{attention}.{part}", width, width)
        if cfg["gru_rel_pos"]:
            draws.add(f"{attention}.grep_a", 1, heads, 1, 1, mean=1.0, deviation=0.5)
            draws.dense(f"{attention}.grep_linear", 8, width // heads)
        draws.norm(f"{layer}.self_attn_layer_norm", width)
        draws.dense(f"{layer}.fc1", hidden, width)
        draws.dense(f"{layer}.fc2", width, hidden)
        draws.norm(f"{layer}.final_layer_norm", width)
    draws.norm("encoder.layer_norm", width)
    draws.norm("layer_norm", of_patches)
    return {"cfg": cfg, "model": draws.found}


def eat(seed=0, tuned=False, **changed):
    """The same of EAT; `tuned`: as a classifier keeps it."""
    cfg, draws = EAT | changed, Draws(seed)
    width, encoder = cfg["embed_dim"], "modality_encoders.IMAGE"
    image = cfg["modalities"]["image"]
    hidden, before = int(width * cfg["mlp_ratio"]), image["prenet_depth"]
    draws.add(f"{encoder}.extra_tokens", 1, image["num_extra_tokens"], width, deviation=1.0)
    draws.dense(f"{encoder}.local_encoder.proj", width, 1, 16, 16)
    draws.norm("norm" if cfg["layer_norm_first"] else f"{encoder}.context_encoder.norm", width)
    names = [f"{encoder}.context_encoder.blocks.{i}" for i in range(before)]
    for name in [*names, *(f"blocks.{i}" for i in range(cfg["depth"]))]:
        draws.norm(f"{name}.norm1", width)
        draws.norm(f"{name}.norm2", width)
        draws.dense(f"{name}.attn.qkv", 3 * width, width)
        draws.dense(f"{name}.attn.proj", width, width)
        draws.dense(f"{name}.mlp.fc1", hidden, width)
        draws.dense(f"{name}.mlp.fc2", width, hidden)
    cfg = {"model": cfg, "common": {"seed": 1}}
    found = draws.found
    if tuned:
        cfg = {"model": {"_name": "mae_image_classification", "pretrained_model_args": cfg}}
        found = OrderedDict((f"model.{name}", one) for name, one in found.items())
        found["head.weight"] = np.zeros((5, width), np.float32)
    else:
        found["_ema"] = OrderedDict(unused=np.zeros(3, np.float32))
        found[f"{encoder}.decoder.proj.weight"] = np.zeros((2, 2), np.float32)
    return {"args": None, "cfg": cfg, "model": found, "optimizer_history": [{"lr": 1e-4}]}
