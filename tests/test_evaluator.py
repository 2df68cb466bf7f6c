"""The official evaluator: figures of a section, result files byte for byte, jackknife."""

from __future__ import annotations

import csv
import re

import numpy as np
import pytest
from scipy import stats

from asd import cli, files
from asd.evaluation import evaluator, evaluator_files, judge, summary, truth, years
from asd.evaluation.evaluator import Section
from common import UserError

EXACT = 1e-9


@pytest.fixture(scope="session")
def results(golden):
    return dict(np.load(golden / "cpjku_official_ae" / "b10_results.npz"))


def text(array):
    return bytes(array).decode()


def domains_of(numbers):
    return np.where(numbers == 1, "target", "source")


def systems(results):
    """The results of the two synthetic systems."""
    machines = text(results["eval/machines"]).split()
    return [
        evaluator.evaluate(name, [
            Section(machine, "00", results["eval/label"][i], domains_of(results["eval/domain"][i]),
                    results["eval/score"][i, k], results["eval/decision"][i, k])
            for i, machine in enumerate(machines)])
        for k, name in enumerate(("plain", "labelled"))
    ][::-1]  # fmt: skip


def test_the_evaluators_files_golden(results, tmp_path):
    evaluator_files.write(tmp_path, systems(results), years.of(2024).report_order, published=True)
    written = {p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*.csv")}
    expected = {key.removeprefix("eval/out/") for key in results if key.startswith("eval/out/")}
    assert written == expected
    for name in sorted(expected):
        assert (tmp_path / name).read_text() == text(results[f"eval/out/{name}"]), name


def test_a_system_read_from_its_files_golden(results, tmp_path):
    """Both kinds of names, rows in any order; the same figures as from the arrays."""
    machines = text(results["eval/machines"]).split()
    for key, array in results.items():
        if key.startswith("eval/file/"):
            path = tmp_path / key.removeprefix("eval/file/")
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(bytes(array))
    (one,) = truth.read(tmp_path)
    i = machines.index(one.machine_type)
    np.testing.assert_array_equal(one.labels, results["eval/label"][i])
    np.testing.assert_array_equal(one.domains, domains_of(results["eval/domain"][i]))
    for k, name in enumerate(("plain", "labelled")):
        folder = tmp_path / name
        (scores,) = folder.glob("anomaly_score_*")
        decided = folder / scores.name.replace("anomaly_score", "decision_result")
        rows = dict(zip(one.names, results["eval/decision"][i, k], strict=True))
        decided.write_text("".join(f"{clip},{value}\n" for clip, value in rows.items()))
        (section,) = truth.read_system(folder, [one])
        np.testing.assert_array_equal(section.scores, results["eval/score"][i, k])
        np.testing.assert_array_equal(section.decisions, results["eval/decision"][i, k])
        expected = {result.system: result for result in systems(results)}[name]
        ours = evaluator.evaluate(name, [section])
        assert ours.sections[one.machine_type, "00"] == expected.sections[one.machine_type, "00"]


def test_jackknife_golden(results):
    for k in range(2):
        pooled = results["eval/label"].ravel(), results["eval/score"][:, k].ravel()
        ours = [
            (one.value, one.estimate, one.published, one.half_width)
            for one in (evaluator.jackknife(*pooled), evaluator.jackknife(*pooled, 0.1))
        ]
        np.testing.assert_allclose(np.ravel(ours), results["eval/jackknife"][k], rtol=EXACT)


def test_the_half_width_is_right_unless_the_published_one_is_asked_for_golden(results):
    """The right interval of normally spread scores mostly holds, the published one hardly ever."""
    one = systems(results)[0]
    right, published = evaluator.confidence(one), evaluator.confidence(one, published=True)
    count = results["eval/label"].size
    assert right.value == pytest.approx(published.value * (count - 1))
    rng = np.random.default_rng(0)
    held = [0, 0]
    labels = np.repeat([0, 1], 25)
    truth_value = 0.7602499  # of two normal distributions whose means differ by 1
    for _ in range(30):
        found = evaluator.jackknife(labels, rng.standard_normal(50) + labels)
        held[0] += abs(found.value - truth_value) <= found.half_width
        held[1] += abs(found.value - truth_value) <= found.published
    assert held[0] >= 26 and held[1] <= 6


def result_file(scores, limit, labels, domains, columns):
    section = Section("fan", "00", labels, domains, scores, (scores > limit) * 1)
    return evaluator_files.baseline_rows({"00": evaluator.figures(section)}, columns)


def as_text(rows, path):
    files.write_csv(path, rows)
    return path.read_text()


def test_the_baselines_result_files_golden(results, golden, tmp_path):
    labels = np.repeat([0, 0, 1, 1], 10)
    domains = np.tile(np.repeat(["source", "target"], 10), 2)
    fan = text(results["sum/machines"]).split().index("fan")
    name = "result_DCASE2023T2fan_test_seed13711_id(0_)_roc.csv"
    limit = stats.gamma.ppf(0.9, 3, loc=0.1, scale=0.35)
    for k, system in enumerate(("MSE", "MAHALA")):
        rows = result_file(results["sum/scores"][fan, k], limit, labels, domains,
                           evaluator_files.BASELINE_COLUMNS)  # fmt: skip
        assert as_text(rows, tmp_path / name) == text(results[f"sum/file/{system}/{name}"])
    for arrays, prefix in (("b8_mahala", "file/"), ("b9_e2e", "file/baseline_")):
        arrays = dict(np.load(golden / "cpjku_official_ae" / f"{arrays}.npz"))
        for k, system in enumerate(("MSE", "MAHALA")):
            folder = f"{prefix}{system}/"
            found = {key.removeprefix(folder).partition("_DCASE")[0]: text(arrays[key])
                     for key in arrays if key.startswith(folder)}  # fmt: skip
            clips, scores = zip(*(row.rsplit(",", 1) for row in found["anomaly_score"].split()),
                                strict=True)  # fmt: skip
            scores, labels = np.array(scores, float), np.array(["anomaly" in c for c in clips]) * 1
            domains = np.array(["target" if "target" in clip else "source" for clip in clips])
            limit = arrays["thresholds"][k] if prefix == "file/" else arrays["thresholds"][k, 3]
            rows = result_file(scores, limit, labels, domains, evaluator_files.BASELINE_COLUMNS)
            assert as_text(rows, tmp_path / name) == found["result"], (prefix, system)
            decided = zip(clips, (scores > limit) * 1, strict=True)
            assert as_text(decided, tmp_path / "d.csv") == found["decision_result"]
            if f"{prefix}single_domain_result" in arrays and system == "MSE":
                rows = result_file(scores, limit, labels, np.full(len(clips), ""),
                                   evaluator_files.SINGLE_DOMAIN_COLUMNS)  # fmt: skip
                expected = text(arrays[f"{prefix}single_domain_result"])
                assert as_text(rows, tmp_path / "single.csv") == expected


def baselines(results):
    """The two baseline systems on the development machine types."""
    labels = np.repeat([0, 0, 1, 1], 10)
    domains = np.tile(np.repeat(["source", "target"], 10), 2)
    return {
        f"baseline_{name}": evaluator.evaluate(f"baseline_{name}", [
            Section(machine, "00", labels, domains, scores[k], scores[k] > 1)
            for machine, scores in zip(text(results["sum/machines"]).split(),
                                       results["sum/scores"], strict=True)])
        for k, name in ((1, "MAHALA"), (0, "MSE"))
    }  # fmt: skip


def same_cells(ours, expected):
    """Equal but for the last digits: the original reads its own files with fewer."""
    for row, line in zip(ours, csv.reader(expected.splitlines()), strict=True):
        assert len(row) == len(line)
        for cell, other in zip(row, line, strict=True):
            assert cell == (pytest.approx(float(other), abs=EXACT) if isinstance(cell, float)
                            else other)  # fmt: skip


def test_the_summary_of_systems_golden(results):
    systems = baselines(results)
    expected = text(results["sum/export/DCASE2023T2_auc_pauc_extract.csv"])
    order = expected.splitlines()[0].split(",")[4:]
    same_cells(evaluator_files.paper_rows(list(systems.values()), order), expected)
    for name, result in systems.items():
        key = f"sum/export/{name}/result_DCASE2023T2fan_test_seed13711_roc.csv"
        same_cells(evaluator_files.brief_rows({"00": result.sections["fan", "00"]}),
                   text(results[key]))  # fmt: skip


def test_the_wide_summary_golden(results):
    """Columns in any order; the original has pAUC in the place of four means a machine."""
    systems = baselines(results)
    header, *lines = csv.reader(text(results["sum/export/DCASE2023T2_auc_pauc.csv"]).splitlines())
    for published in (True, False):
        ours = summary.rows({name: [one] for name, one in systems.items()}, "dev", published)
        assert sorted(ours[0]) == sorted(header)
        for row, line in zip(ours[1:], lines, strict=True):
            expected = dict(zip(header, line, strict=True))
            for name, cell in dict(zip(ours[0], row, strict=True)).items():
                is_mended = re.search(r"( mean|ALL)_pAUC \((source|target)\)(_ave|_std|$)", name)
                is_mended = is_mended or name in ("ALL_AUC_std", "TOTAL_score_std")
                if not name or (is_mended and not published):
                    continue
                other = expected[name]
                assert cell == (pytest.approx(float(other), abs=EXACT) if other else ""), name


def test_a_mean_of_the_wide_summary_is_of_its_own_figure_golden(results):
    for name, one in baselines(results).items():
        row = summary.columns([one], "dev")
        for domain in ("source", "target"):
            figure = f"pAUC ({domain})"
            own = [found[figure].value for found in one.sections.values()]
            assert row[f"ALL_{figure}_ave"] == pytest.approx(np.mean(own)), name
            assert row[f"ALL_{figure}_std"] == pytest.approx(np.std(own, ddof=1))
            assert (
                row[f"fan_dev_arithmetic mean_{figure}"] == one.sections["fan", "00"][figure].value
            )


def test_the_wide_summary_of_several_seeds():
    def run(scores):
        labels, domains = [0, 1, 0, 1], ["source", "source", "target", "target"]
        return evaluator.evaluate("a", [section_of(labels, domains, scores)])

    row = summary.columns([run([0.0, 1, 0, 1]), run([1.0, 0, 1, 2])], "dev")
    assert row["fan_dev_00_AUC (source)_ave"] == 0.75
    assert row["fan_dev_00_AUC (source)_std"] == pytest.approx(np.std([1, 0.5], ddof=1))
    assert row["ALL_AUC (source)_hmean"] == pytest.approx(2 / (1 + 1 / 0.5))


def section_of(labels, domains, scores=None, decisions=None):
    labels = np.array(labels)
    scores = np.arange(len(labels), dtype=float) if scores is None else np.array(scores)
    return Section("fan", "00", labels, np.array(domains), scores,
                   labels if decisions is None else np.array(decisions))  # fmt: skip


def test_a_figure_without_its_clips_is_empty_and_so_is_every_mean_of_it():
    only_source = section_of([0, 0, 1, 1], ["source"] * 4)
    whole = section_of([0, 1, 0, 1], ["source", "source", "target", "target"])
    ours = evaluator.evaluate("a", [only_source, whole._replace(name="01")])
    assert ours.sections["fan", "00"]["AUC (source)"].value == 1
    missing = ours.sections["fan", "00"]["AUC (target)"]
    assert missing.cell == "" and missing.reason == "no normal test clip"
    assert not ours.official.defined and "fan 00 AUC (target)" in ours.official.reason
    rows = evaluator_files.system_rows(ours)
    assert ["official score", "", ""] in rows


def test_a_mean_with_a_zero_is_floored():
    """As the evaluators do; every official score of a system with one AUC of 0 is near 0."""
    worst = section_of([0, 1, 0, 1], ["source", "source", "target", "target"], [1.0, 0, 1, 0])
    assert 0 < evaluator.evaluate("a", [worst]).official.value < 1e-15


def test_a_single_clip_of_a_class_has_no_half_width():
    one = evaluator.evaluate("a", [section_of([0, 0, 1], ["source", "target", "source"])])
    assert "single clip" in evaluator.confidence(one).reason


def write_truth(folder):
    for name, rows in {
        "ground_truth_data": "a.wav,0\nb.wav,1\n",
        "ground_truth_domain": "b.wav,1\na.wav,0\n",
        "ground_truth_attributes": "a.wav,full_a\nb.wav,full_b\n",
    }.items():
        (folder / name).mkdir(exist_ok=True)
        (folder / name / "ground_truth_fan_section_00_test.csv").write_text(rows)


@pytest.mark.parametrize(("scores", "match"), [
    ("a.wav,1\n", "lacks b.wav"),
    ("a.wav,1\nb.wav,2\nc.wav,3\n", "c.wav is no clip"),
    ("a.wav,1\na.wav,2\nb.wav,3\n", "stands twice"),
    ("a.wav,1\nfull_a.wav,2\nb.wav,3\n", "stands twice, with and without"),
    ("a.wav,nan\nb.wav,2\n", "finite number"),
    ("a.wav,x\nb.wav,2\n", "not a name and a number"),
    ("a.wav\nb.wav,2\n", "not a name and a number"),
    (None, "not there, and no anomaly_score"),
])  # fmt: skip
def test_a_systems_wrong_files_are_refused(tmp_path, scores, match):
    write_truth(tmp_path)
    if scores is not None:
        (tmp_path / "anomaly_score_fan_section_00_test.csv").write_text(scores)
    (tmp_path / "decision_result_fan_section_00_test.csv").write_text("a.wav,0\nb.wav,1\n")
    with pytest.raises(UserError, match=match):
        truth.read_system(tmp_path, truth.read(tmp_path))


def test_wrong_decisions_and_a_wrong_truth_are_refused(tmp_path):
    write_truth(tmp_path)
    (tmp_path / "anomaly_score_fan_section_00_test.csv").write_text("b.wav,0\nfull_a.wav,1\n")
    decided = tmp_path / "decision_result_fan_section_00_test.csv"
    decided.write_text("a.wav,0\nb.wav,1\n")
    (section,) = truth.read_system(tmp_path, truth.read(tmp_path))
    assert section.scores.tolist() == [1, 0] and section.domains.tolist() == ["source", "target"]
    decided.write_text("a.wav,0\nb.wav,2\n")
    with pytest.raises(UserError, match="b.wav is 2.0; a decision is 0 or 1"):
        truth.read_system(tmp_path, truth.read(tmp_path))
    (tmp_path / "ground_truth_domain/ground_truth_fan_section_00_test.csv").write_text("a.wav,0\n")
    with pytest.raises(UserError, match="other clips"):
        truth.read(tmp_path)
    with pytest.raises(UserError, match="name the evaluator's folder"):
        truth.read(tmp_path / "nowhere")


@pytest.fixture
def judged(tmp_path):
    """The ground truth of 2026 and a system that is right on all but one clip of each machine."""
    row = years.of(2026)
    rng = np.random.default_rng(4)
    for machine in row.eval_machines:
        name = f"{machine}_section_00_test.csv"
        clips = [f"section_00_{i:04}.wav" for i in range(16)]
        labels, domains = np.arange(16) % 2, np.arange(16) // 8
        scores = labels + 0.1 * rng.random(16)
        scores[0] = 2
        for folder, values in (("ground_truth_data", labels), ("ground_truth_domain", domains)):
            rows = zip(clips, values, strict=True)
            files.write_csv(tmp_path / "truth" / folder / f"ground_truth_{name}", rows)
        for kind, values in (("anomaly_score", scores), ("decision_result", (scores > 0.5) * 1)):
            files.write_csv(tmp_path / "good" / f"{kind}_{name}", zip(clips, values, strict=True))
    (tmp_path / "bad").mkdir()
    return tmp_path


def command(*argv):
    return cli.run(lambda: judge.main([str(arg) for arg in argv]))


def test_systems_are_judged_and_those_that_cannot_be_are_said(judged, capsys):
    argv = ("--year", 2026, judged / "truth", judged / "good", "--out", judged / "out")
    assert command(*argv) == 0
    text_ = (judged / "out/teams_result/good_result.csv").read_text()
    assert capsys.readouterr().out.startswith("good: official score ")
    first = text_.splitlines()
    assert first[0] == "BlowerDustCollector" and first[2].startswith("00,")
    half_width = float(text_.split("ci95,,")[1])
    assert command(*argv, "--published") == 0
    narrow = float((judged / "out/teams_result/good_result.csv").read_text().split("ci95,,")[1])
    assert half_width == pytest.approx(narrow * (16 * 5 - 1))
    assert command(*argv[:4], judged / "bad", *argv[4:]) == 1
    assert f"left out {judged / 'bad'}" in capsys.readouterr().err
    paper = (judged / "out/teams_additional_result/teams_official_score_paper.csv").read_text()
    assert paper.startswith("System,metric,h-mean,a-mean,ToyDrone,ToothBrush,SewingMachine,")
    assert "bad" not in paper


def test_the_ground_truth_is_of_the_year(judged, capsys):
    for year, match in ((2025, "AutoTrash"), (2022, "2023 or later")):
        assert (
            command("--year", year, judged / "truth", judged / "good", "--out", judged / "o") == 1
        )
        assert match in capsys.readouterr().err
    assert not (judged / "o").exists()
