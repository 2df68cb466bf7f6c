"""Intervals of AUCs: how often they hold, by simulation, and what must be so of each."""

import math

import numpy as np
import pytest
import simulate_intervals
from scipy.stats import binomtest, rankdata
from test_metrics import example, kernel

from asd.evaluation import intervals, metrics

REPEATS = 1000
# A true coverage of .93 is seen three standard errors lower once in 700 cases.
LEAST = 0.93 - 3 * math.sqrt(0.93 * 0.07 / REPEATS)
OURS = simulate_intervals.METHODS["asd"]
LABELS = np.array([0, 0, 1, 1])


def falls_short(outcomes):
    return [one for one in outcomes if one.coverage < LEAST]


def mirrored(interval):
    return 1 - interval.value, 1 - interval.high, 1 - interval.low


@pytest.mark.parametrize("cases", [simulate_intervals.singles, simulate_intervals.averages])
def test_nineteen_in_twenty_intervals_hold_the_true_auc(cases):
    assert falls_short(cases(OURS, REPEATS)) == []


@pytest.mark.parametrize("cases", [simulate_intervals.singles, simulate_intervals.averages])
def test_the_simulation_sees_an_interval_that_claims_too_much(cases):
    short = falls_short(cases(simulate_intervals.METHODS["delong"], 100))
    assert min(one.coverage for one in short) < 0.2
    assert {one.clips[0] for one in short} >= {(2, 2), (5, 5), (25, 25)}


@pytest.mark.parametrize("auc, wider", [(0.5, 1.1), (0.7, 1.15), (0.9, 1.45)])
def test_many_clips_are_not_asked_for_more_width_than_it_takes(auc, wider):
    ours, delong = (
        simulate_intervals.outcome("binormal", ((25, 25),), (auc,), methods, REPEATS)
        for methods in (OURS, simulate_intervals.METHODS["delong"])
    )
    assert ours.width < wider * delong.width


def test_it_becomes_delongs_interval_with_many_clips():
    labels, scores = example(4000, 3000)
    pairs = kernel(labels, scores)
    m, n = pairs.shape
    deviation = math.sqrt(pairs.mean(1).var(ddof=1) / m + pairs.mean(0).var(ddof=1) / n)
    interval = intervals.auc_interval(labels, scores)
    assert interval.high - interval.value == pytest.approx(1.959964 * deviation, rel=0.02)
    assert interval.value - interval.low == pytest.approx(1.959964 * deviation, rel=0.02)
    assert interval.variance == pytest.approx(deviation**2, rel=0.01)


@pytest.mark.parametrize("above", range(6))
def test_clips_that_are_above_all_or_none_are_a_binomial_share(above):
    labels = np.repeat([0, 1], [7, 5])
    scores = np.r_[np.arange(7.0), np.where(np.arange(5) < above, 10, -10)]
    exact = binomtest(above, 5).proportion_ci(0.95, "exact")
    expected = above / 5, exact.low, exact.high, 5
    assert intervals.auc_interval(labels, scores) == pytest.approx(expected, abs=1e-12)


def test_two_and_two_perfect_clips_prove_little():
    interval = intervals.auc_interval(LABELS, np.arange(4.0))
    assert (interval.value, interval.high) == (1, 1)
    assert interval.low == pytest.approx(math.sqrt(0.025))  # the AUC with which it is that rare


def test_one_clip_of_a_class_proves_next_to_nothing():
    interval = intervals.auc_interval(np.array([0, 0, 1]), np.array([1.0, 2, 3]))
    assert interval[:3] == pytest.approx((1, 0.025, 1))


def sets():
    for n_normal, n_anomalous in ((1, 1), (1, 9), (2, 2), (5, 3), (25, 25), (300, 10)):
        for seed in range(10):
            for decimals in (6, 0):
                yield example(n_normal, n_anomalous, seed % 4, seed, decimals)
        labels = np.repeat([0, 1], [n_normal, n_anomalous])
        yield from ((labels, sign * labels) for sign in (-1.0, 0.0, 1.0))


def test_the_interval_holds_its_value_and_the_classes_mirror_it():
    for labels, scores in sets():
        interval = intervals.auc_interval(labels, scores)
        assert 0 <= interval.low <= interval.value <= interval.high <= 1
        assert interval.low < interval.high
        assert interval.value == metrics.auc(labels, scores)
        assert interval.pairs >= min(labels.sum(), (1 - labels).sum())
        for other in ((labels, -scores), (1 - labels, scores)):
            expected = pytest.approx(mirrored(interval), abs=1e-12)
            assert intervals.auc_interval(*other)[:3] == expected


def test_more_of_the_same_clips_make_it_narrower():
    for labels, scores in sets():
        one, two, nine = (
            intervals.auc_interval(np.tile(labels, times), np.tile(scores, times))
            for times in (1, 2, 9)
        )
        assert one.value == pytest.approx(nine.value, abs=1e-12)
        assert nine.high - nine.low < two.high - two.low < one.high - one.low


@pytest.mark.parametrize("same", [np.exp, rankdata, lambda x: 3e300 * x, lambda x: 1e-300 * x])
def test_only_the_order_of_the_scores_counts(same):
    for labels, scores in sets():
        assert intervals.auc_interval(labels, same(scores)) == intervals.auc_interval(
            labels, scores
        )


def test_many_sets_at_once_are_each_by_itself():
    rng = np.random.default_rng(0)
    normal, anomalous = rng.normal(size=(20, 6)).round(1), rng.normal(1, 1, (20, 4)).round(1)
    several = intervals.interval_of_classes(normal, anomalous)
    for i in range(20):
        labels, scores = np.repeat([0, 1], [6, 4]), np.r_[normal[i], anomalous[i]]
        one = intervals.auc_interval(labels, scores)
        assert [field[i] for field in several] == pytest.approx(list(one), abs=1e-14)


def test_the_average_has_the_spread_of_a_mean():
    one = intervals.auc_interval(*example(200, 200))
    four = intervals.average_interval([one] * 4)
    assert four.value == pytest.approx(one.value)
    assert four.pairs == pytest.approx(4 * one.pairs)
    assert four.variance == pytest.approx(one.variance / 4, rel=0.01)
    assert four.high - four.low == pytest.approx((one.high - one.low) / 2, rel=0.02)


def test_the_average_of_one_is_itself():
    for labels, scores in sets():
        one = intervals.auc_interval(labels, scores)
        assert intervals.average_interval([one]) == pytest.approx(one, abs=1e-12)


def test_perfect_sets_average_to_what_all_their_clips_prove():
    perfect = intervals.auc_interval(LABELS, np.arange(4.0))
    average = intervals.average_interval([perfect] * 4)
    assert average == pytest.approx((1, 0.025 ** (1 / 8), 1, 8))
    wrong = intervals.auc_interval(LABELS, -np.arange(4.0))
    assert mirrored(intervals.average_interval([wrong] * 4)) == pytest.approx(average[:3])


def test_a_certain_set_does_not_hide_the_doubt_of_another():
    """A set of AUC 1 has a variance: few perfect clips leave more doubt than many."""
    certain = intervals.auc_interval(*example(300, 300, shift=50))
    doubtful = intervals.auc_interval(LABELS, np.array([0.0, 2, 1, 3]))
    few = intervals.auc_interval(LABELS, np.arange(4.0))
    assert certain.value == few.value == 1
    narrow, wide = (intervals.average_interval([one, doubtful]) for one in (certain, few))
    assert wide.low < narrow.low < narrow.value == wide.value < narrow.high < wide.high < 1


def test_nothing_has_no_average():
    with pytest.raises(ValueError, match="no AUC"):
        intervals.average_interval([])


def test_the_command_prints_every_case(capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["simulate_intervals", "--repeats", "4"])
    simulate_intervals.main()
    printed = capsys.readouterr().out
    assert all(printed.count(name) >= 11 for name in simulate_intervals.MODELS)
    assert all(len(line) <= 100 for line in printed.splitlines())
    assert "single: lowest coverage" in printed and "average: lowest coverage" in printed
