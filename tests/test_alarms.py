"""False alarms a day: the formula against brute force."""

import numpy as np
import pytest
from scipy.stats import binomtest

from asd.evaluation import alarms, intervals
from asd.evaluation.alarms import RULES, Rule


@pytest.mark.parametrize("rule", [*RULES, Rule(3, 3), Rule(1, 4)], ids=str)
@pytest.mark.parametrize("p", [0.02, 0.3, 0.8])
def test_a_rule_holds_as_often_as_in_a_simulation(rule, p):
    """Clip by clip, as a device would count: after each, those above among the last n."""
    days, clip_seconds = 40, 10
    above = np.random.default_rng(1).random(days * 8640) < p
    held, last = 0, []
    for one in above.tolist():
        last = [*last, one][-rule.n :]
        held += len(last) == rule.n and sum(last) >= rule.k
    expected = alarms.a_day(p, rule, clip_seconds)
    # Neighbouring clips share n - 1 of their last n: so many times the variance of separate ones.
    deviation = np.sqrt(rule.n * days * expected + 1) / days
    assert held / days == pytest.approx(expected, abs=5 * deviation)


def test_every_outcome_of_a_few_clips():
    p, rule = 0.37, Rule(2, 3)
    outcomes = [[(i >> bit) & 1 for bit in range(3)] for i in range(8)]
    total = sum(np.prod([p if one else 1 - p for one in outcome])
                for outcome in outcomes if sum(outcome) >= 2)  # fmt: skip
    assert alarms.probability(p, rule) == pytest.approx(total, rel=1e-12)
    assert alarms.probability(np.array([0.0, 1.0]), rule).tolist() == [0, 1]


@pytest.mark.parametrize("hits, clips", [(0, 50), (1, 50), (25, 50), (49, 50), (50, 50), (0, 1)])
def test_a_share_has_clopper_and_pearsons_interval(hits, clips):
    expected = binomtest(hits, clips).proportion_ci(0.95, method="exact")
    assert intervals.of_share(hits, clips) == pytest.approx(tuple(expected), rel=1e-9)


@pytest.mark.parametrize("p, rule", [(1.1, Rule(1, 1)), (-0.1, Rule(1, 1)), (0.5, Rule(0, 3)),
                                     (0.5, Rule(4, 3)), (np.nan, Rule(1, 1))])  # fmt: skip
def test_what_is_no_probability_and_no_rule(p, rule):
    with pytest.raises(ValueError):
        alarms.probability(p, rule)


def test_no_share_of_no_clip():
    with pytest.raises(ValueError):
        intervals.of_share(0, 0)
