"""What every engine gives a cell: the command that runs it, and its share of threads."""

from __future__ import annotations

import os
import sys

from apps.pipeline.cells import Cell
from apps.pipeline.settings import Grid
from common import HERE

# Of OpenMP and what follows it (asd.workers does), the matrix products, Numba, TensorFlow.
THREADS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "TF_NUM_INTRAOP_THREADS",
    "TF_NUM_INTEROP_THREADS",
)


def command(cell: Cell) -> list[str]:
    """What runs a cell, in the folder that the grid runs in."""
    return [sys.executable, "-m", "apps.pipeline.cell", str(cell.folder)]


def environment(grid: Grid) -> dict[str, str]:
    """What the environment of a cell has of its own: threads, and where the project is."""
    before = os.environ.get("PYTHONPATH")
    path = os.pathsep.join([str(HERE), *([before] if before else [])])
    return {"PYTHONPATH": path} | dict.fromkeys(THREADS, str(grid.threads))
