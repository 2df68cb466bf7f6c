"""How far a clip is from what a classifier of causes has learnt.

Rows are standardised statistics as `network.stepped` gives them, so that those which were stored in
int8 are the same. float64.
"""

from __future__ import annotations

import numpy as np

from asd.causes.network import STATISTICS_SCALE


def radii(known: np.ndarray, machines: np.ndarray) -> np.ndarray:
    """How far each known row is from the nearest one of another machine.

    Of a single machine, from its nearest other row.

    Parameters
    ----------
    known : (n, width)
    machines : (n,) str

    Returns
    -------
    (n,) float64, above 0; see `_between`
    """
    apart = machines[:, None] != machines
    if not apart.any():
        apart = ~np.eye(len(machines), dtype=bool)
    nearest = np.where(apart, _between(known, known), np.inf).min(axis=1)
    return np.maximum(nearest, STATISTICS_SCALE.scale)


def distances(known: np.ndarray, of_known: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """How far each row is from what is known: the least of its distances over the known radii.

    1 is as far as a known row is from its likes in other machines. Dividing by the local density
    keeps faults that are strong, and so far from each other, from being strange for that alone;
    as in LOF, Breunig et al. 2000, doi:10.1145/335191.335388.

    Parameters
    ----------
    known, rows : (n_known, width) and (n_rows, width)
    of_known : (n_known,) `radii`

    Returns
    -------
    (n_rows,) float64
    """
    return (_between(rows, known) / of_known).min(axis=1)


def _between(some: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Root of the mean square of differences, (n_some, n_others) float64, standard deviations."""
    squares = (some**2).sum(axis=1)[:, None] + (others**2).sum(axis=1) - 2 * some @ others.T
    return np.sqrt(np.maximum(squares, 0) / some.shape[1])
