"""The front end as C99: from int16 samples to the log-mel frames of `common.log_mel`.

    python -m asd.embedded.frontend -c FILE.yaml OUT [--name NAME]

Writes NAME_frontend.h and NAME_frontend.c into the folder OUT, with tables of the section `feature`
of FILE.yaml.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

import common
from asd import cli, config, files
from asd.embedded import codegen
from common import Feature, UserError

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
    points = feature.n_fft // 2
    log2_points = points.bit_length() - 1
    radix = 4 if log2_points % 2 == 0 else 8
    decibels = 20 / feature.power * np.log10(2)
    coefficients = _logarithm()
    values = {
        "name": name,
        "NAME": name.upper(),
        "rate": feature.sample_rate,
        "fft": feature.n_fft,
        "hop": feature.hop_length,
        "mels": feature.n_mels,
        "power": f"{feature.power:g}",
        "bytes": 8 * points + 8 + 8,
        "silence": f"{decibels * -52:.1f}",
        "points": points,
        "log2_points": log2_points,
        "radix": radix,
        "tables": _tables(feature, points, radix),
        "log_c0": f"{coefficients[0]:.9g}F",
        "horner": "\n".join(f"    p = p * t + {c:.9g}F;" for c in coefficients[1:]),
        "decibels": f"{decibels:.9g}F",
    }
    values["horner"] = values["horner"].replace("+ -", "- ")
    return {
        f"{name}_frontend.c": codegen.fill("frontend/frontend.c.in", values),
        f"{name}_frontend.h": codegen.fill("frontend/frontend.h.in", values),
    }


def _logarithm(degree: int = 6) -> np.ndarray:
    """Of log2(1 + t) / t, t from sqrt(1/2) - 1 to sqrt(2) - 1, highest power first."""
    low, high = np.sqrt(0.5) - 1, np.sqrt(2) - 1
    nodes = np.cos(np.pi * (np.arange(400) + 0.5) / 400)
    t = low + (high - low) * (nodes + 1) / 2
    return np.polyfit(t, np.log2(1 + t) / t, degree).astype(np.float32)


def _tables(feature: Feature, points: int, radix: int) -> str:
    window = np.rint(common.hann(feature.n_fft)[: points + 1] * (2.0**29 if radix == 8 else 2.0**30))
    order = _order(points // radix)
    angles = 2 * np.pi * np.arange(points // 4)[:, None] * np.arange(1, 4) / points
    twiddles = 2 * np.rint(np.stack([np.cos(angles), np.sin(angles)], -1) * 2.0**29)
    angles = 2 * np.pi * np.arange(points // 2 + 1) / feature.n_fft
    split = np.rint(np.stack([np.cos(angles), np.sin(angles)], -1) * (2.0**31 - 1))
    bands, weights = _bands(feature)
    text = codegen.array("int32_t", "window", window.astype(int), "{}")
    text += codegen.array("uint16_t", "order", order, "{}")
    text += codegen.array("int32_t", "twiddles", twiddles.astype(int).reshape(-1), "{}")
    text += codegen.array("int32_t", "split", split.astype(int).reshape(-1), "{}")
    text += codegen.array("float", "weights", weights, "{:.9g}F").replace(" 0F", " 0.0F")
    rows = ", ".join(f"{{{first}, {fours}}}" for first, fours in bands)
    text += (
        "static const struct {\n    uint16_t first, fours;\n} "
        f"bands[{len(bands)}] = {{\n    {rows}}};\n"
    )
    return text


def _order(n: int) -> np.ndarray:
    """The digits to base 4 of 0 to n - 1 from behind."""
    turned = np.zeros(1, int)
    while len(turned) < n:
        turned = (turned[None, :] + np.arange(4)[:, None] * len(turned)).T.reshape(-1)
        turned = np.array([int(np.base_repr(i, 4).zfill(_digits(len(turned)))[::-1], 4)
                           for i in range(len(turned))])
    return turned


def _digits(n: int) -> int:
    return (n.bit_length() - 1) // 2


def _bands(feature: Feature) -> tuple[list[tuple[int, int]], np.ndarray]:
    """For each band its first bin and how many times four bins it weighs; and all their weights."""
    rows, weights = [], []
    for one in common.mel_filters(feature):
        used = np.flatnonzero(one)
        if not len(used):
            rows.append((0, 0))
            continue
        first, fours = int(used[0]), -(-(int(used[-1]) + 1 - int(used[0])) // 4)
        of_band = np.zeros(4 * fours, np.float32)
        some = one[first : first + 4 * fours]
        of_band[: len(some)] = some
        rows.append((first, fours))
        weights.append(of_band)
    return rows, np.concatenate(weights)


def write(feature: Feature, folder: Path, name: str = "model") -> list[Path]:
    """Write the C source of the front end into a folder; see `generate`."""
    paths = []
    for file, text in generate(feature, name).items():
        with files.whole_file(folder / file) as temporary:
            temporary.write_text(text, encoding="utf-8")
        paths.append(folder / file)
    return paths


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
