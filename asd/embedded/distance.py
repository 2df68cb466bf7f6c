"""The selective Mahalanobis distance as C99 beside a generated model, and what it gives there.

Writes model_distance.h and model_distance.c: float32, on top of the int8 model that `codegen`
writes; for this machine and for boards with a float unit.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from asd.detectors.residuals import Mahalanobis
from asd.embedded import boards, codegen, host, weights
from common import Error, UserError

VALUES, DISTANCES = "values.bin", "distances.bin"
FIRMWARE = ("distance.c", "testing.c")
TIMEOUT_SECONDS_PER_WINDOW = 0.2


class Ran(NamedTuple):
    """What the C gave."""

    sums: np.ndarray  # (n_windows, 2) float32, of squared distances by source and target covariance
    instructions: int | None  # of a window with its inference, the most; None on this machine


def in_c(error: Error) -> Mahalanobis | None:
    """The distance that a detector's scores are made of, if C has it."""
    return error if isinstance(error, Mahalanobis) and not error.published else None


def names(name: str = "model") -> tuple[str, ...]:
    """The names of the files that `generate` gives."""
    return f"{name}_distance.c", f"{name}_distance.h"


def generate(distance: Mahalanobis, n_frames: int, name: str = "model") -> dict[str, str]:
    """The C source of a distance for windows of some frames, text by file name."""
    of_source, of_target = (_whitening(one) for one in (distance.source, distance.target))
    tables = weights.array("float", "whitening_source", of_source, "{:.9g}F")
    if np.array_equal(of_source, of_target):
        tables += "\n/* There were no target clips. */\n#define whitening_target whitening_source\n"
    else:
        tables += "\n" + weights.array("float", "whitening_target", of_target, "{:.9g}F")
    sums = [f"product_{i}" for i in range(n_frames)]
    products = [f"{one} = MULTIPLY_ADD(weight, values[{i}], {one});" for i, one in enumerate(sums)]
    values = {
        "name": name,
        "NAME": name.upper(),
        "FRAMES": n_frames,
        "MELS": len(distance.source),
        "tables": tables,
        "zeros": ", ".join(f"{one} = 0.0F" for one in sums),
        "products": "\n".join(f"{12 * ' '}{line}" for line in products),
        "squares": " + ".join(f"{one} * {one}" for one in sums),
    }
    return {
        f"{name}_distance.c": codegen.fill("distance.c.in", values),
        f"{name}_distance.h": codegen.fill("distance.h.in", values),
    }


def _whitening(inverse: np.ndarray) -> np.ndarray:
    """Of S^-1 = W' W, the lower triangle of W row by row, (n (n + 1) / 2,) float32."""
    # Cholesky's factor of the matrix turned about is an upper one of the matrix itself: its
    # transpose is the lower W.
    try:
        turned = np.linalg.cholesky(inverse[::-1, ::-1])
    except np.linalg.LinAlgError as error:
        raise UserError("the covariance of residuals is too near to having no inverse for C; "
                        "use detector.score: mse, or more training clips") from error  # fmt: skip
    lower = turned[::-1, ::-1].T
    return lower[np.tril_indices(len(lower))].astype(np.float32)


def write(distance: Mahalanobis | None, n_frames: int, folder: Path) -> list[Path]:
    """Write the C source of a distance into a model's folder; without one remove an old one."""
    if distance is None:
        for name in names():
            (folder / name).unlink(missing_ok=True)
        return []
    return codegen.write_texts(generate(distance, n_frames), folder)


def on_host(folder: Path, work: Path, values: np.ndarray) -> Ran:
    """Run it on this machine over windows, (n, inputs) float32, dB.

    Raises
    ------
    UserError : see `host.build`.
    """
    library = ctypes.CDLL(str(host.build(folder, work, sources=("model.c", "model_distance.c"))))
    n_inputs = values.shape[1]
    residual = np.empty(n_inputs, np.float32)
    buffer = np.empty(2 * n_inputs, np.int8)
    scratch = (ctypes.c_uint64 * host.SCRATCH_WORDS)()
    sums = np.empty((len(values), 2), np.float32)
    of_window = np.empty(3, np.float32)  # source, target, and an integer
    pointers = [one.ctypes.data_as(ctypes.c_void_p) for one in (of_window, residual, buffer)]
    for row, window in zip(sums, np.ascontiguousarray(values, np.float32), strict=True):
        of_window[:] = 0
        library.model_distance_add(
            pointers[0], window.ctypes.data_as(ctypes.c_void_p), *pointers[1:], scratch
        )
        row[:] = of_window[:2]
    return Ran(sums, None)


def on_board(board: boards.Board, folder: Path, work: Path, values: np.ndarray) -> Ran:
    """Run it on an emulated board over windows, (n, inputs) float32, dB.

    Raises
    ------
    UserError : see `boards.run`.
    """
    target = work / f"{board.name}_distance"
    target.mkdir(parents=True, exist_ok=True)
    main = [boards.MCU / name for name in FIRMWARE]
    of_model = (*codegen.names(), *names())
    firmware = boards.build(board, folder, target, main, files=of_model)
    values.astype(np.float32).tofile(target / VALUES)
    timeout = boards.TIMEOUT_SECONDS + TIMEOUT_SECONDS_PER_WINDOW * len(values)
    report = boards.emulate(board, target, firmware, timeout, DISTANCES)
    try:
        sums = np.fromfile(target / DISTANCES, np.float32).reshape(len(values), 2)
        return Ran(sums, int(report["instructions_max"]))
    except (ValueError, KeyError, FileNotFoundError) as error:
        raise UserError(f"{board.name}: what the firmware reports is not whole") from error


def scores(sums: np.ndarray, counts: Sequence[int], n_frames: int) -> np.ndarray:
    """The clips' scores from the sums of their windows, (n_clips,) float64.

    Parameters
    ----------
    sums : (n_windows, 2), of all clips
    counts : windows of each clip
    """
    parts = np.split(sums.astype(np.float64), np.cumsum(counts)[:-1])
    return np.array([part.sum(axis=0).min() / (len(part) * n_frames) for part in parts])
