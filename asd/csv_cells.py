"""Cells of CSV files: a spreadsheet runs none of them, and each is read back as it was.

Text that begins with = + - @, their full-width forms, or a tab or line break, is a formula to
spreadsheets; it is written with an apostrophe before it. Text that looks so already gets one more.
Numbers stay as they are, as numbers or as text.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np

_FORMULA = re.compile(r"'*[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")
_NUMBER = re.compile(r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?")


def cell(value: Any) -> Any:
    """What is written of a value."""
    if not isinstance(value, str):
        return value.item() if isinstance(value, np.generic) else value
    return f"'{value}" if _FORMULA.match(value) and not _NUMBER.fullmatch(value) else value


def text(cell: str) -> str:
    """The text that was written as a cell."""
    return cell[1:] if cell[:1] == "'" and _FORMULA.match(cell) else cell
