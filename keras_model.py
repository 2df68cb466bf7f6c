"""The dense auto-encoder: TensorFlow imported quietly, the model built, found and loaded."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from asd import dense
from common import Predict, UserError, quiet_stderr

if TYPE_CHECKING:
    import keras

ENCODER_UNITS = (128, 128, 128, 128)
BOTTLENECK_UNITS = 8
DECODER_UNITS = (128, 128, 128, 128)

SUFFIXES = (".keras", ".h5", ".hdf5")  # ours, then the published ones


def start_tensorflow(seed: int) -> None:
    """Import TensorFlow, silence its banners, make its results repeatable and seed it."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with quiet_stderr():
        import keras
        import tensorflow as tf

        tf.config.experimental.enable_op_determinism()
        keras.utils.set_random_seed(seed)


def build(vector_size: int) -> keras.Model:
    """The auto-encoder of MLPerf Tiny and the DCASE 2020 Task 2 baseline.

    vector_size - [Dense 128, BN, ReLU] x4 - [Dense 8, BN, ReLU] - [Dense 128, BN, ReLU] x4 -
    Dense vector_size, linear. With 640 inputs 269,992 parameters.

    Parameters
    ----------
    vector_size : frames x mel bands of a vector
    """
    from keras import Input, Model, layers

    inputs = x = Input((vector_size,))
    for units in (*ENCODER_UNITS, BOTTLENECK_UNITS, *DECODER_UNITS):
        x = layers.Dense(units)(x)
        x = layers.BatchNormalization()(x)
        x = layers.Activation("relu")(x)
    return Model(inputs, layers.Dense(vector_size)(x))


def find(folder: Path, machine_type: str) -> Path | None:
    """The model file of a machine type: ours (.keras) or a published one (.h5, .hdf5).

    Raises
    ------
    UserError : there are two.
    """
    candidates = [folder / f"model_{machine_type}{suffix}" for suffix in SUFFIXES]
    found = [path for path in candidates if path.exists()]
    if len(found) > 1:
        names = " and ".join(str(path) for path in found)
        raise UserError(f"two models for {machine_type}: {names}; keep one, move the other away")
    return found[0] if found else None


def require(folder: Path, machine_type: str) -> Path:
    """The model file of a machine type.

    Raises
    ------
    UserError : there is none, or there are two.
    """
    path = find(folder, machine_type)
    if path is None:
        raise UserError(f"{folder}: no model for {machine_type}; train it: ./train.sh")
    return path


def load(path: Path, vector_size: int) -> keras.Model:
    """Load a model for inference.

    Raises
    ------
    UserError : the file is damaged, or its input or output is not a vector of that size.
    """
    import keras

    path.open("rb").close()  # what forbids that is no damage
    try:
        model = keras.models.load_model(path, compile=False)
    except Exception as error:  # the readers raise whatever a damaged file leads them to
        reason = " ".join(str(error).split())[:120]
        raise UserError(f"{path}: not a readable Keras model ({reason}); train it anew") from error
    for name, shape in (("input", model.input_shape), ("output", model.output_shape)):
        if tuple(shape) != (None, vector_size):
            raise UserError(
                f"{path}: its {name} has shape {shape}, the configuration's vectors have "
                f"{vector_size} elements (feature.frames x feature.n_mels)"
            )
    return model


def _read_chain(path: Path, vector_size: int) -> list[dense.Dense] | None:
    """A model file's dense chain of that size, if it holds one."""
    chain = dense.read(path)
    fits = chain and len(chain[0].weights) == len(chain[-1].bias) == vector_size
    return chain if fits else None


def load_chain(path: Path, vector_size: int) -> list[dense.Dense]:
    """A model file as a dense chain; without TensorFlow, unless there is something to explain.

    Raises
    ------
    UserError : see `load`; or the model is no chain.
    """
    if chain := _read_chain(path, vector_size):
        return chain
    start_tensorflow(0)  # nothing is drawn: any seed will do
    try:
        return dense.of_model(load(path, vector_size))
    except dense.NotAChain as error:
        raise UserError(f"{path}: {error}") from error


def scorer(path: Path, vector_size: int) -> Predict:
    """A model file as a function of windows; without TensorFlow where it is a dense chain.

    Returns
    -------
    function (n, vector_size) float32 -> (n, vector_size) float32

    Raises
    ------
    UserError : see `load`.
    """
    if chain := _read_chain(path, vector_size):
        return dense.predictor(chain)
    start_tensorflow(0)
    return predictor(load(path, vector_size))


def predictor(model: keras.Model) -> Predict:
    """A Keras model as a function of windows, compiled once.

    Returns
    -------
    function (n, vector_size) float32 -> (n, vector_size) float32
    """
    import tensorflow as tf

    spec = tf.TensorSpec((None, model.input_shape[1]), tf.float32)
    compiled = tf.function(lambda x: model(x, training=False), input_signature=[spec])

    def predict(windows: np.ndarray) -> np.ndarray:
        return compiled(tf.constant(windows)).numpy()

    return predict
