"""What stands in a message: one line, bounded, without letters that a terminal would obey."""

from __future__ import annotations

import re
import reprlib
from typing import Any

CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
MOST_SHOWN = 60  # letters of a value in a message


def plain(text: str, most: int | None = None) -> str:
    r"""A text as one line: control characters and lone surrogates as \x1b, \n, \udc80.

    Parameters
    ----------
    most : letters; from a longer text the middle is left out
    """
    line = "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode()
        for letter in (text if most is None else _cut(text, most))
    )
    return line if most is None else _cut(line, most)


def shown(value: Any, most: int = MOST_SHOWN) -> str:
    """A value as Python writes it, in at most so many letters."""
    form = reprlib.Repr()
    form.maxstring = form.maxother = form.maxlong = most
    try:
        return plain(form.repr(value), most)
    except ValueError:  # of an integer with more digits than Python writes
        return f"an integer of {value.bit_length()} bits"


def _cut(text: str, most: int) -> str:
    if len(text) <= most:
        return text
    end = most // 3
    return f"{text[: most - end - 3]}...{text[len(text) - end :]}"
