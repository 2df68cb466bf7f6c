"""Snippets, log-mel images and their normalisation against the original's arrays. Golden."""

from __future__ import annotations

import numpy as np
import pytest

import common
from asd.features import snippets, standard
from common import Feature

RATE = 16000  # Hz


@pytest.fixture(scope="module")
def arrays(golden):
    return dict(np.load(golden / "cpjku_official_ae/a1_features.npz"))


FEATURE = {"sample_rate": RATE, "channel": None, "n_mels": 128, "frames": 5, "n_fft": 1024,
           "hop_length": 512, "power": 2.0, "central_frames": None,
           "mel_range_hz": (0, 8000)}  # fmt: skip


def feature(scale):
    return Feature(mel_scale=scale, **FEATURE)


def near(ours, theirs, tolerance):
    assert np.shape(ours) == np.shape(theirs)
    ours = np.asarray(ours, np.float64)
    np.testing.assert_array_less(np.abs(ours - theirs) / (1 + np.abs(theirs)), tolerance)


def images(waves, scale, dtype="float32"):
    """(n, n_samples) -> (n, n_mels, n_frames), by the layer."""
    import msgspec
    import tensorflow as tf

    from asd.networks.spectra import LogMel

    layer = LogMel(msgspec.to_builtins(feature(scale)), dtype=dtype)
    found = layer(tf.constant(waves, dtype)).numpy()
    assert found.shape == layer.compute_output_shape(np.shape(waves))
    return found[..., 0]


@pytest.mark.parametrize("scale", ["htk", "slaney"])
def test_golden_log_mel(arrays, scale):
    wav = arrays["wav"]
    filters = common.mel_filters(feature(scale))
    near(filters, arrays[f"fb_{scale}"], 2e-5)
    near(common.mel_spectrum(wav, feature(scale)).T, arrays[f"mel_{scale}"], 1e-4)
    for name, samples in (("", wav), ("_silence", arrays["wav_silence"])):
        theirs = arrays[f"db_{scale}{name}"]
        near(snippets.log_mel(samples, feature(scale)).T, theirs, 1e-4)
        for dtype in ("float32", "float64"):
            near(images(samples[None], scale, dtype)[0], theirs, 1e-4)
    silence = snippets.log_mel(arrays["wav_silence"], feature(scale))[-5:]
    np.testing.assert_allclose(silence, -100, rtol=1e-6)


def test_golden_scaling_to_an_rms_of_1(arrays):
    near(snippets.unit_rms(arrays["wav"]), arrays["wav_rms"], 1e-5)
    assert (snippets.unit_rms(np.zeros(5, np.float32)) == 0).all()


def test_golden_statistics(arrays):
    clips = [snippets.log_mel(arrays[name], feature("slaney")) for name in ("wav", "wav2")]
    found = standard.statistics(clips)
    near(found.mean, arrays["stat_mean"], 1e-4)
    near(found.deviation, arrays["stat_std"], 1e-4)
    import tensorflow as tf

    from asd.networks.spectra import BandNormalization

    norm = BandNormalization()
    norm.build((None, 128, None, 1))
    norm.mean.assign(found.mean)
    norm.deviation.assign(found.deviation)
    image = tf.constant(arrays["db_slaney"])[None, ..., None]
    near(norm(image)[0, ..., 0], arrays["norm_mean_std"], 1e-4)


@pytest.mark.parametrize("parts", [1, 7])
def test_golden_statistics_of_bands_that_hardly_change(arrays, parts):
    clips = np.array_split(arrays["deg_features"], parts)
    near(standard.statistics(clips).deviation, arrays["deg_std"], 1e-9)


def test_statistics_of_loud_bands_are_not_rounded_away():
    """A mean of 1e6 and a deviation of 1: the sum of squares has no digits left for it."""
    frames = 1e6 + np.random.default_rng(0).standard_normal((4000, 2)).astype(np.float32)
    found = standard.statistics(np.array_split(frames, 9))
    np.testing.assert_allclose(found.deviation, frames.std(0, dtype=np.float64), rtol=1e-9)


def test_golden_batch_normalisation_of_images(arrays):
    import tensorflow as tf

    from asd.networks.layers import BatchNormalization

    for training in (False, True):
        norm = BatchNormalization(dtype="float64")
        norm.build((None, 128, None, 1))
        norm.set_weights(np.array([[1.2], [-0.3], [-30.0], [200.0]]))
        found = norm(tf.constant(arrays["bn_in"], "float64")[..., None], training=training)
        near(found[..., 0], arrays["bn_train" if training else "bn_eval"], 1e-5)
    near([float(one) for one in (norm.moving_mean[0], norm.moving_variance[0])],
         arrays["bn_running_after"], 1e-6)  # fmt: skip


def test_golden_snippets(arrays):
    wav, length, hop = arrays["wav"], 3072, 512
    at = snippets.starts(len(wav), length, hop)
    assert at.tolist() == arrays["snip_offsets"].tolist()
    pieces = np.stack([snippets.cut(wav, start, length) for start in at])
    np.testing.assert_array_equal(pieces[-1], arrays["snip_last"])
    found = images(pieces, "slaney").transpose(0, 2, 1).reshape(len(at), -1)
    near(found, arrays["snip_vec"], 1e-4)


def test_golden_numbers_of_snippets(arrays):
    rng = np.random.default_rng(0)
    for seconds, n_test, n_train, n_long in arrays["snip_counts"]:
        n = int(seconds) * RATE
        assert len(snippets.starts(n, 3072, 512)) == n_test
        drawn = snippets.random_starts(n, 3072, rng)
        assert len(drawn) == n_train and drawn.min() >= 0 and drawn.max() <= n - 3072
        assert len(snippets.starts(n, 10 * RATE, 10 * RATE)) == n_long


def test_every_start_may_be_drawn():
    drawn = snippets.random_starts(10 * 400, 10, np.random.default_rng(1))
    assert len(drawn) == 400
    few = np.concatenate(
        [snippets.random_starts(12, 10, np.random.default_rng(i)) for i in range(99)]
    )
    assert set(few.tolist()) == {0, 1, 2}


def test_a_clip_shorter_than_a_snippet_is_one():
    assert snippets.starts(5, 10, 2).tolist() == [0]
    assert snippets.random_starts(5, 10, np.random.default_rng(0)).tolist() == [0]
    assert snippets.cut(np.arange(1, 4), 0, 5).tolist() == [1, 2, 3, 0, 0]


def test_golden_mixed_waves(arrays):
    import tensorflow as tf

    from asd.augment.mixing import mixed

    both = np.stack([arrays["wav"][:4000], arrays["wav2"][:4000]])
    share = tf.fill((2,), tf.constant(arrays["mix_factor"], tf.float32))
    found = mixed(tf.constant(both), share, tf.constant([1, 0]), tf.constant([True, True]))
    near(found[0], arrays["mix_audio"], 1e-6)


def test_golden_from_wave_to_logits(golden):
    """Log-mel, the norm and the full network behind it."""
    import keras
    import msgspec
    import tensorflow as tf
    from test_cpresnet import network

    from asd.networks.layers import BatchNormalization
    from asd.networks.spectra import LogMel

    nets = dict(np.load(golden / "cpjku_official_ae/a2_cpresnet.npz"))
    waves = tf.constant(nets["e2e/wav"], "float64")
    norm = BatchNormalization(dtype="float64")
    image = LogMel(msgspec.to_builtins(feature("htk")), dtype="float64")(waves)
    norm.build(image.shape)
    norm.set_weights(np.array([[1.0], [0.0], [-30.0], [150.0]]))
    model = network(7, 128, image.shape[1:3], nets["seed"], "cpr128/r7/")
    assert isinstance(model, keras.Model)
    near(model(norm(image), training=False)[1], nets["e2e/logits"], 1e-4)
