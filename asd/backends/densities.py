"""Back ends that model how dense normal embeddings lie, by scikit-learn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from asd.backends.backend import SEED, check_enough, taken
from asd.backends.distances import Distance, measured, nearest, placed
from asd.sections import Section
from common import Positive, UserError


def _squares(points: np.ndarray, mean: np.ndarray, factor: np.ndarray) -> np.ndarray:
    """Squared Mahalanobis distances, (n,) float64.

    One by one: how a product of matrices rounds depends on a row's place.

    Parameters
    ----------
    points : (n, width) float64
    mean : (width,) float64
    factor : (width, rank) float64, F of the inverse covariance F F'
    """
    return np.array([np.square((point - mean) @ factor).sum() for point in points], np.float64)


class Gmm:
    """How unlikely an embedding is by a mixture of normal distributions: -log density.

    Fitted by scikit-learn's GaussianMixture from k-means, to all domains together.
    """

    title = "negative log-likelihood of a Gaussian mixture"

    class Settings(Section):
        """What the mixture is made of."""

        components: Positive
        covariance: Literal["full", "diag"]

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def fit(self, embeddings: np.ndarray, domains: Sequence[str]) -> None:
        """See `BackEnd.fit`."""
        from sklearn.mixture import GaussianMixture
        from threadpoolctl import threadpool_limits

        components = self._settings.components
        # A covariance is of two clips at least.
        check_enough(f"components is {components}", max(2, components), len(embeddings))
        kind = self._settings.covariance
        mixture = GaussianMixture(components, covariance_type=kind, random_state=SEED)
        with threadpool_limits(1):  # threads add up in the order in which they end
            mixture.fit(placed(embeddings, "euclidean"))
        self._means = mixture.means_  # (components, width)
        factors = mixture.precisions_cholesky_  # (components, width[, width])
        self._factors = factors
        sizes = np.abs(factors if kind == "diag" else factors.diagonal(axis1=1, axis2=2))
        width = self._means.shape[1]
        # The log density of each component at its mean.
        self._peaks = (
            np.log(mixture.weights_) + np.log(sizes).sum(axis=1) - width / 2 * np.log(2 * np.pi)
        )

    def score(self, embeddings: np.ndarray) -> np.ndarray:
        """See `BackEnd.score`."""
        points = placed(embeddings, "euclidean")
        logs = np.empty((len(points), len(self._means)))
        for i, (mean, factor) in enumerate(zip(self._means, self._factors, strict=True)):
            if factor.ndim == 1:
                squares = np.square((points - mean) * factor).sum(axis=1)
            else:
                squares = _squares(points, mean, factor)
            logs[:, i] = self._peaks[i] - squares / 2
        most = logs.max(axis=1)
        return -np.array([top + np.log(np.exp(row - top).sum())
                          for row, top in zip(logs, most, strict=True)])  # fmt: skip

    def arrays(self) -> dict[str, np.ndarray]:
        """See `BackEnd.arrays`."""
        return {"means": self._means, "factors": self._factors, "peaks": self._peaks}

    def load(self, arrays: dict[str, np.ndarray]) -> None:
        """See `BackEnd.load`."""
        self._means, self._peaks = taken(arrays, "means", "ij"), taken(arrays, "peaks", "i")
        full = self._settings.covariance == "full"
        self._factors = taken(arrays, "factors", "ijk" if full else "ij")
        if not len(self._means) == len(self._factors) == len(self._peaks):
            raise ValueError("components that do not fit each other")


class Mahalanobis:
    """Mahalanobis distance to the mean of the training clips, all domains together.

    The covariance is shrunk as Ledoit and Wolf 2004, doi:10.1016/S0047-259X(03)00096-4, by
    scikit-learn.
    """

    title = "Mahalanobis distance to the training clips' mean"

    class Settings(Section):
        """Nothing to choose."""

    def __init__(self, settings: Settings) -> None:
        pass

    def fit(self, embeddings: np.ndarray, domains: Sequence[str]) -> None:
        """See `BackEnd.fit`.

        Raises
        ------
        UserError : the embeddings do not differ, so that there is no covariance.
        """
        from sklearn.covariance import LedoitWolf

        points = placed(embeddings, "euclidean")
        if (points == points[:1]).all():
            raise UserError("detector.backend: the training clips' embeddings do not differ, so "
                            "there is no Mahalanobis distance; use more clips")  # fmt: skip
        shrunk = LedoitWolf(store_precision=False).fit(points)
        values, vectors = np.linalg.eigh(shrunk.covariance_)
        varied = values > values[-1] * len(values) * np.finfo(np.float64).eps
        self._mean = shrunk.location_
        self._factor = vectors[:, varied] / np.sqrt(values[varied])

    def score(self, embeddings: np.ndarray) -> np.ndarray:
        """See `BackEnd.score`."""
        return np.sqrt(_squares(placed(embeddings, "euclidean"), self._mean, self._factor))

    def arrays(self) -> dict[str, np.ndarray]:
        """See `BackEnd.arrays`."""
        return {"mean": self._mean, "factor": self._factor}

    def load(self, arrays: dict[str, np.ndarray]) -> None:
        """See `BackEnd.load`."""
        self._mean, self._factor = taken(arrays, "mean", "i"), taken(arrays, "factor", "ij")


class Lof:
    """Local outlier factor: how much denser the nearest training clips lie than the clip itself.

    Breunig et al. 2000, doi:10.1145/342009.335388, with the numbers of scikit-learn's
    LocalOutlierFactor for novelties; domains are not told apart.
    """

    title = "local outlier factor"

    class Settings(Section):
        """How distances are taken."""

        distance: Distance
        neighbours: Positive

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def fit(self, embeddings: np.ndarray, domains: Sequence[str]) -> None:
        """See `BackEnd.fit`."""
        count = self._settings.neighbours
        check_enough(f"neighbours is {count} and the clip itself", count + 1, len(embeddings))
        self._pool = placed(embeddings, self._settings.distance)
        lengths, places = nearest(self._pool, self._pool, count + 1)
        own = places == np.arange(len(places))[:, None]
        own[~own.any(axis=1), -1] = True  # equal clips stand before it
        lengths = measured(lengths[~own].reshape(-1, count), self._settings.distance)
        places = places[~own].reshape(-1, count)
        self._reaches = lengths[:, -1].copy()  # to the farthest neighbour
        self._densities = self._density(lengths, places)

    def _density(self, lengths: np.ndarray, places: np.ndarray) -> np.ndarray:
        """Local reachability densities, (n,) float64, from the nearest clips."""
        reached = np.maximum(lengths, self._reaches[places])
        return 1 / (reached.mean(axis=1) + 1e-10)  # scikit-learn's, for duplicates

    def score(self, embeddings: np.ndarray) -> np.ndarray:
        """See `BackEnd.score`."""
        settings = self._settings
        points = placed(embeddings, settings.distance)
        lengths, places = nearest(self._pool, points, settings.neighbours)
        here = self._density(measured(lengths, settings.distance), places)
        return self._densities[places].mean(axis=1) / here

    def arrays(self) -> dict[str, np.ndarray]:
        """See `BackEnd.arrays`."""
        return {"pool": self._pool, "reaches": self._reaches, "densities": self._densities}

    def load(self, arrays: dict[str, np.ndarray]) -> None:
        """See `BackEnd.load`."""
        self._pool, self._reaches = taken(arrays, "pool", "ij"), taken(arrays, "reaches", "i")
        self._densities = taken(arrays, "densities", "i")
        if not len(self._pool) == len(self._reaches) == len(self._densities):
            raise ValueError("densities that do not fit the pool")
