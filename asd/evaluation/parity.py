"""Parity: is a converted model still the Keras model, judged by the scores of the same clips."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from asd import files
from asd.clips import Scores
from asd.config import Parity, Tolerance
from asd.evaluation import metrics

PASS, FAIL, CHANCE = "pass", "FAIL", "within chance"


@dataclass(frozen=True)
class Comparison:
    """A variant's scores of one machine id against those of the Keras model."""

    variant: str  # suffix of the TFLite file
    machine_type: str
    section: str
    clips: int
    score_max: float  # largest |score - Keras| / Keras
    score_median: float
    rank_correlation: float | None  # Spearman's; None for a single clip
    auc_keras: float | None
    auc: float | None
    p_value: float | None  # paired DeLong: that the two AUCs are the same
    tolerance: str
    verdict: str


def tolerance_of(parity: Parity, quantised: bool, dense_weights: str) -> Tolerance:
    """How far the scores of a variant may be from the Keras model's."""
    return getattr(parity, dense_weights) if quantised else parity.float


def compare(
    variant: str,
    section: str,
    keras: Scores,
    other: np.ndarray,
    tolerance: Tolerance,
    significance_level: float,
) -> Comparison:
    """Compare the scores of one machine id.

    Parameters
    ----------
    keras : the clips and their scores by the Keras model
    other : (n_clips,) float64, the converted model's scores of the same clips
    tolerance : how far they may be apart
    significance_level : a larger drop in AUC passes as 'within chance' above this paired p value
    """
    relative = keras.relative_errors(other)
    labels = keras.labels
    auc_keras = auc = p_value = None
    if metrics.why_undefined(labels) is None:
        auc_keras, auc = metrics.auc(labels, keras.values), metrics.auc(labels, other)
        p_value = metrics.delong_paired_p(labels, keras.values, other)
    score_max, score_median = float(relative.max()), float(np.median(relative))
    return Comparison(
        variant=variant,
        machine_type=keras.machine_type,
        section=section,
        clips=len(other),
        score_max=score_max,
        score_median=score_median,
        rank_correlation=metrics.rank_correlation(keras.values, other),
        auc_keras=auc_keras,
        auc=auc,
        p_value=p_value,
        tolerance=_words(tolerance),
        verdict=_verdict(
            tolerance, significance_level, score_max, score_median, auc_keras, auc, p_value
        ),
    )


def compare_sections(
    variant: str, keras: Scores, other: Scores, tolerance: Tolerance, significance_level: float
) -> list[Comparison]:
    """Compare each machine id of a variant's scores with the Keras model's."""
    pairs = zip(keras.by_section(), other.by_section(), strict=True)
    return [
        compare(variant, name, a, b.values, tolerance, significance_level)
        for (name, a), (_, b) in pairs
    ]


def _verdict(
    tolerance: Tolerance,
    significance_level: float,
    score_max: float,
    score_median: float,
    auc_keras: float | None,
    auc: float | None,
    p_value: float | None,
) -> str:
    limits = ((score_max, tolerance.score_max), (score_median, tolerance.score_median))
    for value, limit in limits:
        if limit is not None and not value <= limit:
            return FAIL
    if auc is None or auc >= auc_keras - tolerance.auc_drop:
        return PASS
    return CHANCE if p_value > significance_level else FAIL


def _words(tolerance: Tolerance) -> str:
    limits = (
        ("max", tolerance.score_max),
        ("median", tolerance.score_median),
        ("AUC drop", tolerance.auc_drop),
    )
    return ", ".join(f"{name} {limit:g}" for name, limit in limits if limit is not None)


HEADER = (
    "variant", "machine_type", "id", "clips", "score_max", "score_median", "rank_correlation",
    "auc_keras", "auc", "auc_difference", "p_value", "bar", "verdict",
)  # fmt: skip


def write(path: Path, rows: Sequence[Comparison]) -> None:
    """`parity.csv`: a row per variant, machine type and id; score errors are relative."""
    table = [HEADER]
    for r in rows:
        difference = None if r.auc is None else r.auc - r.auc_keras
        table.append(
            (r.variant, r.machine_type, r.section, r.clips, r.score_max, r.score_median,
             r.rank_correlation, r.auc_keras, r.auc, difference, r.p_value, r.tolerance, r.verdict)
        )  # fmt: skip
    files.write_csv(path, [["" if x is None else x for x in row] for row in table])


def show(rows: Sequence[Comparison], titles: dict[str, str], path: Path) -> int:
    """Print the comparisons, 100 columns wide at most; return the exit status, 1 if any failed."""
    print("\nIs each converted model still the Keras model? The same test clips, scored by both:\n")
    print(
        f"{'model file':<27}{'machine':<13}{'id':<4}{'score error':>17}{'AUC':>13}{'p':>8}  verdict"
    )
    print(f"{'':<44}{'median':>8}{'largest':>9}{'Keras':>7}{'file':>7}")
    for r in rows:
        errors = f"{r.score_median:>8.3%}{r.score_max:>9.3%}"
        aucs = f"{'-':>7}{'-':>7}{'-':>7}"
        if r.auc is not None:
            aucs = f"{r.auc_keras:>7.3f}{r.auc:>7.3f}{r.p_value:>7.2f}"
        name = f"{titles[r.variant]:<27}{r.machine_type[:12]:<13}{r.section:<4}"
        print(f"{name}{errors}{aucs}  {r.verdict}")
    failed = [r for r in rows if r.verdict == FAIL]
    print("\nscore error: |score - Keras| / Keras over the clips; p: that both AUCs are the same")
    print(f"the tolerances, and more figures: {path}")
    if any(r.verdict == CHANCE for r in rows):
        print("within chance: the AUC fell, but so few clips cannot tell it from luck (p)")
    if failed:
        worst = failed[0]
        print(f"PARITY LOST in {len(failed)} of {len(rows)} comparisons; the first that failed:")
        where = f"{titles[worst.variant]}, {worst.machine_type} id {worst.section}"
        print(f"{where}; tolerance: {worst.tolerance}")
    else:
        print(f"PARITY KEPT in all {len(rows)} comparisons: these files are the trained model")
    return 1 if failed else 0
