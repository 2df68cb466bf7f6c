"""Child processes that do not outlive the one that started them."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import is_running, wait_until_gone

from asd.embedded import processes
from common import HERE

SLEEPS = [sys.executable, "-c", "import os, time; print(os.getpid(), flush=True); time.sleep(600)"]
# A parent whose child sleeps and tells its number; started by a thread, which may end before.
PARENT = f"""
import subprocess, sys, threading, time
from asd.embedded import processes

def start():
    context = processes.started({SLEEPS!r})
    contexts.append(context)
    context.__enter__()

contexts = []
thread = threading.Thread(target=start)
thread.start()
thread.join()
time.sleep(600)
"""


@pytest.mark.parametrize("before", ["", "import os; os.close(0)", "import os; os.close(2)"])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP])
def test_a_child_ends_with_its_parent(number: int, before: str):
    command = [sys.executable, "-c", f"{before}\n{PARENT}"]
    with subprocess.Popen(command, cwd=HERE, stdout=subprocess.PIPE, text=True) as parent:
        child = int(parent.stdout.readline())
        time.sleep(0.2)
        assert is_running(child)  # the thread that started it has ended
        parent.send_signal(number)
        assert parent.wait(30) == -number
        assert parent.stdout.read() == ""  # its last holder, the child, has closed it
    wait_until_gone(child)


@pytest.mark.parametrize("error", [None, ValueError])
def test_a_child_ends_with_the_block(error: type[Exception] | None):
    try:
        with processes.started(SLEEPS, stdout=subprocess.PIPE, text=True) as process:
            assert int(process.stdout.readline()) == process.pid, "the child itself, not a helper"
            if error:
                raise error
    except ValueError:
        assert error
    assert process.returncode == -signal.SIGTERM
    assert process.stdout.closed


def test_a_child_that_takes_no_notice_is_killed(monkeypatch):
    monkeypatch.setattr(processes, "STOP_SECONDS", 0.2)
    deaf = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
    command = [*SLEEPS[:2], deaf + SLEEPS[2]]
    with processes.started(command, stdout=subprocess.PIPE, text=True) as process:
        process.stdout.readline()
    assert process.returncode == -signal.SIGKILL


def test_what_a_command_says(tmp_path: Path):
    code = "import os, sys; print(os.getcwd()); print('wrong', file=sys.stderr); "
    code += "os.write(1, b'caf\\xe9\\n'); sys.exit(7)"
    done = processes.call([sys.executable, "-c", code, "x"], tmp_path)
    assert done.returncode == 7
    assert sorted(done.stdout.splitlines()) == sorted(
        [str(tmp_path.resolve()), "wrong", "caf\ufffd"]
    )


def test_a_command_that_is_not_there():
    done = processes.call(["no-such-command", "x"])
    assert done.returncode != 0
    assert done.stdout == "no-such-command: No such file or directory\n"


def test_a_command_in_a_pipe_ends_as_from_a_shell():
    """Python ignores SIGPIPE and hands that on, with which `yes` would complain or go on."""
    done = processes.call(["/bin/sh", "-c", "(yes; echo $? >&2) | head -n 1"])
    assert sorted(done.stdout.split()) == [str(128 + signal.SIGPIPE), "y"]


@pytest.mark.parametrize("code", ["while True: print('x' * 999)", "while True: pass"])
def test_a_command_without_end(code: str):
    with pytest.raises(subprocess.TimeoutExpired):
        processes.call([sys.executable, "-c", code], timeout_seconds=1)


def test_only_the_first_megabyte_is_kept():
    code = f"print('x' * {3 * processes.MOST_OUTPUT_BYTES}); raise SystemExit(5)"
    done = processes.call([sys.executable, "-c", code])
    assert (done.returncode, done.stdout) == (5, "x" * processes.MOST_OUTPUT_BYTES)


def test_open_files_are_handed_on():
    reading, writing = os.pipe()
    command = [sys.executable, "-c", f"import os; os.write({writing}, b'told')"]
    try:
        with processes.started(command, keep=[writing]) as child:
            assert child.wait(30) == 0
            os.close(writing)
            # The watcher, which still waits here, holds none of them.
            assert select.select([reading], [], [], 30)[0]
            assert os.read(reading, 100) == b"told"
            assert select.select([reading], [], [], 30)[0]
            assert os.read(reading, 100) == b""
    finally:
        os.close(reading)
