"""Selective Mahalanobis distance of what an auto-encoder leaves unexplained.

The residual of a window, input minus output, is a few frames. Their covariance is taken of the
source and of the target clips apart; a clip's score is the smaller of its two distances, so that
either domain's usual residuals are normal. Source: Harada et al. 2023, the baseline of DCASE 2023
Task 2, arXiv:2303.00455.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from asd.features.windows import Windows
from asd.store import Store
from common import Predict, UserError, vectors

SOURCE, TARGET = "source", "target"
MEMBER = "residuals.npz"  # of a .keras file, which Keras passes over
MOST_BYTES = 1 << 28  # of it


class Kept(NamedTuple):
    """What a model keeps of the residuals of its training clips.

    Attributes
    ----------
    source, target : covariances of residual frames, (n_mels, n_mels) float64, dB^2; None without
        target clips
    batch_errors, batch_distances : (n,) float64, what the baseline's program makes its thresholds
        of: of every batch, those that validate last, the mean squared error, dB^2, and the distance
    """

    source: np.ndarray
    target: np.ndarray | None
    batch_errors: np.ndarray | None = None
    batch_distances: np.ndarray | None = None


class Distances(NamedTuple):
    """A clip's distances by either covariance; no unit, 0 or more."""

    source: float
    target: float


class _Moments:
    """Sums over the frames of a domain."""

    def __init__(self, width: int) -> None:
        self.count, self.total, self.products = 0, np.zeros(width), np.zeros((width, width))

    def add(self, frames: np.ndarray) -> None:
        self.count += len(frames)
        self.total += frames.sum(axis=0)
        self.products += frames.T @ frames

    def scatter(self) -> np.ndarray:
        """The sum of products of deviations from the mean."""
        return self.products - np.outer(self.total, self.total) / max(self.count, 1)


def frames_of(inputs: np.ndarray, outputs: np.ndarray, n_mels: int) -> np.ndarray:
    """The residual frames of windows, (n_windows * n, n_mels) float64, dB.

    Parameters
    ----------
    inputs, outputs : (n_windows, n * n_mels) float32, dB
    """
    return (inputs - outputs).reshape(-1, n_mels).astype(np.float64)


def covariances(parts: Iterable[tuple[np.ndarray, bool]], n_mels: int) -> Kept:
    """The sample covariances of all source and of all target frames.

    Parameters
    ----------
    parts : residual frames, (n_frames, n_mels) float64, and whether they are of target clips
    """
    moments = {is_target: _Moments(n_mels) for is_target in (False, True)}
    for frames, is_target in parts:
        moments[is_target].add(frames)
    counts = {is_target: one.count for is_target, one in moments.items()}
    return _divided({is_target: one.scatter() for is_target, one in moments.items()}, counts)


def _divided(scatters: dict[bool, Any], counts: dict[bool, int]) -> Kept:
    """Sums of products over counts less one; what there is of one domain only is the source's."""
    found = [scatters[one] / max(counts[one] - 1, 1) for one in (False, True) if counts[one]]
    return Kept(found[0], found[1] if len(found) > 1 else None)


def published_covariances(batches: Iterable[tuple[np.ndarray, np.ndarray]], n_mels: int) -> Kept:
    """As the baseline's program has them: several times too large, and of centred batches.

    From each frame the mean of its batch and domain is taken, and the divisor is the number of
    WINDOWS less one. A batch of one window, from which nothing was learnt, is passed over.

    Parameters
    ----------
    batches : residuals of windows, (n_windows, n * n_mels) float32, dB, and which are of target
        clips, (n_windows,) bool
    """
    counts, scatters = {False: 0, True: 0}, {False: 0.0, True: 0.0}
    for residuals, of_target in batches:
        if len(residuals) == 1:
            continue
        for is_target in (False, True):
            own = residuals[of_target == is_target]
            moments = _Moments(n_mels)
            moments.add(own.reshape(-1, n_mels).astype(np.float64))
            counts[is_target] += len(own)
            scatters[is_target] = scatters[is_target] + moments.scatter()
    return _divided(scatters, counts)


def _inverse(covariance: np.ndarray, domain: str) -> np.ndarray:
    if np.linalg.cond(covariance) > 1 / np.finfo(np.float64).eps:
        raise UserError(
            f"the covariance of the {domain} clips' residuals has no inverse: too few training "
            "clips, or bands that never change; use detector.score: mse, or fewer feature.n_mels"
        )
    return np.linalg.inv(covariance)


class Mahalanobis:
    """The score of a clip from its windows and what the auto-encoder makes of them.

    Parameters
    ----------
    kept : the covariances
    published : as the baseline's program scores, by the distance of the clip's MEAN residual; else
        the mean over frames of their squared distances

    Raises
    ------
    UserError : a covariance has no inverse.
    """

    def __init__(self, kept: Kept, published: bool = False) -> None:
        self.source = self.target = _inverse(kept.source, SOURCE)
        if kept.target is not None:
            self.target = _inverse(kept.target, TARGET)
        self.published = published

    def distances(self, inputs: np.ndarray, outputs: np.ndarray) -> Distances:
        """Of a clip's windows, (n_windows, n * n_mels) float32, dB, by either covariance."""
        frames = frames_of(inputs, outputs, len(self.source))
        if self.published:
            mean = frames.mean(axis=0)
            products = np.outer(mean, mean)
        else:
            products = frames.T @ frames / len(frames)
        # The mean of d S^-1 d' over frames d is the trace of S^-1 times the mean of d' d.
        return Distances(*(float((one * products).sum()) for one in (self.source, self.target)))

    def __call__(self, inputs: np.ndarray, outputs: np.ndarray) -> float:
        """The smaller of the two distances."""
        return min(self.distances(inputs, outputs))


def is_target(store: Store) -> np.ndarray:
    """Which clips are of the target domain, (n_clips,) bool."""
    return np.array([clip.domain == TARGET for clip in store.clips])


def check(store: Store, n: int) -> None:
    """See that there are more frames of either domain than bands.

    Raises
    ------
    UserError : there are not, so that no covariance has an inverse.
    """
    frames = store.n_windows(n) * n
    for domain, own in ((TARGET, is_target(store)), (SOURCE, ~is_target(store))):
        if own.any() and frames[own].sum() <= store.width:
            raise UserError(
                f"{store.clips[0].machine_type}: {frames[own].sum()} frames of {domain} training "
                f"clips are too few for a covariance of {store.width} bands; add clips, or use "
                "detector.score: mse"
            )


def of_clips(predict: Predict, store: Store, n: int) -> Kept:
    """The covariances of all clips' residual frames."""

    def parts() -> Iterator[tuple[np.ndarray, bool]]:
        for i, of_target in enumerate(is_target(store)):
            inputs = np.ascontiguousarray(vectors(store[i], n))
            yield frames_of(inputs, predict(inputs), store.width), bool(of_target)

    return covariances(parts(), store.width)


def batches(
    predict: Predict, windows: Windows, size: int, rng: np.random.Generator
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Inputs, outputs and domains (1 is target) of windows in batches drawn by chance."""
    ends = np.cumsum(windows.store.n_windows(windows.n))
    of_target = is_target(windows.store)
    numbers = rng.permutation(windows.numbers())
    for first in range(0, len(numbers), size):
        some = numbers[first : first + size]
        inputs = windows.store.gather(some, windows.n)
        yield inputs, predict(inputs), of_target[np.searchsorted(ends, some, "right")]


def save(path: Path, kept: Kept) -> None:
    """Put what a model keeps into its .keras file."""
    memory = io.BytesIO()
    there = {name: one for name, one in kept._asdict().items() if one is not None}
    np.savez(memory, **there)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(MEMBER, memory.getvalue())


def load(path: Path, n_mels: int) -> Kept:
    """What `save` put into a .keras file.

    Raises
    ------
    UserError : there is nothing, or it is damaged or of other bands.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if archive.getinfo(MEMBER).file_size > MOST_BYTES:
                raise ValueError(f"more than {MOST_BYTES:,} bytes")
            content = archive.read(MEMBER)
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            found = Kept(**{name: arrays.get(name) for name in Kept._fields})
        for name, one in found._asdict().items():
            if one is None and name != SOURCE:
                continue
            covariance = name in (SOURCE, TARGET)
            right = one.shape == (n_mels, n_mels) if covariance else one.ndim == 1 and one.size
            if not right or not np.isfinite(one).all():
                raise ValueError(f"{name} of shape {one.shape}, or not of numbers")
    except Exception as error:  # the readers raise whatever a damaged file leads them to
        reason = " ".join(str(error).split())[:120]
        raise UserError(
            f"{path}: no covariances of residuals in it ({reason}), which detector.score: "
            "mahalanobis and faithful: true need; train it anew, or use neither"
        ) from error
    return found
