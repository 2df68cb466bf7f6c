"""What a report is made of beside the tables of a run: `report.json`, which 01_test.py writes.

It holds what only a run knows that has the clips and the model: of which clips the scores are, what
the model was made of, and pictures and sound of a few clips.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from asd import files
from asd.config import Config
from asd.paths import facts_of
from common import UserError

FORMAT = 1


class OneClip(msgspec.Struct):
    """A test clip."""

    name: str
    section: str
    domain: str
    label: int | None  # 0 normal, 1 anomalous, None unknown
    seconds: float


class Machine(msgspec.Struct):
    """A machine type: its model and its clips."""

    name: str
    model: str  # name of the file
    sha256: str
    record: dict[str, Any]  # of its training; empty of a published model
    used: str  # what of the clips is used, in words
    fingerprint: str  # of the test clips
    clips: list[OneClip]
    training: dict[str, list[float]]  # scores of training clips by section, where there are any


class Picture(msgspec.Struct):
    """A clip to look at and listen to."""

    machine: str
    clip: OneClip
    surprising: bool
    level: str  # PNG, base64: of the whole clip, time to the right, low bands below
    level_db: tuple[float, float]  # that the darkest and the brightest colour stand for
    end: float  # seconds, where the picture ends
    heard: tuple[float, float]  # seconds, from and to which the clip is scored
    error: str = ""  # PNG, base64: of the part that is scored
    error_db2: tuple[float, float] = (0, 0)
    sound: str = ""  # FLAC, base64


class Facts(msgspec.Struct):
    """All of it."""

    made: str  # when, ISO 8601
    experiment: str
    mode: str  # "dev" or "eval"
    configuration: dict[str, Any]
    versions: dict[str, str]
    score_title: str  # what a score is, with its unit
    reconstructs: bool
    machines: list[Machine]
    pictures: list[Picture]
    converted: dict[str, str] = {}  # SHA-256 of the tables of 03_tflite_test.py, by name
    format: int = FORMAT

    def same_scores(self, other: Facts) -> bool:
        """Whether both tell of the same models and test clips."""
        return self._made_of == other._made_of

    @property
    def _made_of(self) -> list[tuple[str, str, str]]:
        return [(one.name, one.sha256, one.fingerprint) for one in self.machines]


def configuration(cfg: Config) -> dict[str, Any]:
    """The whole configuration as plain values."""
    values = {name: getattr(cfg, name) for name in cfg.__struct_fields__ if name != "detector"}
    detector = {"kind": cfg.detector.kind, **cfg.detector.values}
    return msgspec.json.decode(msgspec.json.encode({**values, "detector": detector}))


def write(folder: Path, facts: Facts) -> None:
    """Write them; what 03_tflite_test.py said of the same models and clips stays."""
    path = facts_of(folder)
    if not facts.converted and path.exists():
        try:
            before = read(folder)
        except UserError:  # damaged, or of another version, and replaced here
            before = None
        if before is not None and before.same_scores(facts):
            facts.converted = before.converted
    files.write_json(path, facts)


def read(folder: Path) -> Facts:
    """The facts of a result folder.

    Raises
    ------
    UserError : there are none, or they are damaged.
    """
    path = facts_of(folder)
    if not path.exists():
        raise UserError(f"{path}: no such file; run 01_test.py, which writes it")
    values = files.read_mapping(path)
    if values.get("format") != FORMAT:
        raise UserError(f"{path}: of another version; run 01_test.py again")
    try:
        return msgspec.convert(values, Facts)
    except msgspec.ValidationError as error:
        raise UserError(f"{path}: damaged ({error}); run 01_test.py again") from error
