"""Networks: MultiResNet against its original's arrays, its options, its errors; the layers."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

import common
import keras_model
from asd.networks import kinds
from asd.networks.kinds import MultiResNet
from asd.sections import Choice, as_section
from common import UserError

keras_model.start_tensorflow(0)
import keras  # noqa: E402
import tensorflow as tf  # noqa: E402

from asd.networks import multiresnet  # noqa: E402
from asd.networks.layers import BatchNormalization, PaddedMaxPooling2D  # noqa: E402
from asd.networks.spectra import Spectrogram, bins  # noqa: E402

RATE = 16000  # Hz
MARCH = {"padding": "reflect", "affine": True}
NO_SE = {"width": 32, "se": False}
SETS = {  # by file and prefix of the keys in it
    "01a_stft_branch_head": {"fft": False},
    "01b_stft_branch_mar": {"fft": False, **MARCH},
    "01c_fft_branch_head": {"n_ffts": ()},
    "01d_fft_branch_mar": {"n_ffts": (), **MARCH},
    "01e_multires_head": {"n_ffts": (256, 1024, 4096)},
    "01f_variants/gap": {"gap": True, **NO_SE},
    "01f_variants/bias": {"bias": True, "affine": True, **NO_SE},
    "01f_variants/narrow_se_FAULT": {"width": 16, "faithful": True},
    "01f_variants/reflect_log_tnorm": {"fft": False, "padding": "reflect", "log": True,
                                       "subtract_time_mean": True, **NO_SE},
    "01g_full_size/head_10s": {},
    "01g_full_size/head_12s": {},
    "01g_full_size/head_18s": {},
    "01g_full_size/mar_18s": MARCH,
    "01g_full_size/head_11s_multi": {"n_ffts": (256, 1024, 4096)},
}  # fmt: skip
STAGED = list(SETS)[:5]  # with arrays of every stage, gradients and running statistics
# What each stage keeps; T: of the sets that are not of one branch.
SLICES = {
    "spec": np.s_[:1], "bn_freq": np.s_[:1, ::10], "stem_conv": np.s_[:1, :4, ::4],
    "stem": np.s_[:1], "s1a": np.s_[:1, ::4, ::4], "s2a": np.s_[:1, ::4], "s3a": np.s_[:1, ::4],
    "s4a": np.s_[:1, ::4], "s1b": np.s_[:1], "s2b": np.s_[:1], "s3b": np.s_[:1],
    "s4b": np.s_[:1], "mag": np.s_[:, ::50], "c1": np.s_[:1, :, ::4], "c2": np.s_[:1],
}  # fmt: skip
SLICES_OF_MARCH = {"stem": np.s_[:1, :, ::2], "s1b": np.s_[:1, :, ::4], "c1": np.s_[:1, :, ::16]}
SLICES_OF_SEVERAL = {
    "spec": np.s_[:1, ::8, ::4], "stem": np.s_[:1, :, ::4, ::2], "s1b": np.s_[:1, :, ::8, ::2],
    "s2b": np.s_[:1, ::2, ::4], "s3b": np.s_[:1, ::4], "s4b": np.s_[:1, ::4],
    "mag": np.s_[:, ::500], "c1": np.s_[:1, ::8, ::16], "c2": np.s_[:1, ::4],
}  # fmt: skip
LAYERS = {"stem_conv": "stem", "stem": "stem.relu", "emb": "dense"}
LAYERS_OF_FFT = {"c1": "c1.se", "c2": "c2.se", "c3": "c3.se", "emb": "d5"} | {
    f"d{i}": f"d{i}.relu" for i in range(5)
}


def arrays_of(golden: Path, name: str) -> dict[str, np.ndarray]:
    """The arrays of one set, without its prefix."""
    file, _, prefix = name.partition("/")
    with np.load(golden / "asdkit" / f"{file}.npz") as content:
        keys = [key for key in content.files if key.startswith(prefix)]
        return {key.removeprefix(f"{prefix}/"): content[key] for key in keys}


def waves(arrays: dict, which: str) -> np.ndarray:
    """The set's recipe, (n, n_samples) float32."""
    rng = np.random.default_rng(int(arrays[f"seed_wave_{which}"]))
    n, n_samples = int(arrays[f"batch_{which}"]), int(arrays["wave_len"])
    hz, height, phase = (rng.uniform(low, high, (n, 4, 1))
                         for low, high in ((100, 7000), (0.02, 0.2), (0, 2 * np.pi)))  # fmt: skip
    noise = rng.standard_normal((n, n_samples))
    seconds = np.arange(n_samples) / RATE
    tones = height * np.sin(2 * np.pi * hz * seconds + phase)
    made = (tones.sum(axis=1) + 0.1 * noise).astype(np.float32)
    check = np.c_[made[:, :4], made.sum(axis=1, dtype=np.float64)]
    assert np.allclose(check, arrays[f"wave_{which}_check"], rtol=1e-9, atol=1e-9)
    return made


def weights(arrays: dict) -> dict[str, np.ndarray]:
    """The set's recipe: by name, in PyTorch's layout, float32."""
    rng, made = np.random.default_rng(int(arrays["seed_weights"])), {}
    for name, text in zip(arrays["param_name"], arrays["param_shape"], strict=True):
        shape = tuple(int(size) for size in text.split("x"))
        z = rng.standard_normal(shape)
        if len(shape) > 1:
            z *= np.sqrt(2 / max(np.prod(shape[1:]), 1))
        else:
            z = 0.1 * z + name.endswith("gamma")
        made[str(name)] = z.astype(np.float32)
    return made


def variable(network: keras.Model, name: str) -> keras.Variable:
    """The variable that the set calls so: "stft0/s1a/bn_in_gamma", "fft/c1/kernel_bias"."""
    place = name.removesuffix("_bias")
    what = "kernel" if place == name else "bias"
    if found := re.fullmatch(r"(.*bn.*)[_/](gamma|beta|mean|var)", place):
        place, what = found.groups()
        what = {"mean": "moving_mean", "var": "moving_variance"}.get(what, what)
    layer = network.get_layer(place.removesuffix("/kernel").replace("/", "."))
    return getattr(layer, what)


def to_keras(array: np.ndarray) -> np.ndarray:
    """PyTorch's (out, in, freq, time), (out, in, k), (out, in) in Keras's order, and the reverse."""
    return array.transpose(*range(array.ndim - 1, -1, -1)) if array.ndim > 1 else array


def network_of(arrays: dict, name: str, dtype: str = "float32") -> keras.Model:
    """The network of a set with the set's weights."""
    keras.config.set_dtype_policy(dtype)
    try:
        settings = MultiResNet.Settings(**SETS[name])
        network = MultiResNet.build(settings, int(arrays["wave_len"]), RATE)
    finally:
        keras.config.set_dtype_policy("float32")
    drawn = {key: array for key, array in weights(arrays).items() if array.size}
    for key, array in drawn.items():
        variable(network, key).assign(to_keras(array))
    assert len(network.trainable_variables) == len(drawn)
    return network


def set_statistics(network: keras.Model, arrays: dict) -> None:
    """The running statistics with which the set was evaluated."""
    for key, array in arrays.items():
        if key.startswith("running_eval/"):
            variable(network, key.removeprefix("running_eval/")).assign(array)


STORED = {"float32": 1e-7, "float64": 1e-9}  # parts of the largest value: what files round


def near(ours, expected, part: float | None = None, more: float = 0.0) -> bool:
    """Within a part of the largest value, at least 1; without one, by how the set is stored."""
    part = part or STORED[str(expected.dtype)]
    ours, expected = np.asarray(ours, np.float64), np.asarray(expected, np.float64)
    assert ours.shape == expected.shape
    return np.abs(ours - expected).max() <= part * max(1, np.abs(expected).max()) + more


@pytest.mark.parametrize("name", SETS)
def test_embeddings_golden(golden, name):
    """In float32, of a batch in training and, with given statistics, in inference.

    Rounding errors are a matter of chance: the original's in float32 are a measure of them, ours
    are others. That the network is the same shows in float64.
    """
    arrays = arrays_of(golden, name)
    network = network_of(arrays, name)
    for which, training in (("train", True), ("eval", False)):
        if not training:
            set_statistics(network, arrays)
        ours = tf.function(network)(waves(arrays, which), training=training)
        deviation = float(arrays[f"f32_dev_{which}_embed"])
        assert near(ours, arrays[f"{which}/embed"], 2e-5, 4 * deviation), which


@pytest.mark.parametrize("name", [name for name in SETS if name not in STAGED])
def test_embeddings_in_float64_golden(golden, name):
    arrays = arrays_of(golden, name)
    network = network_of(arrays, name, "float64")
    for which, training in (("train", True), ("eval", False)):
        if not training:
            set_statistics(network, arrays)
        ours = tf.function(network)(waves(arrays, which).astype(np.float64), training=training)
        assert near(ours, arrays[f"{which}/embed"]), which


def stages(network: keras.Model, arrays: dict, name: str, which: str) -> dict[str, tuple]:
    """By key of the set: the layer and what is kept of its outputs."""
    several, march = name.startswith("01e"), "mar" in name
    slices = SLICES_OF_SEVERAL if several else SLICES | (SLICES_OF_MARCH if march else {})
    found = {}
    for key in arrays:
        if parts := re.fullmatch(rf"{which}/(fft|stft\d)/(\w+)", key):
            branch, stage = parts.groups()
            names = LAYERS_OF_FFT if branch == "fft" else LAYERS
            layer = network.get_layer(f"{branch}.{names.get(stage, stage)}")
            found[key] = layer, slices.get(stage, np.s_[:])
    return found


def as_the_set(outputs: np.ndarray, key: str) -> np.ndarray:
    """Outputs of a layer in the set's order of axes: channels, then frequency, then time."""
    if key.endswith("tmax"):
        return outputs[:, 0].transpose(0, 2, 1)  # of (n, 1, freq, c)
    if outputs.ndim < 3:
        return outputs
    return outputs.transpose(0, *range(outputs.ndim - 1, 0, -1))


@pytest.mark.parametrize("name", STAGED)
def test_stages_golden(golden, name):
    """In float64, of every stage; and the running statistics after a batch."""
    arrays = arrays_of(golden, name)
    network = network_of(arrays, name, "float64")
    for which, training in (("train", True), ("eval", False)):
        if not training:
            set_statistics(network, arrays)
        wanted = stages(network, arrays, name, which)
        assert len(wanted) > 5
        tap = keras.Model(network.input, {key: layer.output for key, (layer, _) in wanted.items()})
        outputs = tap(waves(arrays, which).astype(np.float64), training=training)
        for key, (_, kept) in wanted.items():
            ours = as_the_set(outputs[key].numpy(), key)[kept]
            assert near(ours, arrays[key]), key
        if training:
            check_running(network, arrays)


def check_running(network: keras.Model, arrays: dict, part: float | None = None) -> None:
    """The moving statistics are the set's after one batch."""
    ours = [key for key in arrays if key.startswith("running_after_train/")]
    assert ours
    for key in ours:
        value = variable(network, key.removeprefix("running_after_train/"))
        assert near(value, arrays[key], part), key


FLIPS = 0.05  # of a gradient's norm, in float32; see below


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", STAGED)
def test_gradients_golden(golden, name, dtype):
    """Of sum(embedding * R) / batch; and the running statistics in float32.

    In float32 the largest of a window may be its neighbour, or a ReLU open that was not: one such
    moves the gradients of all that is before it by up to 3 %, where 1e-5 is usual.
    """
    exact = dtype == "float64"
    arrays = arrays_of(golden, name)
    network = network_of(arrays, name, dtype)
    batch = tf.constant(waves(arrays, "train"), dtype)

    @tf.function
    def gradients():
        with tf.GradientTape() as tape:
            embedding = network(batch, training=True)
            loss = tf.reduce_sum(embedding * tf.constant(arrays["train/loss_R"], dtype))
            loss /= len(batch)
        return loss, tape.gradient(loss, network.trainable_variables)

    loss, found = gradients()
    assert near(loss, arrays["train/loss"], None if exact else 1e-4)
    by_path = {v.path: g for v, g in zip(network.trainable_variables, found, strict=True)}
    names = [key.removeprefix("grad/") for key in arrays if key.startswith("grad/")]
    assert names
    for key in names:
        ours = to_keras(by_path[variable(network, key).path].numpy())
        expected = arrays[f"grad/{key}"]
        if (step := int(arrays[f"grad_stride/{key}"])) > 1:
            ours = ours.ravel()[::step]
        if exact:
            assert np.abs(ours - expected).max() <= STORED["float32"] * np.abs(expected).max(), key
        assert np.linalg.norm(ours - expected) <= FLIPS * np.linalg.norm(expected), key
    norms = dict(zip(arrays["train/grad_norm_names"], arrays["train/grad_norm"], strict=True))
    assert len(norms) == len(found)
    for key, norm in norms.items():
        ours = np.linalg.norm(by_path[variable(network, key).path].numpy())
        assert abs(ours - norm) <= (STORED["float32"] if exact else FLIPS) * max(norm, 1e-6), key
    check_running(network, arrays, None if exact else 1e-5)
