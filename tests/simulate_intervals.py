"""How often the 95 % intervals of AUCs hold the true AUC, by simulation, and how wide they are.

A row for each score model and number of clips, a column for each true AUC: the share of the
repeats whose interval holds it, and the mean width below. AUCs below .5 are those above it with
the classes exchanged. Then the same of averages over separate sets of clips.

    .venv/bin/python -m tests.simulate_intervals --repeats 2000
    .venv/bin/python -m tests.simulate_intervals --method delong
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from asd.evaluation import intervals
from asd.evaluation.intervals import Interval
from asd.evaluation.metrics import share_of_pairs, wins

Z_95 = 1.959963984540054  # 97.5 % quantile of the standard normal distribution
FAR = 1e6  # above every other score of a model

# Score models: (rng, repeats, n_normal, n_anomalous, AUC of .5 to 1) to the scores of the normal
# and the anomalous clips, (repeats, n_normal) and (repeats, n_anomalous) float64.
Model = Callable[[np.random.Generator, int, int, int, float], tuple[np.ndarray, np.ndarray]]


def binormal(spread: float) -> Model:
    """Both classes are normal, the anomalous one with another standard deviation."""

    def scores(rng, repeats, n_normal, n_anomalous, auc):
        from scipy.stats import norm

        shift = min(norm.ppf(auc) * np.hypot(1, spread), FAR)
        anomalous = shift + spread * rng.normal(size=(repeats, n_anomalous))
        return rng.normal(size=(repeats, n_normal)), anomalous

    return scores


def exponential(rng, repeats, n_normal, n_anomalous, auc):
    """Both classes are exponential: the model of Hanley and McNeil."""
    odds = auc / max(1 - auc, 1 / FAR**2)
    normal = rng.exponential(size=(repeats, n_normal))
    return normal, odds * rng.exponential(size=(repeats, n_anomalous))


def tied(most: int) -> Model:
    """Whole numbers from 0 to `most`, binomial in both classes."""

    def scores(rng, repeats, n_normal, n_anomalous, auc):
        from scipy.optimize import brentq
        from scipy.stats import binom

        levels = np.arange(most + 1)

        def excess(chance):
            normal, anomalous = (binom.pmf(levels, most, p) for p in (1 - chance, chance))
            return (anomalous * (np.cumsum(normal) - normal / 2)).sum() - auc

        chance = 1 if auc == 1 else brentq(excess, 0.5 - 1e-9, 1)
        normal = rng.binomial(most, 1 - chance, (repeats, n_normal))
        return normal * 1.0, rng.binomial(most, chance, (repeats, n_anomalous)) * 1.0

    return scores


def all_or_nothing(rng, repeats, n_normal, n_anomalous, auc):
    """An anomalous clip is above every normal one, or below: the largest variance there is."""
    above = rng.random((repeats, n_anomalous)) < auc
    return rng.normal(size=(repeats, n_normal)), np.where(above, FAR, -FAR)


def some_stand_out(rng, repeats, n_normal, n_anomalous, auc):
    """Some anomalous clips are above every normal one, the others like the normal ones."""
    above = rng.random((repeats, n_anomalous)) < 2 * auc - 1
    likewise = rng.normal(size=(repeats, n_anomalous))
    return rng.normal(size=(repeats, n_normal)), np.where(above, FAR, likewise)


MODELS: dict[str, Model] = {
    "binormal": binormal(1),
    "spread 3": binormal(3),
    "spread 1/3": binormal(1 / 3),
    "exponential": exponential,
    "2 levels": tied(1),
    "5 levels": tied(4),
    "all or nothing": all_or_nothing,
    "some stand out": some_stand_out,
}
CLIPS = ((2, 2), (5, 5), (25, 25), (2, 25), (25, 2), (1, 10), (10, 1))  # normal, anomalous
AUCS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0)
SETS = (((2, 2),) * 4, ((5, 5),) * 4, ((25, 25),) * 4, ((2, 2), (25, 25), (2, 25), (5, 5)))
SET_AUCS = (
    (0.5, 0.5, 0.5, 0.5),
    (0.6, 0.7, 0.8, 0.9),
    (0.85, 0.85, 0.85, 0.85),
    (0.99, 0.95, 0.99, 0.5),
    (1, 1, 0.9, 0.7),
    (1, 1, 1, 0.5),
    (0.99, 0.99, 0.99, 0.99),
    (1, 1, 1, 1),
)

# Intervals of many sets of clips at once, from (repeats, n_normal) and (repeats, n_anomalous).
Method = Callable[[np.ndarray, np.ndarray], Interval]


def delong(normal: np.ndarray, anomalous: np.ndarray) -> Interval:
    """The normal approximation with DeLong's variance, cut to [0, 1]; nothing from one clip."""
    of_anomalous, of_normal = wins(normal, anomalous)
    m, n = of_anomalous.shape[-1], of_normal.shape[-1]
    value = share_of_pairs(of_anomalous, n)
    if min(m, n) < 2:
        return Interval(value, 0 * value, 0 * value + 1, 0 * value + 1)
    variance = (of_anomalous / n).var(-1, ddof=1) / m + (of_normal / m).var(-1, ddof=1) / n
    half = Z_95 * np.sqrt(variance)
    return Interval(value, np.maximum(value - half, 0), np.minimum(value + half, 1), 0 * value + 1)


def newcombe(normal: np.ndarray, anomalous: np.ndarray) -> Interval:
    """Method 5 of Newcombe, Statistics in Medicine 25 (2006) 559-573, doi:10.1002/sim.2324.

    The AUCs that are no further from the value than 1.96 of the standard deviations they would
    have by Hanley's and McNeil's exponential model with (m + n) / 2 clips in both classes.
    """
    m, n = anomalous.shape[-1], normal.shape[-1]
    value = share_of_pairs(wins(normal, anomalous)[0], n)

    def limit(end: float) -> np.ndarray:
        inside, outside = value, np.full_like(value, end)
        for _ in range(50):  # halvings
            middle = (inside + outside) / 2
            others = (m + n) / 2 - 1
            growth = 1 + others * ((1 - middle) / (2 - middle) + middle / (1 + middle))
            variance = middle * (1 - middle) * growth / (m * n)
            holds = abs(value - middle) <= Z_95 * np.sqrt(variance)
            inside, outside = np.where(holds, middle, inside), np.where(holds, outside, middle)
        return outside

    return Interval(value, limit(0), limit(1), 0 * value + 1)


def average_of_halves(several: Sequence[Interval]) -> Interval:
    """Adds the squares of half-widths that were cut to [0, 1]: not a way to do it."""
    value = np.mean([one.value for one in several], axis=0)
    halves = [np.maximum(one.high - one.value, one.value - one.low) for one in several]
    half = np.sqrt(np.square(halves).sum(axis=0)) / len(several)
    return Interval(value, np.maximum(value - half, 0), np.minimum(value + half, 1), 0 * value + 1)


class Methods(NamedTuple):
    """An interval of one AUC, and of an average."""

    single: Method
    average: Callable[[Sequence[Interval]], Interval]


METHODS = {
    "asd": Methods(intervals.interval_of_classes, intervals.average_interval),
    "delong": Methods(delong, average_of_halves),
    "newcombe": Methods(newcombe, average_of_halves),
}


class Outcome(NamedTuple):
    """What came of the repeats of one case."""

    model: str
    clips: tuple[tuple[int, int], ...]  # of each set: normal, anomalous
    aucs: tuple[float, ...]  # of each set
    coverage: float
    width: float


def outcome(name: str, clips, aucs, methods: Methods, repeats: int, seed: int = 0) -> Outcome:
    """The intervals of `repeats` draws of one case; sets of several are averaged."""
    rng = np.random.default_rng(seed)
    several = [
        methods.single(*MODELS[name](rng, repeats, *count, auc))
        for count, auc in zip(clips, aucs, strict=True)
    ]
    interval = methods.average(several) if len(several) > 1 else several[0]
    true, slack = sum(aucs) / len(aucs), 1e-12  # of rounding, where a limit is the true value
    holds = (interval.low <= true + slack) & (interval.high >= true - slack)
    return Outcome(
        name, tuple(clips), tuple(aucs), holds.mean(), (interval.high - interval.low).mean()
    )


def singles(methods: Methods, repeats: int, seed: int = 0) -> Iterator[Outcome]:
    """Of a single set of clips: every model, number of clips and AUC."""
    for clips in CLIPS:
        for name in MODELS:
            for auc in AUCS:
                yield outcome(name, (clips,), (auc,), methods, repeats, seed)


def averages(methods: Methods, repeats: int, seed: int = 0) -> Iterator[Outcome]:
    """Of averages over four sets."""
    for clips in SETS:
        for name in MODELS:
            for aucs in SET_AUCS:
                yield outcome(name, clips, aucs, methods, repeats, seed)


def show(outcomes: Iterator[Outcome], columns: int) -> None:
    """A line of coverages and one of mean widths for each model and number of clips."""
    rows = iter(list(outcomes))
    for first in rows:
        row = [first, *(next(rows) for _ in range(columns - 1))]
        clips = " ".join(f"{normal}+{anomalous}" for normal, anomalous in first.clips)
        print(f"{clips:<24}{first.model:<16}" + "".join(f"{one.coverage:7.3f}" for one in row))
        print(f"{'':<34}width " + "".join(f"{one.width:7.3f}" for one in row))


def main() -> None:
    """The tables of one method."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=2000, help="draws of a case; %(default)s")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--method", choices=METHODS, default="asd")
    args = parser.parse_args()
    methods = METHODS[args.method]
    print(f"{'clips':<24}{'model':<16}" + "".join(f"{auc:7g}" for auc in AUCS))
    one = list(singles(methods, args.repeats, args.seed))
    show(iter(one), len(AUCS))
    print("\naverages of AUCs")
    for i in range(4):
        print(f"{'':<40}" + "".join(f"{aucs[i]:7g}" for aucs in SET_AUCS))
    four = list(averages(methods, args.repeats, args.seed))
    show(iter(four), len(SET_AUCS))
    for what, outcomes in (("single", one), ("average", four)):
        lowest = min(outcomes, key=lambda each: each.coverage)
        mean = np.mean([each.coverage for each in outcomes])
        print(f"{what}: lowest coverage {lowest.coverage:.3f} ({lowest.model}), mean {mean:.3f}")


if __name__ == "__main__":
    main()
