"""The classifier on the mean and deviation of mel bands."""

from __future__ import annotations

import keras
import numpy as np

from asd.networks import band_moments
from asd.networks.settings import BandMoments


def test_the_network_by_hand():
    """In float64, from the weights it has after a batch moved its statistics."""
    rng = np.random.default_rng(0)
    images = rng.normal(size=(6, 8, 5, 1)).astype(np.float32) * np.arange(1, 9)[:, None, None]
    inputs = keras.Input((8, 5, 1))
    embedding, logits = band_moments.build(BandMoments(hidden=(7, 4)), inputs, 3)
    model = keras.Model(inputs, [embedding, logits])
    model(images, training=True)
    weights = {one.path: one.numpy().astype(np.float64) for one in model.weights}

    def normalised(x, name):
        mean, variance = (weights[f"{name}/moving_{what}"] for what in ("mean", "variance"))
        x = (x - mean) / np.sqrt(variance + 1e-5)
        return x * weights.get(f"{name}/gamma", 1) + weights.get(f"{name}/beta", 0)

    bands = images[..., 0].astype(np.float64)
    x = normalised(np.concatenate([bands.mean(2), bands.std(2)], 1), "moments.bn")
    for name in ("d0", "d1"):
        x = np.maximum(normalised(x @ weights[f"{name}/kernel"], f"{name}.bn"), 0)
    found = [one.numpy() for one in model(images, training=False)]
    assert found[0].shape == (6, 4) and found[0].max() > 0
    assert np.allclose(found[0], x, atol=1e-5)
    assert np.allclose(found[1], x @ weights["logits/kernel"] + weights["logits/bias"], atol=1e-5)


def test_frames_of_any_order_are_the_same():
    images = np.random.default_rng(1).normal(size=(4, 8, 9, 1)).astype(np.float32)
    inputs = keras.Input((8, 9, 1))
    model = keras.Model(inputs, band_moments.build(BandMoments(hidden=(16,)), inputs, 2)[1])
    assert np.allclose(model(images), model(images[:, :, ::-1]), atol=1e-5)
    assert not np.allclose(model(images), model(images[:, ::-1]), atol=1e-3)
