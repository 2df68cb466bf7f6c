"""The YAML file of a grid: which recipes, machine types and seeds, and how their cells run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from asd.config import Config, Seed
from asd.messages import shown
from asd.paths import Mode
from asd.sections import Name, NotNegative, Section, as_section, check_keys
from asd.yaml_files import read_yaml
from common import Positive

STAGES = {
    "train": "00_train.py",
    "test": "01_test.py",
    "convert": "02_convert.py",
    "parity": "03_tflite_test.py",
}
OF_CELLS = ("experiment", "seed", "workers")  # keys that a grid sets itself


class Slurm(Section):
    """How an array job is asked for."""

    options: tuple[Name, ...] = ()  # of sbatch: "--partition=cpu"
    requeues: NotNegative = 2  # of a cell that something killed


class Kubeflow(Section):
    """Where cells run as a pipeline."""

    host: Name | None = None  # of the Kubeflow Pipelines API; null: this machine
    dataset_url: str = ""  # a zip of machine folders; "": on this machine the recipes' folder
    tag: Name | None = None  # of the images; null: this commit
    registry: str = ""  # before their names
    accelerator: str = ""  # of a cell, as Kubernetes names it


class Grid(Section):
    """The YAML file of a grid."""

    name: Name  # experiments begin with it, and a results folder has it
    recipes: tuple[Name, ...]  # YAML files, relative to the grid's own folder
    machine_types: tuple[Name, ...]
    seeds: tuple[Seed, ...]
    data: Mode = "dev"
    stages: tuple[Name, ...] = ("train", "test")
    overrides: dict[str, Any] = msgspec.field(
        default_factory=dict
    )  # over the values of every recipe
    threads: Positive = 1  # of a cell: figures depend on it a little, so it is the same everywhere
    at_once: Positive | None = None  # cells; null: on one machine as many as its cores allow
    slurm: Slurm = Slurm()
    kubeflow: Kubeflow = Kubeflow()

    def __post_init__(self) -> None:
        for key in ("recipes", "machine_types", "seeds", "stages"):
            values = getattr(self, key)
            if not values:
                raise ValueError(f"key {key}: an empty list; name at least one")
            if twice := [value for value in values if values.count(value) > 1]:
                raise ValueError(f"key {key}: {shown(twice[0])} stands twice; name it once")
        if unknown := [name for name in self.stages if name not in STAGES]:
            raise ValueError(f"key stages: no {shown(unknown[0])}; known: {', '.join(STAGES)}")
        if taken := [key for key in (*OF_CELLS, "base") if key in self.overrides]:
            raise ValueError(f"key overrides.{taken[0]}: the grid sets it itself; leave it out")


def load(path: Path) -> Grid:
    """The grid of a YAML file.

    Raises
    ------
    UserError : no such file, not YAML, or a key is unknown, missing or ill-typed.
    """
    values = read_yaml(path)
    grid = as_section(Grid, path, values)
    check_keys(path, grid.overrides, Config, "overrides.")
    return grid
