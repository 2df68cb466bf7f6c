"""Metrics against brute force, resampling and properties."""

import numpy as np
import pytest

from asd.evaluation import metrics


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


@pytest.mark.parametrize("decimals", [6, 0])
def test_delong_is_its_definition(decimals):
    labels, scores = example(decimals=decimals)
    pairs = kernel(labels, scores)
    interval = metrics.delong_interval(labels, scores)
    assert interval.value == pytest.approx(metrics.auc(labels, scores), abs=1e-12)
    m, n = pairs.shape
    variance = pairs.mean(1).var(ddof=1) / m + pairs.mean(0).var(ddof=1) / n
    assert interval.high - interval.value == pytest.approx(1.959964 * variance**0.5, rel=1e-6)


def test_the_interval_covers_the_true_auc():
    from scipy.stats import norm

    true = norm.cdf(1 / np.sqrt(1 + 1.5**2))
    covered = 0
    for seed in range(400):
        interval = metrics.delong_interval(*example(60, 60, seed=seed))
        covered += interval.low <= true <= interval.high
    assert 0.91 <= covered / 400 <= 0.98


def test_the_paired_p_value_is_its_definition():
    labels, a = example()
    b = a + np.random.default_rng(1).normal(0, 0.7, len(a))
    ka, kb = kernel(labels, a), kernel(labels, b)
    difference = ka - kb
    m, n = difference.shape
    variance = difference.mean(1).var(ddof=1) / m + difference.mean(0).var(ddof=1) / n
    from scipy.stats import norm

    expected = 2 * norm.sf(abs(difference.mean()) / variance**0.5)
    assert metrics.delong_paired_p(labels, a, b) == pytest.approx(expected, rel=1e-9)


def test_the_paired_p_value_is_uniform_without_a_difference():
    values = []
    for seed in range(300):
        labels, base = example(80, 80, seed=seed)
        noise = np.random.default_rng([seed, 1]).normal(0, 0.5, (2, len(base)))
        values.append(metrics.delong_paired_p(labels, base + noise[0], base + noise[1]))
    assert 0.02 <= np.mean(np.array(values) < 0.05) <= 0.09


def test_equal_orders_have_p_one():
    labels, scores = example()
    assert metrics.delong_paired_p(labels, scores, 3 * scores + 1) == 1.0


def test_a_single_clip_of_a_class_tells_nothing():
    labels, a, b = np.array([0, 0, 1]), np.array([1.0, 2, 3]), np.array([1.0, 3, 2])
    assert metrics.delong_paired_p(labels, a, b) == 1.0
    assert metrics.delong_interval(labels, a)[1:] == (0.0, 1.0)


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


def test_the_average_has_the_spread_of_a_mean():
    one = metrics.delong_interval(*example(200, 200))
    four = metrics.average_interval([one] * 4)
    assert four.value == pytest.approx(one.value)
    assert four.high - four.value == pytest.approx((one.high - one.value) / 2)


def test_rank_correlation():
    x = np.array([1.0, 2, 3, 4])
    assert metrics.rank_correlation(x, x**3) == pytest.approx(1)
    assert metrics.rank_correlation(x, -x) == pytest.approx(-1)
    assert metrics.rank_correlation(x[:1], x[:1]) is None
    assert metrics.rank_correlation(x, np.ones(4)) is None


@pytest.mark.parametrize("metric", [metrics.auc, metrics.delong_interval,
                                    metrics.precision_recall_accuracy])  # fmt: skip
def test_impossible_input_is_refused(metric):
    with pytest.raises(ValueError, match="no anomalous"):
        metric(np.zeros(3), np.arange(3.0))
    with pytest.raises(ValueError, match="no normal"):
        metric(np.ones(3), np.arange(3.0))
    with pytest.raises(ValueError, match="finite"):
        metric(np.array([0, 1]), np.array([np.nan, 1]))
    with pytest.raises(ValueError, match="labels are"):
        metric(np.array([0, 1, 2]), np.arange(3.0))
    with pytest.raises(ValueError, match="one finite score"):
        metric(np.array([0, 1]), np.arange(3.0))
