"""CP-ResNet, its losses, optimiser and schedule against the original's arrays. Golden."""

from __future__ import annotations

import zlib

import keras
import msgspec
import numpy as np
import pytest
import tensorflow as tf

from asd import optimisers
from asd.losses import sections as losses
from asd.networks import cpresnet
from asd.networks.settings import CPResNet

TOLERANCE = 1e-5  # of |a - b| / (1 + |b|)
STATISTICS = {"gamma": "gamma", "beta": "beta", "mean": "moving_mean", "var": "moving_variance"}


@pytest.fixture(scope="module")
def nets(golden):
    return dict(np.load(golden / "cpjku_official_ae/a2_cpresnet.npz"))


@pytest.fixture(scope="module")
def losses_file(golden):
    return dict(np.load(golden / "cpjku_official_ae/a3_losses.npz"))


def near(ours, theirs, tolerance=TOLERANCE):
    ours = np.asarray(ours, np.float64)
    np.testing.assert_array_less(np.abs(ours - theirs) / (1 + np.abs(theirs)), tolerance)


def unit(seed, name, shape):
    """The recipe of the set's weights: uniform within +-1, float32."""
    rng = np.random.RandomState((zlib.crc32(name.encode()) ^ int(seed)) & 0xFFFFFFFF)
    return (2 * rng.random_sample(shape) - 1).astype(np.float32)


def fill(model, seed, prefix):
    """Give every layer its weights by the recipe."""
    for layer in model.layers:
        name = prefix + layer.name.replace(".", "/")
        if isinstance(layer, keras.layers.Conv2D):
            shape = layer.kernel.shape
            scale = np.float32(np.sqrt(3 / np.prod(shape[:3])))
            layer.kernel.assign(unit(seed, f"{name}/kernel", shape) * scale)
        elif layer.weights:
            for what, scale, plus in (("gamma", 0.25, 1), ("beta", 0.1, 0), ("mean", 0.1, 0),
                                      ("var", 0.5, 1)):  # fmt: skip
                drawn = unit(seed, f"{name}/{what}", layer.gamma.shape)
                getattr(layer, STATISTICS[what]).assign(plus + np.float32(scale) * drawn)


def network(rho, channels, shape, seed=None, prefix="", dtype="float64"):
    """The whole network, and outputs of the stages that the set keeps."""
    keras.config.set_dtype_policy(dtype)
    try:
        inputs = keras.Input((*shape, 1), dtype=dtype)
        settings = msgspec.convert(
            {"rho": np.broadcast_to(rho, 2).tolist(), "channels": channels}, CPResNet
        )
        model = keras.Model(inputs, cpresnet.build(settings, inputs, 6))
    finally:
        keras.config.set_dtype_policy("float32")
    if seed is not None:
        fill(model, seed, prefix)
    return model


STAGES = {"in": "in", "s1": "s1b4", "s2": "s2b4", "classmap": "cls.bn", "embedding": "s3b4",
          "logits": "logits"}  # fmt: skip


@pytest.mark.parametrize(("name", "rho"), [("r7", 7), ("r12", 12), ("r8x13", [8, 13])])
def test_golden_stages_in_inference(nets, name, rho):
    x = nets["x"][..., None].astype(np.float64)
    model = network(rho, 8, x.shape[1:3], nets["seed"], f"cpr8/{name}/")
    kept = [key.partition("/")[2] for key in nets if key.startswith(f"{name}/")]
    assert len(kept) >= 3
    for stage in kept:
        inner = keras.Model(model.inputs[0], model.get_layer(STAGES[stage]).output)
        near(inner(x, training=False), nets[f"{name}/{stage}"])


@pytest.mark.parametrize("rho", [7, 12])
def test_golden_full_width(nets, rho):
    x = nets["x"][:1, ..., None].astype(np.float64)
    model = network(rho, 128, x.shape[1:3], nets["seed"], f"cpr128/r{rho}/")
    embedding, logits = model(x, training=False)
    near(logits, nets[f"full_r{rho}/logits"])
    near(np.mean(embedding, (0, 1, 2)), nets[f"full_r{rho}/emb_chan_mean"])


@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-5), ("float32", 1e-4)])
def test_golden_training_step(nets, dtype, tolerance):
    x = nets["train/x"][..., None].astype(dtype)
    model = network(7, 8, x.shape[1:3], nets["seed"], "cpr8/r7/", dtype)
    labels = tf.one_hot(nets["train/section"], 6, dtype=dtype)
    with tf.GradientTape() as tape:
        _, logits = model(x, training=True)
        loss = tf.reduce_mean(losses.cross_entropy(labels, logits))
    near(logits, nets["train/logits"], tolerance)
    near(loss, nets["train/loss"], tolerance)
    variables = model.trainable_variables
    gradients = dict(zip(map(id, variables), tape.gradient(loss, variables), strict=True))
    compared = 0
    for key, theirs in nets.items():
        _, kind, *place = key.split("/") if key.startswith("train/") else ("", "", "")
        if kind not in ("grad", "after"):
            continue
        layer, what = model.get_layer(".".join(place[:-1])), place[-1]
        own = getattr(layer, STATISTICS.get(what, what))
        found = gradients[id(own)] if kind == "grad" else own
        found = np.asarray(found)
        assert np.abs(found - theirs).max() <= tolerance * (1 + np.abs(theirs).max()), key
        compared += 1
    assert compared > 100


def test_golden_receptive_fields_and_sizes(nets):
    for row, sizes in zip(nets["rho_table"], nets["rho_kernels"], strict=True):
        rho, printed, field, parameters, _, height, width = map(int, row)
        assert cpresnet.kernels(rho) == sizes.tolist()
        assert cpresnet.receptive_field(rho) == field == printed + 2
        if rho in (1, 7, 12, 22):
            model = network(rho, 128, (128, 311), dtype="float32")
            assert model.outputs[0].shape == (None, height, width, 512)
            assert sum(np.prod(one.shape) for one in model.trainable_variables) == parameters


@pytest.mark.parametrize("rho", [1, 3, 7])
def test_the_receptive_field_is_what_moves_a_place(rho):
    """Measured: the rows and columns of the input that change one place of the map."""
    size = 121
    model = network([rho, rho + 1], 4, (size, size))
    rng = np.random.default_rng(0)
    image = rng.standard_normal((size, size))
    for axis, of_axis in ((0, rho), (1, rho + 1)):
        images = np.repeat(image[None], size + 1, 0)
        at = (np.arange(size),) * 2
        images[at if axis == 0 else (at[0], slice(None), at[0])] += rng.standard_normal(
            (size, size)
        )
        places = model.predict(images[..., None], verbose=0)[0][:, 14, 14]
        changed = np.flatnonzero((places[:-1] != places[-1]).any(axis=1))
        assert changed[-1] - changed[0] + 1 == cpresnet.receptive_field(of_axis)


# Losses


def test_golden_cross_entropies(losses_file):
    f = losses_file
    logits, section = f["logits_in"].astype(np.float64), f["section"]
    own = losses.cross_entropy(tf.one_hot(section, 6, dtype="float64"), logits)
    near(own, f["ce"])
    po = losses.of_outliers(f["logits_out"].astype(np.float64))
    near(po, f["po"])
    near(np.mean(own) + 0.5 * np.mean(po), f["total_ce_po"])


@pytest.mark.parametrize("faithful", [False, True])
def test_golden_mixed_labels(losses_file, faithful):
    f = losses_file
    share = tf.constant(f["mix_factor"].astype(np.float64))
    mixed = losses.mixed_labels(f["section"], f["other_section"], share, 6, faithful)
    found = losses.cross_entropy(mixed, f["logits_in"].astype(np.float64))
    right, other = ("upstream", "right") if faithful else ("right", "upstream")
    near(found, f[f"ce_mix_{right}"])
    assert np.abs(found - f[f"ce_mix_{other}"]).max() > 0.01
    if not faithful:
        np.testing.assert_allclose(np.sum(mixed, 1), 1, atol=1e-12)


@pytest.mark.parametrize("margin", [0.5, 1.0])
@pytest.mark.parametrize("weight", [0.9, 1.0])
@pytest.mark.parametrize("with_outliers", [0, 1])
def test_golden_alignment(losses_file, margin, weight, with_outliers):
    f = {key.removeprefix("ccsa/"): one for key, one in losses_file.items()}
    source, target = (
        tf.constant(f[f"emb_{one}"].astype(np.float64)) for one in ("source", "target")
    )
    both = np.concatenate([f["logits_source"], f["logits_target"]]).astype(np.float64)
    labels = tf.one_hot(np.concatenate([f["sec_source"], f["sec_target"]]), 6, dtype="float64")
    with tf.GradientTape() as tape:
        tape.watch([source, target])
        parts = losses.alignment(source, target, f["sec_source"], f["sec_target"], margin)
        told_apart = tf.reduce_mean(losses.cross_entropy(labels, both))
        if with_outliers:
            po = losses.of_outliers(f["logits_po"].astype(np.float64))
            told_apart += 0.5 * tf.reduce_mean(po)
        domains = sum(map(tf.reduce_mean, parts)) / 2
        total = weight * told_apart + (1 - weight) * domains
    name = f"m{margin}_l{weight}_po{with_outliers}"
    near(parts[0], f[f"m{margin}/semantic"])
    near(parts[1], f[f"m{margin}/contrastive"])
    near(total, f[f"{name}/total"])
    if f"{name}/grad_source" in f:
        for which, ours in zip(("source", "target"), tape.gradient(total, [source, target]),
                               strict=True):  # fmt: skip
            near(ours, f[f"{name}/grad_{which}"])


def test_alignment_of_equal_embeddings_has_a_gradient():
    """At distance 0 the root has none, and one such pair would end the training as NaN."""
    same = tf.constant(np.ones((2, 3)))
    with tf.GradientTape() as tape:
        tape.watch(same)
        parts = losses.alignment(same, same, np.array([0, 1]), np.array([0, 1]), 1.0)
        total = sum(map(tf.reduce_mean, parts))
    assert float(total) == pytest.approx(0.5, abs=1e-5)
    assert np.isfinite(tape.gradient(total, same)).all()


# Optimiser and schedule


@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-8), ("float32", 1e-6)])
def test_golden_adam(losses_file, dtype, tolerance):
    params = losses_file["adam/params"]
    variable = keras.Variable(params[0], dtype=dtype)
    optimiser = optimisers.Adam(1e-2, 1e-2)
    optimiser.build([variable])
    for gradient, expected in zip(losses_file["adam/grads"], params[1:], strict=True):
        optimiser.apply_gradients([(tf.constant(gradient, dtype), variable)])
        np.testing.assert_allclose(variable.numpy(), expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize("faithful", [False, True])
def test_golden_falling_rate(losses_file, faithful):
    for epoch, factor, published, right in losses_file["lr_default"]:
        found = optimisers.falling_rate(int(epoch), 1e-4, 1e-5, 30, 60, faithful)
        assert found == pytest.approx(published if faithful else right, rel=1e-9), epoch
        if faithful:
            assert found == pytest.approx(1e-4 * factor, rel=1e-9)
    for epoch, _, rate in losses_file["lr_finetune"]:
        found = optimisers.falling_rate(int(epoch), 1e-5, 1e-5, 3, 0, faithful)
        assert found == pytest.approx(rate if faithful else 1e-5, rel=1e-9)


def test_adam_is_kept_with_a_model(tmp_path):
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    model.compile(optimisers.Adam(1e-2, 0.5), "mse")
    x, y = np.ones((4, 3), np.float32), np.ones((4, 2), np.float32)
    model.fit(x, y, epochs=3, verbose=0)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert isinstance(again.optimizer, optimisers.Adam) and again.optimizer.decay == 0.5
    for one in (model, again):
        one.fit(x, y, epochs=2, verbose=0)
    for one, other in zip(model.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
