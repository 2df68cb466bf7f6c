"""The front end as C99: from int16 samples to the log-mel frames of `common.log_mel`.

    python -m asd.embedded.frontend -c FILE.yaml OUT [--name NAME]

Writes NAME_frontend.h and NAME_frontend.c into the folder OUT, with tables of the section `feature`
of FILE.yaml.
"""

from __future__ import annotations

import argparse
import ctypes
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import common
from asd import cli, config, files
from asd.embedded import boards, codegen, host
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
    coefficients = _logarithm()
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
        "tables": _tables(feature, points, radix, name),
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


def _logarithm(degree: int = 6) -> np.ndarray:
    """Of log2(1 + t) / t, t from sqrt(1/2) - 1 to sqrt(2) - 1, highest power first."""
    low, high = np.sqrt(0.5) - 1, np.sqrt(2) - 1
    nodes = np.cos(np.pi * (np.arange(400) + 0.5) / 400)
    t = low + (high - low) * (nodes + 1) / 2
    return np.polyfit(t, np.log2(1 + t) / t, degree).astype(np.float32)


def _tables(feature: Feature, points: int, radix: int, name: str) -> str:
    triples = _turns(np.arange(points // 4)[:, None] * np.arange(1, 4) / points, 2.0**29)
    split = _turns(np.arange(points // 2 + 1) / feature.n_fft, 2.0**30)
    text = codegen.array("uint16_t", "order", _order(points // radix)[::4], "{}")
    text += codegen.array("int32_t", "twiddles", triples, "TWICE({})")
    text += codegen.array("int32_t", "split", split, "TWICE({})")
    mel = bands(feature, 4)
    exact = bands(feature, 1)
    return (
        text
        + f"\n#if {name.upper()}_FRONTEND_FLOAT\n"
        + mel.arrays()
        + floats("weights", mel.weights)
        + "#else\n"
        + exact.arrays()
        + _integers(exact, feature)
        + "#endif\n"
    )


def _turns(turns: np.ndarray, unit: float) -> np.ndarray:
    """Cosine and sine of angles in turns, one after the other, (2 n,) int."""
    pairs = np.stack([np.cos(2 * np.pi * turns), np.sin(2 * np.pi * turns)], -1).reshape(-1)
    return np.minimum(np.rint(pairs * unit), 2**30 - 1).astype(int)  # twice it has 32 bits


def floats(name: str, values: np.ndarray) -> str:
    """A constant array of C of float32 values."""
    texts = [f"{value:.9g}" for value in values.tolist()]
    texts = [text if re.search("[.e]", text) else f"{text}.0" for text in texts]
    return codegen.array("float", name, np.array(texts, object), "{}F")


def _order(n: int) -> np.ndarray:
    """0 to n - 1, a power of 4, each with its digits to base 4 from behind."""
    turned = np.zeros(1, int)
    while len(turned) < n:
        turned = (4 * turned + np.arange(4)[:, None]).reshape(-1)
    return turned


class Mel(NamedTuple):
    """The weights of all bands one after the other, without their zeros."""

    first: np.ndarray  # (n_mels,) int, first bin of each band
    counts: np.ndarray  # (n_mels,) int, of its weights, in units of as many as stand together
    weights: np.ndarray  # (sum of counts x unit,) float32

    def arrays(self) -> str:
        """First bins and counts in C."""
        kind = "uint8_t" if self.counts.max() < 256 else "uint16_t"
        return codegen.array("uint16_t", "first_bins", self.first, "{}") + codegen.array(
            kind, "counts", self.counts, "{}"
        )


def bands(feature: Feature, unit: int) -> Mel:
    """The bands, each with zeros at its end where its weights are no multiple of the unit.

    An empty band has a unit of zeros; and of units there are empty bands to a multiple of them.
    """
    first, counts, weights = [], [], []
    filters = common.mel_filters(feature)
    for one in np.pad(filters, [(0, -len(filters) % unit), (0, 0)]):
        used = np.flatnonzero(one)
        start, n = (int(used[0]), int(used[-1]) + 1 - int(used[0])) if len(used) else (0, 1)
        first.append(start)
        counts.append(-(-n // unit))
        weights.append(np.pad(one[start : start + n], (0, -n % unit)))
    return Mel(np.array(first), np.array(counts), np.concatenate(weights))


def _integers(mel: Mel, feature: Feature) -> str:
    """The weights of each band times a power of two, so that their sum has 31 bits; logarithms."""
    parts = np.split(mel.weights.astype(np.float64), np.cumsum(mel.counts)[:-1])
    largest = 2.0**31 - feature.n_fft  # with what rounding can add
    exponents = np.array([int(np.floor(np.log2(largest / (p.sum() or 1)))) for p in parts])
    weights = [np.rint(np.ldexp(p, int(e))) for p, e in zip(parts, exponents, strict=True)]
    decibels = 20 / feature.power * np.log10(2) * 65536
    logarithms = np.rint(np.log2(1 + np.arange(33) / 32) * 65536).astype(int)
    return (
        codegen.array("int32_t", "weights", np.concatenate(weights).astype(int), "{}")
        + codegen.array("int8_t", "exponents", exponents, "{}")
        + codegen.array("uint32_t", "logarithms", logarithms, "{}U")
        + f"#define DECIBELS {round(decibels)} /* of a factor of 2, * 65536 */\n"
        + f"#define SILENCE ({round(-52 * decibels)})\n"
    )


def write(feature: Feature, folder: Path, name: str = "model") -> list[Path]:
    """Write the C source of the front end into a folder; see `generate`."""
    paths = []
    for file, text in generate(feature, name).items():
        with files.whole_file(folder / file) as temporary:
            temporary.write_text(text, encoding="utf-8")
        paths.append(folder / file)
    return paths


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
    print(*write(config.load_config(args.config).feature, args.out, args.name), sep="\n")


if __name__ == "__main__":
    sys.exit(cli.run(main))
