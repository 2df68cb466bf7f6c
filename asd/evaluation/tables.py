"""Tables of results: AUC and pAUC by machine id, pooled and averaged; as CSV, pictures, print."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from asd import files
from asd.clips import Scores
from asd.evaluation import intervals, metrics
from asd.evaluation.intervals import Interval
from asd.paths import Paths


@dataclass(frozen=True)
class Row:
    """The figures of one machine id, of all clips pooled, or their average over the ids."""

    name: str  # "01", "pooled" or "average"
    clips: int
    normal: int
    anomalous: int
    auc: Interval | None
    pauc: float | None
    pr_accuracy: float | None  # per cent
    note: str = ""


@dataclass(frozen=True)
class Table:
    """The figures of a machine type."""

    machine_type: str
    ids: tuple[Row, ...]
    pooled: Row
    average: Row


def evaluate(scored: Scores, max_fpr: float) -> Table:
    """The figures of a machine type by id, pooled over ids, and averaged over ids."""
    ids = tuple(_row(name, part, max_fpr) for name, part in scored.by_section())
    return Table(scored.machine_type, ids, _row("pooled", scored, max_fpr), _average(ids))


def without_labels(scored: Sequence[Scores]) -> str:
    """How many clips have no labels, and of which machine ids, where others have some."""
    parts = [(f"{one.machine_type} {name}", part.labels)
             for one in scored for name, part in one.by_section()]  # fmt: skip
    n_clips = sum(len(labels) for _, labels in parts)
    n_without = sum(int((labels == -1).sum()) for _, labels in parts)
    if n_without == n_clips:
        return f"scores of {n_clips} clips without labels"
    names = ", ".join(name for name, labels in parts if -1 in labels)
    return f"scores of {n_clips} clips, {n_without} of them without labels, of {names}"


def _row(name: str, scored: Scores, max_fpr: float) -> Row:
    labels, scores = scored.labels, scored.values
    counts = (len(labels), int((labels == 0).sum()), int((labels == 1).sum()))
    if reason := metrics.why_undefined(labels):
        return Row(name, *counts, None, None, None, reason)
    return Row(
        name,
        *counts,
        intervals.auc_interval(labels, scores),
        metrics.auc(labels, scores, max_fpr),
        metrics.precision_recall_accuracy(labels, scores),
    )


def _average(ids: Sequence[Row]) -> Row:
    """The mean over the ids that have an AUC."""
    valid = [row for row in ids if row.auc is not None]
    counts = [sum(getattr(row, name) for row in ids) for name in ("clips", "normal", "anomalous")]
    if not valid:
        return Row("average", *counts, None, None, None, "no id has an AUC")
    missing = ", ".join(row.name for row in ids if row.auc is None)
    return Row(
        "average",
        *counts,
        intervals.average_interval([row.auc for row in valid]),
        float(np.mean([row.pauc for row in valid])),
        float(np.mean([row.pr_accuracy for row in valid])),
        f"without id {missing}" if missing else "",
    )


def write_result(path: Path, tables: Sequence[Table]) -> None:
    """`result.csv` in the reference's layout; AUC and pAUC are empty where there is none."""
    rows: list[Sequence[Any]] = []
    for table in tables:
        rows += [[table.machine_type], ["id", "AUC", "pAUC"]]
        rows += [[row.name, *_auc_pauc(row)] for row in table.ids]
        rows += [["Average", *_auc_pauc(table.average)], []]
    files.write_csv(path, rows)


def _auc_pauc(row: Row) -> tuple[Any, Any]:
    return ("", "") if row.auc is None else (row.auc.value, row.pauc)


METRICS_HEADER = (
    "machine_type", "id", "clips", "normal", "anomalous",
    "auc", "auc_low", "auc_high", "pauc", "pr_accuracy", "note",
)  # fmt: skip


def write_metrics(path: Path, tables: Sequence[Table]) -> None:
    """`metrics.csv`: a row per id, one pooled and one averaged; AUC with its 95 % interval."""
    rows: list[Sequence[Any]] = [METRICS_HEADER]
    for table in tables:
        for row in (*table.ids, table.pooled, table.average):
            figures = ("",) * 5 if row.auc is None else (*row.auc[:3], row.pauc, row.pr_accuracy)
            counts = (row.clips, row.normal, row.anomalous)
            rows.append((table.machine_type, row.name, *counts, *figures, row.note))
    files.write_csv(path, rows)


def draw(paths: Paths, scored: Sequence[Scores], tables: Sequence[Table], score_title: str) -> None:
    """`roc_<type>.png` and `histogram_<type>.png`.

    Parameters
    ----------
    score_title : what the scores are, with their unit
    """
    from asd.evaluation import plots

    for one, table in zip(scored, tables, strict=True):
        curves = [
            (f"id {name}", part.labels, part.values, row.auc and row.auc.value)
            for (name, part), row in zip(one.by_section(), table.ids, strict=True)
        ]
        name = one.machine_type
        plots.roc(paths.picture("roc", name), name, curves, paths.cfg.max_fpr)
        plots.histograms(paths.picture("histogram", name), name, curves, score_title)


def show(tables: Sequence[Table], folder: Path) -> None:
    """Print the figures as a person reads them."""
    width = max([14, *(len(table.machine_type) + 1 for table in tables)])
    print(f"\n{'machine':<{width}}{'id':<9}{'normal':>7}{'anomalous':>11}{'AUC':>8}  "
          f"{'95 % interval':<15}{'pAUC':>6}")  # fmt: skip
    for table in tables:
        several = (table.pooled, table.average) if len(table.ids) > 1 else ()
        for row in (*table.ids, *several):
            if row.auc is None:
                figures = f"       -  {row.note}"
            else:
                interval = f"{row.auc.low:.3f} - {row.auc.high:.3f}"
                figures = f"{row.auc.value:8.3f}  {interval:<15}{row.pauc:6.3f}  {row.note}"
            counts = f"{row.normal:>7}{row.anomalous:>11}"
            print(f"{table.machine_type:<{width}}{row.name:<9}{counts}{figures}".rstrip())
    print("AUC: the chance that an anomalous clip scores above a normal one; .5 is guessing, 1 is")
    print(f"perfect. Scores, tables and pictures are in {folder}/")
