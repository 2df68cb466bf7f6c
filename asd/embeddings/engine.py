"""A network that was loaded, whatever runs it, and what loading one of any kind needs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from common import UserError

Opened = tuple[
    tuple[int | None, ...], Sequence[Any], Callable[[np.ndarray], np.ndarray]
]  # shape of its input, of its output, and what runs it


class Engine(NamedTuple):
    """A network that was loaded.

    Attributes
    ----------
    sha256 : of its file
    shape : of its input; None for an axis of any length
    width : values of the last axis of its output, where the file tells it
    run : function of an input, float32 of such a shape -> its output, as floats
    """

    sha256: str
    shape: tuple[int | None, ...]
    width: int | None
    run: Callable[[np.ndarray], np.ndarray]


def one_each(inputs: Sequence[Any], outputs: Sequence[Any]) -> None:
    """See that a network has one input and one output.

    Raises
    ------
    UserError : it has others.
    """
    for name, there in (("input", inputs), ("output", outputs)):
        if len(there) != 1:
            raise UserError(
                f"it has {len(there)} {name}s, and one is needed; export it with "
                f"{'its clip' if name == 'input' else 'the embedding'} as the only one"
            )


def reason(error: Exception) -> str:
    """What a library said, on one line."""
    return " ".join(str(error).split())[:120] or type(error).__name__
