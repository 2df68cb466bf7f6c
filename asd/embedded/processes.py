"""Child processes that end with this one, however it ends: Ctrl-C, SIGTERM, SIGHUP, kill -9."""

from __future__ import annotations

import contextlib
import os
import selectors
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

GUARD = Path(__file__).resolve().with_name("guard.py")
STOP_SECONDS = 5.0  # far more than a compiler or an emulator needs to end
MOST_OUTPUT_BYTES = 2**20  # that are kept of what a command prints


@contextlib.contextmanager
def started(
    command: Sequence[str], keep: Sequence[int] = (), **options: Any
) -> Iterator[subprocess.Popen]:
    """A running command, which ends at the end of the `with` or with this process.

    Parameters
    ----------
    command : as that of Popen
    keep : open files that it inherits
    options : others of Popen
    """
    reading, writing = os.pipe()
    try:
        kept = (reading, *keep)
        guard = [sys.executable, "-I", "-S", str(GUARD), ",".join(map(str, kept))]
        try:
            process = subprocess.Popen([*guard, *command], pass_fds=kept, **options)
        finally:
            os.close(reading)
        try:
            yield process
        finally:
            _stop(process)
    finally:
        os.close(writing)


def _stop(process: subprocess.Popen) -> None:
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdout:
        process.stdout.close()


def call(
    command: Sequence[str], folder: Path | None = None, timeout_seconds: float | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end.

    Parameters
    ----------
    command : as that of Popen
    folder : where it runs
    timeout_seconds : for the whole run; without it as long as it takes

    Returns
    -------
    its status, and in `stdout` what it printed there and as errors, of which the first megabyte

    Raises
    ------
    subprocess.TimeoutExpired : it took longer; it is stopped.
    """
    with started(
        command,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=os.environ | {"LC_ALL": "C"},  # messages in English, as they are searched
    ) as process:
        end = None if timeout_seconds is None else time.monotonic() + timeout_seconds
        output = _output(process, end)
        process.wait(_left(process, end))
    return subprocess.CompletedProcess(command, process.returncode, output.decode(errors="replace"))


def _output(process: subprocess.Popen, end: float | None) -> bytes:
    """What a process prints until it closes its output; what is too much of it is dropped."""
    output = b""
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while True:
            left = _left(process, end)
            if selector.select(left):
                content = os.read(process.stdout.fileno(), 65536)
                if not content:
                    return output
                output += content[: MOST_OUTPUT_BYTES - len(output)]


def _left(process: subprocess.Popen, end: float | None) -> float | None:
    """Seconds until the end of a timeout; TimeoutExpired where there are none."""
    if end is None:
        return None
    if (left := end - time.monotonic()) <= 0:
        raise subprocess.TimeoutExpired(process.args, left)
    return left
