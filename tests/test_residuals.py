"""The Mahalanobis score of the auto-encoder: from training to the model's file."""

from __future__ import annotations

import dataclasses
import zipfile

import numpy as np
import pytest
from conftest import SCRIPTS, call, frames_of, write_config

import common
from asd import config, files
from asd.detectors import kinds, residuals
from asd.detectors.residuals import Kept, Mahalanobis
from asd.embedded import host
from common import UserError

FEATURE = {"n_mels": 16}
DETECTOR = {"encoder": [16], "bottleneck": 4, "decoder": [16]}


def detector_of(data, targets=3, fit=None, **changed):
    """A detector, and its training clips, every so many of them of the target domain."""
    how = {"detector": DETECTOR | changed, "feature": FEATURE, "fit": {"epochs": 1} | (fit or {})}
    cfg = config.load_config(write_config(data, **how))
    store = frames_of(data)
    clips = [dataclasses.replace(clip, domain="target" if i % targets == 0 else "source")
             for i, clip in enumerate(store.clips)]  # fmt: skip
    return kinds.of(cfg), dataclasses.replace(store, clips=tuple(clips))


def by_definition(predict, store, of_target, mean_first=False):
    """Residual frames of the clips of a domain, and their covariance, in plain NumPy."""
    frames = [
        (common.vectors(store[i], 5) - predict(np.ascontiguousarray(common.vectors(store[i], 5))))
        .reshape(-1, store.width)
        for i, clip in enumerate(store.clips)
        if (clip.domain == "target") == of_target
    ]  # fmt: skip
    return np.cov(np.concatenate(frames).T)


def test_covariances_and_scores_are_their_definition(data):
    detector, store = detector_of(data, score="mahalanobis")
    detector.fit(store)
    predict = detector.predictor()
    found = residuals.of_clips(predict, store, 5)
    inverses = []
    for covariance, of_target in ((found.source, False), (found.target, True)):
        expected = by_definition(predict, store, of_target)
        np.testing.assert_allclose(covariance, expected, rtol=1e-6, atol=1e-9)
        inverses.append(np.linalg.inv(expected))
    scores = detector.score(store).values
    for score, frames in zip(scores, store, strict=True):
        windows = np.ascontiguousarray(common.vectors(frames, 5))
        rows = (windows - predict(windows)).reshape(-1, store.width).astype(float)
        means = [np.einsum("ij,jk,ik->i", rows, one, rows).mean() for one in inverses]
        assert score == pytest.approx(min(means), rel=1e-9)


def test_without_target_clips_there_is_one_covariance(data):
    detector, store = detector_of(data, score="mahalanobis")
    clips = tuple(dataclasses.replace(clip, domain=None) for clip in store.clips)
    detector.fit(dataclasses.replace(store, clips=clips))
    distances = detector.error.distances(*(np.ones((3, 80), np.float32), np.zeros((3, 80), "f4")))
    assert distances.source == distances.target > 0


def test_one_training_serves_both_scores(data):
    """The model's file is the same, and what is saved is what is loaded."""
    assert call("00_train.py", "-d", "-c", write(data)) == 0
    model = files.file_hash(data / "model/model_ToyTest.keras")
    scores = {}
    for score in ("mse", "mahalanobis", "mse"):
        assert call("00_train.py", "-d", "-c", write(data, score=score)) == 0
        assert call("01_test.py", "-d", "-c", data / "test.yaml") == 0
        assert files.file_hash(data / "model/model_ToyTest.keras") == model
        read = files.read_csv(data / "result/anomaly_score_ToyTest_id_01.csv")
        scores.setdefault(score, []).append([float(value) for _, value in read])
    assert scores["mse"][0] == scores["mse"][1]
    assert scores["mse"][0] != scores["mahalanobis"][0]
    assert np.isfinite(scores["mahalanobis"]).all()


def write(data, **changed):
    return write_config(data, detector=DETECTOR | changed, feature=FEATURE, fit={"epochs": 1})


def test_keras_reads_the_file(data):
    import keras

    assert call("00_train.py", "-d", "-c", write(data)) == 0
    path = data / "model/model_ToyTest.keras"
    with zipfile.ZipFile(path) as archive:
        assert residuals.MEMBER in archive.namelist()
    assert keras.models.load_model(path, compile=False).output_shape == (None, 80)


def test_another_make_of_covariances_is_trained_anew(data, capsys):
    assert call("00_train.py", "-d", "-c", write(data)) == 0
    assert call("01_test.py", "-d", "-c", write(data, score="mahalanobis", faithful=True)) == 1
    assert "detector.faithful" in capsys.readouterr().err
    assert call("00_train.py", "-d", "-c", data / "test.yaml", "--overwrite") == 0
    assert call("01_test.py", "-d", "-c", data / "test.yaml") == 0


def test_the_published_form_is_its_definition(data):
    """One batch: the covariance is the usual one, of frames, with the windows less one below."""
    detector, store = detector_of(
        data, score="mahalanobis", faithful=True,
        fit={"batch_size": 10**6, "validation_split": 0.0},
    )  # fmt: skip
    detector.fit(store)
    predict, published = detector.predictor(), []
    for of_target in (False, True):
        clips = [i for i, clip in enumerate(store.clips) if (clip.domain == "target") == of_target]
        n_windows = store.n_windows(5)[clips].sum()
        frames = by_definition(predict, store, of_target)
        published.append(frames * (5 * n_windows - 1) / (n_windows - 1))
    for ours, expected in zip((detector.error.source, detector.error.target), published,
                              strict=True):  # fmt: skip
        np.testing.assert_allclose(ours, np.linalg.inv(expected), rtol=1e-5, atol=1e-8)
    windows = np.ascontiguousarray(common.vectors(store[0], 5))
    mean = (windows - predict(windows)).reshape(-1, 16).astype(float).mean(axis=0)
    expected = min(mean @ np.linalg.inv(one) @ mean for one in published)
    assert detector.score(store).values[0] == pytest.approx(expected, rel=1e-6)


def test_thresholds_of_the_published_form_are_of_batches(data):
    """Of the last epoch's, in training, and of those that validate; distances likewise."""
    fit = {"batch_size": 64, "validation": "random_windows", "validation_split": 0.25}
    detector, store = detector_of(data, score="mahalanobis", faithful=True, fit=fit)
    history = detector.fit(store).history
    n_windows = int(store.n_windows(5).sum())
    n_batches = -(-(n_windows - n_windows // 4) // 64) + -(-(n_windows // 4) // 64)
    values = detector.normal_scores(store).values
    assert len(values) == n_batches and (values > 0).all()
    with_mse, _ = detector_of(data, faithful=True, fit=fit)
    path = data / "model.keras"
    detector.save(path)
    with_mse.load(path)
    errors = with_mse.normal_scores(store).values
    np.testing.assert_array_equal(errors, history[-1].batches)
    assert len(errors) == n_batches
    own = errors[: n_batches - -(-(n_windows // 4) // 64)]
    sizes = np.minimum(64, n_windows - n_windows // 4 - 64 * np.arange(len(own)))
    assert np.average(own, weights=sizes) == pytest.approx(history[-1].loss, rel=1e-6)


def test_a_faithful_run_ends_in_decisions(data, capsys):
    """By both scores, with one training."""
    how = {"faithful": True, "score": "mahalanobis"}
    assert call("00_train.py", "-d", "-c", write(data, **how)) == 0
    assert call("01_test.py", "-d", "-c", data / "test.yaml") == 0
    kinds_of = {row[4] for row in files.read_csv(data / "result/decisions.csv")[1:]}
    assert kinds_of <= {"gamma", "empirical"} and kinds_of
    before = (data / "result/decisions.csv").read_text()
    assert call("00_train.py", "-d", "-c", write(data, faithful=True)) == 0
    assert "scored anew" in capsys.readouterr().out
    assert call("01_test.py", "-d", "-c", data / "test.yaml") == 0
    assert (data / "result/decisions.csv").read_text() != before


def test_target_clips_that_are_not_learnt_from_are_told(data, capsys):
    """The last in the order of names, as in the years, they would all validate."""
    for validation, told in (("last_clips", True), ("random_windows", False)):
        fit = {"validation": validation, "validation_split": 0.25}
        detector, store = detector_of(data, fit=fit)
        clips = [dataclasses.replace(clip, domain="target" if i >= 10 else "source")
                 for i, clip in enumerate(store.clips)]  # fmt: skip
        assert len(clips) == 12
        detector.fit(dataclasses.replace(store, clips=tuple(clips)))
        warning = "all 2 target clips validate, and none is learnt from"
        assert (warning in capsys.readouterr().out) == told


def test_the_distance_goes_to_c_and_is_verified(data, capsys):
    """Of the score that the configuration asks for; what was changed by hand is refused."""
    if host.compiler() is None:
        pytest.skip("no C compiler")
    cfg = write(data, score="mahalanobis")
    for name in SCRIPTS:
        boards = ("--boards", "none") if name.startswith("03") else ()
        assert call(name, "-d", "-c", cfg, *boards) == 0, capsys.readouterr()
    assert "the Mahalanobis distance in C: scores off by" in capsys.readouterr().out
    header, row = files.read_csv(data / "result/mcu.csv")
    assert float(row[header.index("distance_error")]) < 1e-5
    source = data / "model/model_ToyTest_c/model_distance.c"
    text = source.read_text()
    source.write_text(text.replace("0.0F", "1.0F"))
    assert call("03_tflite_test.py", "-d", "-c", cfg, "--boards", "none") == 1
    assert "model_distance.c differs; run 02_convert.py" in capsys.readouterr().err
    cfg = write(data)
    for name in SCRIPTS:
        boards = ("--boards", "none") if name.startswith("03") else ()
        assert call(name, "-d", "-c", cfg, *boards) == 0, capsys.readouterr()
    assert not source.exists()
    header, row = files.read_csv(data / "result/mcu.csv")
    assert row[header.index("distance_error")] == ""


# What goes wrong


def test_too_few_target_clips_are_told_before_training(data, monkeypatch):
    detector, store = detector_of(data, targets=10**6, score="mahalanobis")
    # 15 frames in a clip, of 16 bands
    monkeypatch.setattr(type(store), "n_windows", lambda self, n: np.full(len(self), 3))
    with pytest.raises(UserError, match="15 frames of target training clips are too few.*16 bands"):
        detector.fit(store)


def test_a_model_without_covariances_is_one_line(data, capsys):
    assert call("00_train.py", "-d", "-c", write(data)) == 0
    path = data / "model/model_ToyTest.keras"
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    for content in (None, b"nonsense"):
        with zipfile.ZipFile(path, "w") as archive:
            for name, kept in members.items():
                if name != residuals.MEMBER:
                    archive.writestr(name, kept)
            if content:
                archive.writestr(residuals.MEMBER, content)
        (data / "model/model_ToyTest.json").unlink(missing_ok=True)
        assert call("01_test.py", "-d", "-c", write(data, score="mahalanobis")) == 1
        (line,) = capsys.readouterr().err.strip().splitlines()[-1:]
        assert "no covariances of residuals in it" in line and "train it anew" in line
        assert call("01_test.py", "-d", "-c", write(data)) == 0  # mse needs none
        capsys.readouterr()


def test_a_covariance_without_an_inverse_is_one_line():
    singular = np.ones((4, 4))
    with pytest.raises(UserError, match=r"covariance of the source clips.*no inverse"):
        Mahalanobis(Kept(singular, None))
    with pytest.raises(UserError, match=r"covariance of the target clips.*no inverse"):
        Mahalanobis(Kept(np.eye(4), singular))


def test_a_batch_of_one_window_is_passed_over():
    rng = np.random.default_rng(0)
    batch = rng.normal(size=(6, 8)), np.arange(6) % 2 == 1
    alone = rng.normal(size=(1, 8)), np.array([False])
    with_it = residuals.published_covariances([batch, alone], 4)
    without = residuals.published_covariances([batch], 4)
    np.testing.assert_array_equal(with_it.source, without.source)
