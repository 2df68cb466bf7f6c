"""What stands around the layers of a TFLite file: taken off at either end, or bytes to bytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from asd.tflite import layers, operators
from asd.tflite.int8 import Elementwise, IntDense, Scale
from asd.tflite.operators import SAME_ELEMENTS, Operator, scale_of, type_of
from asd.tflite.tables import FIXED, LIMITS
from common import UserError

BYTE_BY_BYTE = ("QUANTIZE", *FIXED, *LIMITS)
KNOWN = {"FULLY_CONNECTED", "SOFTMAX", *SAME_ELEMENTS, *BYTE_BY_BYTE}


@dataclass(frozen=True)
class End:
    """An end of a file, and what the generated code has there."""

    type: str  # of the file: int8, uint8 or float32
    scale: Scale  # of the code's bytes, int8
    taken_off: tuple[str, ...]  # operators, from the file's input to its output


@dataclass
class Parts:
    """What a chain is made of; it grows."""

    layers: list[IntDense] = field(default_factory=list)
    before: list[Elementwise] = field(default_factory=list)  # the first layer
    start: list[str] = field(default_factory=list)  # taken off there
    end: list[str] = field(default_factory=list)
    softmax: float | None = None  # what its inputs are multiplied by
    ended: bool = False  # nothing but ends may come

    def add(self, one: Operator) -> None:
        """Take in the next operator."""
        if one.keeps_elements():
            shapes = [[int(n) for n in tensor.shape] for tensor in (one.source, one.target)]
            self._take_off(f"{one.kind} from {shapes[0]} to {shapes[1]}")
        elif one.kind == "FULLY_CONNECTED" and not self.ended:
            self.layers.append(layers.of_integers(one))
            self.end.clear()  # what stands between layers is nobody's care
        elif one.kind in BYTE_BY_BYTE and "float32" in (type_of(one.source), type_of(one.target)):
            self._from_floats(one)
        elif one.kind in ("DEQUANTIZE", "SOFTMAX") and self.layers and one.keeps_size():
            self._finish(one)
        elif self.ended and one.kind == "QUANTIZE":
            self._take_off("QUANTIZE")
        elif not self.ended and one.kind in BYTE_BY_BYTE and one.keeps_size():
            self._elementwise(one)
        else:
            raise UserError(f"{one.where}: only chains of FULLY_CONNECTED are supported, with "
                            f"{', '.join(BYTE_BY_BYTE)} or a change of shape between them, and "
                            "DEQUANTIZE and SOFTMAX at the end")  # fmt: skip

    def _take_off(self, what: str) -> None:
        (self.end if self.layers else self.start).append(what)

    def _from_floats(self, one: Operator) -> None:
        if one.kind != "QUANTIZE" or self.layers or self.before or type_of(one.source) != "float32":
            scale_of(one.source, "input", one.where)  # tells how to quantise
            scale_of(one.target, "output", one.where)
        self._take_off("QUANTIZE from float32")

    def _finish(self, one: Operator) -> None:
        self.ended = True
        if one.kind == "DEQUANTIZE":
            scale_of(one.source, "input", one.where)
        elif self.softmax is None:
            self.softmax = float(one.op.builtinOptions.beta)
        else:
            raise UserError(f"{one.where}: the second; one at the end is supported")
        self._take_off(one.kind if one.kind == "SOFTMAX" else "DEQUANTIZE to float32")

    def _elementwise(self, one: Operator) -> None:
        ends = scale_of(one.source, "input", one.where), scale_of(one.target, "output", one.where)
        kinds = type_of(one.source), type_of(one.target)
        step = Elementwise(one.kind, *ends, one.where, kinds[0] != kinds[1])
        if one.kind == "QUANTIZE" and step.source == step.target:
            self._take_off(f"QUANTIZE from {kinds[0]} to {kinds[1]}")
        elif not self.layers:
            self.before.append(step)
        else:
            self.layers[-1] = replace(self.layers[-1], after=(*self.layers[-1].after, step))


def parts(chain: Sequence[Operator]) -> Parts:
    """The layers of a chain, and what stands around them.

    Raises
    ------
    UserError : an operator is none that can be generated; it is named.
    """
    found = Parts()
    for one in chain:
        try:
            found.add(one)
        except operators.MALFORMED as error:
            raise UserError(f"{one.where}: incomplete or malformed ({error})") from error
    if not found.layers:
        raise UserError("no FULLY_CONNECTED operator in it")
    return found


def check_integers(chain: Sequence[Operator]) -> None:
    """See that not all of a file is float32.

    Raises
    ------
    UserError : it is; told is how to quantise it.
    """
    types = {type_of(tensor) for one in chain for tensor in (one.source, one.target)}
    constant = {type_of(one.graph.tensors[i]) for one in chain for i in one.op.inputs[1:2]}
    if types != {"float32"} or not constant <= {"float32", "int32"}:
        return
    try:
        float_layers(chain)
    except UserError as error:
        if not {one.kind for one in chain} <= KNOWN:
            return  # which is named
        raise UserError("float32 throughout: convert it anew with int8 activations (a "
                        "representative data set); python -m asd.tflite.quantise takes no such "
                        f"file: {error}") from error  # fmt: skip
    raise UserError(f"float32 throughout; quantise it first: {operators.HOW}")


def float_layers(chain: Sequence[Operator]) -> list[Any]:
    """The layers of a chain of float32; a change of shape around them is nothing.

    Raises
    ------
    UserError : an operator is another one; it is named.
    """
    found = []
    for one in chain:
        try:
            if one.keeps_elements():
                continue
            if one.kind != "FULLY_CONNECTED":
                raise UserError(f"{one.where}: only chains of FULLY_CONNECTED are supported")
            found.append(layers.of_floats(one))
        except operators.MALFORMED as error:
            raise UserError(f"{one.where}: incomplete or malformed ({error})") from error
    if not found:
        raise UserError("no FULLY_CONNECTED operator in it")
    return found
