"""Figures of merit of anomaly scores: AUC, pAUC, EEMBC's accuracy, and comparisons of scores.

Labels are 0 (normal) or 1 (anomalous); a higher score means more anomalous.
"""

from __future__ import annotations

import math

import numpy as np


def why_undefined(labels: np.ndarray) -> str | None:
    """Why there is no AUC for these labels; None if there is one."""
    labels = np.asarray(labels)
    if not labels.size:
        return "no test clip"
    if not (labels == 1).any():
        return "no anomalous test clip"
    if not (labels == 0).any():
        return "no normal test clip"
    return None


def _numbers(values: np.ndarray) -> np.ndarray:
    """As float64; infinite, and so refused, where they are no numbers."""
    values = np.asarray(values)
    if values.dtype.kind not in "biuf":
        return np.full(values.shape, np.inf)
    with np.errstate(over="ignore"):
        return values.astype(np.float64)


def validated(labels: np.ndarray, *scores: np.ndarray) -> tuple[np.ndarray, ...]:
    """(n_clips,) bool, which are anomalous, and the (n_clips,) float64 scores, of any number type.

    Raises
    ------
    ValueError : see `auc`.
    """
    labels = _numbers(labels)
    if labels.ndim != 1 or not np.isin(labels, (0, 1)).all():
        raise ValueError("labels are 0 (normal) or 1 (anomalous), one for each clip")
    if reason := why_undefined(labels):
        raise ValueError(reason)
    return labels == 1, *(_finite(values, labels.shape) for values in scores)


def _finite(scores: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    scores = _numbers(scores)
    if scores.shape != shape or not np.isfinite(scores).all():
        raise ValueError("one finite score is needed for each label")
    return scores


def roc_curve(labels: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """False and true positive rates at every threshold, from none called anomalous to all.

    Returns
    -------
    (n + 1,) and (n + 1,) float64 for n distinct scores, from (0, 0) to (1, 1)

    Raises
    ------
    ValueError : see `auc`.
    """
    anomalous, scores = validated(labels, scores)
    order = np.argsort(-scores)
    ordered = scores[order]
    last = np.append(ordered[1:] != ordered[:-1], True)  # of the clips of one score
    hits = np.append(0, np.cumsum(anomalous[order])[last])
    called = np.append(0, np.flatnonzero(last) + 1)
    false = called - hits
    return false / false[-1], hits / hits[-1]


def auc(labels: np.ndarray, scores: np.ndarray, max_fpr: float | None = None) -> float:
    """Area under the ROC curve; with `max_fpr` McClish's standardised partial area.

    The partial area up to max_fpr, scaled so that chance is .5 and a perfect order is 1: McClish,
    Medical Decision Making 9 (1989) 190-195, doi:10.1177/0272989X8900900307. Clips of one score
    count half: equal scores have .5.

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
    ValueError : a label is another number, a class is missing, a score is not finite, the lengths
        differ, max_fpr is no such rate.
    """
    anomalous, scores = validated(labels, scores)
    if max_fpr is None or max_fpr == 1:
        of_anomalous, _ = wins(scores[~anomalous], scores[anomalous])
        return float(share_of_pairs(of_anomalous, (~anomalous).sum()))
    if not 0 < max_fpr < 1:
        raise ValueError(f"max_fpr is above 0 and at most 1, not {max_fpr}")
    fpr, tpr = roc_curve(labels, scores)
    inside = fpr <= max_fpr
    x = np.append(fpr[inside], max_fpr)
    y = np.append(tpr[inside], np.interp(max_fpr, fpr, tpr))
    area = (np.diff(x) * (y[1:] + y[:-1])).sum() / 2
    least = max_fpr * max_fpr / 2  # the area of chance
    return float((1 + (area - least) / (max_fpr - least)) / 2)


def auc_without_each(
    labels: np.ndarray, scores: np.ndarray, max_fpr: float | None = None
) -> np.ndarray:
    """The AUC or pAUC without each clip in turn, (n_clips,) float64.

    Raises
    ------
    ValueError : see `auc`; a class has a single clip.
    """
    anomalous, scores = validated(labels, scores)
    m, n = int(anomalous.sum()), int((~anomalous).sum())
    if min(m, n) < 2:
        raise ValueError("a class of a single clip has no AUC without it")
    if max_fpr is not None and max_fpr != 1:
        return np.array([auc(np.delete(anomalous, i), np.delete(scores, i), max_fpr)
                         for i in range(len(scores))])  # fmt: skip
    of_anomalous, of_normal = wins(scores[~anomalous], scores[anomalous])
    without = np.empty(len(scores))
    without[anomalous] = (of_anomalous.sum() - of_anomalous) / ((m - 1) * n)
    without[~anomalous] = (of_normal.sum() - of_normal) / (m * (n - 1))
    return without


def wins(normal: np.ndarray, anomalous: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How many clips of the other class each clip is in the right order with; ties count half.

    By ranks as in Sun and Xu, IEEE Signal Processing Letters 21 (2014) 1389-1393,
    doi:10.1109/LSP.2014.2337313.

    Parameters
    ----------
    normal, anomalous : (..., n_normal) and (..., n_anomalous) scores

    Returns
    -------
    for each anomalous clip the normal clips below it, (..., n_anomalous) float64, and for each
    normal clip the anomalous clips above it, (..., n_normal) float64
    """
    from scipy.stats import rankdata

    m = anomalous.shape[-1]
    ranks = rankdata(np.concatenate([anomalous, normal], axis=-1), axis=-1)
    of_anomalous = ranks[..., :m] - rankdata(anomalous, axis=-1)
    of_normal = m - (ranks[..., m:] - rankdata(normal, axis=-1))
    return of_anomalous, of_normal


def share_of_pairs(won: np.ndarray, others: int) -> np.ndarray:
    """The AUC, with a single rounding: the share of all pairs that are in the right order.

    Parameters
    ----------
    won : (..., n_clips) float64, `wins` of the clips of a class
    others : clips of the other class
    """
    return won.sum(axis=-1) / (won.shape[-1] * others)


def delong_paired_p(labels: np.ndarray, scores_a: np.ndarray, scores_b: np.ndarray) -> float:
    """Two-sided p value that two scores of the same clips have the same AUC.

    DeLong et al. for correlated ROC curves (Biometrics 44 (1988) 837-845, doi:10.2307/2531595),
    with Student's distribution in place of the normal one: it has a degree of freedom less than
    the smaller class has clips, the fewest that Welch's formula can give (Biometrika 34 (1947)
    28-35, doi:10.1093/biomet/34.1-2.28). Were the scores as good as each other, those of any clip
    could be exchanged: where k clips differ in their place that gives 2^k outcomes of one
    probability, half of them in favour of either score, so p is at least 2 / 2^k.

    Returns
    -------
    0 to 1; 1 where the two order the clips alike, or where a class has a single clip

    Raises
    ------
    ValueError : see `auc`.
    """
    from scipy.special import stdtr

    anomalous, *both = validated(labels, scores_a, scores_b)
    a, b = (wins(scores[~anomalous], scores[anomalous]) for scores in both)
    m, n = len(a[0]), len(a[1])
    if min(m, n) < 2:
        return 1.0
    differences = (a[0] - b[0]) / n, (a[1] - b[1]) / m  # of DeLong's structural components
    least = 2.0 ** (1 - sum(np.count_nonzero(d) for d in differences))
    mean = abs(differences[0].mean())
    deviation = math.sqrt(sum(np.var(d, ddof=1) / len(d) for d in differences))
    t = mean / deviation if deviation else math.inf
    return float(min(1, max(least, 2 * stdtr(min(m, n) - 1, -t))))


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
    anomalous, scores = validated(labels, scores)
    # By a power of two, which rounds nothing: no threshold is too large or too small for a float.
    scores = np.ldexp(scores, -np.frexp(np.abs(scores).max())[1])
    low, high = scores.min(), scores.max()
    thresholds = low + np.arange(100) / 100 * (high - low)  # (100,)
    called = scores[None, :] > thresholds[:, None]  # (100, n_clips) bool
    hits = (called & anomalous).sum(axis=1)
    precision = hits / np.maximum(called.sum(axis=1), 1)
    recall = hits / anomalous.sum()
    return float(50 * (precision + recall).max())


def rank_correlation(scores_a: np.ndarray, scores_b: np.ndarray) -> float | None:
    """Spearman's rank correlation of two scores of the same clips.

    Returns
    -------
    -1 to 1; None where it is undefined (fewer than two clips, or all scores alike)

    Raises
    ------
    ValueError : a score is not finite, the lengths differ.
    """
    scores_a = _finite(scores_a, np.shape(scores_b))
    scores_b = _finite(scores_b, scores_a.shape)
    if len(scores_a) < 2 or any(s.min() == s.max() for s in (scores_a, scores_b)):
        return None
    from scipy.stats import spearmanr

    return float(spearmanr(scores_a, scores_b).statistic)
