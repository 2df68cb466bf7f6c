"""Cells as an array job of Slurm, submitted with sbatch; the folders are on a disk that all share.

A cell that a signal killed (a node that ran out of memory, somebody's kill) is put into the queue
again by its own batch script, one on a node that failed by Slurm itself; both go on where they
were.
"""

from __future__ import annotations

import shlex
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from apps.pipeline.cells import Cell, Outcome, outcome
from apps.pipeline.engines import share
from apps.pipeline.settings import Grid
from asd import files
from asd.messages import plain
from common import UserError

POLL_SECONDS = 2.0  # the controller has others to answer
MOST_SAID = 200  # letters of a message of Slurm's
OUTAGE_SECONDS = 600.0  # that the controller may be silent for, as when it is started anew
KILLED = 128  # an exit status above is this and a signal's number

SCRIPT = """\
#!/bin/sh
cd {folder} || exit 1
{exports}
case "$SLURM_ARRAY_TASK_ID" in
{cases}
esac
status=$?
if [ "$status" -gt {killed} ] && [ "${{SLURM_RESTART_COUNT:-0}}" -lt {requeues} ]; then
    scontrol requeue "${{SLURM_ARRAY_JOB_ID}}_${{SLURM_ARRAY_TASK_ID}}" && sleep 60
fi
exit "$status"
"""


def run(grid: Grid, cells: Sequence[Cell]) -> Iterator[Outcome]:
    """Run prepared cells; how each ended, as it ends. An interrupt takes them from the queue.

    Raises
    ------
    UserError : Slurm is not installed, or refuses the job, or does not answer any more.
    """
    job = _submit(grid, cells)
    left = dict(enumerate(cells))
    try:
        print(f"Slurm job {job}, {len(cells)} tasks", flush=True)
        while left:
            there = _unfinished(job)
            for number in [number for number in left if number not in there]:
                yield outcome(left.pop(number), f"task {job}_{number} ended without a word")
            if left:
                time.sleep(POLL_SECONDS)
    finally:
        if left:
            _call("scancel", job)


def script(grid: Grid, cells: Sequence[Cell]) -> str:
    """The batch script of an array of cells, the task of each its place in `cells`."""
    exports = [f"export {k}={shlex.quote(v)}" for k, v in share.environment(grid).items()]
    cases = [f"{number}) {shlex.join(share.command(cell))} ;;"
             for number, cell in enumerate(cells)]  # fmt: skip
    return SCRIPT.format(
        folder=shlex.quote(str(Path.cwd())), exports="\n".join(exports), cases="\n".join(cases),
        killed=KILLED, requeues=grid.slurm.requeues,
    )  # fmt: skip


def _submit(grid: Grid, cells: Sequence[Cell]) -> str:
    """The number of the job."""
    folder = Path(cells[0].paths.cfg.result_directory, grid.name)
    path = folder / "slurm.sh"
    with files.whole_file(path) as temporary:
        temporary.write_text(script(grid, cells), encoding="utf-8")
    throttle = f"%{grid.at_once}" if grid.at_once else ""
    done = _call(
        "sbatch", "--parsable", "--requeue", "--open-mode=append",
        f"--job-name={grid.name}", f"--array=0-{len(cells) - 1}{throttle}",
        f"--cpus-per-task={grid.threads}", f"--output={(folder / 'slurm-%A_%a.out').resolve()}",
        *grid.slurm.options, str(path),
    )  # fmt: skip
    if done.returncode:
        raise UserError(f"sbatch: {_said(done)}; see slurm.options of the grid")
    return done.stdout.strip().partition(";")[0]  # of several clusters, which one


def _unfinished(job: str) -> set[int]:
    """The tasks of a job that wait or run; none of a job that the controller has forgotten."""
    end = time.monotonic() + OUTAGE_SECONDS
    while True:
        done = _call("squeue", "--noheader", "--array", "--format=%K", f"--jobs={job}")
        if done.returncode == 0:
            return {int(word) for word in done.stdout.split() if word.isdecimal()}
        if "Invalid job id" in done.stderr:
            return set()
        if time.monotonic() > end:
            raise UserError(f"squeue: {_said(done)}; run the grid again to go on")
        time.sleep(POLL_SECONDS)


def _call(*command: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    except FileNotFoundError as error:
        raise UserError(f"{command[0]}: not found; run where Slurm's commands are (Debian: "
                        "slurm-client), or with --engine local") from error  # fmt: skip


def _said(done: subprocess.CompletedProcess[str]) -> str:
    """What a command of Slurm's complains of first: advice and consequences follow."""
    lines = done.stderr.strip().splitlines() or [f"status {done.returncode}"]
    errors = [line for line in lines if "error: " in line]
    return plain((errors or lines)[0].rpartition("error: ")[2], MOST_SAID)
