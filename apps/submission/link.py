"""The host's side of the benchmark's serial protocol: a port, and the device behind it.

A port is a serial port or pseudo-terminal by its name, or `tcp:host:port`. Commands end with
`%`; answers are lines that end with `m-ready`.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass

from apps.submission.ports import SerialPort, TcpPort
from common import UserError

BAUD = 921_600  # of performance and accuracy mode
ANSWER_SECONDS, INFER_SECONDS = 5.0, 30.0  # the official runner's patience for a line
PROBE_SECONDS = 2.0  # of that patience, for asking a silent device whether it is there
QUIET_SECONDS = 0.2  # a device that says nothing for so long has said all
BYTES_PER_COMMAND = 31  # of a window; 80 characters are the device's limit
PRINTED_BYTES = 8  # of the buffer, in a line of the answer to `db print`
TRIES = 3
# What an answer may be at most, so that a device that talks without end is told: so many times
# the patience for a line, and more lines and longer ones than any device of the benchmark has.
WHOLE_ANSWER, MOST_LINES, MOST_LINE_BYTES = 4, 10_000, 1000
MOST_INFERENCES = 1_000_000  # of `infer`, each of its numbers; device/protocol.c has the same


class Lost(Exception):
    """An answer is not what it must be, as after a lost byte, though the device is there."""


@dataclass(frozen=True)
class Answer:
    """What `infer` gave."""

    score: float  # mean squared error of the window, dB^2, as printed
    start_us: int
    end_us: int


class Device:
    """The device behind a port; used as a context manager, which asks for its name first.

    Parameters
    ----------
    port, baud : see the module
    answer_seconds, infer_seconds : how long a line may take: usually, and after `infer`; a whole
        answer takes `WHOLE_ANSWER` times as long at most
    verify : have every window read back, which is slower: a byte that was lost is noticed
        anyway, a digit that became another one only so

    Attributes
    ----------
    name, model : what it answered to `name` and `profile`
    retries : windows that were sent again after a lost or wrong byte
    """

    def __init__(
        self,
        port: str,
        baud: int = BAUD,
        answer_seconds: float = ANSWER_SECONDS,
        infer_seconds: float = INFER_SECONDS,
        verify: bool = False,
    ) -> None:
        self.port, self.retries = port, 0
        self._verify = verify
        self.name = self.model = ""
        self._answer_seconds, self._infer_seconds = answer_seconds, infer_seconds
        self._received = b""
        try:
            if port.startswith(("tcp:", "socket://")):
                self._port: SerialPort | TcpPort = TcpPort(port, answer_seconds)
            else:
                self._port = SerialPort(port, baud, answer_seconds)
        except (OSError, ValueError) as error:
            raise UserError(f"{port}: cannot be opened ({error})") from error

    def __enter__(self) -> Device:
        try:
            self._quieten()
            self.name = self._ask("name", r"m-name-dut-\[([ -~]+)\]")
            self.model = self._ask("profile", r"m-model-\[([ -~]+)\]")
        except BaseException:
            self._port.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._port.close()

    def measure(
        self,
        window: bytes,
        inferences: int,
        warmups: int,
        once: bool = False,
        tell: Callable[[str], object] = lambda _: None,
    ) -> Answer:
        """Upload a window and run it; again where a byte was lost on the way.

        Parameters
        ----------
        once : never ask for the run a second time: what is lost in its answer ends the measurement
        tell : is told of every try that is not taken, and why

        Raises
        ------
        UserError : the device is silent or gone, or talks without end, or its answers stay wrong;
            the run is longer than the time-out, or with `once` its answer is not whole; or the
            numbers are none that a device takes.
        """
        if not (1 <= inferences <= MOST_INFERENCES and 0 <= warmups <= MOST_INFERENCES):
            most = f"1 to {MOST_INFERENCES:,} inferences and 0 to {MOST_INFERENCES:,} to warm up"
            raise UserError(f"infer {inferences} {warmups}: takes {most}")
        for left in reversed(range(TRIES)):
            running = False
            try:
                self._upload(window)
                running = True
                return self._infer(inferences, warmups, once)
            except Lost as error:
                if running and once:
                    raise UserError(f"{self.port}: {error}; no run is repeated") from error
                if not left:
                    raise UserError(f"{self.port}: {error}, {TRIES} times") from error
                tell(f"not taken, the window is sent again: {error}")
                self.retries += 1
                self._resynchronise()
        raise AssertionError

    def _upload(self, window: bytes) -> None:
        self._expect(f"db load {len(window)}", [f"m-[Expecting {len(window)} bytes]"])
        for start in range(0, len(window), BYTES_PER_COMMAND):
            part = window[start : start + BYTES_PER_COMMAND]
            last = start + BYTES_PER_COMMAND >= len(window)
            self._expect(f"db {part.hex()}", ["m-load-done"] if last else [])
        if self._verify:
            lines = range(0, len(window), PRINTED_BYTES)
            shown = [window[i : i + PRINTED_BYTES].hex("-") for i in lines]
            self._expect("db print", [f"m-buffer-{line}" for line in shown])

    def _infer(self, inferences: int, warmups: int, once: bool) -> Answer:
        command = f"infer {inferences} {warmups}"
        lines = self._command(command, self._infer_seconds, probes=not once)
        results = [m[1] for m in _matches(r"m-results-\[(-?\d{1,39}(?:\.\d{1,9})?)\]", lines)]
        laps = [int(m[1]) for m in _matches(r"m-lap-us-(\d{1,20})", lines)]
        # Whole, and of what was asked: a digit of the command may have been lost.
        said = {f"m-warmup-start-{warmups}", f"m-infer-start-{inferences}", "m-infer-done"}
        if not said <= set(lines) or len(results) != 1 or len(laps) != 2 or laps[1] < laps[0]:
            raise Lost(f"{command}: answered {' '.join(lines)[:200]!r}")
        # A digit lost on the way would go unseen: the score is asked for again, which runs nothing.
        for left in reversed(range(TRIES if once else 1)):
            try:
                self._expect("results", [f"m-results-[{results[0]}]"])
                break
            except Lost:
                if not left:
                    raise
                self._resynchronise()
        return Answer(float(results[0]), laps[0], laps[1])

    def _ask(self, command: str, pattern: str) -> str:
        """The value in an answer; what a device says while it starts is passed over."""
        for _ in range(TRIES):
            try:
                lines = self._command(command, self._answer_seconds)
            except Lost:
                lines = []
            if found := _matches(pattern, lines):
                return found[0][1]
            self._resynchronise()
        raise UserError(f"{self.port}: what answers is no device of the benchmark: no {command}")

    def _expect(self, command: str, answer: list[str]) -> None:
        lines = self._command(command, self._answer_seconds)
        if lines != answer:
            raise Lost(f"{command[:20]}: answered {' '.join(lines)[:100]!r}, not {answer}")

    def _command(self, command: str, seconds: float, probes: bool = True) -> list[str]:
        """The lines that answer a command, without `m-ready`.

        The patience for a line of a run that has begun is whole. Else the last of it is for a probe
        (`probes`), whose `%` may be what a command lacks: it would begin a run.
        """
        self._write(f"{command}%".encode())
        lines: list[str] = []
        end = time.monotonic() + WHOLE_ANSWER * seconds
        patience = max(seconds - PROBE_SECONDS, seconds / 2)
        while (
            line := self._line(patience if probes and not _runs(lines) else seconds)
        ) != "m-ready":
            if line is None:
                if what := _runs(lines):
                    raise UserError(
                        f"{self.port}: the {what} of `{command}` is longer than the time-out, "
                        f"{seconds:g} s; lower its number, or raise --infer-timeout"
                    )
                if probes:
                    self._probe(command, seconds - patience)
                elif not lines:
                    raise self._silent(command)
                raise Lost(f"{command[:20]}: no whole answer")
            lines.append(line)
            if len(lines) > MOST_LINES or time.monotonic() >= end:
                raise self._endless(command)
        return lines

    def _silent(self, command: str) -> UserError:
        return UserError(f"{self.port}: the device is silent after `{command[:20]}`")

    def _endless(self, command: str) -> UserError:
        what = f"the device talks without end after `{command[:20]}`"
        return UserError(f"{self.port}: {what}; reset it, and see that it is one of the benchmark")

    def _probe(self, command: str, seconds: float) -> None:
        """End a command whose `%` was lost, and see that the device answers at all."""
        self._write(b"%")
        end, silent = time.monotonic() + seconds, True
        while (line := self._line(max(0.0, end - time.monotonic()))) != "m-ready":
            silent = silent and line is None
            if time.monotonic() >= end:
                if silent:
                    raise self._silent(command)
                raise self._endless(command)

    def _resynchronise(self) -> None:
        self._quieten()
        self._probe("%", self._answer_seconds)
        self._quieten()

    def _quieten(self) -> None:
        """Read and forget what the device still says."""
        end = time.monotonic() + self._answer_seconds
        quiet = time.monotonic() + QUIET_SECONDS
        while time.monotonic() < min(end, quiet):
            if self._read():
                quiet = time.monotonic() + QUIET_SECONDS
        self._received = b""

    def _line(self, seconds: float) -> str | None:
        """The next line that is not empty; None if none comes in time."""
        end = time.monotonic() + seconds
        while True:
            line, newline, rest = self._received.partition(b"\n")
            if len(line) > MOST_LINE_BYTES:
                what = f"the device sends a line without end, {line[:20]!r}...; reset it, and see"
                raise UserError(f"{self.port}: {what} that --baud is its rate")
            if newline:
                self._received = rest
                if text := line.decode("ascii", "replace").strip("\r\0"):
                    return text
            elif time.monotonic() >= end:
                return None
            else:
                self._received += self._read()

    def _read(self) -> bytes:
        try:
            return self._port.read()
        except OSError as error:
            raise UserError(f"{self.port}: the connection is lost ({error})") from error

    def _write(self, content: bytes) -> None:
        try:
            self._port.write(content)
        except OSError as error:
            raise UserError(f"{self.port}: the connection is lost ({error})") from error


def _matches(pattern: str, lines: list[str]) -> list[re.Match[str]]:
    return [match for line in lines if (match := re.fullmatch(pattern, line))]


def _runs(lines: list[str]) -> str:
    """What an answer to `infer` so far says that the device is at; "" for nothing."""
    if not lines or len(_matches(r"m-lap-us-\d+", lines)) > 1:
        return ""
    if re.fullmatch(r"m-warmup-start-\d+", lines[-1]):
        return "warm-up"
    return "run" if re.fullmatch(r"m-warmup-done|m-(infer-start|lap-us)-\d+", lines[-1]) else ""
