"""Decisions of the run at hand: thresholds, which clips are called anomalous, how well that does.

They are written as decisions.csv, a row a section and domain, and as the year's decision files.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from asd import files
from asd.clips import Scores
from asd.config import Decision
from asd.evaluation import decisions, submission, thresholds
from asd.evaluation.decisions import NAMES
from asd.evaluation.official import Figure, undefined
from asd.evaluation.thresholds import Threshold
from asd.evaluation.years import Year
from asd.paths import Paths

HEADER = (
    "machine_type", "section", "domain", "threshold", "kind", "threshold_of", "training_clips",
    "held_out", "clips", "normal", "anomalous", "called_anomalous", "precision", "recall", "f1",
    "note",
)  # fmt: skip
OWN, ALL = "section", "machine type"  # whose training clips a threshold is of


class Row(NamedTuple):
    """Of the test clips of a section, or of one of its domains."""

    section: str
    domain: str  # "" for all clips
    limit: Threshold
    threshold_of: str
    training_clips: int
    held_out: float | None  # see `thresholds.held_out`
    clips: int
    normal: int | None  # None without labels
    anomalous: int | None
    called: int
    figures: dict[str, Figure]  # of `decisions.precision_recall_f1`


class Verdict(NamedTuple):
    """The decisions on the test clips of a machine type."""

    scored: Scores
    decided: np.ndarray  # (n_clips,) int64, 1 is called anomalous
    rows: tuple[Row, ...]


def of(scored: Scores, train: Scores, how: Decision) -> Verdict:
    """Decide on the test clips of a machine type.

    Parameters
    ----------
    train : the scores of its normal training clips
    """
    sections = [section for section, _ in scored.by_section()]
    limits = thresholds.by_section(train, how.threshold, how.share, sections)
    rates = thresholds.held_out(train, how.threshold, how.share)
    own = {section: len(part.clips) for section, part in train.by_section()}
    decided = decisions.decide(scored, limits)
    rows = []
    for section, domain, which in _parts(scored):
        threshold_of = (OWN, own[section]) if section in own else (ALL, len(train.clips))
        rows.append(Row(section, domain, limits[section], *threshold_of, rates.get(section),
                        *_counts(scored.labels[which], decided[which])))  # fmt: skip
    return Verdict(scored, decided, tuple(rows))


def _parts(scored: Scores) -> list[tuple[str, str, np.ndarray]]:
    """Sections, and domains where there are any, with the positions of their clips."""
    sections, domains = (np.array([getattr(clip, name) or "" for clip in scored.clips])
                         for name in ("section", "domain"))  # fmt: skip
    parts = []
    for section, _ in scored.by_section():
        here = sections == section
        parts.append((section, "", np.flatnonzero(here)))
        for domain in sorted(set(domains[here].tolist()) - {""}):
            parts.append((section, domain, np.flatnonzero(here & (domains == domain))))
    return parts


def _counts(labels: np.ndarray, decided: np.ndarray) -> tuple[Any, ...]:
    called = int(decided.sum())
    if (labels == -1).any():
        figures = dict.fromkeys(NAMES, undefined("no labels"))
        return len(labels), None, None, called, figures
    counts = (int((labels == one).sum()) for one in (0, 1))
    return len(labels), *counts, called, decisions.precision_recall_f1(labels, decided)


def write_table(path: Path, verdicts: Sequence[Verdict]) -> None:
    """`decisions.csv`; what is unknown or undefined is empty, with the reason as note."""
    table: list[Sequence[Any]] = [HEADER]
    for verdict in verdicts:
        for row in verdict.rows:
            cells = ("" if one is None else one for one in
                     (row.held_out, row.clips, row.normal, row.anomalous, row.called))  # fmt: skip
            reasons = dict.fromkeys([row.limit.reason, *(f.reason for f in row.figures.values())])
            table.append((
                verdict.scored.machine_type, row.section, row.domain, row.limit.value,
                row.limit.kind, row.threshold_of, row.training_clips, *cells,
                *(row.figures[name].cell for name in NAMES), "; ".join(filter(None, reasons)),
            ))  # fmt: skip
    files.write_csv(path, table)


def decision_files(
    paths: Paths, year: Year | None, scored: Scores, decided: np.ndarray
) -> dict[Path, list[tuple[str, int]]]:
    """The rows of the decision files of a machine type: names as in the year, or as of scores.

    A year that takes no decisions has none; nor have clips of an unknown domain, where the files
    are by domain.
    """
    if year is None:
        of_section = {}
        for section, _, which in (part for part in _parts(scored) if not part[1]):
            names = [scored.clips[i].name for i in which]
            path = paths.decisions(scored.machine_type, section)
            of_section[path] = list(zip(names, decided[which].tolist(), strict=True))
        return of_section
    parts = submission.parts(year, [scored], [decided]) if year.decisions else {}
    by_domain = "{domain}" in year.submitted
    return {
        paths.results / submission.name_of(year, submission.DECISION, *key): [
            (name, decision) for name, _, decision in rows
        ]
        for key, rows in parts.items()
        if key[2] or not by_domain
    }


def show(verdicts: Sequence[Verdict], share: float, path: Path) -> None:
    """Print thresholds, and how well decisions do by section and domain."""
    print(f"\n{'machine':<14}{'section':<9}{'domain':<8}{'threshold':>11}  {'kind':<10}"
          f"{'called':>8}{'of':>6}{'precision':>11}{'recall':>8}{'F1':>7}")  # fmt: skip
    for verdict in verdicts:
        for row in verdict.rows:
            print(f"{verdict.scored.machine_type:<14}{row.section:<9}{row.domain or 'all':<8}"
                  f"{row.limit.value:11.5g}  {row.limit.kind:<10}{row.called:8}{row.clips:6}"
                  f"{_figures(row)}".rstrip())  # fmt: skip
    print(f"A clip that scores above the threshold is called anomalous; {share:.0%} of the normal "
          f"training clips\nare to score below it. {path}")  # fmt: skip
    for verdict in verdicts:
        lacking = [r.section for r in verdict.rows if r.threshold_of == ALL and not r.domain]
        if lacking:
            several = "s" if len(lacking) > 1 else ""
            print(f"{verdict.scored.machine_type}: no training clips of section{several} "
                  f"{', '.join(lacking)}; the threshold there is of all its training clips, and "
                  "tells less")  # fmt: skip


def _figures(row: Row) -> str:
    values = [row.figures[name] for name in NAMES]
    widths = 11, 8, 7
    shown = "".join(f"{one.value:{width}.3f}" if one.defined else f"{'-':>{width}}"
                    for one, width in zip(values, widths, strict=True))  # fmt: skip
    reasons = dict.fromkeys(filter(None, [row.limit.reason, values[0].reason]))
    return f"{shown}  {'; '.join(reasons)}"
