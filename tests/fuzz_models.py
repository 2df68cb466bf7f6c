"""Keras files with random damage: each is read as a model, or refused in one line.

    .venv/bin/python -m tests.fuzz_models --size 2000

Memory above what was in use before may grow by 1 GB at most.
"""

from __future__ import annotations

import functools
import io
import tempfile
import warnings
import zipfile
from pathlib import Path

import numpy as np

import keras_model
from asd import config
from asd.detectors import kinds
from common import UserError
from tests import fuzz

WINDOWS = np.zeros((2, 640), np.float32)


@functools.cache
def whole() -> dict[str, bytes]:
    """A small model in each format."""
    import keras

    keras_model.start_tensorflow(0)
    keras.utils.clear_session()  # names of layers count what was built before
    model = keras_model.build(640, (8, 4, 8))
    with tempfile.TemporaryDirectory() as folder:
        paths = {suffix: Path(folder, f"model{suffix}") for suffix in (".keras", ".h5")}
        for path in paths.values():
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                model.save(path)
        return {suffix: path.read_bytes() for suffix, path in paths.items()}


def damaged(rng: np.random.Generator) -> tuple[str, bytes]:
    """A suffix, and a file of that format that is no longer what it was."""
    suffix = str(rng.choice([".keras", ".h5"]))
    content = whole()[suffix]
    if suffix == ".h5" or rng.random() < 0.2:
        return suffix, fuzz.mutated(content, rng)
    # Inside the archive, whose checksums would stop the others.
    result = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(result, "w") as new:
        chosen = str(rng.choice(["config.json", "model.weights.h5"]))
        for name in old.namelist():
            member = old.read(name)
            new.writestr(name, fuzz.mutated(member, rng) if name == chosen else member)
    return suffix, result.getvalue()


def attempt(rng: np.random.Generator, folder: Path) -> str:
    """Load a damaged model, and run it where that was possible."""
    suffix, content = damaged(rng)
    path = folder / f"model_ToyTest{suffix}"
    path.write_bytes(content)
    detector = kinds.of(config.load_config())
    try:
        with fuzz.bounded():
            detector.load(path)
    except UserError as error:
        line = str(error)
        assert line.startswith(str(path)) and len(line.splitlines()) == 1 and len(line) < 400, line
        return "refused"
    assert detector.predictor()(WINDOWS).shape == WINDOWS.shape
    return "read"


if __name__ == "__main__":
    fuzz.main(__doc__, attempt)
