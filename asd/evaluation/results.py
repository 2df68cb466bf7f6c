"""Result folders, read again: the anomaly scores of one run, and its figures by machine type."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from asd.config import EVAL
from asd.corpora import names
from asd.corpora.labels import Truth, Truths
from asd.evaluation import official, submission
from asd.evaluation.official import Figure
from asd.evaluation.years import Year
from asd.messages import plain
from common import UserError

# As 01_test.py writes them, as they are submitted, and as the official baseline writes them.
_FILE = re.compile(
    r"anomaly_score_(?:DCASE\d{4}T2)?(?P<machine>.+?)_(?:id|section)_(?P<section>\d+)"
    r"(?:_(?:source|target))?(?:_test)?(?:_seed\d+.*)?\.csv"
)
_SEED = re.compile(r"(?P<experiment>.*?)[-_.]?seed[-_]?(?P<seed>\d+)", re.IGNORECASE)


class Run(NamedTuple):
    """The figures of one training with one seed."""

    experiment: str
    seed: str  # "" where the folder's name says none
    folder: Path
    machines: dict[str, dict[str, Figure]]  # by machine type, the figures of `official.evaluate`


class _Scored(NamedTuple):
    sections: list[int]
    domains: list[str]
    labels: list[int]
    scores: list[float]


def name_of(folder: Path) -> tuple[str, str]:
    """The experiment and the seed that a folder's name tells: `scac_seed3`, `scac/seed3`."""
    parts = [part for part in folder.resolve().parts if part != EVAL] or ["result"]
    match = _SEED.fullmatch(parts[-1])
    if not match:
        return parts[-1], ""
    return match["experiment"] or parts[-2], match["seed"]


def read(folder: Path, year: Year, mode: str, truths: Truths | None = None) -> Run:
    """The figures of a result folder's scores.

    Label and domain are in the clips' names, or in what is published of them.

    Parameters
    ----------
    mode : "dev" or "eval", whose machine types and sections count
    truths : of clips without labels in their names, see `labels.read`

    Raises
    ------
    UserError : there are no scores of the year's machine types; a file is damaged; a clip's name
        tells no label, or in a year with domains no domain, and neither does what is published.
    """
    known: dict[str, dict[str, Truth]] = {}
    for (machine, name), one_truth in (truths or {}).items():
        known.setdefault(machine, {})[name] = one_truth
    scored: dict[str, _Scored] = {}
    for path in sorted(folder.glob("anomaly_score_*.csv")):
        match = _FILE.fullmatch(path.name)
        machine, section = (match["machine"], int(match["section"])) if match else ("", 0)
        if machine in year.machines(mode) and section in _sections(year, machine, mode):
            one = scored.setdefault(machine, _Scored([], [], [], []))
            _append(one, path, year, section, known.get(machine, {}))
    if not scored:
        raise UserError(f"{folder}: no scores of the {mode} machine types of {year.year} "
                        "(anomaly_score_<machine>_id_<section>.csv); run 01_test.py")  # fmt: skip
    figures = {}
    for machine, one in scored.items():
        try:
            figures[machine] = official.evaluate(year, machine, *map(np.array, one))
        except ValueError as error:
            raise UserError(f"{folder}: {machine}: {error}; score it anew") from error
    return Run(*name_of(folder), folder, figures)


def _sections(year: Year, machine_type: str, mode: str) -> tuple[int, ...]:
    return year.parts(machine_type)[year.part(mode)]


def _append(
    scored: _Scored, path: Path, year: Year, section: int, told: Mapping[str, Truth]
) -> None:
    for name, score in submission.read(path).items():
        label, domain = _said(path, name, year, section, told.get(name))
        scored.labels.append(label)
        scored.domains.append(domain)
        scored.sections.append(section)
        scored.scores.append(score)


def _said(path: Path, name: str, year: Year, section: int, truth: Truth | None) -> tuple[int, str]:
    """Label and domain of a clip: what is published of it, else what its name says."""
    remedy = "name the list of the year or the official evaluator's folder with --truth"
    try:
        said = names.parse(name)
    except ValueError as error:
        raise UserError(f"{path}: {plain(name)}: the name {error}; {remedy}") from error
    if int(said.section) != section:
        raise UserError(f"{path}: {plain(name)} is of section {said.section}; score it anew, "
                        "each section in a file of its own")  # fmt: skip
    label = truth.label if truth else said.label
    domain = (truth and truth.domain) or said.domain
    lacking = [label is None and "label", year.has_domains and not domain and "domain"]
    if any(lacking):
        told = " and no ".join(filter(None, lacking))
        raise UserError(f"{path}: {plain(name)}: tells no {told}; {remedy}")
    return label, domain or ""
