"""The tables of the front end in C: factors of the transform, mel bands, a logarithm."""

from __future__ import annotations

import re
from typing import NamedTuple

import numpy as np

import common
from asd.embedded.weights import array
from common import Feature


def tables(feature: Feature, points: int, radix: int, name: str) -> str:
    """The constant arrays of the front end in C.

    Parameters
    ----------
    points, radix : complex points of the transform, and radix of its first pass
    name : prefix of the C's macros
    """
    triples = _turns(np.arange(points // 4)[:, None] * np.arange(1, 4) / points, 2.0**29)
    split = _turns(np.arange(points // 2 + 1) / feature.n_fft, 2.0**30)
    text = array("uint16_t", "order", _order(points // radix)[::4], "{}")
    text += array("int32_t", "twiddles", triples, "TWICE({})")
    text += array("int32_t", "split", split, "TWICE({})")
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
    return array("float", name, np.array(texts, object), "{}F")


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
        return array("uint16_t", "first_bins", self.first, "{}") + array(
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
    exponents = np.array(
        [min(int(np.floor(np.log2(largest / (p.sum() or 1)))), 100) for p in parts]
    )
    weights = [np.rint(np.ldexp(p, int(e))) for p, e in zip(parts, exponents, strict=True)]
    decibels = 20 / feature.power * np.log10(2) * 65536
    # With what the integers cut off, in the mean; linear between them: 3e-5 dB off at most.
    logarithms = np.rint(np.log2(1 + np.arange(129) / 128) * 65536 + 1).astype(int)
    return (
        array("int32_t", "weights", np.concatenate(weights).astype(int), "{}")
        + array("int8_t", "exponents", exponents, "{}")
        + array("uint32_t", "logarithms", logarithms, "{}U")
        + f"#define DECIBELS {round(decibels)} /* of a factor of 2, * 65536 */\n"
        + f"#define SILENCE ({round(-52 * decibels)})\n"
    )


def logarithm(degree: int = 6) -> np.ndarray:
    """Of log2(1 + t) / t, t from sqrt(1/2) - 1 to sqrt(2) - 1, highest power first."""
    low, high = np.sqrt(0.5) - 1, np.sqrt(2) - 1
    nodes = np.cos(np.pi * (np.arange(400) + 0.5) / 400)
    t = low + (high - low) * (nodes + 1) / 2
    return np.polyfit(t, np.log2(1 + t) / t, degree).astype(np.float32)
