"""Thresholds from the scores of normal training clips, and how often they are wrong.

The threshold is the score below which 90 % of the training clips lie, by a gamma distribution
fitted to them as in DCASE Task 2's baseline, or by their own quantile. It is of CLIP scores: those
of batches vary less, and a threshold from them calls half of the normal clips anomalous.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

from asd.clips import Clip, Scores
from asd.evaluation import intervals

NORMAL_SHARE = 0.9  # of the training clips lies below the threshold; the baseline's

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


FOLDS = 5  # each of them held out of the threshold in turn


class FalseAlarms(NamedTuple):
    """How often normal clips are to be above a threshold, and how often that may really be."""

    nominal: float  # 1 - share
    low: float  # the 95 % interval of the share of clips that were held out of their threshold
    high: float
    hits: int  # of them above it
    clips: int


def folds(clips: Sequence[Clip]) -> np.ndarray:
    """Which fold each clip is held out in, (n_clips,) int64; see `false_alarms`."""
    fold = np.empty(len(clips), np.int64)
    sections = np.array([clip.section for clip in clips])
    for section in set(sections.tolist()):
        own = np.flatnonzero(sections == section)
        fold[own] = np.arange(len(own)) % FOLDS
    return fold


def false_alarms(train: Scores, kind: Kind = "gamma", share: float = NORMAL_SHARE) -> FalseAlarms:
    """How often a threshold of all clips is wrong about clips that it has not seen.

    Each fold's clips are held against the threshold of the other folds. A fold has every fifth
    clip of each machine id: the last of the sorted names would all be of one. The interval is
    Clopper's and Pearson's; machine ids without training clips are outside it, see `held_out`.
    """
    fold = folds(train.clips)
    hits = 0
    for i in set(fold.tolist()):
        others = train.values[fold != i]
        limit = threshold(others if len(others) else train.values, kind, share).value
        hits += int((train.values[fold == i] > limit).sum())
    low, high = intervals.of_share(hits, len(fold))
    return FalseAlarms(round(1 - share, 12), low, high, hits, len(fold))
