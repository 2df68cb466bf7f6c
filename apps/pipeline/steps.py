"""What the steps of the pipeline do: a function each, which runs the numbered scripts.

They speak through folders only, so each can run in a pod of its own. No kfp here, and no
TensorFlow: the scripts run with the Python that `scripts_python` finds.
"""

from __future__ import annotations

import contextlib
import importlib.util
import math
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from apps.pipeline import dataset, pages, parameters
from asd import config, files
from asd.corpora.answers import one_line
from asd.paths import Paths, record_of, table_of
from asd.tflite.convert import MCU
from common import HERE, UserError

PYTHON = "ASD_PYTHON"  # in the environment: the Python of requirements.txt
FAILURE = "ASD_FAILURE"  # in the environment: a file that gets the line of a step that failed
ROC_POINTS = 200  # that a curve keeps: a page draws no more
AFTER_KILL = 128  # and a signal's number: the exit status of a process that a container lost


def told(step: Callable[..., Any], *arguments: Any) -> Any:
    """Run a step as a component does: a user's mistake is one line, and the exit status is 1."""
    try:
        return step(*arguments)
    except (UserError, OSError) as error:
        line = one_line(error)
        if place := os.environ.get(FAILURE):
            with open(place, "a", encoding="utf-8") as file:
                file.write(f"{step.__name__}: {line}\n")
        print(f"error: {line}", file=sys.stderr)
        sys.exit(1)


def configure(values: Mapping[str, Any], run: Path) -> None:
    """Check the parameters and write the YAML file of the run."""
    parameters.write(parameters.checked(values), run)
    run_python("the check of names", ["-m", "apps.pipeline.parameters", str(run)])


def download(url: str, folder: Path) -> list[str]:
    """Bring the data set, checked; its machine types."""
    return dataset.bring(url, folder)


def machine_types(folder: Path) -> list[str]:
    """The machine types of a data set, sorted."""
    return sorted(path.name for path in folder.iterdir() if path.name[0] != ".")


class Folders(NamedTuple):
    """Where the scripts of a step read and write."""

    data: Path
    features: Path
    models: Path
    results: Path


def train(run: Path, folders: Folders, machine_type: str) -> Path:
    """Train one machine type: 00_train.py; the picture of its losses."""
    _script("00_train.py", run, folders, machine_type)
    return _paths(run, folders).history(machine_type, ".png")


def test(run: Path, folders: Folders, machine_type: str) -> None:
    """Score its test clips: 01_test.py."""
    _script("01_test.py", run, folders, machine_type)


def metrics(results: Path, machine_type: str) -> dict[str, float]:
    """AUC and pAUC by id in per cent, as `<type>_id_XX_AUC` and `_pAUC`; what has none is left out.

    Returns
    -------
    finite numbers only
    """
    found = {}
    for row in files.read_table(table_of(results, "metrics")):
        for name, value in (("AUC", row["auc"]), ("pAUC", row["pauc"])):
            if row["id"].isdigit() and value:
                found[f"{machine_type}_id_{row['id']}_{name}"] = 100 * float(value)
    return {name: value for name, value in found.items() if math.isfinite(value)}


class Curve(NamedTuple):
    """A ROC curve, from (0, 0) to (1, 1); thresholds fall, and all are finite."""

    fpr: list[float]
    tpr: list[float]
    thresholds: list[float]


def roc_curve(results: Path) -> Curve | None:
    """The curve of a machine type's clips, all its ids pooled; None where there is none."""
    import numpy as np

    from asd.corpora import names
    from asd.evaluation import metrics, submission

    labels, scores = [], []
    for path in sorted(results.glob("anomaly_score_*.csv")):
        for name, score in submission.read(path).items():
            labels.append(names.parse(name).label)
            scores.append(score)
    if set(labels) != {0, 1}:
        return None
    fpr, tpr = metrics.roc_curve(np.array(labels), np.array(scores))
    distinct = np.unique(scores)[::-1]
    # Nothing is called anomalous above the largest score: a finite number there, not infinity.
    thresholds = np.append(np.nextafter(distinct[0], np.inf), distinct)
    kept = np.unique(np.linspace(0, len(fpr) - 1, ROC_POINTS).round().astype(int))
    return Curve(*(values[kept].tolist() for values in (fpr, tpr, thresholds)))


def passes(results: Path, gate: float) -> bool:
    """Whether the mean AUC over the ids is at least `gate`; False where there is no AUC."""
    mean = next(
        (
            row["auc"]
            for row in files.read_table(table_of(results, "metrics"))
            if row["id"] == "average"
        ),
        "",
    )
    print(f"average AUC {mean or 'undefined'}, {gate} are asked for")
    return bool(mean) and float(mean) >= gate


def convert(run: Path, folders: Folders, machine_type: str) -> None:
    """Make the TFLite files and the C source: 02_convert.py; they join the model."""
    _script("02_convert.py", run, folders, machine_type)


def parity(run: Path, folders: Folders, machine_type: str) -> bool:
    """Whether the int8 model and its C are still the trained one: 03_tflite_test.py."""
    done = _script("03_tflite_test.py", run, folders, machine_type, "--boards", "none", may_fail=1)
    return done == 0 and _paths(run, folders).table("parity").is_file()


def release(run: Path, folders: Folders, target: Path) -> dict[str, str]:
    """Put what a device needs into `target`: int8 TFLite files, their records, and their C.

    Returns
    -------
    the SHA-256 of each TFLite file, by its name: one, or one a section
    """
    target.mkdir(parents=True, exist_ok=True)
    end, models = f"{MCU.suffix}.tflite", _paths(run, folders).models
    released = {}
    for model in sorted(models.glob(f"model_*{end}")):
        for path in (model, record_of(model)):
            shutil.copyfile(path, target / path.name)
        source = model.with_name(f"{model.name.removesuffix(end)}_c")
        shutil.copytree(source, target / source.name)
        released[model.name] = files.file_hash(model)
    return released


def summarise(results: Sequence[Path], table: Path, report: Path) -> None:
    """Join the tables of the machine types, in result.csv's layout, and show their figures."""
    name = config.load_config().result_file
    with files.whole_file(table) as temporary:
        # Without labels there is none.
        texts = [path.read_text(encoding="utf-8") for folder in results
                 if (path := folder / name).is_file()]  # fmt: skip
        temporary.write_text("".join(texts), encoding="utf-8")
    pages.of_figures(report, by_type(results), {})


def by_type(results: Sequence[Path]) -> dict[str, list[dict[str, str]]]:
    """The rows of metrics.csv of result folders, by machine type."""
    found = {}
    for folder in results:
        (scored,) = folder.glob("anomaly_score_*_dev.json")
        name = scored.name.removeprefix("anomaly_score_").removesuffix("_dev.json")
        found[name] = files.read_table(table_of(folder, "metrics"))
    return found


def scripts_python() -> str:
    """The Python with the packages of requirements.txt.

    Raises
    ------
    UserError : there is none.
    """
    if named := os.environ.get(PYTHON):
        return named
    if importlib.util.find_spec("tensorflow"):
        return sys.executable
    own = HERE / ".venv/bin/python"
    if own.exists():
        return str(own)
    raise UserError(f"{own}: not there; run ./train.sh --demo once, or name the Python of "
                    f"requirements.txt with {PYTHON}")  # fmt: skip


@contextlib.contextmanager
def _run_file(run: Path, folders: Folders) -> Iterator[Path]:
    """The YAML file of the run, with the folders of a step."""
    import yaml

    values = yaml.safe_load(run.read_text(encoding="utf-8"))
    places = zip(("dev", "feature", "model", "result"), folders, strict=True)
    values |= {f"{name}_directory": str(path.resolve()) for name, path in places}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "run.yaml")
        path.write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")
        yield path


def _paths(run: Path, folders: Folders) -> Paths:
    with _run_file(run, folders) as path:
        return Paths(config.load_config(path), "dev")


def _script(
    name: str, run: Path, folders: Folders, machine_type: str, *more: str, may_fail: int = 0
) -> int:
    """Run a numbered script on a machine type; its exit status.

    Parameters
    ----------
    may_fail : an exit status that is an answer, where the script has said no `error:`

    Raises
    ------
    UserError : it ended with another one, or was killed.
    """
    with _run_file(run, folders) as path:
        arguments = [str(HERE / name), "-d", "-c", str(path), "-m", machine_type, *more]
        return run_python(f"{machine_type}: {name}", arguments, may_fail)


def run_python(what: str, arguments: Sequence[str], may_fail: int = 0) -> int:
    """Run the Python of the scripts; see `_script`."""
    done = subprocess.run(
        [scripts_python(), *arguments], stderr=subprocess.PIPE, text=True, check=False,
        env=os.environ | {"PYTHONPATH": str(HERE)},
    )  # fmt: skip
    print(done.stderr, file=sys.stderr, end="")
    errors = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    if done.returncode == 0 or (done.returncode == may_fail and not errors):
        return done.returncode
    number = -done.returncode if done.returncode < 0 else done.returncode - AFTER_KILL
    if number in set(signal.Signals):
        raise UserError(
            f"{what} was killed by {signal.Signals(number).name}, exit status "
            f"{AFTER_KILL + number}; give it more memory or time, and run again"
        )
    if errors:
        raise UserError(f"{what}: {errors[-1].removeprefix('error: ')}")
    last = done.stderr.strip().splitlines()[-1:] or ["no message"]
    raise UserError(f"{what} ended with {done.returncode}: {last[0]}")
