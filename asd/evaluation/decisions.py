"""Which clips are called anomalous by their sections' thresholds, and how well that does."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from asd.clips import Scores
from asd.evaluation import metrics
from asd.evaluation.official import Figure, undefined
from asd.evaluation.thresholds import Threshold

LEAST = np.finfo(float).eps  # of a divisor, as in DCASE Task 2's programs


def decide(test: Scores, limits: dict[str, Threshold]) -> np.ndarray:
    """(n_clips,) int64: 1 where a clip's score is above its section's threshold, else 0.

    Raises
    ------
    KeyError : a section has no threshold.
    """
    own = np.array([limits[clip.section].value for clip in test.clips])
    return (test.values > own).astype(np.int64)


NAMES = ("precision", "recall", "F1 score")


def precision_recall_f1(labels: Sequence[int], decisions: Sequence[int]) -> dict[str, Figure]:
    """Precision, recall and F1 score of decisions; 0 where no clip is called anomalous.

    Parameters
    ----------
    labels, decisions : (n_clips,) 0 normal, 1 anomalous

    Returns
    -------
    by name, undefined where a class has no clip

    Raises
    ------
    ValueError : one is neither 0 nor 1, or the lengths differ.
    """
    labels, decisions = np.asarray(labels), np.asarray(decisions)
    if labels.shape != decisions.shape or not np.isin(decisions, (0, 1)).all():
        raise ValueError("a decision, 0 or 1, is needed for each label")
    if reason := metrics.why_undefined(labels):
        return dict.fromkeys(NAMES, undefined(reason))
    hits = int(((labels == 1) & (decisions == 1)).sum())
    precision = hits / max((decisions == 1).sum(), LEAST)
    recall = hits / max((labels == 1).sum(), LEAST)
    f1 = 2 * precision * recall / max(precision + recall, LEAST)
    values = (precision, recall, f1)
    return {name: Figure(float(value)) for name, value in zip(NAMES, values, strict=True)}
