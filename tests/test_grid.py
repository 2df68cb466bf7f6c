"""Grids of experiments on one machine: the same figures, whatever was killed, and their table."""

import csv
import itertools
import os
import re
import signal
import statistics
import subprocess

import grids
import pytest
import yaml
from conftest import ROOT, is_running, write_clip

from apps.pipeline import cells, settings, tables
from apps.pipeline.engines import share, slurm
from asd import files, workers
from common import UserError


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The folder of a grid that has run to its end, two cells at once."""
    path = grids.make(tmp_path_factory.mktemp("whole"))
    done = grids.run(path, "--at-once", "2")
    assert done.returncode == 0, done.stdout + done.stderr
    (path.parent / "out").write_text(done.stdout)
    return path.parent


def rows_of(folder, name="small"):
    with (folder / "result" / name / "grid.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def pairwise_auc(folder, machine_type):
    """The mean over ids of the share of pairs in which the anomalous clip scores higher."""
    aucs = []
    for machine_id in ("01", "02"):
        path = folder / f"anomaly_score_{machine_type}_id_{machine_id}.csv"
        scores = [(row[0], float(row[1])) for row in csv.reader(path.open(newline=""))]
        pairs = itertools.product(
            [s for name, s in scores if name.startswith("anomaly")],
            [s for name, s in scores if name.startswith("normal")],
        )
        aucs.append(statistics.mean((a > n) + (a == n) / 2 for a, n in pairs))
    return statistics.mean(aucs)


def test_the_table_is_that_of_the_scores(whole):
    rows = [row for row in rows_of(whole) if row["source"] == "AUC"]
    assert [row["experiment"] for row in rows] == ["dense", "frozen"]
    expected = {}
    for row in rows:
        by_seed = {}
        for seed in (1, 2):
            by_seed[seed] = {
                name: pairwise_auc(whole / f"result/small_{row['experiment']}_{name}_seed{seed}",
                                   name)
                for name in grids.TYPES
            }  # fmt: skip
            by_seed[seed]["total"] = statistics.mean(by_seed[seed].values())
        for column in (*grids.TYPES, "total"):
            values = [of_seed[column] for of_seed in by_seed.values()]
            expected[row["experiment"], column] = statistics.mean(values)
            assert float(row[column]) == pytest.approx(statistics.mean(values), abs=1e-12)
            assert float(row[f"{column} sd"]) == pytest.approx(statistics.stdev(values), abs=1e-12)
    assert len(set(expected.values())) > 3, "figures that cannot be told apart test nothing"
    for column in (*grids.TYPES, "total"):
        best = max(("dense", "frozen"), key=lambda name: expected[name, column])
        assert [row["experiment"] for row in rows if column in row["best in"].split()] == [best]
    markdown = (whole / "result/small/grid.md").read_text()
    best = max(expected[name, "ToyA"] for name in ("dense", "frozen"))
    assert f"| **{best * 100:.2f}" in markdown


def test_a_cell_that_is_done_is_told_with_its_auc(whole):
    out = (whole / "out").read_text()
    auc = pairwise_auc(whole / "result/small_frozen_ToyB_seed2", "ToyB")
    assert "small: 8 cells, 0 done already\n" in out
    assert re.search(rf"^frozen ToyB seed2: AUC {auc:.3f}, \d+ s$", out, re.M)
    log = (grids.cell(whole, "small_frozen_ToyB_seed2") / "log.txt").read_text()
    assert re.search(
        r"^== 00_train\.py on .*^== 01_test\.py on .*^AUC: the chance", log, re.M | re.S
    )


def test_one_at_once_has_the_same_scores(whole, tmp_path):
    path = grids.make(tmp_path, machine_types=["ToyA"], seeds=[1])
    assert grids.run(path, "--at-once", "1").returncode == 0
    same_scores(tmp_path, whole, 4)
    assert len(list((tmp_path / "features").glob("*.f32"))) == 4, "cells share their features"


def test_a_killed_and_a_failed_cell_stop_no_other_and_the_next_run_goes_on(whole, tmp_path):
    """A kill, a clip that cannot be read, and then neither: the scores are a whole grid's."""
    path = grids.make(tmp_path, seeds=[2])
    bad = tmp_path / "dev_data/ToyB/test/normal_id_01_00000000.wav"
    clip = bad.read_bytes()
    modified = bad.stat()
    bad.write_bytes(b"")
    process = grids.start(path, "--at-once", "2")
    killed = grids.cell(tmp_path, "small_dense_ToyA_seed2")
    grids.kill(killed)
    done = grids.end(process)
    assert done.returncode == 1, done.stderr
    log = killed / "log.txt"
    told = f"FAILED, killed by SIGKILL; run the grid again to go on; {log} ends:"
    assert f"dense ToyA seed2: {told}\n" in done.stdout
    assert re.search(r"^dense ToyB seed2: FAILED, 00_train\.py ended with status 1; .* ends:\n"
                     r"(    .*\n)*    error: .*normal_id_01_00000000\.wav", done.stdout,
                     re.M)  # fmt: skip
    assert re.search(r"^frozen ToyA seed2: AUC ", done.stdout, re.M)
    assert "- dense, ToyA: the cell is not done\n" in done.stdout
    (row, *_) = rows_of(tmp_path)
    assert (row["experiment"], row["ToyA"], row["ToyB"]) == ("dense", "", "")

    bad.write_bytes(clip)
    os.utime(bad, ns=(modified.st_atime_ns, modified.st_mtime_ns))
    done = grids.run(path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "small: 4 cells, 1 done already" in done.stdout
    same_scores(tmp_path, whole, 8)


def same_scores(folder, whole, count):
    """See that cells of a seed have the scores, of two ids each, that the whole grid's have."""
    found = sorted((folder / "result").glob("*/anomaly_score_*.csv"))
    assert len(found) == count
    for one in found:
        assert one.read_bytes() == (whole / one.relative_to(folder)).read_bytes()


def test_interrupted_it_stops_its_cells_and_goes_on(whole, tmp_path):
    path = grids.make(tmp_path, recipes=["frozen.yaml"])
    first = grids.cell(tmp_path, "small_frozen_ToyA_seed1")
    last = grids.cell(tmp_path, "small_frozen_ToyB_seed2")
    process = grids.start(path, "--at-once", "1")
    running = grids.process_of(grids.cell(tmp_path, "small_frozen_ToyB_seed1"))
    process.send_signal(signal.SIGINT)
    stopped = grids.end(process)
    assert stopped.returncode == 130
    assert stopped.stderr == "\ninterrupted; what was finished is kept, run again to go on\n"
    assert not is_running(running)
    assert cells.read_record(first).status == 0
    assert not (last / "log.txt").exists()
    before = (first / "log.txt").read_bytes()
    done = grids.run(path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "small: 4 cells, 1 done already" in done.stdout
    assert (first / "log.txt").read_bytes() == before
    ours, theirs = rows_of(tmp_path), [row for row in rows_of(whole)
                                       if row["experiment"] == "frozen"]  # fmt: skip
    columns = [name for name in ours[0] if name != "best in"]
    assert [[row[c] for c in columns] for row in ours] == [[row[c] for c in columns]
                                                           for row in theirs]  # fmt: skip


def test_a_changed_recipe_or_clip_runs_again_and_another_does_not(tmp_path):
    how = {"recipes": ["frozen.yaml"], "machine_types": ["ToyA"], "seeds": [1]}
    path = grids.make(tmp_path, **how)
    assert grids.run(path).returncode == 0
    log = grids.cell(tmp_path, "small_frozen_ToyA_seed1") / "log.txt"

    def first_process():
        return re.search(r"process (\d+)", log.read_text())[1]

    before = first_process()
    assert "1 cells, 1 done already" in grids.run(path).stdout
    assert first_process() == before

    grids.write(tmp_path, **how, overrides={"detector": {"backend": {"distance": "euclidean"}}})
    done = grids.run(path)
    assert (done.returncode, "0 done already" in done.stdout) == (0, True), done.stdout
    assert (changed := first_process()) != before
    assert log.read_text().count("== 00_train.py") == 1, "the log of another configuration"

    grids.write(tmp_path, **how, stages=["train", "test", "convert"],
                overrides={"detector": {"backend": {"distance": "euclidean"}}})  # fmt: skip
    done = grids.run(path)
    assert (done.returncode, "0 done already" in done.stdout) == (0, True), done.stdout
    text = log.read_text()
    assert text.count("== 00_train.py") == 2
    assert "already trained" in text.partition("== 01_test.py")[2]
    assert "== 02_convert.py" in text
    assert first_process() == changed

    write_clip(tmp_path / "dev_data/ToyA/train/normal_id_01_00000009.wav", 77)
    done = grids.run(path)
    assert (done.returncode, "0 done already" in done.stdout) == (0, True), done.stdout
    assert first_process() != changed


def of(path):
    return cells.of(settings.load(path), path)


def test_a_cell_is_a_machine_type_or_all_that_are_trained_together(tmp_path):
    path = grids.make(tmp_path)
    recipe = yaml.safe_load((ROOT / "recipes/scac_trainable_small.yaml").read_text())
    recipe["base"] = str(ROOT / "recipes/scac_trainable.yaml")
    recipe |= {"corpus": "dcase2020"}
    recipe |= {f"{mode}_directory": str(tmp_path / "dev_data") for mode in ("dev", "eval")}
    (tmp_path / "shared.yaml").write_text(yaml.safe_dump(recipe))
    grids.write(tmp_path, recipes=["frozen.yaml", "shared.yaml"])
    found = of(path)
    assert [cell.name for cell in found] == [
        "frozen ToyA seed1", "frozen ToyB seed1", "frozen ToyA seed2", "frozen ToyB seed2",
        "shared seed1", "shared seed2",
    ]  # fmt: skip
    assert found[-1].machine_types == grids.TYPES
    assert found[0].paths.cfg.experiment == "small_frozen_ToyA_seed1"
    before = found[-1].made_of
    write_clip(tmp_path / "dev_data/ToyB/train/normal_id_01_00000009.wav", 77)
    assert of(path)[-1].made_of != before
    assert of(path)[0].made_of == found[0].made_of


def test_the_official_score_of_a_year(tmp_path):
    """Written results of two seeds: their means, and the total by the year's harmonic mean."""
    for machine_type in ("fan", "valve"):
        for split in ("train_normal", "test_normal", "test_anomaly"):
            name = f"section_00_source_{split}_0000_x.wav"
            write_clip(tmp_path / "dev_data" / machine_type / split.partition("_")[0] / name)
    (tmp_path / "frozen.yaml").write_text(yaml.safe_dump({
        "corpus": "dcase2023", "dev_directory": str(tmp_path / "dev_data"),
        "model_directory": str(tmp_path / "model"), "result_directory": str(tmp_path / "result"),
        "detector": grids.FROZEN,
    }))  # fmt: skip
    path = grids.write(tmp_path, recipes=["frozen.yaml"], machine_types=["fan", "valve"])
    scores = {("fan", 1): 0.5, ("valve", 1): 0.75, ("fan", 2): 0.625, ("valve", 2): 0.875}
    found = of(path)
    for cell in found:
        cells.prepare(cell)
        (machine_type,) = cell.machine_types
        value = scores[machine_type, cell.seed]
        files.write_csv(cell.paths.table("official"), [
            ("machine_type", "figure", "value", "low", "high", "note"),
            (machine_type, "0_mix_auc", 0.1, "", "", ""),
            (machine_type, "0_official23", value, "", "", ""),
            ("total", "0_official23", 0.2, "", "", ""),
        ])  # fmt: skip
        record = cells.read_record(cell.folder)
        cells.write_record(cell.folder, cells.Record(record.made_of, 0, "01_test.py", 1.0))
    *_, table = tables.of(found)
    assert table.title == "official score of DCASE 2023 Task 2, dev"
    (line,) = table.lines
    totals = [statistics.harmonic_mean([scores["fan", s], scores["valve", s]]) for s in (1, 2)]
    expected = {"fan": [0.5, 0.625], "valve": [0.75, 0.875], "total": totals}
    for column, values in expected.items():
        spread = line.cells[column]
        assert spread.mean.value == pytest.approx(statistics.mean(values), rel=1e-12)
        assert spread.deviation == pytest.approx(statistics.stdev(values), rel=1e-12)
        assert spread.seeds == 2


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"recipes": ["none.yaml"]}, r"none\.yaml: no such configuration file"),
        ({"machine_types": ["ToyC"]}, r"ToyC"),
        ({"machine_types": []}, r"grid\.yaml: key machine_types: an empty list; name at least one"),
        ({"seeds": [1, 1]}, r"grid\.yaml: key seeds: 1 stands twice; name it once"),
        ({"seeds": [-1]}, r"grid\.yaml: key seeds.*expected int >= 0, and this is -1"),
        ({"stages": ["learn"]}, r"key stages: no 'learn'; known: train, test, convert, parity"),
        ({"overrides": {"sede": 1}}, r"unknown key overrides\.sede; did you mean overrides\."),
        ({"overrides": {"seed": 1}}, r"key overrides\.seed: the grid sets it itself; leave it out"),
        ({"overrides": {"fit": {"epochs": 0}}}, r"grid\.yaml: key fit\.epochs: expected int >= 1"),
        ({"recipes": ["frozen.yaml", "./frozen.yaml"]},
         r"grid\.yaml: key recipes: two are called frozen; rename one"),
        ({"name": "a/b"}, r"grid\.yaml: experiment 'a/b_.*' cannot name a folder here"),
        ({"threads": 0}, r"key threads: expected int >= 1, and this is 0"),
        ({"recipies": []}, r"grid\.yaml: unknown key recipies; did you mean recipes\?"),
        ({"slurm": {"requeue": 1}}, r"unknown key slurm\.requeue; did you mean slurm\.requeues\?"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line(tmp_path, keys, expected):
    path = grids.make(tmp_path, **keys)
    with pytest.raises(UserError, match=expected) as error:
        of(path)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "result").exists()


def test_another_experiment_is_left_alone(tmp_path):
    path = grids.make(tmp_path, recipes=["frozen.yaml"])
    model = tmp_path / "model/small_frozen_ToyA_seed1/model_ToyA.npz"
    model.parent.mkdir(parents=True)
    model.write_bytes(b"mine")
    done = grids.run(path)
    assert (done.returncode, model.read_bytes()) == (1, b"mine")
    assert re.fullmatch(r"error: .*model_ToyA\.npz: is of no grid's cell, .*rename the grid\n",
                        done.stderr)  # fmt: skip


def test_two_cells_of_one_experiment_are_refused(tmp_path):
    path = grids.make(tmp_path)
    (tmp_path / "dense.yaml").rename(tmp_path / "frozen_ToyA.yaml")
    recipe = yaml.safe_load((tmp_path / "frozen.yaml").read_text())
    (tmp_path / "frozen.yaml").write_text(yaml.safe_dump(recipe))
    (tmp_path / "dev_data/ToyA").rename(tmp_path / "dev_data/ToyA_ToyB")
    grids.write(tmp_path, recipes=["frozen.yaml", "frozen_ToyA.yaml"],
                machine_types=["ToyB", "ToyA_ToyB"])  # fmt: skip
    with pytest.raises(UserError, match="would both be experiment small_frozen_ToyA_ToyB_seed1"):
        of(path)


def test_a_share_of_threads(tmp_path, monkeypatch):
    path = grids.make(tmp_path, threads=3)
    grid = settings.load(path)
    for cell in cells.of(grid, path):
        assert cell.paths.cfg.workers == 3
    assert {share.environment(grid)[name] for name in share.THREADS} == {"3"}
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert workers.cores() == 3
    monkeypatch.delenv("OMP_NUM_THREADS")
    monkeypatch.setattr(workers.os, "sched_getaffinity", lambda _: {4, 7}, raising=False)
    assert workers.cores() == workers.allowed() == 2


def test_slurm_is_missed_in_one_line(tmp_path):
    path = grids.make(tmp_path, recipes=["frozen.yaml"])
    done = grids.run(path, "--engine", "slurm", env={"PATH": str(tmp_path)})
    assert done.returncode == 1
    assert done.stderr.startswith("error: sbatch: not found; run where Slurm's commands are")
    assert done.stderr.count("\n") == 1


def test_the_batch_script_quotes_what_it_names(tmp_path, monkeypatch):
    folder = tmp_path / "it's a $HOME"
    path = grids.make(folder, recipes=["frozen.yaml"], machine_types=["ToyA"], seeds=[1])
    monkeypatch.chdir(folder)
    (cell,) = of(path)
    text = slurm.script(settings.load(path), [cell])
    program = f"""
scontrol() {{ :; }}
sleep() {{ :; }}
{text.replace(share.command(cell)[0], "printf '%s|'", 1)}
"""
    env = {**os.environ, "SLURM_ARRAY_TASK_ID": "0"}
    done = subprocess.run(["sh", "-c", program], capture_output=True, text=True, env=env)
    assert done.stdout == f"-m|apps.pipeline.cell|{cell.folder}|", done.stderr
