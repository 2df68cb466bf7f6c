"""Keras files read and run without TensorFlow, against Keras."""

import subprocess
import sys

import numpy as np
import pytest

import keras_model
from asd import dense
from common import HERE, UserError

WINDOWS = np.random.default_rng(0).normal(-30, 12, (3000, 640)).astype(np.float32)  # dB


@pytest.fixture(scope="module", autouse=True)
def tensorflow():
    keras_model.start_tensorflow(0)


def lively(model):
    """Arrays as after training: no zeros, ones or equal channels."""
    rng = np.random.default_rng(1)
    model.set_weights([a + 0.1 * rng.standard_normal(a.shape) ** 2 for a in model.get_weights()])
    return model


def models():
    """A model of each form that is a chain."""
    from keras import Input, Sequential, layers

    yield "reference", keras_model.build(640)
    yield "sequential", Sequential([
        Input((640,)), layers.Dense(16, activation="relu"), layers.Dense(16),
        layers.BatchNormalization(scale=False), layers.ReLU(), layers.Dense(16),
        layers.BatchNormalization(center=False, epsilon=0.1), layers.Dense(640),
    ])  # fmt: skip


@pytest.mark.parametrize("suffix", keras_model.SUFFIXES)
@pytest.mark.parametrize("form", ["reference", "sequential"])
def test_a_chain_is_read_and_run_as_keras_does(tmp_path, form, suffix):
    model = lively(dict(models())[form])
    path = tmp_path / f"model{suffix}"
    model.save(path)
    expected = model.predict(WINDOWS, verbose=0)
    chain = dense.read(path)
    assert np.ptp(expected) > 1
    scale = np.abs(expected).max()
    np.testing.assert_allclose(dense.predictor(chain)(WINDOWS), expected, atol=1e-5 * scale)
    predict = keras_model.scorer(path, 640)
    np.testing.assert_array_equal(predict(WINDOWS), dense.predictor(chain)(WINDOWS))
    of_model = dense.predictor(dense.of_model(model))(WINDOWS)
    np.testing.assert_array_equal(of_model, dense.predictor(chain)(WINDOWS))


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
        assert dense.read(path) is None, name
        with pytest.raises(dense.NotAChain):
            dense.of_model(model)
        expected = model.predict(WINDOWS, verbose=0)
        np.testing.assert_allclose(keras_model.scorer(path, 640)(WINDOWS), expected, rtol=1e-4)


def test_a_damaged_file_is_kerass_to_refuse(tmp_path):
    path = tmp_path / "model.keras"
    keras_model.build(640).save(path)
    content = bytearray(path.read_bytes())
    for damaged in (content[:5000], b"", b"PK\3\4" + bytes(50)):
        path.write_bytes(damaged)
        with pytest.raises(UserError, match="not a readable Keras model"):
            keras_model.scorer(path, 640)


def test_another_vector_size_is_named(tmp_path):
    path = tmp_path / "model.keras"
    keras_model.build(320).save(path)
    with pytest.raises(UserError, match=r"shape \(None, 320\)"):
        keras_model.scorer(path, 640)


def test_tensorflow_is_not_needed(tmp_path):
    path = tmp_path / "model.keras"
    keras_model.build(640).save(path)
    program = (
        "import sys, keras_model, numpy as np\n"
        "keras_model.scorer(sys.argv[1], 640)(np.zeros((3, 640), np.float32))\n"
        "sys.exit('tensorflow' in sys.modules or 'keras' in sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", program, path], cwd=HERE, check=True)
