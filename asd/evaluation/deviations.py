"""How far the embeddings of a converted network are from those of the Keras model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from asd import files
from asd.backends.centres import Centres
from asd.clips import Scores
from asd.evaluation import metrics


class Deviation(NamedTuple):
    """A TFLite file's embeddings of a machine type's test clips against Keras'."""

    variant: str  # suffix of the TFLite file
    machine_type: str
    clips: int
    mean_error: float  # of an element, |other - Keras|
    max_error: float
    relative_error: float  # |other - Keras| / |Keras| of a clip, lengths; the mean over clips
    cosine_mean: float  # of both embeddings of a clip
    cosine_least: float


class StoodFor(NamedTuple):
    """Centres in the place of a machine type's training clips."""

    machine_type: str
    vectors: int
    bytes: int
    auc_of_clips: float | None  # of the configured back end, which has all training clips
    auc_of_centres: float | None  # both by Keras' embeddings; None without labels


def of(variant: str, machine_type: str, keras: np.ndarray, other: np.ndarray) -> Deviation:
    """Compare embeddings of the same clips.

    Parameters
    ----------
    keras, other : (n_clips, width) float32
    """
    keras, other = keras.astype(np.float64), other.astype(np.float64)
    error = np.abs(other - keras)
    tiny = np.finfo(float).tiny
    lengths = np.linalg.norm(keras, axis=1), np.linalg.norm(other, axis=1)
    cosines = (keras * other).sum(axis=1) / np.maximum(lengths[0] * lengths[1], tiny)
    relative = np.linalg.norm(error, axis=1) / np.maximum(lengths[0], tiny)
    figures = error.mean(), error.max(), relative.mean(), cosines.mean(), cosines.min()
    return Deviation(variant, machine_type, len(keras), *map(float, figures))


def stood_for(centres: Centres, by_clips: Scores, by_centres: Scores) -> StoodFor:
    """What centres cost in bytes and in AUC.

    Parameters
    ----------
    by_clips, by_centres : scores of the same clips, of the configured back end and of centres
    """
    labels, aucs = by_clips.labels, (None, None)
    if metrics.why_undefined(labels) is None:
        aucs = metrics.auc(labels, by_clips.values), metrics.auc(labels, by_centres.values)
    return StoodFor(by_clips.machine_type, len(centres.vectors), centres.bytes, *aucs)


def write(path: Path, rows: Sequence[Deviation]) -> None:
    """`embeddings.csv`: a row per variant and machine type."""
    files.write_csv(path, [Deviation._fields, *rows])


def show(
    rows: Sequence[Deviation], centres: Sequence[StoodFor], titles: dict[str, str], path: Path
) -> None:
    """Print both, 100 columns wide at most."""
    print("\nOn the device centres stand for the training clips; what they cost in AUC:\n")
    print(f"{'':<13}{'':>9}{'':>8}{'AUC of':>10}{'AUC of':>9}")
    print(f"{'machine':<13}{'vectors':>9}{'bytes':>8}{'all clips':>10}{'centres':>9}")
    for one in centres:
        line = f"{one.machine_type[:12]:<13}{one.vectors:>9}{one.bytes:>8,}"
        aucs = f"{'-':>10}{'-':>9}"
        if one.auc_of_clips is not None:
            aucs = f"{one.auc_of_clips:>10.3f}{one.auc_of_centres:>9.3f}"
        print(line + aucs)
    print("\nAre the embeddings those of the Keras model? The same test clips, embedded by both:\n")
    print(f"{'model file':<27}{'machine':<13}{'error':>18}{'of length':>11}{'cosine':>18}")
    print(f"{'':<40}{'mean':>9}{'largest':>9}{'mean':>11}{'mean':>9}{'least':>9}")
    for r in rows:
        name = f"{titles[r.variant]:<27}{r.machine_type[:12]:<13}"
        errors = f"{r.mean_error:>9.2g}{r.max_error:>9.2g}{r.relative_error:>11.3%}"
        print(f"{name}{errors}{r.cosine_mean:>9.5f}{r.cosine_least:>9.5f}")
    print(f"\nerror: of an element; of length: of a clip's embedding; more digits: {path}")
