"""BEATs and EAT: from checkpoints to tokens as the formulas have them; LoRA beside them."""

from __future__ import annotations

import numpy as np
import pytest
import torch_files
import transformers_by_formula as formulas

import keras_model
from asd.networks import architecture, convert
from asd.networks.scaling import SCALINGS

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

    return keras.Model(network.inputs, network.get_layer(name).output)(waves).numpy()


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
