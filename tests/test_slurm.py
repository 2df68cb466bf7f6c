"""A grid on a real Slurm of this machine: a killed cell is queued again, the table is local's."""

import re
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

import grids
import pytest
import slurm_machine
from conftest import wait_until_gone

from apps.pipeline import cells


@pytest.fixture(scope="module")
def cluster():
    """The environment of a running Slurm."""
    if reason := slurm_machine.missing():
        pytest.skip(reason)
    folder = Path(tempfile.mkdtemp(prefix="slurm"))  # pytest's own are too long for a socket
    try:
        with slurm_machine.running(folder) as env:
            yield env
    finally:
        shutil.rmtree(folder)


def queue(env):
    done = subprocess.run(["squeue", "-h", "-t", "all", "-r", "-o", "%K %T"], env=env,
                          capture_output=True, text=True, check=True)  # fmt: skip
    return dict(line.split() for line in done.stdout.splitlines())


def test_two_types_two_seeds_two_detectors_and_a_kill(cluster, tmp_path):
    path = grids.make(tmp_path)
    process = grids.start(path, "--engine", "slurm", env=cluster)
    killed = grids.cell(tmp_path, "small_dense_ToyA_seed1")
    grids.kill(killed)
    done = grids.end(process)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(re.findall(r"^\w+ Toy[AB] seed[12]: AUC \d\.\d+, \d+ s$", done.stdout, re.M)) == 8
    log = (killed / "log.txt").read_text()
    assert len(set(re.findall(r"process (\d+)", log))) == 2, "the killed one, and it again"

    local = tmp_path / "local"
    assert grids.run(grids.make(local), "--engine", "local").returncode == 0
    for name in ("grid.csv", "grid.md"):
        ours, theirs = (folder / "result/small" / name for folder in (tmp_path, local))
        assert ours.read_bytes() == theirs.read_bytes()


def test_a_cell_killed_too_often_is_told_and_the_next_run_goes_on(cluster, tmp_path):
    how = {"recipes": ["frozen.yaml"], "seeds": [1], "name": "often"}
    path = grids.make(tmp_path, **how, slurm={"requeues": 0})
    process = grids.start(path, "--engine", "slurm", env=cluster)
    grids.kill(grids.cell(tmp_path, "often_frozen_ToyB_seed1"))
    done = grids.end(process)
    assert done.returncode == 1, done.stderr
    assert re.search(
        r"^frozen ToyB seed1: FAILED, task \d+_1 ended without a word; run the grid "
        r"again to go on; .*log\.txt ends:\n    == 00_train\.py",
        done.stdout,
        re.M,
    )
    assert re.search(r"^frozen ToyA seed1: AUC ", done.stdout, re.M)
    done = grids.run(path, "--engine", "slurm", env=cluster)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "often: 2 cells, 1 done already" in done.stdout


def test_interrupted_it_leaves_the_queue_empty(cluster, tmp_path):
    path = grids.make(tmp_path, recipes=["frozen.yaml"], name="stopped")
    process = grids.start(path, "--engine", "slurm", "--at-once", "1", env=cluster)
    running = grids.process_of(grids.cell(tmp_path, "stopped_frozen_ToyA_seed1"))
    process.send_signal(signal.SIGINT)
    assert grids.end(process).returncode == 130
    wait_until_gone(running)
    states = queue(cluster)
    assert set(states.values()) <= {"CANCELLED", "COMPLETED", "COMPLETING", "FAILED"}, states
    assert cells.read_record(grids.cell(tmp_path, "stopped_frozen_ToyB_seed2")).status is None


@pytest.mark.parametrize(
    ("options", "expected"),
    [(["--partition=none"], "invalid partition specified"), (["--colour=red"], "--colour")],
)
def test_what_slurm_refuses_is_one_line(cluster, tmp_path, options, expected):
    path = grids.make(tmp_path, recipes=["frozen.yaml"], slurm={"options": options})
    done = grids.run(path, "--engine", "slurm", env=cluster)
    assert done.returncode == 1
    assert re.fullmatch("error: sbatch: .*[^:]; see slurm.options of the grid\n", done.stderr)
    assert expected in done.stderr, done.stderr
