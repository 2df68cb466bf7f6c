"""Embeddings that nobody trained, with a back end: the simplest detector, and a hard one to beat.

The embedding of a clip is the mean over time of its mel frames, without logarithm; with
`feature.power` 1 these are magnitudes. Training is remembering the embeddings of normal clips.
"""

from __future__ import annotations

import functools
import zipfile
from pathlib import Path

import msgspec
import numpy as np

import common
from asd import backends
from asd.clips import Scores
from asd.config import Config
from asd.detectors.detector import Fitted
from asd.rows import Rows
from asd.sections import Choice, Section
from asd.store import Store
from common import Feature, UserError


def mean_mel(samples: np.ndarray, feature: Feature) -> np.ndarray:
    """The mean over time of the mel frames of samples, (1, n_mels) float32."""
    return common.mel_spectrum(samples, feature).mean(axis=0, keepdims=True)


MOST_BYTES = 1 << 30  # of the embeddings of training clips


class Frozen:
    """See `asd.detectors.detector.Detector`."""

    class Settings(Section):
        """What scores the embeddings."""

        backend: Choice

    kind = "frozen"
    scope = "machine"
    suffixes = (".npz",)

    def __init__(self, cfg: Config, settings: Settings) -> None:
        self._backend = backends.of(settings.backend)
        self.score_title = self._backend.title
        feature = msgspec.to_builtins(cfg.feature)
        del feature["frames"]
        self.made_of = {"feature": feature, "detector": {"kind": self.kind}}
        mean = functools.partial(mean_mel, feature=cfg.feature)
        self.rows = Rows("mean mel frames", feature, cfg.feature.n_mels, cfg.feature, mean)

    def fit(self, train: Store) -> Fitted:
        """Remember the embeddings of all clips."""
        self._embeddings = train.read(range(len(train)))  # (n_clips, n_mels) float32
        self._domains = [clip.domain or "" for clip in train.clips]
        self._backend.fit(self._embeddings, self._domains)
        return Fitted(len(train), [])

    def save(self, path: Path) -> None:
        """Write embeddings and domains."""
        with path.open("wb") as file:
            np.savez(file, embeddings=self._embeddings, domains=np.array(self._domains))

    def load(self, path: Path) -> None:
        """Read embeddings and domains, and fit the back end to them.

        Raises
        ------
        UserError : the file is damaged or holds other arrays.
        """
        path.open("rb").close()  # what forbids that is no damage
        try:
            with zipfile.ZipFile(path) as archive:  # which reads no more than a member declares
                if sum(member.file_size for member in archive.infolist()) > MOST_BYTES:
                    raise ValueError(f"more than {MOST_BYTES:,} bytes")
            with np.load(path, allow_pickle=False) as arrays:
                embeddings, domains = arrays["embeddings"], arrays["domains"].tolist()
            if embeddings.shape != (len(domains), self.rows.width) or embeddings.dtype != "f4":
                raise ValueError(f"embeddings of shape {embeddings.shape}, {embeddings.dtype}")
            if not np.isfinite(embeddings).all():
                raise ValueError("embeddings that are not numbers")
        except Exception as error:  # the reader raises whatever a damaged file leads it to
            reason = " ".join(str(error).split())[:120]
            raise UserError(f"{path}: not a readable model ({reason}); train it anew") from error
        self._backend.fit(embeddings, domains)

    def score(self, test: Store) -> Scores:
        """The back end's scores of the clips' embeddings."""
        return Scores(test.clips, self._backend.score(test.read(range(len(test)))))

    def chain(self) -> None:
        """None: there is no network."""
