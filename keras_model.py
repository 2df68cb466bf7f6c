"""The dense auto-encoder: TensorFlow imported quietly, the model built, loaded and run."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from asd.cli import quiet_stderr
from common import Predict, UserError

if TYPE_CHECKING:
    import keras

SUFFIXES = (".keras", ".h5", ".hdf5")  # ours, then those of published models
OTHERS_SETTINGS = ("TF_USE_LEGACY_KERAS", "KERAS_NNX_ENABLED", "KERAS_MAX_EPOCHS",
                   "KERAS_MAX_STEPS_PER_EPOCH")  # fmt: skip


def start_tensorflow(seed: int) -> None:
    """Import TensorFlow, silence its banners, make its results repeatable and seed it.

    What the user's environment and ~/.keras/keras.json say of Keras' back end and number types is
    for other programs.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ |= {"KERAS_BACKEND": "tensorflow", "KERAS_HOME": os.devnull}
    for name in OTHERS_SETTINGS:
        os.environ.pop(name, None)
    with quiet_stderr():
        import keras
        import tensorflow as tf

        tf.config.experimental.enable_op_determinism()
        keras.utils.set_random_seed(seed)


def build(vector_size: int, units: Sequence[int]) -> keras.Model:
    """The auto-encoder of MLPerf Tiny and the DCASE 2020 Task 2 baseline.

    vector_size - [Dense, BN, ReLU] for each of the units - Dense vector_size, linear. With 640
    inputs and the units of baseline.yaml, 4 x 128, 8, 4 x 128, it has 269,992 parameters.

    Parameters
    ----------
    vector_size : frames x mel bands of a window
    units : of each hidden layer
    """
    from keras import Input, Model, layers

    inputs = x = Input((vector_size,))
    for width in units:
        x = layers.Dense(width)(x)
        x = layers.BatchNormalization()(x)
        x = layers.Activation("relu")(x)
    return Model(inputs, layers.Dense(vector_size)(x))


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
    for name, tensors in (("input", model.inputs), ("output", model.outputs)):
        if len(tensors) != 1:
            raise UserError(f"{path}: it has {len(tensors)} {name}s; one is needed")
        shape = tuple(tensors[0].shape)
        if len(shape) != 2:
            raise UserError(f"{path}: its {name} has the shape {shape}, and is no vector")
        check_sizes(path, {shape[1]}, vector_size)
    return model


def check_sizes(path: Path, sizes: set[int], vector_size: int) -> None:
    """See that the inputs and outputs of a model are vectors of the configuration's size.

    Raises
    ------
    UserError : they are of another size.
    """
    if sizes != {vector_size}:
        raise UserError(
            f"{path}: its input and output have {' and '.join(map(str, sizes))} elements, the "
            f"configuration's windows {vector_size} (feature.frames x feature.n_mels)"
        )


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
