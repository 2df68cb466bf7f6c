"""What a detector asks of an embedding, whatever its kind."""

from __future__ import annotations

from typing import Any, Protocol

from asd.rows import Rows


class Embedding(Protocol):
    """A vector for each clip.

    Attributes
    ----------
    rows : one a clip, (1, width) float32
    feature : the part of the section `feature` that it depends on, as plain values
    made_of : what else it depends on; empty for `mean_mel`, as a record without it means that
    """

    rows: Rows
    feature: dict[str, Any]
    made_of: dict[str, Any]
