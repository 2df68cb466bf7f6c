"""Back ends against their definitions."""

import numpy as np
import pytest

from asd.backends import Knn
from common import UserError

RNG = np.random.default_rng(0)
TRAIN = RNG.normal(1, 1, (40, 6)).astype(np.float32)
TEST = RNG.normal(1, 2, (15, 6)).astype(np.float32)


def knn(distance, neighbours, domains):
    backend = Knn(Knn.Settings(distance=distance, neighbours=neighbours))
    backend.fit(TRAIN, domains)
    return backend.score(TEST)


def distances(distance):
    """(n_test, n_train)"""
    if distance == "euclidean":
        return np.linalg.norm(TEST[:, None] - TRAIN, axis=2)
    a, b = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (TEST, TRAIN))
    return 1 - a @ b.T


@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
@pytest.mark.parametrize("neighbours", [1, 3])
def test_knn_is_its_definition(distance, neighbours):
    scores = knn(distance, neighbours, [""] * 40)
    expected = np.sort(distances(distance), axis=1)[:, :neighbours].mean(axis=1)
    assert scores.dtype == np.float64
    np.testing.assert_allclose(scores, expected, atol=1e-6)


def test_the_nearer_domain_counts():
    domains = ["source"] * 30 + ["target"] * 10
    scores = knn("euclidean", 2, domains)
    parts = distances("euclidean")[:, :30], distances("euclidean")[:, 30:]
    expected = np.min([np.sort(part, axis=1)[:, :2].mean(axis=1) for part in parts], axis=0)
    np.testing.assert_allclose(scores, expected, rtol=1e-5)
    assert not np.allclose(scores, knn("euclidean", 2, ["source"] * 40))


def test_a_training_clip_is_no_anomaly_and_scale_does_not_matter():
    backend = Knn(Knn.Settings(distance="cosine", neighbours=1))
    backend.fit(TRAIN, [""] * 40)
    np.testing.assert_allclose(backend.score(7 * TRAIN), 0, atol=1e-6)


def test_too_few_clips_are_named():
    with pytest.raises(
        UserError, match="neighbours is 3, .* 2 training clips of the target domain"
    ):
        knn("cosine", 3, ["source"] * 38 + ["target"] * 2)
