"""A back end for all sections of a machine type together, or one for each."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from asd.backends.backend import BackEnd, part
from common import UserError


class BySection:
    """Back ends by section; where sections stand together, all clips are of one.

    Parameters
    ----------
    make : gives a back end that is not fitted
    apart : whether each section has a back end of its own
    """

    def __init__(self, make: Callable[[], BackEnd], apart: bool) -> None:
        self._make, self._apart = make, apart
        self.title = make().title
        self._backends: dict[str, BackEnd] = {}

    def fit(self, embeddings: np.ndarray, domains: Sequence[str], sections: Sequence[str]) -> None:
        """See `BackEnd.fit`; with the section of each clip.

        Raises
        ------
        UserError : of a back end, with the section that it is of.
        """
        self._backends = {}
        for section, which in self._parted(sections):
            backend = self._make()
            try:
                backend.fit(embeddings[which], [domains[i] for i in which])
            except UserError as error:
                if not self._apart:
                    raise
                raise UserError(f"section {section}: {error}") from error
            self._backends[section] = backend

    def score(self, embeddings: np.ndarray, sections: Sequence[str]) -> np.ndarray:
        """See `BackEnd.score`; with the section of each clip.

        Raises
        ------
        UserError : a section had no training clips.
        """
        scores = np.empty(len(embeddings))
        for section, which in self._parted(sections):
            if section not in self._backends:
                raise UserError(f"section {section} has no training clips, and detector.sections "
                                "is apart; with together it needs none")  # fmt: skip
            scores[which] = self._backends[section].score(embeddings[which])
        return scores

    def _parted(self, sections: Sequence[str]) -> list[tuple[str, np.ndarray]]:
        """The places of the clips of each section that has a back end of its own."""
        named = np.array(sections if self._apart else [""] * len(sections), str)
        return [(name, np.flatnonzero(named == name)) for name in sorted(set(named.tolist()))]

    def arrays(self) -> dict[str, np.ndarray]:
        """See `BackEnd.arrays`."""
        of_sections = {
            f"{i}.{name}": values
            for i, backend in enumerate(self._backends.values())
            for name, values in backend.arrays().items()
        }
        return {"sections": np.array(list(self._backends)), **of_sections}

    def load(self, arrays: dict[str, np.ndarray]) -> None:
        """See `BackEnd.load`."""
        self._backends = {}
        for i, section in enumerate(arrays["sections"].tolist()):
            self._backends[section] = self._make()
            self._backends[section].load(part(arrays, f"{i}."))
