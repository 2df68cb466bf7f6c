"""The front end as C99: from int16 samples to the log-mel frames of `common.log_mel`.

    python -m asd.embedded.frontend -c FILE.yaml OUT [--name NAME]

Writes NAME_frontend.h and NAME_frontend.c into the folder OUT, with tables of the section `feature`
of FILE.yaml.
"""

from __future__ import annotations

import argparse
import ctypes
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from asd import cli, config
from asd.embedded import boards, codegen, frontend_tables, host
from common import Feature, UserError

FIXED = "-DASD_FRONTEND_FLOAT=0"  # for the compiler: integers where there is a float unit, too
FIRMWARE = ("frontend.c", "testing.c")
SAMPLES, LEVELS = "samples.bin", "levels.bin"
TIMEOUT_SECONDS_PER_SAMPLE = 1e-3
PARTS = ("vectors", "scalar", "transform", "vectors_float", "of_float", "of_fixed")
SIZES = (256, 512, 1024, 2048, 4096)  # samples of a frame


def check(feature: Feature) -> None:
    """See that C has these features.

    Raises
    ------
    UserError : it does not.
    """
    if feature.n_fft not in SIZES:
        raise UserError(f"feature.n_fft is {feature.n_fft}; C has {', '.join(map(str, SIZES))}")
    if feature.power not in (1, 2):
        raise UserError(f"feature.power is {feature.power:g}; C has 1 and 2")


def names(name: str = "model") -> tuple[str, ...]:
    """The names of the files that `generate` gives."""
    return f"{name}_frontend.c", f"{name}_frontend.h"


def generate(feature: Feature, name: str = "model") -> dict[str, str]:
    """The C source of the front end, text by file name.

    Raises
    ------
    UserError : see `check`.
    """
    check(feature)
    codegen.check_name(name)
    points = feature.n_fft // 2
    log2_points = points.bit_length() - 1
    radix = 4 if log2_points % 2 == 0 else 8
    decibels = 20 / feature.power * np.log10(2)
    coefficients = frontend_tables.logarithm()
    log = [f"{c:.9g}F" for c in coefficients]
    values: dict[str, Any] = {
        "name": name,
        "NAME": name.upper(),
        "rate": feature.sample_rate,
        "fft": feature.n_fft,
        "hop": feature.hop_length,
        "mels": feature.n_mels,
        "power": f"{feature.power:g}",
        "bytes": 8 * points + 16,  # and the last bin, and three zeros after it
        "passes": _passes(points, radix),
        "silence": f"{decibels * -52:.1f}",
        "points": points,
        "log2_points": log2_points,
        "radix": radix,
        "log2_radix": 2 if radix == 4 else 3,
        "tables": frontend_tables.tables(feature, points, radix, name),
        "factor": f"{20 / feature.power:g}",
        "decibels": f"{decibels:.9g}F",
        "log_c0": log[0],
        "horner": "\n".join(f"    p = p * t + {c};" for c in log[1:]).replace("+ -", "- "),
        "horner_vectors": "\n".join(f"    p = vaddq_n_f32(vmulq_f32(p, t), {c});" for c in log[1:]),
    }
    for part in PARTS:
        values[part] = codegen.fill(f"frontend/{part}.c.in", values).rstrip()
    return {
        f"{name}_frontend.c": codegen.fill("frontend/frontend.c.in", values),
        f"{name}_frontend.h": codegen.fill("frontend/frontend.h.in", values),
    }


def _passes(points: int, quarter: int) -> str:
    """The calls of the passes after the first."""
    lines = []
    while quarter < points:
        lines.append(f"    pass(z, {quarter});")
        quarter *= 4
    return "\n".join(lines)


def write(feature: Feature, folder: Path, name: str = "model") -> list[Path]:
    """Write the C source of the front end into a folder; see `generate`."""
    return codegen.write_texts(generate(feature, name), folder)


class Ran(NamedTuple):
    """What the C gave on a board, and what it costs there."""

    levels: np.ndarray  # (n_frames, n_mels), float32 in dB or int32 in dB * 65536
    instructions: int  # of a frame, the most, with those of the call
    code_bytes: int
    constant_bytes: int
    work_bytes: int
    stack_bytes: int


def on_host(
    folder: Path, work: Path, feature: Feature, flags: Sequence[str] = ()
) -> Callable[[np.ndarray], np.ndarray]:
    """The front end compiled for this machine, as a function.

    Parameters
    ----------
    flags : of the compiler; with `FIXED` levels are integers

    Returns
    -------
    function (n_samples,) int16, which are not padded -> (n_frames, n_mels), float32 in dB or int32
    in dB * 65536

    Raises
    ------
    UserError : see `host.build`.
    """
    # A library of the same path would be taken for the one that is loaded.
    target = work / ("fixed" if FIXED in flags else "float")
    target.mkdir(parents=True, exist_ok=True)
    library = ctypes.CDLL(str(host.build(folder, target, flags, ["model_frontend.c"])))
    memory = (ctypes.c_uint64 * (feature.n_fft // 2 + 2))()

    def levels_of(samples: np.ndarray) -> np.ndarray:
        samples = np.ascontiguousarray(samples, np.int16)
        n_frames = 1 + (len(samples) - feature.n_fft) // feature.hop_length
        levels = np.empty((n_frames, feature.n_mels), np.int32 if FIXED in flags else np.float32)
        for t, row in enumerate(levels):
            # In two parts, at another place each time.
            start, n_first = t * feature.hop_length, t * feature.hop_length % (feature.n_fft + 1)
            first = samples.ctypes.data + 2 * start
            pointers = [ctypes.c_void_p(p) for p in (first, first + 2 * n_first, row.ctypes.data)]
            library.model_log_mel(pointers[0], n_first, *pointers[1:], memory)
        return levels

    return levels_of


def on_board(board: boards.Board, folder: Path, work: Path, samples: np.ndarray) -> Ran:
    """Run it on an emulated board over samples, int16, without padding.

    Raises
    ------
    UserError : see `boards.run`.
    """
    target = work / f"{board.name}_frontend"
    target.mkdir(parents=True, exist_ok=True)
    main = [boards.MCU / name for name in FIRMWARE]
    firmware = boards.build(board, folder, target, main, files=names())
    return emulate(board, target, firmware, samples)


def emulate(board: boards.Board, folder: Path, firmware: Path, samples: np.ndarray) -> Ran:
    """Run the firmware of `FIRMWARE` over samples, int16.

    Raises
    ------
    UserError : see `boards.run`.
    """
    samples.astype(np.int16).tofile(folder / SAMPLES)
    timeout = boards.TIMEOUT_SECONDS + TIMEOUT_SECONDS_PER_SAMPLE * len(samples)
    report = boards.emulate(board, folder, firmware, timeout, LEVELS)
    sections = boards.section_bytes(board, folder, firmware)
    try:
        levels = np.fromfile(folder / LEVELS, np.float32 if board.has_float_unit else np.int32)
        return Ran(
            levels.reshape(-1, int(report["mels"])),
            int(report["instructions_max"]),
            sections[".model_code"],
            sections[".model_constants"],
            int(report["work_bytes"]),
            int(report["stack_bytes"]),
        )
    except (ValueError, KeyError, FileNotFoundError) as error:
        raise UserError(f"{board.name}: what the firmware reports is not whole") from error


def main(argv: Sequence[str] | None = None) -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("-c", "--config", type=Path, default=config.BASELINE, metavar="FILE")
    parser.add_argument("out", type=Path, metavar="OUT", help="folder of the C files")
    parser.add_argument("--name", default="model", help="prefix of files and symbols; %(default)s")
    args = parser.parse_args(argv)
    feature = config.load_config(args.config).feature
    try:
        paths = write(feature, args.out, args.name)
    except UserError as error:
        raise UserError(f"{args.config}: {error}") from error
    print(*paths, sep="\n")


if __name__ == "__main__":
    sys.exit(cli.run(main))
