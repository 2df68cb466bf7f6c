"""The official evaluator's ground truth, and the files of systems that are judged by it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from asd import files, messages
from asd.evaluation import submission
from asd.evaluation.evaluator import DOMAINS, Section
from common import UserError

_NAME = re.compile(r"ground_truth_(.+)_section_([0-9]{2})_test\.csv")


class Truth(NamedTuple):
    """What the clips of a section are."""

    machine_type: str
    section: str  # "00"
    names: tuple[str, ...]  # anonymous, sorted
    labels: np.ndarray  # (n_clips,) int64, 0 normal, 1 anomalous
    domains: np.ndarray  # (n_clips,) "source" or "target"
    full_names: dict[str, str]  # with ".wav", of the anonymous clips they stand for


def read(folder: Path) -> list[Truth]:
    """The sections of an evaluator's folders ground_truth_data, _domain and _attributes.

    Raises
    ------
    UserError : there is none, a file is damaged, or the three are of other clips.
    """
    truths = []
    for path in sorted((folder / "ground_truth_data").glob("*.csv"), key=lambda one: one.name):
        if match := _NAME.fullmatch(path.name):
            truths.append(_section(folder, path, *match.groups()))
    if not truths:
        raise UserError(f"{folder}: no ground_truth_data/ground_truth_<machine>_section_<id>_test"
                        ".csv in it; name the evaluator's folder")  # fmt: skip
    return truths


def _section(folder: Path, path: Path, machine_type: str, section: str) -> Truth:
    labels = submission.read_decisions(path)
    domain_path = folder / "ground_truth_domain" / path.name
    domains = submission.read_decisions(domain_path)
    if set(domains) != set(labels):
        raise UserError(f"{domain_path}: of other clips than {path}; fetch both anew")
    names = tuple(sorted(labels))
    full = folder / "ground_truth_attributes" / path.name
    return Truth(machine_type, section, names, np.array([int(labels[n]) for n in names]),
                 np.array([DOMAINS[int(domains[n])] for n in names]),
                 _full_names(full, set(names)) if full.exists() else {})  # fmt: skip


def _full_names(path: Path, names: set[str]) -> dict[str, str]:
    full = {}
    for number, row in enumerate(files.read_csv(path), 1):
        if number == 1 and row[:1] == ["file_name"]:  # the header of attributes_00.csv, in 2022
            continue
        name = row[0].split("/")[-1] if row else ""
        if len(row) < 2 or name not in names:
            raise UserError(f"{path}: line {number}: not a clip of ground_truth_data and its full "
                            "name; fetch it anew")  # fmt: skip
        full[row[-1].removesuffix(".wav") + ".wav"] = name
    return full


def read_system(folder: Path, truths: Sequence[Truth]) -> list[Section]:
    """What a system says of the clips, in files as submitted or as the baseline writes them.

    Matched by name, those with labels and attributes too; their order does not matter.

    Raises
    ------
    UserError : a file is missing or damaged, a clip is missing or unknown.
    """
    sections = []
    for truth in truths:
        scores, decisions = (_values(folder, kind, truth)
                             for kind in (submission.SCORE, submission.DECISION))  # fmt: skip
        sections.append(Section(truth.machine_type, truth.section, truth.labels, truth.domains,
                                scores, decisions.astype(np.int64)))  # fmt: skip
    return sections


def _values(folder: Path, kind: str, truth: Truth) -> np.ndarray:
    path = _find(folder, kind, truth)
    is_score = kind == submission.SCORE
    given = submission.read(path) if is_score else submission.read_decisions(path)
    values = {truth.full_names.get(name, name): value for name, value in given.items()}
    if unknown := set(values) - set(truth.names):
        name = messages.plain(min(unknown))
        raise UserError(f"{path}: {name} is no clip of the ground truth; remove it")
    if missing := set(truth.names) - set(values):
        raise UserError(f"{path}: lacks {min(missing)}; score every clip")
    if len(values) != len(given):
        raise UserError(f"{path}: a clip stands twice, with and without its label; leave one out")
    return np.array([values[name] for name in truth.names])


def _find(folder: Path, kind: str, truth: Truth) -> Path:
    name = f"{truth.machine_type}_section_{truth.section}_test"
    plain = folder / f"{kind}_{name}.csv"
    if plain.exists():
        return plain
    found = sorted(folder.glob(f"{kind}_DCASE[0-9][0-9][0-9][0-9]T2{name}_seed*_Eval.csv"))
    if len(found) != 1:
        others = f"{len(found)} of several seeds" if found else "no"
        raise UserError(f"{plain}: not there, and {others} {kind}_DCASE...T2{name}_seed..._Eval"
                        ".csv either; keep one")  # fmt: skip
    return found[0]
