"""The back end that looks at cluster centres."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from asd.backends.backend import SEED, check_enough, of_target, taken
from asd.backends.distances import Distance, measured, nearest, placed
from asd.sections import Section
from common import Positive


class KMeans:
    """Distance to the nearest centre of the source domain's clusters, or target clip.

    k-means by scikit-learn; target clips are few and stand for themselves.
    """

    class Settings(Section):
        """How distances are taken, and how many centres there are."""

        distance: Distance
        clusters: Positive

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.title = f"{settings.distance} distance to cluster centres"

    def fit(self, embeddings: np.ndarray, domains: Sequence[str]) -> None:
        """See `BackEnd.fit`."""
        import sklearn.cluster
        from threadpoolctl import threadpool_limits

        settings, target = self._settings, of_target(domains)
        points = placed(embeddings, settings.distance)
        whose = "of the source domain" if any(domains) else ""
        there = int((~target).sum())
        check_enough(f"clusters is {settings.clusters}", settings.clusters, there, whose)
        kmeans = sklearn.cluster.KMeans(settings.clusters, n_init=1, random_state=SEED)
        with threadpool_limits(1):  # threads add up in the order in which they end
            centres = kmeans.fit(points[~target]).cluster_centers_
        self._pool = np.concatenate([placed(centres, settings.distance), points[target]])

    def score(self, embeddings: np.ndarray) -> np.ndarray:
        """See `BackEnd.score`."""
        lengths, _ = nearest(self._pool, placed(embeddings, self._settings.distance), 1)
        return measured(lengths[:, 0], self._settings.distance)

    def arrays(self) -> dict[str, np.ndarray]:
        """See `BackEnd.arrays`."""
        return {"pool": self._pool}

    def load(self, arrays: dict[str, np.ndarray]) -> None:
        """See `BackEnd.load`."""
        self._pool = taken(arrays, "pool", "ij")
