"""Export a run that 01_test.py has finished to MLflow; CSV and JSON stay what it is.

    python -m asd.evaluation.tracking -d -c FILE

01_test.py does it itself where the configuration says `tracking: mlflow`. Where to is MLflow's own
matter: MLFLOW_TRACKING_URI, else the store that it makes in the folder that you are in; so is
MLFLOW_EXPERIMENT_NAME, else `asd`. Every export is a run of its own.
"""

from __future__ import annotations

import importlib.util
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from asd import cli, config, files
from asd.config import Config
from asd.corpora.find import find_machine_types
from asd.detectors import kinds
from asd.paths import Paths, record_of
from common import HERE, UserError

EXPERIMENT = "asd"  # of MLflow, where the environment names none
NEEDED = Path(__file__).with_name("tracking.txt").relative_to(HERE)
MOST_LETTERS = 500  # of a parameter, which older servers take


class Run(NamedTuple):
    """What is exported."""

    parameters: dict[str, str]
    losses: list[tuple[int, dict[str, float]]]  # epoch, and losses by name
    metrics: dict[str, float]
    files: list[Path]  # tables, pictures, reports


def check(cfg: Config) -> None:
    """See that what the configuration asks for is installed, before any work is spent.

    Raises
    ------
    UserError : it is not.
    """
    if cfg.tracking == "mlflow" and importlib.util.find_spec("mlflow") is None:
        raise UserError("tracking: MLflow is not installed; python -m pip install -r "
                        f"{NEEDED}, or set tracking: none")  # fmt: skip


def export(paths: Paths, models: Mapping[str, Path]) -> None:
    """Export a run, where the configuration says so.

    Parameters
    ----------
    models : the model files by machine type
    """
    if paths.cfg.tracking != "mlflow":
        return
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    import mlflow

    run = read(paths, models)
    name = "_".join(filter(None, (paths.cfg.experiment or "baseline", paths.mode)))
    with files.alone(Path(paths.cfg.result_directory)):  # a store that is new is made once
        if not os.environ.get("MLFLOW_EXPERIMENT_NAME"):
            mlflow.set_experiment(EXPERIMENT)
        with mlflow.start_run(run_name=name):
            mlflow.log_params(run.parameters)
            for epoch, losses in run.losses:
                mlflow.log_metrics(losses, step=epoch)
            mlflow.log_metrics(run.metrics)
            for path in run.files:
                mlflow.log_artifact(str(path))
    print(f"exported to MLflow, {mlflow.get_tracking_uri()}: run {name}")


def read(paths: Paths, models: Mapping[str, Path]) -> Run:
    """What there is of a run, from its files.

    Names are `<figure>/<machine type>`, of metrics also `/<id>`.
    """
    records = [record_of(path) for path in models.values()]
    parameters = {"experiment": paths.cfg.experiment, "corpus": paths.cfg.corpus,
                  "data": paths.mode, "machine_types": " ".join(models)}  # fmt: skip
    for record in filter(Path.is_file, records[:1]):  # the configuration is that of all
        values = files.read_mapping(record)
        kept = {key: values.get(key) for key in ("seed", "configuration", "versions")}
        parameters |= {_name(key): str(value)[:MOST_LETTERS] for key, value in _leaves(kept)}
    losses = [row for machine_type in models for row in _losses(paths, machine_type)]
    return Run(parameters, losses, dict(_metrics(paths)), _files(paths, models))


def _losses(paths: Paths, machine_type: str) -> Iterator[tuple[int, dict[str, float]]]:
    path = paths.history(machine_type, ".csv")
    header, *rows = files.read_csv(path) if path.is_file() else [[]]
    for row in rows:
        epoch, *values = zip(header, row, strict=True)
        yield int(epoch[1]), {_name(name, machine_type): float(value)
                              for name, value in values if value}  # fmt: skip


def _metrics(paths: Paths) -> Iterator[tuple[str, float]]:
    """The figures of metrics.csv and of official.csv."""
    for row in files.read_table(paths.table("metrics")):
        for figure in ("auc", "auc_low", "auc_high", "pauc"):
            if row[figure]:
                yield _name(figure, row["machine_type"], row["id"]), float(row[figure])
    for row in files.read_table(paths.table("official")):
        if row["value"]:
            yield _name(row["figure"], row["machine_type"]), float(row["value"])


def _files(paths: Paths, models: Mapping[str, Path]) -> list[Path]:
    """Tables, pictures and pages of the run, and what its models were made of."""
    found = [record_of(path) for path in models.values()]
    found += [paths.history(name, suffix) for name in models for suffix in (".csv", ".png")]
    found += [paths.picture(kind, name) for name in models for kind in ("roc", "histogram")]
    found += [paths.result(), *map(paths.table, ("metrics", "official", "decisions"))]
    found += sorted(paths.results.glob("*.html"))
    return [path for path in found if path.is_file()]


def _leaves(values: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(values, dict):
        for key, value in values.items():
            yield from _leaves(value, f"{prefix}.{key}".removeprefix("."))
    else:
        yield prefix, values


def _name(*parts: str) -> str:
    """A name of the letters that MLflow takes."""
    return "/".join(re.sub(r"[^\w. -]", "_", part, flags=re.ASCII) for part in parts)


def main(argv: Sequence[str] | None = None) -> None:
    """Do what the command line says."""
    args = cli.parse_args(__doc__, argv)
    cfg = config.load_config(args.config, args.seed)
    if cfg.tracking == "none":
        raise UserError(f"{args.config}: tracking: none; set it to mlflow")
    check(cfg)
    paths = Paths(cfg, args.mode)
    suffixes = kinds.of(cfg, paths).suffixes
    names = find_machine_types(paths, args.machine_type)
    export(paths, {name: paths.require_model(name, suffixes) for name in names})


if __name__ == "__main__":
    sys.exit(cli.run(main))
