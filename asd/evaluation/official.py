"""The official scores of DCASE Task 2: AUC and pAUC of each section and domain, and their means.

A figure of a section is of a subset of its clips, and so is its name: `s_auc` and `t_auc` are of
the clips of the source and of the target domain; `smix_auc` and `tmix_auc`, the task's AUC source
and AUC target since 2022, of a domain's normal clips and ALL anomalous ones; `mix_auc` and
`mix_pauc`, the task's pAUC since 2022, of all clips. Which of them a year's official score is a
mean of stands in `years.py`. Source of the columns: Fujimura et al. 2025, arXiv:2507.10264.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from decimal import ROUND_HALF_UP, Decimal
from typing import NamedTuple

import numpy as np

from asd.clips import Scores
from asd.evaluation import metrics
from asd.evaluation.years import Year

# By figure: the domains of its normal clips, of its anomalous clips, and whether it is a pAUC.
_BOTH = ("source", "target")
FIGURES = {
    "s_auc": (("source",), ("source",), False),
    "s_pauc": (("source",), ("source",), True),
    "t_auc": (("target",), ("target",), False),
    "t_pauc": (("target",), ("target",), True),
    "smix_auc": (("source",), _BOTH, False),
    "tmix_auc": (("target",), _BOTH, False),
    "mix_auc": (_BOTH, _BOTH, False),
    "mix_pauc": (_BOTH, _BOTH, True),
}
WITHOUT_DOMAINS = ("s_auc", "s_pauc")  # of a year that has none: of all clips


class Figure(NamedTuple):
    """A figure of merit, or why there is none."""

    value: float  # NaN where it is undefined
    reason: str = ""

    @property
    def cell(self) -> float | str:
        """What a table shows: nothing where it is undefined."""
        return self.value if self.defined else ""

    @property
    def defined(self) -> bool:
        """Whether there is a value."""
        return not math.isnan(self.value)


def undefined(reason: str) -> Figure:
    """No figure, and why."""
    return Figure(math.nan, reason)


def mean(
    figures: dict[str, Figure] | Sequence[tuple[str, Figure]], harmonic: bool, floor: float = 0.0
) -> Figure:
    """Arithmetic or harmonic mean; undefined where one is, with its name and reason.

    Parameters
    ----------
    figures : by, or with, what they are of: "section 3", "fan"
    floor : smaller values count as this much; a harmonic mean with a 0 is 0
    """
    if not figures:
        return undefined("nothing to average")
    figures = list(figures.items() if isinstance(figures, dict) else figures)
    missing = [f"{name}: {one.reason}" for name, one in figures if not one.defined]
    if missing:
        return undefined("; ".join(dict.fromkeys(missing)))
    values = np.array([one.value for _, one in figures])
    return Figure(mean_of(values, harmonic, floor))


def mean_of(values: Sequence[float] | np.ndarray, harmonic: bool, floor: float = 0.0) -> float:
    """See `mean`; of plain values."""
    if not harmonic:
        return float(np.mean(values))
    with np.errstate(divide="ignore"):
        return float(1 / np.mean(1 / np.maximum(values, floor)))


def evaluate(
    year: Year,
    machine_type: str,
    sections: np.ndarray,
    domains: np.ndarray,
    labels: np.ndarray,
    scores: np.ndarray,
) -> dict[str, Figure]:
    """Every figure of a machine type: of its sections, their means, and the official score.

    Parameters
    ----------
    sections : (n_clips,) int, or digits
    domains : (n_clips,) "source" or "target"; whatever they are in a year without domains
    labels : (n_clips,) 0 normal, 1 anomalous
    scores : (n_clips,) finite, higher is more anomalous

    Returns
    -------
    by name: `<section>_<figure>` of each section that has clips; `dev_<figure>`, `eval_<figure>`
    of the development and evaluation sections where any of these has; `dev_official21` and so on,
    or `0_official23` in years of one section. An undefined one has its reason.

    Raises
    ------
    ValueError : a section, domain or label is none of the year's, a score is not finite, the
        lengths differ.
    """
    sections = _sections(year, machine_type, sections)
    domains, labels, scores = _validated(year, sections, domains, labels, scores)
    names = FIGURES if year.has_domains else WITHOUT_DOMAINS
    columns = {}
    for section in sorted(set(sections.tolist())):
        here = sections == section
        clips = domains[here], labels[here], scores[here]
        columns |= {f"{section}_{name}": _figure(name, *clips, year) for name in names}
    parts = year.parts(machine_type)
    parts = {name: all_ for name, all_ in parts.items() if set(all_) & set(sections.tolist())}
    for name in names:
        for part, of_part in parts.items():
            if part != "0":
                columns[f"{part}_{name}"] = _mean_over(columns, year, of_part, [name])
    for part, of_part in parts.items():
        column = f"{part}_{year.official}"
        columns[column] = _mean_over(columns, year, of_part, year.terms)
    return columns


def of_scores(year: Year, scores: Scores) -> dict[str, Figure]:
    """`evaluate` of the anomaly scores of a machine type."""
    clips = scores.clips
    sections, domains = ([getattr(clip, k) or "" for clip in clips] for k in ("section", "domain"))
    return evaluate(year, scores.machine_type, np.array(sections), np.array(domains),
                    scores.labels, scores.values)  # fmt: skip


def _sections(year: Year, machine_type: str, sections: np.ndarray) -> np.ndarray:
    known = {section for part in year.parts(machine_type).values() for section in part}
    try:
        numbers = np.asarray(sections).astype(int)
    except ValueError as error:
        raise ValueError(f"sections are numbers: {error}") from error
    for section in set(numbers.tolist()) - known:
        raise ValueError(f"section {section} is none of {machine_type} in {year.year}: "
                         f"{', '.join(map(str, sorted(known)))}")  # fmt: skip
    return numbers


def _validated(
    year: Year, sections: np.ndarray, domains: np.ndarray, labels: np.ndarray, scores: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    domains, labels, scores = np.asarray(domains), np.asarray(labels), np.asarray(scores)
    if not year.has_domains:
        domains = np.full(sections.shape, "source")
    if not all(one.shape == sections.shape for one in (domains, labels, scores)):
        raise ValueError("a section, a domain, a label and a score are needed for each clip")
    if not np.isin(domains, _BOTH).all():
        raise ValueError("domains are source or target")
    if not np.isin(labels, (0, 1)).all():
        raise ValueError("labels are 0 (normal) or 1 (anomalous)")
    if not np.isfinite(scores).all():
        raise ValueError("scores are finite")
    return domains, labels, scores


def _figure(
    name: str, domains: np.ndarray, labels: np.ndarray, scores: np.ndarray, year: Year
) -> Figure:
    of_normal, of_anomalous, _ = FIGURES[name]
    for domain in sorted({*of_normal, *of_anomalous}) if year.has_domains else ():
        if not (domains == domain).any():
            return undefined(f"no test clip of the {domain} domain")
    chosen = subset(name, domains, labels)
    if reason := metrics.why_undefined(labels[chosen]):
        where = f" of the {of_normal[0]} domain" if year.has_domains and of_normal != _BOTH else ""
        return undefined(reason + where)
    return Figure(metrics.auc(labels[chosen], scores[chosen], max_fpr_of(name, year)))


def subset(name: str, domains: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Which clips of a section a figure is of, (n_clips,) bool."""
    of_normal, of_anomalous, _ = FIGURES[name]
    return np.where(labels == 1, np.isin(domains, of_anomalous), np.isin(domains, of_normal))


def max_fpr_of(name: str, year: Year) -> float | None:
    """Up to which false positive rate a figure counts; None: an AUC."""
    return year.max_fpr if FIGURES[name][2] else None


def _mean_over(
    columns: dict[str, Figure], year: Year, sections: Iterable[int], names: Iterable[str]
) -> Figure:
    absent = undefined("no test clip")
    terms = {
        f"section {section} {name}": columns.get(f"{section}_{name}", absent)
        for section in sections
        for name in names
    }
    return mean(terms, year.harmonic)


class Row(NamedTuple):
    """A figure of an experiment (method, back end) for each machine type, and their mean."""

    name: str
    figures: dict[str, Figure]  # by machine type
    total: Figure


def over_machines(
    year: Year, mode: str, column: str, results: dict[str, dict[str, dict[str, Figure]]]
) -> list[Row]:
    """A table: experiments by machine types, and the mean over these.

    An experiment that lacks a machine type has no total, and the reason says which.

    Parameters
    ----------
    mode : "dev" or "eval", whose machine types
    column : of `evaluate`
    results : by experiment and machine type, the figures of `evaluate`
    """
    rows = []
    for name in sorted(results):
        figures = {
            machine: results[name].get(machine, {}).get(column, undefined(f"no {column}"))
            for machine in year.machines(mode)
        }
        rows.append(Row(name, figures, mean(figures, year.harmonic)))
    return rows


class Spread(NamedTuple):
    """Mean and standard deviation (divisor n - 1) of a figure over seeds."""

    mean: Figure
    deviation: float | None  # None of a single seed
    seeds: int


def over_seeds(figures: dict[str, Figure]) -> Spread:
    """Of one figure of several runs, by their names; undefined where one of them is."""
    if len(figures) == 1:
        return Spread(next(iter(figures.values())), None, 1)
    average = mean(figures, harmonic=False)
    values = [one.value for one in figures.values()]
    deviation = float(np.std(values, ddof=1)) if average.defined else None
    return Spread(average, deviation, len(figures))


def percent(value: float) -> str:
    """Per cent with two decimals, halves rounded up, as the task's papers print scores."""
    return str(Decimal(str(value * 100)).quantize(Decimal("0.01"), ROUND_HALF_UP))
