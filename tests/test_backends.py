"""Back ends against their definitions."""

import functools
import io
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from sklearn.covariance import LedoitWolf
from sklearn.ensemble import IsolationForest
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import LocalOutlierFactor

from asd import backends
from asd.backends import KINDS, Knn
from asd.backends.by_section import BySection
from asd.backends.distances import nearest
from asd.sections import Choice
from common import UserError

RNG = np.random.default_rng(0)
TRAIN = RNG.normal(1, 1, (40, 6)).astype(np.float32)
TEST = RNG.normal(1, 2, (15, 6)).astype(np.float32)


def of(kind, **values):
    """A back end as a YAML file names it."""
    return backends.of(Choice(Path("my.yaml"), "detector.backend", kind, values))


def knn(distance, neighbours, domains):
    backend = Knn(Knn.Settings(distance=distance, neighbours=neighbours))
    backend.fit(TRAIN, domains)
    return backend.score(TEST)


def distances(distance):
    """(n_test, n_train)"""
    if distance == "euclidean":
        return cdist(TEST, TRAIN)
    a, b = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (TEST, TRAIN))
    return 1 - a @ b.T


@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
@pytest.mark.parametrize("neighbours", [1, 3])
def test_knn_is_its_definition(distance, neighbours):
    scores = knn(distance, neighbours, [""] * 40)
    expected = np.sort(distances(distance), axis=1)[:, :neighbours].mean(axis=1)
    assert scores.dtype == np.float64
    np.testing.assert_allclose(scores, expected, atol=1e-6)


def test_the_nearer_domain_counts():
    domains = ["source"] * 30 + ["target"] * 10
    scores = knn("euclidean", 2, domains)
    parts = distances("euclidean")[:, :30], distances("euclidean")[:, 30:]
    expected = np.min([np.sort(part, axis=1)[:, :2].mean(axis=1) for part in parts], axis=0)
    np.testing.assert_allclose(scores, expected, rtol=1e-5)
    assert not np.allclose(scores, knn("euclidean", 2, ["source"] * 40))


def test_a_training_clip_is_no_anomaly_and_scale_does_not_matter():
    backend = Knn(Knn.Settings(distance="cosine", neighbours=1))
    backend.fit(TRAIN, [""] * 40)
    np.testing.assert_allclose(backend.score(7 * TRAIN), 0, atol=1e-6)


def test_too_few_clips_are_named():
    with pytest.raises(
        UserError, match="neighbours is 3, .* 2 training clips of the target domain"
    ):
        knn("cosine", 3, ["source"] * 38 + ["target"] * 2)


def test_source_and_target_have_neighbours_of_their_own():
    domains = ["source"] * 30 + ["target"] * 10
    source, target = distances("euclidean")[:, :30], distances("euclidean")[:, 30:]
    expected = np.minimum(np.sort(source, axis=1)[:, :3].mean(axis=1), target.min(axis=1))
    np.testing.assert_allclose(knn("euclidean", (3, 1), domains), expected, rtol=1e-12)
    expected = np.sort(source, axis=1)[:, :2].mean(axis=1)
    np.testing.assert_allclose(knn("euclidean", (2, 0), domains), expected, rtol=1e-12)
    with pytest.raises(UserError, match="neighbours leaves no training clip to compare with"):
        knn("euclidean", (0, 1), ["source"] * 40)


def test_a_clip_without_domain_counts_as_source():
    some = ["", "source"] * 15 + ["target"] * 10
    all_named = ["source"] * 30 + ["target"] * 10
    np.testing.assert_array_equal(knn("cosine", 2, some), knn("cosine", 2, all_named))


@pytest.mark.parametrize("in_units", [False, True])
@pytest.mark.parametrize("count", [1, 4])
@pytest.mark.parametrize("scale", [1e-6, 1, 1e6])
@pytest.mark.parametrize("spread", [1, 1e-9])
def test_the_nearest_are_those_of_all_pairs(scale, spread, count, in_units):
    """Also where a matrix product cannot tell the points of the pool apart."""
    rng = np.random.default_rng(1)
    pool = scale * (1 + spread * rng.normal(size=(300, 5)))
    pool[200:] = pool[:100]
    points = np.concatenate([pool[::7], scale * (1 + spread * rng.normal(size=(50, 5)))])
    units = rng.uniform(0.1, 1, 300) if in_units else np.ones(300)
    units[:3] = 1e-12 if in_units else 1
    far = cdist(points, pool) / units
    lengths, places = nearest(pool, points, count, units if in_units else None)
    expected = np.argsort(far, axis=1, kind="stable")[:, :count]
    np.testing.assert_array_equal(places, expected)
    np.testing.assert_array_equal(lengths, np.take_along_axis(far, expected, axis=1))


@pytest.mark.parametrize(
    ("ratio", "n_target", "n_after"),
    [(0.5, 10, 15), (0.2, 10, 10), (0.33, 10, 10), (0.5, 2, 15), (0.5, 1, 1), (0.5, 0, 0)],
)
def test_smote_fills_the_target_domain_up(ratio, n_target, n_after):
    """A ratio that is met adds nothing; few target clips are neighbours of one another."""
    backend = of("smote", distance="cosine", neighbours=1, ratio=ratio, between=3)
    backend.fit(TRAIN[: 30 + n_target], ["source"] * 30 + ["target"] * n_target)
    assert len(backend.arrays().get("target", ())) == n_after
    assert np.isfinite(backend.score(TEST)).all()
    norms = np.linalg.norm(backend.arrays()["source"], axis=1)
    np.testing.assert_allclose(norms, 1)


def test_smote_where_source_clips_are_few_adds_nothing():
    domains = ["source"] * 5 + ["target"] * 35
    backend = of("smote", distance="cosine", neighbours=1, ratio=0.5, between=3)
    backend.fit(TRAIN, domains)
    np.testing.assert_allclose(backend.score(TEST), knn("cosine", 1, domains), rtol=1e-12)


def test_a_clip_that_is_there_often_is_no_anomaly_by_local_density():
    train = np.concatenate([TRAIN, *[TRAIN[:2]] * 4])
    backend = of("rescaled_knn", distance="cosine", neighbours=1, local_neighbours=4)
    backend.fit(train, [""] * len(train))
    scores = backend.score(np.concatenate([TRAIN[:2], TEST]))
    assert np.isfinite(scores).all()
    np.testing.assert_array_equal(scores[:2], 0)
    assert (scores[2:] > 0).all()


ALL = {
    "knn": {"distance": "cosine", "neighbours": [3, 2]},
    "smote": {"distance": "half_chord", "neighbours": 1, "ratio": 0.8, "between": 2},
    "kmeans": {"distance": "cosine", "clusters": 16},
    "rescaled_knn": {"distance": "euclidean", "neighbours": 2, "local_neighbours": 4},
    "gmm": {"components": 2, "covariance": "full"},
    "lof": {"distance": "euclidean", "neighbours": 5},
    "mahalanobis": {},
    "isolation": {"trees": 30},
    "fusion": {"parts": [{"kind": "knn", "distance": "cosine", "neighbours": 1},
                         {"kind": "gmm", "components": 3, "covariance": "diag"}]},
}  # fmt: skip
# Wide enough that matrix products are blocked, and that their rounding depends on a row's place.
WIDE_TRAIN = RNG.normal(1, 1, (300, 67)).astype(np.float32)
WIDE_TEST = RNG.normal(1, 1.5, (40, 67)).astype(np.float32)
WIDE_DOMAINS = ["source"] * 200 + ["target"] * 100


def fitted(kind):
    backend = of(kind, **ALL[kind])
    backend.fit(WIDE_TRAIN, WIDE_DOMAINS)
    return backend


def test_every_kind_is_tested():
    assert ALL.keys() == KINDS.keys()


@pytest.mark.parametrize("kind", ALL)
def test_equal_embeddings_have_equal_scores_in_any_company(kind):
    backend = fitted(kind)
    alone = np.concatenate([backend.score(one[None]) for one in WIDE_TEST])
    assert alone.dtype == np.float64
    assert len(set(alone)) == len(alone)
    for n_others in (0, 1, 3, 30):
        others = np.random.default_rng(n_others).normal(size=(n_others, 67)).astype(np.float32)
        order = np.random.default_rng(n_others).permutation(80)
        twice = np.concatenate([WIDE_TEST, WIDE_TEST])[order]
        scores = backend.score(np.concatenate([others, twice]))[n_others:]
        np.testing.assert_array_equal(scores, np.concatenate([alone, alone])[order])


@pytest.mark.parametrize("kind", ALL)
def test_what_lies_far_off_is_more_anomalous_than_training_clips(kind):
    backend = fitted(kind)
    off = backend.score(-2 * WIDE_TRAIN[:20])
    assert off.min() > np.median(backend.score(WIDE_TRAIN))
    assert np.isfinite(off).all()


@pytest.mark.parametrize(
    ("kind", "changed", "expected"),
    [
        ("kmeans", {"clusters": 17}, "clusters is 17, .* 16 training clips of the source domain"),
        ("rescaled_knn", {"local_neighbours": 20},
         "local_neighbours is 20 and the clip itself, .* 20 training clips"),
        ("rescaled_knn", {"neighbours": 21}, "neighbours is 21, but there are only 20 training"),
        ("smote", {"neighbours": [17, 1]}, "neighbours is 17, .* 16 .* of the source domain"),
        ("gmm", {"components": 21}, "components is 21, but there are only 20 training clips"),
        ("lof", {"neighbours": 20}, "neighbours is 20 and the clip itself, .* 20 training clips"),
    ],
)  # fmt: skip
def test_what_too_few_clips_are_for_is_named(kind, changed, expected):
    backend = of(kind, **ALL[kind] | changed)
    with pytest.raises(UserError, match=expected) as caught:
        backend.fit(TRAIN[:20], ["source"] * 16 + ["target"] * 4)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("ratio", [0, -1, 1.5, float("nan"), float("inf"), "half"])
def test_a_ratio_is_more_than_0_and_at_most_1(ratio):
    with pytest.raises(UserError, match=r"my\.yaml: key detector\.backend\.ratio"):
        of("smote", **ALL["smote"] | {"ratio": ratio})


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ([], "key detector.backend: parts is empty"),
        ("knn", "key detector.backend.parts: expected array"),
        (["knn"], r"key detector.backend.parts\[0\]: expected a mapping with a kind"),
        ([{"kind": "mahalanobis"}, {"kind": "lof", "distance": "far", "neighbours": 2}],
         r"key detector.backend.parts\[1\].distance: expected one of cosine, euclidean"),
        ([{"kind": "lof", "distanc": "cosine", "neighbours": 2}],
         r"unknown key detector.backend.parts\[0\].distanc; did you mean .*\[0\].distance\?"),
        ([{"kind": "fusion", "parts": []}], r"key detector.backend.parts\[0\].kind: no 'fusion'"),
    ],
)  # fmt: skip
def test_parts_of_a_fusion_are_back_ends(parts, expected):
    with pytest.raises(UserError, match=expected) as caught:
        of("fusion", parts=parts)
    assert str(caught.value).startswith("my.yaml: ")


# By scikit-learn

CORRELATED = (RNG.normal(size=(200, 6)) @ RNG.normal(size=(6, 6)) + 2).astype(np.float32)
QUERIES = (1.5 * CORRELATED[:50] + RNG.normal(size=(50, 6))).astype(np.float32)


def by_ours(kind, **values):
    backend = of(kind, **values)
    backend.fit(CORRELATED, [""] * len(CORRELATED))
    return backend.score(QUERIES)


@pytest.mark.parametrize("covariance", ["full", "diag"])
@pytest.mark.parametrize("components", [1, 3])
def test_gmm_is_scikit_learns(covariance, components):
    mixture = GaussianMixture(components, covariance_type=covariance, random_state=0)
    expected = -mixture.fit(CORRELATED.astype(float)).score_samples(QUERIES.astype(float))
    ours = by_ours("gmm", components=components, covariance=covariance)
    np.testing.assert_allclose(ours, expected, rtol=1e-8)


def test_mahalanobis_is_scikit_learns():
    shrunk = LedoitWolf().fit(CORRELATED.astype(float))
    expected = np.sqrt(shrunk.mahalanobis(QUERIES.astype(float)))
    np.testing.assert_allclose(by_ours("mahalanobis"), expected, rtol=1e-8)


@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
def test_lof_is_scikit_learns(distance):
    lof = LocalOutlierFactor(7, metric=distance, algorithm="brute", novelty=True)
    expected = -lof.fit(CORRELATED.astype(float)).score_samples(QUERIES.astype(float))
    np.testing.assert_allclose(by_ours("lof", distance=distance, neighbours=7), expected, rtol=1e-6)


def test_lof_of_a_clip_that_is_there_more_often_than_it_has_neighbours():
    train = np.concatenate([CORRELATED[:40], *[CORRELATED[:1]] * 9]).astype(float)
    backend = of("lof", distance="euclidean", neighbours=5)
    backend.fit(train, [""] * len(train))
    lof = LocalOutlierFactor(5, algorithm="brute", novelty=True).fit(train)
    ours, expected = backend.score(train[:5]), -lof.score_samples(train[:5])
    np.testing.assert_allclose(ours, expected, rtol=1e-6)


@pytest.mark.parametrize("n_clips", [2, 3, 60, 200])
def test_isolation_is_scikit_learns(n_clips):
    backend = of("isolation", trees=40)
    backend.fit(CORRELATED[:n_clips], [""] * n_clips)
    forest = IsolationForest(n_estimators=40, random_state=0).fit(CORRELATED[:n_clips])
    np.testing.assert_allclose(backend.score(QUERIES), -forest.score_samples(QUERIES), rtol=1e-12)


def test_fusion_is_the_mean_of_scores_normalised_by_clips_not_learnt():
    parts = [{"kind": "knn", "distance": "euclidean", "neighbours": 1}, {"kind": "mahalanobis"}]
    expected = np.zeros(len(QUERIES))
    for part in parts:
        backend, held_out = of(**part), []
        for fold in range(5):
            there = np.arange(200) % 5 == fold
            backend.fit(CORRELATED[~there], [""] * 160)
            held_out.extend(backend.score(CORRELATED[there]))
        backend.fit(CORRELATED, [""] * 200)
        expected += (backend.score(QUERIES) - np.mean(held_out)) / np.std(held_out) / 2
    np.testing.assert_allclose(by_ours("fusion", parts=parts), expected, rtol=1e-9)


def test_every_fold_of_a_fusion_has_target_clips():
    """Though they are few and stand together."""
    backend = of("fusion", parts=[{"kind": "knn", "distance": "cosine", "neighbours": [1, 4]}])
    backend.fit(TRAIN, ["target"] * 5 + ["source"] * 35)
    with pytest.raises(UserError, match="3 training clips of the target domain; .* four fifths"):
        backend.fit(TRAIN, ["target"] * 4 + ["source"] * 36)


def test_embeddings_that_do_not_differ_are_named():
    with pytest.raises(UserError, match="embeddings do not differ"):
        of("mahalanobis").fit(np.ones((9, 3), np.float32), [""] * 9)


@pytest.mark.parametrize("neighbours", [0, "all", [1], [1, -1], [1, 1, 1], [[1], 1]])
def test_neighbours_are_a_number_or_two(neighbours):
    with pytest.raises(UserError, match=r"my\.yaml: key detector\.backend\.neighbours"):
        of("knn", distance="cosine", neighbours=neighbours)


# Saved and loaded


def saved(arrays, **others):
    """Arrays as a file without pickles gives them back; some replaced, or left out with None."""
    file = io.BytesIO()
    np.savez(file, **{n: v for n, v in (arrays | others).items() if v is not None})
    file.seek(0)
    with np.load(file, allow_pickle=False) as archive:
        return dict(archive)


@pytest.mark.parametrize("kind", ALL)
def test_a_back_end_from_a_file_is_the_fitted_one(kind):
    backend = fitted(kind)
    expected, arrays = backend.score(WIDE_TEST), backend.arrays()
    again = of(kind, **ALL[kind])
    again.load(saved(arrays))
    np.testing.assert_array_equal(again.score(WIDE_TEST), expected)
    assert again.arrays().keys() == arrays.keys()
    for name, values in again.arrays().items():
        np.testing.assert_array_equal(values, arrays[name])


@pytest.mark.parametrize("kind", ALL)
def test_a_damaged_back_end_is_refused(kind):
    """Each of its arrays missing, with an axis more, without values, of no numbers, of text."""
    arrays = fitted(kind).arrays()
    for name, values in arrays.items():
        texts, nothing = values.astype(str), values * np.nan
        for other in (None, values[None], values[:0], nothing, texts, values.astype(complex)):
            if other is None and name.rpartition(".")[2] in ("source", "target"):
                continue  # a domain may have had no clips
            backend = of(kind, **ALL[kind])
            with pytest.raises((KeyError, ValueError, IndexError, ZeroDivisionError)):
                backend.load(saved(arrays, **{name: other}))
                backend.score(WIDE_TEST)


@pytest.mark.parametrize("name", ["children", "roots", "features"])
@pytest.mark.parametrize("place", [-1 << 40, 1 << 40])
def test_trees_whose_nodes_lie_elsewhere_are_refused(name, place):
    arrays = fitted("isolation").arrays()
    backend = of("isolation", **ALL["isolation"])
    with pytest.raises((ValueError, IndexError)):
        backend.load(saved(arrays, **{name: np.full_like(arrays[name], place)}))
        backend.score(WIDE_TEST)


def test_each_section_has_a_back_end_of_its_own():
    make = functools.partial(of, "knn", distance="cosine", neighbours=2)
    domains = ["source"] * 30 + ["target"] * 10
    sections = ["01", "02", "03", "02"] * 10
    backend = BySection(make, apart=True)
    backend.fit(TRAIN, domains, sections)
    of_test = ["02", "03", "01"] * 5
    scores = backend.score(TEST, of_test)
    again = BySection(make, apart=True)
    again.load(saved(backend.arrays()))
    np.testing.assert_array_equal(again.score(TEST, of_test), scores)
    for section in ("01", "02", "03"):
        there = [i for i, one in enumerate(sections) if one == section]
        alone, here = make(), [i for i, one in enumerate(of_test) if one == section]
        alone.fit(TRAIN[there], [domains[i] for i in there])
        np.testing.assert_array_equal(scores[here], alone.score(TEST[here]))
    together = BySection(make, apart=False)
    together.fit(TRAIN, domains, sections)
    np.testing.assert_array_equal(together.score(TEST, of_test), knn("cosine", 2, domains))
    with pytest.raises(UserError, match="section 04 has no training clips"):
        backend.score(TEST[:1], ["04"])
    with pytest.raises(UserError, match="section 09: .* there are only 1 training clips"):
        backend.fit(TRAIN, domains, ["09", *["01"] * 39])
