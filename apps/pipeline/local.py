"""The whole pipeline on this machine, without a cluster: each step is a process."""

from __future__ import annotations

import contextlib
import csv
import os
import re
import shutil
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote

import msgspec

from apps.pipeline import pages, steps
from apps.pipeline.parameters import Parameters
from apps.pipeline.steps import FAILURE, scripts_python
from asd.messages import plain
from common import HERE, UserError

LOG = "log.txt"
FAILURES = "failures.txt"
_ENDED = re.compile(r"Task '(?P<task>.+?)' finished with status (?P<status>[A-Z]+)")
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def run(parameters: Parameters, out: Path, parallel: int) -> tuple[Path, Path]:
    """Run the pipeline below `out`.

    Parameters
    ----------
    parallel : machine types at once

    Returns
    -------
    the table of results, result.csv's layout; the report, which leads to those of machine types

    Raises
    ------
    UserError : a step failed; what it said, and where the log is.
    """
    from apps.pipeline.pipeline import Cluster, build

    pipeline = build(Cluster("local", parallel=parallel, retries=0))
    table = run_pipeline(pipeline, msgspec.structs.asdict(parameters), out)
    return table, _reports(table.parent.parent, out)


def _reports(root: Path, out: Path) -> Path:
    """Bring the reports of a run together, with names that a browser knows; the first one."""
    links, scores = {}, sorted(root.glob("*/test/scores"))
    figures = steps.by_type(scores)
    for machine_type, folder in zip(figures, scores, strict=True):
        # With what became of the converted model, where it was converted.
        latest = folder.parent.parent / "parity/report"
        report = latest if latest.is_file() else folder.parent / "report"
        links[machine_type] = f"report_{machine_type}.html"
        shutil.copyfile(report, out / links[machine_type])
    pages.of_figures(out / "report.html", figures, {k: quote(v) for k, v in links.items()})
    return out / "report.html"


def run_pipeline(pipeline: Any, arguments: dict[str, Any], out: Path) -> Path:
    """Run a pipeline below `out`, with its log and the lines of failed steps; its one output.

    Raises
    ------
    UserError : a step failed; what it said, and where the log is.
    """
    from kfp import local

    scripts_python()  # rather now than after the download
    out.mkdir(parents=True, exist_ok=True)
    failures, log = out / FAILURES, out / LOG
    failures.unlink(missing_ok=True)
    paths = [str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])]
    os.environ |= {FAILURE: str(failures.resolve()), "PYTHONPATH": os.pathsep.join(paths)}
    local.init(local.SubprocessRunner(use_venv=False), pipeline_root=str(out))
    try:
        with _logged(log):
            task = pipeline(**arguments)
    except RuntimeError as error:  # kfp's, of a task that failed
        if failures.is_file():
            raise UserError(plain(failures.read_text(encoding="utf-8").splitlines()[0])) from error
        raise UserError(f"a step ended without a word; {log} has what came before") from error
    return Path(task.outputs["Output"].path)


def show(table: Path) -> None:
    """Print the results: a line for each id, in per cent."""
    machine = ""
    with table.open(newline="", encoding="utf-8") as file:
        for row in filter(None, csv.reader(file)):
            if len(row) == 1:
                (machine,) = row
            elif row[0] == "id":
                print(f"{machine:16}{'id':>8}{'AUC %':>10}{'pAUC %':>10}")
            else:
                cells = (f"{100 * float(cell):.2f}" if cell else "undefined" for cell in row[1:])
                print(f"{'':16}{row[0]:>8}" + "".join(f"{cell:>10}" for cell in cells))


class _Log:
    """What kfp prints goes into a file; that a task has ended, onto the screen too."""

    def __init__(self, file: IO[str], screen: IO[str]) -> None:
        self._file, self._screen = file, screen

    def write(self, text: str) -> int:
        text = _COLOUR.sub("", text)
        for match in _ENDED.finditer(text):
            print(f"{match['task']}: {match['status'].lower()}", file=self._screen, flush=True)
        return self._file.write(text)

    def flush(self) -> None:
        self._file.flush()


@contextlib.contextmanager
def _logged(path: Path) -> Iterator[None]:
    with path.open("w", encoding="utf-8") as file, warnings.catch_warnings():
        # That an image has no "python" in its name, that nothing limits cores and memory here.
        warnings.simplefilter("ignore")
        with contextlib.redirect_stdout(_Log(file, sys.stdout)):  # type: ignore[type-var]
            yield
