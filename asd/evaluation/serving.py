"""What a service needs to know beside a TFLite file: 02_convert.py writes it into its record.

`heard` is what a stream's part of the record is made of, too: see `streaming`.

The threshold is of the file's own scores of the training clips, as int8 changes them a little.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec
import numpy as np

from asd.clips import Scores
from asd.config import Config
from asd.detectors.sections import Some
from asd.evaluation import thresholds
from asd.evaluation.thresholds import Threshold
from asd.store import Store
from common import Predict, reconstruction_error, vectors

KEY = "serving"  # of the record


class Heard(NamedTuple):
    """What a model makes of the training clips."""

    scores: Scores  # dB^2
    levels: np.ndarray  # (n_clips,) float64, dB: the mean of a clip's log-mel frames
    bands: np.ndarray  # (n_mels,) float64, dB^2: the mean squared error of each band
    errors: tuple[np.ndarray, ...]  # of each clip (n_windows,) float64, dB^2
    frame_levels: tuple[np.ndarray, ...]  # of each clip (n_frames,) float64, dB: their means


def heard(predict: Predict, store: Store | Some, n: int) -> Heard:
    """Score the training clips.

    Parameters
    ----------
    predict : the TFLite file, (n_windows, n * n_mels) float32 -> the same shape
    n : frames of a window
    """
    scores, levels, bands, errors, frame_levels = [], [], [], [], []
    for i in range(len(store)):
        frames = store[i]  # (n_frames, n_mels) float32, dB
        inputs = np.ascontiguousarray(vectors(frames, n))
        outputs = predict(inputs)
        scores.append(reconstruction_error(inputs, outputs))
        levels.append(frames.mean(dtype=np.float64))
        squares = np.square(inputs - outputs)
        bands.append(squares.reshape(-1, frames.shape[1]).mean(axis=0, dtype=np.float64))
        errors.append(squares.mean(axis=1, dtype=np.float64))
        frame_levels.append(frames.mean(axis=1, dtype=np.float64))
    found = Scores(store.clips, np.array(scores))
    return Heard(
        found, np.array(levels), np.mean(bands, axis=0), tuple(errors), tuple(frame_levels)
    )


def of(cfg: Config, found: Heard) -> dict[str, Any]:
    """The part of a record that a service reads."""
    how, scores = cfg.decision, found.scores
    limits = thresholds.by_section(scores, how.threshold, how.share)
    lengths = [clip.n_samples for clip in scores.clips]
    seconds = None
    if None not in lengths:
        seconds = [one / cfg.feature.sample_rate for one in (min(lengths), max(lengths))]
    return {
        "machine_type": scores.machine_type,
        "feature": msgspec.to_builtins(cfg.feature),
        "threshold": _plain(thresholds.threshold(scores.values, how.threshold, how.share)),
        "share": how.share,
        "by_section": {section: _plain(limit) for section, limit in limits.items()},
        "false_alarms": thresholds.false_alarms(scores, how.threshold, how.share)._asdict(),
        "held_out": thresholds.held_out(scores, how.threshold, how.share),
        "training": {
            "clips": len(scores.clips),
            "score_mean": float(scores.values.mean()),
            "score_deviation": float(scores.values.std()),
            "level_db": [float(found.levels.min()), float(found.levels.max())],
            "seconds": seconds,
            "band_errors": found.bands.tolist(),
        },
    }


def _plain(limit: Threshold) -> dict[str, Any]:
    return {key: value for key, value in limit._asdict().items() if value not in (None, "")}
