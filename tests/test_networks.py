"""Networks: MultiResNet against its original's arrays, its options, its errors; the layers."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest
from conftest import ROOT

import keras_model
from asd.networks import kinds
from asd.networks.kinds import MultiResNet
from asd.sections import Choice
from common import UserError

if TYPE_CHECKING:
    import keras

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


@pytest.fixture(autouse=True, scope="module")
def _started():
    keras_model.start_tensorflow(0)


def arrays_of(golden: Path, name: str) -> dict[str, np.ndarray]:
    """The arrays of one set, without its prefix."""
    file, _, prefix = name.partition("/")
    with np.load(golden / "asdkit" / f"{file}.npz") as content:
        keys = [key for key in content.files if key.startswith(prefix)]
        return {key.removeprefix(f"{prefix}/"): content[key] for key in keys}


def recipe(seed: int, n: int, n_samples: int) -> np.ndarray:
    """The sets' waves, (n, n_samples) float32."""
    rng = np.random.default_rng(seed)
    hz, height, phase = (rng.uniform(low, high, (n, 4, 1))
                         for low, high in ((100, 7000), (0.02, 0.2), (0, 2 * np.pi)))  # fmt: skip
    noise = rng.standard_normal((n, n_samples))
    seconds = np.arange(n_samples) / RATE
    tones = height * np.sin(2 * np.pi * hz * seconds + phase)
    return (tones.sum(axis=1) + 0.1 * noise).astype(np.float32)


def waves(arrays: dict, which: str) -> np.ndarray:
    """The waves of a set for training or evaluation."""
    n, n_samples = int(arrays[f"batch_{which}"]), int(arrays["wave_len"])
    made = recipe(int(arrays[f"seed_wave_{which}"]), n, n_samples)
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
    """PyTorch's (out, in, freq, time), (out, in, k), (out, in) in Keras's order, or back."""
    return array.transpose(*range(array.ndim - 1, -1, -1)) if array.ndim > 1 else array


def network_of(arrays: dict, name: str, dtype: str = "float32") -> keras.Model:
    """The network of a set with the set's weights."""
    import keras

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
    import tensorflow as tf

    arrays = arrays_of(golden, name)
    network = network_of(arrays, name)
    for which, training in (("train", True), ("eval", False)):
        if not training:
            set_statistics(network, arrays)
        ours = tf.function(network)(waves(arrays, which), training=training)
        deviation = float(arrays[f"f32_dev_{which}_embed"])
        assert near(ours, arrays[f"{which}/embed"], 2e-5, 4 * deviation), which


@pytest.mark.parametrize("name", [name for name in SETS if name[:3] == "01f" or "12s" in name])
def test_embeddings_in_float64_golden(golden, name):
    import tensorflow as tf

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
    import keras

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
@pytest.mark.parametrize("name", STAGED[:4])
def test_gradients_golden(golden, name, dtype):
    """Of sum(embedding * R) / batch; and the running statistics in float32.

    In float32 the largest of a window may be its neighbour, or a ReLU open that was not: one such
    moves the gradients of all that is before it by up to 3 %, where 1e-5 is usual.
    """
    exact = dtype == "float64"
    import tensorflow as tf

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
    assert near(loss, arrays["train/loss"], None if exact else 1e-3)
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


def drawn_waves(n: int, n_samples: int) -> np.ndarray:
    rng = np.random.default_rng(1)
    return rng.standard_normal((n, n_samples)).astype(np.float32)


def small(**options) -> MultiResNet.Settings:
    return MultiResNet.Settings(**{"width": 16, "fft": False, "n_ffts": (256,)} | options)


def test_spectrograms_golden(golden):
    """Which bins are kept; log-mel as the toolkit's auto-encoder has it, silence and all."""
    from asd.networks.spectra import Spectrogram, bins

    arrays = arrays_of(golden, "04_autoencoder")
    for n_fft in (256, 1024, 4096):
        kept = bins(n_fft, RATE, (200, 8000))
        assert [kept.start, kept.stop] == list(arrays[f"crop_idx/{n_fft}"])
    made = recipe(int(arrays["seed_wave"]), 3, int(arrays["wave_len"]))
    made[2, slice(*arrays["zero_range_of_wave_2"])] = 0
    for version, padding in (("head", "zeros"), ("mar", "reflect")):
        layer = Spectrogram(1024, RATE, (0, 8000), 128, padding, log=True, dtype="float64")
        ours = layer(made.astype(np.float64)).numpy().transpose(0, 2, 1)
        assert near(ours, arrays[f"{version}/logmel"], 1e-5)


@pytest.mark.parametrize("options", [{}, {"log": True, "subtract_time_mean": True, "n_mels": 40}])
def test_a_spectrogram_gives_the_embedding_of_its_wave(options):
    """The front end outside the network, and the network on spectrograms, are the whole."""
    from asd.networks import multiresnet

    whole = MultiResNet.build(small(**options), 8000, RATE)
    settings = small(input="spectrogram", **options)
    network = MultiResNet.build(settings, 8000, RATE)
    network.set_weights(whole.get_weights())
    made = drawn_waves(3, 8000)
    spectrograms = multiresnet.front_end(settings, 8000, RATE)(made)
    assert network.input_shape == (None, options.get("n_mels", 125), 63) == (
        None, *spectrograms.shape[1:])  # fmt: skip
    assert np.allclose(network(spectrograms), whole(made), atol=1e-6)
    assert settings.size == network.output_shape[1] == 16


@pytest.mark.parametrize(
    "options",
    [{}, {"input": "spectrogram"}, {"fft": True, "n_ffts": (256, 512), "affine": True,
      "bias": True, "padding": "reflect", "log": True, "n_mels": 40, "faithful": True}],
)  # fmt: skip
def test_a_saved_network_is_the_same(tmp_path, options):
    """With its moving statistics, and in training as well."""
    import keras

    network = MultiResNet.build(small(**options), 80000, RATE)
    inputs = np.abs(drawn_waves(6, 125 * 626)).reshape(6, 125, 626)[:, : network.input_shape[1]]
    inputs = inputs if "input" in options else drawn_waves(6, 80000)
    before = network(inputs, training=True)  # moves the statistics
    network.save(tmp_path / "network.keras")
    loaded = keras.models.load_model(tmp_path / "network.keras")
    assert np.array_equal(loaded(inputs), network(inputs))
    assert np.array_equal(loaded(inputs, training=True), before)
    assert not np.allclose(loaded(inputs), before, atol=1e-3)


def test_gates_of_few_channels():
    """They have one hidden unit; faithfully none, and are half open."""
    network = MultiResNet.build(small(), 8000, RATE)
    faithful = MultiResNet.build(small(faithful=True), 8000, RATE)
    names = {layer.name for layer in faithful.layers}
    shapes = {}
    for stage, n_channels in (("s1a", 2), ("s2b", 4), ("s3a", 8), ("s4b", 16)):
        down, up = (network.get_layer(f"stft0.{stage}.se_{part}") for part in ("down", "up"))
        shapes[stage] = down.kernel.shape, up.kernel.shape
        assert shapes[stage] == ((n_channels, 1), (1, n_channels))
        assert (f"stft0.{stage}.se_down" in names) == (n_channels == 16)
    gate = faithful.get_layer("stft0.s1a.se")
    assert np.array_equal(gate(np.full((1, 2, 2, 2), 3.0, np.float32)), np.full((1, 2, 2, 2), 1.5))


def test_means_instead_of_places():
    """With gap the dense layers take means over length and over frequency."""
    import keras

    network = MultiResNet.build(small(fft=True, gap=True), 96000, RATE)
    names = ("fft.c3.se", "fft.mean", "stft0.tmax", "stft0.mean")
    tap = keras.Model(network.input, [network.get_layer(name).output for name in names])
    long, mean, high, mean_of_bins = (values.numpy() for values in tap(drawn_waves(2, 96000)))
    assert long.shape == (2, 2, 16) and high.shape == (2, 1, 4, 16)
    assert np.allclose(mean, long.mean(axis=1), rtol=1e-5)
    assert np.allclose(mean_of_bins, high[:, 0].mean(axis=1), rtol=1e-5)


def test_initial_weights():
    """Uniform within 1 / sqrt(fan in), biases too."""
    keras_model.start_tensorflow(0)  # with another seed all of 16 biases may be small
    network = MultiResNet.build(small(bias=True, width=128), 8000, RATE)
    for name, fan_in in (("s4a.conv1", 9 * 64), ("stem", 49), ("dense", 128 * 4)):
        layer = network.get_layer(f"stft0.{name}")
        for values in (layer.kernel.numpy(), layer.bias.numpy()):
            largest = np.abs(values).max() * np.sqrt(fan_in)
            assert 0.8 < largest <= 1, name
        assert abs(np.std(layer.kernel) * np.sqrt(3 * fan_in) - 1) < 0.1, name


@pytest.mark.parametrize(
    "options, n_samples, message",
    [
        ({"n_ffts": (), "fft": True}, 70013, "70013 samples are too short for network.fft: it "
         "takes 70014 or more; set it to false"),
        ({"n_ffts": (), "fft": True, "gap": True}, 70013, "takes 70014 or more"),
        ({"n_ffts": (256, 1024)}, 17919, "17919 samples are too short for network.n_ffts 1024: it "
         "takes 17920 or more (36 frames)"),
        ({"n_ffts": (64,)}, 8000, "network.n_ffts 64 has 32 bins from 200 to 8000 Hz; it takes 36"),
        ({"n_mels": 35}, 8000, "network.n_ffts 256 has 35 mel bands from 200 to 8000 Hz; it takes"),
        ({"range_hz": (0, 8001)}, 8000, "network.range_hz ends at 8001 Hz; at 16000 samples a "
         "second there is nothing above 8000"),
    ],
)  # fmt: skip
def test_too_little_is_named(options, n_samples, message):
    with pytest.raises(UserError, match=re.escape(message)):
        MultiResNet.build(small(**options), n_samples, RATE)


@pytest.mark.parametrize("options, n_samples", [({"n_ffts": (), "fft": True}, 70014),
                                                ({"n_ffts": (1024,)}, 17920)])  # fmt: skip
def test_just_enough_is_enough(options, n_samples):
    network = MultiResNet.build(small(**options), n_samples, RATE)
    assert network(drawn_waves(2, n_samples)).shape == (2, 16)


@pytest.mark.parametrize(
    "values, message",
    [
        ({"widht": 8}, "a.yaml: unknown key network.widht; did you mean network.width?"),
        ({"width": 12}, "key network.width: expected int that's a multiple of 8"),
        ({"n_ffts": [255]}, "key network.n_ffts[0]: expected int that's a multiple of 2"),
        ({"n_ffts": [256] * 4}, "key network.n_ffts: expected array of length <= 3"),
        ({"n_ffts": [], "fft": False}, "n_ffts is empty and fft is false: no branch is left"),
        ({"range_hz": [500, 100]}, "range_hz [500.0, 100.0] must rise from 0 or above"),
        ({"input": "spectrogram"}, "input: spectrogram is that of one branch; set fft to false"),
        ({"input": "spectrogram", "fft": False, "n_ffts": [256, 512]}, "and one length in n_ffts"),
        ({"padding": "edge"}, "key network.padding: expected one of zeros, reflect"),
    ],
)  # fmt: skip
def test_wrong_sections_are_named(values, message):
    choice = Choice(Path("a.yaml"), "network", "multiresnet", values)
    with pytest.raises(UserError, match=re.escape(message)):
        kinds.build(choice, 160000, RATE)


def test_a_section_builds_a_network():
    values = {"width": 16, "n_ffts": [256, 512], "se": False, "range_hz": [100, 8000]}
    network = kinds.build(Choice(Path("a.yaml"), "network", "multiresnet", values), 80000, RATE)
    assert network.output_shape == (None, 48)
    assert msgspec.to_builtins(MultiResNet.Settings()) == {}  # a record of it stays short


def test_sections_need_no_tensorflow():
    code = "import sys, asd.networks.kinds; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(5, 3), (4, 6, 3), (2, 4, 3, 3), (1, 3)])
def test_batch_normalisation(shape, dtype):
    """Normalised by the biased variance; the unbiased one is kept, or as Keras does the biased."""
    from asd.networks.layers import BatchNormalization

    x = 3 + 2 * np.random.default_rng(0).standard_normal(shape).astype(dtype)
    flat = x.reshape(-1, 3).astype(np.float64)
    n, mean, variance = len(flat), flat.mean(axis=0), flat.var(axis=0)
    for unbiased, kept in ((True, variance * n / max(n - 1, 1)), (False, variance)):
        layer = BatchNormalization(0.8, 1e-5, unbiased=unbiased, dtype=dtype)
        layer.build(shape)
        gamma, beta = np.array([1.0, 2, 3]), np.array([4.0, 5, 6])
        layer.gamma.assign(gamma)
        layer.beta.assign(beta)
        expected = (flat - mean) / np.sqrt(variance + 1e-5) * gamma + beta
        assert np.allclose(layer(x, training=True), expected.reshape(shape), rtol=1e-4, atol=1e-4)
        assert np.allclose(layer.moving_mean, 0.2 * mean, rtol=1e-5)
        assert np.allclose(layer.moving_variance, 0.8 + 0.2 * kept, rtol=1e-5)
        scale = gamma / np.sqrt(np.asarray(layer.moving_variance, np.float64) + 1e-5)
        expected = (flat - 0.2 * mean) * scale + beta
        assert np.allclose(layer(x), expected.reshape(shape), rtol=1e-5)
        layer.trainable = False  # a frozen layer is in inference
        assert np.allclose(layer(x, training=True), expected.reshape(shape), rtol=1e-5)
        assert np.allclose(layer.moving_mean, 0.2 * mean, rtol=1e-5)


def test_half_precision_keeps_its_statistics_whole():
    """The values of a batch leave the range of float16 when they are squared."""
    from asd.networks.layers import BatchNormalization

    x = np.array([[-1000.0], [1000.0], [3000.0]], np.float16)
    layer = BatchNormalization(dtype="mixed_float16")
    ours = layer(x, training=True)
    assert ours.dtype == "float16"
    assert np.allclose(ours, x.astype(float).std() ** -1 * (x.astype(float) - 1000), atol=1e-3)
    assert layer.moving_variance.dtype == "float32"
    assert np.allclose(layer.moving_variance, 0.9 + 0.1 * 4e6, rtol=1e-5)


def test_small_variances_keep_their_epsilon():
    """TensorFlow's own function for the fused operation raises it to 1.001e-5."""
    from asd.networks.layers import BatchNormalization

    x = np.array([[-1e-4], [1e-4]], np.float32)
    ours = BatchNormalization(affine=False)(x, training=True)
    assert np.allclose(ours, x / np.sqrt(1e-8 + 1e-5), rtol=1e-5, atol=0)


@pytest.mark.parametrize("affine", [True, False])
def test_gradients_of_the_fused_normalisation(affine):
    """In float32 as in float64, where they are those of the formula."""
    import tensorflow as tf

    from asd.networks.layers import BatchNormalization

    rng, found = np.random.default_rng(0), []
    x, weight = rng.standard_normal((2, 3, 5, 4, 6))
    for dtype in ("float32", "float64"):
        layer, batch = BatchNormalization(affine=affine, dtype=dtype), tf.constant(x, dtype)
        with tf.GradientTape() as tape:
            tape.watch(batch)
            loss = tf.reduce_sum(layer(batch, training=True) * tf.constant(weight, dtype))
        found.append(tape.gradient(loss, [batch, *layer.trainable_variables]))
    assert len(found[0]) == (3 if affine else 1)
    for ours, expected in zip(*found, strict=True):
        assert np.allclose(ours, expected, atol=1e-5)


@pytest.mark.parametrize("size", [(6, 7), (5, 4), (1, 2)])
def test_padded_maxima(size):
    """As though -infinity stood around the image; values may all be negative."""
    import tensorflow as tf

    from asd.networks.layers import PaddedMaxPooling2D

    x = np.random.default_rng(0).standard_normal((2, *size, 3)).astype(np.float32) - 5
    padded = np.pad(x, ((0, 0), (1, 2), (1, 2), (0, 0)), constant_values=-np.inf)
    rows, columns = ((n + 1) // 2 for n in size)
    windows = [padded[:, i : i + 2 * rows : 2, j : j + 2 * columns : 2]
               for i in range(3) for j in range(3)]  # fmt: skip
    windows = [window[:, :rows, :columns] for window in windows]
    layer, gradients = PaddedMaxPooling2D(), []
    for training in (False, True):
        with tf.GradientTape() as tape:
            tape.watch(variable := tf.constant(x))
            y = layer(variable, training=training)
        assert np.array_equal(y, np.max(windows, axis=0))
        gradients.append(tape.gradient(y, variable, tf.random.stateless_normal(y.shape, (0, 1))))
    assert np.allclose(*gradients, atol=1e-6)
    assert layer.compute_output_shape((None, *size, 3)) == (None, rows, columns, 3)


def test_a_spectrogram_network_becomes_tflite():
    """Of layers that TFLite has; what it gives is the network's."""
    import tensorflow as tf
    from ai_edge_litert.interpreter import Interpreter

    network = MultiResNet.build(small(input="spectrogram", affine=True), 8000, RATE)
    inputs = np.abs(drawn_waves(6, 125 * 63)).reshape(6, 125, 63)
    for _ in range(30):
        network(inputs, training=True)
    content = tf.lite.TFLiteConverter.from_keras_model(network).convert()
    run = Interpreter(model_content=content)
    run.allocate_tensors()
    run.set_tensor(run.get_input_details()[0]["index"], inputs[:1])
    run.invoke()
    ours = run.get_tensor(run.get_output_details()[0]["index"])
    assert np.allclose(ours, network(inputs[:1]), atol=1e-4)


def test_a_spectrogram_is_the_same_in_training_where_magnitudes_are_compiled():
    keras_model.start_tensorflow(0)
    import tensorflow as tf

    from asd.networks.spectra import Spectrogram

    layer = Spectrogram(256, RATE, (200, 7000))
    waves = np.random.default_rng(0).standard_normal((3, 4000)).astype(np.float32)
    call = tf.function(layer).get_concrete_function(tf.constant(waves), training=True)
    np.testing.assert_allclose(call(tf.constant(waves)), layer(waves), rtol=1e-5)
    compiled = [node.attr["_XlaMustCompile"].b for node in call.graph.as_graph_def().node
                if "PartitionedCall" in node.op]  # fmt: skip
    if not tf.config.list_physical_devices("GPU"):
        assert compiled == [True]
