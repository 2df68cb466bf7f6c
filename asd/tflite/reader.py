"""Reading TFLite files: what a file is, and the layers of a chain in int8 or in floats."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass
from typing import Any

from asd.tflite import ends, operators
from asd.tflite.chain import Dense
from asd.tflite.ends import End
from asd.tflite.flatbuffer import kind_of, names, parsed
from asd.tflite.int8 import Elementwise, IntDense
from asd.tflite.operators import MALFORMED
from common import UserError


def describe(content: bytes) -> dict[str, Any]:
    """What a TFLite file is: its size, input, output, weight scales and operators.

    Returns
    -------
    plain values: bytes, inputs and outputs (name, shape, type, scale, zero_point), weights
    (per_channel: whether some weight tensor has more than one scale), operators (name, version,
    count)

    Raises
    ------
    UserError : it is no TFLite file.
    """
    model, graph = parsed(content)
    try:
        return {"bytes": len(content), **_described(model, graph)}
    except MALFORMED as error:
        raise UserError(f"not a readable TFLite file ({type(error).__name__})") from error


def _described(model: Any, graph: Any) -> dict[str, Any]:
    from ai_edge_litert import schema_py_generated as schema

    types, kinds = names(schema.TensorType), names(schema.BuiltinOperator)

    def tensor(index: int) -> dict[str, Any]:
        t = graph.tensors[index]
        quantised = t.quantization is not None and t.quantization.scale is not None
        return {
            "name": t.name.decode(),
            "shape": [int(n) for n in t.shape],
            "type": types[t.type].lower(),
            "scale": float(t.quantization.scale[0]) if quantised else None,
            "zero_point": int(t.quantization.zeroPoint[0]) if quantised else None,
        }

    def scales(t: Any) -> int:
        has = t.quantization is not None and t.quantization.scale is not None
        constant = model.buffers[t.buffer].data is not None
        return len(t.quantization.scale) if has and constant and len(t.shape) in (2, 4) else 0

    codes = [model.operatorCodes[op.opcodeIndex] for op in graph.operators]
    counts = Counter((kinds[kind_of(code)], code.version) for code in codes)
    return {
        "inputs": [tensor(i) for i in graph.inputs],
        "outputs": [tensor(i) for i in graph.outputs],
        "weights": {"per_channel": any(scales(t) > 1 for t in graph.tensors)},
        "operators": [
            {"name": name, "version": version, "count": count}
            for (name, version), count in sorted(counts.items())
        ],
    }


@dataclass(frozen=True)
class Network:
    """A chain of layers, and what its input and output stand for."""

    layers: tuple[IntDense, ...]
    sha256: str  # of the TFLite file
    source: End
    target: End
    before: tuple[Elementwise, ...] = ()  # the first layer
    softmax: float | None = None  # taken off the end: what its inputs are multiplied by
    unsigned: bool = False  # some weights are of uint8

    @property
    def inputs(self) -> int:
        """Elements of the input."""
        return self.layers[0].weights.shape[1]

    @property
    def outputs(self) -> int:
        """Elements of the output."""
        return self.layers[-1].weights.shape[0]


def read(content: bytes) -> Network:
    """The layers of an int8 TFLite file, without what only changes types and shapes at its ends.

    Raises
    ------
    UserError : the file is not TFLite, or holds something else than a chain of fully connected
        int8 layers and operators byte by byte; the operator is named with its index.
    """
    chain = operators.chain(content)
    ends.check_integers(chain)
    found = ends.parts(chain)
    first, last = found.layers[0], found.layers[-1]
    types = [operators.type_of(tensor) for tensor in (chain[0].source, chain[-1].target)]
    dense = [one for one in chain if one.kind == "FULLY_CONNECTED"]
    scale = found.before[0].source if found.before else first.input
    return Network(
        tuple(found.layers),
        hashlib.sha256(content).hexdigest(),
        source=End(types[0], scale, tuple(found.start)),
        target=End(types[1], last.result, tuple(found.end)),
        before=tuple(found.before),
        softmax=found.softmax,
        unsigned=any(operators.type_of(one.source) == "uint8" for one in dense),
    )


def read_floats(content: bytes) -> list[Dense]:
    """The layers of a float TFLite file.

    Raises
    ------
    UserError : as `read`, for layers of float32.
    """
    return ends.float_layers(operators.chain(content))
