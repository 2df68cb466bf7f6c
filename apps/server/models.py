"""Models that are served: their thresholds, and the verdict on a recording."""

from __future__ import annotations

import functools
import queue
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from apps.server import causes
from apps.server.limits import Refused
from apps.server.sound import Sound
from asd import files
from asd.causes.model import Causes
from asd.paths import record_of
from asd.tflite import litert
from common import (
    Feature,
    Predict,
    UserError,
    log_mel,
    mel_frequencies,
    reconstruction_error,
    vectors,
)

SERVING = "serving"  # key of a TFLite file's record, see asd.evaluation.serving
AGAIN = "run 02_convert.py again where the training clips are"
CELL_SECONDS, CELL_BANDS = 0.5, 8  # of what is called the worst band and moment
LOUDER_DB = 3.0  # than any training clip, or quieter: half or twice the power
LONGER = 1.1  # than any training clip
SOME = 0.001  # of the samples


class Limit(msgspec.Struct):
    """A threshold, see asd.evaluation.thresholds."""

    value: float
    kind: str
    reason: str = ""


class Rate(msgspec.Struct):
    """False alarms, see asd.evaluation.thresholds."""

    nominal: float
    low: float
    high: float
    hits: int
    clips: int


class Training(msgspec.Struct):
    """What the training clips are like."""

    clips: int
    score_mean: float
    score_deviation: float
    level_db: tuple[float, float]
    band_errors: list[float]
    seconds: tuple[float, float] | None = None


class Facts(msgspec.Struct):
    """What 02_convert.py tells of a TFLite file for a service."""

    machine_type: str
    feature: Feature
    threshold: Limit
    share: float
    by_section: dict[str, Limit]
    false_alarms: Rate
    training: Training


@dataclass(frozen=True)
class Model:
    """A TFLite file with what is known of it, and interpreters, one a worker."""

    name: str
    sha256: str
    facts: Facts
    interpreters: queue.SimpleQueue
    causes: Causes | None = None

    @property
    def feature(self) -> Feature:
        """What it hears."""
        return self.facts.feature

    @contextmanager
    def predictor(self) -> Iterator[Predict]:
        """An interpreter that nobody else uses meanwhile."""
        predict = self.interpreters.get()
        try:
            yield predict
        finally:
            self.interpreters.put(predict)

    def limit(self, machine_id: str | None) -> Limit:
        """The threshold, of all machine ids or of one.

        Raises
        ------
        Refused : 400, of that one there is none.
        """
        if not machine_id:
            return self.facts.threshold
        if machine_id not in self.facts.by_section:
            known = ", ".join(self.facts.by_section)
            raise Refused(400, f"no threshold of that machine_id; known: {known}, or leave it out")
        return self.facts.by_section[machine_id]

    @property
    def told(self) -> dict[str, Any]:
        """What GET /models tells."""
        return {"machine_type": self.name, "sha256": self.sha256,
                "threshold": self.facts.threshold.value,
                "feature": msgspec.to_builtins(self.feature)}  # fmt: skip


def load(path: Path, workers: int) -> Model:
    """A TFLite file and its record.

    Raises
    ------
    UserError : one is missing, damaged or of something else.
    """
    record_path = record_of(path)
    for one in (path, record_path):
        if not one.is_file():
            raise UserError(f"{one}: no such file; run 02_convert.py, which writes it")
    content, record = path.read_bytes(), files.read_mapping(record_path)
    sha256 = files.file_hash(path)
    if record.get("sha256") != sha256:
        raise UserError(f"{path}: not the file that {record_path.name} describes; {AGAIN}")
    if SERVING not in record:
        raise UserError(f"{record_path}: tells no threshold; serve model_<type>.tflite or its "
                        "_quant_fullint_micro_intio.tflite, of a detector that scores by the mean "
                        f"squared error (detector.score: mse); {AGAIN}")  # fmt: skip
    try:
        facts = msgspec.convert(record[SERVING], Facts)
    except (msgspec.ValidationError, ValueError) as error:
        raise UserError(f"{record_path}: damaged ({error}); {AGAIN}") from error
    interpreters: queue.SimpleQueue = queue.SimpleQueue()
    for _ in range(workers):
        interpreters.put(litert.predictor(content))
    name = path.name.split("_quant")[0].removesuffix(".tflite").removeprefix("model_")
    return Model(name, sha256, facts, interpreters)


def load_all(paths: Sequence[Path], workers: int) -> dict[str, Model]:
    """The models by machine type.

    Raises
    ------
    UserError : see `load`; or two are of one machine type.
    """
    models: dict[str, Model] = {}
    for path in paths:
        model = load(path, workers)
        if model.name in models:
            raise UserError(f"{path}: a second model for {model.name}; give one of a machine type")
        models[model.name] = model
    return models


def chosen(models: dict[str, Model], machine_type: str | None) -> Model:
    """The model of a machine type; the only one where none is named.

    Raises
    ------
    Refused : 400, there are several, or none of that name.
    """
    known = ", ".join(models)
    if not machine_type:
        if len(models) == 1:
            return next(iter(models.values()))
        raise Refused(400, f"several models; name a machine_type: {known}")
    if machine_type not in models:
        raise Refused(400, f"no model of that machine_type; known: {known}")
    return models[machine_type]


@functools.lru_cache(maxsize=16)
def _edges_hz(feature: Feature) -> np.ndarray:
    """The lower edge, centre and upper edge of the mel bands, (n_mels + 2,) Hz."""
    low, high = feature.mel_range_hz or (0, feature.sample_rate / 2)
    return mel_frequencies(feature.n_mels + 2, low, high, feature.mel_scale)


def worst(squares: np.ndarray, model: Model) -> dict[str, list[float]]:
    """Which band at which moment is least like training, against that band's usual error.

    Parameters
    ----------
    squares : (n_windows, frames * n_mels) float32, dB^2
    """
    feature, n = model.feature, model.feature.frames
    usual = np.maximum(model.facts.training.band_errors, np.finfo(np.float32).tiny)
    ratio = squares.reshape(len(squares), n, -1).mean(axis=1) / usual  # (n_windows, n_mels)
    hop_seconds = feature.hop_length / feature.sample_rate
    tall = min(max(round(CELL_SECONDS / hop_seconds) - n + 1, 1), len(ratio))
    wide = min(CELL_BANDS, feature.n_mels)
    sums = np.zeros((len(ratio) + 1, ratio.shape[1] + 1))
    sums[1:, 1:] = ratio.cumsum(axis=0, dtype=np.float64).cumsum(axis=1)
    cells = sums[tall:, wide:] - sums[:-tall, wide:] - sums[tall:, :-wide] + sums[:-tall, :-wide]
    first, band = np.unravel_index(int(cells.argmax()), cells.shape)
    edges = _edges_hz(feature)
    start = (feature.central_frames or (0, 0))[0] + int(first)
    seconds = [start * hop_seconds, (start + tall + n - 1) * hop_seconds]
    hz = [float(edges[band]), float(edges[band + wide + 1])]
    return {"band_hz": [round(one, 1) for one in hz],
            "seconds": [round(one, 3) for one in seconds]}  # fmt: skip


def judge(model: Model, sound: Sound, machine_id: str | None = None) -> dict[str, Any]:
    """The verdict on a recording, as POST /inference gives it.

    Raises
    ------
    Refused : 422, the score is not a number; or see `Model.limit`.
    """
    limit = model.limit(machine_id)
    frames = log_mel(sound.samples, model.feature)
    inputs = np.ascontiguousarray(vectors(frames, model.feature.frames))
    with model.predictor() as predict:
        outputs = predict(inputs)
    score = reconstruction_error(inputs, outputs)
    if not np.isfinite(score):
        raise Refused(422, "the score is not a number; record or export it again")
    place = worst(np.square(inputs - outputs), model)
    said = causes.ask(model.causes, sound.samples, model.name, machine_id)
    rate, anomaly = model.facts.false_alarms, score > limit.value
    return {
        "Anomaly": anomaly,
        "Details": {
            "Message": causes.message(anomaly, place, said),
            "Probabilities": said.probabilities,
            "Causes": said.classes,
        },
        "score": score,
        "threshold": limit.value,
        "threshold_how": _how(model, limit, machine_id),
        "false_alarm_rate": {"nominal": rate.nominal, "low": rate.low, "high": rate.high},
        "model": {"machine_type": model.name, "sha256": model.sha256},
        "worst": place,
        "seconds": sound.seconds,
        "rate_hz": sound.rate_hz,
        "channels": sound.channels,
        "changed": list(sound.changed),
        "warnings": [
            *_warnings(model, sound, float(frames.mean(dtype=np.float64))),
            *said.warnings,
        ],
    }


def _how(model: Model, limit: Limit, machine_id: str | None) -> str:
    kinds = {"gamma": "a gamma distribution fitted to their scores", "empirical": "their scores"}
    clips = f"machine id {machine_id}'s" if machine_id else f"{model.facts.training.clips}"
    reason = f" ({limit.reason})" if limit.reason else ""
    return (f"{model.facts.share:.0%} of {clips} normal training clips score below it, by "
            f"{kinds.get(limit.kind, limit.kind)}{reason}")  # fmt: skip


def _warnings(model: Model, sound: Sound, level_db: float) -> list[str]:
    training, found = model.facts.training, []
    low, high = training.level_db
    if not low - LOUDER_DB <= level_db <= high + LOUDER_DB:
        how = "quieter" if level_db < low else "louder"
        found.append(f"{how} than the training clips: the mean level of its bands is "
                     f"{level_db:.1f} dB, theirs {low:.1f} to {high:.1f} dB; the score may tell "
                     "of the microphone, not of the machine")  # fmt: skip
    if training.seconds is not None:
        least, most = training.seconds
        if not least / LONGER <= sound.seconds <= most * LONGER:
            theirs = f"{least:.3g}" if least == most else f"{least:.3g} to {most:.3g}"
            found.append(f"{sound.seconds:.3g} s long, the training clips {theirs} s; its score "
                         "varies more or less than theirs")  # fmt: skip
    if sound.rate_hz < model.feature.sample_rate:
        found.append(f"recorded at {sound.rate_hz} Hz, so nothing is above {sound.rate_hz / 2:g} "
                     "Hz, where the training clips have sound")  # fmt: skip
    if sound.level.clipped > SOME:
        found.append(f"{sound.level.clipped:.1%} of the samples are at full scale; turn the "
                     "recording level down")  # fmt: skip
    if sound.level.still > SOME:
        found.append(f"{sound.level.still:.1%} of it is digital silence")
    return found
