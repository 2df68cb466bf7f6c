"""The frozen detector with each back end."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from conftest import call, frames_of, write_config

from asd import backends, config, files
from asd.detectors import frozen, kinds
from asd.detectors.detector import TooFewClips
from common import UserError

BACKENDS = {
    "knn": {"distance": "cosine", "neighbours": [2, 1]},
    "smote": {"distance": "cosine", "neighbours": 1, "ratio": 0.9, "between": 2},
    "kmeans": {"distance": "euclidean", "clusters": 2},
    "rescaled_knn": {"distance": "cosine", "neighbours": 1, "local_neighbours": 2},
    "gmm": {"components": 2, "covariance": "diag"},
    "lof": {"distance": "cosine", "neighbours": 2},
    "mahalanobis": {},
    "isolation": {"trees": 10},
    "fusion": {"parts": [{"kind": "mahalanobis"},
                         {"kind": "knn", "distance": "cosine", "neighbours": 1}]},
}  # fmt: skip


def detector_of(data, kind, sections="together", **changed):
    """A frozen detector as a YAML file names it, and its training clips, some of them target."""
    backend = {"kind": kind} | BACKENDS[kind] | changed
    detector = {"kind": "frozen", "backend": backend, "sections": sections}
    path = write_config(data, feature={"power": 1.0}, detector=detector)
    store = frames_of(data)
    clips = [dataclasses.replace(clip, domain="target" if i % 3 == 0 else "source")
             for i, clip in enumerate(store.clips)]  # fmt: skip
    return kinds.of(config.load_config(path)), dataclasses.replace(store, clips=tuple(clips))


@pytest.fixture
def no_fits(monkeypatch):
    """A call ends fitting for the rest of the test."""

    def refuse(*_):
        raise AssertionError("fitted again")

    def end():
        for kind in backends.KINDS.values():
            monkeypatch.setattr(kind, "fit", refuse)

    return end


def test_every_kind_is_tested():
    assert BACKENDS.keys() == backends.KINDS.keys()


@pytest.mark.parametrize("kind", BACKENDS)
def test_a_back_end_is_fitted_once_and_served_from_the_file(data, kind, no_fits):
    for sections in ("together", "apart"):
        detector, store = detector_of(data, kind, sections)
        detector.fit(store)
        detector.save(data / f"{sections}.npz")
        np.save(data / f"{sections}.npy", detector.score(store).values)
    no_fits()
    for sections in ("together", "apart"):
        detector, store = detector_of(data, kind, sections)
        detector.load(data / f"{sections}.npz")
        scores = detector.score(store).values
        np.testing.assert_array_equal(scores, np.load(data / f"{sections}.npy"))
        assert np.isfinite(scores).all()


def test_another_back_end_is_fitted_to_the_embeddings_of_the_file(data, no_fits):
    detector, store = detector_of(data, "lof")
    detector.fit(store)
    detector.save(data / "lof.npz")
    for kind in ("knn", "isolation"):
        other, _ = detector_of(data, kind)
        other.load(data / "lof.npz")
        scores = other.score(store).values
        other.fit(store)
        np.testing.assert_array_equal(scores, other.score(store).values)
    no_fits()
    with pytest.raises(AssertionError, match="fitted again"):
        detector_of(data, "lof", neighbours=3)[0].load(data / "lof.npz")
    with pytest.raises(AssertionError, match="fitted again"):
        detector_of(data, "lof", "apart")[0].load(data / "lof.npz")


# Scores of training clips.


def test_folds_are_balanced_in_every_section_and_domain():
    rng = np.random.default_rng(0)
    sections = rng.choice(["00", "01", "02"], 203).tolist()
    domains = rng.choice(["source", "target"], 203, p=[0.97, 0.03]).tolist()
    fold = frozen.folds(sections, domains)
    np.testing.assert_array_equal(fold, frozen.folds(sections, domains))
    for stratum in {*zip(sections, domains, strict=True)}:
        own = [one == stratum for one in zip(sections, domains, strict=True)]
        assert np.ptp(np.bincount(fold[own], minlength=5)) <= 1
    assert sorted(np.bincount(fold)) == [40, 40, 41, 41, 41]
    assert sorted(frozen.folds(["00"] * 3, [""] * 3)) == [0, 1, 2]


def test_a_training_clip_is_no_neighbour_of_itself(data):
    """Its score is the distance to the nearest clip of the other folds, written out."""
    detector, store = detector_of(data, "knn", neighbours=1)
    detector.fit(store)
    ours = detector.normal_scores(store)
    assert ours.clips == store.clips
    points = store.read(range(12)).astype(float)
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    sections, domains = ([getattr(c, key) for c in store.clips] for key in ("section", "domain"))
    fold = frozen.folds(sections, domains)
    for i, point in enumerate(points):
        nearest = 1 - (points[fold != fold[i]] @ point).max()
        assert ours.values[i] == pytest.approx(nearest, abs=1e-12)
        assert ours.values[i] > 1e-5
    np.testing.assert_allclose(detector.score(store).values, 0, atol=1e-12)


@pytest.mark.parametrize("kind", BACKENDS)
def test_training_clips_are_scored_or_said_to_be_too_few(data, kind):
    for sections in ("together", "apart"):
        detector, store = detector_of(data, kind, sections)
        detector.fit(store)
        model = detector.score(store).values
        for count in (1, 2, 3, 4, 6, 12):
            few = dataclasses.replace(store, clips=store.clips[:count],
                                      offsets=store.offsets[: count + 1])  # fmt: skip
            try:
                assert np.isfinite(detector.normal_scores(few).values).all()
                assert count > 1
            except TooFewClips as error:
                assert count < 12 and "\n" not in str(error)
        np.testing.assert_array_equal(detector.score(store).values, model)


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("sections", np.array(["01"])),
        ("domains", np.array(["source"] * 11)),
        ("fitted", None),
        ("fitted.sections", None),
        ("fitted.0.source", None),
        ("fitted.0.target", np.zeros((3, 5))),
        ("fitted.0.target", np.full((3, 128), np.nan)),
        ("fitted.0.target", np.array([{}], object)),
    ],
)
def test_a_file_that_does_not_fit_itself_is_named(data, name, other):
    detector, store = detector_of(data, "knn", neighbours=1)
    detector.fit(store)
    path = data / "model.npz"
    detector.save(path)
    with np.load(path) as archive:
        arrays = dict(archive) | {name: other}
    if name == "fitted.0.source":
        arrays["fitted.0.target"] = None  # then no clip is left to compare with
    np.savez(path, **{key: value for key, value in arrays.items() if value is not None})
    with pytest.raises(UserError, match=r"model\.npz: not a readable model \(.*; train it anew"):
        detector_of(data, "knn", neighbours=1)[0].load(path)


def test_a_model_that_could_not_be_read_is_not_written(data, monkeypatch):
    detector, store = detector_of(data, "knn")
    detector.fit(store)
    monkeypatch.setattr(frozen, "MOST_BYTES", 20_000)
    with pytest.raises(
        UserError, match=r"model\.npz: a model of .* bytes, and 20,000 are the most"
    ):
        detector.save(data / "model.npz")
    assert not (data / "model.npz").exists()


def test_equal_clips_have_equal_scores_by_the_scripts(data):
    """And each kind goes through them."""
    train = data / "dev_data/ToyTest/train"
    for i in range(4):
        content = (train / f"normal_id_01_{i:08}.wav").read_bytes()
        for label in ("normal", "anomaly"):
            (data / f"dev_data/ToyTest/test/{label}_id_01_{i + 20:08}.wav").write_bytes(content)
    parts = [{"kind": kind} | values for kind, values in BACKENDS.items() if kind != "fusion"]
    write_config(data, detector={"kind": "frozen", "backend": {"kind": "fusion", "parts": parts}})
    for name in ("00_train.py", "01_test.py"):
        assert call(name, "-d", "-c", data / "test.yaml") == 0
    rows = dict(files.read_csv(data / "result/anomaly_score_ToyTest_id_01.csv"))
    for i in range(20, 24):
        assert rows[f"normal_id_01_{i:08}.wav"] == rows[f"anomaly_id_01_{i:08}.wav"]
    assert len(set(rows.values())) == len(rows) - 4
