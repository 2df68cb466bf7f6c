"""False alarms a day against detection, for rules "k of the last n clips above the threshold".

Were clips independent of one another, each above the threshold with the probability p, the number
of them among n would be binomial, and the rule would hold after a clip with the probability

    P(X >= k) = sum over i = k..n of C(n, i) p^i (1 - p)^(n - i),   X ~ Bin(n, p).

Of clips recorded one after the other a day has 86,400 / (seconds of a clip). Real clips resemble
those before them, so a faulty machine is found sooner, and false alarms come in groups.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

SECONDS_OF_DAY = 86_400


class Rule(NamedTuple):
    """An alarm is raised where at least `k` of the last `n` clips are above the threshold."""

    k: int
    n: int

    def __str__(self) -> str:
        return "any single clip" if self.n == 1 else f"{self.k} of {self.n} clips"


RULES = (Rule(1, 1), Rule(2, 3), Rule(3, 5), Rule(6, 10))


def probability(p: np.ndarray | float, rule: Rule) -> np.ndarray | float:
    """The probability that a rule holds after a clip.

    Parameters
    ----------
    p : of a clip to be above the threshold, 0 to 1

    Raises
    ------
    ValueError : p is no probability, or the rule none: 1 <= k <= n.
    """
    if not 1 <= rule.k <= rule.n:
        raise ValueError(f"a rule is k of n clips, 1 <= k <= n, not {rule.k} of {rule.n}")
    if not ((np.asarray(p) >= 0) & (np.asarray(p) <= 1)).all():
        raise ValueError("a probability is from 0 to 1")
    p = np.asarray(p, np.float64)
    counts = range(rule.k, rule.n + 1)
    return sum(math.comb(rule.n, i) * p**i * (1 - p) ** (rule.n - i) for i in counts)[()]


def a_day(p: np.ndarray | float, rule: Rule, clip_seconds: float) -> np.ndarray | float:
    """After how many clips of a day a rule holds, where each is above the threshold with p."""
    return SECONDS_OF_DAY / clip_seconds * probability(p, rule)
