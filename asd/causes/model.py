"""A classifier of causes as it is stored and asked, with NumPy and LiteRT alone.

`<name>.tflite` is one dense layer and its softmax in int8, `<name>.json` says what goes in and what
comes out: the features, the classes, each machine's normal reference, and the training clips, of
which a clip that is far is "unknown".

    causes = Causes.load(Path("fan.json"))
    causes.probabilities(frames, "DemoFan/id_00")  # {"bearing": 0.87, "normal": 0.03, ...}
"""

from __future__ import annotations

import hashlib
import threading
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np

from asd import files, messages
from asd.causes.distances import distances
from asd.causes.network import stepped
from asd.causes.statistics import NAMES, statistics
from asd.tflite import litert
from common import Feature, UserError

NORMAL, UNKNOWN = "normal", "unknown"
OK = "Component OK"
NOT_KNOWN = "Cause unknown: the sound is like no class that was learnt"
MOST_BYTES = 1 << 26


class Record(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the JSON file holds. Arrays are rows of statistics, NAMES by mel bands, flattened."""

    feature: Feature
    statistics: tuple[str, ...]
    classes: tuple[str, ...]
    mean: list[float]  # of training clips, their reference taken off
    scale: list[float]  # their standard deviation
    references: dict[str, list[float]]  # by machine, the mean of its normal clips
    rows: bytes  # training clips, standardised, (n, size) int8 with STATISTICS_SCALE
    radii: list[float]  # of each training clip, see `radii`
    threshold: float  # clips at a larger distance are "unknown", see `distances`
    tflite_sha256: str
    measured: dict[str, Any] = {}

    def __post_init__(self) -> None:
        size = len(NAMES) * self.feature.n_mels
        if self.statistics != NAMES:
            raise ValueError("its statistics are others than those of this version")
        rows = self.mean, self.scale, *self.references.values()
        if any(len(row) != size or not np.isfinite(row).all() for row in rows):
            raise ValueError(f"rows of {size} finite numbers are needed")
        if not self.radii or len(self.rows) != len(self.radii) * size:
            raise ValueError("it has no whole training clips")
        if not min(self.threshold, *self.radii) > 0:
            raise ValueError("its threshold or a radius is not above 0")
        if not min(self.scale) > 0 or len(set(self.classes)) < max(len(self.classes), 2):
            raise ValueError("its scales are not positive, or its classes not different ones")


class Answer(NamedTuple):
    """What is said of a clip."""

    cause: str  # a class, or UNKNOWN
    message: str
    probabilities: dict[str, float]  # of the classes that were learnt
    distance: float  # how far it is from what was learnt; see `distances`


class Causes:
    """A stored classifier; threads may share it."""

    def __init__(self, record: Record, content: bytes) -> None:
        self.record = record
        self._predict, self._lock = litert.predictor(content), threading.Lock()
        known = np.frombuffer(record.rows, np.int8).reshape(-1, len(record.mean))
        self._known = stepped(known)

    @classmethod
    def load(cls, path: Path) -> Causes:
        """Read a classifier.

        Parameters
        ----------
        path : of either file, or both without their endings

        Raises
        ------
        UserError : a file is missing, damaged, or of another classifier than the other.
        """
        path, network = _of(path, ".json"), _of(path, ".tflite")
        record = _read(path)
        if not files.is_file(network):
            raise UserError(f"{network}: no such file; it belongs to {path.name}")
        content = files.read_bounded(network, MOST_BYTES)
        if hashlib.sha256(content).hexdigest() != record.tflite_sha256:
            raise UserError(f"{network}: not the network of {path.name}; save both anew")
        one = cls(record, content)
        with one._lock:
            shape = one._predict(np.zeros((1, len(record.mean)), np.float32)).shape
        if shape != (1, len(record.classes)):
            raise UserError(f"{network}: {shape[-1]} outputs for {len(record.classes)} classes")
        return one

    def standardised(self, frames: np.ndarray, machine: str | None = None) -> np.ndarray:
        """What goes into the network, (1, n) float32: statistics less reference and mean, scaled.

        Parameters
        ----------
        frames, machine : see `probabilities`

        Raises
        ------
        UserError : see `probabilities`.
        """
        record = self.record
        row = statistics(frames).reshape(-1) - self.reference(machine)
        return ((row - np.array(record.mean)) / record.scale).astype(np.float32)[None]

    def reference(self, machine: str | None = None) -> np.ndarray:
        """The normal reference of a machine; without a name the mean of all.

        Raises
        ------
        UserError : no such machine.
        """
        known = self.record.references
        if machine is None:
            return np.mean(list(known.values()), axis=0)
        if machine not in known:
            raise UserError(f"no normal reference of {messages.shown(machine)}; known are "
                            f"{', '.join(sorted(known))}; python -m apps.explore reference adds "
                            "one")  # fmt: skip
        return np.array(known[machine])

    def probabilities(self, frames: np.ndarray, machine: str | None = None) -> dict[str, float]:
        """Of each class that was learnt; they add up to 1 within int8's steps.

        Parameters
        ----------
        frames : (n_frames, n_mels) float32, dB, of `common.log_mel` with `record.feature`
        machine : whose normal reference is taken off; None: the mean of all references, by which
            more is mistaken

        Raises
        ------
        ValueError : see `statistics`.
        UserError : no such machine.
        """
        return self._asked(self.standardised(frames, machine))

    def answer(self, frames: np.ndarray, machine: str | None = None) -> Answer:
        """The most probable class with its message, or that it is none; see `probabilities`."""
        row = self.standardised(frames, machine)
        found, distance = self._asked(row), float(self.distances(row)[0])
        best = max(found, key=found.__getitem__)
        if distance > self.record.threshold:
            return Answer(UNKNOWN, NOT_KNOWN, found, distance)
        message = OK if best == NORMAL else f"Probable cause: {best.replace('_', ' ')}"
        return Answer(best, message, found, distance)

    def distances(self, rows: np.ndarray) -> np.ndarray:
        """See `distances.distances`; of standardised rows."""
        return distances(self._known, np.array(self.record.radii), stepped(rows))

    def _asked(self, row: np.ndarray) -> dict[str, float]:
        with self._lock:
            values = self._predict(row)[0]
        return dict(zip(self.record.classes, values.tolist(), strict=True))


def save(path: Path, record: Record, content: bytes) -> tuple[Path, Path]:
    """Write both files of a classifier; their paths."""
    network, described = _of(path, ".tflite"), _of(path, ".json")
    with files.whole_file(network) as temporary:
        temporary.write_bytes(content)
    files.write_json(described, record)
    return network, described


def with_reference(path: Path, machine: str, rows: np.ndarray) -> Path:
    """Give a stored classifier the normal reference of a machine; the path of its JSON.

    Parameters
    ----------
    rows : (n_clips, len(NAMES), n_mels), statistics of normal clips of the machine

    Raises
    ------
    UserError : see `Causes.load`.
    """
    path = _of(path, ".json")
    record = _read(path)
    mean = rows.reshape(len(rows), -1).mean(axis=0, dtype=np.float64).tolist()
    references = record.references | {machine: mean}
    files.write_json(path, msgspec.structs.replace(record, references=references))
    return path


def _of(path: Path, ending: str) -> Path:
    stem = path.name.removesuffix(".json").removesuffix(".tflite")
    return path.with_name(stem + ending)


def _read(path: Path) -> Record:
    values = files.read_mapping(path)
    try:
        return msgspec.convert(values, Record)
    except msgspec.ValidationError as error:
        raise UserError(f"{path}: no classifier of causes ({error}); save it anew") from error
