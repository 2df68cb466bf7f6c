"""A dense auto-encoder as arrays: read from a Keras model or its file, and run, without TensorFlow.

A chain is Dense layers (linear or ReLU, with bias), each perhaps followed by batch normalisation
and a ReLU: the auto-encoders of MLPerf Tiny and DCASE 2020 Task 2. Importing TensorFlow takes
longer than scoring a thousand clips.
"""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from common import Predict, UserError

if TYPE_CHECKING:
    import h5py
    import keras


WINDOWS_PER_BLOCK = 1024  # hidden values of that many stay in a core's cache


class NotAChain(UserError):
    """A model that is no chain of dense layers."""


@dataclass
class Norm:
    """Batch normalisation; arrays (n_outputs,) float32, mean and variance those of inference."""

    gamma: np.ndarray
    beta: np.ndarray
    mean: np.ndarray
    variance: np.ndarray
    epsilon: float
    momentum: float  # by which training moves mean and variance


@dataclass
class Dense:
    """y = x @ weights + bias, then the normalisation, then ReLU or nothing."""

    weights: np.ndarray  # (n_inputs, n_outputs)
    bias: np.ndarray  # (n_outputs,)
    norm: Norm | None = None
    relu: bool = False


@dataclass(frozen=True)
class Layer:
    """A layer as Keras describes it."""

    kind: str  # the name of its class
    config: dict[str, Any]
    arrays: Sequence[np.ndarray]  # in Keras' order


def of_model(model: keras.Model) -> list[Dense]:
    """The chain of a Keras model.

    Raises
    ------
    NotAChain : see `chain_of`; or its layers are joined otherwise.
    """
    arrays = {one.name: one.get_weights() for one in model.layers}
    layers = _joined_in_a_chain(model.get_config())
    return chain_of(
        Layer(one["class_name"], one["config"], arrays.get(one["config"]["name"], []))
        for one in layers
    )


def chain_of(layers: Iterator[Layer] | Sequence[Layer]) -> list[Dense]:
    """Layers in their order as a chain.

    Raises
    ------
    NotAChain : a layer of another kind, or batch normalisation that does not follow a Dense.
    """
    chain: list[Dense] = []
    for layer in layers:
        kind, config = layer.kind, layer.config
        if kind == "InputLayer":
            continue
        if kind == "Dense" and config["use_bias"] and config["activation"] in ("linear", "relu"):
            chain.append(Dense(*layer.arrays, relu=config["activation"] == "relu"))
        elif kind == "BatchNormalization" and chain and not (chain[-1].relu or chain[-1].norm):
            chain[-1].norm = _norm(layer)
        elif chain and _is_relu(layer):
            chain[-1].relu = True
        else:
            raise NotAChain(
                f"layer {config['name']} ({kind}) cannot be folded; a chain of Dense (linear or "
                "relu, with bias), BatchNormalization and ReLU layers can"
            )
    return chain


def _norm(layer: Layer) -> Norm:
    config, arrays = layer.config, list(layer.arrays)
    size = len(arrays[-1])
    gamma = arrays.pop(0) if config["scale"] else np.ones(size, np.float32)
    beta = arrays.pop(0) if config["center"] else np.zeros(size, np.float32)
    return Norm(gamma, beta, *arrays, config["epsilon"], config["momentum"])


def _is_relu(layer: Layer) -> bool:
    if layer.kind == "ReLU":
        limits = [layer.config.get(key) for key in ("max_value", "negative_slope", "threshold")]
        return limits in ([None, 0, 0], [None, [0], [0]])
    return layer.kind == "Activation" and layer.config["activation"] == "relu"


def read(path: Path) -> list[Dense] | None:
    """The chain in a Keras file (.keras, .h5, .hdf5), or None where it holds anything else."""
    import h5py

    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                config = json.loads(archive.read("config.json"))
                weights = io.BytesIO(archive.read("model.weights.h5"))
            with h5py.File(weights) as file:
                return chain_of(_layers(config, file["layers"], _arrays_by_kind))
        with h5py.File(path) as file:
            config = json.loads(file.attrs["model_config"])
            return chain_of(_layers(config, file["model_weights"], _arrays_by_name))
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


def _layers(config: dict[str, Any], weights: h5py.Group, arrays_of: Any) -> Iterator[Layer]:
    """The layers of a file, with their arrays."""
    seen: Counter[str] = Counter()
    for one in _joined_in_a_chain(config["config"]):
        kind, of_layer = one["class_name"], one["config"]
        yield Layer(kind, of_layer, arrays_of(weights, kind, of_layer["name"], seen[kind]))
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


def activations(chain: Sequence[Dense], windows: np.ndarray) -> Iterator[np.ndarray]:
    """The output of each layer, in float32 and in the order of Keras' operations.

    Parameters
    ----------
    windows : (n, n_inputs) float32
    """
    values = windows
    for layer in chain:
        values = values @ np.asarray(layer.weights, np.float32)
        values += np.asarray(layer.bias, np.float32)
        if layer.norm:
            slope, intercept = _line(layer.norm)
            values *= slope
            values += intercept
        if layer.relu:
            np.maximum(values, 0, out=values)
        yield values


def predictor(chain: Sequence[Dense]) -> Predict:
    """The chain as a function of windows; see `activations`.

    Returns
    -------
    function (n, n_inputs) float32 -> (n, n_outputs) float32
    """

    def predict(windows: np.ndarray) -> np.ndarray:
        outputs = np.empty((len(windows), len(chain[-1].bias)), np.float32)
        for i in range(0, len(windows), WINDOWS_PER_BLOCK):
            block = slice(i, i + WINDOWS_PER_BLOCK)
            for values in activations(chain, windows[block]):
                last = values
            outputs[block] = last
        return outputs

    return predict


def _line(norm: Norm) -> tuple[np.ndarray, np.ndarray]:
    """Batch normalisation as slope and intercept, in float32 as TensorFlow computes them."""
    slope = norm.gamma * (1 / np.sqrt(norm.variance + np.float32(norm.epsilon)))
    return slope, norm.beta - norm.mean * slope
