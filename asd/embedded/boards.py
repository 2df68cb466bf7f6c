"""Emulated microcontroller boards: build the test firmware around a generated model, run it.

The boards are the rows of mcu/boards/; make and this module read the same files.
"""

from __future__ import annotations

import argparse
import functools
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from asd.embedded import processes
from common import HERE, UserError

MCU = HERE / "mcu"
# More than a model of ten times ad01's size needs on a slow machine, so only a hang exceeds it.
TIMEOUT_SECONDS, TIMEOUT_SECONDS_PER_WINDOW = 60.0, 0.1
KEYS = ("CORE", "PACKAGES", "QEMU", "CROSS", "ARCH", "CPUFLAGS", "FLASH", "FLASH_BYTES", "RAM",
        "RAM_BYTES", "COUNTER", "COUNTER_NS", "ICOUNT_SHIFT")  # fmt: skip
LARGEST_SHIFT = 10  # that QEMU takes


@dataclass(frozen=True)
class Board:
    """A row of mcu/boards/: what is needed beside make."""

    name: str
    core: str
    packages: tuple[str, ...]  # of Debian
    qemu: tuple[str, ...]  # command and machine
    cross: str  # prefix of the compiler's tools
    cpu_flags: tuple[str, ...]  # of the compiler
    icount_shift: int  # an instruction takes 2^icount_shift ns of the emulated time
    uart: str | None  # its address; None where firmware cannot speak to the host by one

    @property
    def has_float_unit(self) -> bool:  # as the compiler is told
        return "-mfloat-abi=hard" in self.cpu_flags


@dataclass(frozen=True)
class BoardRun:
    """What the firmware gave and what the model costs there."""

    outputs: np.ndarray  # (n, outputs) int8
    kernel: str
    instructions: int  # of one inference, the most over the windows
    instructions_min: int
    code_bytes: int  # of the model and its kernels as linked, without the C library
    constant_bytes: int  # the same
    scratch_bytes: int
    stack_bytes: int  # high-water mark of model_run alone


def read_boards(folder: Path) -> tuple[Board, ...]:
    """Boards of a folder of rows, by name; none where there is no such folder.

    Raises
    ------
    UserError : a row is not text, lacks a key or its value, or has a wrong one.
    """
    return tuple(_read_row(path) for path in sorted(folder.glob("*.mk")))


def _read_row(path: Path) -> Board:
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not text in UTF-8; mend or remove it") from error
    row = dict(re.findall(r"^(\w+)[ \t]*=[ \t]*(.*?)[ \t]*$", text, re.MULTILINE))
    # Where there is a UART, its firmware needs the interrupt.
    for key in (*KEYS, *(["UART", "UART_IRQ"] if "UART" in row else [])):
        if key not in row:
            raise UserError(f"{path}: the key {key} is missing; mcu/README.md tells what it is")
        if not row[key] or not row[key].isprintable():
            what = f"is {row[key]!r}" if row[key] else "has no value"
            raise UserError(f"{path}: {key} {what}; mcu/README.md tells what it is")
    shift = row["ICOUNT_SHIFT"]
    if not re.fullmatch(r"[0-9]{1,2}", shift) or int(shift) > LARGEST_SHIFT:
        raise UserError(
            f"{path}: ICOUNT_SHIFT is {shift}; a whole number from 0 to {LARGEST_SHIFT}"
        )
    return Board(
        name=path.stem,
        core=row["CORE"],
        packages=tuple(row["PACKAGES"].split()),
        qemu=tuple(row["QEMU"].split()),
        cross=row["CROSS"],
        cpu_flags=tuple(row["CPUFLAGS"].split()),
        icount_shift=int(shift),
        uart=row.get("UART"),
    )


@functools.cache
def all_boards() -> tuple[Board, ...]:
    """The rows of mcu/boards/, by name; none where mcu/ is missing."""
    return read_boards(MCU / "boards")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of 03_tflite_test.py; the other scripts take and ignore them."""
    parser.add_argument(
        "--boards", nargs="+", default=[], metavar="NAME",
        help="03_tflite_test.py: emulated boards, or all, or none; those whose "
        "tools are installed without it",
    )  # fmt: skip
    parser.add_argument(
        "--all-windows", action="store_true",
        help="03_tflite_test.py: compare C code and boards on every test clip, not on a sample",
    )  # fmt: skip


def named(name: str) -> Board:
    """The board of that name.

    Raises
    ------
    UserError : there is none.
    """
    for board in all_boards():
        if board.name == name:
            return board
    known = ", ".join(board.name for board in all_boards()) or f"none, as {MCU} is missing"
    raise UserError(f"{name}: no such board; known: {known}")


def missing(board: Board) -> str | None:
    """What is not installed for a board, with the command that installs it; None if nothing."""
    if not (MCU / "Makefile").is_file():
        return f"{board.name}: {MCU} is missing; restore the folder to use boards"
    compiler = f"{board.cross}gcc"
    absent = [tool for tool in ("make", compiler, board.qemu[0]) if shutil.which(tool) is None]
    packages = [*(["make"] if "make" in absent else []), *board.packages]
    if compiler not in absent and not _has_c_library(board):
        absent.append(f"the C library of {compiler}")
    if not absent:
        return None
    return f"{board.name}: {' and '.join(absent)} not found; sudo apt install {' '.join(packages)}"


def _has_c_library(board: Board) -> bool:
    preprocess = [f"{board.cross}gcc", *board.cpu_flags, "-E", "-include", "string.h", "-xc"]
    return processes.call([*preprocess, os.devnull]).returncode == 0


def run(
    board: Board,
    model_folder: Path,
    windows: np.ndarray,
    work: Path,
    timeout_seconds: float | None = None,
    files: Sequence[str] = (),
) -> BoardRun:
    """Build the firmware with a generated model and run it over the windows in QEMU.

    Parameters
    ----------
    board : one for which nothing is `missing`
    model_folder : holds the generated files; see `build`
    windows : (n, inputs) int8, n at least 1
    work : `<work>/<board>/` is written: firmware, input, output, report
    timeout_seconds : for the run; without it a minute and 0.1 s for each window
    files : see `build`

    Raises
    ------
    UserError : the firmware cannot be built, fails, hangs, or takes windows of another size.
    """
    if windows.ndim != 2 or windows.dtype != np.int8 or not windows.size:
        raise ValueError(f"windows of shape {windows.shape}, {windows.dtype}; (n, inputs) int8")
    folder = work / board.name
    folder.mkdir(parents=True, exist_ok=True)
    firmware = build(board, model_folder, folder, files=files)
    windows.tofile(folder / "input.bin")
    timeout = timeout_seconds or TIMEOUT_SECONDS + TIMEOUT_SECONDS_PER_WINDOW * len(windows)
    try:
        report = emulate(board, folder, firmware, timeout, "output.bin")
        n_inputs, n_outputs = int(report["inputs"]), int(report["outputs"])
        if n_inputs != windows.shape[1]:
            raise UserError(
                f"{board.name}: the model of {model_folder} takes windows of {n_inputs} values, "
                f"these have {windows.shape[1]}"
            )
        outputs = np.fromfile(folder / "output.bin", np.int8).reshape(len(windows), n_outputs)
        return _board_run(outputs, report, section_bytes(board, folder, firmware))
    except (ValueError, KeyError, FileNotFoundError) as error:
        raise UserError(f"{board.name}: what the firmware reports is not whole") from error


def _board_run(outputs: np.ndarray, report: dict[str, str], sections: dict[str, int]) -> BoardRun:
    return BoardRun(
        outputs=outputs,
        kernel=report["kernel"],
        instructions=int(report["instructions_max"]),
        instructions_min=int(report["instructions_min"]),
        code_bytes=sections.get(".model_code", 0),
        constant_bytes=sections.get(".model_constants", 0),
        scratch_bytes=int(report["scratch_bytes"]),
        stack_bytes=int(report["stack_bytes"]),
    )


def build(
    board: Board,
    model_folder: Path,
    folder: Path,
    main: Sequence[Path] = (),
    defines: Sequence[str] = (),
    files: Sequence[str] = (),
) -> Path:
    """Make the test firmware, or another one, around a generated model.

    Parameters
    ----------
    board : one for which nothing is `missing`
    model_folder : holds the generated files
    folder : an existing one, to build in: `<folder>/build/` is written anew
    main : C files of one folder, in place of those of the test firmware
    defines : options of the preprocessor for them, as -DNAME=1
    files : names of the model's files, without them those that codegen writes; the C files and
        model.h must be there, and what else lies in its folder is neither compiled nor included

    Returns
    -------
    the firmware's path below `folder`

    Raises
    ------
    UserError : it cannot be built.
    """
    from asd.embedded import codegen  # takes longer than the help of a script may

    shutil.rmtree(folder / "build", ignore_errors=True)
    _copy(model_folder, files or codegen.names(), folder / "build" / "model")
    # Make cannot read paths with spaces: it sees names of `folder` only.
    for name, target in ({"mcu": MCU} | ({"main": main[0].parent} if main else {})).items():
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to(target.resolve(), target_is_directory=True)
    # Always anew: the model may be another than the last time, with older files.
    command = ["make", "--always-make", f"--jobs={os.cpu_count()}", "-f", "mcu/Makefile"]
    command += [f"BOARD={board.name}", "MODEL=build/model", "BUILD=build"]
    if main:
        sources = [*(f"main/{path.name}" for path in main), "mcu/semihosting.c"]
        command += [f"MAIN={' '.join(sources)}"]
    done = processes.call([*command, f"DEFINES={' '.join(defines)}"], folder)
    if done.returncode:
        raise UserError(f"{board.name}: not built: {_first_error(done.stdout)}")
    return Path("build", "firmware.elf")


def _copy(source: Path, names: Sequence[str], target: Path) -> None:
    """Copy those of the named files that are there; the model's C files and model.h must be."""
    target.mkdir(parents=True)
    for name in reversed(names):  # the header first
        if (source / name).is_file():
            shutil.copyfile(source / name, target / name)
        elif name.endswith(".c") or name == "model.h":
            raise UserError(
                f"{source}: no {name} in it; write it with python -m asd.embedded.codegen"
            )


def _first_error(output: str) -> str:
    lines = output.strip().splitlines() or ["make failed without a word"]
    wrong = re.compile(r"error:|undefined reference|overflow|is left for the stack|\*\*\*")
    line = next((line for line in lines if wrong.search(line)), lines[-1])
    return re.sub(r"^\S*/", "", line)  # the long path of the linker, or the short one of a source


def emulate(board: Board, folder: Path, firmware: Path, timeout: float, output: str) -> dict:
    """Run a firmware that writes the file `output` and a report; the report. Errors: see `run`."""
    for name in (output, "report.txt"):
        (folder / name).unlink(missing_ok=True)
    command = [*board.qemu, "-kernel", str(firmware), "-icount", f"shift={board.icount_shift}"]
    command += ["-semihosting-config", "enable=on,target=native"]
    command += ["-display", "none", "-monitor", "none", "-serial", "none"]
    try:
        done = processes.call(command, folder, timeout)
    except subprocess.TimeoutExpired as error:
        raise UserError(f"{board.name}: the firmware did not end in {timeout:.0f} s") from error
    if done.returncode:
        lines = done.stdout.split("\n\n")[0].strip().splitlines()
        why = lines[-1] if lines else f"{board.qemu[0]} ended with status {done.returncode}"
        raise UserError(f"{board.name}: {why}")
    return dict(line.split() for line in (folder / "report.txt").read_text().splitlines())


def section_bytes(board: Board, folder: Path, firmware: Path) -> dict[str, int]:
    """Sizes by section; board.ld gives the model's objects sections of their own."""
    listing = processes.call([f"{board.cross}size", "-A", str(firmware)], folder).stdout
    return {name: int(size) for name, size in re.findall(r"^(\.\S+) +(\d+)", listing, re.M)}
