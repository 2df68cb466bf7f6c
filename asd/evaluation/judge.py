"""Judge submitted systems as the official evaluator of DCASE Task 2 does, with its result files.

    python -m asd.evaluation.judge --year 2024 TRUTH SYSTEM... --out FOLDER

TRUTH is the evaluator's folder with ground_truth_data, ground_truth_domain and
ground_truth_attributes; a SYSTEM is a folder of anomaly_score_*.csv and decision_result_*.csv, as
submitted or as the official baseline writes them. The half width beside the official score is that
of the right jackknife; --published gives the evaluator's own, which is N - 1 times too narrow.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from asd import cli, files
from asd.evaluation import evaluator, evaluator_files, truth, years
from asd.evaluation.official import percent
from common import UserError


def main(argv: Sequence[str] | None = None) -> int:
    """Do what the command line says; 1 where a system could not be judged."""
    args = _arguments(argv)
    year = years.of(args.year)
    if not year.report_order:
        raise UserError(f"year {args.year}: its evaluator has other files; take 2023 or later")
    truths = truth.read(args.truth)
    _check_machines(args.truth, {one.machine_type for one in truths}, year)
    files.check_writable(args.out)
    results, left_out = [], []
    for folder in sorted(args.systems, key=lambda one: one.name):
        try:
            sections = truth.read_system(folder, truths)
        except UserError as error:
            left_out.append(folder)
            print(f"left out {folder}: {error}", file=sys.stderr)
            continue
        results.append(evaluator.evaluate(folder.name, sections, year.max_fpr))
        value, reason = results[-1].official
        print(f"{folder.name}: official score {reason or percent(value)}")
    if results:
        evaluator_files.write(args.out, results, year.report_order, args.published)
        print(f"{args.out}: teams_result/ and teams_additional_result/")
    return 1 if left_out else 0


def _check_machines(folder: Path, found: set[str], year: years.Year) -> None:
    if missing := set(year.eval_machines) - found:
        raise UserError(f"{folder}: no ground truth of {min(missing)}; name the folder of the "
                        f"evaluator of {year.year}")  # fmt: skip
    if unknown := found - set(year.eval_machines):
        raise UserError(f"{folder}: {min(unknown)} is no evaluation machine type of {year.year}; "
                        "name the evaluator's own year with --year")  # fmt: skip


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m asd.evaluation.judge", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    option = parser.add_argument
    option("truth", type=Path, metavar="TRUTH")
    option("systems", nargs="+", type=Path, metavar="SYSTEM")
    option("--year", type=int, required=True, help="2023 to 2026")
    option("--out", type=Path, required=True, metavar="FOLDER")
    option("--published", action="store_true", help="the evaluator's own half width")
    args = parser.parse_args(argv)
    names = [folder.name for folder in args.systems]
    if len(set(names)) < len(names):
        parser.error("two systems have one name, and their files would too")
    return args


if __name__ == "__main__":
    sys.exit(cli.run(main))
