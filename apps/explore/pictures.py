"""Pictures of clusters and of mistakes between classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from asd.evaluation import canvas

# Okabe and Ito, "Color Universal Design" (2008); with the marks, more than the colours alone.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000", "#b8a800")
MARKS = "o^sDvPX*"
MOST_LEGEND = 16  # lines of a legend
PANEL_INCHES, CELL_INCHES = 4.2, 0.62
SMALL = 8  # points


def elbow(path: Path, rows: Sequence[tuple[int, float, float]], k: int) -> None:
    """Inertia and silhouette by the number of clusters, the chosen one marked."""
    ks, inertia, silhouette = zip(*rows, strict=True)
    with canvas.figure(path, columns=2, height=3.2) as axes:
        for one, values, label in zip(axes, (inertia, silhouette), ("inertia", "silhouette"),
                                      strict=True):  # fmt: skip
            one.plot(ks, values, marker="o", color=COLOURS[0])
            one.axvline(k, color=COLOURS[1], linestyle="--", label=f"{k} clusters")
            one.set(xlabel="clusters", ylabel=label, xticks=ks)
            one.grid(alpha=0.3)
            one.legend(fontsize=SMALL)
        axes[0].set_ylim(bottom=0)


def maps(path: Path, flat: np.ndarray, names: Mapping[str, Sequence[str]], by: str) -> None:
    """Recordings in two dimensions, once for each way to colour them.

    Parameters
    ----------
    flat : (n, 2)
    names : by title, the value of each recording; "" is not known
    """
    columns = min(2, len(names))
    rows = -(-len(names) // columns)
    words = "".join({letter for values in names.values() for one in values for letter in one})
    with canvas.figure(path, rows, rows * PANEL_INCHES, columns, columns * PANEL_INCHES,
                       words) as axes:  # fmt: skip
        for one in axes[len(names) :]:
            one.set_axis_off()
        for one, (title, values) in zip(axes, names.items(), strict=False):
            _scatter(one, flat, np.asarray(values))
            one.set(xticks=[], yticks=[], title=f"{title}, by {by}")


def _scatter(axes, flat: np.ndarray, values: np.ndarray) -> None:
    # Numbers by size, as the ratios -6, 0 and 6.
    order = sorted(set(values) - {""}, key=lambda v: (0, float(v), v) if _is_number(v)
                   else (1, 0.0, v))  # fmt: skip
    unknown = values == ""
    if unknown.any():
        axes.scatter(*flat[unknown].T, s=8, color="0.75", label="not known")
    for i, value in enumerate(order):
        some = flat[values == value]
        label = canvas.readable(value) if i < MOST_LEGEND else None
        axes.scatter(*some.T, s=14, color=COLOURS[i % len(COLOURS)],
                     marker=MARKS[i // len(COLOURS) % len(MARKS)], alpha=0.75, linewidths=0,
                     label=label)  # fmt: skip
    more = f"and {len(order) - MOST_LEGEND} more" if len(order) > MOST_LEGEND else None
    axes.legend(fontsize=SMALL, framealpha=0.7, title=more)


def _is_number(text: str) -> bool:
    return text.removeprefix("-").isdecimal()


def confusion(path: Path, classes: Sequence[str], told: Sequence[str], counts: np.ndarray) -> None:
    """How many recordings of each class are said to be of which, as shares and counts.

    Parameters
    ----------
    classes : true ones, the rows
    told : what is said, the columns
    counts : (n_classes, n_told) int
    """
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    width = 2.4 + CELL_INCHES * len(told) * 1.25
    height = 1.7 + CELL_INCHES * len(classes)
    words = "".join((*classes, *told))
    with canvas.figure(path, height=height, width=width, words=words) as (axes,):
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
        for (i, j), share in np.ndenumerate(shares):
            if counts[i, j]:
                axes.text(j, i, f"{100 * share:.0f} %\n{counts[i, j]}", ha="center", va="center",
                          fontsize=SMALL, color="white" if share > 0.55 else "black")  # fmt: skip
        axes.set_xticks(range(len(told)), map(canvas.readable, told), rotation=35, ha="right")
        axes.set_yticks(range(len(classes)), map(canvas.readable, classes))
        axes.set(xlabel="said", ylabel="true")
