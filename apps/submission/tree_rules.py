"""The form of a tree, by the rules of the official checker and more; of its benchmarks `ad` alone.

No tree that a round from v1.0 to v1.3 accepted is broken by them: what such trees have in place of
the form of today is a warning, and what is not looked at is named.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from apps.submission import rules
from apps.submission.rules import FIGURES, REHEARSAL
from apps.submission.session import FILES
from asd import files
from common import UserError

DIVISIONS, STATUSES = ("closed", "open"), ("available", "preview", "rdi")
CLOSED_AUC = 0.85
LARGEST_BYTES = 500 * 2**20
MODEL_FOLDER = "ad"
_OURS = (MODEL_FOLDER, "anomaly_detection")  # the second in v1.0
_OTHERS = ("ic", "ic2", "kws", "vww", "sww", "image_classification", "keyword_spotting",
           "visual_wake_words", "streaming_wakeword_detection")  # fmt: skip
_FIELDS = (
    "Board Name", "Processor(s) Name", "Processor(s) Frequencies", "Accelerator",
    "Accelerator(s) Frequencies", "Accelerator memory type and capacity", "Software Libraries",
    "Software Notes",
)  # fmt: skip
# Asked for as well, though systems were accepted without them.
_WANTED = ("Processor memory type and capacity", "Hardware Notes", "Inference Framework")
# What the runner before v1.3 wrote and what the official checker passes over, besides FILES.
_ALSO = {
    "accuracy": r"script\.async|mlperf_log_trace\.json",
    "performance": r"script\.async|mlperf_log_trace\.json",
    "energy": r"script\.async|mlperf_log_trace\.json|energy_inf_\d+\.png"
    r"|trace\d+-(energy\.bin|timestamps\.json)",
}
# The heads of what asd.embedded.codegen writes.
_GENERATED = rb"/\*.{0,400}?\bTFLite file\b.{0,40}?SHA-256\s+(?:\* )?([0-9a-f]{64})\b"
_HEAD_BYTES = 1000


@dataclass
class Findings:
    """What was found in a tree, a line each.

    Attributes
    ----------
    problems : rules that are broken
    warnings : what only earlier rounds have, or what is better otherwise
    unchecked : what was not looked at, or could not be
    systems : results of `ad` that were looked at
    """

    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    unchecked: list[str] = field(default_factory=list)
    systems: int = 0


def check_tree(root: Path) -> Findings:
    """Look at every organisation in a tree.

    Raises
    ------
    UserError : there is no such folder.
    """
    if not root.is_dir():
        raise UserError(f"{root}: no such folder")
    found = Findings()
    places = [p for p in _folders(root) if p.name != "assets"]
    found.problems += [f"{p.name}: not closed or open" for p in places if p.name not in DIVISIONS]
    homes = [home for p in places if p.name in DIVISIONS for home in _folders(p)]
    if not homes:
        found.problems.append("no closed/<organisation> or open/<organisation>")
    for home in homes:
        found.problems += _files(root, home)
        _code(root, home, found)
        _results(root, home, found)
        odd = sorted(p for p in home.rglob("*") if p.name[0] == "." or " " in p.name)
        if odd:
            more = f"; so do {len(odd) - 1} more" if len(odd) > 1 else ""
            found.warnings.append(
                f"{odd[0].relative_to(root)}: its name begins with a dot or holds a space{more}"
            )
    return found


def _folders(place: Path) -> list[Path]:
    if not place.is_dir():
        return []
    return sorted(p for p in place.iterdir() if p.is_dir() and p.name[0] != ".")


def _files(root: Path, home: Path) -> Iterator[str]:
    """What is rejected anywhere in the tree."""
    for folder, folders, names in os.walk(home):
        if not folders and not names:
            yield f"{Path(folder).relative_to(root)}: an empty folder"
        for path in (Path(folder) / name for name in (*folders, *names)):
            where = path.relative_to(root)
            if path.is_symlink():
                yield f"{where}: a symbolic link"
            elif path.is_dir() and path.name.endswith("__pycache__"):
                yield f"{where}: not to be submitted"
            elif path.is_file() and path.stat().st_size > LARGEST_BYTES:
                yield f"{where}: larger than 500 MB"


def _code(root: Path, home: Path, found: Findings) -> None:
    """Code is there, and where it is generated, it is that of the model of the tree."""
    where = f"{home.relative_to(root)}/code/{MODEL_FOLDER}/<implementation>"
    if not any(path.is_file() for path in (home / "code").rglob("*")):
        found.problems.append(f"{where}: missing or empty")
        return
    implementations = _folders(home / "code" / MODEL_FOLDER)
    if not implementations:
        found.unchecked.append(f"{where}: missing; where else in code/ the code of ad is")
    for folder in implementations:
        _model(root, folder, found)


def _model(root: Path, folder: Path, found: Findings) -> None:
    """The code of an implementation holds the model of its quantisation.json, or of a TFLite file.

    Only code that asd.embedded.codegen wrote says which model it holds.
    """
    where = folder.relative_to(root)
    said = {path: sha256 for path in sorted(folder.rglob("*.[ch]")) if (sha256 := _said(path))}
    if not said:
        found.unchecked.append(f"{where}: which model the code holds, as no file of it says that")
        return
    record = folder / "quantisation.json"
    if record.is_file():
        (model,) = files.read_keys(record, "sha256")
        models = {str(model)}
    else:
        models = {files.file_hash(path) for path in folder.rglob("*.tflite") if path.is_file()}
    if not models:
        found.unchecked.append(
            f"{where}: the model of the code, as there is no quantisation.json and no TFLite file"
        )
        return
    for path, sha256 in said.items():
        if sha256 not in models:
            found.problems.append(
                f"{path.relative_to(root)}: generated from another model, {sha256[:12]}..., than "
                f"the tree's, {min(models)[:12]}...; run python -m asd.embedded.codegen again"
            )


def _said(path: Path) -> str | None:
    """SHA-256 of the TFLite file that a generated file names in its head."""
    if path.is_symlink() or not path.is_file():
        return None
    with path.open("rb") as file:
        match = re.match(_GENERATED, file.read(_HEAD_BYTES), re.DOTALL)
    return match[1].decode() if match else None


def _results(root: Path, home: Path, found: Findings) -> None:
    """The systems with results of `ad`."""
    systems = list(_systems(home / "results"))
    if not systems:
        found.problems.append(f"{home.relative_to(root)}/results/<system>: missing")
    for system in systems:
        where, others = system.relative_to(root), []
        for model in _folders(system):
            if model.name in _OURS:
                found.systems += 1
                if model.name != MODEL_FOLDER:
                    found.warnings.append(f"{where}/{model.name}: called {MODEL_FOLDER} since v1.1")
                _description(root, home, system.name, found)
                _modes(root, home, model, found)
            elif model.name in _OTHERS or home.parent.name == "open":
                others.append(model.name)
            else:
                text = f"{where}/{model.name}: the model folder is called {MODEL_FOLDER}"
                found.problems.append(text)
        if others:
            found.unchecked.append(f"{where}: {', '.join(others)}")


def _systems(results: Path) -> Iterator[Path]:
    """Folders of systems; in v1.0 some are in a folder an implementation."""
    for folder in _folders(results):
        inner = [one for one in _folders(folder)
                 if any(model.name in (*_OURS, *_OTHERS) for model in _folders(one))]  # fmt: skip
        yield from inner or [folder]


def _description(root: Path, home: Path, system: str, found: Findings) -> None:
    """The systems file."""
    path = home / "systems" / f"{system}.json"
    where = path.relative_to(root)
    if not path.is_file():
        others = [p for p in (home / "systems").rglob("*.json") if p.name[0] != "."]
        if others:
            found.unchecked.append(f"{where}: missing; the descriptions of other names")
        else:
            found.problems.append(f"{where}: missing")
        return
    try:
        values = files.read_mapping(path)
    except UserError:
        found.problems.append(f"{where}: not a JSON object")
        return
    status = str(values.get("Status")).lower()
    if status not in STATUSES:
        found.problems.append(f"{where}: Status is {status}, not one of {', '.join(STATUSES)}")
    if "system_type" in values:
        found.problems.append(f"{where}: holds system_type")
    for fields, lines in ((_FIELDS, found.problems), (_WANTED, found.warnings)):
        if lacking := [name for name in fields if name not in values]:
            lines.append(f"{where}: lacks {', '.join(lacking)}")


def _modes(root: Path, home: Path, model: Path, found: Findings) -> None:
    """The results of a system, a folder a mode."""
    marked = (home / f"{REHEARSAL}.txt").exists() and REHEARSAL.lower() in model.parent.name
    for mode in FIGURES:
        folder = model / mode
        where = folder.relative_to(root)
        if not folder.is_dir():
            if mode != "energy":
                found.problems.append(f"{where}: missing")
            continue
        _mode(where, folder, home.parent.name == "closed", found)
        if rules.is_emulated(folder) and not marked:
            found.problems.append(f"{where}: emulated, and the tree is no rehearsal")


def _mode(where: Path, folder: Path, closed: bool, found: Findings) -> None:
    """The files and the figure of a mode; in v1.0 some names begin with the mode's."""
    mode, prefix = folder.name, f"{folder.name}_"
    paths = {path.name: path for path in sorted(folder.iterdir()) if path.name[0] != "."}
    if begun := [name for name in (*FILES, "script.async") if f"{prefix}{name}" in paths]:
        paths |= {name: paths.pop(f"{prefix}{name}") for name in begun}
        found.warnings.append(f"{where}: names that begin with {prefix}, as in v1.0")
    for name in sorted(set(FILES) - set(paths)):
        if name == "results.json":
            found.warnings.append(f"{where}/{name}: missing, as in rounds before v1.3")
        else:
            found.problems.append(f"{where}/{name}: missing")
    for name in sorted(set(paths) - set(FILES)):
        if not re.fullmatch(_ALSO[mode], name):
            found.problems.append(f"{where}/{name}: does not belong there")
    if "results.txt" not in paths:
        return
    value = rules.figure(paths["results.txt"], mode)
    if value is None and mode == "performance" and rules.has_runs(paths["results.txt"]):
        found.warnings.append(f"{where}/results.txt: runs without a median of them")
    elif value is None:
        found.problems.append(f"{where}/results.txt: no figure of {mode} mode")
    elif mode == "accuracy" and closed and value < CLOSED_AUC:
        found.problems.append(f"{where}/results.txt: AUC {value} is under {CLOSED_AUC}")
