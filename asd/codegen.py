"""An int8 TFLite file as C99 source: the model on a microcontroller.

    python -m asd.codegen MODEL.tflite OUT [--rounding single|double] [--name NAME]

Writes NAME.h (the interface), NAME.c (the layers), NAME_weights.h and kernels.h into the folder
OUT. Any chain of fully connected int8 layers with ReLU or without can be generated; the result
gives exactly the bytes of the TFLite interpreter.
"""

from __future__ import annotations

import argparse
import hashlib
import math
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import common
from asd.tflite import names_of
from common import UserError

KERNELS = Path(__file__).resolve().parent / "c"
INT8 = (-128, 127)


@dataclass(frozen=True)
class Layer:
    """A fully connected int8 layer: y = clamp(round(scale * acc) + zero_point).

    acc = bias + sum over inputs of weights * (x - input_zero_point), in int32.
    """

    weights: np.ndarray  # (outputs, inputs) int8
    bias: np.ndarray  # (outputs,) int32
    input_zero_point: int
    zero_point: int  # of the output
    relu: bool
    input_scale: np.float32
    output_scale: np.float32
    weight_scales: np.ndarray  # (outputs,) or (1,) float32

    @property
    def low(self) -> int:
        """The least output: -128, or what stands for zero after a ReLU."""
        return max(self.zero_point, INT8[0]) if self.relu else INT8[0]

    @property
    def scales(self) -> np.ndarray:
        """The factor from acc to the output as XNNPACK has it, (outputs,) or (1,) float32."""
        return np.float32(self.input_scale) * self.weight_scales / np.float32(self.output_scale)

    @property
    def raw_bias(self) -> np.ndarray:
        """The bias of the sum over weights * x, for x with its zero point, (outputs,) int64."""
        sums = self.weights.sum(axis=1, dtype=np.int64)
        return self.bias.astype(np.int64) - self.input_zero_point * sums

    def multipliers(self) -> tuple[np.ndarray, np.ndarray]:
        """The same factor as TFLite Micro has it: q * 2^(shift - 31), q in [2^30, 2^31).

        Returns
        -------
        q : (outputs,) or (1,) int64
        shift : (outputs,) or (1,) int64, left where positive
        """
        pairs = [
            _multiplier(float(self.input_scale) * float(s) / float(self.output_scale))
            for s in self.weight_scales
        ]
        q, shift = np.array(pairs, np.int64).T
        return q, shift


def _multiplier(factor: float) -> tuple[int, int]:
    fraction, exponent = math.frexp(factor)
    q = round(fraction * 2**31)
    return (q // 2, exponent + 1) if q == 2**31 else (q, exponent)


@dataclass(frozen=True)
class Network:
    """A chain of layers, and what its input and output stand for."""

    layers: tuple[Layer, ...]
    sha256: str  # of the TFLite file

    @property
    def inputs(self) -> int:
        """Elements of the input."""
        return self.layers[0].weights.shape[1]

    @property
    def outputs(self) -> int:
        """Elements of the output."""
        return self.layers[-1].weights.shape[0]


def read(content: bytes) -> Network:
    """The layers of an int8 TFLite file.

    Raises
    ------
    UserError : the file is not TFLite, or holds something else than a chain of fully connected
        int8 layers; the operator is named with its index.
    """
    from ai_edge_litert import schema_py_generated as schema

    if content[4:8] != b"TFL3":
        raise UserError("not a TFLite file")
    try:
        model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))
        graph = model.subgraphs[0]
    except Exception as error:  # the reader raises whatever damaged offsets lead it to
        raise UserError(f"not a readable TFLite file ({type(error).__name__})") from error
    layers = []
    current = graph.inputs[0]
    for index, op in enumerate(graph.operators):
        code = model.operatorCodes[op.opcodeIndex]
        kind = max(code.builtinCode, code.deprecatedBuiltinCode)
        name = names_of(schema.BuiltinOperator)[kind]
        where = f"operator {index}, {name}"
        if kind != schema.BuiltinOperator.FULLY_CONNECTED:
            raise UserError(f"{where}: only chains of FULLY_CONNECTED are supported")
        if op.inputs[0] != current:
            raise UserError(
                f"{where}: its input is not the output before; only chains are supported"
            )
        layers.append(_layer(model, graph, op, where, schema))
        current = op.outputs[0]
    if not layers or list(graph.outputs) != [current] or len(graph.inputs) != 1:
        raise UserError("not a chain of operators from one input to one output")
    return Network(tuple(layers), hashlib.sha256(content).hexdigest())


def _layer(model: Any, graph: Any, op: Any, where: str, schema: Any) -> Layer:
    source, weights, target = (
        graph.tensors[i] for i in (op.inputs[0], op.inputs[1], op.outputs[0])
    )
    bias = graph.tensors[op.inputs[2]] if len(op.inputs) > 2 and op.inputs[2] >= 0 else None
    types = schema.TensorType
    for name, tensor in (("input", source), ("weights", weights), ("output", target)):
        if tensor.type != types.INT8:
            kind = names_of(types)[tensor.type]
            raise UserError(f"{where}: its {name} is {kind}; int8 is supported: convert with int8 "
                            "input and output")  # fmt: skip
    if bias is not None and bias.type != types.INT32:
        raise UserError(f"{where}: its bias is {names_of(types)[bias.type]}, not int32")
    activation = op.builtinOptions.fusedActivationFunction
    functions = schema.ActivationFunctionType
    if activation not in (functions.NONE, functions.RELU):
        kind = names_of(functions)[activation]
        raise UserError(f"{where}: fused activation {kind}; RELU or none is supported")
    data = model.buffers[weights.buffer].data
    if data is None or not len(data):
        raise UserError(f"{where}: its weights are not constant")
    n_outputs, n_inputs = (int(n) for n in weights.shape)
    if n_inputs > 65535 or n_outputs > 65535:
        raise UserError(f"{where}: {n_outputs} x {n_inputs} weights; at most 65535 a side")
    values = np.frombuffer(bytes(data), np.int8).reshape(n_outputs, n_inputs)
    zeros = np.zeros(n_outputs, np.int32)
    if any(weights.quantization.zeroPoint):
        raise UserError(f"{where}: weights with a zero point; symmetric weights are supported")
    return Layer(
        weights=values,
        bias=zeros
        if bias is None
        else np.frombuffer(bytes(model.buffers[bias.buffer].data), "<i4"),
        input_zero_point=int(source.quantization.zeroPoint[0]),
        zero_point=int(target.quantization.zeroPoint[0]),
        relu=activation == functions.RELU,
        input_scale=np.float32(source.quantization.scale[0]),
        output_scale=np.float32(target.quantization.scale[0]),
        weight_scales=np.asarray(weights.quantization.scale, np.float32),
    )


# ---------------------------------------------------------------------------------------------
# Packing, each with the proof that no sum leaves its range.


@dataclass(frozen=True)
class Packed:
    """A layer's weights and bias as a kernel reads them."""

    weights: np.ndarray  # (n,) int8 or uint32
    bias: np.ndarray  # (outputs, or rounded up to 4) int32
    packed: bool  # False: int8 row by row, for ASD_PLAIN


def _bounds(weights: np.ndarray, low: int, high: int) -> tuple[np.ndarray, np.ndarray]:
    """Least and largest sum over inputs of weights * x for x in [low, high], each (outputs,)."""
    w = weights.astype(np.int64)
    least = np.minimum(w * low, w * high).sum(axis=1)
    return least, np.maximum(w * low, w * high).sum(axis=1)


def _wrap(values: np.ndarray) -> np.ndarray:
    """To int32 modulo 2^32, as the C arithmetic does."""
    return (values.astype(np.int64) & 0xFFFFFFFF).astype(np.uint32).view(np.int32)


def _pad_rows(array: np.ndarray, multiple: int = 4) -> np.ndarray:
    extra = -len(array) % multiple
    return np.concatenate([array, np.zeros((extra, *array.shape[1:]), array.dtype)])


def pack_plain(layer: Layer) -> Packed:
    """int8, row by row: ASD_PLAIN, and ASD_MVE, which reads sixteen of a row at once."""
    return Packed(layer.weights.ravel(), _wrap(layer.raw_bias), False)


def pack_mlal(layer: Layer) -> Packed | None:
    """ASD_MLAL: a column of four rows in a word; None if a sum needs more than 24 bits."""
    rows = _pad_rows(layer.weights)
    least, largest = _bounds(rows, *INT8)
    if least.min() < -(2**23) or largest.max() >= 2**23:
        return None
    blocks = rows.reshape(-1, 4, rows.shape[1]).transpose(0, 2, 1).astype(np.int64)
    blocks = blocks + np.array([128, 0, 128, 0])  # (blocks, inputs, 4)
    words = np.ascontiguousarray(blocks & 0xFF).astype(np.uint8).view("<u4").ravel()
    return Packed(words, _pad_rows(_wrap(layer.raw_bias)), True)


def pack_dsp(layer: Layer) -> Packed | None:
    """ASD_DSP: four columns of a row in a word, four rows side by side; None if out of range.

    The halfwords of a word are 256 * w1 + w0 and 256 * w3 + w2, exactly, so the weights are at
    least -127; and 256 * acc has to fit 32 bits.
    """
    least, largest = _bounds(layer.weights, *INT8)
    bias = layer.raw_bias
    limit = 2**23
    if (
        layer.weights.min() < -127
        or (least + bias).min() < -limit
        or (largest + bias).max() >= limit
    ):
        return None
    rows = _pad_rows(layer.weights)
    columns = np.ascontiguousarray(_pad_rows(rows.T, 8).T).astype(np.int64)  # (rows, columns)
    halves = 256 * columns[:, 1::2] + columns[:, 0::2]  # (rows, columns / 2), fits int16
    assert np.abs(halves).max() < 2**15
    words = np.ascontiguousarray(halves.astype("<i2")).view("<u4")  # (rows, columns / 4)
    words = words.reshape(len(rows) // 4, 4, -1).transpose(0, 2, 1)  # (blocks, columns / 4, 4)
    # The kernel takes odd activations less 127, to keep its other operand within int16.
    odd = layer.weights[:, 1::2].sum(axis=1, dtype=np.int64)
    return Packed(
        np.ascontiguousarray(words).ravel(), _pad_rows(_wrap(256 * (bias + 127 * odd))), True
    )


PACKINGS: dict[str, Callable[[Layer], Packed | None]] = {
    "ASD_MLAL": pack_mlal,
    "ASD_DSP": pack_dsp,
}


# ---------------------------------------------------------------------------------------------
# Writing C.


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
    UserError : see `read`; or a name that C cannot have.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise UserError(f"--name {name}: lower-case letters, digits and _ make a name in C")
    network = read(content)
    return {
        f"{name}.h": _header(network, rounding, name),
        f"{name}.c": _source(network, rounding, name),
        f"{name}_weights.h": _weights(network, rounding),
        **{path.name: path.read_text() for path in sorted(KERNELS.glob("*.h"))},
    }


def write(
    content: bytes, folder: Path, rounding: str = "single", name: str = "model"
) -> list[Path]:
    """Write the C source of an int8 TFLite file into a folder; see `generate`."""
    paths = []
    for file, text in generate(content, rounding, name).items():
        with common.whole_file(folder / file) as temporary:
            temporary.write_text(text)
        paths.append(folder / file)
    return paths


def _width(network: Network) -> int:
    """Bytes of a hidden vector, rounded up to 8."""
    widths = [len(layer.weights) for layer in network.layers[:-1]]
    return -(-max(widths, default=0) // 8) * 8


def _expanded(network: Network) -> int:
    """Bytes that ASD_DSP expands a layer's input to: eight for four columns."""
    return max(2 * (-(-layer.weights.shape[1] // 8) * 8) for layer in network.layers)


ORACLES = {
    "single": "LiteRT's default kernels (one rounding, of the float32 product)",
    "double": "TFLite Micro and CMSIS-NN (two roundings, in integers)",
}


def _header(network: Network, rounding: str, name: str) -> str:
    first, last = network.layers[0], network.layers[-1]
    macs = sum(layer.weights.size for layer in network.layers)
    upper, width = name.upper(), _width(network)
    values = {
        "name": name, "NAME": upper, "inputs": network.inputs, "outputs": network.outputs,
        "macs": f"{macs:,}", "layers": len(network.layers), "sha256": network.sha256,
        "oracle": ORACLES[rounding], "rounding": rounding,
        "input_scale": _float(first.input_scale), "input_zero": first.input_zero_point,
        "output_scale": _float(last.output_scale), "output_zero": last.zero_point,
        "scratch": 2 * width, "expanded": _expanded(network),
    }  # fmt: skip
    return HEADER.format(**values)


def _float(value: np.float32) -> str:
    text = f"{value:.9g}"
    return f"{text}F" if re.search("[.e]", text) else f"{text}.0F"


def _source(network: Network, rounding: str, name: str) -> str:
    rows = []
    for i, layer in enumerate(network.layers):
        n_outputs, n_inputs = layer.weights.shape
        per_channel = len(layer.weight_scales) > 1
        relu = "ReLU" if layer.relu else "linear"
        comment = (
            f"{n_inputs} -> {n_outputs}, {relu}, {'per channel' if per_channel else 'per tensor'}; "
            f"y = {float(layer.output_scale):.6g} * (q - {layer.zero_point})"
        )
        shift = f"shift_{i}" if rounding == "double" else "0"
        fields = (
            f"weights_{i}, bias_{i}, scale_{i}, {shift}, {n_inputs}, {n_outputs}, "
            f"{layer.zero_point}, {layer.low}, {int(per_channel)}, PACKED_{i}"
        )
        rows.append(f"    /* {comment} */\n    {{{fields}}},")
    return SOURCE.format(
        name=name, NAME=name.upper(), double=int(rounding == "double"), rows="\n".join(rows),
        all_packed=" && ".join(f"PACKED_{i}" for i in range(len(network.layers))),
        layers=len(network.layers), width=_width(network), sha256=network.sha256,
    )  # fmt: skip


def _weights(network: Network, rounding: str) -> str:
    parts = [
        "/* Weights as the kernels read them, biases in their units, and the factors from acc to\n"
        " * the output. Included by the generated model only. */\n"
    ]
    for i, layer in enumerate(network.layers):
        parts.append(f"\n/* layer {i} */\n")
        branch = "#if"
        for kernel, pack in PACKINGS.items():
            packed = pack(layer)
            if packed is not None:
                parts.append(f"{branch} ASD_KERNEL == {kernel}\n{_arrays(i, packed)}")
                branch = "#elif"
        plain = _arrays(i, pack_plain(layer))
        parts.append(f"#else\n{plain}#endif\n" if branch == "#elif" else plain)
        if rounding == "double":
            q, shift = layer.multipliers()
            parts.append(_array("uint32_t", f"scale_{i}", q, "{}U"))
            parts.append(_array("int8_t", f"shift_{i}", shift, "{}"))
        else:
            bits = layer.scales.astype(np.float32).view(np.uint32)
            parts.append(_array("uint32_t", f"scale_{i}", bits, "0x{:08X}"))
    return "".join(parts)


def _arrays(i: int, packed: Packed) -> str:
    words = packed.weights.dtype != np.int8
    kind, pattern = ("uint32_t", "0x{:08X}") if words else ("int8_t", "{}")
    return (
        f"#define PACKED_{i} {int(packed.packed)}\n"
        + _array(kind, f"weights_{i}", packed.weights, pattern)
        + _array("int32_t", f"bias_{i}", packed.bias, "{}")
    )


def _array(kind: str, name: str, values: np.ndarray, pattern: str) -> str:
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


HEADER = """/* {layers} fully connected int8 layers, {inputs} -> {outputs}, {macs} MACs.
 *
 * Generated by asd.codegen; do not edit.
 * TFLite file: SHA-256 {sha256}
 * Rounding: {rounding}; gives the bytes of {oracle}.
 *
 * Reentrant; no heap, no globals that change, no input or output. Buffers are the caller's.
 */
#ifndef {NAME}_H
#define {NAME}_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {{
#endif

#define {NAME}_INPUTS {inputs}
#define {NAME}_OUTPUTS {outputs}

/* value = scale * (q - zero_point), q in [-128, 127] */
#define {NAME}_INPUT_SCALE {input_scale}
#define {NAME}_INPUT_ZERO_POINT {input_zero}
#define {NAME}_OUTPUT_SCALE {output_scale}
#define {NAME}_OUTPUT_ZERO_POINT {output_zero}

#include "kernels_select.h"
/* Which kernels the target's macros chose, and the scratch memory they need, 8-byte aligned. */
#if ASD_KERNEL == ASD_DSP
#define {NAME}_KERNEL "dsp"
#define {NAME}_SCRATCH_BYTES ({scratch} + {expanded})
#elif ASD_KERNEL == ASD_MVE
#define {NAME}_KERNEL "mve"
#define {NAME}_SCRATCH_BYTES ({scratch} > 8 ? {scratch} : 8)
#elif ASD_KERNEL == ASD_MLAL
#define {NAME}_KERNEL "mlal"
#define {NAME}_SCRATCH_BYTES ({scratch} > 8 ? {scratch} : 8)
#else
#define {NAME}_KERNEL "plain"
#define {NAME}_SCRATCH_BYTES ({scratch} > 8 ? {scratch} : 8)
#endif

/* One inference. input and output may not overlap each other or scratch. */
void {name}_run(const int8_t input[{NAME}_INPUTS], int8_t output[{NAME}_OUTPUTS], void *scratch);

/* q = clamp(round(value / scale) + zero_point), ties to even; log-mel values in dB for ad01. */
void {name}_quantise(const float values[{NAME}_INPUTS], int8_t input[{NAME}_INPUTS]);

#if {NAME}_INPUTS == {NAME}_OUTPUTS
/* The anomaly score of a vector: the mean squared difference between the dequantised output and
 * the values themselves, in their unit squared (dB^2); 0 or more. */
float {name}_score(const float values[{NAME}_INPUTS],
                   int8_t buffer[{NAME}_INPUTS + {NAME}_OUTPUTS], void *scratch);
#endif

#ifdef __cplusplus
}}
#endif

#endif
"""

SOURCE = """/* Generated by asd.codegen from the TFLite file with the SHA-256
 * {sha256}; do not edit. */
#include "{name}.h"

#include "{name}_weights.h"

#define ASD_DOUBLE_ROUNDING {double}
#define ASD_ALL_PACKED ({all_packed})
#include "kernels.h"

static const asd_layer layers[{layers}] = {{
    /* weights, bias, scale, shift, inputs, outputs, zero point, least, per channel, packed */
{rows}
}};

void {name}_run(const int8_t input[{NAME}_INPUTS], int8_t output[{NAME}_OUTPUTS], void *scratch)
{{
    asd_run(layers, {layers}, {width}, input, output, scratch);
}}

void {name}_quantise(const float values[{NAME}_INPUTS], int8_t input[{NAME}_INPUTS])
{{
    uint32_t i;
    for (i = 0; i < {NAME}_INPUTS; i++) {{
        input[i] = asd_quantise(values[i], {NAME}_INPUT_SCALE, {NAME}_INPUT_ZERO_POINT);
    }}
}}

#if {NAME}_INPUTS == {NAME}_OUTPUTS
float {name}_score(const float values[{NAME}_INPUTS],
                   int8_t buffer[{NAME}_INPUTS + {NAME}_OUTPUTS], void *scratch)
{{
    int8_t *output = buffer + {NAME}_INPUTS;
    float sum = 0.0F;
    uint32_t i;
    {name}_quantise(values, buffer);
    {name}_run(buffer, output, scratch);
    for (i = 0; i < {NAME}_INPUTS; i++) {{
        float error =
            (float)(output[i] - {NAME}_OUTPUT_ZERO_POINT) * {NAME}_OUTPUT_SCALE - values[i];
        sum += error * error;
    }}
    return sum / (float){NAME}_INPUTS;
}}
#endif
"""


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
    sys.exit(common.run(main))
