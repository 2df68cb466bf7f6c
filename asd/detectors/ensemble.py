"""Several experiments as one: their scores, brought to one measure by training clips, and averaged.

Members speak through the files that 00_train.py and 01_test.py wrote of them, so they may be of any
kind. z = (score - mean) / deviation, by the training clips of the clip's section, of both domains;
as in the submissions of Primus and others to DCASE 2021 Task 2.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import msgspec
import numpy as np

from asd import files, rows
from asd.clips import Clip, Scores
from asd.config import Config
from asd.detectors import array_files, z_scores
from asd.detectors.detector import Fitted
from asd.paths import Paths, record_of
from asd.sections import Name, Section
from asd.store import Store
from common import UserError

MOST_BYTES = 1 << 24  # of a model
Members = Annotated[tuple[Name, ...], msgspec.Meta(min_length=1)]
TRAIN_FIRST = "run 00_train.py and 01_test.py of it on these clips first"


@dataclasses.dataclass(frozen=True)
class Joined(Store):
    """Clips, and which scores of theirs the members have: another's are other clips, too."""

    members: tuple[str, ...] = ()  # SHA-256 of the scores of training clips

    @property
    def fingerprint(self) -> str:
        """See `Store.fingerprint`."""
        return files.fingerprint([super().fingerprint, *self.members])


class Ensemble:
    """See `asd.detectors.detector.Detector`."""

    class Settings(Section):
        """Experiments, by their names in their YAML files; others for the target domain, if so."""

        members: Members
        target: Members | None = None  # null: the same
        faithful: bool = False  # the names of submitted files as the original's program has them

    kind = "ensemble"
    network = None
    scope = "company"
    suffixes = (".npz",)
    score_title = "mean of the members' z scores"
    error = None
    hears_others = False

    def __init__(self, cfg: Config, settings: Settings, paths: Paths | None = None) -> None:
        self._cfg, self._settings, self._paths = cfg, settings, paths
        self._target = settings.target or settings.members
        self.names_as_published = settings.faithful
        self._names = tuple(dict.fromkeys([*settings.members, *self._target]))
        for name in self._names:
            try:
                msgspec.structs.replace(cfg, experiment=name)  # which checks it
            except ValueError as error:
                raise UserError(f"{cfg.detector.file}: key detector.members: {error}") from error
        if cfg.experiment in self._names:
            raise UserError(f"{cfg.detector.file}: key detector.members: {cfg.experiment} is this "
                            "experiment; give it another name")  # fmt: skip
        own = {"members": list(settings.members), "target": list(self._target)}
        self.rows = rows.levels(cfg.feature)
        self.made_of = {
            "feature": self.rows.settings,
            "detector": {"kind": self.kind, **own},
            "fit": {},
            "seed": cfg.seed,
        }

    @property
    def home(self) -> Paths:
        """Where its models are."""
        return self._paths

    @property
    def company(self) -> tuple[Paths, ...]:
        """The data that is scored."""
        return (self._paths,)

    def lesson(self, machine_type: str, stores: Sequence[Store]) -> Joined:
        """The clips of a machine type, and what tells of the members' scores of them."""
        (store,) = (one for one in stores if one.clips[0].machine_type == machine_type)
        values = {field.name: getattr(store, field.name) for field in dataclasses.fields(Store)}
        return Joined(**values, members=self._hashes(machine_type))

    def _paths_of(self, member: str, machine_type: str) -> Paths:
        """Of a member; of evaluation data without a model of its own, the development data's."""
        cfg = msgspec.structs.replace(self._cfg, experiment=member)
        for mode in dict.fromkeys((self._paths.mode, "dev")):
            paths = Paths(cfg, mode)
            if paths.normal_scores(machine_type).is_file():
                return paths
        path = Paths(cfg, self._paths.mode).normal_scores(machine_type)
        raise UserError(f"{path}: no scores of training clips, and {member} is to be a member of "
                        f"the ensemble; {TRAIN_FIRST}")  # fmt: skip

    def _hashes(self, machine_type: str) -> tuple[str, ...]:
        found = (self._paths_of(name, machine_type) for name in self._names)
        return tuple(files.file_hash(one.normal_scores(machine_type)) for one in found)

    def fit(self, train: Joined) -> Fitted:
        """Take the measure of the members' scores of training clips.

        Raises
        ------
        UserError : a member has no scores of these clips, or no two different ones of a section.
        """
        scores = self._of_training(train)
        try:
            self._norms = z_scores.norms_of(scores, [clip.section for clip in train.clips])
        except UserError as error:
            raise UserError(f"{train.clips[0].machine_type}: of {', '.join(self._names)}, "
                            f"{error}") from error  # fmt: skip
        self._trained_on = train.members
        return Fitted(len(train), [])

    def _of_training(self, train: Store) -> np.ndarray:
        """The members' scores of training clips, (n_members, n_clips) float64."""
        machine_type, found = train.clips[0].machine_type, []
        for name in self._names:
            path = self._paths_of(name, machine_type).normal_scores(machine_type)
            table = files.read_csv(path)[1:]
            found.append(_values(path, table, train.clips))
        return np.array(found)

    def save(self, path: Path) -> None:
        """Write the measures, and of which scores they are."""
        one = self._norms
        with path.open("wb") as file:
            np.savez(file, sections=np.array(one.sections), mean=one.mean, std=one.std,
                     members=np.array(self._trained_on))  # fmt: skip

    def load(self, path: Path) -> None:
        """Read a model.

        Raises
        ------
        UserError : the file is damaged or of as many members as there are not.
        """
        path.open("rb").close()  # what forbids that is no damage
        try:
            arrays = array_files.read(path, MOST_BYTES)
            mean, std, members = (arrays[name] for name in ("mean", "std", "members"))
            sections = tuple(str(one) for one in arrays["sections"])
            shape = len(self._names), len(sections)
            if mean.shape != shape or std.shape != shape or len(members) != len(self._names):
                raise ValueError(f"measures of shape {mean.shape}")
            if not (np.isfinite(mean).all() and np.isfinite(std).all() and (std > 0).all()):
                raise ValueError("measures that are not numbers")
            self._norms = z_scores.Norms(sections, mean.astype(float), std.astype(float))
            self._trained_on = tuple(str(one) for one in members)
        except Exception as error:  # the reader raises whatever a damaged file leads it to
            reason = " ".join(str(error).split())[:120]
            raise UserError(f"{path}: not a readable model ({reason}); train it anew") from error
        self._path = path

    def score(self, test: Store) -> Scores:
        """The combined scores of what 01_test.py wrote of the members.

        Raises
        ------
        UserError : a member has not scored these clips with its model as it is, or was trained
            anew, or a section has no training clips.
        """
        machine_type, found = test.clips[0].machine_type, []
        if self._hashes(machine_type) != self._trained_on:
            raise UserError(f"{self._path}: a member has other scores of training clips by now; "
                            "run 00_train.py with --overwrite")  # fmt: skip
        for name in self._names:
            model_paths = self._paths_of(name, machine_type)
            paths = Paths(model_paths.cfg, self._paths.mode)
            _check_source(paths, model_paths, machine_type)
            table = []
            for section in dict.fromkeys(clip.section for clip in test.clips):
                path = paths.scores(machine_type, section)
                if not path.is_file():
                    raise UserError(f"{path}: no such file; {TRAIN_FIRST}")
                table += [(row[0], section, "", row[1]) for row in files.read_csv(path)
                          if len(row) == 2]  # fmt: skip
            found.append(_values(paths.results, table, test.clips))
        return self._combined(test, np.array(found))

    def _combined(self, store: Store, scores: np.ndarray) -> Scores:
        index = {name: i for i, name in enumerate(self._names)}
        members = ([index[one] for one in names]
                   for names in (self._settings.members, self._target))  # fmt: skip
        is_target = np.array([clip.domain == "target" for clip in store.clips])
        try:
            z = self._norms.z(scores, [clip.section for clip in store.clips])
        except KeyError as error:
            raise UserError(f"{store.clips[0].machine_type}: section {error.args[0]} has no "
                            "training clips here, which give its scores their measure; with "
                            "evaluation data of other sections run 00_train.py -e first, else "
                            "leave its test clips out") from error  # fmt: skip
        return Scores(store.clips, z_scores.combined(z, *members, is_target))

    def normal_scores(self, train: Store) -> Scores:
        """The combined scores of the training clips, as the members have scored them."""
        return self._combined(train, self._of_training(train))

    def chain(self) -> None:
        """None: it is no network."""


def _values(path: Path, table: Sequence[Sequence[str]], clips: Sequence[Clip]) -> np.ndarray:
    """The scores of clips, (n_clips,) float64, of rows: name, section, domain, score."""
    try:
        scores = {(name, section): float(score) for name, section, _, score in table}
        values = np.array([scores[clip.name, clip.section] for clip in clips])
    except KeyError as error:
        raise UserError(f"{path}: no score of {error.args[0][0]}; {TRAIN_FIRST}") from error
    except ValueError as error:
        raise UserError(f"{path}: damaged ({error}); {TRAIN_FIRST}") from error
    if not np.isfinite(values).all():
        raise UserError(f"{path}: damaged, a score is not a number; {TRAIN_FIRST}")
    return values


def _check_source(paths: Paths, model_paths: Paths, machine_type: str) -> None:
    """See that a member's scores are of its model and its scores of training clips."""
    source, name = paths.scores_source(machine_type), ""
    if source.is_file():
        name, sha256 = files.read_keys(source, "model", "sha256")
    model = model_paths.models / str(name)
    if not name or not model.is_file() or files.file_hash(model) != sha256:
        raise UserError(f"{source}: missing, or of another model than there is now; {TRAIN_FIRST}")
    (normal,) = files.read_keys(record_of(model), "normal_scores")
    path = model_paths.normal_scores(machine_type)
    if normal != files.file_hash(path):
        raise UserError(f"{path}: not the scores that {record_of(model).name} tells of; "
                        f"{TRAIN_FIRST}")  # fmt: skip
