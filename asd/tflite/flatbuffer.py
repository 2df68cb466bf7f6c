"""TFLite flatbuffers as the schema's objects, read with bounds."""

from __future__ import annotations

from typing import Any

from common import UserError

MOST_BYTES = 1 << 28  # of a file
MOST_GRAPHS = 8
MOST_LISTED = 10_000  # tensors, operators, buffers


def parsed(content: bytes) -> tuple[Any, Any]:
    """The model of a TFLite file and its first graph, as the schema's objects."""
    from ai_edge_litert import schema_py_generated as schema

    if len(content) > MOST_BYTES:
        raise UserError(f"more than {MOST_BYTES:,} bytes, which is no model for here")
    if content[4:8] != b"TFL3":
        raise UserError("not a TFLite file")
    try:
        lazy = schema.Model.GetRootAs(content, 0)
        _check_counts(lazy, len(content))
        model = schema.ModelT.InitFromObj(lazy)
        return model, model.subgraphs[0]
    except UserError:
        raise
    except Exception as error:  # the reader raises whatever damaged offsets lead it to
        raise UserError(f"not a readable TFLite file ({type(error).__name__})") from error


def _check_counts(model: Any, size: int) -> None:
    """See that a file lists no more than it can hold: its lists may share their bytes."""
    if model.SubgraphsLength() > MOST_GRAPHS:
        raise UserError(f"{model.SubgraphsLength()} graphs; a model has one")
    graphs = [model.Subgraphs(i) for i in range(model.SubgraphsLength())]
    tensors = [g.Tensors(i) for g in graphs for i in range(min(g.TensorsLength(), MOST_LISTED))]
    operators = [
        g.Operators(i) for g in graphs for i in range(min(g.OperatorsLength(), MOST_LISTED))
    ]
    buffers = [model.Buffers(i) for i in range(min(model.BuffersLength(), MOST_LISTED))]
    scales = [tensor.Quantization() for tensor in tensors]
    held = [
        model.SubgraphsLength(), model.OperatorCodesLength(), model.BuffersLength(),
        model.MetadataLength(), model.SignatureDefsLength(), *(g.TensorsLength() for g in graphs),
        *(g.OperatorsLength() for g in graphs), *(len(t.Name() or b"") for t in tensors),
        *(t.ShapeLength() + t.ShapeSignatureLength() for t in tensors),
        *(s.ScaleLength() + s.ZeroPointLength() + s.MinLength() + s.MaxLength()
          for s in scales if s), *(o.InputsLength() + o.OutputsLength() for o in operators),
        *(b.DataLength() for b in buffers),
    ]  # fmt: skip
    if (
        sum(held) > size
        or max(len(graphs), len(tensors), len(operators), len(buffers)) >= MOST_LISTED
    ):
        raise UserError("not a readable TFLite file (it lists more than it holds)")


def names(enum: type) -> dict[int, str]:
    """The names of a TFLite schema's enumeration by value."""
    return {value: name for name, value in vars(enum).items() if isinstance(value, int)}


def kind_of(code: Any) -> int:
    """Which operator it is; files older than 2020 say so in the deprecated field only."""
    return max(code.builtinCode, code.deprecatedBuiltinCode)
