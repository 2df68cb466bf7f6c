"""Cells as processes of this machine, as many at once as its cores allow."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from apps.pipeline.cells import Cell, Outcome, outcome
from apps.pipeline.engines import share
from apps.pipeline.settings import Grid
from asd import workers
from asd.embedded import processes

POLL_SECONDS = 0.1


class _Running(NamedTuple):
    cell: Cell
    process: subprocess.Popen[bytes]
    end: contextlib.ExitStack  # of what keeps the process


def run(grid: Grid, cells: Sequence[Cell]) -> Iterator[Outcome]:
    """Run prepared cells; how each ended, as it ends.

    They end with this process, however that ends.
    """
    at_once = grid.at_once or max(1, workers.allowed() // grid.threads)
    waiting, running = list(cells), list[_Running]()
    with contextlib.ExitStack() as stack:
        try:
            while waiting or running:
                while waiting and len(running) < at_once:
                    running.append(_start(grid, waiting.pop(0), stack))
                for one in [one for one in running if one.process.poll() is not None]:
                    running.remove(one)
                    one.end.close()
                    yield outcome(one.cell, _why(one.process.returncode))
                time.sleep(POLL_SECONDS)
        finally:  # all are asked to end before one is waited for
            for one in running:
                one.process.terminate()


def _start(grid: Grid, cell: Cell, stack: contextlib.ExitStack) -> _Running:
    end = stack.enter_context(contextlib.ExitStack())
    log = end.enter_context(cell.log.open("ab"))  # what is said before the cell opens it itself
    process = end.enter_context(processes.started(
        share.command(cell), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
        env=os.environ | share.environment(grid),
    ))  # fmt: skip
    return _Running(cell, process, end)


def _why(status: int) -> str:
    """What an exit status tells of a cell that did not say how it ended."""
    if status < 0:
        return f"killed by {signal.Signals(-status).name}"
    return f"its process ended with status {status}"
