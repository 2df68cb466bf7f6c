"""Several experiments as one: against the original's arrays, and through the scripts."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from conftest import call, write_clip
from test_density import SECTIONS, year_2021

from asd import files
from asd.clips import Clip, Scores
from asd.detectors import z_scores
from asd.evaluation import decisions, metrics, submission, thresholds, years
from common import UserError


@pytest.fixture(scope="module")
def arrays(golden):
    with np.load(golden / "cpjku_official_ae/a5_scoring.npz") as archive:
        return {name: archive[name] for name in archive.files}


def text(array):
    return bytes(array).decode()


def golden_scores(arrays):
    """Clips and their scores by an ensemble of two members a domain, as the set has them."""
    names, train = text(arrays["ens/clip_names"]).split("\n"), arrays["ens/train"] == 1
    sections = [f"{one:02}" for one in arrays["ens/section"]]
    of_clips = [arrays[f"ens/{name}_models"].mean(axis=2) for name in ("source", "target")]
    scores = np.concatenate(of_clips)  # (4 members, n_clips)
    learnt = [section for section, one in zip(sections, train, strict=True) if one]
    norms = z_scores.norms_of(scores[:, train], learnt)
    is_target = arrays["ens/source"] == 0
    values = z_scores.combined(norms.z(scores, sections), (0, 1), (2, 3), is_target)
    clips = tuple(
        Clip(Path(name), "fan", section, "train" if one else "test", 0,
             "target" if target else "source")
        for name, section, one, target in zip(names, sections, train, is_target, strict=True)
    )  # fmt: skip
    return Scores(clips, values), train


def test_golden_ensemble(arrays):
    scored, _ = golden_scores(arrays)
    np.testing.assert_allclose(scored.values, arrays["ens/final"], rtol=1e-12, atol=1e-12)


def test_golden_thresholds(arrays):
    scored, train = golden_scores(arrays)
    for kind, column in (("gamma", 3), ("empirical", 4)):
        limits = thresholds.by_section(scored.at(np.flatnonzero(train)), kind)
        for row, (section, limit) in zip(arrays["ens/gamma"], limits.items(), strict=True):
            assert limit.kind == kind, section
            assert abs(limit.value - row[column]) / (1 + abs(row[column])) < 1e-4
            if kind == "gamma":
                found = (limit.shape, limit.location, limit.scale)
                np.testing.assert_allclose(found, row[:3], rtol=1e-3)


@pytest.mark.parametrize("faithful", [True, False])
def test_golden_submission(arrays, tmp_path, faithful):
    """The original's names byte for byte, and those that the year's evaluator reads."""
    scored, train = golden_scores(arrays)
    limits = thresholds.by_section(scored.at(np.flatnonzero(train)))
    later = [not one and clip.section > "02" for one, clip in zip(train, scored.clips, strict=True)]
    test = scored.at(np.flatnonzero(later))
    year = years.of_corpus("dcase2021", faithful)
    whole = submission.names(year)
    year = dataclasses.replace(year, eval_machines=("fan",))
    submission.write(tmp_path, year, [test], [decisions.decide(test, limits)])
    published = [name.removeprefix("file/") for name in arrays
                 if name.startswith(("file/anomaly_score", "file/decision_result"))]  # fmt: skip
    assert len(published) == 12
    for name in published:
        stem = name.removesuffix(".csv")
        right = stem.replace("_section_", "_section_0") + "_test.csv"
        ours, other = (name, right) if faithful else (right, name)
        assert (tmp_path / ours).read_bytes() == bytes(arrays[f"file/{name}"])
        assert not (tmp_path / other).exists()
    listed = {one for one in text(arrays["file/list"]).split("\n") if one.endswith(".csv")}
    assert (whole == listed) is faithful
    submission.check(tmp_path, year)


def test_golden_figures_of_the_ensemble(arrays):
    """AUC and pAUC of each section and domain, and their harmonic mean, as of one machine."""
    scored, train = golden_scores(arrays)
    anomalous, target = arrays["ens/anomaly"], arrays["ens/source"] == 0
    found = []
    for section in (0, 1, 2):
        for domain in (False, True):
            own = (arrays["ens/section"] == section) & (target == domain) & ~train
            labels, values = anomalous[own], scored.values[own]
            found.append((metrics.auc(labels, values), metrics.auc(labels, values, 0.1)))
    assert np.isclose(arrays["ens/aggregate"], _harmonic(np.ravel(found)), atol=1e-6).any()
    assert np.isclose(arrays["ens/yaml"][:, 0], _harmonic([one for one, _ in found])).any()


def _harmonic(values):
    return len(values) / np.sum(1 / np.asarray(values))


def test_norms_of_one_score():
    with pytest.raises(UserError, match="member 2: one score .* of section 01"):
        z_scores.norms_of(np.array([[1.0, 2, 3, 4], [1, 2, 5, 5]]), ["00", "00", "01", "01"])


BACKENDS = {"near": {"kind": "knn", "distance": "euclidean", "neighbours": 1},
            "odd": {"kind": "gmm", "components": 1, "covariance": "diag"}}  # fmt: skip


def written(folder, experiment, detector):
    directories = {f"{key}_directory": str(folder / name) for key, name in (
        ("dev", "dev_data"), ("eval", "eval_data"), ("feature", "features"), ("model", "model"),
        ("result", "result"))}  # fmt: skip
    path = folder / f"{experiment}.yaml"
    values = {"experiment": experiment, "corpus": "dcase2021", "workers": 2, "detector": detector,
              "feature": {"n_mels": 16, "central_frames": None}}  # fmt: skip
    path.write_text(yaml.safe_dump(directories | values))
    return path


def frozen(folder, name):
    return written(folder, name, {"kind": "frozen", "backend": BACKENDS[name]})


def both(folder, **changed):
    detector = {"kind": "ensemble", "members": ["near", "odd"]} | changed
    return written(folder, "both", detector)


def run(cfg, *more):
    """00 and 01 with some options; the first status that is not 0."""
    return call("00_train.py", "-d", "-c", cfg, *more) or call("01_test.py", "-d", "-c", cfg)


@pytest.fixture(scope="module")
def members(tmp_path_factory):
    """A folder in which two experiments and their ensemble have run; not to be changed."""
    folder = year_2021(tmp_path_factory.mktemp("ensemble"))
    for name in BACKENDS:
        assert run(frozen(folder, name)) == 0
    assert run(both(folder)) == 0
    return folder


def copy_of(folder, tmp_path, **changed):
    target = tmp_path / "copy"
    shutil.copytree(folder, target)
    for name in BACKENDS:
        frozen(target, name)
    return target, both(target, **changed)


def by_hand(folder, members, section):
    """The mean z scores of the test clips of a section of the fan, from the members' files."""
    z = []
    for name in members:
        rows = files.read_csv(folder / f"model/{name}/normal_score_fan.csv")[1:]
        own = np.array([float(row[3]) for row in rows if row[1] == section])
        assert len(own) == 5  # of both domains
        path = folder / f"result/{name}/anomaly_score_fan_id_{section}.csv"
        z.append([(float(score) - own.mean()) / own.std() for _, score in files.read_csv(path)])
    return np.mean(z, axis=0)


def scores_in(folder, section):
    rows = files.read_csv(folder / f"result/both/anomaly_score_fan_id_{section}.csv")
    return [name for name, _ in rows], np.array([float(score) for _, score in rows])


def test_the_scripts(members):
    for section in SECTIONS:
        _, found = scores_in(members, section)
        np.testing.assert_allclose(found, by_hand(members, BACKENDS, section), rtol=1e-12)
    for name in ("official.csv", "decisions.csv"):
        assert (members / "result/both" / name).exists()
    assert len(files.read_csv(members / "model/both/normal_score_fan.csv")) == 11


def test_other_members_for_the_target_domain(members, tmp_path):
    folder, cfg = copy_of(members, tmp_path, members=["near"], target=["odd"])
    assert run(cfg, "--overwrite") == 0
    names, found = scores_in(folder, "00")
    is_target = np.array(["_target_" in name for name in names])
    assert is_target.sum() == 4
    expected = np.where(is_target, *(by_hand(folder, [one], "00") for one in ("odd", "near")))
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_a_member_that_was_trained_anew_is_seen(members, tmp_path, capsys):
    folder, cfg = copy_of(members, tmp_path)
    write_clip(next((folder / "dev_data/fan/train").iterdir()), 78)
    assert run(frozen(folder, "odd"), "--overwrite") == 0
    assert call("01_test.py", "-d", "-c", cfg) == 1
    assert "a member has other scores of training clips by now" in capsys.readouterr().err
    assert call("00_train.py", "-d", "-c", cfg) == 1
    assert "trained on other clips" in capsys.readouterr().err
    assert run(cfg, "--overwrite") == 0


def no_training(folder):
    (folder / "model/odd/normal_score_fan.csv").unlink()


def no_scores(folder):
    (folder / "result/odd/anomaly_score_fan_id_01.csv").unlink()


def other_scores(folder):
    path = folder / "result/odd/anomaly_score_fan_dev.json"
    path.write_text(path.read_text().replace('"sha256": "', '"sha256": "0'))


def no_number(folder):
    path = folder / "result/odd/anomaly_score_fan_id_01.csv"
    path.write_text(path.read_text().replace(",", ",nan"))


def fewer(folder):
    path = folder / "result/odd/anomaly_score_fan_id_01.csv"
    path.write_text("".join(path.read_text().splitlines(True)[1:]))


FAULTS = [
    (no_training, "normal_score_fan.csv: no scores of training clips, and odd is to be a member"),
    (no_scores, "anomaly_score_fan_id_01.csv: no such file"),
    (other_scores, "anomaly_score_fan_dev.json: missing, or of another model than there is now"),
    (no_number, "result/odd: damaged"),
    (fewer, "result/odd: no score of section_01_"),
]


@pytest.mark.parametrize(("fault", "named"), FAULTS, ids=lambda one: getattr(one, "__name__", ""))
def test_a_member_without_scores_is_named(members, tmp_path, capsys, fault, named):
    folder, cfg = copy_of(members, tmp_path)
    fault(folder)
    assert call("01_test.py", "-d", "-c", cfg) == 1
    *_, error = capsys.readouterr().err.splitlines()
    assert error.startswith("error: ") and named in error


@pytest.mark.parametrize(("changed", "named"), [
    ({"members": []}, "members"), ({"members": ["near", "both"]}, "both is this experiment"),
    ({"members": ["near", "none"]}, "none is to be a member"), ({"target": "odd"}, "target"),
    ({"members": ["../near"]}, "key detector.members: experiment '../near'"),
])  # fmt: skip
def test_wrong_members_are_named(members, tmp_path, capsys, changed, named):
    _, cfg = copy_of(members, tmp_path, **changed)
    assert call("00_train.py", "-d", "-c", cfg, "--overwrite") == 1
    assert named in capsys.readouterr().err


def test_a_section_without_training_clips_is_named(members, tmp_path, capsys):
    folder, cfg = copy_of(members, tmp_path)
    write_clip(folder / "dev_data/fan/source_test/section_02_source_test_normal_0000.wav")
    for name in BACKENDS:
        assert call("01_test.py", "-d", "-c", frozen(folder, name)) == 0
    assert call("01_test.py", "-d", "-c", cfg) == 1
    error = capsys.readouterr().err
    assert "section 02 has no training clips" in error and "run 00_train.py -e first" in error


@pytest.mark.parametrize("damage", [b"nonsense", None])
def test_a_damaged_ensemble_is_named(members, tmp_path, capsys, damage):
    folder, cfg = copy_of(members, tmp_path)
    path = folder / "model/both/model_fan.npz"
    if damage:
        path.write_bytes(damage)
    else:
        with np.load(path) as found:
            changed = dict(found) | {"std": np.zeros_like(found["std"])}
        np.savez(path, **changed)
    path.with_suffix(".json").unlink()
    assert call("01_test.py", "-d", "-c", cfg) == 1
    assert "model_fan.npz: not a readable model" in capsys.readouterr().err
