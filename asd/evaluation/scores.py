"""Anomaly scores as files: what 01_test.py hands on to 03_tflite_test.py, or to anyone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from asd import files
from asd.clips import Clip, Scores
from asd.paths import Paths
from asd.store import Store
from asd.versions import versions
from common import UserError


def write(
    paths: Paths, scores: Scores, variant: str | None = None, name: str | None = None
) -> None:
    """A CSV per machine id: rows of file name and score, without a header.

    Parameters
    ----------
    variant : of a TFLite file, its suffix; None for those of the detector itself. They are
        nobody's until `write_source` says whose they are
    name : of the model, where it is not that of the machine type
    """
    paths.scores_source(name or scores.machine_type, variant).unlink(missing_ok=True)
    for section, part in scores.by_section():
        path = paths.scores(scores.machine_type, section, variant)
        names = [clip.name for clip in part.clips]
        files.write_csv(path, zip(names, part.values, strict=True))


def write_source(
    paths: Paths,
    model: str,
    sha256: str,
    name: str,
    store: Store,
    variant: str | None = None,
) -> None:
    """Which model, by name and hash of what was loaded, and which clips the scores are of.

    Parameters
    ----------
    model : name of the file
    name : machine type, or what else the model is called
    """
    source = {
        "model": model,
        "sha256": sha256,
        "clips": {"count": len(store), "fingerprint": store.fingerprint},
        "versions": versions(),
    }
    files.write_json(paths.scores_source(name, variant), source)


def read(paths: Paths, model: Path, machine_type: str, store: Store) -> Scores:
    """The scores that 01_test.py wrote, in the order of the store's clips.

    Raises
    ------
    UserError : they are missing, or of another model or of other clips.
    """
    again = "run 01_test.py again"
    source = paths.scores_source(machine_type)
    if not source.exists():
        raise UserError(f"{source}: no Keras scores to compare with; run 01_test.py first")
    sha256, fingerprint = files.read_keys(source, "sha256", "clips.fingerprint")
    if sha256 != files.file_hash(model):
        raise UserError(f"{source}: the scores are of another model than {model}; {again}")
    if fingerprint != store.fingerprint:
        raise UserError(f"{source}: the scores are of other test clips; {again}")
    return Scores(store.clips, _values(paths, machine_type, store.clips, None, again))


def read_converted(
    paths: Paths, tflite: Path, name: str, clips: Sequence[Clip], variant: str
) -> Scores:
    """The scores of a TFLite file that 03_tflite_test.py wrote, in the order of some clips.

    Parameters
    ----------
    name : machine type, or what else the model is called
    clips : that it is for

    Raises
    ------
    UserError : they are missing, or of another file or of other clips.
    """
    again = "run 03_tflite_test.py"
    source = paths.scores_source(name, variant)
    if not source.exists():
        raise UserError(f"{source}: no scores of {tflite}; {again}")
    sha256, count = files.read_keys(source, "sha256", "clips.count")
    if sha256 != files.file_hash(tflite):
        raise UserError(f"{source}: the scores are of another file than {tflite}; {again}")
    if count != len(clips):
        raise UserError(f"{source}: the scores are of {count} clips, now {len(clips)}; {again}")
    values = _values(paths, clips[0].machine_type, clips, variant, again)
    return Scores(tuple(clips), values)


def _values(
    paths: Paths, machine_type: str, clips: Sequence[Clip], variant: str | None, again: str
) -> np.ndarray:
    """The scores of clips, (n_clips,) float64."""
    scores = {}
    for _, section in sorted({clip.place for clip in clips}):
        path = paths.scores(machine_type, section, variant)
        try:
            rows = files.read_csv(path)
            scores |= {(section, name): float(score) for name, score in rows}
            if not np.isfinite(list(scores.values())).all():
                raise ValueError("a score is not a number")
        except (FileNotFoundError, ValueError) as error:
            raise UserError(f"{path}: missing or damaged; {again}") from error
    try:
        return np.array([scores[clip.section, clip.name] for clip in clips])
    except KeyError as error:
        raise UserError(f"{paths.results}: no score of {error.args[0][1]}; {again}") from error
