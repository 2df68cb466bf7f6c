"""Back ends: from the embeddings of normal training clips to anomaly scores of others.

A back end is a class with a section `Settings` and two methods, `fit(embeddings, domains)` and
`score(embeddings)`; `KINDS` lists them by the name that `kind` has in the YAML.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, Protocol

import numpy as np

from asd.sections import Choice, Section
from common import Positive, UserError


class BackEnd(Protocol):
    """From embeddings to scores."""

    title: str  # what the scores are, with their unit

    def fit(self, embeddings: np.ndarray, domains: Sequence[str]) -> None:
        """Remember the embeddings of training clips.

        Parameters
        ----------
        embeddings : (n_clips, width) float32
        domains : of each clip, "source", "target" or "" where there are none
        """

    def score(self, embeddings: np.ndarray) -> np.ndarray:
        """(n_clips,) float64, higher is more anomalous."""


class Knn:
    """Mean distance to the nearest training clips of a domain; of several domains the least.

    The back end of the discriminative systems of DCASE Task 2, as in Fujimura et al. 2025,
    arXiv:2507.10264. The cosine distance of two embeddings is 1 - cos.
    """

    class Settings(Section):
        """How distances are taken."""

        distance: Literal["cosine", "euclidean"]
        neighbours: Positive

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.title = f"{settings.distance} distance to training clips"
        self._groups: list[Any] = []

    def fit(self, embeddings: np.ndarray, domains: Sequence[str]) -> None:
        """See `BackEnd.fit`.

        Raises
        ------
        UserError : a domain has fewer clips than neighbours are asked for.
        """
        from sklearn.neighbors import NearestNeighbors

        settings = self._settings
        self._groups = []
        for domain in sorted(set(domains)):
            some = embeddings[[i for i, one in enumerate(domains) if one == domain]]
            if len(some) < settings.neighbours:
                name = f"of the {domain} domain" if domain else ""
                raise UserError(
                    f"detector.backend.neighbours is {settings.neighbours}, but there are only "
                    f"{len(some)} training clips {name}".rstrip()
                )
            index = NearestNeighbors(
                n_neighbors=settings.neighbours, metric=settings.distance, algorithm="brute"
            )
            self._groups.append(index.fit(some))

    def score(self, embeddings: np.ndarray) -> np.ndarray:
        """See `BackEnd.score`; one by one, for products round otherwise in company."""
        scores = [
            min(index.kneighbors(one[None])[0].mean() for index in self._groups)
            for one in embeddings
        ]
        return np.array(scores, np.float64)


KINDS = {"knn": Knn}


def of(choice: Choice) -> BackEnd:
    """The back end that a section of the YAML names, not fitted.

    Raises
    ------
    UserError : see `Choice.section`.
    """
    kind, settings = choice.section(KINDS)
    return kind(settings)
