"""What the steps of a grid's pipeline do: a cell in a pod of its own, and the table of all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import yaml

from apps.pipeline import cells, steps, tables
from apps.pipeline.cells import Cell, Record
from asd import config, files
from asd.paths import Mode, Paths
from common import UserError

FEATURES = "ASD_FEATURES"  # in the environment: a folder of features that pods share, if any


class Plain(msgspec.Struct):
    """A cell as text, to be run elsewhere: it knows nothing of this machine's folders."""

    name: str
    recipe: str
    machine_types: tuple[str, ...]
    seed: int
    mode: Mode
    values: dict[str, Any]
    stages: tuple[str, ...]


def plain(cell: Cell) -> str:
    """A cell as JSON."""
    own = (cell.name, cell.recipe, cell.machine_types, cell.seed, cell.paths.mode, cell.values)
    return msgspec.json.encode(Plain(*own, cell.stages)).decode("utf-8")


class There(Cell):
    """A cell that ran elsewhere: what it says of itself counts, its clips are not here."""

    @property
    def done(self) -> bool:
        """Whether it ran to its end."""
        record = cells.read_record(self.folder)
        return record is not None and record.status == 0


def placed(text: str, data: Path, features: Path, models: Path, results: Path) -> There:
    """A cell of `plain` with folders of this machine."""
    one = msgspec.json.decode(text, type=Plain)
    values = dict(one.values)
    for name, folder in (("dev", data), ("eval", data), ("feature", features),
                         ("model", models), ("result", results)):  # fmt: skip
        values[f"{name}_directory"] = str(folder.resolve())
    paths = Paths(config.of_values(Path(one.name), values), one.mode)
    return There(one.name, one.recipe, one.machine_types, one.seed, values, one.stages, paths)


def run_cell(text: str, data: Path, models: Path, results: Path) -> str:
    """Run a cell; its name. One that fails says so in its record, and its grid goes on."""
    with tempfile.TemporaryDirectory() as own:
        features = Path(os.environ.get(FEATURES) or own)
        cell = placed(text, data, features, models, results)
        cell.folder.mkdir(parents=True, exist_ok=True)
        cell.yaml.write_text(yaml.safe_dump(cell.values, sort_keys=False), encoding="utf-8")
        cells.write_record(cell.folder, Record(cell.made_of))
        try:
            steps.run_python(cell.name, ["-m", "apps.pipeline.cell", str(cell.folder)])
        except UserError as error:
            print(f"{error}; its log ends:")
            print("".join(cell.log.read_text(encoding="utf-8").splitlines(True)[-20:]))
        return cell.name


def tabulate(texts: Sequence[str], results: Sequence[Path], table: Path, shown: Path) -> None:
    """Write the table of a grid as CSV and as Markdown, from the results of its cells."""
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        for folder in results:
            shutil.copytree(folder, work, dirs_exist_ok=True)
        found = [placed(text, work, work, work, work) for text in texts]
        written = tables.write(work / "table", tables.of(found))
        for path, target in zip(written, (table, shown), strict=True):
            with files.whole_file(target) as temporary:
                shutil.copyfile(path, temporary)
