"""What 01_test.py makes of the scores: tables, pictures, the year's score, decisions, submission.

What an earlier run left under a name of which this run has nothing to say is removed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from asd import files
from asd.clips import Scores
from asd.evaluation import submission, tables, verdicts, year_score
from asd.evaluation.verdicts import Verdict
from asd.evaluation.years import Year
from asd.paths import Paths


def figures(paths: Paths, year: Year | None, scored: Sequence[Scores], score_title: str) -> None:
    """AUCs by section, as tables, pictures and print, and the official figures of a year.

    Parameters
    ----------
    year : None for one's own recordings
    score_title : what the scores are, with their unit
    """
    official = paths.table("official")
    if any(-1 in one.labels for one in scored):
        pictures = [paths.picture(kind, one.machine_type)
                    for kind in ("roc", "histogram") for one in scored]  # fmt: skip
        _remove([paths.result(), paths.table("metrics"), official, *pictures])
        print(f"{paths.results}: {tables.without_labels(scored)}, so there is no AUC")
        return
    results = [tables.evaluate(one, paths.cfg.max_fpr) for one in scored]
    tables.write_result(paths.result(), results)
    tables.write_metrics(paths.table("metrics"), results)
    tables.draw(paths, scored, results, score_title)
    tables.show(results, paths.results)
    if year is None:
        _remove([official])
        return
    found = year_score.evaluate(year, paths.mode, scored)
    year_score.write(official, found)
    year_score.show(found, official)


def decide(
    paths: Paths, year: Year | None, scored: Sequence[Scores], normal: Sequence[Scores | None]
) -> list[Verdict]:
    """Decisions on the clips of the machine types of which there are scores of training clips.

    Parameters
    ----------
    normal : the scores of the training clips of each machine type
    """
    how, found = paths.cfg.decision, []
    for one, train in zip(scored, normal, strict=True):
        if train is None:
            nothing = np.zeros(len(one.values), np.int64)
            _remove(verdicts.decision_files(paths, year, one, nothing))
            continue
        found.append(verdicts.of(one, train, how))
        written = verdicts.decision_files(paths, year, one, found[-1].decided)
        for path, rows in written.items():
            files.write_csv(path, rows)
    table = paths.table("decisions")
    if found:
        verdicts.write_table(table, found)
        verdicts.show(found, how.share, table)
    else:
        _remove([table])
    return found


def submit(
    paths: Paths, year: Year | None, scored: Sequence[Scores], decided: Sequence[Verdict]
) -> None:
    """The files of a year's submission, where the evaluation data was scored whole.

    Raises
    ------
    UserError : see `submission.write` and `submission.check`.
    """
    if year is None or paths.mode != "eval":
        return
    of_year = [one for one in scored if one.machine_type in year.eval_machines]
    folder = paths.submission
    if lacking := submission.lacking(year, of_year):
        more = f" and {len(lacking) - 1} more" if len(lacking) > 1 else ""
        left = f"; {folder}/ is of an earlier run" if folder.exists() else ""
        print(f"no submission for {year.year}: no scores of {lacking[0]}{more}{left}")
        return
    by_type = {one.scored.machine_type: one.decided for one in decided}
    undecided = [one.machine_type for one in of_year if one.machine_type not in by_type]
    if undecided and year.decisions:
        _remove(folder / name for name in submission.names(year))
        print(f"no submission for {year.year}: no decisions on {', '.join(undecided)}")
        return
    none = {one.machine_type: np.zeros(len(one.values), np.int64) for one in of_year}
    decisions = [(none | by_type)[one.machine_type] for one in of_year]
    written = submission.write(folder, year, of_year, decisions)
    submission.check(folder, year)
    print(f"{folder}/: the submission for {year.year}, {len(written)} files, whole")


def _remove(paths: Iterable[Path]) -> None:
    """Remove what an earlier run wrote there."""
    for path in paths:
        if path.is_file():
            path.unlink()
            print(f"{path}: removed, it was of an earlier run")
