"""The benchmark's logic, at its smallest size; never its timings."""

import contextlib
import os
import statistics
import time

import pytest

import common
from apps.benchmarks import functions, host, measure, published, workspace
from asd import cli, config, files


def test_the_whole_benchmark(tmp_path, monkeypatch):
    monkeypatch.setattr(functions, "busy_core", contextlib.nullcontext)  # it is the tests' core
    arguments = ["--size", "small", "--work", tmp_path / "work", "--out", tmp_path / "out"]
    assert cli.run(lambda: host.main([str(argument) for argument in arguments])) == 0
    header, *rows = files.read_csv(tmp_path / "out/host.csv")
    assert tuple(header) == measure.HEADER
    table = {row[0]: dict(zip(header, row, strict=True)) for row in rows}
    assert len(table) == len(rows)
    asked = {what: float(row["asked"]) for what, row in table.items() if row["asked"]}
    assert asked == {
        "features": 6, "training": 2, "training, a core kept busy": 1, "scoring from frames": 20,
        "calibration and the five conversions": 10, "the four scripts end to end": 3,
        "peak memory, 16 clips": 6,
    }  # fmt: skip
    for row in table.values():
        figures = [row[key] for key in header[2:9] if row[key]]
        assert figures
        if not row["note"].startswith("without TensorFlow's start"):  # a difference of two times
            assert all(float(figure) > 0 for figure in figures), row
    names = [f"{script.name} and its like" for script in workspace.SCRIPTS.values()]
    parts = sum(float(table[name]["ours"]) for name in names)
    assert float(table["the four scripts end to end"]["ours"]) == pytest.approx(parts)
    assert (tmp_path / "out/host.png").stat().st_size > 5000


def test_a_core_is_kept_busy_and_let_go():
    before = os.times().children_user
    with functions.busy_core():
        time.sleep(1)
    assert os.times().children_user - before > 0.05  # a start of Python takes .02


def test_ratios_say_how_many_times_better():
    faster = measure.Row("rate", "1/s", [10.0, 20.0, 30.0], [80.0, 100.0], more_is_better=True)
    assert faster.ratio == statistics.median([80, 100]) / 20
    shorter = measure.Row("time", "s", [10.0], [4.0])
    assert shorter.ratio == 2.5
    shorter.rates(100)
    assert (shorter.published, shorter.ours) == ([10.0], [25.0])
    assert measure.Row("alone", "s", ours=[1.0]).ratio is None


def test_a_script_that_fails_is_told():
    with pytest.raises(common.UserError, match="failed: .*no such stage"):
        measure.run(["sh", "-c", "echo no such stage >&2; exit 3"])


def test_both_ways_see_the_same_vectors(tmp_path):
    made = workspace.Workspace(tmp_path, workspace.SIZES["small"])
    made.make()
    cfg = config.load_config(made.config(tmp_path / "c", made.data.parent))
    store = workspace.load_store(cfg, "train")
    ours = [vector for frames in store for vector in common.vectors(frames, 5)]
    theirs = published.matrix_of(published.clips(made.data / "train"))
    assert theirs.shape == (8 * 196, 640)
    assert abs(theirs - ours).max() < 1e-4  # dB
    many = published.clips(tmp_path / "many" / workspace.TYPE / "train")
    assert len({path.name for path in many}) == 16


def test_a_process_that_takes_all_memory_is_stopped(monkeypatch):
    monkeypatch.setattr(measure, "SPARE_KB", 2**50)
    ran = measure.run(["sleep", "60"])
    assert ran.stopped
    assert ran.seconds < 30
