"""Pictures: the training history, ROC curves and score histograms of a machine type.

They stay readable from one machine id to hundreds: beyond what the eye can tell apart, ids share a
colour, and the worst are named.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from asd.evaluation import metrics
from asd.evaluation.canvas import WIDTH_INCHES, figure, readable, set_title

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from asd.training import Epoch

# Blue and orange are told apart by every kind of colour vision.
NORMAL_COLOUR, ANOMALY_COLOUR = "#3b7dd8", "#d8593b"
CLASSES = ((0, "normal", NORMAL_COLOUR), (1, "anomalous", ANOMALY_COLOUR))
# Okabe and Ito, "Color Universal Design" (2008), without the yellow, which is faint on white.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000")
LINES = ("-", "--")
MOST_CURVES = len(COLOURS) * len(LINES)  # that can be told apart
WORST_NAMED = 5  # of more ids than that
MOST_PANELS = 21
GRID = np.linspace(0, 1, 501)  # false positive rates at which curves are averaged and compared
DASH = 3  # line widths
MARGIN = 0.02  # beyond rates of 0 and 1, so that a perfect curve does not lie on the frame
LEGEND_ROW_INCHES, LEGEND_CHARACTERS = 0.2, 72  # at 9 points, along the width of a figure
SMALL, TINY = 9, 7  # points
BINS = 40
STRIP_ROWS, STRIP_COLUMNS, STRIP_ROW_INCHES = 70, 3, 0.17
MARKED_EPOCHS = 20  # up to which every epoch has its dot

# label, labels (n_clips,), scores (n_clips,), AUC or None
Curve = tuple[str, np.ndarray, np.ndarray, float | None]


def _words(machine_type: str, curves: list[Curve]) -> str:
    return "".join([machine_type, *(name for name, *_ in curves)])


def _titled(name: str, auc: float | None) -> str:
    return f"{readable(name)}: " + ("no AUC" if auc is None else f"AUC {auc:.3f}")


def history(path: Path, machine_type: str, rows: Sequence[Epoch]) -> None:
    """Training and validation loss by epoch; on a log scale where there is a log of them all."""
    table = np.array([row[:3] for row in rows], float)  # None becomes NaN, which is not drawn
    epochs, *losses = table.T
    dot = "." if len(rows) <= MARKED_EPOCHS else None
    with figure(path, words=machine_type) as (axes,):
        shown = zip(
            losses, (NORMAL_COLOUR, ANOMALY_COLOUR), ("training", "validation"), strict=True
        )
        for values, colour, label in shown:
            if np.isfinite(values).any():
                axes.plot(epochs, values, color=colour, marker=dot, label=f"{label} clips")
        positive = not (np.array(losses) <= 0).any()
        axes.set(xlabel="epoch", ylabel="loss (dB²)", yscale="log" if positive else "linear")
        axes.set_xlim(epochs[0] - 0.5, epochs[-1] + 0.5)
        set_title(axes.figure, machine_type, "training")
        axes.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
        axes.grid(alpha=0.3, which="both")
        axes.legend()


def roc(path: Path, machine_type: str, curves: list[Curve], max_fpr: float) -> None:
    """ROC curve of each id; the shaded strip is where pAUC is taken.

    Of many ids all curves are drawn alike, with their mean, and the worst are named.
    """
    valid = [curve for curve in curves if curve[3] is not None]
    without = [name for name, _, _, auc in curves if auc is None]
    named = valid if len(valid) <= MOST_CURVES else sorted(valid, key=lambda c: c[3])[:WORST_NAMED]
    n_labels = len(named) + min(len(without), WORST_NAMED) + 4
    rows = math.ceil(n_labels / _legend_columns(curves))
    height = WIDTH_INCHES + LEGEND_ROW_INCHES * (rows + 1)
    with figure(path, height=height, words=_words(machine_type, curves)) as (axes,):
        axes.axvspan(0, max_fpr, color="0.93", label=f"pAUC: up to {max_fpr:g}")
        axes.plot([0, 1], [0, 1], color="0.6", linestyle=":", label="chance")
        if len(named) < len(valid):
            _draw_all(axes, valid, len(valid) - len(named))
        _draw_named(axes, named)
        for label in _without_auc(without):
            axes.plot([], [], " ", label=label)
        axes.set(
            xlabel="false positive rate (normal clips above the threshold)",
            ylabel="true positive rate (anomalous clips above the threshold)",
            xlim=(-MARGIN, 1 + MARGIN),
            ylim=(-MARGIN, 1 + MARGIN),
            aspect="equal",
            anchor="S",  # else the layout thinks that the label below has room in the axes
        )
        set_title(axes.figure, machine_type, "ROC")
        axes.grid(alpha=0.3)
        axes.figure.legend(
            loc="outside lower center", ncols=_legend_columns(curves), fontsize=SMALL
        )


def _legend_columns(curves: list[Curve]) -> int:
    """As many as have room for the longest label."""
    longest = max(len(f"{readable(name)}: AUC 0.000") for name, *_ in curves)
    return min(max(LEGEND_CHARACTERS // (longest + 4), 1), 3)  # + 4: the line before a label


def _heights(labels: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """True positive rates at the false positive rates of `GRID`; the top of upright parts."""
    return np.interp(GRID, *metrics.roc_curve(labels, scores))


def _draw_named(axes: Axes, curves: list[Curve]) -> None:
    """Curves over the frame; those that coincide take turns along their way."""
    keys = [_heights(labels, scores).round(6).tobytes() for _, labels, scores, _ in curves]
    for i, (name, labels, scores, auc) in enumerate(curves):
        line = {"color": COLOURS[i % len(COLOURS)], "linewidth": 1.8}
        style: str | tuple = LINES[i // len(COLOURS)]
        axes.plot([], [], linestyle=style, label=_titled(name, auc), **line)  # in the legend
        if (others := keys.count(keys[i]) - 1) > 0:
            style = (DASH * keys[:i].count(keys[i]), (DASH, DASH * others))
        x, y = metrics.roc_curve(labels, scores)
        axes.plot(x, y, linestyle=style, clip_on=False, zorder=3, **line)  # the frame has 2.5


def _draw_all(axes: Axes, curves: list[Curve], n_unnamed: int) -> None:
    """Every curve, thin, and the mean true positive rate at each false positive rate."""
    from matplotlib.collections import LineCollection

    lines = [np.stack(metrics.roc_curve(labels, scores), 1) for _, labels, scores, _ in curves]
    thin = {"colors": "0.55", "linewidths": 0.6, "alpha": 0.4, "label": f"{n_unnamed} other ids"}
    axes.add_collection(LineCollection(lines, clip_on=False, **thin))
    mean = np.mean([_heights(labels, scores) for _, labels, scores, _ in curves], axis=0)
    label = f"mean of {len(curves)} ids: AUC {np.mean([auc for *_, auc in curves]):.3f}"
    x, y = np.append(0, GRID), np.append(0, mean)
    axes.plot(x, y, color="black", linewidth=2.5, clip_on=False, zorder=4, label=label)


def _without_auc(names: list[str]) -> list[str]:
    """What a legend says of ids that have no AUC."""
    if len(names) > WORST_NAMED:
        return [f"{len(names)} ids without AUC"]
    return [_titled(name, None) for name in names]


def histograms(path: Path, machine_type: str, curves: list[Curve], score_title: str) -> None:
    """Scores of normal and anomalous clips of each id, on one scale.

    A histogram per id; of many ids a row each that shows the range of their scores.
    """
    draw = _panels if len(curves) <= MOST_PANELS else _strips
    draw(path, machine_type, curves, f"anomaly score: {score_title}")


def _score_edges(curves: list[Curve]) -> np.ndarray:
    """Edges of the bins of all scores; around scores that are alike, some room."""
    everything = np.concatenate([scores for _, _, scores, _ in curves])
    low, high = everything.min(), everything.max()
    largest = max(abs(low), abs(high))
    if high - low <= 1e-9 * largest:  # no axis could tell such scores apart
        low, high = low - max(0.5, largest / 1000), high + max(0.5, largest / 1000)
    return np.linspace(low, high, BINS + 1)


def _panels(path: Path, machine_type: str, curves: list[Curve], score_title: str) -> None:
    """Small histograms in a grid."""
    edges = _score_edges(curves)
    columns = 1 if len(curves) <= 4 else 2 if len(curves) <= 8 else 3
    rows = math.ceil(len(curves) / columns)
    size = {"height": 1.2 + 1.5 * rows, "width": WIDTH_INCHES * (1 + columns) / 2}
    words = _words(machine_type, curves)
    with figure(path, rows, columns=columns, words=words, **size) as panels:
        for i, (axes, (name, labels, scores, auc)) in enumerate(zip(panels, curves, strict=False)):
            for label, _, colour in CLASSES:
                _bars(axes, edges, scores[labels == label], colour)
            axes.set_title(_titled(name, auc), fontsize=SMALL)
            axes.set(xlim=_wider(edges), ylabel="" if i % columns else "clips")
            axes.yaxis.get_major_locator().set_params(integer=True)
            axes.tick_params(labelsize=SMALL, labelbottom=i + columns >= len(curves))
        for axes in panels[len(curves) :]:
            axes.set_axis_off()
        _finish(panels[0].figure, machine_type, "anomaly scores", score_title)


def _wider(edges: np.ndarray) -> tuple[float, float]:
    """Limits of an axis that leave the outermost bars and dots whole."""
    margin = MARGIN * (edges[-1] - edges[0])
    return edges[0] - margin, edges[-1] + margin


def _fill(colour: str) -> dict[str, Any]:
    return {"facecolor": (colour, 0.5), "edgecolor": colour, "linewidth": 0.8}


def _bars(axes: Axes, edges: np.ndarray, scores: np.ndarray, colour: str) -> None:
    """A histogram whose bars have outlines and let those behind show through."""
    counts, _ = np.histogram(scores, edges)
    some = counts > 0
    axes.bar(
        edges[:-1][some],
        counts[some],
        np.diff(edges)[some],
        align="edge",
        **_fill(colour),
    )


def _strips(path: Path, machine_type: str, curves: list[Curve], score_title: str) -> None:
    """A row an id, the worst first: a line over the scores of its normal and anomalous clips."""
    ranked = sorted(curves, key=lambda curve: math.inf if curve[3] is None else curve[3])
    shown = ranked[: STRIP_ROWS * STRIP_COLUMNS]
    columns = math.ceil(len(shown) / STRIP_ROWS)
    rows = math.ceil(len(shown) / columns)
    size = {"height": 1.5 + STRIP_ROW_INCHES * rows, "width": WIDTH_INCHES * (1 + columns) / 2}
    words = _words(machine_type, shown)
    what = f"anomaly scores of {len(curves)} ids, the worst AUC first"
    if len(shown) < len(curves):
        what = f"anomaly scores of the worst {len(shown)} of {len(curves)} ids"
    with figure(path, columns=columns, words=words, **size) as panels:
        limits = _wider(_score_edges(curves))
        for i, axes in enumerate(panels):
            _ranges(axes, shown[i * rows : (i + 1) * rows])
            axes.set(xlim=limits, ylim=(rows - 0.5, -0.5))
        score_title += "\nline: all clips; thick: the middle half of them; dot: the median"
        _finish(panels[0].figure, machine_type, what, score_title)


def _ranges(axes: Axes, curves: list[Curve]) -> None:
    """Lines from the least to the largest score of the clips of each id."""
    for label, _, colour in CLASSES:
        places, quartiles = [], []
        for row, (_, labels, scores, _) in enumerate(curves):
            if (labels == label).any():
                places.append(row + (0.2 if label else -0.2))
                quartiles.append(np.quantile(scores[labels == label], (0, 0.25, 0.5, 0.75, 1)))
        least, low, median, high, most = np.reshape(quartiles, (-1, 5)).T
        axes.hlines(places, least, most, colour, linewidth=0.8)
        axes.hlines(places, low, high, colour, linewidth=3)
        axes.plot(median, places, ".", color="black", markersize=3)
    axes.set_yticks(range(len(curves)), [_titled(name, auc) for name, *_, auc in curves])
    axes.tick_params(labelsize=TINY)
    axes.grid(alpha=0.3, axis="x")


def _finish(drawn: Figure, machine_type: str, what: str, score_title: str) -> None:
    """Title, legend and the label of the common score axis."""
    from matplotlib.patches import Patch

    drawn.supxlabel(score_title, fontsize=10)
    handles = [Patch(**_fill(colour), label=text) for _, text, colour in CLASSES]
    legend = drawn.legend(handles=handles, loc="outside upper right", ncols=2, fontsize=SMALL)
    set_title(drawn, machine_type, what, legend)
