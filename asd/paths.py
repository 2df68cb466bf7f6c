"""Every file name of a run, once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from asd.config import EVAL, SUBMISSION, Config
from common import UserError

Mode = Literal["dev", "eval"]


@dataclass(frozen=True)
class Paths:
    """Every file name of a run.

    What is made of the evaluation data has a folder of its own, `eval`, below those of the
    experiment, so that it never meets what is made of the development data.
    """

    cfg: Config
    mode: Mode

    def _folder(self, root: str) -> Path:
        return Path(root, self.cfg.experiment, EVAL if self.mode == "eval" else "")

    @property
    def data(self) -> Path:
        """Folder of the recordings."""
        return Path(self.cfg.dev_directory if self.mode == "dev" else self.cfg.eval_directory)

    def clips(self, machine_type: str, split: str) -> Path:
        """Folder of the training or test clips of a machine type."""
        return self.data / machine_type / split

    def store(self, name: str, key: str) -> Path:
        """The rows of a set of clips; its index is beside it, `.json`."""
        return Path(self.cfg.feature_directory, f"{name}_{key}.f32")

    @property
    def models(self) -> Path:
        """Folder of the models."""
        return self._folder(self.cfg.model_directory)

    @property
    def results(self) -> Path:
        """Folder of the result files."""
        return self._folder(self.cfg.result_directory)

    def model(self, machine_type: str, suffix: str) -> Path:
        """The model of a machine type."""
        return self.models / f"model_{machine_type}{suffix}"

    def checkpoint(self, machine_type: str) -> Path:
        """Where a training that is interrupted goes on from; gone once there is the model."""
        return self.models / f"checkpoint_{machine_type}.npz"

    def history(self, machine_type: str, suffix: str) -> Path:
        """Losses by epoch: `.csv`, `.png`."""
        return self.models / f"history_{machine_type}{suffix}"

    def normal_scores(self, machine_type: str) -> Path:
        """Scores of the training clips, which thresholds are made of."""
        return normal_scores_of(self.models, machine_type)

    def tflite(self, machine_type: str, variant: str) -> Path:
        """A TFLite file; `variant` is its suffix, "" for the float one."""
        return self.model(machine_type, f"{variant}.tflite")

    def centres(self, machine_type: str) -> Path:
        """What the embeddings of a converted network are compared with."""
        return self.model(machine_type, "_centres.npz")

    def c_source(self, machine_type: str) -> Path:
        """Folder of the model's C source."""
        return self.model(machine_type, "_c")

    def scores(self, machine_type: str, section: str, variant: str | None = None) -> Path:
        """Anomaly scores of a machine id; of a TFLite file where its `variant` is given."""
        return scores_of(self.results, machine_type, section, variant)

    def scores_source(self, machine_type: str, variant: str | None = None) -> Path:
        """Which model, or TFLite file of a `variant`, and which clips the scores are of."""
        name = f"anomaly_score_{machine_type}_{self.mode}.json"
        return self.results / (_prefix(variant) + name)

    def result(self, variant: str | None = None) -> Path:
        """AUC and pAUC by id, in the reference's layout; of a TFLite file's scores if given."""
        return self.results / (_prefix(variant) + self.cfg.result_file)

    def table(self, name: str) -> Path:
        """Another: metrics, official, decisions, parity, embeddings, mcu or skipped."""
        return table_of(self.results, name)

    def decisions(self, machine_type: str, section: str) -> Path:
        """Decisions on the clips of a section, of recordings that are no year's."""
        return self.results / f"decision_result_{machine_type}_id_{section}.csv"

    @property
    def submission(self) -> Path:
        """Folder of the files that a year's challenge takes."""
        return self.results / SUBMISSION

    def picture(self, kind: str, machine_type: str) -> Path:
        """A picture of a machine type's scores: "roc" or "histogram"."""
        return self.results / f"{kind}_{machine_type}.png"

    def find_model(self, machine_type: str, suffixes: Sequence[str]) -> Path | None:
        """The model file of a machine type, if there is one.

        Raises
        ------
        UserError : there are two.
        """
        found = [path for s in suffixes if (path := self.model(machine_type, s)).exists()]
        if len(found) > 1:
            names = " and ".join(str(path) for path in found)
            raise UserError(f"two models for {machine_type}: {names}; keep one, move the other "
                            "away")  # fmt: skip
        return found[0] if found else None

    def require_model(self, machine_type: str, suffixes: Sequence[str]) -> Path:
        """The model file of a machine type; for evaluation data without one of its own, dev's.

        Raises
        ------
        UserError : there is none, or there are two.
        """
        if found := self.find_model(machine_type, suffixes):
            return found
        if self.mode == "eval":
            found = Paths(self.cfg, "dev").find_model(machine_type, suffixes)
            if found:
                print(f"{found}: of the development data, there is none in {self.models}")
                return found
        raise UserError(
            f"{self.models}: no model for {machine_type}; train it: ./train.sh "
            "with the same options"
        )


def _prefix(variant: str | None) -> str:
    return "" if variant is None else f"tflite{variant}_"


def normal_scores_of(folder: Path, machine_type: str) -> Path:
    """Scores of the training clips of a machine type, in the folder of its model."""
    return folder / f"normal_score_{machine_type}.csv"


def scores_of(folder: Path, machine_type: str, section: str, variant: str | None = None) -> Path:
    """Anomaly scores of a machine id in a result folder; see `Paths.scores`."""
    return folder / f"{_prefix(variant)}anomaly_score_{machine_type}_id_{section}.csv"


def table_of(folder: Path, name: str) -> Path:
    """A table in a result folder; see `Paths.table`."""
    return folder / f"{name}.csv"


def facts_of(folder: Path) -> Path:
    """What the report of a result folder is made of beside its tables."""
    return folder / "report.json"


def report_of(folder: Path) -> Path:
    """The report of a result folder, a page for a browser."""
    return folder / "report.html"


def record_of(path: Path) -> Path:
    """The record of what a model or TFLite file was made of, beside it."""
    return path.with_suffix(".tflite.json" if path.suffix == ".tflite" else ".json")
