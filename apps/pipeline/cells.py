"""A grid and its cells: recipes, machine types and seeds, each combination an experiment.

A cell is one machine type, or all of the grid where a recipe's detector is trained for them
together. What is written about it stands in the folder `cell` of its results: cell.yaml, its whole
configuration; log.txt; cell.json, what it is made of and how it ended.
"""

from __future__ import annotations

import contextlib
import functools
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import yaml

from apps.pipeline.settings import Grid
from asd import config, files
from asd.config import EVAL
from asd.corpora import find
from asd.corpora.find import find_machine_types, has_clips
from asd.detectors import kinds
from asd.paths import Paths
from asd.sections import merge
from common import UserError

FOLDER = "cell"


@dataclass(frozen=True)
class Cell:
    """One training and its test, in a process and with an experiment of its own.

    Attributes
    ----------
    name : what it is called by in messages
    recipe : its recipe's name
    machine_types : several where the recipe's detector is trained for them together
    values : its whole configuration, plain
    stages : keys of `settings.STAGES`
    """

    name: str
    recipe: str
    machine_types: tuple[str, ...]
    seed: int
    values: dict[str, Any]
    stages: tuple[str, ...]
    paths: Paths

    @property
    def folder(self) -> Path:
        """What is written about the cell."""
        return self.paths.results / FOLDER

    @property
    def yaml(self) -> Path:
        """Its configuration."""
        return self.folder / "cell.yaml"

    @property
    def log(self) -> Path:
        """All that its scripts print."""
        return self.folder / "log.txt"

    @property
    def done(self) -> bool:
        """Whether it ran to its end with this configuration on the clips that are there."""
        record = read_record(self.folder)
        return record is not None and record.status == 0 and record.made_of == self.made_of

    @functools.cached_property
    def made_of(self) -> dict[str, Any]:
        """What its figures depend on: prints of configuration and clips, stages, machine types."""
        clips = [clip for paths, name, split in self._heard for clip in _wavs(paths, name, split)]
        stats = [(str(path), path.stat()) for path in sorted(set(clips))]
        return {
            "configuration": files.fingerprint(self.values),
            "clips": files.fingerprint([(p, s.st_size, s.st_mtime_ns) for p, s in stats]),
            "stages": list(self.stages),
            "mode": self.paths.mode,
            "machine_types": list(self.machine_types),
        }

    @property
    def _heard(self) -> list[tuple[Paths, str, str]]:
        """Whose clips the cell is trained or tested on: data, machine type, split."""
        own = [(self.paths, name, split) for name in self.machine_types
               for split in ("train", "test")]  # fmt: skip
        detector = kinds.of(self.paths.cfg, self.paths)
        if detector.scope == "machine":
            return own
        # These may learn from others than those that are asked for.
        places = [*getattr(detector, "company", ()), getattr(detector, "others", None)]
        return own + [(paths, name, "train") for paths in places if paths
                      for name in find_machine_types(paths)]  # fmt: skip


def _wavs(paths: Paths, machine_type: str, split: str) -> list[Path]:
    """The clips of a split of a machine type, good and bad, if there are any."""
    if not has_clips(paths, machine_type, split):
        return []
    _, clips, bad = find.find_clips(paths, machine_type, split)
    return [one.path for one in (*clips, *bad)]


class Record(msgspec.Struct, forbid_unknown_fields=True):
    """What cell.json says."""

    made_of: dict[str, Any]
    status: int | None = None  # of the last stage that ran; None: not at its end yet
    stage: str = ""  # that one
    seconds: float = 0.0  # of all


class Outcome(NamedTuple):
    """How a cell ended."""

    cell: Cell
    seconds: float
    problem: str  # "" where it is done


def read_record(folder: Path) -> Record | None:
    """What cell.json says; None where there is none, or none that can be read."""
    with contextlib.suppress(FileNotFoundError, msgspec.DecodeError, UnicodeDecodeError):
        return msgspec.json.decode((folder / "cell.json").read_bytes(), type=Record)
    return None


def write_record(folder: Path, record: Record) -> None:
    """Write cell.json."""
    files.write_json(folder / "cell.json", record, durable=True)


def of(grid: Grid, path: Path) -> list[Cell]:
    """The cells of a grid, those of one recipe and seed side by side.

    Parameters
    ----------
    path : of its YAML file

    Raises
    ------
    UserError : a recipe is missing or wrong, a machine type has no clips, two cells would have
        one experiment.
    """
    found = [
        cell
        for name, values in _recipes(grid, path).items()
        for seed in grid.seeds
        for cell in _of_recipe(grid, path, name, values, seed)
    ]
    experiments: dict[str, Cell] = {}
    for cell in found:
        other = experiments.setdefault(cell.paths.cfg.experiment.lower(), cell)
        if other is not cell:
            raise UserError(f"{path}: {other.name} and {cell.name} would both be experiment "
                            f"{cell.paths.cfg.experiment}; rename a recipe")  # fmt: skip
    return found


def _recipes(grid: Grid, path: Path) -> dict[str, dict[str, Any]]:
    """The values of each recipe by its name."""
    found: dict[str, dict[str, Any]] = {}
    for recipe in grid.recipes:
        file = path.parent / recipe
        if file.stem in found:
            raise UserError(f"{path}: key recipes: two are called {file.stem}; rename one")
        found[file.stem] = merge(config.load_values(file), grid.overrides)
    return found


def _of_recipe(
    grid: Grid, path: Path, recipe: str, values: dict[str, Any], seed: int
) -> list[Cell]:
    def cell(machine_types: tuple[str, ...], named: tuple[str, ...]) -> Cell:
        parts = (recipe, *named, f"seed{seed}")
        own = {"experiment": "_".join((grid.name, *parts)), "seed": seed, "workers": grid.threads}
        whole = values | own
        paths = Paths(config.of_values(path, whole), grid.data)
        return Cell(" ".join(parts), recipe, machine_types, seed, whole, grid.stages, paths)

    together = cell(grid.machine_types, ())
    find_machine_types(together.paths, grid.machine_types)
    if kinds.of(together.paths.cfg, together.paths).scope != "machine":
        return [together]
    return [cell((name,), (name,)) for name in grid.machine_types]


def prepare(cell: Cell) -> None:
    """Write a cell's configuration and record, to be run; remove what another one left.

    What the same configuration left on the same clips stays: the cell goes on there.

    Raises
    ------
    UserError : there are files of an experiment that is no cell of a grid.
    """
    cell.folder.mkdir(parents=True, exist_ok=True)
    made_of = cell.made_of
    if read_record(cell.folder) == Record(made_of):  # interrupted, or at it for another grid
        return
    with files.alone(cell.folder):  # not while it runs
        before = read_record(cell.folder)
        if before is None or _but_stages(before.made_of) != _but_stages(made_of):
            others = [one for one in _others(cell) if one.exists()]
            if others and not (cell.folder / "cell.json").exists():
                raise UserError(f"{others[0]}: is of no grid's cell, where {cell.name} belongs; "
                                "move it away, or rename the grid")  # fmt: skip
            for path in others:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
            cell.log.unlink(missing_ok=True)
        with files.whole_file(cell.yaml) as temporary:
            text = yaml.safe_dump(cell.values, sort_keys=False, allow_unicode=True)
            temporary.write_text(text, encoding="utf-8")
        if before is None or before.status != 0 or before.made_of != made_of:
            write_record(cell.folder, Record(made_of))


def _but_stages(made_of: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in made_of.items() if key != "stages"}


def _others(cell: Cell) -> Sequence[Path]:
    """What stands in a cell's folders of models and results beside its own folder."""
    folders = [one for one in (cell.paths.models, cell.paths.results) if one.is_dir()]
    kept = (FOLDER, *([EVAL] if cell.paths.mode == "dev" else []))
    return [path for folder in folders for path in sorted(folder.iterdir())
            if path.name not in kept]  # fmt: skip


def outcome(cell: Cell, why: str) -> Outcome:
    """How a cell ended, of which the engine knows no more than that it is not running.

    Parameters
    ----------
    why : the engine's words where the cell did not say itself
    """
    record = read_record(cell.folder)
    if record is None or record.status is None:
        return Outcome(cell, 0.0, f"{why}; run the grid again to go on")
    problem = f"{record.stage} ended with status {record.status}" if record.status else ""
    return Outcome(cell, record.seconds, problem)
