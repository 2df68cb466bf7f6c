"""What the official evaluators of DCASE 2023 on make of scores, decisions and the ground truth.

A section's figures are the same in the baseline's result files; `evaluator_files.py` has the
layouts of both. AUCs here are areas of trapezoids, whose last digits the official files show.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from asd.evaluation import metrics
from asd.evaluation.decisions import LEAST, precision_recall_f1
from asd.evaluation.official import Figure, mean, undefined

DOMAINS = ("source", "target")
MAX_FPR = 0.1
CONFIDENCE = 0.95


class Section(NamedTuple):
    """The test clips of a section, their truth and what a system says of them."""

    machine_type: str
    name: str  # "00"
    labels: np.ndarray  # (n_clips,) 0 normal, 1 anomalous
    domains: np.ndarray  # (n_clips,) "source" or "target"; "" in years without domains
    scores: np.ndarray  # (n_clips,) float64
    decisions: np.ndarray  # (n_clips,) 0 or 1


def _area(labels: np.ndarray, scores: np.ndarray, max_fpr: float | None = None) -> Figure:
    """`metrics.auc` by trapezoids, which differs in rounding."""
    if reason := metrics.why_undefined(labels):
        return undefined(reason)
    anomalous, scores = metrics.validated(labels, scores)
    from sklearn.metrics import roc_auc_score

    return Figure(float(roc_auc_score(anomalous, scores, max_fpr=max_fpr)))


def figures(section: Section, max_fpr: float = MAX_FPR) -> dict[str, Figure]:
    """Every figure of a section, by its heading in the official files.

    "AUC (all)" and "pAUC" are of all clips; "AUC (source)" and "AUC (target)" of a domain's normal
    clips and ALL anomalous ones; "pAUC (source)" and so on, precision, recall and F1 score of a
    domain's own clips; "AUC", "precision", "recall" and "F1 score" of all clips, for years without
    domains. Divisors of 0 count as 2.2e-16.

    Raises
    ------
    ValueError : a score is not finite, a label or a decision is neither 0 nor 1.
    """
    labels, scores, decisions = section.labels, section.scores, section.decisions
    every = _area(labels, scores)
    found = {"AUC (all)": every, "AUC": every, "pAUC": _area(labels, scores, max_fpr)}
    found |= precision_recall_f1(labels, decisions)
    for domain in DOMAINS:
        own = section.domains == domain
        mixed = own | (labels == 1)
        found[f"AUC ({domain})"] = _area(labels[mixed], scores[mixed])
        found[f"pAUC ({domain})"] = _area(labels[own], scores[own], max_fpr)
        called = precision_recall_f1(labels[own], decisions[own])
        found |= {f"{name} ({domain})": figure for name, figure in called.items()}
    return found


class Result(NamedTuple):
    """A system's figures: of each section, by machine type and section."""

    system: str
    sections: dict[tuple[str, str], dict[str, Figure]]
    clips: tuple[Section, ...]

    def over(self, names: Sequence[str], harmonic: bool, machine_type: str | None = None) -> Figure:
        """The mean of some figures over the sections (of one machine type)."""
        terms = [
            (f"{machine} {section} {name}", found[name])
            for name in names
            for (machine, section), found in self.sections.items()
            if machine_type in (None, machine)
        ]
        return mean(terms, harmonic, LEAST)

    @property
    def official(self) -> Figure:
        """The harmonic mean of AUC source, AUC target and pAUC over machine types and sections."""
        return self.over(("AUC (source)", "AUC (target)", "pAUC"), harmonic=True)

    @property
    def machine_types(self) -> list[str]:
        """In their order."""
        return list(dict.fromkeys(machine for machine, _ in self.sections))


def evaluate(system: str, sections: Sequence[Section], max_fpr: float = MAX_FPR) -> Result:
    """The figures of a system."""
    found = {(one.machine_type, one.name): figures(one, max_fpr) for one in sections}
    return Result(system, found, tuple(sections))


class Jackknife(NamedTuple):
    """An AUC or pAUC and how sure it is."""

    value: float
    estimate: float  # with the bias of first order taken away
    half_width: float  # of the 95 % confidence interval
    published: float  # the half width that the official evaluator gives: N - 1 times too narrow


def jackknife(labels: np.ndarray, scores: np.ndarray, max_fpr: float | None = None) -> Jackknife:
    """An AUC's or pAUC's confidence interval, by leaving out each clip in turn.

    The pseudo-value of a clip is N times the figure of all N clips less N - 1 times that of all but
    this clip (Tukey, Annals of Mathematical Statistics 29 (1958) 614); their mean is the estimate,
    and their standard error times Student's 97.5 % point the half width. The official evaluators
    take the figures themselves for the pseudo-values, which are N - 1 times less spread.

    Raises
    ------
    ValueError : see `metrics.auc`; a class has a single clip.
    """
    metrics.validated(labels, scores)
    count = len(labels)
    if min(np.count_nonzero(labels == one) for one in (0, 1)) < 2:
        raise ValueError("a class of a single clip has no jackknife")
    value = _area(labels, scores, max_fpr).value
    without = np.array([_area(np.delete(labels, i), np.delete(scores, i), max_fpr).value
                        for i in range(count)])  # fmt: skip
    pseudo = count * value - (count - 1) * without
    published = float(_student_point(count - 1) * np.std(without, ddof=1) / np.sqrt(count))
    return Jackknife(value, float(pseudo.mean()), published * (count - 1), published)


def _student_point(freedom: int) -> float:
    """Student's 97.5 % point; scipy's has 12 digits, and Newton's method gives the others."""
    from scipy.stats import t

    point = t.ppf((1 + CONFIDENCE) / 2, freedom)
    return point - (t.cdf(point, freedom) - (1 + CONFIDENCE) / 2) / t.pdf(point, freedom)


def confidence(result: Result, published: bool = False, max_fpr: float = MAX_FPR) -> Figure:
    """The 95 % half width printed beside the official score.

    The mean of those of AUC and pAUC, the clips of all machine types pooled.

    Parameters
    ----------
    published : as the official evaluators compute it, see `jackknife`
    """
    labels = np.concatenate([one.labels for one in result.clips])
    scores = np.concatenate([one.scores for one in result.clips])
    try:
        both = [jackknife(labels, scores, limit) for limit in (None, max_fpr)]
    except ValueError as error:
        return undefined(str(error))
    widths = [one.published if published else one.half_width for one in both]
    return Figure(float(np.mean(widths)))
