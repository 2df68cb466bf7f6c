"""Back ends against the arrays that the originals computed."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from asd import backends
from asd.backends.distances import nearest, placed
from asd.sections import Choice

TOLERANCE = 1e-6  # absolute; the originals keep embeddings as float32


def made(kind, **values):
    """A back end as a YAML file names it."""
    return backends.of(Choice(Path("my.yaml"), "detector.backend", kind, values))


@pytest.fixture(scope="module")
def arrays(golden):
    with np.load(golden / "asdkit/05_backends.npz") as archive:
        return dict(archive)


def domains_of(arrays, name):
    return ["target" if one else "source" for one in arrays[f"{name}/train_is_target"]]


def scores(arrays, name, split, apart, kind, **values):
    """The scores of a data set's clips, of each section by itself or of all together."""
    train, domains = arrays[f"{name}/train_embed"], np.array(domains_of(arrays, name))
    train_sections, queries = arrays[f"{name}/train_section"], arrays[f"{name}/{split}_embed"]
    sections = arrays[f"{name}/{split}_section"]
    if not apart:
        train_sections, sections = np.zeros_like(train_sections), np.zeros_like(sections)
    result = np.full(len(queries), np.nan)
    for section in set(train_sections.tolist()):
        backend = made(kind, **values)
        backend.fit(train[train_sections == section], domains[train_sections == section].tolist())
        result[sections == section] = backend.score(queries[sections == section])
    return result


KNN_1 = {"distance": "half_chord", "neighbours": 1}
SMOTE = KNN_1 | {"ratio": 0.2, "between": 2}
KMEANS = {"distance": "cosine", "clusters": 16}
RESCALED = {"distance": "cosine", "neighbours": 1, "local_neighbours": 4}
EUCLIDEAN = {"distance": "euclidean"}
CASES = [
    ("A/knn_1_1_cosine", "knn", KNN_1),
    ("A/knn_3_2_cosine", "knn", KNN_1 | {"neighbours": [3, 2]}),
    ("A/knn_1_1_euclid", "knn", KNN_1 | EUCLIDEAN),
    ("A/knn_1_0_cosine", "knn", KNN_1 | {"neighbours": [1, 0]}),
    ("B/knn_1_1_cosine_sep", "knn", KNN_1),
    ("B/knn_2_2_cosine", "knn", KNN_1 | {"neighbours": 2}),
    ("C/knn_1_1_cosine_notarget", "knn", KNN_1),
    ("A/knn_1_1_cosine_smote0.2_2", "smote", SMOTE),
    ("A/knn_1_1_cosine_smote0.05_5", "smote", SMOTE | {"ratio": 0.05, "between": 5}),
    ("A/knn_1_1_euclid_smote0.2_2", "smote", SMOTE | EUCLIDEAN),
    ("B/knn_1_1_smote0.5_3_sep", "smote", SMOTE | {"ratio": 0.5, "between": 3}),
    ("A/kmeans16_cosine", "kmeans", KMEANS),
    ("A/kmeans16_euclid", "kmeans", KMEANS | EUCLIDEAN),
    ("B/kmeans4_cosine_sep", "kmeans", KMEANS | {"clusters": 4}),
    ("C/kmeans16_cosine_notarget", "kmeans", KMEANS),
    ("A/rescale_1_4_cosine", "rescaled_knn", RESCALED),
    ("A/rescale_3_4_cosine", "rescaled_knn", RESCALED | {"neighbours": 3}),
    ("A/rescale_1_16_euclid", "rescaled_knn", RESCALED | EUCLIDEAN | {"local_neighbours": 16}),
    ("B/rescale_1_4_cosine_sep", "rescaled_knn", RESCALED),
    ("C/rescale_1_4_cosine", "rescaled_knn", RESCALED),
]


@pytest.mark.parametrize("split", ["test", "train"])
@pytest.mark.parametrize(("case", "kind", "values"), CASES, ids=[case[0] for case in CASES])
def test_golden_scores(arrays, case, kind, values, split):
    ours = scores(arrays, case[0], split, case.endswith("_sep"), kind, **values)
    np.testing.assert_allclose(ours, arrays[f"{case}/{split}_score"], rtol=0, atol=TOLERANCE)


def test_golden_cases_are_all_there(arrays):
    """All that the originals computed but the faults and what stands in tests of its own."""
    known = {f"{case[0]}/{split}_score" for case in CASES for split in ("train", "test")}
    others = {name for name in arrays if name.endswith("_score")} - known
    others = {name for name in others if not re.search("march|FAULT|right", name)}
    assert others == set()


@pytest.mark.parametrize("name", ["A", "B"])
def test_golden_cosine_distance(arrays, name):
    ours = scores(arrays, name, "test", False, "knn", distance="cosine", neighbours=1)
    expected = arrays[f"{name}/knn_true_cosine_1_1_right/test_score"]
    np.testing.assert_allclose(ours, expected, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize(
    ("case", "kind", "values"),
    [("knn_1_1_smote0.05_5", "smote", SMOTE | {"ratio": 0.05, "between": 5}),
     ("kmeans16", "kmeans", KMEANS)],
)  # fmt: skip
def test_golden_scores_of_the_older_original(arrays, case, kind, values):
    ours = scores(arrays, "A", "test", False, kind, **values)
    expected = arrays[f"A/march_{case}/test_score"]
    np.testing.assert_allclose(ours, expected, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize(
    ("pool", "values"),
    [("smote0.2_2", SMOTE), ("smote0.05_5", SMOTE | {"ratio": 0.05, "between": 5}),
     ("euclid_smote0.2_2", SMOTE | EUCLIDEAN)],
)  # fmt: skip
def test_golden_target_clips_after_smote(arrays, pool, values):
    backend = made("smote", **values)
    backend.fit(arrays["A/train_embed"], domains_of(arrays, "A"))
    ours = backend.arrays()["target"]
    np.testing.assert_allclose(ours, arrays[f"A/{pool}_target_pool"], rtol=0, atol=TOLERANCE)


def test_golden_draws_of_smote_by_its_formula(arrays):
    """A new point is x + step (nn - x), nn the nearest but for x itself of the drawn rank."""
    target = arrays["A/train_is_target"] == 1
    points = placed(arrays["A/train_embed"], "cosine")[target]
    row, rank, step = (arrays[f"A/smote0.2_2_{name}"] for name in ("row", "neighbor_rank", "step"))
    _, places = nearest(points, points, rank.max() + 2)
    new = points[row] + step[:, None] * (points[places[row, rank + 1]] - points[row])
    expected = np.concatenate([points, placed(new, "cosine")])
    np.testing.assert_allclose(arrays["A/smote0.2_2_target_pool"], expected, rtol=0, atol=1e-6)
    backend = made("smote", **SMOTE)
    backend.fit(arrays["A/train_embed"], domains_of(arrays, "A"))
    np.testing.assert_allclose(backend.arrays()["target"], expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("centres", "values"),
    [("A/kmeans16_cosine", KMEANS), ("A/kmeans16_euclid", KMEANS | EUCLIDEAN),
     ("C/kmeans16_cosine_notarget", KMEANS)],
)  # fmt: skip
def test_golden_centres(arrays, centres, values):
    backend = made("kmeans", **values)
    backend.fit(arrays[f"{centres[0]}/train_embed"], domains_of(arrays, centres[0]))
    expected = arrays[f"{centres}/centers"]
    np.testing.assert_allclose(backend.arrays()["pool"], expected, rtol=0, atol=TOLERANCE)


def test_golden_units_of_local_density(arrays):
    backend = made("rescaled_knn", **RESCALED)
    backend.fit(arrays["A/train_embed"], domains_of(arrays, "A"))
    expected = arrays["A/rescale_1_4_cosine/const"]
    np.testing.assert_allclose(backend.arrays()["units"], expected, rtol=0, atol=TOLERANCE)


def test_golden_duplicates_count_where_the_original_passes_over_them(arrays):
    """The last two test clips equal training clips that are there five times."""
    train, test = arrays["dup/train_embed"], arrays["dup/test_embed"]
    backend = made("rescaled_knn", **RESCALED)
    backend.fit(train, ["source"] * len(train))
    ours, theirs = backend.score(test), arrays["dup/rescale_1_4_FAULT/test_score"]
    np.testing.assert_allclose(ours[:-2], theirs[:-2], rtol=0, atol=TOLERANCE)
    assert (ours[-2:] < 1e-9).all()
    assert not (theirs[-2:] < 1e-9).any()
