"""The dense chain of a Keras model, or of its file, which is read without TensorFlow.

What changes nothing at inference (dropout, noise, linear activations, nested models) is read as
what it is: nothing.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from asd.tflite import keras_file
from asd.tflite.chain import Dense, Norm, NotAChain
from asd.tflite.keras_file import MODELS, KerasFile
from common import UserError

if TYPE_CHECKING:
    import keras

# Layers that at inference give what they take, where that is a vector.
IDENTITIES = {
    "InputLayer", "Dropout", "AlphaDropout", "GaussianDropout", "GaussianNoise", "Identity",
    "ActivityRegularization", "Flatten",
}  # fmt: skip
# Of a layer's configuration and its arrays; the arrays may be fewer where the layer has none.
Layer = tuple[dict[str, Any], list[np.ndarray]]


def of_model(model: keras.Model) -> list[Dense]:
    """The chain of a Keras model.

    Raises
    ------
    NotAChain : a layer of another kind, or batch normalisation that does not follow a Dense;
        or its layers are joined otherwise.
    """

    def arrays(model: keras.Model) -> Iterator[Layer]:
        layers = {one.name: one for one in model.layers}
        for one in _joined_in_a_chain(model.get_config()):
            layer = layers.get(one["config"]["name"])
            if one["class_name"] in MODELS:
                yield from arrays(layer)
            else:
                yield one, layer.get_weights() if layer else []

    return _chain_of(arrays(model))


def of_file(file: KerasFile) -> list[Dense]:
    """The chain in a Keras file.

    Raises
    ------
    NotAChain : see `of_model`; or its arrays are not those of its configuration.
    """
    try:
        return _chain_of(_layers(file, file.config["config"], "layers"))
    # What a configuration raises that is none of Keras'.
    except (AttributeError, LookupError, TypeError, ValueError, RecursionError, StopIteration,
            RuntimeError) as error:  # fmt: skip
        reason = f"its configuration or its arrays are none of Keras' ({error!r:.80})"
        raise NotAChain(reason) from error


def _chain_of(layers: Iterator[Layer]) -> list[Dense]:
    """Layers in their order, as Keras describes each and with its arrays, as a chain."""
    chain: list[Dense] = []
    for layer, arrays in layers:
        kind, config = layer["class_name"], layer["config"]
        arrays = [np.asarray(array, np.float32) for array in arrays]
        if kind == "InputLayer" and len(config.get("batch_shape") or (None, 0)) != 2:
            raise NotAChain(f"its input of shape {config['batch_shape']} is no vector")
        if kind in IDENTITIES or (kind == "Activation" and config["activation"] == "linear"):
            continue
        if kind == "Dense" and config["use_bias"] and config["activation"] in ("linear", "relu"):
            chain.append(_dense(config, arrays, chain))
        elif kind == "BatchNormalization" and chain and not (chain[-1].relu or chain[-1].norm):
            chain[-1].norm = _norm(config, arrays, len(chain[-1].bias))
        elif chain and _is_relu(kind, config):
            chain[-1].relu = True
        else:
            raise NotAChain(
                f"layer {config['name']} ({_in_words(kind, config)}) cannot be folded; a chain of "
                "Dense (linear or relu, with bias), BatchNormalization and ReLU layers can"
            )
    if not chain:
        raise NotAChain("no Dense layer in it")
    return chain


def _in_words(kind: str, config: dict[str, Any]) -> str:
    activation = config.get("activation", "linear")
    return str(kind) if activation in ("linear", "relu") else f"{kind}, {activation}"


def _dense(config: dict[str, Any], arrays: list[np.ndarray], chain: list[Dense]) -> Dense:
    weights, bias = arrays
    n_inputs = len(chain[-1].bias) if chain else len(weights)
    if weights.shape != (n_inputs, config["units"]) or bias.shape != weights.shape[1:]:
        raise ValueError(f"{config['name']} has arrays of {weights.shape} and {bias.shape}")
    return Dense(weights, bias, relu=config["activation"] == "relu")


def _norm(config: dict[str, Any], arrays: list[np.ndarray], size: int) -> Norm:
    arrays = list(arrays)
    gamma = arrays.pop(0) if config["scale"] else np.ones(size, np.float32)
    beta = arrays.pop(0) if config["center"] else np.zeros(size, np.float32)
    mean, variance = arrays
    if {array.shape for array in (gamma, beta, mean, variance)} != {(size,)}:
        raise ValueError(f"{config['name']} has arrays of other sizes than {size}")
    return Norm(gamma, beta, mean, variance, float(config["epsilon"]), float(config["momentum"]))


def _is_relu(kind: str, config: dict[str, Any]) -> bool:
    if kind == "ReLU":
        limits = [config.get(key) for key in ("max_value", "negative_slope", "threshold")]
        return limits in ([None, 0, 0], [None, [0], [0]])
    return kind == "Activation" and config["activation"] == "relu"


def _policy(config: dict[str, Any]) -> Any:
    """The number types of a layer, by name; "float32" where it says none."""
    kind = config.get("dtype")
    if isinstance(kind, dict):
        inner = kind.get("config") if isinstance(kind.get("config"), dict) else {}
        return inner.get("name") or inner.get("mode") or kind.get("class_name")
    return kind or "float32"


def quantised(config: dict[str, Any]) -> str | None:
    """To what Keras quantised a layer, by its configuration; None where it did not."""
    kind, mode = config.get("dtype"), config.get("quantization_mode")
    named = str(_policy(config))
    if isinstance(kind, dict) and "Quantized" in str(kind.get("class_name")):
        return named
    return str(mode) if mode else (named if re.match("int|float8", named) else None)


def of_types(file: KerasFile) -> set[str]:
    """The number types that the layers of a file compute in, by name, but "float32".

    Raises
    ------
    UserError : a layer is quantised.
    """
    found = set()
    for layer in keras_file.layers(file.config):
        if policy := quantised(layer["config"]):
            name = layer["config"].get("name")
            raise UserError(f"layer {name} is quantised ({policy}); a model of floats is needed")
        found.add(str(_policy(layer["config"])))
    return found - {"float32"}


def read(path: Path) -> list[Dense]:
    """The chain in a Keras file (.keras, .h5, .hdf5).

    Raises
    ------
    NotAChain : it holds another model.
    UserError : see `keras_file.read`.
    """
    return of_file(keras_file.read(path))


def _joined_in_a_chain(config: dict[str, Any]) -> list[dict[str, Any]]:
    """The layers of a Functional or Sequential model's configuration, checked to be a chain."""
    layers = config["layers"]
    names = {one["config"]["name"] for one in layers}
    for which in ("input", "output"):
        if len(ends := set(_texts(config.get(f"{which}_layers", []))) & names) > 1:
            raise NotAChain(f"it has {len(ends)} {which}s; one is needed")
    before: set[str] = set()
    for one in layers:
        nodes = one.get("inbound_nodes", [])
        if len(nodes) > 1 or ("inbound_nodes" in one and names & set(_texts(nodes)) != before):
            raise NotAChain(
                "its layers are not joined in a chain, each taking the last one's output"
            )
        before = {one["config"]["name"]}
    if not set(_texts(config.get("output_layers", []))) & names <= before:
        raise NotAChain("its output is not that of its last layer")
    return layers


def _texts(values: Any) -> Iterator[str]:
    """Every text in nested sequences and the values of mappings."""
    if isinstance(values, str):
        yield values
    elif isinstance(values, (list, tuple, dict)):
        for value in values.values() if isinstance(values, dict) else values:
            yield from _texts(value)


def _layers(file: KerasFile, config: dict[str, Any], place: str) -> Iterator[Layer]:
    """The layers of a file, those of nested models in their places, with their arrays.

    Parameters
    ----------
    place : of a .keras file, the group of the model's layers
    """
    if file.legacy:
        yield from _legacy_layers(file, config)
        return
    seen: Counter[str] = Counter()
    for one in _joined_in_a_chain(config):
        # A group is called by the class, `batch_normalization_3`, and counted.
        name = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", one["class_name"]).lower()
        where = f"{place}/{name}" + (f"_{seen[name]}" if seen[name] else "")
        seen[name] += 1
        if one["class_name"] in MODELS:
            yield from _layers(file, one["config"], f"{where}/layers")
        else:
            numbered = (f"{where}/vars/{number}" for number in range(len(file.arrays)))
            yield one, list(_while_there(file, numbered))


def _while_there(file: KerasFile, names: Iterator[str]) -> Iterator[np.ndarray]:
    for name in names:
        if name not in file.arrays:
            return
        yield file.arrays[name]


def _legacy_layers(file: KerasFile, config: dict[str, Any]) -> Iterator[Layer]:
    """Of an .h5 file: a group for each layer of the outer model lists its arrays."""
    for one in _joined_in_a_chain(config):
        where = f"model_weights/{one['config']['name']}"
        arrays = [file.arrays[f"{where}/{name}"] for name in file.names.get(where, [])]
        yield from zip(*_shared_out(one, arrays), strict=True)


def _shared_out(
    one: dict[str, Any], arrays: list[np.ndarray]
) -> tuple[list[dict[str, Any]], list[list[np.ndarray]]]:
    """The layers of a model in an .h5 file, and the arrays of each.

    Of a nested model all arrays are listed together: first those that are trained, layer by
    layer, then the others.
    """
    layers = list(_flat(one))
    if one["class_name"] not in MODELS:
        return layers, [arrays]
    rest = iter(arrays)
    counts = [_counts(layer) for layer in layers]
    trained = [[next(rest) for _ in range(n)] for n, _ in counts]
    others = [[next(rest) for _ in range(n)] for _, n in counts]
    if next(rest, None) is not None:
        raise ValueError(f"{one['config']['name']} has more arrays than its layers")
    return layers, [a + b for a, b in zip(trained, others, strict=True)]


def _flat(one: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if one["class_name"] in MODELS:
        for inner in _joined_in_a_chain(one["config"]):
            yield from _flat(inner)
    else:
        yield one


def _counts(layer: dict[str, Any]) -> tuple[int, int]:
    """How many arrays of a layer are trained, and how many are not."""
    config = layer["config"]
    if layer["class_name"] == "BatchNormalization":
        trained, others = int(config["scale"]) + int(config["center"]), 2
    else:
        trained, others = (2 if layer["class_name"] == "Dense" else 0), 0
    return (trained, others) if config.get("trainable", True) else (0, trained + others)
