"""An int8 TFLite file as C99 source: the model on a microcontroller.

    python -m asd.embedded.codegen MODEL.tflite OUT [--rounding single|double] [--name NAME]

Writes NAME.h (the interface), NAME.c (the layers), NAME_weights.h and three kernels*.h into the
folder OUT. Any chain of fully connected int8 layers can be generated, with RELU, RELU6,
LOGISTIC, TANH or a QUANTIZE behind them; what changes types and shapes at its ends, and a SOFTMAX
there, are left to the caller, and NAME.h tells how. The result gives exactly the bytes of the
TFLite interpreter.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from asd import cli, files
from asd.embedded import file_ends, packing
from asd.tflite import reader, tables
from asd.tflite.int8 import MOST, IntDense
from common import UserError

RESERVED = "(asd|kernels.*|string|stdint|stddef|float|math|limits|arm_acle|arm_mve)$|asd_"
KERNELS = Path(__file__).resolve().parent / "c"


def generate(content: bytes, rounding: str = "single", name: str = "model") -> dict[str, str]:
    """The C source of an int8 TFLite file.

    Parameters
    ----------
    content : the flatbuffer
    rounding : "single" for the bytes of LiteRT's default kernels, "double" for TFLite Micro's
    name : prefix of files and symbols, a C identifier

    Returns
    -------
    text by file name

    Raises
    ------
    UserError : see `reader.read`, `tables.of`; or a name that C cannot have.
    """
    check_name(name)
    network = reader.read(content)
    if network.unsigned and rounding == "double":
        raise UserError("uint8 weights, which TFLite Micro does not run; --rounding single")
    # The header last: its hash says that what it stands beside is whole.
    return {
        **{path.name: path.read_text(encoding="utf-8") for path in sorted(KERNELS.glob("*.h"))},
        f"{name}_weights.h": _weights(network, rounding),
        f"{name}.c": _source(network, rounding, name),
        f"{name}.h": _header(network, rounding, name),
    }


def check_name(name: str) -> None:
    """See that files and symbols can have a name.

    Raises
    ------
    UserError : they cannot.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or re.match(RESERVED, name):
        raise UserError(
            f"--name {name}: a name in C of lower-case letters, digits and _, which is not one of "
            "the kernels' or of a standard header"
        )


def names(name: str = "model") -> tuple[str, ...]:
    """The names of the files that `generate` gives, in its order."""
    kernels = (path.name for path in sorted(KERNELS.glob("*.h")))
    return (*kernels, f"{name}_weights.h", f"{name}.c", f"{name}.h")


def write(
    content: bytes, folder: Path, rounding: str = "single", name: str = "model"
) -> list[Path]:
    """Write the C source of an int8 TFLite file into a folder; see `generate`."""
    paths = []
    for file, text in generate(content, rounding, name).items():
        with files.whole_file(folder / file) as temporary:
            temporary.write_text(text, encoding="utf-8")
        paths.append(folder / file)
    return paths


def _width(network: reader.Network) -> int:
    """Bytes of a hidden vector, rounded up to 8."""
    widths = [len(layer.weights) for layer in network.layers[:-1]]
    widths += [network.inputs] if network.before else []
    return -(-max(widths, default=0) // 8) * 8


def _expanded(network: reader.Network) -> int:
    """Bytes that ASD_DSP expands a layer's input to: eight for four columns."""
    return max(2 * (-(-layer.weights.shape[1] // 8) * 8) for layer in network.layers)


ORACLES = {
    "single": "LiteRT's default kernels (one rounding, of the float32 product)",
    "double": "TFLite Micro and CMSIS-NN (two roundings, in integers)",
}


def _header(network: reader.Network, rounding: str, name: str) -> str:
    source, target = network.source.scale, network.target.scale
    macs = sum(layer.weights.size for layer in network.layers)
    upper, width = name.upper(), _width(network)
    values = {
        "name": name, "NAME": upper, "inputs": network.inputs, "outputs": network.outputs,
        "macs": f"{macs:,}", "layers": len(network.layers), "sha256": network.sha256,
        "oracle": ORACLES[rounding], "rounding": rounding,
        "input_scale": _float(source.scale), "input_zero": source.zero_point,
        "output_scale": _float(target.scale), "output_zero": target.zero_point,
        "hidden": 2 * width, "scratch": max(2 * width, 8), "expanded": _expanded(network),
        **file_ends.values(network, rounding, upper),
    }  # fmt: skip
    return fill("model.h.in", values)


def fill(template: str, values: dict[str, Any]) -> str:
    """A template of c/ with its @names@ replaced."""
    text = (KERNELS / template).read_text(encoding="utf-8")
    return re.sub(r"@(\w+)@", lambda match: str(values[match[1]]), text)


def _float(value: float) -> str:
    text = f"{value:.9g}"
    return f"{text}F" if re.search("[.e]", text) else f"{text}.0F"


def _source(network: reader.Network, rounding: str, name: str) -> str:
    afters = [tables.after(layer, rounding) for layer in network.layers]
    steps = bool(network.before) or any(one.table is not None or one.high < MOST for one in afters)
    rows = []
    if network.before:
        n = network.inputs
        kinds = ", ".join(step.kind for step in network.before)
        rows.append(
            f"    /* {kinds} */\n    {{0, 0, 0, 0, {n}, {n}, 0, 0, 0, 0, table_first, {MOST}}},"
        )
    for i, (layer, after) in enumerate(zip(network.layers, afters, strict=True)):
        rows.append(_row(i, layer, after, rounding, steps))
    values = {
        "name": name,
        "NAME": name.upper(),
        "double": int(rounding == "double"),
        "rows": "\n".join(rows),
        "all_packed": " && ".join(f"PACKED_{i}" for i in range(len(network.layers))),
        "steps": 2 if network.before else int(steps),
        "fields": ",\n     * table, most" if steps else "",
        "entries": len(rows),
        "width": _width(network),
        "sha256": network.sha256,
        **file_ends.values(network, rounding, name.upper()),
    }
    return fill("model.c.in", values)


def _row(i: int, layer: IntDense, after: tables.After, rounding: str, steps: bool) -> str:
    """What C has of a layer; its table and clamp where some layer has one."""
    n_outputs, n_inputs = layer.weights.shape
    per_channel = len(layer.weight_scales) > 1
    relu = "ReLU" if layer.relu else f"clamp to {layer.limits}" if layer.limits else "linear"
    kinds = ", ".join([relu, *(step.kind for step in layer.after)])
    comment = (
        f"{n_inputs} -> {n_outputs}, {kinds}, {'per channel' if per_channel else 'per tensor'}; "
        f"y = {layer.result.scale:.6g} * (q - {layer.result.zero_point})"
    )
    shift = f"shift_{i}" if rounding == "double" else "0"
    fields = (
        f"weights_{i}, bias_{i}, scale_{i}, {shift}, {n_inputs}, {n_outputs}, "
        f"{layer.output.zero_point}, {after.low}, {int(per_channel)}, PACKED_{i}"
    )
    if steps:
        fields += f", {'0' if after.table is None else f'table_{i}'}, {after.high}"
    return f"    /* {comment} */\n    {{{fields}}},"


def _weights(network: reader.Network, rounding: str) -> str:
    parts = [
        "/* Weights as the kernels read them, biases in their units, and the factors from acc to\n"
        " * the output. Included by the generated model only.\n"
        f" * TFLite file: SHA-256 {network.sha256} */\n"
    ]
    if network.before:
        parts.append(_table("table_first", tables.composed(network.before, rounding)))
    for i, layer in enumerate(network.layers):
        parts.append(f"\n/* layer {i} */\n")
        branch = "#if"
        for kernel, pack in packing.PACKINGS.items():
            packed = pack(layer)
            if packed is not None:
                parts.append(f"{branch} ASD_KERNEL == {kernel}\n{_arrays(i, packed)}")
                branch = "#elif"
        plain = _arrays(i, packing.pack_plain(layer))
        parts.append(f"#else\n{plain}#endif\n" if branch == "#elif" else plain)
        if rounding == "double":
            q, shift = layer.multipliers()
            parts.append(array("uint32_t", f"scale_{i}", q, "{}U"))
            parts.append(array("int8_t", f"shift_{i}", shift, "{}"))
        else:
            bits = layer.scales.astype(np.float32).view(np.uint32)
            parts.append(array("uint32_t", f"scale_{i}", bits, "0x{:08X}"))
        table = tables.after(layer, rounding).table
        if table is not None:
            parts.append(_table(f"table_{i}", table))
    return "".join(parts)


def _arrays(i: int, packed: packing.Packed) -> str:
    words = packed.weights.dtype != np.int8
    kind, pattern = ("uint32_t", "0x{:08X}") if words else ("int8_t", "{}")
    return (
        f"#define PACKED_{i} {int(packed.packed)}\n"
        + array(kind, f"weights_{i}", packed.weights, pattern)
        + array("int32_t", f"bias_{i}", packed.bias, "{}")
    )


def _table(name: str, values: np.ndarray) -> str:
    """A table for bytes from -128 to 127, as C has it for bytes seen as uint8."""
    return array("int8_t", name, np.roll(values, len(values) // 2), "{}")


def array(kind: str, name: str, values: np.ndarray, pattern: str) -> str:
    """A constant array of C; `pattern` formats a value."""
    # The most negative int32 is no literal in C.
    texts = ["(-2147483647 - 1)" if v == -(2**31) else pattern.format(v) for v in values.tolist()]
    lines = "".join(f"    {line}\n" for line in _lines(texts))
    return f"static const {kind} {name}[{len(values)}] = {{\n{lines}}};\n"


def _lines(texts: list[str], columns: int = 94) -> Iterator[str]:
    line = ""
    for text in texts:
        if len(line) + len(text) + 2 > columns:
            yield line.rstrip()
            line = ""
        line += f"{text}, "
    yield line.rstrip()


def main(argv: Sequence[str] | None = None) -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path, metavar="MODEL.tflite")
    parser.add_argument("out", type=Path, metavar="OUT", help="folder of the C files")
    parser.add_argument("--rounding", choices=tuple(ORACLES), default="single", help="%(default)s")
    parser.add_argument("--name", default="model", help="prefix of files and symbols; %(default)s")
    args = parser.parse_args(argv)
    try:
        paths = write(args.model.read_bytes(), args.out, args.rounding, args.name)
    except UserError as error:
        raise UserError(f"{args.model}: {error}") from error
    print(*paths, sep="\n")


if __name__ == "__main__":
    sys.exit(cli.run(main))
