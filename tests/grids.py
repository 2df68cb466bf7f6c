"""Small grids for tests: their clips, recipes and YAML, and the command as a user runs it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import yaml
from conftest import ROOT, write_clip, write_config

TYPES = ("ToyA", "ToyB")
FROZEN = {
    "kind": "frozen",
    "backend": {"kind": "knn", "distance": "cosine", "neighbours": 1},
    "sections": "together",
}
PATIENCE_SECONDS = 120.0


def make(folder: Path, **grid: Any) -> Path:
    """Clips of two machine types and two ids, two recipes, and grid.yaml; the last one's path.

    Parameters
    ----------
    grid : keys of grid.yaml in the place of those here
    """
    for k, machine_type in enumerate(TYPES):
        data = folder / "dev_data" / machine_type
        for machine_id in ("01", "02"):
            for i in range(5):
                seed = 10000 * k + 1000 * int(machine_id) + 10 * i
                tone = 0.002 * (k + int(machine_id))
                name = f"id_{machine_id}_{i:08}.wav"
                write_clip(data / "train" / f"normal_{name}", seed)
                write_clip(data / "test" / f"normal_{name}", seed + 1)
                write_clip(data / "test" / f"anomaly_{name}", seed + 2, tone * i)
    fit = {"epochs": 1, "validation_split": 0.2}
    write_config(folder, fit=fit, experiment="own").rename(folder / "dense.yaml")
    write_config(folder, detector=FROZEN).rename(folder / "frozen.yaml")
    return write(folder, **grid)


def write(folder: Path, **grid: Any) -> Path:
    """grid.yaml: all of `make`'s, but for some keys."""
    values = {"name": "small", "recipes": ["dense.yaml", "frozen.yaml"],
              "machine_types": list(TYPES), "seeds": [1, 2]}  # fmt: skip
    path = folder / "grid.yaml"
    path.write_text(yaml.safe_dump(values | grid))
    return path


def start(path: Path, *arguments: str, env: dict[str, str] | None = None) -> subprocess.Popen[str]:
    """The command, running in the grid's folder."""
    return subprocess.Popen(
        [sys.executable, "-m", "apps.pipeline", "grid", path.name, *arguments],
        cwd=path.parent, env={**(env or os.environ), "PYTHONPATH": str(ROOT)}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def run(
    path: Path, *arguments: str, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """The command, run to its end."""
    return end(start(path, *arguments, env=env))


def end(process: subprocess.Popen[str]) -> subprocess.CompletedProcess[str]:
    """Wait for its end."""
    out, err = process.communicate(timeout=600)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def cell(folder: Path, experiment: str) -> Path:
    """The folder of a cell."""
    return folder / "result" / experiment / "cell"


def process_of(folder: Path) -> int:
    """The process that runs a cell, once its first script has begun."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        log = folder / "log.txt"
        if found := re.findall(r"process (\d+)", log.read_text() if log.exists() else ""):
            return int(found[-1])
        time.sleep(0.02)
    raise AssertionError(f"{folder}: no script has begun")


def kill(folder: Path) -> None:
    """Kill a cell, as a machine does whose memory is spent."""
    os.kill(process_of(folder), signal.SIGKILL)
