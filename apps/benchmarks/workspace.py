"""The clips that the benchmark makes, and the configurations that name them."""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from apps.benchmarks.measure import Ran, run
from asd import store
from asd.config import Config
from asd.corpora.survey import survey
from asd.detectors import kinds
from asd.paths import Paths
from asd.store import Store
from common import HERE

STAGES = ("train", "test", "convert", "tflite")
SCRIPTS = dict(zip(STAGES, sorted(HERE.glob("0*.py")), strict=True))
TYPE = "DemoFan"
FEW_CLIPS = 100  # do 01 and 03 spend their time on imports?


@dataclass(frozen=True)
class Size:
    """How much is measured."""

    train_clips: int
    test_clips: int
    epochs: int  # of the four scripts
    training_epochs: int  # of the training alone; the first, which compiles, does not count
    repeats: int
    memory_times: int  # the larger run's training clips, in multiples of `train_clips`
    starts: int  # of each script, timed
    ids: int = 4


SIZES = {"full": Size(1000, 200, 20, 4, 3, 7, 9), "small": Size(8, 8, 1, 2, 1, 2, 1, ids=2)}


@dataclass(frozen=True)
class Workspace:
    """The folders of a run."""

    work: Path
    size: Size

    @property
    def data(self) -> Path:
        """Of the machine type: train/ and test/."""
        return self.work / "demo/dev_data" / TYPE

    def make(self) -> None:
        """Make the clips; those of the larger run are the same ones under more names."""
        from asd.corpora import demo

        size = self.size
        counts = {"--ids": size.ids, "--train-clips": size.train_clips // size.ids,
                  "--test-clips": size.test_clips // size.ids // 2, "--seconds": 11}  # fmt: skip
        numbers = [text for pair in counts.items() for text in map(str, pair)]
        demo.main(["--out", str(self.work / "demo"), "--no-eval", "-m", TYPE, *numbers])
        for times in range(size.memory_times):
            for path in (self.data / "train").iterdir():
                machine_id = int(path.name[10:12]) + 2 * size.ids * times
                self._link(
                    path, "many", "train", f"{path.name[:10]}{machine_id:02}{path.name[12:]}"
                )
        for split in ("train", "test"):
            paths = sorted((self.data / split).iterdir())
            for path in paths[:: max(1, len(paths) // FEW_CLIPS)]:
                self._link(path, "few", split, path.name)

    def _link(self, path: Path, data: str, split: str, name: str) -> None:
        target = self.work / data / TYPE / split / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.exists():
            os.link(path, target)

    def config(self, folder: Path, data: Path, seed: int = 0, **fit: Any) -> Path:
        """A YAML file for our scripts: recordings below `data`, everything else in `folder`."""
        folder.mkdir(parents=True, exist_ok=True)
        names = ("feature", "model", "result")
        values: dict[str, Any] = {f"{name}_directory": str(folder / name) for name in names}
        values |= {"dev_directory": str(data), "seed": seed, "fit": {"verbose": 0} | fit}
        path = folder / "host.yaml"
        path.write_text(yaml.safe_dump(values), encoding="utf-8")
        return path

    def fresh(self, name: str) -> Path:
        """An empty folder."""
        folder = self.work / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        return folder


def load_store(cfg: Config, split: str) -> Store:
    """Our frame store, computed where it is missing."""
    paths = Paths(cfg, "dev")
    (clip_set,) = survey(paths, [TYPE], split, skip_bad_clips=False)
    return store.load(paths, clip_set, kinds.of(cfg).rows, skip_bad_clips=False, verify=False)


def hidden_units(cfg: Config) -> tuple[int, ...]:
    """Units of the auto-encoder's hidden layers."""
    _, settings = cfg.detector.section(kinds.KINDS)
    return settings.hidden


def published_stage(stage: str, data: Path, folder: Path, epochs: int) -> Ran:
    """A script of the published way."""
    module = ["-m", "apps.benchmarks.published", stage]
    return run([sys.executable, *module, data, folder, str(epochs)])


def our_stage(stage: str, yaml_file: Path, *python: str) -> Ran:
    """A script of ours; without emulated boards, which the published way does not have."""
    boards = ["--boards", "none"] if stage == "tflite" else []
    return run([sys.executable, *python, SCRIPTS[stage], "-d", "-c", yaml_file, *boards])
