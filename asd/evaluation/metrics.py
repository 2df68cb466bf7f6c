"""Figures of merit of anomaly scores: AUC and its uncertainty, pAUC, EEMBC's accuracy.

Labels are 0 (normal) or 1 (anomalous); a higher score means more anomalous.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

Z_95 = 1.959963984540054  # 97.5 % quantile of the standard normal distribution


class Interval(NamedTuple):
    """An estimate and its 95 % confidence interval."""

    value: float
    low: float
    high: float


def why_undefined(labels: np.ndarray) -> str | None:
    """Why there is no AUC for these labels; None if there is one."""
    labels = np.asarray(labels)
    if not (labels == 1).any():
        return "no anomalous test clip"
    if not (labels == 0).any():
        return "no normal test clip"
    return None


def _validate(labels: np.ndarray, *scores: np.ndarray) -> None:
    if reason := why_undefined(labels):
        raise ValueError(reason)
    if not np.isin(labels, (0, 1)).all():
        raise ValueError("labels are 0 (normal) or 1 (anomalous)")
    for values in scores:
        if np.shape(values) != np.shape(labels) or not np.isfinite(values).all():
            raise ValueError("one finite score is needed for each label")


def roc_curve(labels: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """False and true positive rates at every threshold, from none called anomalous to all.

    Returns
    -------
    (n + 1,) and (n + 1,) float64 for n distinct scores, from (0, 0) to (1, 1)

    Raises
    ------
    ValueError : see `auc`.
    """
    from sklearn import metrics

    _validate(labels, scores)
    fpr, tpr, _ = metrics.roc_curve(labels, scores, drop_intermediate=False)
    return fpr, tpr


def auc(labels: np.ndarray, scores: np.ndarray, max_fpr: float | None = None) -> float:
    """Area under the ROC curve; with `max_fpr` McClish's standardised partial area.

    The partial area up to max_fpr, scaled so that chance is .5 and a perfect order is 1: McClish,
    Medical Decision Making 9 (1989) 190-195, doi:10.1177/0272989X8900900307.

    Parameters
    ----------
    labels : (n_clips,) of 0 and 1, both present
    scores : (n_clips,) finite
    max_fpr : false positive rate up to which the area counts, (0, 1]

    Returns
    -------
    0 to 1, .5 is chance

    Raises
    ------
    ValueError : a class is missing, a score is not finite, the lengths differ.
    """
    from sklearn import metrics

    fpr, tpr = roc_curve(labels, scores)
    if max_fpr in (None, 1):
        return float(metrics.auc(fpr, tpr))
    # Not roc_auc_score: it drops points on straight lines first, and with them last digits.
    inside = fpr <= max_fpr
    x = np.append(fpr[inside], max_fpr)
    y = np.append(tpr[inside], np.interp(max_fpr, fpr, tpr))
    least = max_fpr**2 / 2  # the area of chance
    return float((1 + (metrics.auc(x, y) - least) / (max_fpr - least)) / 2)


def _placements(labels: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """DeLong's structural components.

    Returns
    -------
    for each anomalous clip the share of normal clips below it, (n_anomalous,) float64, and for
    each normal clip the share of anomalous clips above it, (n_normal,) float64; ties count half.
    """
    from scipy.stats import rankdata

    labels, scores = np.asarray(labels), np.asarray(scores, np.float64)
    normal, anomalous = scores[labels == 0], scores[labels == 1]
    ranks = rankdata(np.concatenate([anomalous, normal]))
    m, n = len(anomalous), len(normal)
    of_anomalous = (ranks[:m] - rankdata(anomalous)) / n
    of_normal = 1 - (ranks[m:] - rankdata(normal)) / m
    return of_anomalous, of_normal


def _mean_variance(values: np.ndarray) -> float:
    """Variance of the mean of two values or more."""
    return float(np.var(values, ddof=1) / len(values))


def delong_interval(labels: np.ndarray, scores: np.ndarray) -> Interval:
    """AUC with its 95 % interval by the variance estimate of DeLong et al.

    The normal approximation, cut to [0, 1]; [0, 1] where a class has a single clip, whose spread
    nobody knows. Sources: DeLong, DeLong, Clarke-Pearson,
    Biometrics 44 (1988) 837-845, doi:10.2307/2531595; by ranks as in Sun and Xu, IEEE Signal
    Processing Letters 21 (2014) 1389-1393, doi:10.1109/LSP.2014.2337313.

    Raises
    ------
    ValueError : see `auc`.
    """
    _validate(labels, scores)
    of_anomalous, of_normal = _placements(labels, scores)
    value = float(of_anomalous.mean())
    if min(len(of_anomalous), len(of_normal)) < 2:
        return Interval(value, 0.0, 1.0)
    half = Z_95 * math.sqrt(_mean_variance(of_anomalous) + _mean_variance(of_normal))
    return Interval(value, max(0.0, value - half), min(1.0, value + half))


def average_interval(intervals: list[Interval]) -> Interval:
    """Mean of the AUCs of separate sets of clips, with the interval of that mean.

    The sets share no clip, so the variances of their AUCs add up.
    """
    values = np.array([interval.value for interval in intervals])
    halves = [max(i.high - i.value, i.value - i.low) for i in intervals]
    half = math.sqrt(math.fsum(h * h for h in halves)) / len(intervals)
    mean = float(values.mean())
    return Interval(mean, max(0.0, mean - half), min(1.0, mean + half))


def delong_paired_p(labels: np.ndarray, scores_a: np.ndarray, scores_b: np.ndarray) -> float:
    """Two-sided p value that two scores of the same clips have the same AUC.

    DeLong et al. (see `delong_interval`), for correlated ROC curves.

    Returns
    -------
    0 to 1; 1 where the two order the clips alike, or where a class has a single clip

    Raises
    ------
    ValueError : see `auc`.
    """
    _validate(labels, scores_a, scores_b)
    a, b = _placements(labels, scores_a), _placements(labels, scores_b)
    if min(len(a[0]), len(a[1])) < 2:
        return 1.0
    difference = float(a[0].mean() - b[0].mean())
    variance = _mean_variance(a[0] - b[0]) + _mean_variance(a[1] - b[1])
    if variance == 0:
        return 1.0 if difference == 0 else 0.0
    return math.erfc(abs(difference) / math.sqrt(2 * variance))


def precision_recall_accuracy(labels: np.ndarray, scores: np.ndarray) -> float:
    """EEMBC's accuracy of an auto-encoder: the largest mean of precision and recall.

    Over the 100 thresholds min + k / 100 * (max - min), k = 0..99; a clip is called anomalous
    if its score is above the threshold. Source: the evaluation functions of MLPerf Tiny.

    Returns
    -------
    0 to 100, per cent

    Raises
    ------
    ValueError : see `auc`.
    """
    _validate(labels, scores)
    labels, scores = np.asarray(labels), np.asarray(scores, np.float64)
    low, high = scores.min(), scores.max()
    thresholds = low + np.arange(100) / 100 * (high - low)  # (100,)
    called = scores[None, :] > thresholds[:, None]  # (100, n_clips) bool
    hits = (called & (labels == 1)).sum(axis=1)
    precision = hits / np.maximum(called.sum(axis=1), 1)
    recall = hits / (labels == 1).sum()
    return float(50 * (precision + recall).max())


def rank_correlation(scores_a: np.ndarray, scores_b: np.ndarray) -> float | None:
    """Spearman's rank correlation of two scores of the same clips.

    Returns
    -------
    -1 to 1; None where it is undefined (fewer than two clips, or all scores alike)
    """
    if len(scores_a) < 2 or np.ptp(scores_a) == 0 or np.ptp(scores_b) == 0:
        return None
    from scipy.stats import spearmanr

    return float(spearmanr(scores_a, scores_b).statistic)
