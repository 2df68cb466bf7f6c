"""Processes that wait for commands and time them, so that two ways can be measured by turns.

Nothing but the standard library: PyTorch's process has an environment of its own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parents[2]
END = "end"


def serve(actions: dict[str, Callable[..., Any]]) -> None:
    """Do what each line of the standard input asks for: a JSON list, an action and its arguments.

    A line of JSON is printed for each: `wall` and `cpu`, seconds, and `result`, what the action
    returned. What else is printed goes to the standard error.
    """
    answers, sys.stdout = sys.stdout, sys.stderr
    for line in sys.stdin:
        name, *arguments = json.loads(line)
        if name == END:
            break
        wall, cpu = time.perf_counter(), time.process_time()
        result = actions[name](*arguments)
        took = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
        print(json.dumps(took | {"result": result}), file=answers, flush=True)


class Worker:
    """A process that serves."""

    def __init__(self, command: Sequence[str | Path]) -> None:
        environment = os.environ | {"PYTHONPATH": str(HERE), "TF_CPP_MIN_LOG_LEVEL": "3"}
        self._command = [str(part) for part in command]
        self._errors = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115 - see end
        self._process = subprocess.Popen(
            self._command, env=environment, text=True, cwd=HERE, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=self._errors,
        )  # fmt: skip

    def ask(self, *action: Any) -> dict[str, Any]:
        """What `serve` answers.

        Raises
        ------
        RuntimeError : the process has ended; its last line is told.
        """
        try:
            print(json.dumps(action), file=self._process.stdin, flush=True)
            return json.loads(self._process.stdout.readline())
        except (BrokenPipeError, ValueError) as error:
            self._process.wait()
            self._errors.seek(0)
            told = (self._errors.read().strip().splitlines() or ["it said nothing"])[-1]
            raise RuntimeError(f"{' '.join(self._command)}: {action[0]}: {told}") from error

    def end(self) -> None:
        """Let it end, whatever it is in."""
        try:
            print(json.dumps([END]), file=self._process.stdin, flush=True)
            self._process.stdin.close()
        except OSError:
            pass  # it has ended
        self._process.wait()
        self._process.stdout.close()
        self._errors.close()
