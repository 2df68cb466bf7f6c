"""Start an emulated device: the generated model and the benchmark's serial protocol in QEMU.

    python -m apps.submission.emulate MODEL_C_FOLDER [--board mps2-an386] [--tcp PORT] [--energy]

MODEL_C_FOLDER is what `python -m asd.embedded.codegen` wrote. The device's UART is a
pseudo-terminal, or a TCP port of this machine; its name is printed, and it is served until Ctrl-C,
until its terminal is closed, or until it is killed in any other way.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import NoReturn

from asd import cli
from asd.embedded import boards, processes
from common import UserError

DEVICE = Path(__file__).resolve().parent / "device"
PROGRAM = tuple(DEVICE / name for name in ("main.c", "protocol.c", "port_mps2.c"))
# An instruction takes 2^3 ns of the emulated time, as at 125 million a second: near the clock of
# the boards that MLPerf Tiny's entries use. No cycles, wait states or dual issue are emulated.
ICOUNT_SHIFT = 3
NOTE = "emulated: time counts instructions; any throughput of it is never a benchmark result"
START_SECONDS = 30.0  # far more than QEMU needs on a slow machine
END_SECONDS = 0.2
LOG_BYTES = 2**16  # of the log's begin and end, that are looked at
ENDS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)  # the usual end, each of them
LOCALHOST = "127.0.0.1"


@contextlib.contextmanager
def emulated(
    board: boards.Board,
    model_folder: Path,
    work: Path,
    tcp: int | None = None,
    energy: bool = False,
) -> Iterator[str]:
    """An emulated device, from the `with` to its end.

    Parameters
    ----------
    board : one with a UART for which nothing is missing
    model_folder : holds the generated files
    work : `<work>/<board>/` is written: firmware, emulator.log
    tcp : port of this machine, 0 for any free one; without it the UART is a pseudo-terminal
    energy : the firmware of the energy mode

    Yields
    ------
    what pyserial's `serial_for_url` opens: "/dev/pts/7" or "socket://127.0.0.1:4000". One client
    at a time; the next one may come when it has closed.

    Raises
    ------
    UserError : the firmware cannot be built, the emulator does not start, the port is in use, or
        the emulator has ended before the `with` did.
    """
    with _started(board, model_folder, work, tcp, energy) as (process, address, log):
        try:
            yield address
        except Exception as error:
            # A client's trouble may be the emulator's end, which takes a moment to be seen.
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(END_SECONDS)
                raise UserError(_ended(board, process, log)) from error
            raise
        if process.poll() is not None:
            raise UserError(_ended(board, process, log))


@contextlib.contextmanager
def _started(
    board: boards.Board, model_folder: Path, work: Path, tcp: int | None, energy: bool
) -> Iterator[tuple[subprocess.Popen, str, Path]]:
    if board.uart is None:
        serving = ", ".join(row.name for row in boards.all_boards() if row.uart)
        raise UserError(f"{board.name}: has no UART for the protocol; take one of {serving}")
    if reason := boards.missing(board):
        raise UserError(reason)
    folder = work / board.name
    folder.mkdir(parents=True, exist_ok=True)
    defines = ["-DENERGY_MODE=1"] if energy else []
    firmware = folder / boards.build(board, model_folder, folder, PROGRAM, defines)
    log = folder / "emulator.log"
    with contextlib.ExitStack() as stack:
        if tcp is None:
            backend, sockets, address = "pty,id=uart", (), ""
        else:
            listener = stack.enter_context(_listener(tcp))
            backend = f"socket,id=uart,fd={listener.fileno()},server=on,wait=off,nodelay=on"
            sockets = (listener.fileno(),)
            address = f"socket://{LOCALHOST}:{listener.getsockname()[1]}"
        emulator = _emulator(board, firmware, backend, sockets, log)
        process = stack.enter_context(emulator)
        text = _wait_until_it_listens(board, process, log)
        yield process, address or re.search(r"redirected to (\S+) \(label", text)[1], log


def _listener(port: int) -> socket.socket:
    try:
        return socket.create_server((LOCALHOST, port), backlog=1)
    except (OSError, OverflowError) as error:
        why = getattr(error, "strerror", None) or error
        raise UserError(f"--tcp {port}: {why}; take another port, 0 for any free one") from error


@contextlib.contextmanager
def _emulator(
    board: boards.Board, firmware: Path, backend: str, sockets: Sequence[int], log: Path
) -> Iterator[subprocess.Popen]:
    command = [*board.qemu, "-kernel", str(firmware), "-icount", f"shift={ICOUNT_SHIFT}"]
    # For the faults that the start code reports.
    command += ["-semihosting-config", "enable=on,target=native"]
    command += ["-display", "none", "-monitor", "none"]
    command += ["-chardev", backend, "-serial", "chardev:uart"]
    with (
        open(log, "wb") as output,
        processes.started(
            command,
            keep=sockets,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C is for the caller, who may still have to ask it
        ) as process,
    ):
        _keep_on_one_core(process)
        yield process


def _keep_on_one_core(process: subprocess.Popen) -> None:
    """QEMU's two threads hand every byte of the UART over to each other, and wait meanwhile.

    On one core that takes half the time that it takes between two: .12 s a window, not .12 to .3.
    """
    if hasattr(os, "sched_setaffinity"):  # Linux
        cores = sorted(os.sched_getaffinity(0))
        with contextlib.suppress(OSError):  # it has ended, which its caller will see
            os.sched_setaffinity(process.pid, {cores[process.pid % len(cores)]})


def _wait_until_it_listens(board: boards.Board, process: subprocess.Popen, log: Path) -> str:
    """What QEMU and the firmware have said until then; the boot's lines over the UART are past."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        ended = process.poll() is not None
        text = _said(log)
        if "the device listens\n" in text:
            return text
        if ended:
            raise UserError(_ended(board, process, log))
        time.sleep(0.01)
    raise UserError(f"{board.name}: the firmware did not start in {START_SECONDS:.0f} s")


def _said(log: Path) -> str:
    """The begin and the end of what QEMU and the firmware have said so far."""
    with log.open("rb") as file:
        begin = file.read(LOG_BYTES)
        file.seek(max(LOG_BYTES, log.stat().st_size - LOG_BYTES))
        return (begin + file.read(LOG_BYTES)).decode(errors="replace")


def _ended(board: boards.Board, process: subprocess.Popen, log: Path) -> str:
    lines = _said(log).strip().splitlines()
    why = lines[-1] if lines else f"status {process.returncode}"
    return f"{board.name}: the emulator has ended: {why}"


def _serve(args: argparse.Namespace, work: Path) -> None:
    """Print where the device is, and wait."""
    board = boards.named(args.board)
    started = _started(board, args.model, work, args.tcp, args.energy)
    with started as (process, address, log):
        print(NOTE, f"device: {address}", sep="\n", flush=True)
        process.wait()
        raise UserError(_ended(board, process, log))


def _stopped(*_: int | FrameType | None) -> NoReturn:
    for number in ENDS:  # one is enough while things are put away
        signal.signal(number, signal.SIG_IGN)
    raise SystemExit(0)


def main(argv: Sequence[str] | None = None) -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path, metavar="MODEL_C_FOLDER")
    parser.add_argument("--board", default="mps2-an386", help="a row of mcu/boards; %(default)s")
    parser.add_argument("--tcp", type=int, metavar="PORT", help="0: any free one")
    parser.add_argument("--energy", action="store_true", help="the energy mode's firmware")
    args = parser.parse_args(argv)
    for number in ENDS:
        # nohup's children ignore that their terminal is closed.
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _stopped)
    with tempfile.TemporaryDirectory(prefix=f"emulated-{os.getpid()}-") as work:
        _serve(args, Path(work))


if __name__ == "__main__":
    sys.exit(cli.run(main))
