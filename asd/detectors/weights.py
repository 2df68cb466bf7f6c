"""Weights of a Keras model as plain arrays in a file, and models that a training starts from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from asd import files
from asd.detectors import array_files
from asd.paths import Paths, record_of
from common import UserError

if TYPE_CHECKING:
    import keras

MOST_BYTES = 1 << 30  # of a model
SECTIONS = "sections"  # the array of their names; the others are weights


def save(path: Path, model: keras.Model, sections: Sequence[str]) -> None:
    """Write the weights of a model, and the sections that its outputs stand for."""
    arrays = {_name(layer, one): one.numpy() for layer in model.layers for one in layer.weights}
    with path.open("wb") as file:
        np.savez(file, **{SECTIONS: np.array(sections)}, **arrays)


def read(path: Path) -> tuple[tuple[str, ...], dict[str, np.ndarray]]:
    """The sections, and the weights by name; without running code.

    Raises
    ------
    UserError : the file is damaged.
    """
    path.open("rb").close()  # what forbids that is no damage
    try:
        arrays = array_files.read(path, MOST_BYTES)
        sections = arrays.pop(SECTIONS)
        if sections.ndim != 1 or not len(sections) or sections.dtype.kind != "U":
            raise ValueError(f"sections of shape {sections.shape}, {sections.dtype}")
        for name, one in arrays.items():
            if one.dtype != "f4" or not np.isfinite(one).all():
                raise ValueError(f"{name} of {one.dtype}, or not of numbers")
    except Exception as error:  # the reader raises whatever a damaged file leads it to
        raise _unreadable(path, error) from error
    return tuple(sections.tolist()), arrays


def assign(path: Path, model: keras.Model, arrays: dict[str, np.ndarray]) -> None:
    """Give a model the weights of a file.

    Raises
    ------
    UserError : they are those of another model.
    """
    variables = {_name(layer, one): one for layer in model.layers for one in layer.weights}
    shapes = {name: tuple(one.shape) for name, one in variables.items()}
    there = {name: one.shape for name, one in arrays.items()}
    if shapes != there:
        name = sorted(name for name in shapes | there if shapes.get(name) != there.get(name))[0]
        raise _unreadable(path, f"{name} of shape {there.get(name)}, expected {shapes.get(name)}")
    for name, variable in variables.items():
        variable.assign(arrays[name])


def _name(layer: keras.Layer, variable: keras.Variable) -> str:
    return f"{layer.name}/{variable.name}"


def _unreadable(path: Path, reason: Any) -> UserError:
    reason = " ".join(str(reason).split())[:120]
    return UserError(f"{path}: not a readable model ({reason}); train it anew")


def initial(
    home: Paths, experiment: str, machine_type: str, suffixes: Sequence[str], wanted: dict[str, Any]
) -> tuple[Path, str]:
    """The model of another experiment that a training starts from, and its SHA-256.

    Parameters
    ----------
    home : where the models of this experiment are
    wanted : what it has to be made of: parts of its record's configuration, by dotted key; those
        that every record has come first

    Raises
    ------
    UserError : there is none, it is this one, or it is made of something else.
    """
    if experiment == home.cfg.experiment:
        raise UserError(f"detector.initial: {experiment} is this experiment itself; name another")
    there = Paths(msgspec.structs.replace(home.cfg, experiment=experiment), home.mode)
    path = there.find_model(machine_type, suffixes)
    if path is None:
        raise UserError(f"{there.models}: no model for {machine_type}, which detector.initial "
                        f"names; train {experiment} first")  # fmt: skip
    (sha256,) = files.read_keys(record_of(path), "sha256")
    if files.file_hash(path) != sha256:
        raise UserError(f"{path}: not the model that {record_of(path).name} describes; train it "
                        "anew")  # fmt: skip
    for key, here in wanted.items():  # one by one: another kind of detector has no other key
        (part,) = files.read_keys(record_of(path), f"configuration.{key}")
        if different := _different(key, part, msgspec.to_builtins(here)):
            raise UserError(f"{path}: {different}; start from a model of the same make, or from "
                            "none")  # fmt: skip
    return path, sha256


def _different(key: str, there: Any, here: Any) -> str | None:
    """The first key in which two parts of configurations differ, and how."""
    if isinstance(there, dict) and isinstance(here, dict):
        parts = (_different(f"{key}.{name}", there.get(name), here.get(name))
                 for name in sorted(there.keys() | here.keys()))  # fmt: skip
        return next(filter(None, parts), None)
    here = list(here) if isinstance(here, tuple) else here
    return None if there == here else f"trained with {key} {there}, the configuration says {here}"
