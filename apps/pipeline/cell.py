"""Run one cell of a grid: its numbered scripts one after the other, in this process.

    python -m apps.pipeline.cell RESULT/cell

Reads the cell.yaml and cell.json that the grid wrote into that folder. Appends all that is printed
to its log.txt, and writes into cell.json how it ended. The exit status is that of the script that
failed, else 0. A cell that is done is left as it is.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import sys
import time
import traceback
from pathlib import Path
from types import ModuleType

from apps.pipeline.cells import Record, read_record, write_record
from apps.pipeline.settings import STAGES
from asd import cli, files
from common import HERE, UserError

# Boards take long, and are not what a grid compares.
OPTIONS = {"parity": ("--boards", "none")}


def main() -> int:
    """Do what the command line says."""
    if len(sys.argv) != 2:
        raise UserError("which cell? python -m apps.pipeline.cell RESULT/cell")
    folder = Path(sys.argv[1])
    if read_record(folder) is None:
        raise UserError(f"{folder}: no cell that a grid has prepared; python -m apps.pipeline grid")
    _log_to(folder / "log.txt")
    with files.alone(folder):  # another grid may be at it
        record = read_record(folder)
        assert record
        return 0 if record.status == 0 else run(folder, record)


def _log_to(path: Path) -> None:
    """Let all that this process prints, and what C++ libraries do, be appended to a file."""
    log = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    sys.stdout.flush()
    for stream in (1, 2):
        os.dup2(log, stream)
    os.close(log)


def run(folder: Path, record: Record) -> int:
    """Run the stages, up to one that fails; the exit status."""
    start, status = time.perf_counter(), 0
    for stage in record.made_of["stages"]:
        now = time.strftime("%Y-%m-%d %H:%M:%S")
        print(f"== {STAGES[stage]} on {platform.node()}, process {os.getpid()}, {now}", flush=True)
        try:
            status = _call(folder, stage, record)
        except Exception:
            traceback.print_exc()
            status = 1
        if status:
            break
    if status <= 128:  # not interrupted
        seconds = round(time.perf_counter() - start, 1)
        write_record(folder, Record(record.made_of, status, STAGES[stage], seconds))
    return status


def _call(folder: Path, stage: str, record: Record) -> int:
    """Run a numbered script as its command line does; the exit status."""
    script = _load(HERE / STAGES[stage])
    types = [part for name in record.made_of["machine_types"] for part in ("-m", name)]
    mode = f"--{record.made_of['mode']}"
    arguments = [mode, "-c", str(folder / "cell.yaml"), *types, *OPTIONS.get(stage, ())]
    return cli.run(lambda: script.main(arguments))


def _load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


if __name__ == "__main__":
    sys.exit(cli.run(main))
