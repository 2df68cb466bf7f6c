"""The four scripts, killed: is the next run's result that of an undisturbed one?

    .venv/bin/python -m tests.kills --renames          a kill before and after every rename
    .venv/bin/python -m tests.kills --size 100         at random moments of a random script

Each try begins where the scripts before had ended, kills one with SIGKILL, runs it and those after
it to their ends, and compares every file but the Keras model, whose archive holds times.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tests.conftest import ROOT, SCRIPTS, make_data, write_config

# Runs a script that kills itself at one of its renames: argv is the number of the rename, counted
# from 1, "before" or "after" it, and the script's own.
DYING = """
import os, runpy, signal, sys
at, when, script, *argv = int(sys.argv[1]), *sys.argv[2:]
done = 0
def dying(function):
    def one(*args, **kwargs):
        global done
        done += 1
        if done == at and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        result = function(*args, **kwargs)
        if done == at:
            os.kill(os.getpid(), signal.SIGKILL)
        return result
    return one
os.replace, os.rename = dying(os.replace), dying(os.rename)
sys.argv = [script, *argv]
sys.path.insert(0, os.path.dirname(script))
runpy.run_path(script, run_name="__main__")
"""
OPTIONS = ("--boards", "none")
IGNORED = (".keras",)
DATED = (".json", ".html")  # tell when they were made, and of which model file: only that they are


def command(folder: Path, name: str) -> list[str]:
    """The arguments of a numbered script on a folder's data."""
    return [str(ROOT / name), "-d", "-c", str(folder / "test.yaml"), *OPTIONS]


def finish(folder: Path, names: tuple[str, ...]) -> None:
    """Run scripts to their ends."""
    for name in names:
        done = subprocess.run([sys.executable, *command(folder, name)], capture_output=True,
                              text=True)  # fmt: skip
        assert done.returncode == 0, f"{name}: {done.stdout[-500:]}{done.stderr[-500:]}"


def outcome(folder: Path) -> dict[str, bytes]:
    """What stands in the folders of models and results, but what tells the time."""
    found = {}
    for path in sorted([*folder.glob("model/**/*"), *folder.glob("result/**/*")]):
        if path.is_file() and path.suffix not in (*IGNORED, *DATED):
            found[str(path.relative_to(folder))] = path.read_bytes()
        elif path.is_file():
            found[str(path.relative_to(folder))] = b""
    return found


class Stages:
    """Folders as they are before each script of an undisturbed run, and the outcome."""

    def __init__(self, root: Path) -> None:
        self.root = root
        folder = make_data(root / "whole", n_train=6)
        shutil.rmtree(folder / "eval_data")
        write_config(folder)
        self.seconds = []
        for name in SCRIPTS:
            shutil.copytree(folder, root / name)
            began = time.perf_counter()
            finish(folder, (name,))
            self.seconds.append(time.perf_counter() - began)
        self.outcome = outcome(folder)

    def before(self, name: str, work: Path) -> Path:
        """A copy of the folder before a script."""
        folder = shutil.copytree(self.root / name, work / "try")
        write_config(folder)
        return folder

    def compare(self, folder: Path, name: str) -> None:
        """Run a killed script and those after it; its outcome is the undisturbed one."""
        finish(folder, SCRIPTS[SCRIPTS.index(name) :])
        left = [str(path) for path in folder.rglob(".asd-*")]
        assert not left, f"left behind: {left}"
        ours = outcome(folder)
        differing = [n for n in {*ours, *self.outcome} if ours.get(n) != self.outcome.get(n)]
        assert not differing, f"differing: {differing}"


def at_renames(stages: Stages, name: str, moments: Sequence[tuple[int, str]]) -> bool:
    """Kill a script, and each next run of it, at a rename; then compare.

    Returns
    -------
    whether every run had so many renames
    """
    with tempfile.TemporaryDirectory() as work:
        folder = stages.before(name, Path(work))
        for number, when in moments:
            program = [sys.executable, "-c", DYING, str(number), when, *command(folder, name)]
            killed = subprocess.run(program, capture_output=True, text=True)
            if killed.returncode == 0:
                return False
            assert killed.returncode == -9, killed.stderr
        stages.compare(folder, name)
    return True


def at_random(stages: Stages, rng: np.random.Generator) -> None:
    """Kill a script at a moment of its run and compare."""
    number = int(rng.integers(len(SCRIPTS)))
    name, moment = SCRIPTS[number], rng.uniform(0, stages.seconds[number])
    with tempfile.TemporaryDirectory() as work:
        folder = stages.before(name, Path(work))
        program = [sys.executable, *command(folder, name)]
        nowhere = subprocess.DEVNULL
        process = subprocess.Popen(program, stdout=nowhere, stderr=nowhere)
        time.sleep(moment)
        process.kill()
        process.wait()
        stages.compare(folder, name)


def main() -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--renames", action="store_true", help="kill at every rename")
    parser.add_argument("--size", type=int, default=0, help="kills at random moments")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as root:
        stages = Stages(Path(root))
        for name in SCRIPTS if args.renames else ():
            number, tried = 1, 0
            while all(at_renames(stages, name, [(number, when)]) for when in ("before", "after")):
                number, tried = number + 1, tried + 2
            print(f"{name}: {tried} kills at {number - 1} renames, every next run as undisturbed",
                  flush=True)  # fmt: skip
        for number in range(args.size):
            at_random(stages, np.random.default_rng([args.seed, number]))
        if args.size:
            print(f"{args.size} kills at random moments, every next run as undisturbed")


if __name__ == "__main__":
    main()
