"""Centres: what a microcontroller has room for in the place of all training clips' embeddings.

k-means centres of the source domain's clips, and the target clips themselves, of one machine type.
"""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from asd.backends.backend import of_target
from asd.backends.clusters import KMeans
from asd.backends.distances import measured, nearest, placed
from asd.backends.knn import KnnDistance
from common import UserError

Kind = Literal["int8", "float32"]
LARGEST = 127  # of int8
MOST_BYTES = 1 << 28  # of a file


@dataclass(frozen=True)
class Centres:
    """Vectors that embeddings are compared with: scale * vector, one scale each.

    Attributes
    ----------
    vectors : (n, width) int8 or float32
    scales : (n,) float32; 1 for float32
    distance : of `knn`; but for "euclidean" a device needs no scales
    """

    vectors: np.ndarray
    scales: np.ndarray
    distance: KnnDistance

    @property
    def bytes(self) -> int:
        """What a device stores."""
        needs_scales = self.vectors.dtype == np.int8 and self.distance == "euclidean"
        return self.vectors.nbytes + (self.scales.nbytes if needs_scales else 0)

    def score(self, embeddings: np.ndarray) -> np.ndarray:
        """Distances to the nearest, (n_clips,) float64.

        Parameters
        ----------
        embeddings : (n_clips, width) float32
        """
        pool = placed(self.vectors * self.scales[:, None].astype(np.float64), self.distance)
        lengths, _ = nearest(pool, placed(embeddings, self.distance), 1)
        return measured(lengths[:, 0], self.distance)

    def save(self, path: Path) -> None:
        """Write them."""
        distance = np.array(self.distance)
        with path.open("wb") as file:
            np.savez(file, vectors=self.vectors, scales=self.scales, distance=distance)


def fit(
    embeddings: np.ndarray, domains: Sequence[str], count: int, kind: Kind, distance: str
) -> Centres:
    """The centres of training clips.

    Parameters
    ----------
    embeddings : (n_clips, width) float32
    domains : of each clip; without a source clip, all count as that
    count : of centres; fewer where there are fewer different clips
    distance : of the back end that they stand for; cosine where that has none
    """
    own: KnnDistance = distance if distance in get_args(KnnDistance) else "cosine"
    like = "euclidean" if own == "euclidean" else "cosine"  # k-means squares chords anyway
    target = of_target(domains)
    domains = [""] * len(target) if target.all() else domains
    different = np.unique(placed(embeddings[~of_target(domains)], like), axis=0)
    backend = KMeans(KMeans.Settings(distance=like, clusters=min(count, len(different))))
    backend.fit(embeddings, domains)
    points = backend.arrays()["pool"].astype(np.float32)
    if kind == "float32":
        return Centres(points, np.ones(len(points), np.float32), own)
    largest = np.maximum(np.abs(points).max(axis=1), np.finfo(np.float32).tiny)
    scales = np.float32(largest / LARGEST)
    return Centres(np.rint(points / scales[:, None]).astype(np.int8), scales, own)


def load(path: Path) -> Centres:
    """Read what `Centres.save` wrote.

    Raises
    ------
    UserError : the file is damaged or holds something else.
    """
    path.open("rb").close()  # what forbids that is no damage
    try:
        with zipfile.ZipFile(path) as archive:
            if sum(member.file_size for member in archive.infolist()) > MOST_BYTES:
                raise ValueError("too large")
        with np.load(path, allow_pickle=False) as arrays:
            vectors, scales, distance = (arrays[k] for k in ("vectors", "scales", "distance"))
        if vectors.ndim != 2 or not len(vectors) or vectors.dtype not in (np.int8, np.float32):
            raise ValueError(f"vectors of {vectors.dtype}, {vectors.shape}")
        if scales.shape != vectors.shape[:1] or str(distance) not in get_args(KnnDistance):
            raise ValueError("scales or distance of another kind")
        if not (np.isfinite(vectors).all() and np.isfinite(scales).all()):
            raise ValueError("what is no number")
    except Exception as error:  # the reader raises whatever a damaged file leads it to
        reason = " ".join(str(error).split())[:120]
        raise UserError(f"{path}: no readable centres ({reason}); run 02_convert.py") from error
    return Centres(vectors, scales, str(distance))
