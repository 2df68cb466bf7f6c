"""Keras files read and run without TensorFlow, against Keras."""

import subprocess
import sys

import numpy as np
import pytest
from conftest import UNITS

import keras_model
from asd import config
from asd.detectors import kinds
from asd.tflite import keras_chain
from asd.tflite.chain import NotAChain, predictor
from common import HERE, UserError

WINDOWS = np.random.default_rng(0).normal(-30, 12, (3000, 640)).astype(np.float32)  # dB


@pytest.fixture(scope="module", autouse=True)
def tensorflow():
    keras_model.start_tensorflow(0)


def scorer(path):
    """A model file as a function of windows of 640 values, as 01_test.py has it."""
    detector = kinds.of(config.load_config())
    detector.load(path)
    return detector.predictor()


def lively(model):
    """Arrays as after training: no zeros, ones or equal channels."""
    rng = np.random.default_rng(1)
    model.set_weights([a + 0.1 * rng.standard_normal(a.shape) ** 2 for a in model.get_weights()])
    return model


def models():
    """A model of each form that is a chain."""
    from keras import Input, Model, Sequential, layers

    yield "reference", keras_model.build(640, UNITS)
    encoder = Sequential([
        Input((640,)), layers.GaussianNoise(0.3), layers.Dense(12), layers.BatchNormalization(),
        layers.ReLU(), layers.Dense(3), layers.BatchNormalization(scale=False, trainable=False),
    ], name="encoder")  # fmt: skip
    inputs = Input((3,))
    x = layers.Activation("linear")(layers.Dropout(0.2)(layers.Dense(9, activation="relu")(inputs)))
    x = layers.Flatten()(layers.ActivityRegularization(l1=0.1)(x))
    inner = Sequential([Input((9,)), layers.Dense(5), layers.BatchNormalization()])
    decoder = Model(inputs, layers.Dense(640, name="last")(inner(x)), name="decoder")
    outer = Input((640,))
    joined = decoder(layers.AlphaDropout(0.1)(encoder(outer)))
    yield "nested", Model(outer, layers.Identity()(joined))
    yield "sequential", Sequential([
        Input((640,)), layers.Dense(16, activation="relu"), layers.Dense(16),
        layers.BatchNormalization(scale=False), layers.ReLU(), layers.Dense(16),
        layers.BatchNormalization(center=False, epsilon=0.1), layers.Dense(640),
    ])  # fmt: skip


@pytest.mark.parametrize("suffix", keras_model.SUFFIXES)
@pytest.mark.parametrize("form", ["reference", "sequential", "nested"])
def test_a_chain_is_read_and_run_as_keras_does(tmp_path, form, suffix):
    model = lively(dict(models())[form])
    path = tmp_path / f"model{suffix}"
    model.save(path)
    expected = model.predict(WINDOWS, verbose=0)
    chain = keras_chain.read(path)
    assert np.ptp(expected) > 1
    scale = np.abs(expected).max()
    np.testing.assert_allclose(predictor(chain)(WINDOWS), expected, atol=1e-5 * scale)
    predict = scorer(path)
    np.testing.assert_array_equal(predict(WINDOWS), predictor(chain)(WINDOWS))
    of_model = predictor(keras_chain.of_model(model))(WINDOWS)
    np.testing.assert_array_equal(of_model, predictor(chain)(WINDOWS))


def others():
    """Models that are no chain of dense layers."""
    from keras import Input, Model, layers

    inputs = Input((640,))
    x = layers.Dense(640)(inputs)
    yield "skip", Model(inputs, layers.Dense(640)(layers.Add()([x, inputs])))
    y = layers.Dense(640)(inputs)
    yield "wide", Model(inputs, layers.Maximum()([x, y]))
    yield "tanh", Model(inputs, layers.Dense(640, activation="tanh")(inputs))
    yield "no bias", Model(inputs, layers.Dense(640, use_bias=False)(inputs))
    yield "leaky", Model(inputs, layers.ReLU(negative_slope=0.1)(x))
    yield "norm after relu", Model(inputs, layers.BatchNormalization()(layers.ReLU()(x)))
    # A chain by its list of layers, not by how they are joined.
    first, second = layers.Dense(640), layers.Dense(640)
    second(first(inputs))
    yield "shared", Model(inputs, first(second(first(inputs))))


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_any_other_model_is_run_by_keras(tmp_path, suffix):
    for name, model in others():
        path = tmp_path / f"{name}{suffix}"
        lively(model).save(path)
        for chain_of, what in ((keras_chain.read, path), (keras_chain.of_model, model)):
            with pytest.raises(NotAChain):
                chain_of(what)
        expected = model.predict(WINDOWS, verbose=0)
        np.testing.assert_allclose(scorer(path)(WINDOWS), expected, rtol=1e-4)


def test_a_damaged_file_is_refused_by_keras(tmp_path):
    path = tmp_path / "model.keras"
    keras_model.build(640, UNITS).save(path)
    content = bytearray(path.read_bytes())
    for damaged in (content[:5000], b"", b"PK\3\4" + bytes(50)):
        path.write_bytes(damaged)
        with pytest.raises(UserError, match="not a readable Keras model"):
            scorer(path)


def test_another_vector_size_is_named(tmp_path):
    path = tmp_path / "model.keras"
    keras_model.build(320, UNITS).save(path)
    with pytest.raises(UserError, match="have 320 elements, the configuration's windows 640"):
        scorer(path)


def test_tensorflow_is_not_needed(tmp_path):
    path = tmp_path / "model.keras"
    keras_model.build(640, UNITS).save(path)
    program = (
        "import pathlib, sys, numpy as np\n"
        "from asd import config\n"
        "from asd.detectors import kinds\n"
        "detector = kinds.of(config.load_config())\n"
        "detector.load(pathlib.Path(sys.argv[1]))\n"
        "detector.predictor()(np.zeros((3, 640), np.float32))\n"
        "sys.exit('tensorflow' in sys.modules or 'keras' in sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", program, path], cwd=HERE, check=True)
