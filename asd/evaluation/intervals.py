"""How sure an AUC is: its 95 % interval, of one set of clips and of an average over sets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from asd.evaluation.metrics import share_of_pairs, validated, wins

TAIL = 0.025  # a 95 % interval misses on either side with this chance


class Interval(NamedTuple):
    """An AUC and its 95 % confidence interval."""

    value: float
    low: float
    high: float
    pairs: float  # so many independent pairs of a normal and an anomalous clip tell as much

    @property
    def likely(self) -> float:
        """The value with a right and a wrong pair more (Laplace): never 0 or 1."""
        return (self.value * self.pairs + 1) / (self.pairs + 2)

    @property
    def variance(self) -> float:
        """Of the value, never 0: a binomial share's at the likely value."""
        return self.likely * (1 - self.likely) / self.pairs


def auc_interval(labels: np.ndarray, scores: np.ndarray) -> Interval:
    """AUC with its 95 % interval, which holds for few clips, many ties and an AUC of 0 or 1 too.

    The limits that Clopper and Pearson (Biometrika 26 (1934) 404-413,
    doi:10.1093/biomet/26.4.404) give a binomial share, for an effective number of independent
    pairs of clips, as Korn and Graubard do for surveys (Survey Methodology 24 (1998) 193-201).
    That number is AUC * (1 - AUC) / variance, with the variance of DeLong, DeLong and
    Clarke-Pearson (Biometrics 44 (1988) 837-845, doi:10.2307/2531595) held away from 0, and never
    below the clips of the smaller class: so many pairs share no clip, and the mean over all pairs
    varies no more than that over those (Birnbaum and Klose, Annals of Mathematical Statistics 28
    (1957) 933-945, doi:10.1214/aoms/1177706794).

    `python -m tests.simulate_intervals` measures how often it holds, beside other intervals.

    Raises
    ------
    ValueError : see `auc`.
    """
    anomalous, scores = validated(labels, scores)
    return interval_of_classes(scores[~anomalous], scores[anomalous])


def interval_of_classes(normal: np.ndarray, anomalous: np.ndarray) -> Interval:
    """`auc_interval` of many sets of clips at once.

    Parameters
    ----------
    normal, anomalous : (..., n_normal) and (..., n_anomalous) float64 scores, finite

    Returns
    -------
    four arrays (...,) float64
    """
    of_anomalous, of_normal = wins(normal, anomalous)
    m, n = of_anomalous.shape[-1], of_normal.shape[-1]
    likely_m, variance_m = _likely_mean(of_anomalous / n, 2 * n / (m + n))
    likely_n, variance_n = _likely_mean(of_normal / m, 2 * m / (m + n))
    likely = likely_m if m <= n else likely_n
    pairs = np.maximum(min(m, n), likely * (1 - likely) / (variance_m + variance_n))
    return _interval(share_of_pairs(of_anomalous, n), pairs)


def _likely_mean(shares: np.ndarray, more: float) -> tuple[np.ndarray, np.ndarray]:
    """The mean of DeLong's structural components of a class, and its variance, held away from 0.

    As if there were `more` clips, half of them in the right order with every clip of the other
    class and half with none. The two classes share two such clips; the smaller one, whose spread
    is known worse, gets more of them.

    Parameters
    ----------
    shares : (..., n_clips) float64, `wins` of the clips of the class by clips of the other
    """
    count = shares.shape[-1]
    mean = (shares.sum(axis=-1) + more / 2) / (count + more)
    square = ((shares * shares).sum(axis=-1) + more / 2) / (count + more)
    return mean, (square - mean * mean) / count


def _interval(value: np.ndarray, pairs: np.ndarray) -> Interval:
    """Clopper's and Pearson's limits of a share of pairs, whose number need not be whole."""
    return Interval(value, _lower_limit(value, pairs), 1 - _lower_limit(1 - value, pairs), pairs)


def _lower_limit(value: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    from scipy.special import betaincinv

    right, wrong = value * pairs, (1 - value) * pairs
    least = np.finfo(np.float64).tiny  # there is no such distribution for 0
    return np.where(right > 0, betaincinv(np.maximum(right, least), wrong + 1, TAIL), 0.0)[()]


def of_share(hits: int, count: int) -> tuple[float, float]:
    """The 95 % interval of a share of clips, by Clopper and Pearson, see `auc_interval`.

    Raises
    ------
    ValueError : there is no clip, or more hits than clips.
    """
    if not 0 <= hits <= count or not count:
        raise ValueError(f"{hits} of {count} clips is no share")
    low, high = (_lower_limit(np.float64(n / count), count) for n in (hits, count - hits))
    return float(low), float(1 - high)


def of_clustered_share(hits: np.ndarray, counts: np.ndarray) -> tuple[float, float]:
    """The 95 % interval of a share of decisions, of which those on one clip are alike.

    Clopper's and Pearson's limits for so many independent decisions as tell as much, as Korn and
    Graubard do, see `auc_interval`: p * (1 - p) / variance, with the variance of a ratio over
    clips, never below the number of clips and never above that of decisions.

    Parameters
    ----------
    hits, counts : (n_clips,) decisions on each clip that are hits, and all, at least one

    Raises
    ------
    ValueError : there is no clip, one has no decision, or more hits than decisions.
    """
    hits, counts = np.asarray(hits, np.float64), np.asarray(counts, np.float64)
    if not len(counts) or (counts < 1).any() or (hits < 0).any() or (hits > counts).any():
        raise ValueError("hits of counts, at least one a clip, are needed")
    n, share = len(counts), hits.sum() / counts.sum()
    spread = np.square(hits - share * counts).sum() / counts.sum() ** 2
    variance = spread * n / max(n - 1, 1)
    alike = share * (1 - share) / variance if variance else n
    pairs = min(max(alike, n), counts.sum())
    return float(_lower_limit(share, pairs)), float(1 - _lower_limit(1 - share, pairs))


def average_interval(intervals: Sequence[Interval]) -> Interval:
    """Mean of the AUCs of separate sets of clips, with the interval of that mean.

    The sets share no clip, so the variances of their AUCs add up; the limits are those of
    `auc_interval` for the number of pairs that has the variance of the mean.

    Raises
    ------
    ValueError : there is none.
    """
    count = len(intervals)
    if not count:
        raise ValueError("no AUC to average")
    value, likely, variance = (
        sum(getattr(interval, name) for interval in intervals) / count
        for name in ("value", "likely", "variance")
    )
    return _interval(value, likely * (1 - likely) / (variance / count))
