"""The stream as C99 beside a generated model: from a microphone's samples to an alarm.

    python -m asd.embedded.stream MODEL.tflite OUT

Writes the whole folder that a firmware needs: the model (`codegen`), the front end (`frontend`),
model_stream.h and model_stream.c. Thresholds and rule are those of the record that 02_convert.py
writes beside an int8 in/out file.
"""

from __future__ import annotations

import argparse
import hashlib
import math
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np

import common
from asd import cli
from asd.embedded import codegen, frontend
from asd.embedded.weights import array
from asd.evaluation import streaming
from asd.evaluation.streaming import Stream
from asd.tflite import reader
from common import UserError

Q12 = 4096  # of dB^2, as the stream has it
Q16 = 65536  # of dB, as the front end without float has it
OUTSIDE_DB = 6.0  # of the training clips' levels: LOW, HIGH
LARGEST_INVERSE = 2**24  # of a band's mean error, in integers


def names(name: str = "model") -> tuple[str, ...]:
    """The names of the files that `generate` gives."""
    return (*frontend.names(name), f"{name}_stream.c", f"{name}_stream.h")


def generate(content: bytes, stream: Stream, name: str = "model") -> dict[str, str]:
    """The C source of front end and stream, text by file name; the model's is `codegen`'s.

    Parameters
    ----------
    content : the int8 TFLite file
    stream : what its record says of a stream
    name : prefix of files and symbols, as that of `codegen.generate`

    Raises
    ------
    UserError : the model is not for these windows, or the front end is none that C has.
    """
    network, feature = reader.read(content), stream.feature
    if network.softmax is not None:
        raise UserError("it ends in SOFTMAX: a classifier reconstructs nothing, so has no stream")
    if not network.inputs == network.outputs == feature.vector_size:
        raise UserError(f"{network.inputs} inputs and {network.outputs} outputs, but windows of "
                        f"{feature.frames} x {feature.n_mels} values: a stream needs the "
                        "reconstruction error of the windows that it was trained on")  # fmt: skip
    check(feature)
    _check(stream)
    values = _values(network, stream, name)
    values |= {part: codegen.fill(f"stream/{part}.c.in", values) for part in ("samples", "saved")}
    for arithmetic, own in _arithmetics(network, stream, name).items():
        values[arithmetic] = codegen.fill(f"stream/{arithmetic}.c.in", values | own)
    return {
        **frontend.generate(feature, name),
        f"{name}_stream.c": codegen.fill("stream/stream.c.in", values),
        f"{name}_stream.h": codegen.fill("stream/stream.h.in", values),
    }


def check(feature: common.Feature) -> None:
    """See that C has a stream of these features; asd.monitor has it of all.

    Raises
    ------
    UserError : it has not.
    """
    frontend.check(feature)
    if feature.hop_length > feature.n_fft:
        raise UserError(f"hop_length {feature.hop_length} is more than n_fft {feature.n_fft}; "
                        "a stream's frames leave out no sample")  # fmt: skip
    if (highest := streaming.band_hz(feature).max()) >= Q16 - 1:
        raise UserError(f"mel bands up to {highest:.0f} Hz; a stream's reach 65 kHz")


def refusal(feature: common.Feature) -> str | None:
    """Why C has no stream of these features; None where it has."""
    try:
        check(feature)
    except UserError as error:
        return str(error)
    return None


def _check(stream: Stream) -> None:
    """See that a stream's numbers are such as C can have."""
    errors = np.asarray(stream.band_errors)
    if errors.shape != (stream.feature.n_mels,) or not (np.isfinite(errors) & (errors > 0)).all():
        raise UserError(f"the record has {errors.size} band errors of {stream.feature.n_mels}, "
                        "which must be above 0; run 02_convert.py again")  # fmt: skip
    if not 1 <= stream.k <= stream.n <= 32 or not stream.release <= stream.threshold:
        raise UserError(f"the record's alarm is {stream.k} of {stream.n} above {stream.threshold}, "
                        f"released at {stream.release}; at most n of n <= 32, and release at most "
                        "the threshold")  # fmt: skip


def q12(value: float) -> int:
    """dB^2 as the stream compares it."""
    return min(max(round(value * Q12), 0), 2**32 - 1)


def _values(network: reader.Network, stream: Stream, name: str) -> dict[str, object]:
    """What all templates need."""
    digest = hashlib.sha256(network.sha256.encode() + msgspec.json.encode(stream)).digest()
    return {
        "name": name, "NAME": name.upper(), "sha256": network.sha256,
        "FRAMES": stream.feature.frames, "WINDOWS": stream.windows, "STEP": stream.step,
        "K": stream.k, "N": stream.n,
        "threshold": f"{stream.threshold:.9g}", "THRESHOLD": f"{q12(stream.threshold)}U",
        "release": f"{stream.release:.9g}", "RELEASE": f"{q12(stream.release)}U",
        "band_hz": _band_hz(stream.feature, name),
        "hash": ", ".join(f"0x{word:08X}" for word in np.frombuffer(digest[:16], "<u4").tolist()),
    }  # fmt: skip


def _arithmetics(
    network: reader.Network, stream: Stream, name: str
) -> dict[str, dict[str, object]]:
    """What the templates of one arithmetic need, by its name."""
    low, high = stream.level_db[0] - OUTSIDE_DB, stream.level_db[1] + OUTSIDE_DB
    inverse = 1 / np.asarray(stream.band_errors)  # (n_mels,) float64, 1 / dB^2
    fixed = np.maximum(np.round(inverse / inverse.max() * LARGEST_INVERSE), 1).astype(np.int64)
    source = network.source
    # As the file's own QUANTIZE of floats, where it has one: see file_ends.py.
    by_factor = f"* {np.float32(1) / np.float32(source.scale.scale):.9e}F"
    return {
        "float": {
            "QUOTIENT": by_factor if source.type == "float32" else f"/ {name.upper()}_INPUT_SCALE",
            "LOWEST": f"{low:.8e}F", "HIGHEST": f"{high:.8e}F",
            "inverse": array("float", "inverse", inverse, "{:.8e}F"),
        },
        "fixed": {
            "LOWEST": f"({round(low * Q16)})", "HIGHEST": f"({round(high * Q16)})",
            "inverse": array("uint32_t", "inverse", fixed, "{}U"),
            **_integers(network),
        },
    }  # fmt: skip


def _band_hz(feature: common.Feature, name: str) -> str:
    """The middles of the mel bands, as an array of C."""
    middles = np.round(streaming.band_hz(feature)).astype(int)
    return array("uint16_t", f"{name}_stream_band_hz", middles, "{}").removeprefix("static ")


def _integers(network: reader.Network) -> dict[str, object]:
    """Scales as integers: value of the output, dB * 65536 = (q * factor + half) >> shift."""
    source, target = network.source.scale.scale, network.target.scale.scale
    # Of the input: q = level * factor / 2^(half + 1), a factor of 30 bits; of 400 dB it has 31.
    bits = 30 + math.floor(math.log2(source * Q16))
    # Of the output: 256 factors and a half of the last place stay below 2^31.
    shift = max(22 - math.floor(math.log2(target * Q16)), 1)
    factor = round(target * Q16 * 2**shift)
    if not 24 <= bits <= 62 or shift > 24 or factor * 256 >= 2**31:
        raise UserError(f"scales {source:g} and {target:g} are no scales of dB")
    return {
        "QUANTISE_FACTOR": round(2**bits / (source * Q16)), "QUANTISE_HALF": bits - 1,
        "OUTPUT_FACTOR": factor, "OUTPUT_SHIFT": shift, "OUTPUT_HALF": 2 ** (shift - 1),
    }  # fmt: skip


def write(content: bytes, stream: Stream | None, folder: Path, name: str = "model") -> list[Path]:
    """Write front end and stream into a model's folder; without a stream remove old ones."""
    if stream is None:
        for file in names(name):
            (folder / file).unlink(missing_ok=True)
        return []
    return codegen.write_texts(generate(content, stream, name), folder)


def main(argv: Sequence[str] | None = None) -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path, metavar="MODEL.tflite")
    parser.add_argument("out", type=Path, metavar="OUT", help="folder of the C files")
    parser.add_argument("--rounding", choices=tuple(codegen.ORACLES), default="single",
                        help="of the model; %(default)s")  # fmt: skip
    parser.add_argument("--name", default="model", help="prefix of files and symbols; %(default)s")
    args = parser.parse_args(argv)
    try:
        content = args.model.read_bytes()
        stream = streaming.read(args.model)
        generate(content, stream, args.name)  # what is refused is so before anything is written
        paths = codegen.write(content, args.out, args.rounding, args.name)
        paths += write(content, stream, args.out, args.name)
    except FileNotFoundError as error:
        raise UserError(f"{args.model}: no such file; run 02_convert.py") from error
    print(*paths, sep="\n")


if __name__ == "__main__":
    sys.exit(cli.run(main))
