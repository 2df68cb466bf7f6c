"""Result files and the verdict of parity."""

from pathlib import Path

import msgspec
import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from asd import config, files
from asd.clips import Clip, Scores
from asd.config import Tolerance
from asd.evaluation import parity, scores, tables
from asd.paths import Paths


def scored(labels, values, section="01", machine_type="ToyTest"):
    names = {0: "normal", 1: "anomaly"}
    clips = tuple(
        Clip(Path(f"{names[label]}_id_{section}_{i:08}.wav"), machine_type, section, "test", label)
        for i, label in enumerate(labels)
    )
    return Scores(clips, np.array(values, np.float64))


def paths_in(folder):
    cfg = msgspec.structs.replace(config.load_config(), result_directory=str(folder))
    return Paths(cfg, "dev")


def joined(*parts):
    clips = sum((part.clips for part in parts), ())
    return Scores(clips, np.concatenate([part.values for part in parts]))


RNG = np.random.default_rng(0)
LABELS = [0] * 12 + [1] * 10
ONE = scored(LABELS, RNG.normal(0, 1, 22) + LABELS)
TWO = scored(LABELS, RNG.normal(5, 1, 22) + 2 * np.array(LABELS), "02")
ONLY_NORMAL = scored([0] * 5, RNG.normal(0, 1, 5), "03")


def test_result_csv_has_the_references_layout(tmp_path):
    results = [tables.evaluate(joined(ONE, TWO), 0.1), tables.evaluate(ONE, 0.1)]
    tables.write_result(tmp_path / "result.csv", results)
    auc = [roc_auc_score(p.labels, p.values) for p in (ONE, TWO)]
    pauc = [roc_auc_score(p.labels, p.values, max_fpr=0.1) for p in (ONE, TWO)]
    rows = files.read_csv(tmp_path / "result.csv")
    assert [row[0] if row else "" for row in rows] == [
        "ToyTest", "id", "01", "02", "Average", "", "ToyTest", "id", "01", "Average", "",
    ]  # fmt: skip
    assert rows[1] == ["id", "AUC", "pAUC"]
    for row, a, p in zip(rows[2:4], auc, pauc, strict=True):
        assert float(row[1]) == pytest.approx(a, abs=1e-12)
        assert float(row[2]) == pytest.approx(p, abs=1e-12)
    assert float(rows[4][1]) == pytest.approx(np.mean(auc), abs=1e-12)
    assert float(rows[4][2]) == pytest.approx(np.mean(pauc), abs=1e-12)


def test_metrics_csv_has_a_row_per_id_pooled_and_average(tmp_path):
    both = joined(ONE, TWO)
    tables.write_metrics(tmp_path / "metrics.csv", [tables.evaluate(both, 0.1)])
    header, *rows = files.read_csv(tmp_path / "metrics.csv")
    rows = [dict(zip(header, row, strict=True)) for row in rows]
    assert [row["id"] for row in rows] == ["01", "02", "pooled", "average"]
    assert [row["clips"] for row in rows] == ["22", "22", "44", "44"]
    pooled = roc_auc_score(both.labels, both.values)
    assert float(rows[2]["auc"]) == pytest.approx(pooled, abs=1e-12)
    for row in rows:
        assert float(row["auc_low"]) < float(row["auc"]) < float(row["auc_high"]) or pooled == 1
        assert 50 <= float(row["pr_accuracy"]) <= 100


def test_an_id_without_anomalies_has_no_auc_but_a_reason(tmp_path):
    table = tables.evaluate(joined(ONE, ONLY_NORMAL), 0.1)
    tables.write_result(tmp_path / "result.csv", [table])
    tables.write_metrics(tmp_path / "metrics.csv", [table])
    rows = files.read_csv(tmp_path / "result.csv")
    assert rows[3] == ["03", "", ""]
    assert float(rows[4][1]) == pytest.approx(roc_auc_score(ONE.labels, ONE.values))
    notes = {row[1]: row[-1] for row in files.read_csv(tmp_path / "metrics.csv")[1:]}
    assert notes["03"] == "no anomalous test clip"
    assert notes["average"] == "without id 03"
    nothing = tables.evaluate(ONLY_NORMAL, 0.1)
    tables.write_result(tmp_path / "result.csv", [nothing])
    assert files.read_csv(tmp_path / "result.csv")[3] == ["Average", "", ""]


def test_scores_csv_has_names_and_all_digits(tmp_path):
    scores.write(paths_in(tmp_path), joined(ONE, TWO), "_quant")
    rows = files.read_csv(tmp_path / "tflite_quant_anomaly_score_ToyTest_id_02.csv")
    assert [row[0] for row in rows] == [clip.path.name for clip in TWO.clips]
    assert [float(row[1]) for row in rows] == TWO.values.tolist()


def test_pictures_are_drawn(tmp_path):
    both = joined(ONE, TWO, ONLY_NORMAL)
    tables.draw(paths_in(tmp_path), [both], [tables.evaluate(both, 0.1)], "distance")
    for name in ("roc_ToyTest.png", "histogram_ToyTest.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")


# Parity

TOLERANCE = Tolerance(score_max=None, score_median=0.015, auc_drop=0.005)
N = 400
MANY = scored([0] * N + [1] * N, np.r_[RNG.normal(10, 1, N), RNG.normal(12, 1, N)])
FEW = scored([0] * 4 + [1] * 4, [1, 2, 3, 4.05, 4, 5, 6, 7.0])


def verdict(keras, other, **limits):
    tolerance = msgspec.structs.replace(TOLERANCE, **limits)
    return parity.compare("_quant", "01", keras, np.array(other), tolerance, 0.05).verdict


def test_equal_scores_pass():
    row = parity.compare("_quant", "01", MANY, MANY.values, TOLERANCE, significance_level=0.05)
    assert (row.verdict, row.score_max, row.score_median) == (parity.PASS, 0, 0)
    assert row.auc == row.auc_keras == pytest.approx(roc_auc_score(MANY.labels, MANY.values))
    assert row.p_value == 1


def test_a_median_over_the_bar_always_fails():
    assert verdict(MANY, MANY.values * 1.014) == parity.PASS
    assert verdict(MANY, MANY.values * 1.016) == parity.FAIL
    assert verdict(FEW, FEW.values * 1.016) == parity.FAIL


def test_one_large_error_fails_only_where_the_largest_is_limited():
    other = MANY.values.copy()
    other[0] *= 1.001
    assert verdict(MANY, other) == parity.PASS
    assert verdict(MANY, other, score_max=1e-4, score_median=None, auc_drop=1) == parity.FAIL


def test_a_real_drop_in_auc_fails():
    other = MANY.values.copy()
    worst = np.flatnonzero(MANY.labels == 1)[:100]
    other[worst] -= 4
    assert verdict(MANY, other) == parity.FAIL


def test_a_drop_that_few_clips_cannot_tell_is_within_chance():
    other = FEW.values.copy()
    other[4] = 3.96
    assert verdict(FEW, other) == "pass"
    other[4], other[3] = 2.9, 4.05
    row = parity.compare("_quant", "01", FEW, other, TOLERANCE, significance_level=0.05)
    assert row.auc < row.auc_keras - 0.005
    assert row.p_value > 0.05
    assert row.verdict == parity.CHANCE


def test_a_better_auc_passes():
    other = MANY.values + 0.5 * MANY.labels
    assert verdict(MANY, other, score_median=0.1) == "pass"


def test_scores_that_are_not_numbers_fail():
    other = MANY.values.copy()
    other[:] = np.nan
    with pytest.raises(ValueError, match="finite"):
        verdict(MANY, other)


def test_without_labels_only_scores_are_compared():
    names = [Path(f"id_05_{i:08}.wav") for i in range(3)]
    clips = tuple(Clip(name, "ToyTest", "05", "test", None) for name in names)
    values = np.arange(1.0, 4)
    row = parity.compare("", "05", Scores(clips, values), values, TOLERANCE, 0.05)
    assert (row.verdict, row.auc, row.p_value) == (parity.PASS, None, None)


def test_the_table_fits_100_columns(capsys, tmp_path):
    long_name = "ToyConveyorOfUnusualSize"
    rows = []
    for suffix in ("", "_quant_fullint_micro_intio"):
        keras = scored(LABELS, ONE.values + 10, machine_type=long_name)
        rows.append(parity.compare(suffix, "01", keras, keras.values * 1.2, TOLERANCE, 0.05))
        rows.append(parity.compare(suffix, "01", FEW, FEW.values, TOLERANCE, 0.05))
    from asd.tflite.convert import VARIANTS

    titles = {variant.suffix: variant.title for variant in VARIANTS}
    assert parity.show(rows, titles, tmp_path) == 1
    out = capsys.readouterr().out
    lines = [line for line in out.splitlines() if str(tmp_path) not in line]
    assert max(map(len, lines)) <= 100
    assert "PARITY LOST in 2 of 4" in out
    assert parity.show(rows[1::2], titles, tmp_path) == 0
    assert "PARITY KEPT in all 2" in capsys.readouterr().out


def test_a_long_machine_type_leaves_the_columns_apart(capsys, tmp_path):
    long_name = "BlowerDustCollector"
    parts = [scored(LABELS, ONE.values, machine_type=name) for name in ("ToyTest", long_name)]
    tables.show([tables.evaluate(one, 0.1) for one in parts], tmp_path)
    # Of a single id, what is pooled and averaged is the same, and not printed again.
    header, *rows = capsys.readouterr().out.strip("\n").splitlines()[:3]
    assert rows[1].split()[:2] == [long_name, "01"]
    assert header.index("id") == rows[0].index("01") == rows[1].index("01")
