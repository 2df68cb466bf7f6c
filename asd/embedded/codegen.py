"""An int8 TFLite file as C99 source: the model on a microcontroller.

    python -m asd.embedded.codegen MODEL.tflite OUT [--rounding single|double] [--name NAME]

Writes NAME.h (the interface), NAME.c (the layers), NAME_weights.h and the kernels (kernels*.h) into
the folder OUT. Any chain of fully connected int8 layers can be generated, with RELU, RELU6,
LOGISTIC, TANH or a QUANTIZE behind them; what changes types and shapes at its ends, and a SOFTMAX
there, are left to the caller, and NAME.h tells how. The result gives exactly the bytes of the
TFLite interpreter.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from asd import cli, files
from asd.embedded import file_ends, pairs, weights
from asd.tflite import reader
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
    plan = weights.Plan(network, rounding)
    # The header last: its hash says that what it stands beside is whole.
    return {
        **{path.name: path.read_text(encoding="utf-8") for path in sorted(KERNELS.glob("*.h"))},
        f"{name}_weights.h": plan.text(),
        f"{name}.c": _source(network, plan, name),
        f"{name}.h": _header(network, plan, name),
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
    return write_texts(generate(content, rounding, name), folder)


def write_texts(texts: dict[str, str], folder: Path) -> list[Path]:
    """Write texts by file name into a folder."""
    for file, text in texts.items():
        with files.whole_file(folder / file) as temporary:
            temporary.write_text(text, encoding="utf-8")
    return [folder / file for file in texts]


def _width(network: reader.Network) -> int:
    """Bytes of a hidden vector, rounded up to 8."""
    widths = [len(layer.weights) for layer in network.layers[:-1]]
    widths += [network.inputs] if network.before else []
    return -(-max(widths, default=0) // 8) * 8


def _expanded(network: reader.Network) -> int:
    """Bytes that ASD_DSP expands a layer's input to: eight for four columns."""
    return max(2 * (-(-layer.weights.shape[1] // 8) * 8) for layer in network.layers)


def _groups(network: reader.Network) -> tuple[int, int]:
    """Bytes that ASD_PAIRS needs for a layer: a word for each group; and for each column, too."""
    groups, words = [], []
    for layer in network.layers:
        group = pairs.columns_of_group(layer)
        groups.append(-(-layer.weights.shape[1] // group))
        words.append((group + 1) * groups[-1])
    return 4 * max(groups), 4 * max(words)


ORACLES = {
    "single": "LiteRT's default kernels (one rounding, of the float32 product)",
    "double": "TFLite Micro and CMSIS-NN (two roundings, in integers)",
}


def _header(network: reader.Network, plan: weights.Plan, name: str) -> str:
    source, target = network.source.scale, network.target.scale
    macs = sum(layer.weights.size for layer in network.layers)
    upper, width = name.upper(), _width(network)
    groups, grouped = _groups(network)
    values = {
        "name": name, "NAME": upper, "inputs": network.inputs, "outputs": network.outputs,
        "macs": f"{macs:,}", "layers": len(network.layers), "sha256": network.sha256,
        "oracle": ORACLES[plan.rounding], "rounding": plan.rounding,
        "input_scale": _float(source.scale), "input_zero": source.zero_point,
        "output_scale": _float(target.scale), "output_zero": target.zero_point,
        "hidden": 2 * width, "scratch": max(2 * width, 8), "expanded": _expanded(network),
        "groups": groups, "grouped": grouped,
        "dsp": plan.dsp_name(), "in_pairs": int(plan.pairs), "rv32": plan.rv32(),
        "kernels": "\n".join(f" *   {line}" for line in plan.comments()),
        **file_ends.values(network, plan.rounding, upper),
    }  # fmt: skip
    return fill("model.h.in", values)


def fill(template: str, values: dict[str, Any]) -> str:
    """A template of c/ with its @names@ replaced."""
    text = (KERNELS / template).read_text(encoding="utf-8")
    return re.sub(r"@(\w+)@", lambda match: str(values[match[1]]), text)


def _float(value: float) -> str:
    text = f"{value:.9g}"
    return f"{text}F" if re.search("[.e]", text) else f"{text}.0F"


def _source(network: reader.Network, plan: weights.Plan, name: str) -> str:
    rows = []
    if network.before:
        n, no_shift = network.inputs, "0, " if plan.rounding == "double" else ""
        kinds = ", ".join(step.kind for step in network.before)
        fields = f"0, 0, 0, {no_shift}{n}, {n}, 0, 0, 0, 0, table_first, {MOST}"
        rows.append(f"    /* {kinds} */\n    {{{fields}}},")
    for i, layer in enumerate(network.layers):
        rows.append(_row(i, layer, plan))
    values = {
        "name": name,
        "NAME": name.upper(),
        "double": int(plan.rounding == "double"),
        "shift": "shift, " if plan.rounding == "double" else "",
        "rows": "\n".join(rows),
        **plan.macros(),
        "steps": 2 if network.before else int(plan.steps),
        "fields": ",\n     * table, most" if plan.steps else "",
        "entries": len(rows),
        "width": _width(network),
        "sha256": network.sha256,
        **file_ends.values(network, plan.rounding, name.upper()),
    }
    return fill("model.c.in", values)


def _row(i: int, layer: IntDense, plan: weights.Plan) -> str:
    """What C has of a layer; its table and clamp where some layer has one."""
    after = plan.afters[i]
    n_outputs, n_inputs = layer.weights.shape
    per_channel = len(layer.weight_scales) > 1
    relu = "ReLU" if layer.relu else f"clamp to {layer.limits}" if layer.limits else "linear"
    kinds = ", ".join([relu, *(step.kind for step in layer.after)])
    comment = (
        f"{n_inputs} -> {n_outputs}, {kinds}, {'per channel' if per_channel else 'per tensor'}; "
        f"y = {layer.result.scale:.6g} * (q - {layer.result.zero_point})"
    )
    shift = f"shift_{i}, " if plan.rounding == "double" else ""
    fields = (
        f"weights_{i}, bias_{i}, scale_{i}, {shift}{n_inputs}, {n_outputs}, "
        f"{layer.output.zero_point}, {after.low}, {int(plan.per_row)}, PACKED_{i}"
    )
    if plan.steps:
        fields += f", {'0' if after.table is None else f'table_{i}'}, {after.high}"
    return f"    /* {comment} */\n    {{{fields}}},"


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
