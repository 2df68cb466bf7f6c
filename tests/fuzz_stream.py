"""The stream in C under sanitizers: pushes of random lengths and values, polls in between.

    .venv/bin/python -m tests.fuzz_stream --size 1000000 --seed 1

A program of its own keeps a plain model of what was pushed, and stops where the stream tells
something else: frames, flags of samples, scores, decisions, alarms, gaps, saved states.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
from pathlib import Path

from asd.embedded import host, stream_runs
from tests import streams

SANITIZE = ("-std=c99", "-g", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
PROGRAM = Path(__file__).with_name("fuzz_stream.c")


def fuzz(folder: Path, size: int, seed: int, fixed: bool) -> str:
    """What the program says of `size` pushes; its folder is written anew.

    Raises
    ------
    AssertionError : a sanitizer or the program has found something.
    """
    feature = streams.feature_of()
    source = streams.written(folder / "c", streams.small_model(feature), streams.stream_of(feature))
    sources = [PROGRAM, *(source / name for name in stream_runs.SOURCES)]
    options = [*SANITIZE, f"-I{source}", f"-DASD_FRONTEND_FLOAT={int(not fixed)}"]
    subprocess.run([host.compiler(), *options, *sources, "-lm", "-o", folder / "fuzz"], check=True)
    done = subprocess.run([folder / "fuzz", str(size), str(seed)], capture_output=True, text=True)
    assert done.returncode == 0, f"seed {seed}: {done.stdout}{done.stderr}"
    return done.stdout


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=20000, help="pushes; %(default)s")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    for fixed in (False, True):
        with tempfile.TemporaryDirectory() as folder:
            said = fuzz(Path(folder), args.size, args.seed, fixed)
            print("integers:" if fixed else "float:", said, end="")


if __name__ == "__main__":
    main()
