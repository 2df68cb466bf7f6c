"""What a model was made of: written beside it when it is trained, read before it is kept."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

import common
import keras_model
from asd import tflite
from asd.frames import FrameStore
from asd.training import History, split_clips
from common import Config, UserError

LIBRARIES = ("tensorflow", "keras", "ai-edge-litert", "numpy", "soundfile")


def versions() -> dict[str, str]:
    """Versions of this project, Python and the libraries that shape the numbers."""
    import importlib.metadata
    import platform

    installed = {name: importlib.metadata.version(name) for name in LIBRARIES}
    return {"asd": common.__version__, "python": platform.python_version()} | installed


def training_configuration(cfg: Config) -> dict[str, Any]:
    """The part of the configuration that a model depends on, as plain values."""
    sections = {"feature": cfg.feature, "fit": cfg.fit, "seed": cfg.seed}
    values = msgspec.json.decode(msgspec.json.encode(sections))  # as it will be read back
    del values["fit"]["verbose"]
    return values


def of_training(
    cfg: Config, store: FrameStore, model: Path, history: History, seconds: float
) -> dict[str, Any]:
    """The record of a trained model: `model_<type>.json`."""
    configuration = training_configuration(cfg)
    n_train = split_clips(len(store), cfg.fit.validation_split)
    return {
        "model": model.name,
        "sha256": common.file_hash(model),
        "configuration": configuration,
        "configuration_hash": common.config_hash(configuration),
        "clips": {
            "count": len(store),
            "trained": n_train,
            "validated": len(store) - n_train,
            "fingerprint": store.fingerprint,
        },
        "seed": cfg.seed,
        "versions": versions(),
        "loss": history[-1][1],
        "val_loss": history[-1][2],
        "seconds": round(seconds, 1),
    }


def is_trained(cfg: Config, store: FrameStore, machine_type: str, overwrite: bool) -> bool:
    """Whether the model of this configuration and these clips is there already.

    Raises
    ------
    UserError : a model is there, but of something else, and `overwrite` is False; or a
        published one that the trained one would stand beside.
    """
    path = cfg.models / f"model_{machine_type}.keras"
    found = keras_model.find(cfg.models, machine_type)
    if found not in (None, path):
        raise UserError(
            f"{found}: a published model is in the place of {path.name}; move it away to train, "
            "or run 01_test.py to score with it"
        )
    if found is None or overwrite:
        return False
    difference = _difference(cfg, store, path)
    if difference:
        raise UserError(f"{path}: {difference}; --overwrite trains anew")
    return True


def _difference(cfg: Config, store: FrameStore, path: Path) -> str | None:
    """In what the model at `path` is not the one that would be trained."""
    record_path = path.with_suffix(".json")
    if not record_path.exists():
        return f"what it was trained on is unknown ({record_path.name} is missing)"
    sha256, configuration, count, fingerprint = common.read_keys(
        record_path, "sha256", "configuration", "clips.count", "clips.fingerprint"
    )
    if common.file_hash(path) != sha256:
        return f"not the model that {record_path.name} describes"
    if changed := _changed(configuration, training_configuration(cfg)):
        return changed
    if fingerprint != store.fingerprint:
        return f"trained on other clips ({count}, now {len(store)})"
    return None


def check_features(cfg: Config, path: Path) -> None:
    """See that a model of ours was trained on the features of the configuration.

    Nothing is known of a published model, and nothing is checked.

    Raises
    ------
    UserError : it was trained on others; the first key that differs is named.
    """
    record_path = path.with_suffix(".json")
    if path.suffix == ".keras" and record_path.exists():
        (feature,) = common.read_keys(record_path, "configuration.feature")
        if changed := _changed({"feature": feature}, training_configuration(cfg), "feature."):
            raise UserError(f"{path}: {changed}; use the configuration that it was trained with")


def _changed(there: Any, here: dict[str, Any], prefix: str = "") -> str | None:
    """The first key, of those that begin so, in which two configurations differ."""
    before, now = dict(_leaves(there)), dict(_leaves(here))
    for key in sorted(before.keys() | now.keys()):
        if key.startswith(prefix) and before.get(key) != now.get(key):
            return f"trained with {key} {before.get(key)}, the configuration says {now.get(key)}"
    return None


def _leaves(values: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items() if isinstance(values, dict) else ():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def of_conversion(
    cfg: Config,
    store: FrameStore,
    model: Path,
    variant: tflite.Variant,
    content: bytes,
    n_windows: int,
) -> dict[str, Any]:
    """The record of a TFLite file: `model_<type><suffix>.tflite.json`."""
    calibration = {
        "windows": n_windows,
        "clips": len(store),
        "fingerprint": store.fingerprint,
        "seed": cfg.seed,
    }
    return {
        "variant": variant.suffix,
        "title": variant.title,
        "source": {"model": model.name, "sha256": common.file_hash(model)},
        "sha256": hashlib.sha256(content).hexdigest(),
        **tflite.describe(content),
        "conversion": msgspec.to_builtins(cfg.convert),
        "calibration": calibration if variant.calibrated else None,
        "versions": versions(),
    }
