"""Thresholds from training scores, decisions, and a year's score and decision files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from asd.clips import Clip, Scores
from asd.evaluation import decisions, submission, thresholds, years
from common import UserError

FITTED = 1e-4  # thresholds of gamma fits, relative to 1 + the value


def close(ours, expected):
    return abs(ours - expected) <= FITTED * (1 + abs(expected))


@pytest.fixture(scope="session")
def arrays(golden):
    folder = golden / "cpjku_official_ae"
    return {path.stem: dict(np.load(path)) for path in folder.glob("[ab]*.npz")}


def agrees(ours, scores, expected):
    """Whether a threshold is the point expected, or that lies outside the scores."""
    if scores.min() <= expected <= scores.max():
        return ours.kind == "gamma" and close(ours.value, expected)
    return ours.kind == "empirical" and ours.value == np.quantile(scores, 0.9)


def test_thresholds_of_training_clips_golden(arrays):
    run = arrays["b9_e2e"]
    of_clips = run["train_scores64"]
    for scores, expected in zip((of_clips[:, 0], of_clips[:, 1:3].min(axis=1)),
                                run["clip_thresholds"], strict=True):  # fmt: skip
        ours = thresholds.threshold(scores)
        assert agrees(ours, scores, expected[3])
        if ours.kind == "gamma":
            assert all(map(close, (ours.shape, ours.location, ours.scale), expected))
        assert close(thresholds.threshold(scores, "empirical").value, expected[4])


def test_thresholds_of_an_ensemble_by_section_golden(arrays):
    ensemble = arrays["a5_scoring"]
    train = ensemble["ens/train"] == 1
    scored = Scores(
        tuple(Clip(Path(f"{i}.wav"), "fan", f"{section:02}", "train", 0)
              for i, section in enumerate(ensemble["ens/section"][train])),
        ensemble["ens/final"][train],
    )  # fmt: skip
    gamma, empirical = (thresholds.by_section(scored, kind) for kind in ("gamma", "empirical"))
    assert list(gamma) == [f"{section:02}" for section in range(6)]
    for (section, part), expected in zip(scored.by_section(), ensemble["ens/gamma"], strict=True):
        assert agrees(gamma[section], part.values, expected[3])
        assert close(empirical[section].value, expected[4])


def test_the_published_threshold_is_the_same_fit_to_batches_golden(arrays):
    run, mahalanobis = arrays["b9_e2e"], arrays["b8_mahala"]
    for values, expected in (
        (run["mse_distribution"], run["thresholds"][0, 3]),
        (run["mahala_distribution"], run["thresholds"][1, 3]),
        (mahalanobis["mahala_distribution"], mahalanobis["thresholds"][1]),
    ):
        assert agrees(thresholds.threshold(values), values, expected)


def test_an_off_fit_is_refused(monkeypatch):
    scores = np.linspace(1, 1e4, 50)
    monkeypatch.setattr(stats.gamma, "fit", lambda values: (1.0, 1e8, 1.0))
    ours = thresholds.threshold(scores)
    assert ours.kind == "empirical" and ours.value == np.quantile(scores, 0.9)
    assert "outside the scores" in ours.reason
    monkeypatch.setattr(stats.gamma, "fit", lambda values: (np.nan, 0.0, 1.0))
    assert thresholds.threshold(scores).kind == "empirical"


def test_scores_that_are_alike_and_impossible_ones():
    ours = thresholds.threshold(np.full(9, 3.0))
    assert ours.value == 3 and ours.kind == "empirical" and "all alike" in ours.reason
    assert thresholds.threshold([2.0]).value == 2
    for wrong in ([], [np.nan], [[1.0, 2.0]], [np.inf, 1]):
        with pytest.raises(ValueError, match="finite scores"):
            thresholds.threshold(np.array(wrong))
    for share in (0, 1, -1, np.nan):
        with pytest.raises(ValueError, match="share"):
            thresholds.threshold(np.arange(3.0), share=share)


def scored_train(shift):
    rng = np.random.default_rng(3)
    values = np.concatenate([rng.gamma(3, 1, 300), shift + rng.gamma(3, 1, 300)])
    clips = tuple(Clip(Path(f"{i}.wav"), "fan", "00" if i < 300 else "01", "train", 0)
                  for i in range(600))  # fmt: skip
    return Scores(clips, values)


def test_a_held_out_section_tells_whether_a_threshold_carries_over():
    alike = thresholds.held_out(scored_train(0))
    assert all(0.05 < rate < 0.15 for rate in alike.values())
    shifted = thresholds.held_out(scored_train(10))
    assert shifted["00"] == 0 and shifted["01"] > 0.9
    one = scored_train(0).at(np.arange(300))
    assert thresholds.held_out(one) == {}


def test_false_alarms_are_counted_on_clips_held_out_of_every_id():
    found = thresholds.false_alarms(scored_train(0))
    assert found.nominal == 0.1 and found.clips == 600
    expected = stats.binomtest(found.hits, 600).proportion_ci(0.95, method="exact")
    assert (found.low, found.high) == pytest.approx(tuple(expected), rel=1e-9)
    assert found.low <= 0.1 <= found.high
    # One of five ids is louder: a fold of neighbouring names would be all of its 20 clips.
    values = np.random.default_rng(4).gamma(3, 1, 100) + np.repeat([0, 0, 0, 0, 50], 20)
    clips = tuple(Clip(Path(f"{i}.wav"), "fan", f"{i // 20:02}", "train", 0) for i in range(100))
    louder = thresholds.false_alarms(Scores(clips, values), "empirical")
    assert 5 <= louder.hits <= 15
    few = thresholds.false_alarms(scored_train(0).at(np.arange(1)))
    assert (few.hits, few.clips, few.low) == (0, 1, 0)


def test_the_interval_holds_for_new_clips_of_the_same_ids():
    """In about 95 of 100 cases: the true rate of the threshold of all clips."""
    rng, held = np.random.default_rng(5), 0
    for _ in range(60):
        train = scored_train(0)
        train = Scores(train.clips[:100], rng.gamma(3, 1, 100))
        found = thresholds.false_alarms(train, "empirical")
        value = thresholds.threshold(train.values, "empirical").value
        held += found.low <= stats.gamma(3).sf(value) <= found.high
    assert held >= 51


def test_decisions_are_of_the_sections_own_threshold():
    train = scored_train(10)
    limits = thresholds.by_section(train, "empirical")
    decided = decisions.decide(train, limits)
    assert decided[:300].mean() == pytest.approx(0.1) == decided[300:].mean()
    on_it = Scores(train.clips[:1], np.array([limits["00"].value]))
    assert decisions.decide(on_it, limits).tolist() == [0]


def test_precision_recall_and_f1():
    found = decisions.precision_recall_f1([0, 0, 0, 1, 1], [0, 0, 1, 1, 0])
    assert [one.value for one in found.values()] == [0.5, 0.5, 0.5]
    none = decisions.precision_recall_f1([0, 1], [0, 0])
    assert [one.value for one in none.values()] == [0, 0, 0]
    for labels in ([0, 0], [1, 1], []):
        for one in decisions.precision_recall_f1(labels, labels).values():
            assert not one.defined and one.reason
    for labels, decided in (([0, 1], [0]), ([0, 1], [0, 2]), ([0, 1], [0, 0.5])):
        with pytest.raises(ValueError, match="a decision, 0 or 1"):
            decisions.precision_recall_f1(labels, decided)


def scored_year(year):
    """Two clips in every section and domain of a year's evaluation data."""
    scored = []
    for machine in year.eval_machines:
        sections = list(year.parts(machine).values())[-1]
        clips = [
            Clip(Path("data", f"section_{section:02}_{domain}_test_{i:04}.wav"), machine,
                 f"{section:02}", "test", None, domain)
            for section in sections for domain in ("source", "target") for i in range(2)
        ]  # fmt: skip
        scored.append(Scores(tuple(clips), np.arange(len(clips)) / 7))
    return scored, [(one.values > 0.3) * 1 for one in scored]


NAMES = {
    2020: ("anomaly_score_ToyCar_id_05.csv", 18),
    2021: ("decision_result_fan_section_03_source_test.csv", 84),
    2022: ("decision_result_bearing_section_05.csv", 42),
    2023: ("decision_result_Vacuum_section_00_test.csv", 14),
    2024: ("anomaly_score_RoboticArm_section_00_test.csv", 18),
    2025: ("decision_result_ToyPet_section_00_test.csv", 16),
    2026: ("decision_result_Sander_section_00_test.csv", 10),
}


@pytest.mark.parametrize("year", NAMES)
def test_a_years_submission_is_whole(tmp_path, year):
    name, count = NAMES[year]
    row = years.of(year)
    scored, decided = scored_year(row)
    written = submission.write(tmp_path, row, scored, decided)
    assert len(written) == count == len(list(tmp_path.iterdir()))
    assert (tmp_path / name).exists()
    submission.check(tmp_path, row)
    (tmp_path / name).unlink()
    with pytest.raises(UserError, match=f"lacks {name}"):
        submission.check(tmp_path, row)


def test_the_files_of_2021_are_those_of_its_evaluator_golden(arrays):
    """Of the same sections as those published, which its evaluator could not find by name."""
    listed = bytes(arrays["a5_scoring"]["file/list"]).decode().split()
    row = years.of(2021)
    right = {name for name in listed if name.endswith(".csv")}
    for section in (3, 4, 5):
        for domain in ("source", "target"):
            right = {name.replace(f"section_{section}_{domain}.", f"section_0{section}_{domain}"
                                  "_test.") for name in right}  # fmt: skip
    ours = {submission.name_of(row, kind, *key)
            for kind in submission.kinds(row) for key in submission.expected(row)}  # fmt: skip
    assert ours == right


def test_what_is_no_whole_submission_is_not_written(tmp_path):
    row = years.of(2022)
    scored, decided = scored_year(row)

    def with_first(values=None, decided_=None, clips=None):
        first = Scores(clips or scored[0].clips, scored[0].values if values is None else values)
        return [first, *scored[1:]], [decided[0] if decided_ is None else decided_, *decided[1:]]

    nan = np.where(np.arange(12) == 4, np.nan, scored[0].values)
    twice = (scored[0].clips[1], *scored[0].clips[1:])
    for wrong, match in (
        ((scored[1:], decided[1:]), "lacks bearing section 03"),
        (([*scored, Scores((Clip(Path("x.wav"), "pump", "03", "test", None),), np.ones(1))],
          [*decided, np.ones(1)]), "has pump section 03"),
        (with_first(nan), "score nan"),
        (with_first(decided_=decided[0] + 1), "decision 2"),
        (with_first(decided_=decided[0][1:]), "11 decisions for 12 clips"),
        (with_first(clips=twice), "two clips are called"),
    ):  # fmt: skip
        with pytest.raises(UserError, match=match):
            submission.write(tmp_path, row, *wrong)
        assert not list(tmp_path.iterdir())


def test_a_damaged_submission_is_seen(tmp_path):
    row = years.of(2023)
    submission.write(tmp_path, row, *scored_year(row))
    score, decision = (tmp_path / f"{kind}_shaker_section_00_test.csv"
                       for kind in (submission.SCORE, submission.DECISION))  # fmt: skip
    whole = {path: path.read_text() for path in (score, decision)}
    for path, text, match in (
        (score, whole[score].replace(",0.0\n", ",inf\n"), "finite number"),
        (score, whole[score] * 2, "stands twice"),
        (decision, whole[decision].replace(",1\n", ",0.7\n", 1), "a decision is 0 or 1"),
        (decision, whole[decision].replace("0000", "0009", 1), "of other clips"),
    ):
        path.write_text(text)
        with pytest.raises(UserError, match=match):
            submission.check(tmp_path, row)
        path.write_text(whole[path])
    (tmp_path / "other.csv").write_text("")
    with pytest.raises(UserError, match="has other.csv"):
        submission.check(tmp_path, row)
