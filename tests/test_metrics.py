"""Metrics against brute force, resampling and properties."""

import numpy as np
import pytest

from asd.evaluation import intervals, metrics


def example(n_normal=30, n_anomalous=20, shift=1.0, seed=0, decimals=6):
    rng = np.random.default_rng(seed)
    scores = np.concatenate(
        [rng.normal(0, 1, n_normal), rng.normal(shift, 1.5, n_anomalous)]
    ).round(decimals)
    return np.repeat([0, 1], [n_normal, n_anomalous]), scores


def kernel(labels, scores):
    """(n_anomalous, n_normal): 1 where the anomalous clip scores higher, .5 where alike."""
    a, b = scores[labels == 1][:, None], scores[labels == 0][None, :]
    return (a > b) + 0.5 * (a == b)


@pytest.mark.parametrize("decimals", [6, 1, 0])
@pytest.mark.parametrize("max_fpr", [None, 1, 0.5, 0.1, 0.013])
def test_areas_and_curves_are_scikit_learns(decimals, max_fpr):
    from sklearn.metrics import roc_auc_score, roc_curve

    for seed in range(20):
        labels, scores = example(seed=seed, decimals=decimals)
        expected = roc_auc_score(labels, scores, max_fpr=max_fpr)
        assert metrics.auc(labels, scores, max_fpr) == pytest.approx(expected, abs=1e-14)
        fpr, tpr, _ = roc_curve(labels, scores, drop_intermediate=False)
        np.testing.assert_allclose(metrics.roc_curve(labels, scores), (fpr, tpr), atol=1e-14)


def test_rank_correlation_is_scipys():
    from scipy.stats import spearmanr

    _, a = example(decimals=1)
    b = a + np.random.default_rng(1).normal(0, 1, len(a)).round(1)
    assert metrics.rank_correlation(a, b) == pytest.approx(spearmanr(a, b).statistic, rel=1e-12)


def test_the_paired_p_value_is_its_definition():
    labels, a = example()
    b = a + np.random.default_rng(1).normal(0, 0.7, len(a))
    ka, kb = kernel(labels, a), kernel(labels, b)
    difference = ka - kb
    m, n = difference.shape
    variance = difference.mean(1).var(ddof=1) / m + difference.mean(0).var(ddof=1) / n
    from scipy.stats import t

    expected = 2 * t.sf(abs(difference.mean()) / variance**0.5, min(m, n) - 1)
    assert metrics.delong_paired_p(labels, a, b) == pytest.approx(expected, rel=1e-9)


def test_the_paired_p_value_is_uniform_without_a_difference():
    values = []
    for seed in range(300):
        labels, base = example(80, 80, seed=seed)
        noise = np.random.default_rng([seed, 1]).normal(0, 0.5, (2, len(base)))
        values.append(metrics.delong_paired_p(labels, base + noise[0], base + noise[1]))
    assert 0.02 <= np.mean(np.array(values) < 0.05) <= 0.09


@pytest.mark.parametrize("clips", [(2, 2), (3, 3), (5, 5), (2, 25), (25, 3)])
def test_few_clips_seldom_show_a_difference_that_is_none(clips):
    values = []
    for seed in range(400):
        labels, base = example(*clips, seed=seed)
        noise = np.random.default_rng([seed, 1]).normal(0, 2, (2, len(base)))
        values.append(metrics.delong_paired_p(labels, base + noise[0], base + noise[1]))
    assert np.mean(np.array(values) <= 0.05) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 400)


def test_no_spread_is_no_certainty():
    """Every clip the same way: no variance, but so few clips fall so by luck."""
    for each in (2, 3, 5):
        labels = np.repeat([0, 1], each)
        p = metrics.delong_paired_p(labels, labels, -labels)
        assert p == 2 / 2 ** (2 * each) == metrics.delong_paired_p(labels, -labels, labels)
    labels = np.repeat([0, 1], [25, 25])
    fallen = np.r_[np.arange(25.0), np.arange(25.0, 49), -1]  # one anomalous clip below all
    assert metrics.delong_paired_p(labels, np.arange(50.0), fallen) > 0.3


def test_equal_orders_have_p_one():
    labels, scores = example()
    assert metrics.delong_paired_p(labels, scores, 3 * scores + 1) == 1.0


def test_a_single_clip_of_a_class_tells_nothing():
    labels, a, b = np.array([0, 0, 1]), np.array([1.0, 2, 3]), np.array([1.0, 3, 2])
    assert metrics.delong_paired_p(labels, a, b) == 1.0


def test_auc_ignores_order_and_scale():
    labels, scores = example()
    order = np.random.default_rng(0).permutation(len(labels))
    for max_fpr in (None, 0.1):
        expected = metrics.auc(labels, scores, max_fpr)
        assert metrics.auc(labels[order], 2 * scores[order] + 5, max_fpr) == expected
    assert metrics.auc(labels, -scores) == pytest.approx(1 - metrics.auc(labels, scores))


def test_precision_recall_accuracy_is_eembcs_definition():
    labels, scores = example()
    best = 0.0
    for k in range(100):
        threshold = scores.min() + k / 100 * (scores.max() - scores.min())
        called = scores > threshold
        precision = labels[called].mean()
        recall = called[labels == 1].mean()
        best = max(best, 50 * (precision + recall))
    assert metrics.precision_recall_accuracy(labels, scores) == pytest.approx(best, rel=1e-12)
    assert metrics.precision_recall_accuracy(labels, labels) == 100


def test_rank_correlation():
    x = np.array([1.0, 2, 3, 4])
    assert metrics.rank_correlation(x, x**3) == pytest.approx(1)
    assert metrics.rank_correlation(x, -x) == pytest.approx(-1)
    assert metrics.rank_correlation(x[:1], x[:1]) is None
    assert metrics.rank_correlation(x, np.ones(4)) is None


def test_equal_scores_are_guessing():
    for seed in range(50):
        labels = np.random.default_rng(seed).permutation(np.repeat([0, 1], [1 + seed, 37]))
        for score in (0.0, 1e308, 5e-324, -1 / 3):
            scores = np.full(len(labels), score)
            assert metrics.auc(labels, scores) == 0.5
            for max_fpr in (0.1, 1 / 3, 0.7, 1e-3):
                assert metrics.auc(labels, scores, max_fpr) == 0.5
            np.testing.assert_array_equal(metrics.roc_curve(labels, scores), [[0, 1], [0, 1]])


def test_a_perfect_order_is_one():
    for n_normal in range(1, 60):
        labels = np.repeat([0, 1], [n_normal, 23])
        scores = np.arange(len(labels))
        assert metrics.auc(labels, scores) == 1
        assert metrics.auc(labels, -scores) == 0
        assert metrics.auc(labels, scores, 0.1) == pytest.approx(1, abs=1e-14)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("scale", [2.0**1022, 2.0**-1074])
def test_the_largest_and_the_smallest_scores_count_like_others(scale):
    labels, scores = example(decimals=0)
    scores = scores.clip(-3, 3)
    for metric in (metrics.auc, metrics.roc_curve, metrics.precision_recall_accuracy):
        np.testing.assert_array_equal(
            metric(labels, scores * scale), metric(labels, scores), metric.__name__
        )
    assert metrics.auc(labels, scores * scale, 0.1) == metrics.auc(labels, scores, 0.1)
    other = np.roll(scores, 3)
    assert metrics.rank_correlation(scores * scale, other) == metrics.rank_correlation(
        scores, other
    )
    p = metrics.delong_paired_p(labels, scores, other)
    assert metrics.delong_paired_p(labels, scores * scale, other * scale) == p


METRICS = [metrics.auc, metrics.roc_curve, metrics.precision_recall_accuracy,
           intervals.auc_interval, lambda labels, s: metrics.auc(labels, s, 0.1),
           lambda labels, s: metrics.delong_paired_p(labels, s, s)]  # fmt: skip


@pytest.mark.parametrize("metric", METRICS)
def test_labels_and_scores_are_of_any_number_type(metric):
    labels, scores = example(decimals=0)
    expected = metric(labels, scores)
    for other in (labels.astype(bool), labels.astype(float), labels.astype("u1"), labels.tolist()):
        np.testing.assert_array_equal(metric(other, scores), expected)
    for other in (scores.astype("f4"), scores.astype("i1"), scores.tolist()):
        np.testing.assert_array_equal(metric(labels, other), expected)
    np.testing.assert_array_equal(metric(labels, scores > 0), metric(labels, (scores > 0) * 1.0))


@pytest.mark.parametrize("metric", METRICS)
def test_impossible_input_is_refused(metric):
    refused = {
        "no test clip": ([], []),
        "no anomalous": (np.zeros(3), np.arange(3.0)),
        "no normal": (np.ones(3), np.arange(3.0)),
    }
    for reason, (labels, scores) in refused.items():
        with pytest.raises(ValueError, match=reason):
            metric(np.array(labels), np.array(scores))
    for labels in ([0, 1, 2], [-1, 0, 1], [-1, 1, 1], [0, 0, -1], [0.5, 0, 1], [np.nan, 0, 1],
                   ["0", "1", "1"], [None, 0, 1], [[0, 1, 1]]):  # fmt: skip
        with pytest.raises(ValueError, match="labels are 0"):
            metric(np.array(labels), np.arange(3.0))
    for scores in ([np.nan, 1], [1, np.inf], [-np.inf, 1], [1, 2, 3], [1], [], [[1, 2]], 1,
                   ["1", "2"], [None, 1], [1j, 2], [10**400, 1]):  # fmt: skip
        with pytest.raises(ValueError, match="one finite score"):
            metric(np.array([0, 1]), np.array(scores))


def test_a_rate_that_is_none_is_refused():
    for max_fpr in (0, -0.1, 1.1, np.nan, np.inf):
        with pytest.raises(ValueError, match="max_fpr"):
            metrics.auc(*example(), max_fpr)


def test_scores_that_cannot_be_compared_are_refused():
    for a, b in (([1, 2], [1, np.nan]), ([np.inf, 2], [1, 2]), ([1, 2], [1, 2, 3]), ([], [1])):
        with pytest.raises(ValueError, match="one finite score"):
            metrics.rank_correlation(np.array(a), np.array(b))
