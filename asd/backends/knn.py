"""Back ends that look at the nearest training clips."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import msgspec
import numpy as np

from asd.backends.backend import SEED, check_enough, of_target, taken
from asd.backends.distances import SHORTEST, Distance, measured, nearest, placed
from asd.sections import NotNegative, Section
from common import Positive, UserError

# Beside the cosine distance, 1 - cos, the half chord that ASDKit gives that name.
KnnDistance = Literal["cosine", "euclidean", "half_chord"]
# Of both domains, or of source and target.
Neighbours = Positive | Annotated[tuple[NotNegative, ...], msgspec.Meta(min_length=2, max_length=2)]

Ratio = Annotated[float, msgspec.Meta(gt=0, le=1)]


class Knn:
    """Mean distance to the nearest training clips of a domain; of the two domains the lesser.

    The back end of the discriminative systems of DCASE Task 2, as in Fujimura et al. 2025,
    arXiv:2507.10264.
    """

    class Settings(Section):
        """How distances are taken."""

        distance: KnnDistance
        neighbours: Neighbours

    def __init__(self, settings: Settings) -> None:
        self._distance = settings.distance
        both = settings.neighbours
        source, target = (both, both) if isinstance(both, int) else both
        self._neighbours = {"source": source, "target": target}
        self.title = f"{settings.distance.replace('_', ' ')} distance to training clips"
        self._pools: dict[str, np.ndarray] = {}  # by domain, (n_clips, width) float64

    def fit(self, embeddings: np.ndarray, domains: Sequence[str]) -> None:
        """See `BackEnd.fit`; a domain without clips, or with 0 neighbours, does not count."""
        points, target = placed(embeddings, self._distance), of_target(domains)
        self._pools = {}
        for domain, which in (("source", ~target), ("target", target)):
            count, there = self._neighbours[domain], int(which.sum())
            if count and there:
                whose = f"of the {domain} domain" if any(domains) else ""
                check_enough(f"neighbours is {count}", count, there, whose)
                self._pools[domain] = points[which]
        if not self._pools:
            raise UserError("detector.backend: neighbours leaves no training clip to compare with; "
                            "ask for clips of the other domain")  # fmt: skip

    def score(self, embeddings: np.ndarray) -> np.ndarray:
        """See `BackEnd.score`."""
        points = placed(embeddings, self._distance)
        return np.min([self._means(domain, points) for domain in self._pools], axis=0)

    def _means(self, domain: str, points: np.ndarray) -> np.ndarray:
        """The mean distance of each point to the nearest clips of a domain."""
        lengths, _ = nearest(self._pools[domain], points, self._neighbours[domain])
        return measured(lengths, self._distance).mean(axis=1)

    def arrays(self) -> dict[str, np.ndarray]:
        """See `BackEnd.arrays`."""
        return dict(self._pools)

    def load(self, arrays: dict[str, np.ndarray]) -> None:
        """See `BackEnd.load`."""
        self._pools = {name: taken(arrays, name, "ij") for name in self._neighbours
                       if name in arrays}  # fmt: skip


class Smote:
    """The nearest clips, where the target domain has more by SMOTE: points between its clips.

    Chawla et al. 2002, doi:10.1613/jair.953, by imbalanced-learn. The new points and their
    neighbours are found among embeddings of length 1, but for the Euclidean distance.
    """

    class Settings(Section):
        """How distances are taken, and how many points are added."""

        distance: KnnDistance
        neighbours: Neighbours
        ratio: Ratio  # of target to source clips, up to which is filled
        between: Positive  # nearest target clips of each towards which new points lie

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        knn = Knn.Settings(distance=settings.distance, neighbours=settings.neighbours)
        self._knn = Knn(knn)
        self.title = self._knn.title

    def fit(self, embeddings: np.ndarray, domains: Sequence[str]) -> None:
        """See `BackEnd.fit`.

        Nothing is added where the ratio is met already or there is one target clip, between which
        and others no point is. Where there are no more than `between` other ones, all are taken.
        """
        points, target = placed(embeddings, self._settings.distance), of_target(domains)
        more = self._between(points, target)
        self._knn.fit(np.concatenate([points, more]), [*domains, *["target"] * len(more)])

    def _between(self, points: np.ndarray, target: np.ndarray) -> np.ndarray:
        """New points of the target domain, (n_new, width) float64."""
        from imblearn.over_sampling import SMOTE

        here = int(target.sum())
        wanted = int(self._settings.ratio * (len(points) - here) - here)
        if wanted <= 0 or here < 2:
            return points[:0]
        neighbours = min(self._settings.between, here - 1)
        smote = SMOTE(sampling_strategy={1: here + wanted}, k_neighbors=neighbours,
                      random_state=SEED)  # fmt: skip
        return smote.fit_resample(points, target.astype(int))[0][len(points) :]

    def score(self, embeddings: np.ndarray) -> np.ndarray:
        """See `BackEnd.score`."""
        return self._knn.score(embeddings)

    def arrays(self) -> dict[str, np.ndarray]:
        """See `BackEnd.arrays`."""
        return self._knn.arrays()

    def load(self, arrays: dict[str, np.ndarray]) -> None:
        """See `BackEnd.load`."""
        self._knn.load(arrays)


class RescaledKnn:
    """Mean distance to the nearest training clips, each distance in units of local density.

    The unit of a training clip is its mean distance to its own nearest ones; domains are not told
    apart. Wilkinghoff et al. 2025, arXiv:2501.07161. "cosine" means the chord between embeddings
    of length 1 here, as published.
    """

    class Settings(Section):
        """How distances are taken."""

        distance: Distance
        neighbours: Positive
        local_neighbours: Positive  # of a training clip, that tell the density there

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.title = f"{settings.distance} distance to training clips by local density"

    def fit(self, embeddings: np.ndarray, domains: Sequence[str]) -> None:
        """See `BackEnd.fit`."""
        settings = self._settings
        check_enough(f"neighbours is {settings.neighbours}", settings.neighbours, len(embeddings))
        local = settings.local_neighbours
        check_enough(f"local_neighbours is {local} and the clip itself", local + 1, len(embeddings))
        self._pool = placed(embeddings, settings.distance)
        lengths, _ = nearest(self._pool, self._pool, local + 1)
        # Of a clip that is there more than so often the unit would be 0.
        self._units = np.maximum(lengths[:, 1:].mean(axis=1), SHORTEST)

    def score(self, embeddings: np.ndarray) -> np.ndarray:
        """See `BackEnd.score`."""
        points = placed(embeddings, self._settings.distance)
        ratios, _ = nearest(self._pool, points, self._settings.neighbours, self._units)
        return ratios.mean(axis=1)

    def arrays(self) -> dict[str, np.ndarray]:
        """See `BackEnd.arrays`."""
        return {"pool": self._pool, "units": self._units}

    def load(self, arrays: dict[str, np.ndarray]) -> None:
        """See `BackEnd.load`."""
        self._pool, self._units = taken(arrays, "pool", "ij"), taken(arrays, "units", "i")
        if len(self._pool) != len(self._units) or (self._units <= 0).any():
            raise ValueError("units that do not fit the pool")
