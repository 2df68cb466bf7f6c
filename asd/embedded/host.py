"""The generated C on this machine: compiled into a shared library, run on int8 arrays."""

from __future__ import annotations

import ctypes
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from asd.embedded import processes
from common import UserError

CC_FLAGS = ("-std=c99", "-O2", "-shared", "-fPIC")
SCRATCH_WORDS = 2**16  # 512 kB: more than any layer of 65,535 outputs asks for


def compiler() -> str | None:
    """The C compiler of this machine, if it has one."""
    return shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")


def build(
    folder: Path, work: Path, flags: Sequence[str] = (), sources: Sequence[str] = ("model.c",)
) -> Path:
    """Compile generated source, named `model`, into a shared library called as its last file.

    Raises
    ------
    UserError : there is no compiler, or it fails; its first error is told.
    """
    cc = compiler()
    if cc is None:
        raise UserError("no C compiler found; sudo apt install gcc")
    library = (work / sources[-1]).with_suffix(".so")
    command = [cc, *CC_FLAGS, *flags, "-o", str(library), *(str(folder / one) for one in sources)]
    done = processes.call(command)
    if done.returncode:
        errors = [line for line in done.stdout.splitlines() if "error" in line]
        raise UserError(f"{folder}: {cc} failed: {(errors or [done.stdout.strip()])[0]}")
    return library


def runner(library: Path, n_outputs: int) -> Callable[[np.ndarray], np.ndarray]:
    """A compiled model as a function of int8 arrays.

    Returns
    -------
    function (n, inputs) int8 -> (n, outputs) int8
    """
    run = ctypes.CDLL(str(library)).model_run
    scratch = (ctypes.c_uint64 * SCRATCH_WORDS)()

    def run_all(windows: np.ndarray) -> np.ndarray:
        windows = np.ascontiguousarray(windows, np.int8)
        outputs = np.empty((len(windows), n_outputs), np.int8)
        for source, target in zip(windows, outputs, strict=True):
            run(source.ctypes.data_as(ctypes.c_void_p), target.ctypes.data_as(ctypes.c_void_p),
                scratch)  # fmt: skip
        return outputs

    return run_all
