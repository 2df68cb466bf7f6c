"""A device of the benchmark in a thread, on a pseudo-terminal or TCP, with faults on demand."""

from __future__ import annotations

import os
import re
import select
import socket
import threading
import time
import tty
from collections.abc import Callable, Sequence

import numpy as np

NAME = "asd-fake"
TALK_SECONDS = 15.0  # so that a host that listens for ever is seen to


def mean_square(window: np.ndarray) -> float:
    """The score of a model that reconstructs nothing, dB^2."""
    return float(np.mean(np.square(window, dtype=np.float64)))


class FakeDevice:
    """Speaks the protocol of the benchmark; use as a context manager, `port` is its name.

    Parameters
    ----------
    score : (n,) float32 window -> its score
    tcp : listen on TCP instead of a pseudo-terminal
    microseconds : of an inference
    drop : the byte of this number, from 0, that the host sends is lost
    drop_answer : the same of what the device sends
    garble : the byte of this number, a digit that the host sends, arrives as another one
    silent_after, closed_after : commands after which it says nothing more, or hangs up
    talks_after, talk, pause : commands after which it says `talk` again and again, for
        `TALK_SECONDS`, with so many seconds between
    run_seconds : that the first runs, one after another, really last
    instead : number of a command, from 0, and the command -> what it says in place of the answer;
        None for the answer
    """

    def __init__(
        self,
        score: Callable[[np.ndarray], float] = mean_square,
        tcp: bool = False,
        microseconds: int = 10_000,
        drop: int | None = None,
        drop_answer: int | None = None,
        garble: int | None = None,
        silent_after: int | None = None,
        closed_after: int | None = None,
        talks_after: int | None = None,
        talk: bytes = b"",
        pause: float = 0.0,
        instead: Callable[[int, str], bytes | None] = lambda *_: None,
        name: str = NAME,
        run_seconds: Sequence[float] = (),
    ) -> None:
        self.score, self.name, self.microseconds = score, name, microseconds
        self.drop, self.drop_answer, self.garble = drop, drop_answer, garble
        self.silent_after, self.closed_after = silent_after, closed_after
        self.talks_after, self.talk, self.pause = talks_after, talk, pause
        self.instead, self.run_seconds = instead, list(run_seconds)
        self.commands: list[str] = []
        self._clock = self._received = self._sent = self._wanted = 0
        self._buffer, self._result = b"", 0.0
        self._stop, self._stopped = os.pipe()
        self._server = self._slave = None
        if tcp:
            self._server = socket.create_server(("127.0.0.1", 0))
            self.port = f"tcp:127.0.0.1:{self._server.getsockname()[1]}"
        else:
            self._fd, self._slave = os.openpty()
            tty.setraw(self._slave)
            self.port = os.ttyname(self._slave)
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> FakeDevice:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        os.write(self._stopped, b"x")
        self._thread.join(10)
        assert not self._thread.is_alive()

    @property
    def windows(self) -> int:
        """Windows that were run."""
        return sum(command.startswith("infer") for command in self.commands)

    def _serve(self) -> None:
        connection = None
        if self._server:
            if self._server in select.select([self._server, self._stop], [], [])[0]:
                connection, _ = self._server.accept()
                self._fd = connection.fileno()
                self._talk()
            self._server.close()
            if connection:
                connection.close()
        else:
            self._talk()
            os.close(self._fd)
            os.close(self._slave)

    def _talk(self) -> None:
        command = b""
        while self._stop not in (ready := select.select([self._fd, self._stop], [], [])[0]):
            assert ready
            try:
                content = os.read(self._fd, 4096)
            except OSError:
                return
            if not content:
                return
            for value in content:
                self._received += 1
                if self._received - 1 == self.drop:
                    continue
                if self._received - 1 == self.garble:
                    value = ord("0") if value != ord("0") else ord("1")
                if value != ord("%"):
                    command += bytes([value])
                    continue
                if len(self.commands) == self.closed_after:
                    return
                if len(self.commands) == self.talks_after:
                    self._talk_on()
                    return
                silent = len(self.commands) == self.silent_after
                if not silent:
                    said = self.instead(len(self.commands), command.decode())
                    self.commands.append(command.decode())
                    if said is None:
                        self._answer(command.decode())
                    else:
                        os.write(self._fd, said)
                command = b""

    def _answer(self, command: str) -> None:
        lines = [*self._obey(command), "m-ready"]
        if command.startswith("infer") and self.run_seconds:
            self._say(lines[:4])  # up to the first timestamp
            select.select([self._stop], [], [], self.run_seconds.pop(0))
            lines = lines[4:]
        self._say(lines)

    def _talk_on(self) -> None:
        end = time.monotonic() + TALK_SECONDS
        while time.monotonic() < end:
            if self._stop in select.select([self._stop], [], [], self.pause)[0]:
                return
            # Nobody may be there who reads it.
            if select.select([], [self._fd], [], 0.1)[1]:
                try:
                    os.write(self._fd, self.talk)
                except OSError:
                    return

    def _say(self, lines: list[str]) -> None:
        content = "".join(f"{line}\r\n" for line in lines).encode()
        if self.drop_answer is not None and 0 <= self.drop_answer - self._sent < len(content):
            at = self.drop_answer - self._sent
            self._sent += 1
            content = content[:at] + content[at + 1 :]
        self._sent += len(content)
        os.write(self._fd, content)

    def _obey(self, command: str) -> list[str]:
        if command == "name":
            return [f"m-name-dut-[{self.name}]"]
        if command == "profile":
            return ["m-profile-[ULPMark for tinyML Firmware V0.0.1]", "m-model-[ad01]"]
        if command == "results":
            return [f"m-results-[{self._result:0.3f}]"]
        if match := re.fullmatch(r"db load (\d+)", command):
            self._wanted, self._buffer = int(match[1]), b""
            return [f"m-[Expecting {self._wanted} bytes]"]
        if command == "db print":
            rows = range(0, len(self._buffer), 8)
            return [f"m-buffer-{self._buffer[i : i + 8].hex('-')}" for i in rows]
        if match := re.fullmatch(r"db ([0-9a-f]+)", command):
            if len(match[1]) % 2:
                return ["e-[Insufficent number of hex digits]"]
            before = len(self._buffer)
            self._buffer = (self._buffer + bytes.fromhex(match[1]))[: self._wanted]
            return ["m-load-done"] if before < len(self._buffer) == self._wanted else []
        if match := re.fullmatch(r"infer (\d+) (\d+)", command):
            self._result = self.score(np.frombuffer(self._buffer, "<f4"))
            start, self._clock = self._clock, self._clock + int(match[1]) * self.microseconds
            return [
                f"m-warmup-start-{match[2]}",
                "m-warmup-done",
                f"m-infer-start-{match[1]}",
                f"m-lap-us-{start}",
                f"m-lap-us-{self._clock}",
                "m-infer-done",
                f"m-results-[{self._result:0.3f}]",
            ]
        return [f"e-[Unknown command: {command}]"]
