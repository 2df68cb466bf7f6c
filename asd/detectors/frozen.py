"""Embeddings that nobody trained, with a back end: the simplest detector, and a hard one to beat.

The embedding of a clip is its mean mel frame, or what a network gives that the user brings as a
file. Training is remembering the embeddings of normal clips.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from asd import backends, embeddings
from asd.backends.backend import part
from asd.backends.by_section import BySection
from asd.clips import Scores
from asd.config import Config
from asd.detectors import array_files
from asd.detectors.detector import Fitted, TooFewClips
from asd.sections import Choice, Section
from asd.store import Store
from common import UserError

MOST_BYTES = 1 << 30  # of a model
HEADERS = 1 << 10  # bytes that tell of an array what it is, at most
FOLDS = 5  # in which training clips are scored by back ends that have not learnt them
FITTED = "fitted."  # before the names of the back end's arrays


class Frozen:
    """See `asd.detectors.detector.Detector`.

    A model holds the embeddings of training clips and the back end that was fitted to them. One of
    another kind, or with other settings, is fitted to them when the model is loaded.
    """

    class Settings(Section):
        """What makes the embeddings, and what scores them."""

        backend: Choice
        sections: Literal["together", "apart"] = "together"  # a back end for all, or one for each
        embedding: Choice = Choice(Path(), "detector.embedding", "mean_mel", {})

    kind = "frozen"
    network = None
    scope = "machine"
    suffixes = (".npz",)
    error = None

    def __init__(self, cfg: Config, settings: Settings) -> None:
        apart = settings.sections == "apart"
        make = functools.partial(backends.of, settings.backend)
        self._new_backend = functools.partial(BySection, make, apart)
        self._backend = self._new_backend()
        choice = {"kind": settings.backend.kind, **settings.backend.values}
        self._described = json.dumps({"backend": choice, "apart": apart}, sort_keys=True)
        self.score_title = self._backend.title
        embedding = embeddings.of(settings.embedding, cfg.feature)
        other = {"embedding": embedding.made_of} if embedding.made_of else {}
        self.made_of = {"feature": embedding.feature, "detector": {"kind": self.kind, **other}}
        self.rows = embedding.rows

    def fit(self, train: Store) -> Fitted:
        """Remember the embeddings of all clips, and fit the back end to them."""
        self._embeddings = train.read(range(len(train)))  # (n_clips, width) float32
        self._domains = [clip.domain or "" for clip in train.clips]
        self._sections = [clip.section for clip in train.clips]
        self._backend.fit(self._embeddings, self._domains, self._sections)
        return Fitted(len(train), [])

    def save(self, path: Path) -> None:
        """Write embeddings, domains, sections and the fitted back end.

        Raises
        ------
        UserError : they are more than a model is read with.
        """
        fitted = {f"{FITTED}{name}": values for name, values in self._backend.arrays().items()}
        arrays = {
            "embeddings": self._embeddings,
            "domains": np.array(self._domains),
            "sections": np.array(self._sections),
            "fitted": np.array(self._described),
            **fitted,
        }
        size = sum(values.nbytes for values in arrays.values())
        if size > MOST_BYTES - HEADERS * len(arrays):
            raise UserError(f"{path}: a model of {size:,} bytes, and {MOST_BYTES:,} are the most; "
                            "choose a back end that keeps fewer clips")  # fmt: skip
        with path.open("wb") as file:
            np.savez(file, **arrays)

    def load(self, path: Path) -> None:
        """Read a model; a back end that is not in it is fitted to the embeddings.

        Raises
        ------
        UserError : the file is damaged or holds other arrays.
        """
        path.open("rb").close()  # what forbids that is no damage
        try:
            arrays = array_files.read(path, MOST_BYTES)
            embeddings, domains, sections = (
                arrays[name] for name in ("embeddings", "domains", "sections")
            )
            if embeddings.shape != (len(domains), self.rows.width) or embeddings.dtype != "f4":
                raise ValueError(f"embeddings of shape {embeddings.shape}, {embeddings.dtype}")
            if domains.shape != sections.shape:
                raise ValueError(f"{len(domains)} domains and {len(sections)} sections")
            if not np.isfinite(embeddings).all():
                raise ValueError("embeddings that are not numbers")
            domains, sections = domains.tolist(), sections.tolist()
            self._embeddings, self._domains = embeddings, domains
            if is_fitted := str(arrays["fitted"]) == self._described:
                self._backend.load(part(arrays, FITTED))
                self._try(embeddings, sections)
        except Exception as error:  # the reader raises whatever a damaged file leads it to
            reason = " ".join(str(error).split())[:120]
            raise UserError(f"{path}: not a readable model ({reason}); train it anew") from error
        if not is_fitted:
            self._backend.fit(embeddings, domains, sections)

    def _try(self, embeddings: np.ndarray, sections: list[str]) -> None:
        """Score a clip of each section.

        Raises
        ------
        Exception : of any kind, where what was loaded does not fit the embeddings.
        """
        some = np.unique(sections, return_index=True)[1]
        scores = self._backend.score(embeddings[some], [sections[i] for i in some])
        if not np.isfinite(scores).all():
            raise ValueError("a back end whose scores are not numbers")

    @property
    def known(self) -> tuple[np.ndarray, list[str]]:
        """The training clips' embeddings, (n_clips, width) float32, and domains, "" for none."""
        return self._embeddings, self._domains

    def score(self, test: Store) -> Scores:
        """The back end's scores of the clips' embeddings."""
        embeddings, sections = test.read(range(len(test))), [clip.section for clip in test.clips]
        return Scores(test.clips, self._backend.score(embeddings, sections))

    def normal_scores(self, train: Store) -> Scores:
        """Of each fold of the training clips, by a back end fitted to the other folds.

        The one that is fitted to all would find each clip itself, at distance 0.
        """
        embeddings = train.read(range(len(train)))  # (n_clips, n_mels) float32
        domains = [clip.domain or "" for clip in train.clips]
        sections = [clip.section for clip in train.clips]
        fold, scores = folds(sections, domains), np.empty(len(train))
        if len(train) < 2:
            raise TooFewClips("a single training clip has no other to be compared with")
        for one in range(fold.max() + 1):
            known, held_out = np.flatnonzero(fold != one), np.flatnonzero(fold == one)
            backend = self._new_backend()
            try:
                backend.fit(embeddings[known], [domains[i] for i in known],
                            [sections[i] for i in known])  # fmt: skip
                scores[held_out] = backend.score(embeddings[held_out],
                                                 [sections[i] for i in held_out])  # fmt: skip
            except UserError as error:
                raise TooFewClips(f"without a fold of them, {error}") from error
        return Scores(train.clips, scores)

    def chain(self) -> None:
        """None: there is no network."""


def folds(sections: Sequence[str], domains: Sequence[str]) -> np.ndarray:
    """Of which fold each clip is, (n_clips,) int64 from 0.

    Of every section and domain each fold has as many clips as any other, or one more or less; and
    so it is of all clips. Fewer clips than `FOLDS` are a fold each.
    """
    order = sorted(range(len(sections)), key=lambda i: (sections[i], domains[i], i))
    fold = np.empty(len(order), np.int64)
    fold[order] = np.arange(len(order)) % FOLDS
    return fold
