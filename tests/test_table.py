"""The table of experiments by machine types, from result folders, with published figures."""

from __future__ import annotations

import csv
import io
import subprocess
import sys

import numpy as np
import pytest
from conftest import ROOT

from asd import cli, files
from asd.evaluation import official, published, results, table, table_formats, years
from asd.yaml_files import read_yaml
from common import UserError


def write_scores(folder, machine, sections=(0,), seed=0, shift=1.0, domains=True, label=True):
    """Score files as 01_test.py writes them."""
    rng = np.random.default_rng(seed)
    for section in sections:
        rows = []
        for domain in ("source", "target") if domains else ("",):
            for anomalous in (0, 1):
                for i in range(10):
                    kind = ("normal", "anomaly")[anomalous]
                    name = f"section_{section:02}_{domain}_test_{kind}_{i:04}_spd_2.wav"
                    if not domains:
                        name = f"{kind}_id_{section:02}_{i:08}.wav"
                    if not label:
                        number = i + 10 * anomalous + 20 * (domain == "target")
                        name = f"section_{section:02}_{number:04}.wav"
                    rows.append((name, float(rng.standard_normal() + shift * anomalous)))
        files.write_csv(folder / f"anomaly_score_{machine}_id_{section:02}.csv", rows)
    return folder


@pytest.fixture
def runs(tmp_path):
    """Two seeds of one experiment and another that lacks a machine type."""
    for seed in (1, 2):
        for machine in years.MACHINES_2022:
            write_scores(tmp_path / f"scac_seed{seed}", machine, seed=seed, shift=2)
    for machine in years.MACHINES_2022[1:]:
        write_scores(tmp_path / "ae", machine, seed=5)
    return tmp_path


def command(*argv):
    return cli.run(lambda: table.main([str(arg) for arg in argv]))


def folders(runs):
    return runs / "scac_seed1", runs / "scac_seed2", runs / "ae"


def test_the_csv_holds_mean_and_spread_over_seeds(runs, tmp_path, capsys):
    out = tmp_path / "table.csv"
    assert command("-d", "--year", 2023, *folders(runs), "--format", "csv", "--out", out) == 0
    rows = {row["experiment"]: row for row in csv.DictReader(io.StringIO(out.read_text()))}
    read = [results.read(folder, years.of(2023), "dev") for folder in folders(runs)]
    fan = [run.machines["fan"]["0_official23"].value for run in read]
    assert float(rows["scac"]["fan"]) == pytest.approx(np.mean(fan[:2]))
    assert float(rows["scac"]["fan sd"]) == pytest.approx(np.std(fan[:2], ddof=1))
    assert rows["scac"]["seeds"] == "2" and rows["ae"]["seeds"] == "1"
    totals = [
        len(run.machines) / sum(1 / one["0_official23"].value for one in run.machines.values())
        for run in read[:2]
    ]
    assert float(rows["scac"]["total"]) == pytest.approx(np.mean(totals))
    assert float(rows["scac"]["total sd"]) == pytest.approx(np.std(totals, ddof=1))
    assert rows["ae"]["bearing"] == rows["ae"]["total"] == rows["ae"]["fan sd"] == ""
    assert f"bearing: no scores in {runs / 'ae'}" in rows["ae"]["note"]
    assert rows["scac"]["best in"].split() == [*years.MACHINES_2022, "total"]
    assert float(rows["multi-resolution (toolkit)"]["total"]) == pytest.approx(0.6608)
    assert "2507.10264" in rows["multi-resolution (toolkit)"]["source"]


def test_markdown_marks_the_best_and_tells_why_cells_are_empty(runs, capsys):
    assert command("-d", "--year", 2023, *folders(runs)) == 0
    text = capsys.readouterr().out
    lines = {line.split(" | ")[0].strip("| "): line for line in text.splitlines()}
    assert text.startswith("DCASE 2023 Task 2, dev: official score\n\n|  | bearing | fan |")
    assert lines["scac"].count("**") == 16 and lines["scac"].count(" ± ") == 8
    assert lines["ae"].startswith("| ae |  | ") and "**" not in lines["ae"]
    assert "66.08" in lines["multi-resolution (toolkit)"]
    assert "- ae, bearing: no scores in " in text


def test_latex_can_be_set(runs, capsys):
    scac = runs / "a_b&c"
    for machine in years.MACHINES_2022:
        write_scores(scac, machine, seed=9)
    assert command("-d", "--year", 2023, scac, runs / "ae", "--format", "latex",
                   "--no-published") == 0  # fmt: skip
    text = capsys.readouterr().out
    assert r"a\_b\&c & " in text and r"\textbf{" in text and "toolkit" not in text
    body = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert len(body) == 3 and all(line.replace(r"\&", "").count("&") == 8 for line in body)
    assert text.count("\\begin{tabular}{l" + "r" * 8 + "}") == 1


def test_figures_of_years_of_several_sections_and_without_domains(tmp_path, capsys):
    for machine in years.MACHINES_2022:
        write_scores(tmp_path / "a", machine, sections=(0, 1, 2))
    assert command("-d", "--year", 2022, tmp_path / "a", "--figure", "smix_auc") == 0
    assert "AUC source" in capsys.readouterr().out
    assert command("-e", "--year", 2022, tmp_path / "a") == 1
    assert "no scores of the eval machine types of 2022" in capsys.readouterr().err
    for machine in years.MACHINES_2020:
        sections = years.of(2020).parts(machine)["dev"]
        write_scores(tmp_path / "b", machine, sections=sections, domains=False)
    assert command("-d", "--year", 2020, tmp_path / "b") == 0
    text = capsys.readouterr().out
    assert "CP-JKU 2020" in text and "Empty cells" not in text
    assert command("-d", "--year", 2020, tmp_path / "b", "--figure", "mix_pauc") == 1
    assert "2020 has no domains" in capsys.readouterr().err


def test_evaluation_data_needs_the_ground_truth(tmp_path, capsys):
    row = years.of(2026)
    for machine in row.eval_machines:
        write_scores(tmp_path / "a" / "eval", machine, label=False)
    assert command("-e", "--year", 2026, tmp_path / "a" / "eval") == 1
    assert "--truth" in capsys.readouterr().err
    for machine in row.eval_machines:
        scored = tmp_path / "a" / "eval" / f"anomaly_score_{machine}_id_00.csv"
        names = [name for name, _ in files.read_csv(scored)]
        for kind, values in (("data", [int(name[11:15]) // 10 % 2 for name in names]),
                             ("domain", [int(name[11:15]) >= 20 for name in names])):  # fmt: skip
            path = tmp_path / f"ground_truth_{kind}" / f"ground_truth_{machine}_section_00_test.csv"
            files.write_csv(path, [(n, int(v)) for n, v in zip(names, values, strict=True)])
    assert command("-e", "--year", 2026, tmp_path / "a/eval", "--truth", tmp_path) == 0
    text = capsys.readouterr().out
    assert "| a | " in text and "baseline 2026, MSE" in text and "59.80" in text


def auc_of(tmp_path, machine, section, year, rows):
    folder = tmp_path / f"{year}"
    files.write_csv(folder / f"anomaly_score_{machine}_id_{section:02}.csv", rows)
    return results.read(folder, years.of(year), "dev").machines[machine]


def test_names_of_any_year_tell_label_and_domain(tmp_path):
    """Words of attributes are none of the name's; words may stand in capitals."""
    for k in (0, 2, 4, 6):
        rows = [(f"NORMAL_id_0{k}_00000000.WAV", 0.1), (f"Anomaly_id_0{k}_00000000.wav", 0.9),
                (f"normal_id_0{k}_00000001", 0.2), (f"anomaly_id_{k}_1.wav", 0.8)]  # fmt: skip
        figures = auc_of(tmp_path, "fan", k, 2020, rows)
    assert figures["dev_s_auc"].value == 1
    rows = []
    for domain, other in (("source", "target"), ("target", "source")):
        for test in ("", "test_"):
            name = f"section_00_{domain}_{test}{{}}_0001_noise_{{}}_{other}_1.wav"
            rows += [(name.format("normal", "anomaly"), 0), (name.format("anomaly", "normal"), 1)]
    figures = auc_of(tmp_path, "fan", 0, 2024, rows)
    assert {figures[f"0_{name}"].value for name in ("smix_auc", "tmix_auc", "mix_pauc")} == {1}


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("section_00_0001_noise_normal_source_1.wav", "tells no label and no domain"),
        ("section_00_source_0001_noise_normal_1.wav", "tells no label; name the list"),
        ("section_00_test_normal_0001_to_target_1.wav", "tells no domain; name the list"),
        ("section_01_source_test_normal_0001.wav", "is of section 01; score it anew"),
        ("source_normal.wav", "the name says neither section nor id; name the list"),
    ],
)
def test_names_that_tell_too_little_are_named(tmp_path, name, why):
    rows = [(name, 0.5), ("section_00_source_test_normal_0009.wav", 0.1),
            ("section_00_target_test_anomaly_0009.wav", 0.2)]  # fmt: skip
    with pytest.raises(UserError, match=rf"anomaly_score_fan_id_00.csv: {name}:? {why}") as caught:
        auc_of(tmp_path, "fan", 0, 2024, rows)
    assert "\n" not in str(caught.value)


def test_names_of_runs(tmp_path):
    for folder, expected in {
        "result/scac_seed12": ("scac", "12"), "result/scac/seed2": ("scac", "2"),
        "result/scac/seed2/eval": ("scac", "2"), "result/scac": ("scac", ""),
        "result/Seed-7": ("result", "7"), "result/seedling": ("seedling", ""),
        "result/a.seed0": ("a", "0"),
    }.items():  # fmt: skip
        assert results.name_of(tmp_path / folder) == expected


def test_the_same_seed_twice_is_refused(runs, capsys):
    assert command("-d", "--year", 2023, runs / "ae", runs / "ae") == 1
    assert "name one of them only" in capsys.readouterr().err


def test_damaged_scores_are_refused(runs, capsys):
    path = runs / "ae" / "anomaly_score_fan_id_00.csv"
    path.write_text(path.read_text().replace("normal", "usual"))
    assert command("-d", "--year", 2023, runs / "ae") == 1
    assert f"{path}: section_00_source_test_usual" in capsys.readouterr().err
    path.write_text("section_00_source_test_normal_0000.wav,nan\n")
    assert command("-d", "--year", 2023, runs / "ae") == 1
    assert "finite number" in capsys.readouterr().err


def test_published_figures_agree_with_each_other():
    """Where official score and figures of machine types are published, one is the others' mean."""
    compared = 0
    systems = {one["system"]: one for one in read_yaml(published.DATA)["systems"]}
    for year in years.YEARS.values():
        for mode in ("dev", "eval"):
            for one in published.rows(year, mode, "official"):
                assert one.source
                if all(figure.defined for figure in one.figures.values()):
                    expected = official.mean(one.figures, year.harmonic).value
                    assert one.total.value == pytest.approx(expected, abs=1e-4), one.system
                    compared += 1
                told = systems[one.system].get("machines", {}).get(f"{year.year} {mode}", {})
                assert all(set(one) <= set(year.machines(mode)) for one in told.values())
    assert compared == 8
    for one in systems.values():
        for data in (*one.get("scores", {}), *one.get("machines", {})):
            year, mode = data.split()
            assert int(year) in years.YEARS and mode in ("dev", "eval")


def test_a_column_has_a_best_only_where_it_has_a_figure():
    def line(name, **values):
        return table_formats.Line(name, "", {
            column: official.Spread(official.undefined("none") if value is None
                                    else official.Figure(value), None, 1)
            for column, value in values.items()})  # fmt: skip

    lines = [line("a", fan=0.5, total=None), line("b", fan=0.5, total=None)]
    assert table_formats.best(lines) == {"fan": 0.5}
    assert table_formats.as_markdown("t", lines).count("**50.00**") == 2


def test_help_names_the_command():
    done = subprocess.run([sys.executable, "-m", "asd.evaluation.table", "-h"], cwd=ROOT,
                          capture_output=True, text=True)  # fmt: skip
    assert done.returncode == 0 and "python -m asd.evaluation.table" in done.stdout
