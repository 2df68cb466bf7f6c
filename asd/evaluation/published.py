"""Published figures, as facts with their source: what stands in published.yaml."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from asd.evaluation import official
from asd.evaluation.official import Figure, undefined
from asd.evaluation.years import Year
from asd.yaml_files import read_yaml

DATA = Path(__file__).with_name("published.yaml")
PER_CENT = 100


class Published(NamedTuple):
    """A system's figure by machine type, and over all of them."""

    system: str
    source: str
    figures: dict[str, Figure]  # undefined where it was not published
    total: Figure


def rows(year: Year, mode: str, figure: str) -> list[Published]:
    """The systems with a published figure of a year's development or evaluation data.

    Parameters
    ----------
    mode : "dev" or "eval"
    figure : "official", or one of `official.FIGURES`
    """
    found = [_row(one, year, mode, figure) for one in read_yaml(DATA)["systems"]]
    return [one for one in found
            if one.total.defined or any(f.defined for f in one.figures.values())]  # fmt: skip


def _row(system: dict[str, Any], year: Year, mode: str, figure: str) -> Published:
    data = f"{year.year} {mode}"
    told = system.get("machines", {}).get(data, {})
    figures = {machine: _of(told, machine, year, figure) for machine in year.machines(mode)}
    total = official.mean(figures, year.harmonic)
    if figure == "official" and data in system.get("scores", {}):
        total = Figure(system["scores"][data] / PER_CENT)
    return Published(system["system"], system["source"], figures, total)


def _of(told: dict[str, Any], machine: str, year: Year, figure: str) -> Figure:
    names = year.terms if figure == "official" else [figure]
    absent = undefined("not published")
    terms = {}
    for name in names:
        value = told.get(name, {}).get(machine)
        terms[name] = absent if value is None else Figure(value / PER_CENT)
    return official.mean(terms, year.harmonic)
