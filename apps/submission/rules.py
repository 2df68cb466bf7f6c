"""The rules of a submission: what a session must hold to be submitted."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from apps.submission import evaluation_set
from apps.submission.session import FILES, LEAST_SECONDS, LOOPS, MODES
from asd import config, files
from asd.evaluation import metrics
from common import UserError

REHEARSAL = "REHEARSAL"
# How the official checker finds the figures; the last match counts.
FIGURES = {
    "accuracy": r".* AUC\s?[:=] ([\d\.]+).*",
    "performance": r".* Median throughput is\s+([\d\.]+) inf\./sec\..*",
    "energy": r".*Median energy cost is ([\d\.]+) uJ/inf.*",
}


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


def has_runs(results: Path) -> bool:
    """Whether a results.txt holds the throughput of a run at least."""
    text = results.read_text(encoding="utf-8", errors="replace")
    return bool(re.search(r"Throughput\s*: +[\d.]+ inf\./sec\.", text))


def is_emulated(session: Path) -> bool:
    """Whether a session or a results folder says that its device was emulated."""
    facts = session / "session.json"
    if facts.exists() and files.read_mapping(facts).get("emulated"):
        return True
    texts = (path for path in session.glob("*.txt") if path.is_file())
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
