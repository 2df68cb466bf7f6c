"""Run a grid: recipes, machine types and seeds, each combination a cell, and one table of them.

    python -m apps.pipeline grid GRID.yaml --engine local

Each cell is the numbered scripts with an experiment of its own, <grid>_<recipe>_<type>_seed<N>, its
log in result/<experiment>/cell/log.txt. A cell that is done is kept, one that fails does not stop
the others, and an interrupted grid goes on where it was when it is run again. Writes grid.csv and
grid.md, means and standard deviations over the seeds, and report.html into result/<grid>/. Exit
status 1 when a cell failed.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
from collections.abc import Sequence
from pathlib import Path

import msgspec

from apps.pipeline import cells, page, settings, tables
from apps.pipeline.cells import Cell, Outcome
from asd.messages import plain

# Every module of engines/ that can run cells.
ENGINES = sorted(
    path.stem for path in Path(__file__).with_name("engines").glob("[a-z]*.py")
    if path.stem != "share"
)  # fmt: skip
LOG_LINES, LOG_BYTES = 5, 4000  # the end of a failed cell's log that is told
LETTERS = 500  # of a line of it


def main(argv: Sequence[str] | None = None) -> int:
    """Do what the command line says; the exit status."""
    args = _arguments(argv)
    grid = settings.load(args.grid)
    if args.at_once:
        grid = msgspec.structs.replace(grid, at_once=args.at_once)
    all_cells = cells.of(grid, args.grid)
    waiting = [cell for cell in all_cells if not cell.done]
    print(f"{grid.name}: {len(all_cells)} cells, {len(all_cells) - len(waiting)} done already",
          flush=True)  # fmt: skip
    if args.engine == "kubeflow" and grid.kubeflow.host:
        from apps.pipeline.engines import kubeflow

        print(f"run {kubeflow.submit(grid, all_cells)} started; its step `tabulate` has the table")
        return 0
    for cell in waiting:
        cells.prepare(cell)
    failed = 0
    if waiting:
        engine = importlib.import_module(f"apps.pipeline.engines.{args.engine}")
        with contextlib.closing(engine.run(grid, waiting)) as outcomes:
            for ended in outcomes:
                failed += bool(ended.problem)
                _tell(ended)
    folder = Path(all_cells[0].paths.cfg.result_directory, grid.name)
    found = tables.of(all_cells)
    csv, markdown = tables.write(folder, found)
    print(f"\n{markdown.read_text(encoding='utf-8')}")
    print(f"{csv} and {markdown}; mean and standard deviation over seeds, per cent")
    print(f"{page.write(folder, grid.name, all_cells, found)}: the same for a browser")
    return 1 if failed else 0


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m apps.pipeline grid", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    option = parser.add_argument
    option("grid", type=Path, metavar="GRID.yaml")
    option("--engine", choices=ENGINES, default="local", help="where cells run; %(default)s")
    option("--at-once", type=_positive, metavar="N",
           help="cells at once; without it what the YAML says")  # fmt: skip
    return parser.parse_args(argv)


def _positive(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and int(text)):
        raise argparse.ArgumentTypeError(f"expected a number from 1, and this is {text!r}")
    return int(text)


def _tell(ended: Outcome) -> None:
    """A line for a cell that has ended; of a failed one also the end of its log."""
    cell = ended.cell
    if not ended.problem:
        print(f"{cell.name}: {_auc(cell)}{ended.seconds:.0f} s", flush=True)
        return
    print(f"{cell.name}: FAILED, {ended.problem}; {cell.log} ends:")
    for line in _last_lines(cell.log):
        print(f"    {plain(line, LETTERS)}")
    print(end="", flush=True)


def _auc(cell: Cell) -> str:
    """The AUC of a cell, the mean over its machine types, where there is one."""
    if "test" not in cell.stages:
        return ""
    total = tables.of([cell])[0].lines[0].cells[tables.TOTAL].mean
    return f"AUC {total.value:.3f}, " if total.defined else ""


def _last_lines(path: Path) -> list[str]:
    if not path.exists():
        return ["(there is none)"]
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - LOG_BYTES))
        # A progress bar writes over its line.
        text = file.read().decode("utf-8", "backslashreplace").replace("\r", "\n")
    return [line for line in text.splitlines() if line.strip()][-LOG_LINES:]
