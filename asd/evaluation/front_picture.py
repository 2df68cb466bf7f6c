"""The picture of the front: AUC against bytes and against multiply-accumulates."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from asd.evaluation.canvas import figure, readable, set_title

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000")
MARKS = "osD^vPX*"
WIDTH_INCHES, HEIGHT_INCHES, LEGEND_ROW_INCHES = 8.4, 4.2, 0.22
COLUMNS = 3  # of the legend
ROOM = 0.06  # of AUC above and below


class Placed(Protocol):
    """What is drawn of an experiment."""

    name: str
    auc: float
    bytes: int
    clip_macs: float


MOST_LABELLED = 100  # of an axis' end to its beginning: beyond, powers of ten alone


def draw(path: Path, points: Sequence[Placed]) -> None:
    """Two panels, costs on log scales; the stairs are what is best at each cost."""
    rows = -(-len(points) // COLUMNS)
    height = HEIGHT_INCHES + rows * LEGEND_ROW_INCHES
    words = "".join(one.name for one in points)
    with figure(path, 1, height, 2, WIDTH_INCHES, words) as (by_bytes, by_macs):
        _panel(
            by_bytes,
            points,
            [one.bytes for one in points],
            "bytes of the int8 model and what it needs",
        )
        _panel(by_macs, points, [one.clip_macs for one in points], "multiply-accumulates a clip")
        by_bytes.set_ylabel("AUC, mean over machine types")
        by_macs.tick_params(labelleft=False)
        handles, labels = by_bytes.get_legend_handles_labels()
        by_bytes.figure.legend(handles, labels, loc="outside lower center", ncols=COLUMNS,
                               fontsize=9)  # fmt: skip
        set_title(by_bytes.figure, "Towards the microcontroller", "what detectors find and cost")


def _panel(axes: Axes, points: Sequence[Placed], costs: Sequence[float], label: str) -> None:
    from matplotlib import ticker

    aucs = [one.auc for one in points]
    low, high = min(costs) / 2, max(costs) * 2
    axes.step(*_stairs(costs, aucs, high), where="post", color="0.7", zorder=1)
    for i, (one, cost) in enumerate(zip(points, costs, strict=True)):
        axes.plot(cost, one.auc, MARKS[i % len(MARKS)], color=COLOURS[i % len(COLOURS)],
                  markersize=9, label=readable(one.name), zorder=3)  # fmt: skip
    axes.set(xscale="log", xlabel=label, xlim=(low, high))
    few = high / low < MOST_LABELLED
    axes.xaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5) if few else (1,)))
    axes.xaxis.set_major_formatter(ticker.EngFormatter(sep=" "))
    axes.xaxis.set_minor_locator(ticker.NullLocator())
    axes.set_ylim(min(aucs) - ROOM, max(aucs) + ROOM)
    axes.grid(alpha=0.3, which="both")


def _stairs(costs: Sequence[float], aucs: Sequence[float], end: float) -> tuple[list, list]:
    """The best AUC up to each cost, from the cheapest on, to the end of the axis."""
    order = np.lexsort((-np.array(aucs), costs))
    xs, best = [costs[i] for i in order], np.maximum.accumulate([aucs[i] for i in order])
    return [*xs, end], [*best, best[-1]]
