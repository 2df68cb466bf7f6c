"""MADE, MAF and the conditional auto-encoder against the arrays of the original program."""

from __future__ import annotations

import zlib

import numpy as np
import pytest

keras = pytest.importorskip("keras")
tf = pytest.importorskip("tensorflow")

from asd.densities import losses, masks  # noqa: E402
from asd.densities.networks import ConditionalAutoEncoder, Made, Maf  # noqa: E402

N = 6  # conditions of the golden arrays: sections


@pytest.fixture(scope="module")
def arrays(golden):
    with np.load(golden / "cpjku_official_ae/a4_density.npz") as archive:
        return {name: archive[name] for name in archive.files}


def close(found, expected, at_most=1e-5):
    """Within the golden set's measure, |a - b| / (1 + |b|)."""
    found, expected = np.asarray(found), np.asarray(expected)
    assert found.shape == expected.shape
    assert np.max(np.abs(found - expected) / (1 + np.abs(expected))) < at_most


GAINS = {"made": (1.4, 0.5), "gmade": (1.4, 0.5), "maf": (1.4, 0.5), "mafmog": (1.4, 0.5),
         "pomade": (1.4, 0.2), "cae": (1.2, 1.2)}  # fmt: skip


def filled(network, prefix, seed):
    """The network with the golden set's weights, which its README tells how to draw."""
    network.make()
    gain, gain_out = GAINS[prefix]

    def uniform(name, shape):
        state = np.random.RandomState((zlib.crc32(name.encode()) ^ int(seed)) & 0xFFFFFFFF)
        return np.float32(2 * state.random_sample(shape) - 1)

    scales = {"bias": 0.1, "cond": 0.3, "log_gamma": 0.2, "beta": 0.1, "gamma": 0.25, "mean": 0.1,
              "var": 0.5}  # fmt: skip
    for name, variable in network.named().items():
        name = name.replace("moving_mean", "mean").replace("moving_variance", "var")
        layer, kind = name.rsplit("/", 1)
        scale = scales.get(kind)
        if kind == "kernel":
            last = layer.rsplit("/", 1)[-1] == "out"
            scale = (gain_out if last else gain) * np.sqrt(3 / variable.shape[0])
        value = np.float32(scale) * uniform(f"{prefix}/{name}", tuple(variable.shape))
        value = value + np.float32(kind in ("gamma", "var"))
        variable.assign(value)
        if variable.constraint:
            variable.assign(variable.constraint(variable.value))
    return network


def gradients(network, arrays, names, training=False):
    """Of the loss, by names of variables; of closed weights 0, as no step moves them."""
    x, section = tf.constant(arrays["x"], tf.float64), tf.constant(arrays["section"])
    with tf.GradientTape() as tape:
        log_likelihoods = network(x, section, training=training) / network.size
        loss = losses.negative_log_likelihood(log_likelihoods)
    named = network.named()
    found = tape.gradient(loss, [named[name].value for name in names])
    open_ones = [named[name].constraint or (lambda one: one) for name in names]
    return [keep(one).numpy() for keep, one in zip(open_ones, found, strict=True)]


@pytest.mark.parametrize("order", ["seq", "rev"])
def test_golden_masks(arrays, order):
    size, width = arrays[f"mask/{order}_0"].shape
    for i, mask in enumerate(masks.masks(size, [width] * 3, order == "rev")):
        np.testing.assert_array_equal(mask, arrays[f"mask/{order}_{i}"])


def test_golden_masks_of_the_full_size(arrays):
    fan_in = [mask.sum(axis=0) for mask in masks.masks(640, [2048, 2048])]
    np.testing.assert_array_equal(np.concatenate(fan_in), arrays["mask/full_fan"])


def made(arrays, prefix, hidden=(32,) * 5, **how):
    size = arrays["x"].shape[1]
    return filled(Made(size, N, hidden, dtype="float64", **how), prefix, arrays["seed"])


def test_golden_made(arrays):
    network = made(arrays, "made")
    x, section = tf.constant(arrays["x"], tf.float64), tf.constant(arrays["section"])
    told = network.gaussians(x, section)
    for name in ("mean", "log_scale", "u"):
        close(getattr(told, name)[:, 0], arrays[f"made/{name}"])
    found = network(x, section)
    close(found, arrays["made/logp"])
    close(-found / network.size, arrays["made/score"])
    close(network(x), arrays["made/logp_uncond"])


def test_golden_made_gradients(arrays):
    names = [name.removeprefix("made/grad/") for name in arrays if name.startswith("made/grad/")]
    assert len(names) == 13
    for name, one in zip(names, gradients(made(arrays, "made"), arrays, names), strict=True):
        close(one, arrays[f"made/grad/{name}"])


def test_golden_mixture(arrays):
    network = made(arrays, "gmade", components=arrays["gmade/u"].shape[1])
    x, section = tf.constant(arrays["x"], tf.float64), tf.constant(arrays["section"])
    told = network.gaussians(x, section)
    for name in ("u", "log_scale", "log_weight"):
        close(getattr(told, name), arrays[f"gmade/{name}"])
    close(network(x, section), arrays["gmade/logp"])
    names = ["out/kernel", "out/bias"]
    for name, one in zip(names, gradients(network, arrays, names), strict=True):
        close(one, arrays[f"gmade/grad/{name}"])


def maf(arrays, prefix, **how):
    size = arrays["x"].shape[1]
    return filled(Maf(size, N, (32, 32), dtype="float64", **how), prefix, arrays["seed"])


def test_golden_maf_scores(arrays):
    network = maf(arrays, "maf", blocks=4)
    x, section = tf.constant(arrays["x"], tf.float64), tf.constant(arrays["section"])
    steps = list(network.steps(x, section, False))
    for i, (z, _) in enumerate(steps, 1):
        close(z, arrays[f"maf/eval/z{i}"])
    close(steps[-1][0], arrays["maf/eval/u"])
    close(sum(change for _, change in steps), arrays["maf/eval/logdet"])
    close(network(x, section), arrays["maf/eval/logp"])


def test_golden_maf_in_training(arrays):
    network = maf(arrays, "maf", blocks=4)
    x, section = tf.constant(arrays["x"], tf.float64), tf.constant(arrays["section"])
    start = "maf/train/grad/"
    names = [name.removeprefix(start) for name in arrays if name.startswith(start)]
    assert len(names) == 10
    for name, one in zip(names, gradients(network, arrays, names, training=True), strict=True):
        close(one, arrays[start + name])
    network = maf(arrays, "maf", blocks=4)
    close(network(x, section, training=True), arrays["maf/train/logp"])
    for i in range(1, 5):
        for name in ("mean", "var"):
            close(network.named()[f"b{i}/bn/{name}"], arrays[f"maf/train/b{i}/{name}"])
    close(network(x, section), arrays["maf/train/logp_eval_after"])


def test_golden_mixture_behind_a_flow(arrays):
    network = maf(arrays, "mafmog", blocks=2, components=2)
    x, section = tf.constant(arrays["x"], tf.float64), tf.constant(arrays["section"])
    close(network(x, section), arrays["mafmog/logp"])


def autoencoder(arrays):
    size = arrays["x"].shape[1]
    network = ConditionalAutoEncoder(size, N, (16,) * 4, 8, (16,) * 5, dtype="float64")
    return filled(network, "cae", arrays["seed"])


def test_golden_conditional_autoencoder(arrays):
    network = autoencoder(arrays)
    x, section = tf.constant(arrays["x"], tf.float64), tf.constant(arrays["section"])
    close(network.reconstruct(x, section), arrays["cae/eval/x_hat"])
    close(network(x, section), arrays["cae/eval/logp"])
    close(network(x, section, training=True), arrays["cae/train/logp"])
    for name in (one for one in arrays if one.startswith("cae/train/after/")):
        _, _, _, layer, kind = name.split("/")
        moving = {"mean": "moving_mean", "var": "moving_variance"}[kind]
        close(network.named()[f"{layer}/bn/{moving}"], arrays[name])


def test_golden_chains_of_sections(arrays):
    """Of dB: bands are normalised within the chain, and its outputs are dB again."""
    from asd.detectors import density_chains
    from asd.features.standard import Standard
    from asd.tflite import chain, fold

    network, width = autoencoder(arrays), 5
    rng = np.random.default_rng(0)
    mean, std = rng.normal(-30, 5, width), rng.uniform(2, 9, width)
    standard = Standard(mean.astype(np.float32), std.astype(np.float32))
    x, x_hat = (arrays[name].reshape(8, -1, width) * std + mean for name in ("x", "cae/eval/x_hat"))
    for section in range(N):
        own = arrays["section"] == section
        made = density_chains.given(network, section, standard)
        for one in (made, fold.fold_batch_norm(made)):
            found = chain.predictor(one)(x[own].reshape(own.sum(), -1).astype(np.float32))
            close(found, x_hat[own].reshape(own.sum(), -1), at_most=1e-4)
    error = density_chains.error_of(standard)(x.reshape(8, -1), x_hat.reshape(8, -1))
    assert error == pytest.approx(-arrays["cae/eval/logp"].mean() / network.size, rel=1e-5)


def test_golden_conditional_autoencoder_gradients(arrays):
    start = "cae/train/grad/"
    names = [name.removeprefix(start) for name in arrays if name.startswith(start)]
    assert len(names) == 8
    found = gradients(autoencoder(arrays), arrays, names, training=True)
    for name, one in zip(names, found, strict=True):
        close(one, arrays[start + name])


def test_golden_margin_ranking(arrays):
    normal, outliers = (tf.constant(arrays[f"po/logp_{name}"]) for name in ("in", "out"))
    for name in (one for one in arrays if one.startswith("po/margin_")):
        margin = float(name.removeprefix("po/margin_"))
        close(losses.margin_ranking(normal, outliers, margin), arrays[name])
        swapped = losses.margin_ranking(outliers, normal, margin)  # as many pairs
        assert not np.isclose(swapped, arrays[name])


def test_golden_step_with_outliers(arrays):
    network = filled(Made(640, N, (64, 64), dtype="float64"), "pomade", arrays["seed"])

    def normalised(which, sections):
        frames = np.moveaxis(arrays[f"postep/x_{which}"], 1, 2)  # (n, frames, mels)
        x = tf.constant(frames.reshape(len(frames), -1), tf.float64)
        return network(x, tf.constant(arrays[f"postep/{sections}"])) / network.size

    normal, outliers = normalised("in", "sec_in"), normalised("out", "sec_out_used")
    close(normal, arrays["postep/logp_in"])
    close(outliers, arrays["postep/logp_out"])
    total = losses.negative_log_likelihood(normal) + losses.margin_ranking(normal, outliers, 0.5)
    close(total, arrays["postep/total"])


COUNTED = (
    lambda: Made(640, N, (2048,) * 5),
    lambda: Made(640, N, (2048,) * 5, components=2),
    lambda: Maf(640, N, (2048, 2048), blocks=4),
    lambda: Maf(640, N, (2048, 2048), blocks=4, components=2),
    lambda: ConditionalAutoEncoder(640, N, (128,) * 4, 8, (128,) * 5),
)


def test_golden_counts_of_parameters(arrays):
    for make, count in zip(COUNTED, arrays["param_counts"], strict=True):
        network = make()
        network.make()
        learnt = (one for one in network.named().values() if one.trainable)
        assert sum(int(np.prod(one.shape)) for one in learnt) == count


@pytest.mark.parametrize("how", ["cyclic", "spread"])
@pytest.mark.parametrize("is_reversed", [False, True])
def test_no_element_is_told_of_itself_or_of_higher_degrees(how, is_reversed):
    size = 9
    network = Made(size, N, (32, 32), is_reversed=is_reversed, degrees=how, dtype="float64")
    network.make()
    x = tf.Variable(np.random.default_rng(0).normal(size=(50, size)))  # units are still at some
    with tf.GradientTape() as tape:
        mean = network.gaussians(x, tf.fill([50], 2)).mean[:, 0]
    moves = (tape.batch_jacobian(mean, x).numpy() != 0).any(axis=0)  # (outputs, inputs)
    degrees = masks.input_degrees(size, is_reversed)
    np.testing.assert_array_equal(moves, degrees[:, None] > degrees[None, :])


def test_few_units_look_at_all_elements_where_degrees_are_spread():
    """In turn from 0 they look at the first alone; wider layers are alike."""
    looked_at = {how: masks.masks(640, [64], how=how)[0].any(axis=1).sum()
                 for how in ("cyclic", "spread")}  # fmt: skip
    assert looked_at["cyclic"] == 64 and looked_at["spread"] > 620
    wide = [np.bincount(masks.hidden_degrees(639 * 3, 640, how)) for how in ("cyclic", "spread")]
    np.testing.assert_array_equal(*wide)


DENSITIES = {
    "made": lambda: Made(2, N, (16,), dtype="float64"),
    "mixture": lambda: Made(2, N, (16,), components=3, dtype="float64"),
    "maf": lambda: Maf(2, N, (16,), blocks=3, dtype="float64"),
    "mixture behind a flow": lambda: Maf(2, N, (16,), blocks=2, components=2, dtype="float64"),
}


@pytest.mark.parametrize("kind", DENSITIES)
def test_densities_integrate_to_one(kind):
    keras.utils.set_random_seed(3)
    network = DENSITIES[kind]()
    network.make()
    axis = np.linspace(-12, 12, 481)
    grid = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    inside = np.exp(network(tf.constant(grid), tf.fill([len(grid)], 1)).numpy()).sum()
    assert inside * (axis[1] - axis[0]) ** 2 == pytest.approx(1, abs=1e-3)


def products(network, x, condition):
    """The log-likelihoods with the product of weights and masks in every pass."""
    *inner, last = network.parts.values()
    y = x
    for layer in inner:
        y = y @ (layer.kernel * layer.mask) + layer.bias
        if layer.cond is not None:
            y += tf.gather(layer.cond, condition)
        y = tf.nn.relu(y)
    mean, log_scale = tf.split(y @ (last.kernel * last.mask) + last.bias, 2, axis=1)
    u = (x - mean) * tf.exp(-log_scale)
    return tf.reduce_sum(-0.5 * u * u - 0.5 * np.log(2 * np.pi) - log_scale, axis=1)


def test_closed_weights_need_no_product_in_training():
    """Twenty steps with weights that are closed after each, and with a product in each: one net."""
    from asd.optimisers import Adam

    rng = np.random.default_rng(0)
    batches = [(tf.constant(rng.normal(size=(16, 12))), tf.constant(rng.integers(0, N, 16)))
               for _ in range(20)]  # fmt: skip
    networks = []
    for of_products in (False, True):
        keras.utils.set_random_seed(1)
        network = Made(12, N, (24, 24), dtype="float64")
        network.make()
        networks.append(network)
        variables = list(network.named().values())
        if of_products:
            for one in variables:
                one.constraint = None
        optimiser = Adam(1e-2, 1e-3)
        optimiser.build(variables)
        for x, condition in batches:
            with tf.GradientTape() as tape:
                found = products(network, x, condition) if of_products else network(x, condition)
                loss = losses.negative_log_likelihood(found)
            gradients = tape.gradient(loss, [one.value for one in variables])
            optimiser.apply_gradients(zip(gradients, variables, strict=True))
    ours, theirs = networks
    start = Made(12, N, (24, 24), dtype="float64")
    start.make()
    for name, one in ours.named().items():
        other = theirs.named()[name].numpy()
        layer, kind = name.split("/")
        if kind == "kernel":
            mask = ours.parts[layer].mask
            assert (one.numpy()[mask == 0] == 0).all()
            other = other * mask
            assert np.abs(other - start.named()[name].numpy()).max() > 1e-2  # there was training
        np.testing.assert_allclose(one.numpy(), other, rtol=1e-9, atol=1e-12)
