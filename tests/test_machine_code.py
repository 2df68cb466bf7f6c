"""Machine code that is kept: runs that start together."""

import subprocess
import sys
import time
from types import SimpleNamespace

from conftest import ROOT, wait_until_gone

from asd import machine_code

# Compiles, as a run does that finds nothing whole: says so, and waits to be told to end.
OTHER = """
import sys
from pathlib import Path
from types import SimpleNamespace
from asd import machine_code
folder = Path(sys.argv[1])
function = SimpleNamespace(stats=SimpleNamespace(cache_path=str(folder)))
machine_code.mend_cache(function)
(folder / "one.nbi").write_bytes(b"half")
print("compiling", flush=True)
sys.stdin.read()
(folder / "one.nbi").write_bytes(b"whole")
machine_code.seal_cache(function)
"""


def compiling(folder):
    process = subprocess.Popen([sys.executable, "-c", OTHER, str(folder)], cwd=ROOT, text=True,
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE)  # fmt: skip
    assert process.stdout.readline() == "compiling\n"
    return process


def function_of(folder):
    return SimpleNamespace(stats=SimpleNamespace(cache_path=str(folder)))


def test_what_another_run_compiles_is_waited_for_and_not_removed(tmp_path, monkeypatch):
    other = compiling(tmp_path)
    sleeps = []

    def sleep(seconds):
        if not sleeps:
            other.stdin.close()
        sleeps.append(seconds)
        other.wait(60)

    clock = SimpleNamespace(sleep=sleep, monotonic=time.monotonic)
    monkeypatch.setattr(machine_code, "time", clock, raising=False)
    machine_code.mend_cache(function_of(tmp_path))
    assert sleeps
    assert (tmp_path / "one.nbi").read_bytes() == b"whole"
    assert not machine_code._held


def test_what_a_killed_run_left_is_removed(tmp_path):
    other = compiling(tmp_path)
    other.kill()
    other.wait()
    wait_until_gone(other.pid)
    machine_code.mend_cache(function_of(tmp_path))
    assert not (tmp_path / "one.nbi").exists()
    machine_code.seal_cache(function_of(tmp_path))
    assert not machine_code._held


def test_a_run_that_compiles_for_ever_stops_no_other(tmp_path, monkeypatch):
    other = compiling(tmp_path)
    monkeypatch.setattr(machine_code, "MOST_WAITING_SECONDS", 0.0)
    machine_code.mend_cache(function_of(tmp_path))
    assert not (tmp_path / "one.nbi").exists()
    other.kill()
    other.wait()
    machine_code.seal_cache(function_of(tmp_path))
