"""The result files of DCASE Task 2's evaluators and baseline, byte for byte in their layouts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from asd import files
from asd.evaluation.decisions import LEAST, NAMES
from asd.evaluation.evaluator import DOMAINS, Result, Section, confidence
from asd.evaluation.official import Figure, mean

# In the evaluators' means a section's pAUC counts once for each domain, which only their last
# digits show.

Rows = list[Sequence[Any]]

_DECIDED = [f"{name} ({domain})" for name in NAMES for domain in DOMAINS]
EVALUATOR_COLUMNS = ["AUC (all)", "AUC (source)", "AUC (target)", "pAUC", *_DECIDED]
BASELINE_COLUMNS = ["AUC (source)", "AUC (target)", "pAUC", "pAUC (source)", "pAUC (target)",
                    *_DECIDED]  # fmt: skip
BRIEF_COLUMNS = ["pAUC", "pAUC (source)", "pAUC (target)", "AUC (source)", "AUC (target)"]
SINGLE_DOMAIN_COLUMNS = ["AUC", "pAUC", *NAMES]
OFFICIAL = ("AUC (source)", "AUC (target)", "pAUC")
MEANS = (  # of a machine type or of all: name, harmonic, domains
    ("arithmetic mean", False, DOMAINS),
    ("harmonic mean", True, DOMAINS),
    ("source harmonic mean", True, ("source",)),
    ("target harmonic mean", True, ("target",)),
)


def _means(result: Result, suffix: str, machine_type: str | None = None) -> Rows:
    rows: Rows = [["", "", "AUC", "pAUC", *NAMES]]
    for name, harmonic, domains in MEANS:
        groups = [[f"{one} ({domain})" for domain in domains] for one in ("AUC", *NAMES)]
        groups.insert(1, ["pAUC"] * len(domains))
        row = [result.over(group, harmonic, machine_type).cell for group in groups]
        rows.append([name + suffix, "", *row])
    return rows


def system_rows(result: Result, published: bool = False) -> Rows:
    """`<system>_result.csv`: each machine type's figures and means, and those over all.

    Parameters
    ----------
    published : with the official evaluators' half width, which is too narrow; see
        `evaluator.jackknife`
    """
    rows: Rows = []
    for machine_type in result.machine_types:
        rows += [[machine_type], ["section", *EVALUATOR_COLUMNS]]
        for (machine, section), found in result.sections.items():
            if machine == machine_type:
                rows.append([section, *(found[name].cell for name in EVALUATOR_COLUMNS)])
        rows += [*_means(result, "", machine_type), []]
    over = " over all machine types, sections, and domains"
    rows += [*_means(result, over), []]
    rows.append(["official score", "", result.official.cell])
    rows.append(["official score ci95", "", confidence(result, published).cell])
    return [*rows, []]


def _table(results: Sequence[Result], order: Sequence[str], kind: str, cells: Any) -> Rows:
    """Four figures of each system, then one for each machine type and domain."""
    header = ["", "official score", "arithmetic mean", "harmonic mean (source)",
              "harmonic mean (target)"]  # fmt: skip
    header += [f"{machine} {kind} ({domain})" for domain in DOMAINS for machine in order]
    return [header, *([result.system, *cells(result)] for result in results)]


def _per_machine(result: Result, order: Sequence[str], section: str | None) -> list[float | str]:
    """AUC source, then AUC target of each machine type, over its sections or of one."""
    cells = []
    for domain in DOMAINS:
        for machine in order:
            names = [f"AUC ({domain})"]
            if section is None:
                cells.append(result.over(names, False, machine).cell)
            else:
                cells.append(result.sections[machine, section][names[0]].cell)
    return cells


def official_rows(results: Sequence[Result], order: Sequence[str]) -> Rows:
    """`teams_official_score.csv`, or a system's `official_score.csv`.

    Parameters
    ----------
    order : of the machine types
    """

    def cells(result: Result) -> list[float | str]:
        both = [f"AUC ({domain})" for domain in DOMAINS]
        means = [result.official, result.over(both, False)]
        means += [result.over([name], True) for name in both]
        return [*(one.cell for one in means), *_per_machine(result, order, None)]

    return _table(results, order, "AUC", cells)


def section_auc_rows(results: Sequence[Result], order: Sequence[str], section: str) -> Rows:
    """`teams_section_00_auc.csv`."""
    return _table(results, order, "AUC",
                  lambda one: [""] * 4 + _per_machine(one, order, section))  # fmt: skip


def section_score_rows(results: Sequence[Result], order: Sequence[str], section: str) -> Rows:
    """`teams_section_00_score.csv`: mean score of a domain's normal clips."""

    def cells(result: Result) -> list[float | str]:
        clips = {one.machine_type: one for one in result.clips if one.name == section}
        return [""] * 4 + [_normal(clips[m], domain) for domain in DOMAINS for m in order]

    return _table(results, order, "Score", cells)


def _normal(clips: Section, domain: str) -> float | str:
    chosen = clips.scores[(clips.domains == domain) & (clips.labels == 0)]
    return float(np.mean(chosen)) if chosen.size else ""


def paper_rows(results: Sequence[Result], order: Sequence[str]) -> Rows:
    """`teams_official_score_paper.csv`: the terms of the official score by machine type."""
    rows: Rows = [["System", "metric", "h-mean", "a-mean", *order]]
    titles = dict(zip(OFFICIAL, (*OFFICIAL[:2], "pAUC (source, target)"), strict=True))
    for one in results:
        for name, title in titles.items():
            counted = [name] * (len(DOMAINS) if name == "pAUC" else 1)
            means = [one.over(counted, harmonic).cell for harmonic in (True, False)]
            cells = [one.over([name], False, machine).cell for machine in order]
            rows.append([one.system, title, *means, *cells])
        total = [one.over(OFFICIAL, harmonic).cell for harmonic in (True, False)]
        rows.append([one.system, "TOTAL score", *total, *[""] * len(order)])
    return rows


def baseline_rows(sections: dict[str, dict[str, Figure]], columns: Sequence[str]) -> Rows:
    """The baseline's `result_<machine>_..._roc.csv`: sections and their means.

    Parameters
    ----------
    sections : by name, of `evaluator.figures`
    columns : BASELINE_COLUMNS, or SINGLE_DOMAIN_COLUMNS in years without domains
    """
    rows: Rows = [["section", *columns]]
    rows += [[name, *(found[c].cell for c in columns)] for name, found in sections.items()]
    for title, harmonic in (("arithmetic mean", False), ("harmonic mean", True)):
        means = [
            mean({name: found[c] for name, found in sections.items()}, harmonic, LEAST).cell
            for c in columns
        ]
        rows.append([title, *means])
    return [*rows, []]


def brief_rows(sections: dict[str, dict[str, Figure]]) -> Rows:
    """The baseline summary's `baseline_<score>/result_<machine>_..._roc.csv`."""
    rows = baseline_rows(sections, BRIEF_COLUMNS)[:-1]
    return [["id", *BRIEF_COLUMNS], *rows[1:]]


def all_files(
    results: Sequence[Result], order: Sequence[str], published: bool = False
) -> Iterator[tuple[Path, Rows]]:
    """Every file of an evaluation with its rows, relative to the folder of the systems'."""
    more = Path("teams_additional_result")
    for one in results:
        yield Path("teams_result", f"{one.system}_result.csv"), system_rows(one, published)
        yield more / one.system / "official_score.csv", official_rows([one], order)
    yield more / "teams_official_score.csv", official_rows(results, order)
    yield more / "teams_official_score_paper.csv", paper_rows(results, order)
    for section in sorted({section for one in results for _, section in one.sections}):
        name = f"teams_section_{section}"
        yield more / f"{name}_auc.csv", section_auc_rows(results, order, section)
        yield more / f"{name}_score.csv", section_score_rows(results, order, section)


def write(
    folder: Path, results: Sequence[Result], order: Sequence[str], published: bool = False
) -> None:
    """`all_files` into a folder."""
    for name, rows in all_files(results, order, published):
        files.write_csv(folder / name, rows)
