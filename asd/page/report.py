"""`report.html`: what a run found, for a person and in one file.

    python -m asd.page.report result/FOLDER ...

makes the reports of result folders again, of their tables and `report.json`. 01_test.py makes it
when clips are scored, 03_tflite_test.py with what became of the converted models.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from asd import cli, files
from asd.detectors.detector import Detector
from asd.page import alarms, clips, conversion, detection, facts, gather, html, overview, run
from asd.page.gather import Part
from asd.paths import Paths, facts_of, report_of


def make(folder: Path) -> Path:
    """Write the report of a result folder; its path.

    Raises
    ------
    UserError : see `run.read`.
    """
    found = run.read(folder)
    rooms = overview, detection, alarms, clips, conversion
    parts = [section for room in rooms for section in room.sections(found)]
    page = html.page(overview.title(found), [*parts, overview.words()], overview.lead(found))
    with files.whole_file(report_of(folder)) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return report_of(folder)


def of_scores(paths: Paths, detector: Detector, parts: Sequence[Part]) -> None:
    """Write the facts of a run that has scored its clips and written its tables, and its report."""
    facts.write(paths.results, gather.gather(paths, detector, parts))
    print(f"{make(paths.results)}: all of this, with pictures and sound, for a browser")


def of_conversion(paths: Paths) -> None:
    """Make the report again, with the tables of 03_tflite_test.py that are there now."""
    if not facts_of(paths.results).exists():
        print(f"{paths.results}: no report without {facts_of(paths.results).name}; run 01_test.py")
        return
    run.converted(paths.results)
    print(f"{make(paths.results)}: made again, with these comparisons")


def main(argv: Sequence[str] | None = None) -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER")
    for folder in parser.parse_args(argv).folders:
        print(make(folder))


if __name__ == "__main__":
    sys.exit(cli.run(main))
