"""What runs a network from a file: Keras, LiteRT or ONNX Runtime, by its suffix.

Each is loaded once and may be called from several threads.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

import keras_model
from asd import files
from asd.cli import quiet_stderr
from asd.embeddings import lite
from asd.embeddings.engine import Engine, Opened, one_each, reason
from asd.tflite import body, keras_file
from common import HERE, UserError

if TYPE_CHECKING:
    from collections.abc import Callable

    import keras
    import tensorflow as tf

MOST_BYTES = (1 << 31) - 1  # of a file: what a protobuf, and so an ONNX file, can have
KERAS_BYTES = 1 << 30  # of a Keras file's arrays: pre-trained transformers have 400 MB
CONSTANT_BYTES = 1 << 26  # of arrays that are compiled as constants, of which there are copies then
EXTRA = "asd/embeddings/requirements.txt"  # what .onnx needs beside the project's requirements
# A tensor of an ONNX file whose values are in another: its field 13 with the key "location".
ELSEWHERE = re.compile(rb"j.{1,3}\n\x08location\x12", re.DOTALL)
ONNX_TYPES = {"tensor(float)": np.float32, "tensor(double)": np.float64,
              "tensor(float16)": np.float16}  # fmt: skip


def of_file(path: Path) -> Engine:
    """Load a network; once, however often it is asked for.

    Parameters
    ----------
    path : of one of `ENGINES`' suffixes

    Raises
    ------
    UserError : it is damaged, or has not one input of floats and one output; or what runs it is
        not installed.
    """
    content = files.read_bounded(path, MOST_BYTES)
    return _loaded(path, hashlib.sha256(content).hexdigest())


@functools.lru_cache(maxsize=2)
def _loaded(path: Path, sha256: str) -> Engine:
    try:
        shape, outputs, run = ENGINES[path.suffix](path)
    except UserError as error:
        text = str(error)
        raise UserError(text if text.startswith(str(path)) else f"{path}: {text}") from error
    if files.file_hash(path) != sha256:
        raise UserError(f"{path}: changed while it was read; run again")
    known = bool(outputs) and isinstance(outputs[-1], int) and outputs[-1] > 0
    return Engine(sha256, shape, outputs[-1] if known else None, run)


def keras_network(path: Path) -> keras.Model:
    """A Keras network from a file; nothing in the file is run while it is read.

    Raises
    ------
    UserError : it is damaged, or of layers that are not known.
    """
    remedy = "export it as .tflite or .onnx"
    keras_file.read(path, remedy, KERAS_BYTES)  # what is damaged goes no further
    keras_model.start_tensorflow(0)  # nothing is drawn: any seed will do
    import keras

    import asd.networks.layers
    import asd.networks.patches
    import asd.networks.pooling
    import asd.networks.pretrained  # with the layers that it is made of
    import asd.networks.spectra  # noqa: F401

    try:
        with quiet_stderr():
            return keras.models.load_model(path, compile=False)
    except Exception as error:  # the readers raise whatever a damaged file leads them to
        raise UserError(
            f"not a readable Keras model ({reason(error)}); save it anew with Keras 3, "
            "of Keras' own layers, or export it as .tflite or .onnx"
        ) from error


def _keras(path: Path) -> Opened:
    """A network that Keras runs."""
    model = keras_network(path)
    import tensorflow as tf  # now that its banners are off

    one_each(model.inputs or (), model.outputs or ())
    source, target = model.inputs[0], model.outputs[0]
    if "float" not in source.dtype:
        raise UserError(f"its input is of {source.dtype}; one of float32 is needed")
    call = constant(model, tf.TensorSpec(source.shape, source.dtype))

    def run(values: np.ndarray) -> np.ndarray:
        return call(tf.constant(values, source.dtype))[0].numpy()

    return tuple(source.shape), tuple(target.shape), run


def constant(network: keras.Model, spec: tf.TensorSpec) -> Callable[[tf.Tensor], list[tf.Tensor]]:
    """A network in inference, compiled with its weights as constants.

    A convolution and the normalisation and ReLU behind it are then one operation, and no weight is
    laid out anew for every clip: a MultiResNet takes a sixth less time. Where the weights are large
    they stay variables.

    Parameters
    ----------
    network : of Keras
    spec : of its input
    """
    import tensorflow as tf
    from tensorflow.python.framework import convert_to_constants

    call = tf.function(lambda x: [network(x, training=False)], input_signature=[spec])
    if sum(one.numpy().nbytes for one in network.weights) > CONSTANT_BYTES:
        return call
    return convert_to_constants.convert_variables_to_constants_v2(call.get_concrete_function())


def with_body(path: Path, tflite: Path) -> Engine:
    """A Keras network whose front end Keras runs, and whose body a TFLite file of it.

    Its SHA-256 is that of the TFLite file.

    Raises
    ------
    UserError : see `keras_network`, `parts.split` and `body.runner`.
    """
    network = keras_network(path)
    import tensorflow as tf

    from asd.networks import parts  # both now that TensorFlow's banners are off

    split, run_row = parts.split(network), body.runner(tflite)
    source = network.inputs[0]
    spec = tf.TensorSpec(source.shape, source.dtype)
    front = tf.function(split.tensors, input_signature=[spec]).get_concrete_function()

    def run(values: np.ndarray) -> np.ndarray:
        tensors = [one.numpy() for one in front(tf.constant(values, source.dtype))]
        rows = [run_row(row) for row in body.rows_of(tensors, split.names)]
        return np.concatenate(rows).mean(axis=0, keepdims=True, dtype=np.float64)

    return Engine(files.file_hash(tflite), tuple(source.shape), network.output_shape[-1], run)


def _onnx(path: Path) -> Opened:
    """A network that ONNX Runtime runs; a clip by one thread, so that several clips are run."""
    if importlib.util.find_spec("onnxruntime") is None:
        raise UserError("ONNX files need onnxruntime; install it: "
                        f"{sys.executable} -m pip install -r {HERE / EXTRA}")  # fmt: skip
    import onnxruntime

    content = files.read_bounded(path, MOST_BYTES)
    if ELSEWHERE.search(content):
        raise UserError("its weights are in another file; make it one: python -c \"import onnx; "
                        f"onnx.save(onnx.load('{path.name}'), 'one.onnx')\"")  # fmt: skip
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4  # only what ends the run, and that is raised
    try:
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise UserError(f"not an ONNX model that onnxruntime {onnxruntime.__version__} runs "
                        f"({reason(error)}); export it anew") from error  # fmt: skip
    inputs, outputs = session.get_inputs(), session.get_outputs()
    one_each(inputs, outputs)
    kind = ONNX_TYPES.get(inputs[0].type)
    if kind is None:
        raise UserError(f"its input is of {inputs[0].type}; tensor(float) is needed")

    def run(values: np.ndarray) -> np.ndarray:
        return session.run(None, {inputs[0].name: values.astype(kind, copy=False)})[0]

    shape = tuple(n if isinstance(n, int) and n > 0 else None for n in inputs[0].shape)
    return shape, outputs[0].shape, run


ENGINES = {".keras": _keras, ".tflite": lite.opened, ".onnx": _onnx}
