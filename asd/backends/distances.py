"""Distances between embeddings, and the nearest ones, fast and the same in any company."""

from __future__ import annotations

from typing import Literal

import numpy as np

Distance = Literal["cosine", "euclidean"]
SHORTEST = 1e-12  # a length by which is divided
BLOCK_VALUES = 1 << 21  # distances at a time, 16 MB


def placed(embeddings: np.ndarray, distance: str) -> np.ndarray:
    """Embeddings as points whose Euclidean distances tell what is near.

    Parameters
    ----------
    embeddings : (n_clips, width)
    distance : "euclidean", or another, which looks at directions only

    Returns
    -------
    (n_clips, width) float64, of length 1 but for "euclidean"; zeros stay zeros
    """
    points = np.array(embeddings, np.float64, order="C")
    if distance != "euclidean":
        points /= np.maximum(np.linalg.norm(points, axis=1, keepdims=True), SHORTEST)
    return points


def measured(lengths: np.ndarray, distance: str) -> np.ndarray:
    """Euclidean distances between `placed` points as distances of a kind.

    Parameters
    ----------
    distance : "cosine", 1 - cos, which is half the square of the chord between two points of the
        unit sphere; "half_chord", half that chord; or "euclidean"
    """
    if distance == "cosine":
        return lengths * lengths / 2
    return lengths / 2 if distance == "half_chord" else lengths


def nearest(
    pool: np.ndarray, points: np.ndarray, count: int, units: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The nearest of a pool, and how far they are.

    A matrix product is fast, but how it rounds depends on a row's place. It finds those that can be
    among the nearest by a bound on its rounding; their distances are then taken pair by pair.

    Parameters
    ----------
    pool : (n_pool, width) float64
    points : (n, width) float64
    count : how many, at most n_pool
    units : (n_pool,) float64, in which the distances to each of the pool are counted

    Returns
    -------
    (n, count) float64, ascending; (n, count) int64, the places in the pool. Of equal distances
    the first in the pool comes first.
    """
    from scipy.spatial.distance import cdist

    lengths = np.empty((len(points), count))
    places = np.empty((len(points), count), np.int64)
    squares = np.square(pool).sum(axis=1)
    step = max(1, BLOCK_VALUES // len(pool))
    for start in range(0, len(points), step):
        possible = _possible(pool, squares, points[start : start + step], count, units)
        for i, row in enumerate(possible, start):
            some = np.flatnonzero(row)
            far = cdist(points[i : i + 1], pool[some])[0]
            if units is not None:
                far /= units[some]
            order = np.argsort(far, kind="stable")[:count]
            lengths[i], places[i] = far[order], some[order]
    return lengths, places


def _possible(
    pool: np.ndarray, squares: np.ndarray, points: np.ndarray, count: int, units: np.ndarray | None
) -> np.ndarray:
    """Which of the pool may be among the nearest of each point, (n, n_pool) bool.

    Parameters
    ----------
    squares : (n_pool,) float64, the squared lengths of the pool
    """
    # A sum of n products is off by n roundings of the sum of their sizes, at most the sum of both
    # squared lengths; four times that leaves room for the other sums and for the distances pair
    # by pair.
    slack = 4 * (pool.shape[1] + 16) * np.finfo(np.float64).eps
    own = np.square(points).sum(axis=1)[:, None]
    about = (-2 * points) @ pool.T  # (n, n_pool); squared distances, in place
    about += squares
    if units is None:  # a point's own square changes no order, and the bound is one number
        error = slack * (own + squares.max())
        return about <= _smallest(about, count) + 2 * error
    about += own
    about /= units**2
    error = slack * (own + squares) / units**2
    return about - error <= _smallest(about + error, count)


def _smallest(values: np.ndarray, count: int) -> np.ndarray:
    """The number `count` by size of each row, (n, 1)."""
    if count == 1:
        return values.min(axis=1, keepdims=True)
    return np.partition(values, count - 1, axis=1)[:, count - 1 : count]
