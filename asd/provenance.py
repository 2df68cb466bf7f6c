"""What a model was made of: written beside it when it is trained, read before it is kept."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from asd import files
from asd.backends.centres import Centres
from asd.config import Config
from asd.detectors.detector import Detector, Fitted
from asd.features.segments import Segments
from asd.paths import Paths, record_of
from asd.store import Store
from asd.tflite import reader
from asd.tflite.convert import VARIANTS, Variant
from asd.versions import versions
from common import UserError

AGAIN = "run 02_convert.py"


def _plain(values: Any) -> Any:
    """Values as they will be read back."""
    return msgspec.json.decode(msgspec.json.encode(values))


def of_training(
    detector: Detector,
    cfg: Config,
    store: Store,
    model: Path,
    fitted: Fitted,
    seconds: float,
    normal_scores: str | None,
) -> dict[str, Any]:
    """The record of a trained model: `model_<type>.json`.

    Parameters
    ----------
    model : its file, of the name that it will have
    normal_scores : SHA-256 of the file of the training clips' scores; None where there is none
    """
    configuration = _plain(detector.made_of)
    last = fitted.history[-1] if fitted.history else None
    return {
        "model": model.name,
        "sha256": files.file_hash(model),
        "configuration": configuration,
        "configuration_hash": files.fingerprint(configuration),
        "clips": {
            "count": len(store),
            "trained": fitted.trained,
            "validated": len(store) - fitted.trained - fitted.left_out,
            "fingerprint": store.fingerprint,
        },
        "seed": cfg.seed,
        "versions": versions(),
        "loss": last and last.loss,
        "val_loss": last and last.val_loss,
        "seconds": round(seconds, 1),
        **of_normal_scores(cfg, normal_scores),
    }


def of_normal_scores(cfg: Config, sha256: str | None) -> dict[str, Any]:
    """The part of a record that tells of the training clips' scores, and what scored them.

    The detector's section is all of it that a changed back end changes, which trains nothing.
    """
    scored_by = {"kind": cfg.detector.kind, **_plain(cfg.detector.values)}
    return {"normal_scores": sha256, "scored_by": scored_by}


def is_trained(
    detector: Detector, paths: Paths, store: Store, machine_type: str, overwrite: bool
) -> bool:
    """Whether the model of this configuration and these clips is there already.

    Raises
    ------
    UserError : a model is there, but of something else, and `overwrite` is False; or a
        published one that the trained one would stand beside.
    """
    path = paths.model(machine_type, detector.suffixes[0])
    found = paths.find_model(machine_type, detector.suffixes)
    if found not in (None, path):
        raise UserError(
            f"{found}: a published model is in the place of {path.name}; move it away to train, "
            "or run 01_test.py to score with it"
        )
    if other := _of_another_kind(paths, path):
        raise UserError(
            f"{other}: a model of another kind is in this folder; give one of the two an "
            "experiment of its own in the YAML"
        )
    if found is None or overwrite:
        return False
    if difference := _difference(detector, store, path):
        raise UserError(f"{path}: {difference}; --overwrite trains anew")
    return True


def _of_another_kind(paths: Paths, path: Path) -> Path | None:
    """The model that the record beside `path` describes, if it is there and another."""
    record = record_of(path)
    if record.exists():
        (name,) = files.read_keys(record, "model")
        if name != path.name and (paths.models / str(name)).is_file():
            return paths.models / str(name)
    return None


def _difference(detector: Detector, store: Store, path: Path) -> str | None:
    """In what the model at `path` is not the one that would be trained."""
    record = record_of(path)
    if not record.exists():
        return f"what it was trained on is unknown ({record.name} is missing)"
    sha256, configuration, count, fingerprint = files.read_keys(
        record, "sha256", "configuration", "clips.count", "clips.fingerprint"
    )
    if files.file_hash(path) != sha256:
        return f"not the model that {record.name} describes"
    if changed := _changed(configuration, _plain(detector.made_of)):
        return changed
    if fingerprint != store.fingerprint:
        return f"trained on other clips ({count}, now {len(store)})"
    return None


def check_model(detector: Detector, path: Path) -> None:
    """See that a model of ours is whole, with the features and the make of the configuration.

    How long it was trained and on which clips may differ. Nothing is known of a published model,
    and nothing is checked.

    Raises
    ------
    UserError : it is not what its record describes, or was trained with others; the first key
        that differs is named.
    """
    record = record_of(path)
    if path.name.endswith(detector.suffixes[0]) and record.exists():
        keys = "configuration", "configuration.feature", "sha256"
        there, _, sha256 = files.read_keys(record, *keys)
        if files.file_hash(path) != sha256:
            raise UserError(f"{path}: not the model that {record.name} describes; train it anew: "
                            "00_train.py with --overwrite")  # fmt: skip
        here = _plain(detector.made_of)
        for part in ("feature", "detector"):
            known = part in there  # older records tell no detector
            if known and (changed := _changed({part: there[part]}, {part: here[part]})):
                raise UserError(f"{path}: {changed}; use the configuration it was trained with")


def _changed(there: Any, here: dict[str, Any]) -> str | None:
    """The first key in which two configurations differ."""
    before, now = dict(_leaves(there)), dict(_leaves(here))
    for key in sorted(before.keys() | now.keys()):
        if key not in before:
            return f"its record does not tell {key}, which the configuration says is {now[key]}"
        if before[key] != now.get(key):
            return f"trained with {key} {before[key]}, the configuration says {now.get(key)}"
    return None


def _leaves(values: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items() if isinstance(values, dict) else ():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def of_conversion(
    cfg: Config,
    source: dict[str, str],
    variant: Variant,
    content: bytes,
    calibration: dict[str, Any] | None,
) -> dict[str, Any]:
    """The record of a TFLite file: `model_<type><suffix>.tflite.json`.

    Parameters
    ----------
    source : name and SHA-256 of the model that was converted
    calibration : of `of_calibration`; None without calibration clips
    """
    return {
        "variant": variant.suffix,
        "title": variant.title,
        "source": source,
        "sha256": hashlib.sha256(content).hexdigest(),
        **reader.describe(content),
        "conversion": msgspec.to_builtins(cfg.convert),
        "calibration": calibration if variant.calibrated else None,
        "versions": versions(),
    }


def of_calibration(
    cfg: Config, store: Store | Segments, chosen: Sequence[int], n_windows: int
) -> dict[str, Any]:
    """What int8 activations were calibrated on: windows, clips and what stands for them."""
    all_clips, identities = store.clips, store.identities
    clips = [[all_clips[i].name, identities[i]] for i in chosen]
    return {
        "windows": n_windows,
        "clips": len(clips),
        "list": cfg.convert.calibration_list,
        "fingerprint": files.fingerprint(clips),
        "seed": cfg.seed,
    }


def of_centres(
    cfg: Config, source: dict[str, str], centres: Centres, sha256: str
) -> dict[str, Any]:
    """The record of a machine type's centres: `model_<type>_centres.json`.

    Parameters
    ----------
    source : name and SHA-256 of the model whose training clips they stand for
    sha256 : of their file
    """
    return {
        "source": source,
        "sha256": sha256,
        "count": len(centres.vectors),
        "bytes": centres.bytes,
        "conversion": {"centres": cfg.convert.centres, "centre_type": cfg.convert.centre_type},
        "versions": versions(),
    }


def check_centres(path: Path, model: Path) -> None:
    """See that centres were made by 02_convert.py from the model that is there now.

    Raises
    ------
    UserError : the file or its record is missing, or either is of something else.
    """
    _check_made(path, model)


def remove_stale(paths: Paths, machine_type: str, source: dict[str, str]) -> None:
    """Remove calibrated files of another model, which cannot be made anew without clips."""
    for variant in VARIANTS:
        path = paths.tflite(machine_type, variant.suffix)
        record = record_of(path)
        if variant.calibrated and path.exists() and record.exists():
            (sha256,) = files.read_keys(record, "source.sha256")
            if sha256 != source["sha256"]:
                path.unlink()
                print(f"{path}: removed, it was made from another model")


def check_conversion(path: Path, model: Path) -> dict[str, Any]:
    """See that a TFLite file was made by 02_convert.py from the model that is there now.

    Returns
    -------
    the settings of its conversion: reference_fold, dense_weights, ...

    Raises
    ------
    UserError : the file or its record is missing, or either is of something else.
    """
    record = _check_made(path, model)
    conversion, weights, _ = files.read_keys(
        record, "conversion", "conversion.dense_weights", "conversion.reference_fold"
    )
    if weights not in ("per_channel", "per_tensor"):
        raise UserError(f"{record}: damaged, no such dense_weights; {AGAIN}")
    return conversion


def _check_made(path: Path, model: Path) -> Path:
    """The record of a file that was made of the model; see `check_conversion`."""
    record = record_of(path)
    for needed in (path, record):
        if not needed.is_file():
            raise UserError(f"{needed}: no such file; {AGAIN}")
    sha256, source = files.read_keys(record, "sha256", "source.sha256")
    if sha256 != files.file_hash(path):
        raise UserError(f"{path}: damaged, or not the file {record.name} describes; {AGAIN}")
    if source != files.file_hash(model):
        raise UserError(f"{path}: made from another model than {model}; {AGAIN}")
    return record
