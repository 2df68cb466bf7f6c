"""Several back ends as one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from asd.backends.backend import BackEnd, part, taken
from asd.backends.single import SINGLE
from asd.sections import Choice, Section
from common import UserError

FOLDS = 5  # in which training clips are scored by parts that have not learnt them
LEAST = 1e-12  # deviation by which is divided


class Fusion:
    """The mean of several back ends' scores, each normalised to mean 0 and deviation 1.

    Mean and deviation are those of the scores of training clips by a back end fitted to the
    others, a fifth of each domain at a time: to one that has learnt them they may all be at
    distance 0. Served are back ends fitted to all.
    """

    title = "mean of normalised scores"

    class Settings(Section):
        """The back ends; each a mapping with a kind."""

        parts: tuple[Choice, ...]

        def __post_init__(self) -> None:
            if not self.parts:
                raise ValueError("parts is empty; name the back ends to be fused")

    def __init__(self, settings: Settings) -> None:
        self._parts: list[BackEnd] = []
        for choice in settings.parts:
            kind, of_kind = choice.section(SINGLE)
            self._parts.append(kind(of_kind))

    def fit(self, embeddings: np.ndarray, domains: Sequence[str]) -> None:
        """See `BackEnd.fit`."""
        fold, seen = np.empty(len(domains), int), Counter()
        for i, domain in enumerate(domains):
            fold[i] = seen[domain] % FOLDS
            seen[domain] += 1
        means, deviations = [], []
        for backend in self._parts:
            held_out = np.empty(len(domains))
            for one in sorted(set(fold.tolist())):
                _fit_to(backend, embeddings, domains, fold != one)
                held_out[fold == one] = backend.score(embeddings[fold == one])
            means.append(held_out.mean())
            deviations.append(max(held_out.std(), LEAST))
            backend.fit(embeddings, domains)
        self._means, self._deviations = np.array(means), np.array(deviations)

    def score(self, embeddings: np.ndarray) -> np.ndarray:
        """See `BackEnd.score`."""
        total = np.zeros(len(embeddings))
        normal = zip(self._parts, self._means, self._deviations, strict=True)
        for backend, mean, deviation in normal:
            total += (backend.score(embeddings) - mean) / deviation
        return total / len(self._parts)

    def arrays(self) -> dict[str, np.ndarray]:
        """See `BackEnd.arrays`."""
        of_parts = {
            f"{i}.{name}": values
            for i, backend in enumerate(self._parts)
            for name, values in backend.arrays().items()
        }
        return {"means": self._means, "deviations": self._deviations, **of_parts}

    def load(self, arrays: dict[str, np.ndarray]) -> None:
        """See `BackEnd.load`."""
        self._means, self._deviations = (taken(arrays, name, "i") for name in
                                         ("means", "deviations"))  # fmt: skip
        if not len(self._means) == len(self._deviations) == len(self._parts):
            raise ValueError("other parts")
        for i, one in enumerate(self._parts):
            one.load(part(arrays, f"{i}."))


def _fit_to(
    backend: BackEnd, embeddings: np.ndarray, domains: Sequence[str], which: np.ndarray
) -> None:
    """Fit a part to some of the clips.

    Raises
    ------
    UserError : they are too few; it is said that they are not all.
    """
    if not which.any():
        raise UserError("detector.backend: fusion needs two training clips; use more")
    try:
        backend.fit(embeddings[which], [d for d, one in zip(domains, which, strict=True) if one])
    except UserError as error:
        raise UserError(f"{error} (fusion fits its parts to four fifths of the clips, too, to "
                        "normalise their scores)") from error  # fmt: skip
