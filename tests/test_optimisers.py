"""Optimiser, schedule and first weights against PyTorch's; pooling of frames."""

from __future__ import annotations

import numpy as np
import pytest

keras = pytest.importorskip("keras")
tf = pytest.importorskip("tensorflow")

from asd.networks import initialisers  # noqa: E402
from asd.networks.pooling import AttentivePooling  # noqa: E402
from asd.optimisers import AdamW, WarmUp  # noqa: E402

# Of float64 what Keras keeps as float32 remains: the learning rate.
TOLERANCES = {"float64": 1e-9, "float32": 2e-7}


@pytest.fixture(scope="module")
def arrays(golden):
    with np.load(golden / "asdkit/08_training.npz") as archive:
        return {name: archive[name] for name in archive.files
                if name.startswith(("lora_lr", "adamw", "init/", "head/param"))}  # fmt: skip


@pytest.mark.parametrize("dtype", TOLERANCES)
def test_golden_adamw(arrays, dtype):
    lr, beta_1, beta_2, epsilon, decay = map(float, arrays["adamw/lr_b1_b2_eps_wd"])
    optimiser = AdamW(lr, decay, beta_1, beta_2, epsilon)
    variable = keras.Variable(arrays["adamw/w0"], dtype=dtype)
    optimiser.build([variable])
    step = tf.function(lambda gradient: optimiser.apply_gradients([(gradient, variable)]))
    largest = np.abs(arrays["adamw/w"]).max()
    for gradient, expected in zip(arrays["adamw/grads"], arrays["adamw/w"], strict=True):
        step(tf.constant(gradient, dtype))
        at_most = TOLERANCES[dtype] * largest
        np.testing.assert_allclose(variable.numpy(), expected, rtol=0, atol=at_most)


def by_hand(gradients, lr, decay, epsilon=1e-8, beta_1=0.9, beta_2=0.999):
    """The published algorithm in float64, from a weight of 1."""
    w, m, v = 1.0, 0.0, 0.0
    for t, g in enumerate(gradients, 1):
        w -= lr * decay * w
        m, v = beta_1 * m + (1 - beta_1) * g, beta_2 * v + (1 - beta_2) * g * g
        w -= lr * (m / (1 - beta_1**t)) / (np.sqrt(v / (1 - beta_2**t)) + epsilon)
    return w


def moved(optimiser, gradients):
    variable = keras.Variable(1.0, dtype="float64")
    optimiser.build([variable])
    for gradient in gradients:
        optimiser.apply_gradients([(tf.constant(gradient, tf.float64), variable)])
    return float(variable.numpy())


@pytest.mark.parametrize("size", [1.0, 1e-7, 1e-8, 0.0])
def test_adamw_adds_epsilon_after_the_correction(size):
    """Which tells where gradients are small; the decay is there without any."""
    gradients = size * np.array([1.0, -0.3, 0.5])
    found = moved(AdamW(0.5, 0.1), gradients)
    # Keras has the decay in float32.
    assert found == pytest.approx(by_hand(gradients, 0.5, 0.1), rel=1e-6)
    if 0 < size < 1e-6:
        keras_own = moved(keras.optimizers.AdamW(0.5, 0.1, epsilon=1e-8), gradients)
        assert abs(keras_own - found) > 0.1


def test_adamw_is_kept_with_a_model(tmp_path):
    """Saved in training and loaded, the next step is the same."""
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    model.compile(AdamW(WarmUp(1e-2, 4), 0.01), "mse")
    x, y = np.ones((4, 3), np.float32), np.ones((4, 2), np.float32)
    model.fit(x, y, epochs=3, verbose=0)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert isinstance(again.optimizer, AdamW)
    for one in (model, again):
        one.fit(x, y, epochs=2, verbose=0)
    for one, other in zip(model.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_golden_warm_up(arrays):
    steps, rates = arrays["lora_lr/step"], arrays["lora_lr/lr"]
    warm = int(steps[np.argmax(rates == rates.max())])
    schedule = WarmUp(float(rates.max()), warm)
    found = [float(schedule(int(step))) for step in steps]
    np.testing.assert_allclose(found, rates, rtol=1e-7, atol=0)


def test_the_first_step_of_a_warm_up_does_nothing():
    assert moved(AdamW(WarmUp(0.5, 2), 0.1), [1.0]) == 1.0
    assert moved(AdamW(WarmUp(0.5, 2), 0.1), [1.0, 1.0]) < 0.9
    assert float(WarmUp(0.5, 0)(7)) == 0.5


def keras_shape(text):
    """The shape that Keras has for a kernel of PyTorch's "out x in x ..."."""
    outputs, inputs, *size = map(int, text.split("x"))
    return (*size, inputs, outputs)


def test_golden_first_weights(arrays):
    shapes = dict(zip(arrays["head/param_name"], arrays["head/param_shape"], strict=True))
    for name, bound in zip(arrays["init/names"], arrays["init/bound"], strict=True):
        if name == "fft/d0/kernel":  # its inputs follow from the clips' length, another there
            continue
        shape = keras_shape(str(shapes[name]))
        drawn = np.abs(initialisers.by_inputs(seed=1)(shape).numpy())
        assert drawn.max() <= bound * (1 + 1e-6), name
        assert drawn.max() > bound * (1 - 20 / drawn.size), name
        bias = np.abs(initialisers.bias_by_inputs(round(bound**-2), seed=1)((999,)).numpy())
        assert 0.98 * bound < bias.max() <= bound * (1 + 1e-6)


POOLING = {  # a layer of ours and its name in the golden data
    "narrow": "ctx_conv1", "narrow_norm": "ctx_bn", "wide": "ctx_conv2", "norm": "bn1",
    "dense": "dense", "out_norm": "bn2",
}  # fmt: skip


def test_golden_pooling(golden):
    with np.load(golden / "asdkit/03_augment_featex_subspace.npz") as archive:
        of = {name.removeprefix("attnpool/"): archive[name] for name in archive.files
              if name.startswith("attnpool/")}  # fmt: skip
    pooling = AttentivePooling(len(of["dense/bias"]), dtype="float64")
    pooling.build((None, None, of["in"].shape[-1]))
    for layer, name in POOLING.items():
        weight, bias = of[f"{name}/weight"], of[f"{name}/bias"]
        if "norm" not in layer:
            weight = weight.reshape(weight.shape[:2]).T
        kept = [one.numpy() for one in getattr(pooling, layer).weights[2:]]
        getattr(pooling, layer).set_weights([weight, bias, *kept])
    for training, name in ((False, "out_eval"), (True, "out_train")):
        found = pooling(of["in"], training=training)
        np.testing.assert_allclose(found, of[name], rtol=0, atol=1e-9, err_msg=name)


def test_pooling_of_a_single_frame_and_of_repeated_ones(tmp_path):
    """One frame has no deviation; frames said twice are pooled alike but for the n - 1."""
    inputs = keras.Input((None, 32))
    model = keras.Model(inputs, AttentivePooling(8)(inputs))
    x = np.random.default_rng(0).standard_normal((2, 1, 32)).astype(np.float32)
    single = model(x).numpy()
    assert np.isfinite(single).all()
    np.testing.assert_allclose(model(np.repeat(x, 5, 1)), single, rtol=1e-4, atol=1e-4)
    model.save(tmp_path / "pool.keras")
    again = keras.models.load_model(tmp_path / "pool.keras")
    np.testing.assert_array_equal(again(x), single)
