"""Pictures: the training history, ROC curves and score histograms of a machine type."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from asd import files
from asd.evaluation import metrics

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from asd.training import Epoch

WIDTH_INCHES, HEIGHT_INCHES, DPI = 6.4, 4.4, 120
NORMAL_COLOUR, ANOMALY_COLOUR = "#3b7dd8", "#d8593b"

# label, labels (n_clips,), scores (n_clips,), AUC or None
Curve = tuple[str, np.ndarray, np.ndarray, float | None]


@contextmanager
def figure(path: Path, rows: int = 1, height: float = HEIGHT_INCHES) -> Iterator[list[Axes]]:
    """Axes one above the other, drawn without a display; saved to `path` when left."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    drawn = Figure((WIDTH_INCHES, height), dpi=DPI, layout="constrained")
    FigureCanvasAgg(drawn)
    yield list(drawn.subplots(rows, 1, squeeze=False)[:, 0])
    with files.whole_file(path) as temporary:
        drawn.savefig(temporary, format="png")


def history(path: Path, machine_type: str, rows: Sequence[Epoch]) -> None:
    """Training and validation loss by epoch."""
    epochs, losses, val_losses = zip(*rows, strict=True)
    with figure(path) as (axes,):
        axes.semilogy(epochs, losses, color=NORMAL_COLOUR, label="training clips")
        if val_losses[-1] is not None:
            axes.semilogy(epochs, val_losses, color=ANOMALY_COLOUR, label="validation clips")
        axes.set(xlabel="epoch", ylabel="loss (dB²)", title=f"{machine_type}: training")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3, which="both")
        axes.legend()


def roc(path: Path, machine_type: str, curves: list[Curve], max_fpr: float) -> None:
    """ROC curve of each id; the shaded strip is where pAUC is taken."""
    with figure(path, height=WIDTH_INCHES) as (axes,):
        axes.axvspan(0, max_fpr, color="0.93", label=f"pAUC: up to {max_fpr:g}")
        axes.plot([0, 1], [0, 1], color="0.6", linestyle=":", label="chance")
        for name, labels, scores, auc in curves:
            if auc is not None:
                x, y = metrics.roc_curve(labels, scores)
                axes.plot(x, y, label=f"{name}: AUC {auc:.3f}")
        axes.set(
            xlabel="false positive rate (normal clips above the threshold)",
            ylabel="true positive rate (anomalous clips above the threshold)",
            title=f"{machine_type}: ROC",
            xlim=(0, 1),
            ylim=(0, 1.01),
            aspect="equal",
        )
        axes.grid(alpha=0.3)
        axes.legend(loc="lower right")


def histograms(path: Path, machine_type: str, curves: list[Curve], score_title: str) -> None:
    """Scores of normal and anomalous clips, one row per id, on one scale."""
    everything = np.concatenate([scores for _, _, scores, _ in curves])
    edges = np.histogram_bin_edges(everything, bins=40)
    height = 1.2 + 1.5 * len(curves)
    with figure(path, rows=len(curves), height=height) as rows:
        for axes, (name, labels, scores, auc) in zip(rows, curves, strict=True):
            for label, text, colour in (
                (0, "normal", NORMAL_COLOUR),
                (1, "anomalous", ANOMALY_COLOUR),
            ):
                axes.hist(scores[labels == label], edges, alpha=0.6, color=colour, label=text)
            shown = "no AUC" if auc is None else f"AUC {auc:.3f}"
            axes.set(ylabel="clips", title=f"{machine_type} {name}: {shown}")
            axes.yaxis.get_major_locator().set_params(integer=True)
        rows[0].legend()
        rows[-1].set_xlabel(f"anomaly score: {score_title}")
