"""The baseline's wide summary of systems: a row each, a column for every figure and mean."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from asd.evaluation.decisions import LEAST
from asd.evaluation.evaluator import Result
from asd.evaluation.evaluator_files import BRIEF_COLUMNS, OFFICIAL, Rows
from asd.evaluation.official import Figure, mean

AUCS = ("AUC (source)", "AUC (target)")


def _spread(figures: Sequence[tuple[str, Figure]], less: int = 1) -> dict[str, float | str]:
    """Mean, standard deviation (divisor n - less, none of a single value) and harmonic mean."""
    average = mean(figures, harmonic=False)
    several = average.defined and len(figures) > 1
    deviation = float(np.std([one.value for _, one in figures], ddof=less)) if several else ""
    harmonic = mean(figures, True, LEAST).cell
    return {"ave": average.cell, "std": deviation, "hmean": harmonic}


def columns(runs: Sequence[Result], mode: str, published: bool = False) -> dict[str, float | str]:
    """The row of a system that was trained several times, by heading.

    `<machine>_<mode>_<section>_<figure>_ave` and so on are over the runs, the machine's means over
    its sections too; those of ALL over the machine types too; `TOTAL_score` is of AUC source, AUC
    target and pAUC.

    Parameters
    ----------
    mode : "dev" or "eval"
    published : with the original's mistakes: the means of pAUC (source) and of pAUC (target) over
        sections and machine types are those of pAUC, but for the harmonic one over all; the
        deviations of ALL_AUC and TOTAL_score have the divisor n
    """
    row: dict[str, float | str] = {}
    for machine in runs[0].machine_types:
        for name in BRIEF_COLUMNS:
            of_machine = f"{machine}_{mode}"
            for one, section in runs[0].sections:
                if one == machine:
                    own = [(one, run.sections[machine, section][name]) for run in runs]
                    row |= _named(f"{of_machine}_{section}_{name}", _spread(own))
            every = _every(runs, [_meant(name, published)], machine)
            row[f"{of_machine}_arithmetic mean_{name}"] = mean(every, False).cell
            row[f"{of_machine}_harmonic mean_{name}"] = mean(every, True, LEAST).cell
    totals = {f"ALL_{name}": [name] for name in BRIEF_COLUMNS}
    totals |= {"ALL_AUC": list(AUCS), "TOTAL_score": list(OFFICIAL)}
    for title, names in totals.items():
        own = _spread(_every(runs, names))
        less = 0 if published and len(names) > 1 else 1
        meant = _spread(_every(runs, [_meant(name, published) for name in names]), less)
        row |= _named(title, meant | {"hmean": own["hmean"]})
    return row


def _meant(name: str, published: bool) -> str:
    return "pAUC" if published and name.startswith("pAUC") else name


def _named(title: str, values: dict[str, float | str]) -> dict[str, float | str]:
    return {f"{title}_{name}": value for name, value in values.items()}


def _every(
    runs: Sequence[Result], names: Sequence[str], machine_type: str | None = None
) -> list[tuple[str, Figure]]:
    return [
        (f"{machine} {section} {name}", found[name])
        for name in names
        for run in runs
        for (machine, section), found in run.sections.items()
        if machine_type in (None, machine)
    ]


def rows(systems: dict[str, Sequence[Result]], mode: str, published: bool = False) -> Rows:
    """`DCASE2023T2_auc_pauc.csv`.

    Parameters
    ----------
    systems : the runs of each, of the same machine types and sections
    """
    found = {name: columns(runs, mode, published) for name, runs in systems.items()}
    header = list(next(iter(found.values())))
    return [["", *header], *([name, *(row[key] for key in header)] for name, row in found.items())]
