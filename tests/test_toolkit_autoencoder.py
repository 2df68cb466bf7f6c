"""The auto-encoder of the discriminative toolkit: HTK magnitudes in dB, AdamW. All golden."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
import soundfile
from conftest import clip_frames

import common
import keras_model
from asd import config, dense_training
from asd.tflite import chain as float_chain
from asd.tflite import keras_chain

UNITS = (128,) * 4 + (8,) + (128,) * 4
FEATURE = msgspec.structs.replace(
    config.load_config().feature, central_frames=None, power=1.0, mel_scale="htk"
)
DECAY = 0.01


@pytest.fixture(scope="module")
def arrays(golden):
    return dict(np.load(golden / "asdkit" / "04_autoencoder.npz"))


def near(ours, expected, part=1e-5):
    """Within a part of the largest value."""
    ours, expected = np.asarray(ours, np.float64), np.asarray(expected, np.float64)
    assert ours.shape == expected.shape
    return np.abs(ours - expected).max() <= part * max(1, np.abs(expected).max())


def waves(arrays):
    """The set's recipe."""
    rng = np.random.default_rng(int(arrays["seed_wave"]))
    n_waves, n_samples = int(arrays["batch"]), int(arrays["wave_len"])
    hz, height, phase = (rng.uniform(low, high, (n_waves, 4, 1))
                         for low, high in ((100, 7000), (0.02, 0.2), (0, 2 * np.pi)))  # fmt: skip
    noise = rng.standard_normal((n_waves, n_samples))
    tones = height * np.sin(2 * np.pi * hz * np.arange(n_samples) / 16000 + phase)
    made = (tones.sum(axis=1) + 0.1 * noise).astype(np.float32)
    made[2, slice(*arrays["zero_range_of_wave_2"])] = 0
    return made


def test_features_golden(arrays, tmp_path):
    """Magnitudes, and dB less those of the window's norm; the silence has no such part."""
    assert near(common.mel_filters(FEATURE).T, arrays["mel_fb"], 2e-5)
    norm = np.sqrt(np.square(common.hann(FEATURE.n_fft)).sum())
    for i, samples in enumerate(waves(arrays)):
        check = arrays["wave_check"][i]
        loud = samples * 0.25  # the file's full scale is 1
        if i != 2:
            assert near([*samples[:4], samples.sum(dtype=np.float64)], check, 1e-6)
        soundfile.write(tmp_path / "a.wav", loud, 16000, subtype="FLOAT")
        mel = 4 * clip_frames(tmp_path / "a.wav", FEATURE, common.mel_spectrum) / norm
        assert near(mel.T, arrays["mel_mag_head"][i], 2e-5)
        level = clip_frames(tmp_path / "a.wav", FEATURE)
        expected = arrays["head/logmel"][i].T
        silent = expected < -300
        assert silent.any() == (i == 2)
        np.testing.assert_allclose(level[silent], expected[silent], atol=1e-3)
        shifted = level[~silent] + 20 * np.log10(4 / norm)
        np.testing.assert_allclose(shifted, expected[~silent], atol=5e-3)
        if "raw_spec/time_mean" in arrays:
            assert near(mel.mean(axis=0), arrays["raw_spec/time_mean"][i], 2e-5)
            assert near(mel.max(axis=0), arrays["raw_spec/time_max"][i], 2e-5)


def windows_of(arrays, variant):
    clips = [np.ascontiguousarray(one.T) for one in arrays[f"{variant}/logmel"]]
    return clips, [common.vectors(frames, FEATURE.frames) for frames in clips]


@pytest.mark.parametrize("variant", ["head", "mar"])
def test_windows_golden(arrays, variant):
    _, by_clip = windows_of(arrays, variant)
    rows = np.concatenate(by_clip)
    assert rows.shape == tuple(arrays[f"{variant}/feat_shape"])
    np.testing.assert_array_equal(rows[:4], arrays[f"{variant}/feat_first"])
    boundary = rows[[len(by_clip[0]) - 1, len(by_clip[0])]]
    np.testing.assert_array_equal(boundary, arrays[f"{variant}/feat_clip_boundary"])
    assert rows.sum(dtype=np.float64) == pytest.approx(float(arrays[f"{variant}/feat_sum"]))


def model_of(arrays, running=None):
    """The network with the set's weights, and running statistics that are fresh or given."""
    rng, drawn = np.random.default_rng(int(arrays["seed_weights"])), {}
    for i, (name, shape) in enumerate(
        zip(arrays["param_name"], arrays["param_shape"], strict=True)
    ):
        sizes = tuple(map(int, str(shape).split("x")))
        values = rng.standard_normal(sizes)
        if len(sizes) > 1:
            values = values * np.sqrt(2 / np.prod(sizes[1:]))
        else:
            values = 1 + 0.1 * values if str(name).endswith("gamma") else 0.1 * values
        values = values.astype(np.float32)
        check = [values.sum(dtype=np.float64), values.ravel()[0]]
        assert near(check, arrays["param_check"][i], 1e-6)
        drawn[str(name)] = values.T
    weights = []
    for i in range(10):
        weights += [drawn[f"d{i}/kernel"], drawn[f"d{i}/bias"]]
        if i < 9:
            width = len(drawn[f"d{i}/bias"])
            statistics = [np.zeros(width), np.ones(width)]
            if running:
                statistics = [arrays[f"{running}/d{i}/bn_{part}"] for part in ("mean", "var")]
            weights += [drawn[f"d{i}/bn_gamma"], drawn[f"d{i}/bn_beta"], *statistics]
    keras_model.start_tensorflow(0)
    model = keras_model.build(640, UNITS)
    model.set_weights(weights)
    return model


def block_of(rows):
    """Windows, (n, 640), as frames and where they begin."""
    frames = np.ascontiguousarray(rows.reshape(-1, 128), np.float32)
    return frames, np.arange(0, len(frames), 5, dtype=np.int32)


def test_a_training_step_golden(arrays):
    rows = np.concatenate(windows_of(arrays, "head")[1])
    model = model_of(arrays)
    from keras import Model

    latent_and_output = Model(model.inputs, [model.layers[15].output, model.output])
    latent, outputs = latent_and_output([rows], training=True)
    assert latent.shape[1] == 8
    assert near(outputs[:4], arrays["train/recon_first"])
    assert near(latent, arrays["train/latent"], 1e-4)

    model = model_of(arrays)
    trainer = dense_training.Trainer(model, len(rows), "torch")
    losses = trainer.run(True, *block_of(rows)).astype(np.float64)
    assert losses.mean() == pytest.approx(float(arrays["train/loss"]), rel=1e-5)
    gradients = dict(zip(map(str, arrays["param_name"]), gradients_of(trainer), strict=True))
    norms = dict(zip(map(str, arrays["train/grad_norm_names"]), arrays["train/grad_norm"],
                     strict=True))  # fmt: skip
    for name, gradient in gradients.items():
        assert np.linalg.norm(gradient) == pytest.approx(norms[name], rel=1e-3, abs=1e-9), name
    for key in arrays:
        if key.startswith("grad/"):
            name = key.removeprefix("grad/")
            expected = arrays[key].T
            assert near(gradients[name], expected, 1e-3) or norms[name] < 1e-9, name
    moved = {v.path: v.numpy() for v in model.weights if "moving" in v.path}
    expected = [arrays[f"running_after_train/d{i}/bn_{part}"]
                for i in range(9) for part in ("mean", "var")]  # fmt: skip
    for ours, theirs in zip(moved.values(), expected, strict=True):
        assert near(ours, theirs)


def gradients_of(trainer):
    """Of each parameter in the set's order, in Keras' layout."""
    state = trainer._state
    total = state.gradients[0]
    of_units = dense_training.units.py_func(total, state)
    for i, (n_in, n_out, start) in enumerate(state.layers):
        yield total[start : start + n_in * n_out].reshape(n_in, n_out)
        last = i == len(state.layers) - 1
        yield of_units[i, dense_training.BIAS, :n_out] if last else np.zeros(n_out)
        if not last:
            yield of_units[i, dense_training.GAMMA, :n_out]
            yield of_units[i, dense_training.BETA, :n_out]


def test_scores_golden(arrays):
    clips, by_clip = windows_of(arrays, "head")
    chain = keras_chain.of_model(model_of(arrays, "running_after_train"))
    predict = float_chain.predictor(chain)
    scores = common.anomaly_scores(predict, clips, 5)
    np.testing.assert_allclose(scores, arrays["eval/AS_recon"], rtol=1e-5)
    outputs = [predict(np.ascontiguousarray(windows)) for windows in by_clip]
    assert near(outputs[0][:4], arrays["eval/recon_first"])
    errors = [np.square(x - y).mean(axis=1) for x, y in zip(by_clip, outputs, strict=True)]
    assert near(np.concatenate(errors), arrays["eval/sq_err_per_window"])
    latent = float_chain.predictor(chain[:5])
    means = [latent(np.ascontiguousarray(windows)).mean(axis=0) for windows in by_clip]
    assert near(means, arrays["eval/embed"])


def test_steps_of_adamw_golden(arrays):
    rows = np.concatenate(windows_of(arrays, "head")[1])
    index = arrays["steps/batch_index"]
    model = model_of(arrays)
    trainer = dense_training.Trainer(model, index.shape[1], "torch", DECAY)
    losses = trainer.run(True, *block_of(rows[index.ravel()]))
    means = losses.reshape(index.shape).mean(axis=1, dtype=np.float64)
    np.testing.assert_allclose(means, arrays["steps/loss"], rtol=1e-5)
    weights = dict(zip([v.path for v in model.weights], model.get_weights(), strict=True))
    dense = [name.rpartition("/")[0] for name in weights if name.endswith("kernel")]
    norms = [name.rpartition("/")[0] for name in weights if name.endswith("gamma")]
    assert near(weights[f"{dense[4]}/kernel"], arrays["steps/param_after/d4/kernel"].T, 1e-4)
    assert near(weights[f"{norms[0]}/gamma"], arrays["steps/param_after/d0/bn_gamma"], 1e-4)
    assert near(weights[f"{dense[9]}/bias"], arrays["steps/param_after/d9/bias"], 1e-4)
    outputs = float_chain.predictor(keras_chain.of_model(model))(rows[:4])
    assert near(outputs, arrays["steps/eval_recon_first_after"], 1e-4)
    # It is a measure of the decay: without it the weights are others.
    plain = model_of(arrays)
    dense_training.Trainer(plain, index.shape[1], "torch").run(True, *block_of(rows[index.ravel()]))
    ours, theirs = model.get_weights()[0], plain.get_weights()[0]
    assert not near(ours, theirs, 1e-6)
