"""Shared fixtures: tiny recordings, a configuration for them, the scripts as functions."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import soundfile
import yaml

import common
from asd import cli, config, store
from asd.corpora.survey import survey
from asd.detectors import kinds
from asd.embedded import boards
from asd.paths import Paths
from asd.store import Store

# nohup and a shell's background jobs leave signals ignored, which the programs under test inherit.
signal.signal(signal.SIGHUP, signal.SIG_DFL)
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = Path(__file__).resolve().parent.parent
# A leaf room can be removed; its tests go with it.
ROOMS = {
    "apps/submission": ["test_device.py", "test_submission.py", "test_tree_rules.py"],
    "apps/explore": ["test_explore.py"],
    "apps/benchmarks": [
        "test_benchmarks.py",
        "test_frontend_benchmark.py",
        "test_networks_benchmark.py",
    ],
    "apps/pipeline": ["test_images.py", "test_pipeline.py", "test_grid.py", "test_slurm.py"],
    "apps/server": ["test_server.py", "test_page_server.py", "test_shapes.py"],
}
collect_ignore = [
    name for room, names in ROOMS.items() if not (ROOT / room).is_dir() for name in names
]
# Files that take longest, which begin: two cores then come to their ends at about the same time.
LONGEST = (
    "surroundings", "training", "embedding", "real", "benchmarks", "grid", "discriminative",
    "shell", "pipeline", "codegen", "kills", "stream", "kernels", "student",
    "pretrained_detectors", "scripts", "house", "frontend", "shapes", "readme", "slurm", "networks",
    "images", "keras_chain", "monitor", "page_server", "demo_layouts", "networks_benchmark",
)  # fmt: skip
SAMPLE_RATE = 16000  # Hz
CLIP_SAMPLES = 24000  # 1.5 s, 47 frames
SCRIPTS = ("00_train.py", "01_test.py", "02_convert.py", "03_tflite_test.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first; with the option --no-loadscope-reorder, cores take them so."""
    places = {f"test_{name}": i for i, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.stem, len(places)))


def write_clip(
    path: Path, seed: int = 0, tone: float = 0.0, n_samples: int = CLIP_SAMPLES, **kwargs
) -> Path:
    """A wav of noise, with a tone of the given amplitude."""
    rng = np.random.default_rng(seed)
    time = np.arange(n_samples) / SAMPLE_RATE
    samples = 0.05 * rng.standard_normal(n_samples) + tone * np.sin(2 * np.pi * 1500 * time)
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, kwargs.pop("rate", SAMPLE_RATE), **kwargs)
    return path


def clip_frames(path: Path, feature: common.Feature, transform=common.log_mel) -> np.ndarray:
    """The kept frames of a clip, (n_kept_frames, n_mels) float32."""
    return transform(common.read_clip(path, feature)[0], feature)


def make_data(folder: Path, machine_type: str = "ToyTest", n_train: int = 12) -> Path:
    """dev_data and eval_data of one machine type with two ids; returns `folder`."""
    dev, evaluation = folder / "dev_data" / machine_type, folder / "eval_data" / machine_type
    for machine_id in ("01", "02"):
        for i in range(n_train // 2):
            seed = 100 * int(machine_id) + i
            write_clip(dev / "train" / f"normal_id_{machine_id}_{i:08}.wav", seed)
        for i in range(4):
            seed = 1000 * int(machine_id) + i
            write_clip(dev / "test" / f"normal_id_{machine_id}_{i:08}.wav", seed)
            write_clip(dev / "test" / f"anomaly_id_{machine_id}_{i:08}.wav", seed + 50, 0.01 * i)
    for i in range(3):
        write_clip(evaluation / "train" / f"normal_id_05_{i:08}.wav", 5000 + i)
        write_clip(evaluation / "test" / f"id_05_{i:08}.wav", 6000 + i, 0.1)
    return folder


def write_config(folder: Path, **overrides) -> Path:
    """A YAML file for `make_data`'s clips."""
    names = ("dev_data", "eval_data", "features", "model", "result")
    keys = ("dev", "eval", "feature", "model", "result")
    values = {f"{k}_directory": str(folder / n) for k, n in zip(keys, names, strict=True)}
    values["workers"] = 2
    values["feature"] = {"central_frames": [4, 44]} | overrides.pop("feature", {})
    fit = {"epochs": 2, "batch_size": 64, "verbose": 0} | overrides.pop("fit", {})
    values["fit"] = fit
    path = folder / "test.yaml"
    path.write_text(yaml.safe_dump(values | overrides))
    return path


def frames_of(
    folder: Path, split: str = "train", skip_bad_clips: bool = False, verify: bool = False
) -> Store:
    """The frame store of `make_data`'s machine type, by the folder's test.yaml."""
    cfg = config.load_config(folder / "test.yaml")
    paths = Paths(cfg, "dev")
    (clip_set,) = survey(paths, ["ToyTest"], split, skip_bad_clips)
    return store.load(paths, clip_set, kinds.of(cfg).rows, skip_bad_clips, verify)


UNITS = (128, 128, 128, 128, 8, 128, 128, 128, 128)  # the hidden layers of MLPerf Tiny's model


def load_script(name: str) -> ModuleType:
    """A numbered script as a module."""
    spec = importlib.util.spec_from_file_location(f"script_{name[:2]}", ROOT / name)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def call(name: str, *argv: object) -> int:
    """Run a numbered script in this process, as its command line does; its exit status."""
    main = load_script(name).main
    return cli.run(lambda: main([str(arg) for arg in argv]))


def run_script(name: str, *argv: object, **kwargs) -> subprocess.CompletedProcess[str]:
    """Run a numbered script as a user does."""
    command = [sys.executable, str(ROOT / name), *map(str, argv)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, **kwargs)


def is_running(pid: int) -> bool:
    """Whether a process is there, and not only its status, which nobody asks for."""
    if Path("/proc/self/stat").is_file():  # Linux, where ps may not be installed
        try:
            stat = Path(f"/proc/{pid}/stat").read_text()
        except (FileNotFoundError, ProcessLookupError):
            return False
        state = stat.rpartition(")")[2].split()[0]
    else:
        command = ["ps", "-o", "stat=", "-p", str(pid)]
        state = subprocess.run(command, capture_output=True, text=True).stdout.strip()
    return state[:1] not in ("", "Z")


def wait_until_gone(pid: int) -> None:
    """See that a process ends; one that was killed ends when it is given the core."""
    deadline = time.monotonic() + 180
    while is_running(pid):
        assert time.monotonic() < deadline, f"process {pid} has not ended"
        time.sleep(0.1)


def installed(board: boards.Board) -> boards.Board:
    """The board, or a skip that tells what to install."""
    if reason := boards.missing(board):
        pytest.skip(reason)
    return board


def board_or_skip(name: str) -> boards.Board:
    """The board of that name, or a skip that tells what is missing."""
    if not boards.all_boards():
        pytest.skip("mcu/ is not there")
    return installed(boards.named(name))


@pytest.fixture
def m4() -> boards.Board:
    """The board of the tests that need only one."""
    return board_or_skip("mps2-an386")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder with recordings and test.yaml."""
    make_data(tmp_path)
    write_config(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def story(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the four scripts have run, as a user runs them; not to be changed."""
    folder = make_data(tmp_path_factory.mktemp("story"))
    config = write_config(folder, fit={"epochs": 12})
    for name in SCRIPTS:
        done = run_script(name, "-d", "-c", config)
        (folder / f"{name}.out").write_text(done.stdout)
        assert done.returncode == 0, done.stdout + done.stderr
    return folder


def shared(name: str, variable: str) -> Path:
    """A folder of data that is not the project's, or a skip that says how to name it."""
    folder = Path(os.environ.get(variable, ROOT.parent / "shared" / name))
    if not folder.is_dir():
        pytest.skip(f"no {name} data in {folder}; name its folder with {variable}")
    return folder


@pytest.fixture(scope="session")
def real() -> Path:
    """The folder of real recordings and published models."""
    return shared("real", "ASD_REAL_DATA")


@pytest.fixture(scope="session")
def golden() -> Path:
    """The folder of arrays that the originals computed."""
    return shared("golden", "ASD_GOLDEN_DATA")
