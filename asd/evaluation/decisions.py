"""Which clips are called anomalous: a threshold from the scores of normal training clips.

The threshold is the score below which 90 % of the training clips lie, by a gamma distribution
fitted to them as in DCASE Task 2's baseline, or by their own quantile. It is of CLIP scores: those
of batches vary less, and a threshold from them calls half of the normal clips anomalous.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

from asd.clips import Scores
from asd.evaluation import metrics
from asd.evaluation.official import Figure, undefined

NORMAL_SHARE = 0.9  # of the training clips lies below the threshold; the baseline's
LEAST = np.finfo(float).eps  # of a divisor, as in DCASE Task 2's programs

Kind = Literal["gamma", "empirical"]


class Threshold(NamedTuple):
    """Clips with a score above it are called anomalous."""

    value: float
    kind: Kind  # of the distribution that gave it
    shape: float | None = None  # of the gamma distribution
    location: float | None = None
    scale: float | None = None
    reason: str = ""  # why it is not of the kind that was asked for


def threshold(scores: np.ndarray, kind: Kind = "gamma", share: float = NORMAL_SHARE) -> Threshold:
    """The score below which a share of the normal training clips lies.

    The gamma distribution has a free location and the greatest likelihood (scipy's fit). Its search
    can end far off; a point outside the range of the scores is refused, and their own quantile
    (linear between neighbours) is taken.

    Parameters
    ----------
    scores : (n_clips,) finite, of normal training clips
    share : above 0 and below 1

    Raises
    ------
    ValueError : there is no score, one is not finite, share is no such number.
    """
    scores = np.asarray(scores, dtype=np.float64)
    if scores.ndim != 1 or not scores.size or not np.isfinite(scores).all():
        raise ValueError("a threshold needs finite scores of training clips")
    if not 0 < share < 1:
        raise ValueError(f"share is above 0 and below 1, not {share}")
    empirical = Threshold(float(np.quantile(scores, share)), "empirical")
    if kind == "empirical":
        return empirical
    if scores.min() == scores.max():
        return empirical._replace(reason="no gamma distribution fits scores that are all alike")
    from scipy import stats

    try:
        with np.errstate(all="ignore"):
            fit = [float(one) for one in stats.gamma.fit(scores)]
            value = float(stats.gamma.ppf(share, *fit))
    except (ValueError, RuntimeError, stats.FitError) as error:
        return empirical._replace(reason=f"no gamma distribution fits the scores: {error}")
    if not scores.min() <= value <= scores.max():
        return empirical._replace(
            reason=f"the gamma distribution's point {value:.6g} is outside the scores"
        )
    return Threshold(value, "gamma", *fit)


def by_section(
    train: Scores, kind: Kind = "gamma", share: float = NORMAL_SHARE, others: Sequence[str] = ()
) -> dict[str, Threshold]:
    """A threshold for each section, from the scores of its own training clips.

    Parameters
    ----------
    others : sections that need one, too; those without training clips have that of all clips
    """
    limits = {section: threshold(part.values, kind, share) for section, part in train.by_section()}
    if lacking := [section for section in others if section not in limits]:
        limits |= dict.fromkeys(lacking, threshold(train.values, kind, share))
    return limits


def held_out(train: Scores, kind: Kind = "gamma", share: float = NORMAL_SHARE) -> dict[str, float]:
    """How often a threshold of all other sections calls a section's training clips anomalous.

    By section, the share of its clips; near 1 - share where a threshold holds for sections that it
    has not seen. A machine type of one section has none.
    """
    parts = dict(train.by_section())
    rates = {}
    for section, part in parts.items():
        others = [other.values for name, other in parts.items() if name != section]
        if others:
            limit = threshold(np.concatenate(others), kind, share).value
            rates[section] = float(np.mean(part.values > limit))
    return rates


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
