"""Figures drawn without a display, alike on every machine, with names of any language in them."""

from __future__ import annotations

import functools
import os
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

from asd import files

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.legend import Legend

WIDTH_INCHES, HEIGHT_INCHES, DPI = 6.4, 4.4, 120
FONT = "DejaVu Sans"  # comes with matplotlib
NO_GLYPHS = ("Last Resort", "LastResort", "Adobe Blank")  # have a box or nothing for everything
TITLE_POINTS, TITLE_LEFT = 11, 0.02  # font size; where it begins, a share of the width
LINE_HEIGHT, POINTS = 1.4, 72  # font sizes; in an inch
LONGEST_LINE, SHORTEST_LINE = 100, 8  # of a title, characters


@contextmanager
def figure(
    path: Path,
    rows: int = 1,
    height: float = HEIGHT_INCHES,
    columns: int = 1,
    width: float = WIDTH_INCHES,
    words: str = "",
) -> Iterator[list[Axes]]:
    """Axes row by row, drawn without a display; saved to `path` when left.

    A matplotlibrc of the user's changes nothing in it.

    Parameters
    ----------
    height, width : inches
    words : the names that will be written in it, for which fonts are looked for
    """
    matplotlib = _import_matplotlib()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        others = _families(frozenset(filter(_lacks_glyph, words)))
        matplotlib.rcParams["font.family"] = [FONT, *dict.fromkeys(others.values())]
        drawn = Figure((width, height), dpi=DPI, layout="constrained")
        FigureCanvasAgg(drawn)
        yield list(drawn.subplots(rows, columns, squeeze=False).flat)
        with files.whole_file(path) as temporary:
            drawn.savefig(temporary, format="png")


def readable(text: str) -> str:
    """A name as matplotlib is to write it: every character seen, none of them taken for a formula.

    What no installed font can draw, and what cannot be seen, is written as an escape, such as
    `\\u98ce`; so names that differ look different.
    """
    return _without_formulas(_visible(text))


def set_title(drawn: Figure, name: str, what: str, beside: Legend | None = None) -> None:
    """`<name>: <what>` above a figure, which grows by the lines that a long name needs.

    Parameters
    ----------
    beside : what stands to the right of the title
    """
    title = drawn.suptitle("", fontsize=TITLE_POINTS, x=TITLE_LEFT, horizontalalignment="left")
    text = f"{_visible(name)}: {what}"
    renderer = drawn.canvas.get_renderer()
    taken = beside.get_window_extent(renderer).width if beside else 0
    most = (1 - 2 * TITLE_LEFT) * drawn.bbox.width - taken
    for length in range(LONGEST_LINE, SHORTEST_LINE, -4):
        title.set_text(_without_formulas(textwrap.fill(text, length)))
        if title.get_window_extent(renderer).width <= most:
            break
    more_lines = title.get_text().count("\n")
    drawn.set_figheight(drawn.get_figheight() + more_lines * LINE_HEIGHT * TITLE_POINTS / POINTS)


def palette(name: str) -> np.ndarray:
    """The colours of one of matplotlib's maps, (256, 3) uint8."""
    _import_matplotlib()
    from matplotlib import colormaps

    return np.ascontiguousarray(colormaps[name](np.arange(256), bytes=True)[:, :3])


def _import_matplotlib() -> ModuleType:
    """Matplotlib, also where MPLBACKEND or a matplotlibrc is such that importing it fails."""
    try:
        import matplotlib
    except ValueError:
        ours = {"MPLBACKEND": "agg", "MATPLOTLIBRC": os.devnull}
        theirs = {name: os.environ[name] for name in ours if name in os.environ}
        os.environ.update(ours)
        for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
            del sys.modules[name]  # half of it
        try:
            import matplotlib
        finally:
            for name in ours:
                del os.environ[name]
            os.environ.update(theirs)
    return matplotlib


def _visible(text: str) -> str:
    missing = frozenset(filter(_lacks_glyph, text))
    escaped = missing - _families(missing).keys()
    return "".join(
        char.encode("unicode_escape").decode() if char in escaped or char == "\\" else char
        for char in text
    )


def _without_formulas(text: str) -> str:
    """Matplotlib takes what stands between two dollars for a formula, unless they are escaped."""
    return text.replace("$", r"\$")


@functools.cache
def _lacks_glyph(char: str) -> bool:
    """Whether the font of all pictures cannot draw a character."""
    return not _draws(_font_file(FONT), char)


@functools.cache
def _font_file(family: str) -> str:
    """The file of a family that upright text of common weight is drawn with."""
    _import_matplotlib()
    from matplotlib.font_manager import FontProperties, findfont

    plain = dict.fromkeys(("style", "variant", "weight", "stretch"), "normal")
    return findfont(FontProperties(family=family, **plain), rebuild_if_missing=False)


def _draws(font_file: str, char: str) -> bool:
    """Whether a font has something to see for a character."""
    from matplotlib.font_manager import get_font

    if char == " " or not char.isprintable():
        return char == " "
    try:
        font = get_font(font_file)
        return bool(font.get_char_index(ord(char))) and font.load_char(ord(char)).width > 0
    except (OSError, RuntimeError):  # gone since matplotlib listed it, or made of bitmaps
        return False


@functools.cache
def _families(missing: frozenset[str]) -> dict[str, str]:
    """The installed font families that have characters which `FONT` lacks, by character.

    It reads matplotlib's list of fonts and opens them in turn until every character is found;
    characters that no font has are left out.
    """
    from matplotlib.font_manager import fontManager

    found: dict[str, str] = {}
    wanted = {char for char in missing if char.isprintable()}
    for entry in fontManager.ttflist:
        if not wanted:
            break
        if entry.style != "normal" or entry.name.lstrip(".").startswith(NO_GLYPHS):
            continue
        if any(_draws(entry.fname, char) for char in wanted):
            has = {char for char in wanted if _draws(_font_file(entry.name), char)}
            found |= dict.fromkeys(has, entry.name)
            wanted -= has
    return found
