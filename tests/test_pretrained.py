"""BEATs and EAT: from checkpoints to tokens as the formulas have them; LoRA beside them."""

from __future__ import annotations

import numpy as np
import pytest
import torch_files
import transformers_by_formula as formulas

import keras_model
from asd.networks import architecture, convert, kinds
from asd.networks.scaling import SCALINGS
from asd.sections import Choice
from common import UserError

RATE = 16000


@pytest.fixture(autouse=True, scope="module")
def _started():
    keras_model.start_tensorflow(0)


def wave(n_samples, seed=0):
    """Noise and a tone over some of it, (n_samples,) float32."""
    rng = np.random.default_rng(seed)
    time = np.arange(n_samples) / RATE
    loud = np.sin(2 * np.pi * 900 * time) * (time > 0.3)
    return (0.05 * rng.standard_normal(n_samples) + 0.2 * loud + 0.01).astype(np.float32)


def converted(folder, checkpoint, name="small"):
    path = folder / f"{name}.npz"
    convert.convert(torch_files.write(folder / f"{name}.pt", checkpoint), path)
    return path


def tokens_of(path, kind, frames=None):
    """A network of waves of any length, not trained."""
    from asd.networks import pretrained

    return pretrained.frozen(path, architecture.sha256(path), kind, frames or SCALINGS[kind])


def outputs(network, name, waves):
    import keras

    return keras.Model(network.input, network.get_layer(name).output)(waves).numpy()


# Front ends


@pytest.mark.parametrize("n_samples", [2800, 5360, 5361, 20000])
@pytest.mark.parametrize("kind", ["beats", "eat"])
def test_frames_are_kaldis(kind, n_samples):
    from asd.networks.fbank import Fbank

    waves = np.stack([wave(n_samples, seed) for seed in (0, 1)])
    found = Fbank(SCALINGS[kind])(waves).numpy()
    of = formulas.frames_of_beats if kind == "beats" else (
        lambda one: formulas.frames_of_eat(one, 1024))  # fmt: skip
    np.testing.assert_allclose(found, [of(one) for one in waves], rtol=0, atol=1e-4)


@pytest.mark.parametrize("n_samples", [400, 2799, 2800, 2960, 165000, 170000])
def test_frames_of_eat_are_whole_patches(n_samples):
    from asd.networks.fbank import Fbank

    for least in (16, 1024):
        scaling = SCALINGS["eat"]._replace(least_frames=least)
        n_frames = 1 + (n_samples - 400) // 160
        assert Fbank(scaling)(np.zeros((1, n_samples), np.float32)).shape == (
            1, max(least, -(-n_frames // 16) * 16), 128)  # fmt: skip


def test_silence_is_the_floor():
    from asd.networks.fbank import Fbank

    zeros = np.zeros((1, 2800), np.float32)
    found = Fbank(SCALINGS["beats"])(zeros).numpy()
    np.testing.assert_allclose(found, (np.log(2.0**-23) - 15.41663) / 13.11164, rtol=1e-6)


# Tokens

BEATS = {
    "usual": {},
    "norm first": {"layer_norm_first": True, "deep_norm": False},
    "no bias by distance": {"relative_position_embedding": False, "gru_rel_pos": False},
    "no gate": {"gru_rel_pos": False},
    "no projection": {"embed_dim": 24, "conv_bias": True, "deep_norm": False},
    "odd kernel": {"conv_pos": 5, "conv_pos_groups": 3},
}  # fmt: skip


@pytest.mark.parametrize("name", BEATS)
def test_beats_as_the_formulas_have_it(tmp_path, name):
    checkpoint = torch_files.beats(seed=1, **BEATS[name])
    network = tokens_of(converted(tmp_path, checkpoint), "beats")
    for n_samples in (2800, 15000):
        one = wave(n_samples)
        maps = formulas.beats(checkpoint, formulas.frames_of_beats(one))
        for layer in ("position", "block0", "block1"):
            found = outputs(network, layer, one[None])[0]
            np.testing.assert_allclose(found, maps[layer], rtol=0, atol=5e-5, err_msg=layer)
        found = network(one[None]).numpy()[0]
        np.testing.assert_allclose(found, maps["tokens"], rtol=0, atol=5e-5)
    assert len(found) == 40  # distances beyond those of the last bucket


def test_buckets_of_the_published_size():
    from asd.networks.blocks import buckets_of

    distances = np.arange(-2000, 2001)
    for most in (800, 1280):
        ours = buckets_of(distances, 320, most)
        assert ours.tolist() == [formulas.bucket(int(d), 320, most) for d in distances]
        assert ours.min() == 0 and ours.max() == 319


EAT_CASES = {
    "usual": {},
    "norm first": {"layer_norm_first": True},
    "more": {"depth": 2, "modalities": {"image": torch_files.EAT["modalities"]["image"]
                                        | {"num_extra_tokens": 3, "prenet_depth": 1}}},
}  # fmt: skip


@pytest.mark.parametrize("tuned", [False, True])
@pytest.mark.parametrize("name", EAT_CASES)
def test_eat_as_the_formulas_have_it(tmp_path, name, tuned):
    checkpoint = torch_files.eat(seed=2, tuned=tuned, **EAT_CASES[name])
    frames = SCALINGS["eat"]._replace(least_frames=64)
    network = tokens_of(converted(tmp_path, checkpoint), "eat", frames)
    for n_samples in (2800, 15000):
        one = wave(n_samples)
        maps = formulas.eat(checkpoint, formulas.frames_of_eat(one, 64), "model." * tuned)
        for layer in ("tokens", "block0", "block1"):
            found = outputs(network, layer, one[None])[0]
            np.testing.assert_allclose(found, maps[layer], rtol=0, atol=5e-5, err_msg=layer)
        found = network(one[None]).numpy()[0]
        np.testing.assert_allclose(found, maps["end"], rtol=0, atol=5e-5)


# What learns

LORA = {"rank": 2, "alpha": 6.0, "layers": ["q", "v"]}


def built(path, kind="beats", n_samples=5360, **values):
    """A network as a section of a YAML file has it."""
    values = {"path": str(path), "width": 6, **values}
    if kind == "eat":
        values = {"least_frames": 32} | values
    return kinds.build(Choice(path, "detector.network", kind, values), n_samples, RATE)


@pytest.fixture(scope="module")
def files_of(tmp_path_factory):
    folder = tmp_path_factory.mktemp("networks")
    return {"beats": converted(folder, torch_files.beats(), "beats"),
            "eat": converted(folder, torch_files.eat(), "eat")}  # fmt: skip


def drawn(network, seed=0):
    """Set what learns, by the order of its names, as after some training."""
    rng = np.random.default_rng(seed)
    for one in network.trainable_variables:
        one.assign(one + 0.3 * rng.standard_normal(one.shape))


@pytest.mark.parametrize("kind", ["beats", "eat"])
def test_what_is_trained(files_of, kind):
    """LoRA's two matrices of the named layers, the pooling and the dense layer; nothing else."""
    learnt = {one.path for one in built(files_of[kind], kind, lora=LORA,
                                        pooling="mean").trainable_variables}  # fmt: skip
    of_lora = {f"block{i}/{part}/lora_{one}" for i in range(3) for part in "qv" for one in "ab"}
    assert learnt == of_lora | {"dense/kernel", "dense/bias"}
    for none in (None, LORA | {"rank": 0}):
        attentive = built(files_of[kind], kind, lora=none).trainable_variables
        assert {one.path.split("/")[0] for one in attentive} == {"pooling"}
    every = built(
        files_of[kind], kind, lora=LORA | {"layers": ["q", "k", "v", "out", "fc1", "fc2"]}
    )
    assert sum("lora" in one.path for one in every.trainable_variables) == 3 * 6 * 2


@pytest.mark.parametrize("kind", ["beats", "eat"])
@pytest.mark.parametrize("pooling", ["mean", "attentive"])
def test_it_begins_as_the_transformer_and_the_pooling_are(files_of, kind, pooling):
    """With B at 0 the output is that of the frozen tokens, pooled; EAT's without CLS."""
    network = built(files_of[kind], kind, lora=LORA, pooling=pooling)
    frames = SCALINGS[kind]
    if kind == "eat":
        frames = frames._replace(least_frames=32)
    waves = np.stack([wave(5360, seed) for seed in (0, 1)])
    tokens = tokens_of(files_of[kind], kind, frames)(waves).numpy()[:, kind == "eat" :]
    if pooling == "attentive":
        expected = network.get_layer("pooling")(tokens).numpy()
    else:
        kernel, bias = network.get_layer("dense").get_weights()
        expected = tokens.mean(1) @ kernel + bias
    np.testing.assert_allclose(network(waves), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", ["beats", "eat"])
def test_merged_weights_are_the_unmerged(files_of, kind):
    """W + (alpha / r) A B in a layer without LoRA gives what W with LoRA beside it gives."""
    layers = ["q", "k", "v", "out", "fc1", "fc2"]
    learnt = built(files_of[kind], kind, lora=LORA | {"layers": layers}, pooling="mean")
    drawn(learnt)
    merged = built(files_of[kind], kind, lora=None, pooling="mean")
    merged.get_layer("dense").set_weights(learnt.get_layer("dense").get_weights())
    waves = wave(5360)[None]
    before = merged(waves).numpy()
    for i in range(3):
        for name in layers:
            own, other = (getattr(one.get_layer(f"block{i}"), name) for one in (learnt, merged))
            kernel, a, b = (one.numpy().astype(np.float64)
                            for one in (own.kernel, own.lora_a, own.lora_b))  # fmt: skip
            other.kernel.assign(kernel + 6.0 / 2 * a @ b)
    found = learnt(waves).numpy()
    np.testing.assert_allclose(found, merged(waves), rtol=0, atol=5e-5)
    assert np.abs(found - before).max() > 0.1


def test_gradients_flow_to_what_learns_only(files_of):
    """One step changes LoRA, pooling and dense layer, and not a bit of the transformer."""
    import tensorflow as tf

    from asd.optimisers import AdamW

    network = built(files_of["beats"], lora=LORA)
    drawn(network)  # with B at 0, A has no gradient
    fixed = [one for one in network.weights if "lora" not in one.path and "pooling" not in one.path]
    before = [one.numpy() for one in fixed]
    waves = tf.constant(np.stack([wave(5360, seed) for seed in range(4)]))
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(network(waves, training=True) * np.arange(24).reshape(4, 6))
    variables = network.trainable_variables
    gradients = tape.gradient(loss, variables)
    assert all(np.abs(one).max() > 0 for one in gradients if one is not None)
    assert None not in [one if one is None else 0 for one in gradients]
    AdamW(0.1, 0.01).apply_gradients(zip(gradients, variables, strict=True))
    assert len(fixed) > 60
    for one, old in zip(fixed, before, strict=True):
        np.testing.assert_array_equal(one, old, err_msg=one.path)


def test_lora_by_differences(files_of):
    """Gradients of A and B in the first block, against differences of the loss; in float64."""
    import keras
    import tensorflow as tf

    keras.config.set_dtype_policy("float64")
    try:
        from asd.networks.blocks import Block

        block = Block(8, 2, lora=LORA | {"layers": ["q", "fc1"]}, alpha=1.5)
        x = np.random.default_rng(0).standard_normal((2, 5, 6))
        block(x)
    finally:
        keras.config.set_dtype_policy("float32")
    rng = np.random.default_rng(1)
    for one in block.weights:
        one.assign(rng.standard_normal(one.shape))
    weigh = rng.standard_normal(x.shape)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(block(tf.constant(x)) * weigh)
    gradients = tape.gradient(loss, block.trainable_variables)
    assert len(gradients) == 4
    for one, gradient in zip(block.trainable_variables, gradients, strict=True):
        old = one.numpy()
        change = np.zeros_like(old)
        change[0, -1] = 1e-6
        sums = []
        for sign in (1, -1):
            one.assign(old + sign * change)
            sums.append(float(tf.reduce_sum(block(tf.constant(x)) * weigh)))
        one.assign(old)
        assert float(gradient[0, -1]) == pytest.approx((sums[0] - sums[1]) / 2e-6, rel=1e-5)


@pytest.mark.parametrize("kind", ["beats", "eat"])
def test_a_trained_network_is_saved_whole(files_of, kind, tmp_path):
    """Another process loads it by what the house imports, and it gives the same."""
    import subprocess
    import sys

    from conftest import ROOT

    network = built(files_of[kind], kind, lora=LORA)
    drawn(network)
    network.save(tmp_path / "all.keras")
    one = wave(5360)[None]
    np.save(tmp_path / "wave.npy", one)
    code = (
        "import sys, numpy as np; from pathlib import Path; from asd.embeddings import engines; "
        "f = Path(sys.argv[1]); e = engines.of_file(f / 'all.keras'); "
        "np.save(f / 'out.npy', e.run(np.load(f / 'wave.npy'))); print(e.shape, e.width)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=ROOT,
                          capture_output=True, text=True)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n")[0] == "(None, 5360) 6"
    np.testing.assert_allclose(np.load(tmp_path / "out.npy"), network(one), rtol=0, atol=5e-5)


def test_what_does_not_fit_is_one_line(files_of):
    for values, message in (
        ({"n_samples": 2799}, "clips of 2799 samples are too short for network.kind beats"),
        ({"kind": "eat"}, "holds a network of the kind beats; write kind: beats"),
        ({"path": "nowhere.npz"}, "path names no file that is there; make it: python -m"),
        ({"lora": LORA | {"layers": []}}, "lora.layers"),
        ({"lora": LORA | {"layers": ["gate"]}}, "lora.layers"),
        ({"lora": LORA | {"rnk": 1}}, "lora"),
    ):
        with pytest.raises(UserError, match=message) as raised:
            built(**{"path": files_of["beats"]} | values)
        assert "\n" not in str(raised.value)
    with pytest.raises(UserError, match="feature.sample_rate 8000"):
        values = {"path": str(files_of["beats"])}
        kinds.build(Choice(files_of["beats"], "detector.network", "beats", values), 9000, 8000)
