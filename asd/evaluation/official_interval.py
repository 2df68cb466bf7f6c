"""How sure an official score is: the delete-one jackknife within strata.

The clips of a stratum (machine type, section, domain, label) are taken for a sample of their own.
With theta without clip i of stratum h, and their mean over the stratum's n clips, the variance is

    sum over h of (n - 1) / n * sum over i of (theta_hi - mean_h)^2

(Efron and Stein, Annals of Statistics 9 (1981) 586-596, doi:10.1214/aos/1176345462; by strata Shao
and Tu, The Jackknife and Bootstrap, 1995, doi:10.1007/978-1-4612-0795-5, section 6.2). A
half width of the 95 % interval is its root times Student's 97.5 % point, with the degrees of
freedom that Welch and Satterthwaite give a sum of variances (Biometrika 34 (1947) 28-35,
doi:10.1093/biomet/34.1-2.28).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from asd.clips import Scores
from asd.evaluation import metrics, official
from asd.evaluation.official import Figure, undefined
from asd.evaluation.years import Year

POINT = 0.975  # of Student's distribution: a 95 % interval misses on either side with .025


class Interval(NamedTuple):
    """An official score and its 95 % confidence interval; both limits or neither."""

    value: float
    low: Figure
    high: Figure


class Left(NamedTuple):
    """The terms of a section's official score, and what they are without each clip."""

    terms: np.ndarray  # (n_terms,)
    without: np.ndarray  # (n_clips, n_terms)
    strata: np.ndarray  # (n_clips,) int64


def interval(year: Year, mode: str, scored: Sequence[Scores]) -> Interval:
    """The official score over some machine types with its interval.

    Parameters
    ----------
    mode : "dev" or "eval", whose sections count
    scored : of each machine type; labelled, and with every term of the official score

    Raises
    ------
    ValueError : a term is undefined; see `official.evaluate`.
    """
    return of_left(year, [left(year, mode, one) for one in scored])


def of_left(year: Year, sections: Sequence[Sequence[Left]]) -> Interval:
    """`interval` of machine types, of each what `left` gave."""
    # A mean of means: over machine types of that over their sections' terms, f and then back.
    of_machines = np.array([_mean(year, [one.terms for one in parts]) for parts in sections])
    total = of_machines.mean()
    value = float(_back(year, total))
    if value == 0:
        return _without_limits(value, "a score of 0 stays 0 without any clip")
    variances, freedoms = [], []
    for parts in sections:
        n_terms = sum(len(one.terms) for one in parts)
        for one in parts:
            changed = _forth(year, one.without).sum(axis=1) - _forth(year, one.terms).sum()
            theta = _back(year, total + changed / n_terms / len(sections))
            for stratum in set(one.strata.tolist()):
                own = theta[one.strata == stratum]
                if len(own) < 2:
                    return _without_limits(value, "a single clip of a section, domain and label")
                variances.append((len(own) - 1) * float(np.var(own)))
                freedoms.append(len(own) - 1)
    return _limits(value, np.array(variances), np.array(freedoms))


def _limits(value: float, variances: np.ndarray, freedoms: np.ndarray) -> Interval:
    from scipy.special import stdtrit

    if not variances.any():
        return _without_limits(value, "the score is the same without any clip")
    freedom = variances.sum() ** 2 / (variances**2 / freedoms).sum()
    half = float(stdtrit(freedom, POINT)) * math.sqrt(variances.sum())
    return Interval(value, Figure(max(0.0, value - half)), Figure(min(1.0, value + half)))


def _without_limits(value: float, reason: str) -> Interval:
    return Interval(value, undefined(reason), undefined(reason))


def _forth(year: Year, values: np.ndarray) -> np.ndarray:
    """What the year's mean is the arithmetic mean of."""
    with np.errstate(divide="ignore"):
        return 1 / values if year.harmonic else values


def _back(year: Year, values: np.ndarray) -> np.ndarray:
    return 1 / values if year.harmonic else values


def _mean(year: Year, terms: Sequence[np.ndarray]) -> float:
    return float(_forth(year, np.concatenate(terms)).mean())


def left(year: Year, mode: str, scored: Scores) -> list[Left]:
    """The sections of a machine type that count, whole and without each clip.

    Raises
    ------
    ValueError : see `interval`.
    """
    wanted = year.parts(scored.machine_type)[year.part(mode)]
    return [_left(year, part) for section, part in scored.by_section() if int(section) in wanted]


def _left(year: Year, part: Scores) -> Left:
    """Of a section; a term does not change with clips that it is not of."""
    labels, scores = part.labels, part.values
    domains = np.array([clip.domain if year.has_domains else "source" for clip in part.clips])
    terms = np.empty(len(year.terms))
    without = np.empty((len(labels), len(year.terms)))
    for column, name in enumerate(year.terms):
        chosen, max_fpr = official.subset(name, domains, labels), official.max_fpr_of(name, year)
        clips = labels[chosen], scores[chosen]
        terms[column] = metrics.auc(*clips, max_fpr)
        without[:, column] = terms[column]
        if min(np.bincount(clips[0], minlength=2)) > 1:  # else a stratum has a single clip
            without[chosen, column] = metrics.auc_without_each(*clips, max_fpr)
    return Left(terms, without, 2 * (domains == "target") + labels)
