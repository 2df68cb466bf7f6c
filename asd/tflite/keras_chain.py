"""The dense chain of a Keras model, or of its file, which is read without TensorFlow."""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from asd.tflite.chain import Dense, Norm, NotAChain

if TYPE_CHECKING:
    import h5py
    import keras


def of_model(model: keras.Model) -> list[Dense]:
    """The chain of a Keras model.

    Raises
    ------
    NotAChain : a layer of another kind, or batch normalisation that does not follow a Dense;
        or its layers are joined otherwise.
    """
    arrays = {one.name: one.get_weights() for one in model.layers}
    layers = _joined_in_a_chain(model.get_config())
    return _chain_of((one, arrays.get(one["config"]["name"], [])) for one in layers)


def _chain_of(layers: Iterator[tuple[dict[str, Any], list[np.ndarray]]]) -> list[Dense]:
    """Layers in their order, as Keras describes each and with its arrays, as a chain.

    Raises
    ------
    NotAChain : a layer of another kind, or batch normalisation that does not follow a Dense.
    """
    chain: list[Dense] = []
    for layer, arrays in layers:
        kind, config = layer["class_name"], layer["config"]
        if kind == "InputLayer":
            continue
        if kind == "Dense" and config["use_bias"] and config["activation"] in ("linear", "relu"):
            chain.append(Dense(*arrays, relu=config["activation"] == "relu"))
        elif kind == "BatchNormalization" and chain and not (chain[-1].relu or chain[-1].norm):
            chain[-1].norm = _norm(config, arrays)
        elif chain and _is_relu(kind, config):
            chain[-1].relu = True
        else:
            raise NotAChain(
                f"layer {config['name']} ({kind}) cannot be folded; a chain of Dense (linear or "
                "relu, with bias), BatchNormalization and ReLU layers can"
            )
    return chain


def _norm(config: dict[str, Any], arrays: list[np.ndarray]) -> Norm:
    arrays, size = list(arrays), len(arrays[-1])
    gamma = arrays.pop(0) if config["scale"] else np.ones(size, np.float32)
    beta = arrays.pop(0) if config["center"] else np.zeros(size, np.float32)
    return Norm(gamma, beta, *arrays, config["epsilon"], config["momentum"])


def _is_relu(kind: str, config: dict[str, Any]) -> bool:
    if kind == "ReLU":
        limits = [config.get(key) for key in ("max_value", "negative_slope", "threshold")]
        return limits in ([None, 0, 0], [None, [0], [0]])
    return kind == "Activation" and config["activation"] == "relu"


def read(path: Path) -> list[Dense] | None:
    """The chain in a Keras file (.keras, .h5, .hdf5), or None where it holds anything else."""
    import h5py

    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                config = json.loads(archive.read("config.json"))
                weights = io.BytesIO(archive.read("model.weights.h5"))
            with h5py.File(weights) as file:
                return _chain_of(_layers(config, file["layers"], _arrays_by_kind))
        with h5py.File(path) as file:
            config = json.loads(file.attrs["model_config"])
            return _chain_of(_layers(config, file["model_weights"], _arrays_by_name))
    except (OSError, KeyError, ValueError, TypeError, IndexError, AttributeError, NotAChain):
        return None


def _joined_in_a_chain(config: dict[str, Any]) -> list[dict[str, Any]]:
    """The layers of a Functional or Sequential model's configuration, checked to be a chain."""
    layers = config["layers"]
    names = {one["config"]["name"] for one in layers}
    before: set[str] = set()
    for one in layers:
        if "inbound_nodes" in one and names & set(_texts(one["inbound_nodes"])) != before:
            raise NotAChain(
                "its layers are not joined in a chain, each taking the last one's output"
            )
        before = {one["config"]["name"]}
    return layers


def _layers(
    config: dict[str, Any], weights: h5py.Group, arrays_of: Callable[..., list[np.ndarray]]
) -> Iterator[tuple[dict[str, Any], list[np.ndarray]]]:
    """The layers of a file, with their arrays."""
    seen: Counter[str] = Counter()
    for one in _joined_in_a_chain(config["config"]):
        kind = one["class_name"]
        yield one, arrays_of(weights, kind, one["config"]["name"], seen[kind])
        seen[kind] += 1


def _texts(values: Any) -> Iterator[str]:
    """Every text in nested sequences and the values of mappings."""
    if isinstance(values, str):
        yield values
    elif isinstance(values, (list, tuple, dict)):
        for value in values.values() if isinstance(values, dict) else values:
            yield from _texts(value)


def _arrays_by_kind(weights: h5py.Group, kind: str, _: str, number: int) -> list[np.ndarray]:
    """Of a .keras file: groups are called by the class, `batch_normalization_3`, and counted."""
    name = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", kind).lower() + (f"_{number}" if number else "")
    if name not in weights or "vars" not in weights[name]:
        return []
    variables = weights[name]["vars"]
    return [variables[str(i)][()] for i in range(len(variables))]


def _arrays_by_name(weights: h5py.Group, _: str, name: str, __: int) -> list[np.ndarray]:
    """Of an .h5 file: groups are called by the layer, and list their arrays."""
    group = weights.get(name)  # some have none for an input
    return [group[key][()] for key in group.attrs["weight_names"]] if group else []
