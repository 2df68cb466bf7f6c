"""Results: anomaly scores by machine id, their AUC tables, pictures and the printed summary."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import common
from asd import metrics, provenance
from asd.frames import FrameStore
from asd.metrics import Interval
from common import Clip, UserError


@dataclass(frozen=True)
class Scored:
    """The anomaly scores of a machine type's test clips."""

    machine_type: str
    clips: tuple[Clip, ...]
    scores: np.ndarray  # (n_clips,) float64, dB^2

    @property
    def labels(self) -> np.ndarray:
        """(n_clips,) int64: 0 normal, 1 anomalous, -1 unknown."""
        return np.array([-1 if clip.label is None else clip.label for clip in self.clips])

    def at(self, index: np.ndarray, scores: np.ndarray | None = None) -> Scored:
        """Some of the clips, with these scores or their own."""
        clips = tuple(self.clips[i] for i in index)
        return Scored(self.machine_type, clips, self.scores[index] if scores is None else scores)

    def by_id(self) -> Iterator[tuple[str, Scored]]:
        """The scores of each machine id, ids in order."""
        for machine_id in sorted({clip.machine_id for clip in self.clips}):
            index = [i for i, clip in enumerate(self.clips) if clip.machine_id == machine_id]
            yield machine_id, self.at(np.array(index))


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


def write_scores(folder: Path, prefix: str, scored: Scored) -> None:
    """`<prefix>anomaly_score_<type>_id_XX.csv`: rows of file name and score, without a header."""
    for machine_id, part in scored.by_id():
        path = common.score_path(folder, prefix, scored.machine_type, machine_id)
        names = [clip.path.name for clip in part.clips]
        common.write_csv(path, zip(names, part.scores, strict=True))


def _source_path(folder: Path, mode: str, machine_type: str) -> Path:
    return folder / f"anomaly_score_{machine_type}_{mode}.json"


def write_source(
    folder: Path, mode: str, model: Path, machine_type: str, store: FrameStore
) -> None:
    """`anomaly_score_<type>_<mode>.json`: which model and which clips the scores are of."""
    source = {
        "model": model.name,
        "sha256": common.file_hash(model),
        "clips": {"count": len(store), "fingerprint": store.fingerprint},
        "versions": provenance.versions(),
    }
    common.write_json(_source_path(folder, mode, machine_type), source)


def read_scores(
    folder: Path, mode: str, model: Path, machine_type: str, store: FrameStore
) -> np.ndarray:
    """The scores that 01_test.py wrote, in the order of the store's clips.

    Returns
    -------
    (n_clips,) float64, dB^2

    Raises
    ------
    UserError : they are missing, or of another model or of other clips.
    """
    again = "run 01_test.py again"
    source_path = _source_path(folder, mode, machine_type)
    if not source_path.exists():
        raise UserError(f"{source_path}: no Keras scores to compare with; run 01_test.py first")
    sha256, fingerprint = common.read_keys(source_path, "sha256", "clips.fingerprint")
    if sha256 != common.file_hash(model):
        raise UserError(f"{source_path}: the scores are of another model than {model}; {again}")
    if fingerprint != store.fingerprint:
        raise UserError(f"{source_path}: the scores are of other test clips; {again}")
    scores = {}
    for machine_id in sorted({clip.machine_id for clip in store.clips}):
        path = common.score_path(folder, "", machine_type, machine_id)
        try:
            rows = common.read_csv(path)
            scores |= {(machine_id, name): float(score) for name, score in rows}
            if not np.isfinite(list(scores.values())).all():
                raise ValueError("a score is not a number")
        except (FileNotFoundError, ValueError) as error:
            raise UserError(f"{path}: missing or damaged; {again}") from error
    try:
        return np.array([scores[clip.machine_id, clip.path.name] for clip in store.clips])
    except KeyError as error:
        raise UserError(f"{folder}: no score of {error.args[0][1]}; {again}") from error


def evaluate(scored: Scored, max_fpr: float) -> Table:
    """The figures of a machine type by id, pooled over ids, and averaged over ids."""
    ids = tuple(_row(name, part, max_fpr) for name, part in scored.by_id())
    return Table(scored.machine_type, ids, _row("pooled", scored, max_fpr), _average(ids))


def _row(name: str, scored: Scored, max_fpr: float) -> Row:
    labels, scores = scored.labels, scored.scores
    counts = (len(labels), int((labels == 0).sum()), int((labels == 1).sum()))
    if reason := metrics.why_undefined(labels):
        return Row(name, *counts, None, None, None, reason)
    return Row(
        name,
        *counts,
        metrics.delong_interval(labels, scores),
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
        metrics.average_interval([row.auc for row in valid]),
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
    common.write_csv(path, rows)


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
            figures = ("",) * 5 if row.auc is None else (*row.auc, row.pauc, row.pr_accuracy)
            counts = (row.clips, row.normal, row.anomalous)
            rows.append((table.machine_type, row.name, *counts, *figures, row.note))
    common.write_csv(path, rows)


def draw(folder: Path, scored: Sequence[Scored], tables: Sequence[Table], max_fpr: float) -> None:
    """`roc_<type>.png` and `histogram_<type>.png`."""
    from asd import plots

    for one, table in zip(scored, tables, strict=True):
        curves = [
            (f"id {name}", part.labels, part.scores, row.auc and row.auc.value)
            for (name, part), row in zip(one.by_id(), table.ids, strict=True)
        ]
        plots.roc(folder / f"roc_{one.machine_type}.png", one.machine_type, curves, max_fpr)
        plots.histograms(folder / f"histogram_{one.machine_type}.png", one.machine_type, curves)


def show(tables: Sequence[Table], folder: Path) -> None:
    """Print the figures as a person reads them."""
    print(f"\n{'machine':<14}{'id':<9}{'normal':>7}{'anomalous':>11}{'AUC':>8}  "
          f"{'95 % interval':<15}{'pAUC':>6}")  # fmt: skip
    for table in tables:
        rows = (*table.ids, table.pooled, table.average)
        for row in rows:
            if row.auc is None:
                figures = f"       -  {row.note}"
            else:
                interval = f"{row.auc.low:.3f} - {row.auc.high:.3f}"
                figures = f"{row.auc.value:8.3f}  {interval:<15}{row.pauc:6.3f}  {row.note}"
            counts = f"{row.normal:>7}{row.anomalous:>11}"
            print(f"{table.machine_type:<14}{row.name:<9}{counts}{figures}".rstrip())
    print("AUC: the chance that an anomalous clip scores above a normal one; .5 is guessing, 1 is")
    print(f"perfect. Scores, tables and pictures are in {folder}/")
