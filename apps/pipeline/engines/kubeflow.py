"""Cells as a Kubeflow pipeline: on a cluster, or with kfp's own runner on this machine."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from apps.pipeline import cells, grid_steps
from apps.pipeline.cells import Cell, Outcome, Record, outcome
from apps.pipeline.engines import share
from apps.pipeline.settings import Grid
from asd import workers
from common import UserError

DID_NOT_END = "its step did not end"


def submit(grid: Grid, all_cells: Sequence[Cell]) -> str:
    """Start the grid on a cluster, which keeps what is done by itself; the run's id.

    Raises
    ------
    UserError : the cluster cannot be reached, or no data set is named that it could reach.
    """
    from apps.pipeline import cluster
    from apps.pipeline.pipeline import Cluster, build_grid

    own = grid.kubeflow
    if not own.dataset_url:
        raise UserError("key kubeflow.dataset_url: empty; name a zip that the cluster can reach")
    tag = cluster.check_tag(own.tag) if own.tag else cluster.commit()
    where = Cluster(tag, own.registry, own.accelerator, grid.at_once or 0)
    pipeline = build_grid(where, [grid_steps.plain(cell) for cell in all_cells])
    return cluster.submit(pipeline, {"dataset_url": own.dataset_url}, str(own.host), grid.name)


def run(grid: Grid, waiting: Sequence[Cell]) -> Iterator[Outcome]:
    """Run prepared cells by kfp on this machine; how each ended, when all have."""
    from apps.pipeline import local
    from apps.pipeline.pipeline import Cluster, build_grid

    folders = {cell.paths.data.resolve() for cell in waiting}
    if len(folders) > 1 and not grid.kubeflow.dataset_url:
        raise UserError("the recipes have several data folders, and a pipeline has one data set; "
                        "name one with kubeflow.dataset_url")  # fmt: skip
    url = grid.kubeflow.dataset_url or str(folders.pop())
    features = Path(waiting[0].paths.cfg.feature_directory)
    features.mkdir(parents=True, exist_ok=True)
    os.environ |= share.environment(grid) | {grid_steps.FEATURES: str(features.resolve())}
    parallel = grid.at_once or max(1, workers.allowed() // grid.threads)
    pipeline = build_grid(
        Cluster("local", parallel=parallel, retries=0), list(map(grid_steps.plain, waiting))
    )
    with tempfile.TemporaryDirectory(dir=features.resolve(), prefix=".grid-") as name:
        root = Path(name)
        local.run_pipeline(pipeline, {"dataset_url": url}, root)
        found = {path.parent.parent.name: path.parents[2] for path in root.rglob("cell.json")}
        for cell in waiting:
            yield _fetched(cell, found)


def _fetched(cell: Cell, found: dict[str, Path]) -> Outcome:
    """How a cell ended, its files in the places where the other engines put them."""
    experiment = cell.paths.cfg.experiment
    if experiment not in found:
        return outcome(cell, DID_NOT_END)
    results = found[experiment]
    there = cells.read_record(results / experiment / cells.FOLDER)
    made_of = cell.made_of  # of the clips that are here
    cfg, models = cell.paths.cfg, results.parent / "models"
    for source, target in ((results, cfg.result_directory), (models, cfg.model_directory)):
        if (source / experiment).is_dir():
            shutil.copytree(source / experiment, Path(target, experiment), dirs_exist_ok=True)
    ended = there or Record(made_of)
    cells.write_record(cell.folder, Record(made_of, ended.status, ended.stage, ended.seconds))
    return outcome(cell, DID_NOT_END)
