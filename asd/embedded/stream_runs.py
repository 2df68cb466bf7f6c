"""A generated stream on this machine and on emulated boards: what it gives for samples."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from asd.embedded import boards, codegen, host, stream
from common import UserError

# model_stream_result, as every core of ours lays it out.
RESULT = np.dtype([
    ("sum", "<u8"), ("windows", "<u4"), ("frame", "<u4"), ("error", "<u4"), ("level", "<i4"),
    ("worst", "<u2"), ("flags", "u1"), ("decision", "u1"), ("above", "u1"), ("alarm", "u1"),
    ("unused", "V2"),
])  # fmt: skip
LOW, HIGH, CLIPPED, SILENT, GAP = 1, 2, 4, 8, 16  # flags
SOURCES = ("model.c", "model_frontend.c", "model_stream.c")
LONGEST = 700  # samples pushed at once
REPORT = ("instructions_max", "instructions_min", "push_instructions", "stream_bytes",
          "work_bytes", "stack_bytes")  # fmt: skip
SAMPLES, RESULTS = "samples.bin", "results.bin"
FIRMWARE = ("stream.c", "testing.c")
TIMEOUT_SECONDS_PER_HOP = 0.2


class Ran(NamedTuple):
    """What a stream gave, and what it costs on a board."""

    results: np.ndarray  # (n_hops,) RESULT
    instructions: int | None = None  # of a hop, the most; None on this machine
    instructions_min: int | None = None  # of a hop with a window
    push_instructions: int | None = None  # of a push of 61 samples, the most
    stream_bytes: int | None = None
    work_bytes: int | None = None
    stack_bytes: int | None = None  # high-water mark of push and poll
    flash_bytes: int | None = None  # code and constants as linked, without the C library

    @property
    def ram(self) -> int | None:
        """Bytes of it all: stream, work memory, stack."""
        parts = self.stream_bytes, self.work_bytes, self.stack_bytes
        return None if None in parts else sum(parts)


def scores(results: np.ndarray) -> np.ndarray:
    """dB^2, (n,) float64; not a number before the first window."""
    with np.errstate(invalid="ignore"):
        return results["sum"] / (stream.Q12 * results["windows"].astype(np.float64))


class Library:
    """A stream compiled for this machine.

    Parameters
    ----------
    folder : of the generated source, named `model`
    work : where the library is written
    flags : for the compiler; -DASD_FRONTEND_FLOAT=0 for the arithmetic of cores without float

    Raises
    ------
    UserError : see `host.build`.
    """

    def __init__(self, folder: Path, work: Path, flags: Sequence[str] = ()) -> None:
        sources = (str(codegen.KERNELS / "stream" / "run.c"), *SOURCES)
        self.c = ctypes.CDLL(str(host.build(folder, work, [f"-I{folder}", *flags], sources)))

    def run(
        self,
        samples: np.ndarray,
        longest: int = LONGEST,
        anew: bool = True,
        inputs: np.ndarray | None = None,
    ) -> np.ndarray:
        """Push samples in pieces and poll.

        Parameters
        ----------
        samples : (n,) int16
        longest : samples of a piece, at most
        anew : from the stream's start; or going on
        inputs : (n_hops, n_mels) int8, to be filled with what each frame gives the model

        Returns
        -------
        (n_hops,) RESULT
        """
        samples = np.ascontiguousarray(samples, np.int16)
        results = np.zeros(len(samples) + 2, RESULT)
        arrays = (samples, results, inputs)
        given = [None if one is None else one.ctypes.data_as(ctypes.c_void_p) for one in arrays]
        how = len(samples), longest, int(anew)
        return results[: self.c.stream_run(given[0], *how, *given[1:])].copy()


def on_host(folder: Path, work: Path, samples: np.ndarray, floats: bool = True) -> Ran:
    """Run a stream on this machine over samples, (n,) int16, in one arithmetic or the other.

    Raises
    ------
    UserError : see `host.build`.
    """
    target = work / f"stream_{'float' if floats else 'fixed'}"
    target.mkdir(parents=True, exist_ok=True)
    return Ran(Library(folder, target, [f"-DASD_FRONTEND_FLOAT={int(floats)}"]).run(samples))


def on_board(board: boards.Board, folder: Path, work: Path, samples: np.ndarray) -> Ran:
    """Run a stream on an emulated board over samples, (n,) int16.

    Raises
    ------
    UserError : see `boards.run`.
    """
    target = work / f"{board.name}_stream"
    target.mkdir(parents=True, exist_ok=True)
    main = [boards.MCU / name for name in FIRMWARE]
    of_model = (*codegen.names(), *stream.names())
    firmware = boards.build(board, folder, target, main, files=of_model)
    np.ascontiguousarray(samples, "<i2").tofile(target / SAMPLES)
    timeout = boards.TIMEOUT_SECONDS + TIMEOUT_SECONDS_PER_HOP * len(samples) / 100
    report = boards.emulate(board, target, firmware, timeout, RESULTS)
    try:
        results = np.fromfile(target / RESULTS, RESULT)
        figures = (int(report[key]) for key in REPORT)
        sections = boards.section_bytes(board, target, firmware)
        return Ran(results, *figures, sections[".model_code"] + sections[".model_constants"])
    except (ValueError, KeyError, FileNotFoundError) as error:
        raise UserError(f"{board.name}: what the firmware reports is not whole") from error
