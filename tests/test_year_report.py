"""What 00_train.py and 01_test.py make of a year: its score, thresholds, decisions, submission."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import call, write_clip, write_config

from asd import config, files, provenance
from asd.clips import Clip, Scores
from asd.config import Decision
from asd.evaluation import (
    metrics,
    normal_scores,
    official,
    official_interval,
    submission,
    verdicts,
    year_score,
    years,
)
from asd.evaluation.years import Year
from common import UserError

FROZEN = {"kind": "frozen", "backend": {"kind": "knn", "distance": "cosine", "neighbours": 1}}


def scored_of(machine, values, sections=("00",), domains=("source", "target")):
    """Of each section, domain and label as many clips, whose scores are `values` in that order."""
    count = len(values) // (2 * len(sections) * len(domains))
    clips = tuple(
        Clip(Path(f"section_{section}_{domain}_test_{('normal', 'anomaly')[label]}_{i:04}.wav"),
             machine, section, "test", label, domain)
        for section in sections for domain in domains for label in (0, 1) for i in range(count)
    )  # fmt: skip
    return Scores(clips, np.asarray(values, float))


def drawn(machine, rng, count, **more):
    """Normal scores around 0, anomalous ones around 1/2."""
    n_parts = 2 * len(more.get("sections", "0"))
    values = rng.normal(size=(n_parts, 2, count)) + np.array([[0.0], [0.5]])
    return scored_of(machine, values.ravel(), **more)


# ---------------------------------------------------------------------------------------------
# The interval of an official score.


def test_the_interval_by_hand():
    """AUC of normal 1, 3 and anomalous 2, 4 is 3/4; without each clip 1/2, 1, 1, 1/2."""
    year = Year(2099, ("fan",), ("fan",), (0,), (0,), ("s_auc",), harmonic=False)
    scored = [scored_of(f"fan{k}", [1, 3, 2, 4], domains=("",)) for k in range(9)]
    # Two strata of two clips: 1/2 (1/16 + 1/16) each, 1/8 together, of 2 degrees of freedom.
    ours = official_interval.interval(year, "dev", scored[:1])
    assert (ours.value, ours.low.value, ours.high.value) == (0.75, 0, 1)
    # The mean of nine has a ninth of that variance, and 18 degrees of freedom.
    half = 2.10092204 * (1 / 72) ** 0.5
    ours = official_interval.interval(year, "dev", scored)
    assert ours.low.value == pytest.approx(0.75 - half, abs=1e-8)
    assert ours.high.value == pytest.approx(0.75 + half, abs=1e-8)


@pytest.mark.parametrize("number", [2020, 2021, 2023])
def test_the_interval_is_that_of_the_official_score_itself(number):
    """Written out: evaluate everything without each clip in turn."""
    from scipy.stats import t

    year, rng = years.of(number), np.random.default_rng(number)
    machines = year.dev_machines[:2]
    scored = []
    for name in machines:
        sections = [f"{one:02}" for one in year.parts(name)[year.part("dev")]]
        domains = ("source", "target") if year.has_domains else ("",)
        values = np.round(rng.normal(size=len(sections) * len(domains) * 10), 1)  # some are equal
        scored.append(scored_of(name, values, sections, domains))
    column = f"{year.part('dev')}_{year.official}"

    def score(sets):
        found = {one.machine_type: official.of_scores(year, one)[column] for one in sets}
        return official.mean(found, year.harmonic).value

    variances, freedoms = [], []
    for k, one in enumerate(scored):
        strata = [(clip.section, clip.domain, clip.label) for clip in one.clips]
        for stratum in set(strata):
            theta = []
            for i in (i for i, other in enumerate(strata) if other == stratum):
                rest = one.at(np.delete(np.arange(len(strata)), i))
                theta.append(score([*scored[:k], rest, *scored[k + 1 :]]))
            n = len(theta)
            variances.append((n - 1) / n * sum((x - sum(theta) / n) ** 2 for x in theta))
            freedoms.append(n - 1)
    freedom = sum(variances) ** 2 / sum(v * v / f for v, f in zip(variances, freedoms, strict=True))
    half = t.ppf(0.975, freedom) * sum(variances) ** 0.5
    ours = official_interval.interval(year, "dev", scored)
    assert ours.value == pytest.approx(score(scored), abs=1e-12)
    assert ours.low.value == pytest.approx(score(scored) - half, abs=1e-9)
    assert ours.high.value == pytest.approx(score(scored) + half, abs=1e-9)


def test_the_interval_is_as_wide_as_the_score_varies():
    """Against 150 sets of new clips, and how often the limits hold the mean of all."""
    year, rng = years.of(2023), np.random.default_rng(8)
    ours = [official_interval.interval(year, "dev", [drawn("fan", rng, 25)]) for _ in range(150)]
    low, high, values = (np.array([float(x) for x in column]) for column in zip(
        *((one.low.value, one.high.value, one.value) for one in ours), strict=True))  # fmt: skip
    halves = (high - low) / 2
    assert values.std() == pytest.approx(np.median(halves) / 1.98, rel=0.15)
    assert 0.9 < np.mean((low < values.mean()) & (values.mean() < high)) <= 0.99


def test_auc_without_each_clip():
    labels, scores = np.array([0, 1, 0, 1, 0, 0, 1]), np.array([1, 1, 2, 4, 3, 3, 3.0])
    for limit in (None, 0.4):
        right = [metrics.auc(np.delete(labels, i), np.delete(scores, i), limit) for i in range(7)]
        ours = metrics.auc_without_each(labels, scores, limit)
        np.testing.assert_allclose(ours, right, rtol=0, atol=1e-15)
    with pytest.raises(ValueError, match="a class of a single clip"):
        metrics.auc_without_each(labels[:3], scores[:3])


def test_no_interval_where_the_jackknife_knows_none():
    year = years.of(2023)
    perfect = scored_of("fan", [0, 1, 2, 3] * 2)
    perfect = Scores(perfect.clips, perfect.labels * 2.0)
    single = drawn("fan", np.random.default_rng(2), 3)
    kept = [
        i
        for i, clip in enumerate(single.clips)
        if (clip.domain, clip.label) != ("target", 0) or clip.path.name.endswith("0000.wav")
    ]
    for scored, reason in (
        (perfect, "the same without any clip"),
        (Scores(perfect.clips, -perfect.values), "stays 0"),
        (single.at(np.array(kept)), "a single clip of a section, domain and label"),
    ):
        ours = official_interval.interval(year, "dev", [scored])
        assert not ours.low.defined and not ours.high.defined
        assert reason in ours.low.reason and ours.value >= 0


# ---------------------------------------------------------------------------------------------
# The score of a year.


def test_the_total_is_of_the_machine_types_that_are_there(tmp_path, capsys):
    year, rng = years.of(2023), np.random.default_rng(1)
    scored = [drawn(name, rng, 10) for name in ("bearing", "fan", "own")]
    found = year_score.evaluate(year, "dev", scored)
    both = [official.of_scores(year, one)["0_official23"].value for one in scored]
    assert found.total.value == pytest.approx(2 / (1 / both[0] + 1 / both[1]))
    year_score.write(tmp_path / "official.csv", found)
    header, *rows = files.read_csv(tmp_path / "official.csv")
    rows = [dict(zip(header, row, strict=True)) for row in rows]
    for one in scored:
        every = official.of_scores(year, one)
        of_type = {r["figure"]: r for r in rows if r["machine_type"] == one.machine_type}
        assert of_type.keys() == every.keys()
        assert all(float(of_type[name]["value"]) == every[name].value for name in every)
        score = of_type["0_official23"]
        assert float(score["low"]) < float(score["value"]) < float(score["high"])
    assert rows[-1]["machine_type"] == "total" and rows[-1]["note"] == "2 of 7 machine types"
    year_score.show(found, tmp_path)
    out = capsys.readouterr().out
    assert f"dev, 2 of 7 machine types: {found.total.value:.4f}, 95 % interval" in out
    assert "none of 2023's machine types, not in the total" in out


def test_the_score_of_2021_is_over_sections_and_domains(capsys):
    year, rng = years.of(2021), np.random.default_rng(1)
    scored = drawn("fan", rng, 6, sections=("03", "04", "05"))
    found = year_score.evaluate(year, "eval", [scored])
    assert found.total.value == official.of_scores(year, scored)["eval_official21"].value
    year_score.show(found, Path("official.csv"))
    lines = capsys.readouterr().out.splitlines()
    titles = "AUC source  AUC target pAUC source pAUC target  official"
    assert " ".join(lines[1].split()[2:]) == " ".join(titles.split())
    assert [line.split()[1] for line in lines[2:6]] == ["03", "04", "05", "mean"]


@pytest.mark.parametrize("missing", [0, 1])
def test_an_undefined_figure_has_its_reason(tmp_path, capsys, missing):
    year, rng = years.of(2023), np.random.default_rng(1)
    whole, part = drawn("fan", rng, 4), drawn("valve", rng, 4)
    part = part.at(np.flatnonzero(part.labels != missing))
    found = year_score.evaluate(year, "dev", [whole, part])
    reason = f"no {('normal', 'anomalous')[missing]} test clip"
    assert found.total is None and f"valve: section 0 smix_auc: {reason}" in found.note
    year_score.write(tmp_path / "official.csv", found)
    rows = files.read_csv(tmp_path / "official.csv")
    undefined = [row for row in rows if row[0] == "valve"]
    assert len(undefined) == 9 and all(row[2] == "" and reason in row[5] for row in undefined)
    assert rows[-1][2] == "" and "2 of 7 machine types: valve" in rows[-1][5]
    year_score.show(found, tmp_path)
    assert f"2 of 7 machine types: valve: section 0 smix_auc: {reason}" in (capsys.readouterr().out)


def test_of_machines_that_are_none_of_the_years_nothing_is_printed(capsys):
    own = drawn("own", np.random.default_rng(0), 3, sections=("01",))
    year_score.show(year_score.evaluate(years.of(2020), "dev", [own]), Path("official.csv"))
    assert capsys.readouterr().out == ""


def test_clips_that_are_none_of_the_years_have_a_reason():
    """Sections that the year does not have; those of its other data; no domain."""
    rng = np.random.default_rng(0)
    for year, mode, scored, reason in (
        (2020, "dev", drawn("fan", rng, 3, sections=("07",)), "section 7 is none of fan"),
        (2020, "dev", drawn("fan", rng, 3, sections=("01",)), "no test clip of its sections"),
        (2023, "dev", scored_of("fan", rng.normal(size=8), domains=("",)), "domains are"),
    ):
        found = year_score.evaluate(years.of(year), mode, [scored])
        assert found.total is None and reason in found.note
    own = drawn("own", rng, 3, sections=("01", "02"))
    for mode in ("dev", "eval"):
        found = year_score.evaluate(years.of(2023), mode, [own])
        assert found.machines[0].official_figure(found.year, mode).defined
        assert found.total is None and "none of the year's machine types" in found.note


# ---------------------------------------------------------------------------------------------
# Decisions.


def trained(machine="fan", sections=("00",)):
    clips = tuple(Clip(Path(f"{section}_{i}.wav"), machine, section, "train", 0, "source")
                  for section in sections for i in range(10))  # fmt: skip
    return Scores(clips, np.tile(np.arange(10.0), len(sections)))


def test_a_section_without_training_clips_has_the_threshold_of_all(tmp_path, capsys):
    train = trained(sections=("00", "01"))
    train = Scores(train.clips, train.values + np.repeat([0, 100], 10))
    values = [5, 8, 9, 10, 5, 8, 9, 10] * 2
    scored = scored_of("fan", values, sections=("00", "02"))
    found = verdicts.of(scored, train, Decision(threshold="empirical", share=0.8))
    limits = {row.section: row for row in found.rows if not row.domain}
    assert limits["00"].limit.value == pytest.approx(np.quantile(np.arange(10), 0.8))
    assert limits["02"].limit.value == pytest.approx(np.quantile(train.values, 0.8))
    assert found.decided.tolist() == [0, 1, 1, 1] * 2 + [0] * 8
    assert (limits["00"].held_out, limits["02"].held_out) == (0, None)
    verdicts.write_table(tmp_path / "decisions.csv", [found])
    header, *rows = files.read_csv(tmp_path / "decisions.csv")
    rows = {(row[1], row[2]): dict(zip(header, row, strict=True)) for row in rows}
    assert list(rows) == [(s, d) for s in ("00", "02") for d in ("", "source", "target")]
    source = rows["00", "source"]
    assert (source["threshold_of"], source["training_clips"]) == ("section", "10")
    assert (source["called_anomalous"], source["clips"], source["normal"]) == ("3", "4", "2")
    assert (float(source["precision"]), float(source["recall"])) == (pytest.approx(2 / 3), 1)
    assert (rows["02", ""]["threshold_of"], rows["02", ""]["training_clips"]) == (
        "machine type", "20",
    )  # fmt: skip
    verdicts.show([found], 0.8, tmp_path)
    assert "fan: no training clips of section 02; the threshold there is" in capsys.readouterr().out


def test_a_refused_gamma_and_unknown_labels_are_told(tmp_path):
    train = Scores(trained().clips, np.full(10, 3.0))
    scored = scored_of("fan", [1, 2, 3, 4])
    scored = Scores(tuple(Clip(c.path, "fan", "00", "test", None) for c in scored.clips),
                    scored.values)  # fmt: skip
    found = verdicts.of(scored, train, Decision(threshold="gamma", share=0.9))
    verdicts.write_table(tmp_path / "decisions.csv", [found])
    header, row = files.read_csv(tmp_path / "decisions.csv")
    row = dict(zip(header, row, strict=True))
    assert row["note"] == "no gamma distribution fits scores that are all alike; no labels"
    assert (row["kind"], row["called_anomalous"], row["precision"]) == ("empirical", "1", "")
    assert (row["normal"], row["anomalous"], row["held_out"]) == ("", "", "")


# ---------------------------------------------------------------------------------------------
# The scripts.


def make_year(folder, machine_types, mode="dev", n_train=8, corpus="dcase2026"):
    """Recordings in a year's layout: of each machine type a section, both domains."""
    for k, name in enumerate(machine_types):
        place = folder / f"{mode}_data" / name
        for i in range(n_train):
            domain = "target" if i % 4 == 0 else "source"
            write_clip(place / f"train/section_00_{domain}_train_normal_{i:04}_noAttribute.wav",
                       100 * k + i)  # fmt: skip
        for i in range(8):
            domain, label = ("source", "target")[i % 2], ("normal", "anomaly")[i // 4]
            said = f"{domain}_test_{label}_" if mode == "dev" else ""
            write_clip(place / f"test/section_00_{said}{i:04}.wav", 1000 * k + i, 0.03 * (i // 3))
    return write_config(folder, corpus=corpus, detector=FROZEN)


def both(cfg, *argv):
    for name in ("00_train.py", "01_test.py"):
        assert call(name, *argv, "-c", cfg) == 0


def refused(capsys, cfg, *argv):
    capsys.readouterr()
    assert call("01_test.py", *argv, "-c", cfg) == 1
    lines = [x for x in capsys.readouterr().err.splitlines() if x.startswith("error: ")]
    assert len(lines) == 1
    return lines[0]


def test_a_year_goes_through_the_scripts(tmp_path, capsys):
    cfg = make_year(tmp_path, ("ToyCar", "fan"))
    both(cfg, "-d")
    out, result = capsys.readouterr().out, tmp_path / "result"
    assert "official score of DCASE 2026 Task 2, dev, 2 of 7 machine types: 0." in out
    assert "95 % interval" in out
    header, *rows = files.read_csv(result / "decisions.csv")
    rows = [dict(zip(header, row, strict=True)) for row in rows]
    assert [(row["machine_type"], row["domain"]) for row in rows] == [
        (name, domain) for name in ("ToyCar", "fan") for domain in ("", "source", "target")
    ]
    for name in ("ToyCar", "fan"):
        (limit,) = {float(r["threshold"]) for r in rows if r["machine_type"] == name}
        scores = files.read_csv(result / f"anomaly_score_{name}_id_00.csv")
        decided = files.read_csv(result / f"decision_result_{name}_section_00_test.csv")
        assert decided == [[clip, str(int(float(score) > limit))] for clip, score in scores]
        normal = tmp_path / f"model/normal_score_{name}.csv"
        record = files.read_json(tmp_path / f"model/model_{name}.json")
        assert record["normal_scores"] == files.file_hash(normal)
        header_of, *of_clips = files.read_csv(normal)
        assert header_of == ["file", "section", "domain", "score"]
        assert len(of_clips) == 8 and {row[2] for row in of_clips} == {"source", "target"}
        values = [float(row[3]) for row in of_clips]
        assert min(values) > 0 and min(values) <= limit <= max(values)
    assert not (result / "submission").exists()


def test_normal_scores_of_another_model_are_refused_and_made_anew(tmp_path, capsys):
    cfg = make_year(tmp_path, ("fan",))
    both(cfg, "-d")
    normal, record = (tmp_path / f"model/{name}" for name in
                      ("normal_score_fan.csv", "model_fan.json"))  # fmt: skip
    model, before, told = tmp_path / "model/model_fan.npz", normal.read_bytes(), record.read_text()
    decided = tmp_path / "result/decision_result_fan_section_00_test.csv"
    scores = tmp_path / "result/anomaly_score_fan_id_00.csv"
    for content in (before.replace(b"0.", b"1."), b"", None):
        normal.unlink() if content is None else normal.write_bytes(content)
        scores.unlink()
        line = refused(capsys, cfg, "-d")
        assert (
            "normal_score_fan.csv: missing, or not the scores that model_fan.json tells of" in line
        )
        assert "run 00_train.py again" in line
        assert not scores.exists(), "it is told before any work"
        whole = model.read_bytes()
        both(cfg, "-d")
        assert (normal.read_bytes(), record.read_text()) == (before, told)
        assert model.read_bytes() == whole
    # An older record tells of none: no decisions, and those of an earlier run go.
    older = files.read_json(record)
    del older["normal_scores"], older["scored_by"]
    files.write_json(record, older)
    capsys.readouterr()
    assert call("01_test.py", "-d", "-c", cfg) == 0
    assert "tells of no scores of training clips, so no decisions" in capsys.readouterr().out
    assert not decided.exists() and not (tmp_path / "result/decisions.csv").exists()
    both(cfg, "-d")
    assert record.read_text() == told and decided.exists()


@pytest.mark.parametrize(
    "text",
    ["", "file,section\n", "file,section,domain,score\n", "file,section,domain,score\na,00,0.5\n",
     "file,section,domain,score\na,00,source,nan\n", "file,section,domain,score\na,00,,x\n"],
)  # fmt: skip
def test_damaged_normal_scores_are_named(tmp_path, text):
    """Also where the record tells of that very file."""
    model, path = tmp_path / "model_fan.npz", tmp_path / "normal_score_fan.csv"
    cfg = config.load_config()
    model.write_bytes(b"model")
    path.write_text(text)
    sha256 = files.file_hash(model)
    told = provenance.of_normal_scores(cfg, files.file_hash(path))
    files.write_json(tmp_path / "model_fan.json", {"sha256": sha256, **told})
    normal_scores.check(model, "fan")
    with pytest.raises(UserError, match=r"normal_score_fan\.csv: damaged .*; run 00_train\.py"):
        normal_scores.read(cfg, model, sha256, "fan")


def test_a_changed_back_end_scores_the_training_clips_anew(tmp_path, capsys):
    """Thresholds of one back end's scores say nothing of another's."""
    cfg = make_year(tmp_path, ("fan",))
    both(cfg, "-d")
    normal = tmp_path / "model/normal_score_fan.csv"
    before, model = normal.read_bytes(), (tmp_path / "model/model_fan.npz").read_bytes()
    lof = {"kind": "lof", "distance": "cosine", "neighbours": 2}
    write_config(tmp_path, corpus="dcase2026", detector={"kind": "frozen", "backend": lof})
    capsys.readouterr()
    assert call("01_test.py", "-d", "-c", cfg) == 0
    out = capsys.readouterr().out
    assert "of another back end than the configuration's, so no decisions" in out
    assert not (tmp_path / "result/decisions.csv").exists()
    both(cfg, "-d")
    out = capsys.readouterr().out
    assert "already trained" in out and "the training clips scored anew" in out
    assert normal.read_bytes() != before
    assert (tmp_path / "model/model_fan.npz").read_bytes() == model
    assert (tmp_path / "result/decisions.csv").exists()


def test_too_few_clips_for_a_back_end_give_no_thresholds(tmp_path, capsys):
    cfg = make_year(tmp_path, ("fan",), n_train=4)
    few = {"kind": "frozen", "backend": FROZEN["backend"] | {"neighbours": [3, 1]}}
    both(cfg, "-d")
    write_config(tmp_path, corpus="dcase2026", detector=few)
    both(cfg, "-d")
    out = capsys.readouterr().out
    assert ("fan: no scores of the training clips, so no thresholds: without a fold of them, "
            "detector.backend: neighbours is 3, but there are only 2") in out  # fmt: skip
    assert "its training clips were too few to be scored, so no decisions" in out
    assert not (tmp_path / "model/normal_score_fan.csv").exists()
    assert files.read_json(tmp_path / "model/model_fan.json")["normal_scores"] is None
    assert not (tmp_path / "result/decisions.csv").exists()
    assert (tmp_path / "result/official.csv").exists()


EVAL_2026 = years.of(2026).eval_machines


def test_a_whole_years_evaluation_data_is_a_submission(tmp_path, capsys):
    cfg = make_year(tmp_path, EVAL_2026, "eval")
    both(cfg, "-e")
    out, folder = capsys.readouterr().out, tmp_path / "result/eval/submission"
    assert f"{folder}/: the submission for 2026, 10 files, whole" in out
    assert "so there is no AUC" in out
    year = years.of(2026)
    submission.check(folder, year)
    names = sorted(path.name for path in folder.iterdir())
    assert names == sorted(submission.names(year))
    decided = "decision_result_Sander_section_00_test.csv"
    assert (folder / decided).read_bytes() == (folder.parent / decided).read_bytes()
    score = "anomaly_score_Sander_section_00_test.csv"
    plain = folder.parent / "anomaly_score_Sander_id_00.csv"
    assert (folder / score).read_bytes() == plain.read_bytes()
    # Some of the machine types only: the folder stays, and is said to be an earlier run's.
    assert call("01_test.py", "-e", "-c", cfg, "-m", "Sander", "-m", "ToyDrone") == 0
    out = capsys.readouterr().out
    assert "no submission for 2026: no scores of BlowerDustCollector section 00 and 2 more; " in out
    assert "is of an earlier run" in out and (folder / score).exists()
    # Without thresholds of one of them there is none, nor the earlier run's.
    (tmp_path / "model/eval/model_Sander.json").unlink()
    assert call("01_test.py", "-e", "-c", cfg) == 0
    assert "no submission for 2026: no decisions on Sander" in capsys.readouterr().out
    assert not list(folder.iterdir())
    assert not (folder.parent / decided).exists()
    rows = files.read_csv(folder.parent / "decisions.csv")
    assert {row[0] for row in rows[1:]} == {*EVAL_2026} - {"Sander"}


def test_what_a_run_without_labels_does_not_write_is_not_left(tmp_path, capsys):
    cfg = make_year(tmp_path, ("Sander",), "eval")
    lines = ["Sander"]
    for i in range(8):
        domain, label = ("source", "target")[i % 2], ("normal", "anomaly")[i // 4]
        lines.append(f"section_00_{i:04}.wav,section_00_{domain}_test_{label}_{i:04}.wav")
    listed = tmp_path / "list.csv"
    listed.write_text("\n".join(lines) + "\n")
    write_config(tmp_path, corpus="dcase2026", detector=FROZEN, evaluation_labels=str(listed))
    both(cfg, "-e")
    result = tmp_path / "result/eval"
    gone = {"result.csv", "metrics.csv", "official.csv", "roc_Sander.png", "histogram_Sander.png"}
    own = result / "notes.csv"
    own.write_text("mine\n")
    assert gone <= {path.name for path in result.iterdir()}
    assert files.read_csv(result / "official.csv")[-1][5].startswith("1 of 5 machine types")
    write_config(tmp_path, corpus="dcase2026", detector=FROZEN)
    capsys.readouterr()
    assert call("01_test.py", "-e", "-c", cfg) == 0
    assert not gone & {path.name for path in result.iterdir()}
    assert capsys.readouterr().out.count("removed, it was of an earlier run") == len(gone)
    assert own.exists() and (result / "decisions.csv").exists()
    assert (result / "decision_result_Sander_section_00_test.csv").exists()


def test_ones_own_recordings_have_thresholds_and_decisions(tmp_path, capsys):
    place = tmp_path / "dev_data/press"
    for i in range(6):
        write_clip(place / f"section_A/train/{i}.wav", i)
        for k, label in enumerate(("normal", "anomaly")):
            write_clip(place / f"section_A/test/{label}/{label}{i}.wav", 10 * k + i + 50, 0.1 * k)
    cfg = write_config(tmp_path, corpus="folder", detector=FROZEN)
    both(cfg, "-d")
    out, result = capsys.readouterr().out, tmp_path / "result"
    assert "official" not in out and not (result / "official.csv").exists()
    assert "A clip that scores above the threshold is called anomalous; 90% of" in out
    decided = dict(files.read_csv(result / "decision_result_press_id_A.csv"))
    header, row = files.read_csv(result / "decisions.csv")
    row = dict(zip(header, row, strict=True))
    scores = files.read_csv(result / "anomaly_score_press_id_A.csv")
    assert decided == {n: str(int(float(s) > float(row["threshold"]))) for n, s in scores}
    assert row["recall"] == "1.0"


def test_the_years_before_have_their_own_files(tmp_path):
    """2021 a file a domain, 2020 no decision file; each its decisions.csv."""
    from test_corpora import year_2021

    folder = year_2021(tmp_path)
    cfg = write_config(folder, corpus="dcase2021", detector=FROZEN)
    both(cfg, "-d")
    for domain in ("source", "target"):
        name = f"result/decision_result_fan_section_00_{domain}_test.csv"
        rows = files.read_csv(folder / name)
        assert len(rows) == 4 and all(domain in row[0] for row in rows)
    shutil.rmtree(folder / "dev_data")
    for i in range(8):
        for machine_id in (1, 2, 3, 4):
            place, number = folder / "dev_data/ToyCar", f"id_0{machine_id}_{i:08}.wav"
            write_clip(place / f"train/normal_{number}", i + 10 * machine_id)
            for k, label in enumerate(("normal", "anomaly")):
                tone = 0.03 * k * (i % 3)
                write_clip(place / f"test/{label}_{number}", 100 * (k + 1) + i, tone)
    cfg = write_config(folder, detector=FROZEN, experiment="old")
    both(cfg, "-d")
    result = folder / "result/old"
    assert not list(result.glob("decision_result_*"))
    rows = files.read_csv(result / "decisions.csv")
    assert [row[1:3] for row in rows[1:]] == [[f"0{k}", ""] for k in (1, 2, 3, 4)]
    rates = [float(row[rows[0].index("held_out")]) for row in rows[1:]]
    assert all(0 <= rate < 1 for rate in rates)
    table = files.read_csv(result / "metrics.csv")
    (average,) = [row for row in table if row[1] == "average"]
    auc, pauc = (float(average[table[0].index(name)]) for name in ("auc", "pauc"))
    total = files.read_csv(result / "official.csv")[-1]
    assert total[1] == "dev_official20" and float(total[2]) == pytest.approx((auc + pauc) / 2)
