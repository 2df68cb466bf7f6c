"""The configuration: baseline.yaml, with the overrides of a recipe. The numbers stand there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from asd.messages import CONTROL, plain, shown
from asd.sections import (
    MOST_MESSAGE,
    Choice,
    Limit,
    Name,
    NotNegative,
    Section,
    Share,
    as_section,
    check_keys,
    merge,
)
from common import HERE, Feature, Positive, UserError

BASELINE = HERE / "baseline.yaml"

MOST_BASES = 2  # one after the other, between a recipe and baseline.yaml
Seed = Annotated[int, msgspec.Meta(ge=0, lt=2**32)]  # what NumPy and Keras take
EVAL = "eval"  # the folder of what is made of the evaluation data
SUBMISSION = "submission"  # the folder in it of what is submitted
# The names in result and model folders, see `asd.paths.Paths`, that result_file cannot have.
OTHER_FILES = (
    rf"{EVAL}|{SUBMISSION}|(metrics|official|decisions|parity|embeddings|mcu|skipped)\.csv"
    r"|(tflite|anomaly_score_|decision_result_|normal_score_|model_|history_|checkpoint_).*"
    r"|(roc|histogram)_.*\.png"
)


class Compile(Section):
    """Keras' names of the optimiser and the loss."""

    optimizer: Name
    loss: Name


class Fit(Section, omit_defaults=True):
    """How a Keras model is trained; a default is what a record without that key means."""

    compile: Compile
    epochs: Positive
    batch_size: Positive
    shuffle: bool
    validation_split: Share
    verbose: Literal[0, 1, 2]
    validation: Literal["last_clips", "random_windows"] = "last_clips"
    conventions: Literal["keras", "torch"] = "keras"  # Adam's epsilon, the norms' variance
    weight_decay: Annotated[float, msgspec.Meta(ge=0, lt=1)] = 0.0  # of AdamW, of every parameter

    def __post_init__(self) -> None:
        if self.conventions == "torch" and self.batch_size == 1:
            raise ValueError("batch_size 1 has no variance, which conventions: torch ask for")


class Decision(Section):
    """How scores become decisions: a threshold from the scores of normal training clips."""

    threshold: Literal["gamma", "empirical"]
    share: Annotated[float, msgspec.Meta(gt=0, lt=1)]  # of these clips, below the threshold


MOST_DECISIONS = 32  # that a rule looks back on: a word of a microcontroller


class Streaming(Section):
    """How a stream of samples is judged, see `asd.evaluation.streaming`."""

    windows: Positive | None  # a score is the mean over the last so many; null: a clip's
    step: Positive  # hops between two decisions
    alarm: tuple[Positive, Annotated[int, msgspec.Meta(ge=1, le=MOST_DECISIONS)]]  # k of the last n
    share: Annotated[float, msgspec.Meta(gt=0, lt=1)]  # of decisions on training clips, below
    threshold: Literal["training", "validation"]  # whose decisions say where that is
    release: Annotated[
        float, msgspec.Meta(ge=0, le=1)
    ]  # of the way from their mean to the threshold

    def __post_init__(self) -> None:
        k, n = self.alarm
        if k > n:
            raise ValueError(f"alarm [{k}, {n}] asks for more decisions than it looks at")


Rounding = Literal["nearest", "calibrated"]  # of the weights of calibrated int8 files


class Conversion(Section):
    """How the Keras model becomes TFLite files."""

    reference_fold: bool
    dense_weights: Literal["per_channel", "per_tensor"]
    equalise: bool
    bias_correction: bool
    rounding: Rounding
    range_margin: Annotated[float, msgspec.Meta(ge=0, le=1)]  # of what the windows' ranges are
    calibration_windows: Positive
    calibration_list: Name | None  # a file of clip names, one a line: only these calibrate
    network_rows: Positive  # patches or spectrograms that calibrate a network
    centres: Positive  # of k-means, of a machine type
    centre_type: Literal["int8", "float32"]


class Tolerance(Section):
    """How far a converted model may be from the Keras model; null: not limited."""

    score_max: Limit | None  # largest relative score difference of a clip
    score_median: Limit | None  # median relative score difference
    auc_drop: Limit  # AUC below Keras


class Parity(Section):
    """The tolerances of 03_tflite_test.py."""

    float: Tolerance
    per_channel: Tolerance
    per_tensor: Tolerance
    significance_level: Limit  # a drop in AUC with a larger paired p value is within chance
    board_clips: Positive  # test clips of a machine type that C code and boards are compared on


class Config(Section):
    """The whole configuration: baseline.yaml, with a recipe's overrides."""

    experiment: str  # a folder of its own below those of models and results
    corpus: Name  # a row of asd/corpora/rows.py
    dev_directory: Name
    eval_directory: Name
    evaluation_labels: Name | None  # the published list, or the official evaluator's folder
    feature_directory: Name
    model_directory: Name
    result_directory: Name
    result_file: Name
    max_fpr: Annotated[float, msgspec.Meta(gt=0, le=1)]
    seed: Seed
    workers: NotNegative  # threads that compute features; 0: one per core
    tracking: Literal["none", "mlflow"]  # what a run's files are exported to, beside themselves
    training_ids: Literal["all", "tested"]  # tested: only ids that have test clips
    feature: Feature
    detector: Choice
    fit: Fit
    decision: Decision
    stream: Streaming
    convert: Conversion
    parity: Parity

    def __post_init__(self) -> None:
        name = self.experiment
        if name.lower() == EVAL or not re.fullmatch(r"([A-Za-z0-9][\w.-]*)?", name):
            raise ValueError(
                f"experiment {shown(name)} cannot name a folder here: letters, digits, _, - and "
                f"dots can, but {EVAL!r} is taken"
            )
        for key in ("dev", "eval", "feature", "model", "result"):
            folder = getattr(self, f"{key}_directory")
            if CONTROL.search(folder):
                raise ValueError(f"{key}_directory {shown(folder)} holds a control character")
        _check_result_file(self.result_file)


def _check_result_file(name: str) -> None:
    """See that it names a file of the result folder, and none of those that we write there."""
    if name in (".", "..") or re.search(r"[/\\]", name) or CONTROL.search(name):
        raise ValueError(f"result_file {shown(name)} cannot name a file of the result folder")
    if re.fullmatch(OTHER_FILES, name, re.IGNORECASE):  # as some disks compare names
        raise ValueError(f"result_file {shown(name)} is the name of another file that is written")


def load_config(path: str | Path = BASELINE, seed: int | None = None) -> Config:
    """Read a YAML file over the values of baseline.yaml.

    Parameters
    ----------
    path : the file; it may name only the keys in which it differs from baseline.yaml, or from the
        file that its key `base` names, relative to its own folder.
    seed : in place of the file's, in an experiment of its own: `<experiment>_seed<seed>`

    Raises
    ------
    UserError : no such file, not YAML, or a key that is unknown, missing or ill-typed; the
        message names the file, the key, and for an unknown key the nearest valid one. Or a file
        is its own base, or the base of a base of a base.
    """
    values, config = _merged(Path(path))
    if seed is None:
        return config
    experiment = f"{config.experiment}_seed{seed}".removeprefix("_")
    return of_values(Path(path), merge(values, {"seed": seed, "experiment": experiment}))


def load_values(path: Path) -> dict[str, Any]:
    """The plain values of a YAML file over those of its bases and of baseline.yaml.

    Raises
    ------
    UserError : see `load_config`.
    """
    return _merged(path)[0]


def of_values(path: Path, values: dict[str, Any]) -> Config:
    """The configuration of plain values, all of them.

    Parameters
    ----------
    path : of the file that they came from, for messages

    Raises
    ------
    UserError : see `load_config`.
    """
    return as_section(Config, path, values)


def _merged(path: Path) -> tuple[dict[str, Any], Config]:
    """The values of a file over those below it, and what they are as a configuration."""
    files = list(_with_bases(path))
    for file, values in files:
        check_keys(file, values, Config)
    merged: dict[str, Any] = {}
    for file, values in reversed(files):  # baseline.yaml first: each has to hold with its bases
        merged = merge(merged, values)
        config = as_section(Config, file, merged)
    return merged, config


def _with_bases(path: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """A file and its values, its base and those, and so on; baseline.yaml last."""
    from asd.yaml_files import read_yaml  # PyYAML takes its time, and -h needs none

    above: list[Path] = []
    while len(above) <= MOST_BASES:
        try:
            values = read_yaml(path)
        except UserError as error:
            if not above:
                raise
            raise UserError(f"{above[-1]}: key base: {plain(str(error), MOST_MESSAGE)}") from error
        base = values.pop("base", None)
        yield path, values
        if base is None:
            yield BASELINE, read_yaml(BASELINE)
            return
        if not isinstance(base, str) or not base:
            raise UserError(f"{path}: key base: {shown(base)} is no name of a YAML file")
        above.append(path)
        path = path.parent / base
    raise UserError(f"{above[0]}: key base: one of a base of a base; {MOST_BASES} are the most")
