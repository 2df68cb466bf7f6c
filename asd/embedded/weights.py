"""A network's weights, biases and scales as C: what each kernel reads, layer by layer."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from asd.embedded import packing, pairs
from asd.tflite import reader, tables
from asd.tflite.int8 import LEAST, MOST

HEX = "0x{:08X}"


class Plan:
    """How the kernels read a network's layers.

    Parameters
    ----------
    network : its layers
    rounding : "single" or "double"

    Attributes
    ----------
    afters : of each layer what stands behind it
    steps : whether anything does, or before the first layer, that takes a table or a clamp
    per_row : whether there is a scale for each row; of one layer, then of all
    dsp : of each layer what ASD_DSP reads; None: it runs through ASD_PLAIN
    pairs : whether RV32, too, runs all layers through ASD_PAIRS, and not through ASD_PLAIN
    rows : of each layer its biases and scales together, as `packing.pack_scales` gives them, or
        None, where ASD_DSP with a float unit reads them apart
    low_bits : of a bias in `rows`, that stand below its scale
    """

    def __init__(self, network: reader.Network, rounding: str) -> None:
        self.network, self.rounding = network, rounding
        self.afters = [tables.after(layer, rounding) for layer in network.layers]
        stepped = any(one.table is not None or one.high < MOST for one in self.afters)
        self.steps = bool(network.before) or stepped
        self.per_row = any(len(layer.weight_scales) > 1 for layer in network.layers)
        self.dsp = [packing.pack_dsp(layer) for layer in network.layers]
        self.pairs = pairs.pay_on_rv32(network.layers)
        self.low_bits = min(32 - max(map(packing.scale_bits, network.layers)), 6)
        whole = all(packed and packed.packed == 1 for packed in self.dsp)
        self.rows = None
        if rounding == "single" and self.per_row and whole and self.low_bits > 0:
            both = zip(network.layers, self.dsp, strict=True)
            rows = [packing.pack_scales(*pair, self.low_bits) for pair in both]
            self.rows = None if None in rows else rows

    def macros(self) -> dict[str, str | int]:
        """What kernels.h is told of all layers together, by the names in model.c.in."""
        layers = self.network.layers
        named = [f"PACKED_{i}" for i in range(len(layers))]
        shapes = [layer.weights.shape for layer in layers]
        scales = "ASD_PACKED_ROWS" if self.rows else "ASD_ROWS" if self.per_row else "ASD_ONE_SCALE"
        return {
            "all_packed": " && ".join(named),
            "any_packed": " || ".join(named),
            "split": " || ".join(f"{name} > 1" for name in named),
            "scales": scales,
            "low_bits": self.low_bits,
            "narrow": int(all(map(packing.is_narrow, layers))),
            "whole": int(all(n % 4 == 0 and k % 8 == 0 for n, k in shapes)),
            "clamped": int(any(one.low > LEAST for one in self.afters)),
        }

    def dsp_name(self) -> str:
        """The kernels that layers go through where the target has ASD_DSP."""
        names = {"plain" if packed is None else "dsp" for packed in self.dsp}
        return "+".join(sorted(names))

    def rv32(self) -> str:
        """What becomes of ASD_PAIRS where ASD_PLAIN may cost less."""
        return "pairs" if self.pairs else "plain, as many weights are too large for pairs to pay"

    def comments(self) -> Iterator[str]:
        """For each layer what ASD_DSP does with it."""
        for i, (layer, packed) in enumerate(zip(self.network.layers, self.dsp, strict=True)):
            n_outputs, n_inputs = layer.weights.shape
            what = "plain, as a weight is -128" if packed is None else "dsp"
            if packed and packed.packed > 2:
                what += f", in {packed.packed - 1} parts of its columns"
            yield f"{i}: {n_inputs} -> {n_outputs}: {what}"

    def text(self) -> str:
        """The C source of NAME_weights.h."""
        parts = [
            "/* Weights as the kernels read them, biases in their units, and the factors from acc"
            "\n * to the output: once for each kind of kernel, of which a compiler takes one."
            "\n * Included by the generated model only.\n"
            f" * TFLite file: SHA-256 {self.network.sha256} */\n"
        ]
        if self.network.before:
            first = tables.composed(self.network.before, self.rounding)
            parts.append(_table("table_first", first))
        for i, after in enumerate(self.afters):
            parts.append(f"\n/* layer {i} */\n{self._layer(i)}")
            if after.table is not None:
                parts.append(_table(f"table_{i}", after.table))
        return "".join(parts)

    def _layer(self, i: int) -> str:
        layer, packed, scales = self.network.layers[i], self.dsp[i], self._scales(i)
        mlal, plain = packing.pack_mlal(layer), packing.pack_plain(layer)
        text = f"#if ASD_KERNEL == ASD_MLAL\n{_weights(i, mlal)}{_bias(i, mlal.bias)}"
        of_pairs = pairs.pack(layer)
        where = "" if self.pairs else " && !ASD_PAIRS_MAY_LOSE"
        text += f"#elif ASD_KERNEL == ASD_PAIRS{where}\n"
        text += f"{_weights(i, of_pairs)}{_bias(i, of_pairs.bias)}"
        if packed is not None:
            text += f"#elif ASD_KERNEL == ASD_DSP\n{_weights(i, packed)}"
            if self.rows is None:
                text += _bias(i, packed.bias)
            else:
                words, constants = self.rows[i]
                text += "#if ASD_FLOAT_UNIT\n" + _bias(i, words.view(np.int32))
                text += array("uint32_t", f"scale_{i}", np.array(constants), HEX)
                text += f"#else\n{_bias(i, packed.bias)}#endif\n"
        text += f"#else\n{_weights(i, plain)}{_bias(i, plain.bias)}#endif\n"
        if self.rows is None:
            return text + scales
        return f"{text}#if ASD_KERNEL != ASD_DSP || !ASD_FLOAT_UNIT\n{scales}#endif\n"

    def _scales(self, i: int) -> str:
        """The factor from acc to the output, of the layer or of each row."""
        layer = self.network.layers[i]
        q, shift = layer.multipliers() if self.rounding == "double" else (layer.scales, None)
        if self.per_row:
            n = len(layer.weights)
            q = packing.pad_rows(np.broadcast_to(q, n))
            shift = None if shift is None else packing.pad_rows(np.broadcast_to(shift, n))
        if shift is None:
            return array("uint32_t", f"scale_{i}", q.astype(np.float32).view(np.uint32), HEX)
        text = array("uint32_t", f"scale_{i}", q, "{}U")
        return text + array("int8_t", f"shift_{i}", shift, "{}")


def _weights(i: int, packed: packing.Packed) -> str:
    words = packed.weights.dtype != np.int8
    kind, pattern = ("uint32_t", HEX) if words else ("int8_t", "{}")
    text = f"#define PACKED_{i} {packed.packed}\n"
    return text + array(kind, f"weights_{i}", packed.weights, pattern)


def _bias(i: int, values: np.ndarray) -> str:
    return array("int32_t", f"bias_{i}", values, "{}")


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
