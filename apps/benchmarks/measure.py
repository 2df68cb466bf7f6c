"""What the benchmark measures with: processes, rows of its table, and where they are written."""

from __future__ import annotations

import os
import re
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import common
from asd import files
from asd.evaluation import plots
from common import UserError

POLL_SECONDS = 0.05  # between looks at a process' peak memory
SPARE_KB = 2**20  # of memory, which a measured process may not take


@dataclass
class Row:
    """A line of the table."""

    what: str
    unit: str
    published: list[float] = field(default_factory=list)
    ours: list[float] = field(default_factory=list)
    least: float | None = None  # ratio that is asked for
    more_is_better: bool = False
    note: str = ""

    @property
    def ratio(self) -> float | None:
        """How many times better ours is, by the medians."""
        if not self.published or not self.ours:
            return None
        ours, published = statistics.median(self.ours), statistics.median(self.published)
        return ours / published if self.more_is_better else published / ours

    def rates(self, count: int) -> None:
        """Turn the seconds that `count` things took into things a second."""
        for values in (self.published, self.ours):
            values[:] = [count / seconds for seconds in values]


def seconds_of(function: Callable[[], Any]) -> float:
    """How long a call takes."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


@dataclass(frozen=True)
class Ran:
    """A process that has ended well."""

    seconds: float
    peak_mb: float
    output: str
    errors: str  # what it wrote to stderr
    stopped: bool = False  # because it took nearly all memory


def run(command: Sequence[str | Path]) -> Ran:
    """Run a command and watch its peak resident memory; stop it before it takes the last of it.

    Raises
    ------
    UserError : it fails; its last lines are shown.
    """
    environment = os.environ | {"PYTHONPATH": str(common.HERE), "TF_CPP_MIN_LOG_LEVEL": "3"}
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        start, peak = time.perf_counter(), 0
        streams = {"stdout": output, "stderr": errors, "stdin": subprocess.DEVNULL}
        process = subprocess.Popen([str(part) for part in command], env=environment, **streams)
        stopped = False
        while process.poll() is None:
            peak = max(peak, _read_kb(f"/proc/{process.pid}/status", "VmHWM"))
            if not stopped and _read_kb("/proc/meminfo", "MemAvailable") < SPARE_KB:
                stopped = True
                process.kill()
            time.sleep(POLL_SECONDS)
        seconds = time.perf_counter() - start
        for stream in (output, errors):
            stream.seek(0)
        ran = Ran(seconds, peak / 1024, output.read(), errors.read(), stopped)
    if process.returncode and not stopped:
        last = " | ".join((ran.output + ran.errors).strip().splitlines()[-3:])
        raise UserError(f"{' '.join(map(str, command))}: failed: {last}")
    return ran


def _read_kb(path: str, field: str) -> int:
    """A field of a file of /proc; 0 where there is none, as of a process that ends.

    Not of getrusage, whose peak is inherited from the parent.
    """
    try:
        found = re.search(
            rf"^{field}:\s+(\d+) kB", Path(path).read_text(encoding="utf-8"), re.MULTILINE
        )
    except OSError:
        return 0
    return int(found[1]) if found else 0


def show(rows: Sequence[Row], theirs: str = "published") -> str:
    """The table in Markdown; `theirs` is what ours is compared with."""
    lines = [
        f"| what | unit | {theirs} | ours | ratio | asked | |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        ratio = "" if row.ratio is None else f"{row.ratio:.2f}"
        asked = "" if row.least is None else f"{row.least:g}"
        cells = (row.what, row.unit, _cell(row.published), _cell(row.ours), ratio, asked, row.note)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(values: Sequence[float]) -> str:
    """The median, and the spread from least to most."""
    if not values:
        return ""
    digits = ",.0f" if min(values) >= 100 else ".3g"
    median, low, high = (format(f(values), digits) for f in (statistics.median, min, max))
    return f"{median} ({low} to {high})" if len(values) > 1 else median


HEADER = ("what", "unit", "published", "published_low", "published_high", "ours", "ours_low",
          "ours_high", "ratio", "asked", "note")  # fmt: skip


def write(out: Path, rows: Sequence[Row]) -> None:
    """host.csv and host.png."""
    write_table(out / "host.csv", rows)
    bars = [row for row in rows if row.least is not None and row.ratio is not None]
    if bars:
        draw(out / "host.png", [(row.what, row.ratio, row.least) for row in bars])


def write_table(path: Path, rows: Sequence[Row], theirs: str = "published") -> None:
    """The table as CSV; `theirs` is what ours is compared with."""
    table = []
    for row in rows:
        cells: list[Any] = [row.what, row.unit]
        for values in (row.published, row.ours):
            cells += [f(values) for f in (statistics.median, min, max)] if values else [""] * 3
        plain = ["" if value is None else value for value in (row.ratio, row.least)]
        table.append([*cells, *plain, row.note])
    header = [name.replace("published", theirs) for name in HEADER]
    files.write_csv(path, [header, *table])


def draw(path: Path, bars: list[tuple[str, float, float]]) -> None:
    """Bars of name, ratio and the ratio that is asked for, on a logarithmic scale."""
    names, values, least = zip(*bars[::-1], strict=True)
    with plots.figure(path, height=1.2 + 0.5 * len(bars)) as (axes,):
        axes.barh(names, values, color=plots.NORMAL_COLOUR, height=0.6)
        places = range(len(bars))
        low, high = ([place + side for place in places] for side in (-0.4, 0.4))
        axes.vlines(least, low, high, color=plots.ANOMALY_COLOUR, linewidth=2, label="asked for")
        for place, value in zip(places, values, strict=True):
            behind = {"facecolor": "white", "edgecolor": "none", "pad": 1}
            beyond = 1.08 * max(value, least[place])
            axes.text(beyond, place, f"{value:.1f} x", va="center", bbox=behind)
        axes.set(xscale="log", xlim=(1, 3 * max(*values, *least)), xlabel="times the published way")
        axes.legend(loc="upper right")
