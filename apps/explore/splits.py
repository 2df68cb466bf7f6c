"""Which recordings train and which test: what belongs together stays on one side."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np


def leaving_out(groups: Sequence[str]) -> Iterator[tuple[str, np.ndarray]]:
    """Each group by turns, and which rows it has, (n,) bool: they test, all others train."""
    names = np.asarray(groups)
    for name in sorted(set(groups)):
        yield name, names == name


def grouped(groups: Sequence[str], test_share: float, seed: int) -> np.ndarray:
    """Which rows test: whole groups, drawn until they have that share of the rows.

    Parameters
    ----------
    test_share : 0 to 1

    Returns
    -------
    (n,) bool; neither side is empty

    Raises
    ------
    ValueError : there are fewer than two groups.
    """
    names = np.asarray(groups)
    order = np.random.default_rng(seed).permutation(sorted(set(groups)))
    if len(order) < 2:
        raise ValueError("two groups are needed, one for each side")
    sizes = np.cumsum([np.count_nonzero(names == name) for name in order])
    count = int(np.clip(np.searchsorted(sizes, test_share * len(names)) + 1, 1, len(order) - 1))
    return np.isin(names, order[:count])


def at_random(labels: Sequence[str], n_parts: int, seed: int) -> np.ndarray:
    """Rows dealt out at random, as published work does: machines are on both sides.

    Returns
    -------
    (n,) int64, the part of each, 0 to n_parts - 1; each label's rows are spread evenly
    """
    rng, names = np.random.default_rng(seed), np.asarray(labels)
    parts = np.empty(len(names), np.int64)
    for label in sorted(set(labels)):
        rows = rng.permutation(np.flatnonzero(names == label))
        parts[rows] = (np.arange(len(rows)) + rng.integers(n_parts)) % n_parts
    return parts
