"""The folder of a run: what was measured, and the benchmark's log.txt, results.txt, results.json.

`windows.csv` grows by a row a window; all else is written from it. `session.json` says what was
run, and whether the device was emulated.
"""

from __future__ import annotations

import argparse
import csv
import datetime
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from apps.submission.evaluation_set import SUFFIX, Entry
from apps.submission.link import INFER_SECONDS, MOST_INFERENCES, Answer
from asd import files
from asd.clips import Clip, Scores
from asd.config import Config
from asd.evaluation import metrics, scores, tables
from asd.paths import Paths
from common import UserError

NOT_A_RESULT = "(emulated, not a result)"
LOOPS = 5  # of performance mode
LEAST_SECONDS = 10.0  # of a run of performance mode
MODES = {"accuracy": "a", "performance": "p"}
FILES = ("log.txt", "results.txt", "results.json")  # what a submission holds of a run
_HEADER = ["file", "window", "score", "start_us", "end_us"]


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What `session.json` says; a session can only be resumed with the same."""

    mode: str
    device: str
    model: str
    emulated: bool
    list: str
    fingerprint: str  # of the list and its spectrograms
    inferences: int
    warmups: int


def check_counts(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """End with the parser's error where --inferences or --warmups are none that a device takes."""
    if not (1 <= args.inferences <= MOST_INFERENCES and 0 <= args.warmups <= MOST_INFERENCES):
        parser.error(
            f"--inferences is 1 to {MOST_INFERENCES:,}, --warmups 0 to {MOST_INFERENCES:,}"
        )


class Session:
    """A run, new or resumed.

    Attributes
    ----------
    measured : the answers so far, by file name and window number
    """

    def __init__(self, folder: Path, facts: Facts) -> None:
        self.folder, self.facts = folder, facts
        self.measured: dict[tuple[str, int], Answer] = {}
        files.check_writable(folder)
        path, table = folder / "session.json", folder / "windows.csv"
        if path.exists():
            self._check_same(path)
        files.write_json(path, facts)
        for row in files.read_csv(table)[1:] if table.exists() else []:
            if answer := _answer(row):
                self.measured[row[0], int(row[1])] = answer
        rows = [[*key, a.score, a.start_us, a.end_us] for key, a in self.measured.items()]
        files.write_csv(table, [_HEADER, *rows])  # without a row that was cut short
        self._table = table.open("a", newline="", buffering=1)
        self._log = (folder / "log.txt").open("a", buffering=1)

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self._table.close()
        self._log.close()

    def _check_same(self, path: Path) -> None:
        before, now = files.read_json(path), msgspec.to_builtins(self.facts)
        for key, value in now.items():
            if before.get(key) != value:
                raise UserError(
                    f"{path}: the session has {key} {before.get(key)}, this run {value}; "
                    "leave --session out to begin a new one"
                )

    @property
    def words(self) -> str:
        """What is added to every throughput."""
        return f" {NOT_A_RESULT}" if self.facts.emulated else ""

    def log(self, text: str) -> str:
        """A line of log.txt with the time, in the official form."""
        line = f"{datetime.datetime.now():%m%d.%H%M%S} ulp-mlperf: {text}"
        self._log.write(f"{line}\n")
        return line

    def add(self, file: str, window: int, answer: Answer) -> None:
        """Keep what was measured, at once."""
        self.measured[file, window] = answer
        row = (file, window, answer.score, answer.start_us, answer.end_us)
        csv.writer(self._table, lineterminator="\n").writerow(row)
        count, seconds = self.facts.inferences, (answer.end_us - answer.start_us) / 1e6
        self.log(f"Performance results for window {len(self.measured)}:")
        self.log(f"  # Inferences : {count:>13}")
        self.log(f"  Runtime      : {seconds:>10.3f} sec.")
        if seconds:
            self.log(f"  Throughput   : {count / seconds:>10.3f} inf./sec.{self.words}")
        self.log(f"  m-results    : [{answer.score}]")

    def scores(self, entries: Sequence[Entry], n_windows: Sequence[int]) -> dict[str, float]:
        """Mean over the windows of each file that is whole, dB^2."""
        return {
            one.file: float(np.mean([self.measured[one.file, i].score for i in range(n)]))
            for one, n in zip(entries, n_windows, strict=True)
            if all((one.file, i) in self.measured for i in range(n))
        }

    def write_scores(self, scores: dict[str, float]) -> None:
        """`scores.csv`, rows of file and score."""
        files.write_csv(self.folder / "scores.csv", scores.items())

    def write_results(
        self, lines: Sequence[str], entries: Sequence[tuple[Entry, int, int]]
    ) -> None:
        """results.txt of lines, and results.json of (file, window, windows of the file)."""
        with files.whole_file(self.folder / "results.txt") as temporary:
            temporary.write_text("".join(f"{line}\n" for line in lines))
        records = [self._record(one, i, n) for one, i, n in entries]
        files.write_json(self.folder / "results.json", records)

    def _record(self, one: Entry, window: int, n_windows: int) -> dict[str, Any]:
        answer, facts = self.measured[one.file, window], self.facts
        elapsed = answer.end_us - answer.start_us
        infer = {
            "results": [answer.score],
            "start_time": answer.start_us,
            "end_time": answer.end_us,
            "elapsed_time": elapsed,
            "total_inferences": 1,
            "iterations": facts.inferences,
            "warmups": facts.warmups,
        }
        if facts.mode == "performance":
            infer["throughput"] = facts.inferences / (elapsed / 1e6)
        return {
            "file": one.file,
            "classes": str(one.classes),
            "class": str(one.label),
            "bytes_to_send": str(one.window_bytes),
            "stride": str(one.stride_bytes),
            "total_length": n_windows,
            "infer": infer,
            "mode": MODES[facts.mode],
        }


def accuracy_lines(
    session: Session, entries: Sequence[Entry], scores: dict[str, float], n_listed: int
) -> list[str]:
    """The lines of results.txt: EEMBC's accuracy and the pooled AUC."""
    labels = np.array([one.label for one in entries])
    values = np.array([scores[one.file] for one in entries])
    lines = [session.log(f"emulated device {NOT_A_RESULT}")] if session.facts.emulated else []
    if len(entries) < n_listed:
        lines.append(session.log(f"a part of the list: {len(entries)} of {n_listed} files"))
    if reason := metrics.why_undefined(labels):
        return [*lines, session.log(f"no AUC: {reason} among the {len(entries)} files")]
    top = metrics.precision_recall_accuracy(labels, values)
    lines.append(session.log(f"Top 1% = {top:2.1f}"))
    lines.append(session.log(f"AUC = {metrics.auc(labels, values):.3f}"))
    return lines


def performance_lines(
    session: Session, answers: Sequence[Answer], wall_seconds: float
) -> list[str]:
    """The lines of results.txt: the runs and their median throughput."""
    count, lines, rates = session.facts.inferences, [], []
    for i, answer in enumerate(answers, 1):
        seconds = (answer.end_us - answer.start_us) / 1e6
        rates.append(count / seconds)
        lines += [
            f"Performance results for window {i}",
            f"    # Inferences : {count}",
            f"    Runtime: {seconds} sec.",
            f"    Throughput: {rates[-1]} inf./sec.{session.words}",
        ]
        if seconds > LEAST_SECONDS:
            lines.append("    Runtime requirements have been met.")
        if seconds > INFER_SECONDS:
            what = f"longer than the official runner's time-out, {INFER_SECONDS:.0f} s"
            lines.append(session.log(f"WARNING - window {i} ran for {seconds:.3f} s, {what}"))
    if wall_seconds < LEAST_SECONDS:
        return [*lines, session.log("ERROR 2 - loop exited before 10 seconds elapsed.")]
    rule = session.log("-" * 57)
    median = f"Median throughput is {np.median(rates):>10.3f} inf./sec.{session.words}"
    return [*lines, rule, session.log(median), rule]


def write_metrics(
    session: Session, entries: Sequence[Entry], score_of: dict[str, float], cfg: Config
) -> None:
    """`anomaly_score_<type>_id_XX.csv` and metrics.csv as 01_test.py writes them.

    Only where all files are called as the benchmark's are; the machine type is the list's folder.
    """
    machine_type, clips = Path(session.facts.list).parent.name, []
    for one in entries:
        match = re.fullmatch(rf"(?:normal|anomaly)_id_(\d\d)_\d+{SUFFIX}", one.file)
        if not match:
            return
        clips.append(Clip(Path(one.wav), machine_type, match[1], "test", one.label))
    scored = Scores(tuple(clips), np.array([score_of[one.file] for one in entries]))
    here = msgspec.structs.replace(cfg, result_directory=str(session.folder), experiment="")
    paths = Paths(here, "dev")
    scores.write(paths, scored)
    tables.write_metrics(paths.table("metrics"), [tables.evaluate(scored, cfg.max_fpr)])


def _answer(row: Sequence[str]) -> Answer | None:
    """What a row of windows.csv says; None for one that was cut short."""
    try:
        file, window, score, start, end = row
        return Answer(float(score), int(start), int(end)) if file and int(window) >= 0 else None
    except ValueError:
        return None
