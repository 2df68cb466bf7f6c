"""Scores of the normal training clips: 00_train.py writes them, thresholds are made of them.

`normal_score_<type>.csv` stands beside the model, whose record has its SHA-256.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from asd import files, provenance
from asd.clips import Clip, Scores
from asd.config import Config
from asd.detectors.detector import Detector, TooFewClips
from asd.paths import Paths, normal_scores_of, record_of
from asd.store import Store
from common import UserError

HEADER = ("file", "section", "domain", "score")
AGAIN = "run 00_train.py again, which scores them anew and keeps the model"


def of(detector: Detector, store: Store) -> Scores | None:
    """The scores of training clips as of clips not heard before; None, said, of too few."""
    try:
        return detector.normal_scores(store)
    except TooFewClips as error:
        name = store.clips[0].machine_type
        print(f"{name}: no scores of the training clips, so no thresholds: {error}")
        return None


def write(paths: Paths, machine_type: str, scores: Scores | None) -> str | None:
    """Write them, or remove others that are there; the file's SHA-256."""
    path = paths.normal_scores(machine_type)
    if scores is None:
        path.unlink(missing_ok=True)
        return None
    rows = [
        (clip.name, clip.section, clip.domain or "", value)
        for clip, value in zip(scores.clips, scores.values, strict=True)
    ]
    files.write_csv(path, [HEADER, *rows])
    return files.file_hash(path)


def renew(detector: Detector, paths: Paths, store: Store, machine_type: str) -> None:
    """Score the training clips of a kept model anew where that has another detector's scores.

    Those of another back end, or of none: older versions wrote no such file.
    """
    path = paths.model(machine_type, detector.suffixes[0])
    if _is_current(paths, path, machine_type):
        return
    sha256 = files.file_hash(path)
    detector.load(path)
    scores = of(detector, store)
    with files.alone(paths.models):
        record = files.read_mapping(record_of(path))
        if files.file_hash(path) != sha256 or record.get("sha256") != sha256:
            raise UserError(f"{path}: another run has put another model there; run again")
        record |= provenance.of_normal_scores(paths.cfg, write(paths, machine_type, scores))
        files.write_json(record_of(path), record, durable=True)
    if scores is not None:
        print(f"{paths.normal_scores(machine_type)}: the training clips scored anew")


def _is_current(paths: Paths, model: Path, machine_type: str) -> bool:
    record = files.read_mapping(record_of(model))
    path = paths.normal_scores(machine_type)
    sha256 = files.file_hash(path) if path.is_file() else None
    wanted = provenance.of_normal_scores(paths.cfg, sha256)
    return all(key in record and record[key] == value for key, value in wanted.items())


def check(model: Path, machine_type: str) -> None:
    """See that the scores of the training clips are those that the model's record tells of.

    Raises
    ------
    UserError : they are missing or others.
    """
    with files.alone(model.parent):  # whoever trains there writes all that belongs together
        _check(model, _record(model, files.file_hash(model)), machine_type)


def _record(model: Path, sha256: str) -> dict[str, Any]:
    """The record of a model of ours of that hash, else nothing."""
    path = record_of(model)
    record = files.read_mapping(path) if path.exists() else {}
    return record if record.get("sha256") == sha256 else {}


def _check(model: Path, record: dict[str, Any], machine_type: str) -> None:
    path, told = _beside(model, machine_type), record.get("normal_scores")
    if told is not None and (not path.is_file() or files.file_hash(path) != told):
        raise UserError(f"{path}: missing, or not the scores that {record_of(model).name} tells "
                        f"of; {AGAIN}")  # fmt: skip


def _beside(model: Path, machine_type: str) -> Path:
    """Their file: of evaluation data without a model of its own, too, that beside the model."""
    return normal_scores_of(model.parent, machine_type)


def read(cfg: Config, model: Path, sha256: str, machine_type: str) -> Scores | None:
    """The scores of the training clips of a model; None, said, where there are none.

    Parameters
    ----------
    sha256 : of the model that was loaded

    Raises
    ------
    UserError : they are missing or others than those that the model's record tells of.
    """
    path = _beside(model, machine_type)
    with files.alone(model.parent):
        record = _record(model, sha256)
        _check(model, record, machine_type)
        if "normal_scores" not in record:
            print(f"{model}: its record tells of no scores of training clips, so no decisions")
            return None
        if record["normal_scores"] is None:
            print(f"{model}: its training clips were too few to be scored, so no decisions")
            return None
        here = provenance.of_normal_scores(cfg, record["normal_scores"])
        if record.get("scored_by") != here["scored_by"]:
            print(f"{path}: of another back end than the configuration's, so no decisions; {AGAIN}")
            return None
        return _scores(path, machine_type)


def _scores(path: Path, machine_type: str) -> Scores:
    header, *rows = files.read_csv(path) or [()]
    try:
        if tuple(header) != HEADER or not rows:
            raise ValueError("other columns, or no row")
        clips = tuple(Clip(Path(name), machine_type, section, "train", 0, domain or None)
                      for name, section, domain, _ in rows)  # fmt: skip
        values = np.array([float(row[3]) for row in rows])
        if not np.isfinite(values).all():
            raise ValueError("a score is not a number")
    except ValueError as error:
        raise UserError(f"{path}: damaged ({error}); {AGAIN}") from error
    return Scores(clips, values)
