"""The rules of a submission: what a session must hold to be submitted, and the tree's form."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from apps.submission import evaluation_set
from apps.submission.session import FILES, LEAST_SECONDS, LOOPS, MODES
from asd import config, files
from asd.evaluation import metrics
from common import UserError

REHEARSAL = "REHEARSAL"
DIVISIONS, STATUSES = ("closed", "open"), ("available", "preview", "rdi")
CLOSED_AUC = 0.85
LARGEST_BYTES = 500 * 2**20
MODEL_FOLDER = "ad"
# How the official checker finds the figures; the last match counts.
FIGURES = {
    "accuracy": r".* AUC\s?[:=] ([\d\.]+).*",
    "performance": r".* Median throughput is\s+([\d\.]+) inf\./sec\..*",
    "energy": r".*Median energy cost is ([\d\.]+) uJ/inf.*",
}
_FIELDS = (
    "Board Name", "Processor(s) Name", "Processor(s) Frequencies",
    "Processor memory type and capacity", "Accelerator", "Accelerator(s) Frequencies",
    "Accelerator memory type and capacity", "Hardware Notes", "Inference Framework",
    "Software Libraries", "Software Notes",
)  # fmt: skip


def figure(results: Path, mode: str) -> float | None:
    """The AUC, throughput or energy of a results.txt, as the official checker reads it."""
    found = None
    for line in results.read_text(encoding="utf-8", errors="replace").splitlines():
        if match := re.match(FIGURES[mode], line):
            found = match[1]
    try:
        return None if found is None else float(found)
    except ValueError:
        return None


def is_emulated(session: Path) -> bool:
    """Whether a session or a results folder says that its device was emulated."""
    facts = session / "session.json"
    if facts.exists() and files.read_mapping(facts).get("emulated"):
        return True
    texts = (session / name for name in FILES[:2] if (session / name).exists())
    read = (path.read_text(encoding="utf-8", errors="replace") for path in texts)
    return any("emulated" in text.lower() for text in read)


def check_session(session: Path, mode: str, rehearsal: bool) -> None:
    """See that a session can be submitted.

    Raises
    ------
    UserError : a file or figure is missing; it is of another mode, of a part of the list, too
        short, or emulated and no rehearsal; or its AUC is not that of its scores.
    """
    for name in FILES:
        if not (session / name).is_file():
            raise UserError(f"{session / name}: missing; name the folder of a finished session")
    if is_emulated(session) and not rehearsal:
        raise UserError(
            f"{session}: emulated, which is never a result; say rehearsal: true in the YAML"
        )
    if figure(session / "results.txt", mode) is None:
        raise UserError(f"{session / 'results.txt'}: holds no figure of {mode} mode")
    if mode == "energy":
        return
    path = session / "results.json"
    records = files.read_json(path)
    try:
        if any(record["mode"] != MODES[mode] for record in records if "infer" in record):
            raise UserError(f"{path}: not of {mode} mode")
        if mode == "accuracy":
            _check_accuracy(session, records)
        else:
            _check_performance(path, records)
    except (KeyError, TypeError, IndexError, ValueError) as error:
        raise UserError(f"{path}: damaged, or not of the official form ({error!r})") from error


def _check_accuracy(session: Path, records: list[dict[str, Any]]) -> None:
    """All windows of an official list are there, and results.txt has the AUC of their scores."""
    feature = config.load_config().feature
    path, counts = session / "results.json", Counter(record["file"] for record in records)
    lists = [evaluation_set.official(name, feature) for name in evaluation_set.COUNTS]
    entries = next((one for one in lists if {e.file for e in one} == set(counts)), None)
    if entries is None:
        raise UserError(f"{path}: {len(counts)} files, which are not those of an official list")
    first, end = feature.central_frames
    expected = end - first - feature.frames + 1
    if wrong := [file for file, count in counts.items() if count != expected]:
        raise UserError(f"{path}: {counts[wrong[0]]} windows of {wrong[0]}, not {expected}")
    scores: dict[str, list[float]] = {}
    for record in records:
        scores.setdefault(record["file"], []).append(float(record["infer"]["results"][0]))
    labels = np.array([one.label for one in entries])
    auc = metrics.auc(labels, np.array([np.mean(scores[one.file]) for one in entries]))
    said = figure(session / "results.txt", "accuracy")
    if abs(auc - said) > 0.001:
        raise UserError(f"{session}: results.txt says AUC {said}, the scores give {auc:.3f}")


def _check_performance(path: Path, records: list[dict[str, Any]]) -> None:
    """Five runs of ten seconds or more."""
    runs = [record["infer"] for record in records if "infer" in record]
    if len(runs) != LOOPS or len(records) != LOOPS:
        raise UserError(f"{path}: {len(runs)} runs or an error, not {LOOPS} runs")
    shortest = min(int(run["elapsed_time"]) for run in runs) / 1e6
    if shortest < LEAST_SECONDS:
        raise UserError(
            f"{path}: a run lasted {shortest:.1f} s, at least {LEAST_SECONDS:.0f} s are needed; "
            "raise --inferences"
        )


def check_tree(root: Path) -> tuple[list[str], list[str]]:
    """Problems and warnings of a tree, by the rules of the official checker and more."""
    problems, warnings = [], []
    if not root.is_dir():
        raise UserError(f"{root}: no such folder")
    places = [p for p in sorted(root.iterdir()) if p.is_dir() and p.name[0] != "."]
    problems += [f"{p.name}: not closed or open" for p in places if p.name not in DIVISIONS]
    homes = [h for p in places if p.name in DIVISIONS for h in sorted(p.iterdir()) if h.is_dir()]
    if not homes:
        problems.append("no closed/<organisation> or open/<organisation>")
    for home in homes:
        problems += [*_files(root, home), *_content(root, home)]
        for path in sorted(home.rglob("*")):
            if path.name[0] == "." or " " in path.name:
                warnings.append(f"{path.relative_to(root)}: begins with a dot or holds a space")
    return problems, warnings


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


def _content(root: Path, home: Path) -> Iterator[str]:
    """Systems, code and results of an organisation."""
    where = home.relative_to(root)
    code = home / "code" / MODEL_FOLDER
    if not code.is_dir() or not any(p.is_file() for i in code.iterdir() for p in i.rglob("*")):
        yield f"{where}/code/{MODEL_FOLDER}/<implementation>: missing or empty"
    results = home / "results"
    systems = sorted(p for p in results.iterdir() if p.is_dir()) if results.is_dir() else []
    if not systems:
        yield f"{where}/results/<system>: missing"
    for system in systems:
        description = home / "systems" / f"{system.name}.json"
        yield from _system(root, description)
        for model in (p for p in system.iterdir() if p.is_dir() and p.name != MODEL_FOLDER):
            yield f"{model.relative_to(root)}: the model folder is called {MODEL_FOLDER}"
        for mode in FIGURES:
            folder = system / MODEL_FOLDER / mode
            if folder.is_dir() or mode != "energy":
                yield from _results(root, folder, mode, home.parent.name == "closed")
            marked = (home / f"{REHEARSAL}.txt").exists() and REHEARSAL.lower() in system.name
            if folder.is_dir() and is_emulated(folder) and not marked:
                yield f"{folder.relative_to(root)}: emulated, and the tree is no rehearsal"


def _system(root: Path, path: Path) -> Iterator[str]:
    """The systems file."""
    where = path.relative_to(root)
    if not path.is_file():
        yield f"{where}: missing"
        return
    try:
        values = files.read_mapping(path)
    except UserError:
        yield f"{where}: not a JSON object"
        return
    status = str(values.get("Status")).lower()
    if status not in STATUSES:
        yield f"{where}: Status is {status}, not one of {', '.join(STATUSES)}"
    if "system_type" in values:
        yield f"{where}: holds system_type"
    if lacking := [field for field in _FIELDS if field not in values]:
        yield f"{where}: lacks {', '.join(lacking)}"


def _results(root: Path, folder: Path, mode: str, closed: bool) -> Iterator[str]:
    """The files and the figure of a mode."""
    where = folder.relative_to(root)
    if not folder.is_dir():
        yield f"{where}: missing"
        return
    names = {path.name for path in folder.iterdir()}
    if mode == "energy":
        names = {name for name in names if not re.fullmatch(r"energy_inf_\d+\.png", name)}
    for name in sorted(names ^ set(FILES)):
        yield f"{where}/{name}: {'missing' if name in FILES else 'does not belong there'}"
    if "results.txt" in names:
        value = figure(folder / "results.txt", mode)
        if value is None:
            yield f"{where}/results.txt: no figure of {mode} mode"
        elif mode == "accuracy" and closed and value < CLOSED_AUC:
            yield f"{where}/results.txt: AUC {value} is under {CLOSED_AUC}"
