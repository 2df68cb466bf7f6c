"""The back end of random trees."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from asd.backends.backend import SEED, check_enough, taken
from asd.sections import Section
from common import Positive


class Isolation:
    """How few random cuts part a clip from the training clips: 1 at once, 0 late.

    Liu et al. 2008, doi:10.1109/ICDM.2008.17; the trees are grown by scikit-learn's
    IsolationForest, and are kept as arrays of nodes: a leaf's children are itself.
    """

    title = "isolation score"

    class Settings(Section):
        """How many trees."""

        trees: Positive

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def fit(self, embeddings: np.ndarray, domains: Sequence[str]) -> None:
        """See `BackEnd.fit`."""
        from sklearn.ensemble import IsolationForest

        check_enough("isolation cuts between clips", 2, len(embeddings))
        forest = IsolationForest(n_estimators=self._settings.trees, random_state=SEED)
        forest.fit(np.asarray(embeddings, np.float32))
        trees = [_nodes(one.tree_) for one in forest.estimators_]
        starts = np.cumsum([0, *[len(tree["depths"]) for tree in trees]])[:-1]
        for tree, start in zip(trees, starts, strict=True):
            tree["children"] += start
        self._nodes = {name: np.concatenate([tree[name] for tree in trees]) for name in trees[0]}
        self._roots = starts.astype(np.int64)
        # The mean depth of a tree's clips, and how many cuts there are at most.
        depth = _mean_depth(np.array([forest.max_samples_]))[0]
        most = max(one.tree_.max_depth for one in forest.estimators_)
        self._scale = np.array([depth, most], np.float64)

    def score(self, embeddings: np.ndarray) -> np.ndarray:
        """See `BackEnd.score`."""
        points = np.asarray(embeddings, np.float32)
        clips = np.arange(len(points))[:, None]
        at = np.broadcast_to(self._roots, (len(points), len(self._roots)))
        for _ in range(int(self._scale[1])):
            right = points[clips, self._nodes["features"][at]] > self._nodes["thresholds"][at]
            at = self._nodes["children"][at, right.astype(int)]
        depths = self._nodes["depths"][at].mean(axis=1)  # (n_clips,)
        return np.array([2.0 ** -float(depth / self._scale[0]) for depth in depths], np.float64)

    def arrays(self) -> dict[str, np.ndarray]:
        """See `BackEnd.arrays`."""
        return {**self._nodes, "roots": self._roots, "scale": self._scale}

    def load(self, arrays: dict[str, np.ndarray]) -> None:
        """See `BackEnd.load`."""
        axes = {"children": "ij", "features": "i", "thresholds": "i", "depths": "i"}
        self._nodes = {name: taken(arrays, name, like) for name, like in axes.items()}
        self._roots, self._scale = taken(arrays, "roots", "i"), taken(arrays, "scale", "i")
        lengths = {len(values) for values in self._nodes.values()}
        if len(lengths) != 1 or self._nodes["children"].shape[1] != 2:
            raise ValueError("nodes that do not fit each other")
        n_nodes = lengths.pop()
        for places in (self._nodes["children"], self._roots):
            if places.dtype != np.int64 or places.min() < 0 or places.max() >= n_nodes:
                raise ValueError("nodes that are not there")
        if self._scale.shape != (2,) or self._scale[0] < 0 or self._scale[1] > n_nodes:
            raise ValueError("trees of no depth")


def _nodes(tree: Any) -> dict[str, np.ndarray]:
    """A tree of scikit-learn as arrays of its nodes.

    Returns
    -------
    "children", (n, 2) int64: at most the threshold, and above; "features", (n,) int64;
    "thresholds", (n,) float64; "depths", (n,) float64: cuts to a leaf and those that would part
    the clips that ended there.
    """
    leaf = tree.children_left < 0
    itself = np.arange(tree.node_count)
    children = np.where(leaf, itself, [tree.children_left, tree.children_right]).T
    depths = np.zeros(tree.node_count)
    for node in itself[~leaf]:  # a node stands before its children
        depths[children[node]] = depths[node] + 1
    return {
        "children": children.astype(np.int64),
        "features": np.where(leaf, 0, tree.feature).astype(np.int64),
        "thresholds": np.where(leaf, 0, tree.threshold).astype(np.float64),
        "depths": depths + np.where(leaf, _mean_depth(tree.n_node_samples), 0),
    }


def _mean_depth(count: np.ndarray) -> np.ndarray:
    """Cuts that part one of `count` clips from the others in the mean, (n,) float64.

    2 H(n - 1) - 2 (n - 1) / n, with H(i) = ln i + Euler's constant; equation 1 of the paper.
    """
    n = np.maximum(count, 3).astype(np.float64)
    depth = 2 * (np.log(n - 1) + np.euler_gamma) - 2 * (n - 1) / n
    return np.where(count > 2, depth, np.where(count == 2, 1.0, 0.0))
