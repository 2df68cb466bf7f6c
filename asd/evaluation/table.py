"""Print a table of experiments by machine types: a figure of a year, published ones beside it.

    python -m asd.evaluation.table -d --year 2023 result/scac_seed1 result/scac_seed2 result/ae

A RESULT is a folder of anomaly_score_*.csv that 01_test.py wrote. Folders whose names differ only
by their seed (scac_seed1, scac/seed2) are one experiment, with mean and standard deviation over its
seeds. Labels and domains are in the clips' names; for evaluation data, which has none there, name
the list of the year, or the official evaluator's folder with its ground truth.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from asd import cli, files
from asd.corpora import labels
from asd.evaluation import official, published, results, table_formats, years
from asd.evaluation.official import Figure, Spread, undefined
from asd.evaluation.results import Run
from asd.evaluation.table_formats import TOTAL, Line
from asd.evaluation.years import Year
from common import UserError

OFFICIAL = "official"
TITLES = {
    OFFICIAL: "official score",
    "s_auc": "AUC of the source domain alone", "s_pauc": "pAUC of the source domain alone",
    "t_auc": "AUC of the target domain alone", "t_pauc": "pAUC of the target domain alone",
    "smix_auc": "AUC source", "tmix_auc": "AUC target",
    "mix_auc": "AUC", "mix_pauc": "pAUC",
}  # fmt: skip


def main(argv: Sequence[str] | None = None) -> None:
    """Do what the command line says."""
    args = _arguments(argv)
    year = years.of(args.year)
    if not year.has_domains and args.figure not in (OFFICIAL, *official.WITHOUT_DOMAINS):
        raise UserError(f"{args.figure}: {year.year} has no domains; take one of "
                        f"{', '.join((OFFICIAL, *official.WITHOUT_DOMAINS))}")  # fmt: skip
    truths = labels.read(args.truth) if args.truth else {}
    runs = [results.read(folder, year, args.mode, truths) for folder in args.results]
    shown = lines(runs, year, args.mode, args.figure)
    if not args.no_published:
        shown += published_lines(year, args.mode, args.figure)
    title = f"DCASE {year.year} Task 2, {args.mode}: {TITLES[args.figure]}"
    text = table_formats.FORMATS[args.format](title, shown)
    if args.out is None:
        print(text, end="")
        return
    with files.whole_file(args.out) as temporary:
        temporary.write_text(text, encoding="utf-8")
    print(args.out)


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m asd.evaluation.table", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    option = parser.add_argument
    option("results", nargs="+", type=Path, metavar="RESULT", help="a folder of scores")
    mode = parser.add_mutually_exclusive_group(required=True)
    for name in ("dev", "eval"):
        mode.add_argument(f"-{name[0]}", f"--{name}", dest="mode", action="store_const", const=name,
                          help=f"the year's {name} machine types and sections")  # fmt: skip
    option("--year", type=int, required=True, help="whose official score: 2020 to 2026")
    option("--figure", choices=list(TITLES), default=OFFICIAL,
           help="smix_auc is AUC source, tmix_auc AUC target, mix_pauc pAUC")  # fmt: skip
    option("--truth", type=Path, metavar="PATH",
           help="eval_data_list_<year>.csv, or the official evaluator's folder")  # fmt: skip
    option("--format", choices=list(table_formats.FORMATS), default="markdown")
    option("--no-published", action="store_true", help="only the results")
    option("--out", type=Path, metavar="FILE", help="write it there, not to the screen")
    return parser.parse_args(argv)


def lines(runs: Sequence[Run], year: Year, mode: str, figure: str) -> list[Line]:
    """A line an experiment, in the order of the runs.

    Raises
    ------
    UserError : two runs are of one experiment and one seed.
    """
    experiments: dict[str, dict[str, Run]] = {}
    for run in runs:
        seeds = experiments.setdefault(run.experiment, {})
        if run.seed in seeds:
            raise UserError(f"{run.folder}: {run.experiment}, seed {run.seed or 'unnamed'}, as "
                            f"{seeds[run.seed].folder} is; name one of them only")  # fmt: skip
        seeds[run.seed] = run
    return [Line(name, "", _over_seeds(seeds, year, mode, figure))
            for name, seeds in experiments.items()]  # fmt: skip


def _over_seeds(seeds: dict[str, Run], year: Year, mode: str, figure: str) -> dict[str, Spread]:
    cells: dict[str, dict[str, Figure]] = {}
    for seed, run in seeds.items():
        of_run = {machine: _figure(run, machine, year, mode, figure)
                  for machine in year.machines(mode)}  # fmt: skip
        of_run[TOTAL] = official.mean(of_run, year.harmonic)
        for column, one in of_run.items():
            cells.setdefault(column, {})[f"seed {seed}" if seed else "run"] = one
    return {column: official.over_seeds(figures) for column, figures in cells.items()}


def _figure(run: Run, machine: str, year: Year, mode: str, figure: str) -> Figure:
    if machine not in run.machines:
        return undefined(f"no scores in {run.folder}")
    figures, part = run.machines[machine], year.part(mode)
    name = year.official if figure == OFFICIAL else figure
    return figures[f"{part}_{name}"]


def published_lines(year: Year, mode: str, figure: str) -> list[Line]:
    """A line a published system."""
    return [
        Line(one.system, one.source, {column: Spread(value, None, 1) for column, value in
                                      (one.figures | {TOTAL: one.total}).items()})
        for one in published.rows(year, mode, figure)
    ]  # fmt: skip


if __name__ == "__main__":
    sys.exit(cli.run(main))
