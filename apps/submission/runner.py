"""Run accuracy or performance on a device, as the official runner does, and more besides.

    python -m apps.submission.runner accuracy --port /dev/ttyACM0 --list datasets/ad01/y_labels.csv
    python -m apps.submission.runner performance --port tcp:localhost:5555 --emulated \\
        --list datasets/ad01/y_labels.csv --inferences 1500 --warmups 10
    python -m apps.submission.runner accuracy ... --files 4
    python -m apps.submission.runner accuracy ... --session sessions/20270102_030405

Reads a list and the .bin files beside it. Writes sessions/YYYYMMDD_HHMMSS: log.txt, results.txt
and results.json as the official runner; windows.csv, every measurement as it comes; scores.csv
and anomaly_score_*.csv with metrics.csv, as 01_test.py writes them. With --session of a run that
was broken off, only what is missing is measured. With --emulated every throughput is marked as
emulated and not a result.
"""

from __future__ import annotations

import argparse
import datetime
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from apps.submission import evaluation_set, link, session
from apps.submission.evaluation_set import Entry
from apps.submission.link import Device
from apps.submission.session import Facts, Session
from asd import cli, config, files
from common import UserError

LONGEST_SECONDS = 3600  # of a time-out
MODEL = "ad01"  # what the device must answer to `profile`
EMULATED_NAMES = ("emulat", "qemu")  # a device that calls itself so is taken for emulated


def choose(entries: Sequence[Entry], files: Sequence[str]) -> list[Entry]:
    """The first N entries, or those named, in the order of the list; all for no choice.

    Raises
    ------
    UserError : a name is not in the list.
    """
    if not files:
        return list(entries)
    if len(files) == 1 and files[0].isdigit():
        if not 0 < int(files[0]) <= len(entries):
            raise UserError(f"--files {files[0]}: the list holds {len(entries)}")
        return list(entries[: int(files[0])])
    if missing := set(files) - {one.file for one in entries}:
        raise UserError(f"{min(missing)}: not in the list")
    return [one for one in entries if one.file in files]


def fingerprint(folder: Path, entries: Sequence[Entry]) -> str:
    """16 hex digits that stand for a list and its spectrograms."""
    hashes = [[*one.row, files.file_hash(folder / one.file)] for one in entries]
    return files.fingerprint(hashes)


def accuracy(
    device: Device, run: Session, folder: Path, entries: Sequence[Entry], n_listed: int
) -> list[str]:
    """Measure every window of the entries that is not measured yet; the lines of results.txt.

    Raises
    ------
    UserError : see `Device.measure`; what was measured is kept.
    """
    windows = [one.windows(evaluation_set.read_bin(folder, one)) for one in entries]
    counts = [len(parts) for parts in windows]
    keys = [(one, i, n) for one, n in zip(entries, counts, strict=True) for i in range(n)]
    done = sum((one.file, i) in run.measured for one, i, _ in keys)
    bar = tqdm(desc="windows", total=len(keys), initial=done, mininterval=0.5)
    try:
        for one, parts in zip(entries, windows, strict=True):
            left = [i for i in range(len(parts)) if (one.file, i) not in run.measured]
            for i in left:
                run.log(f"Loading file {one.file} segment {i}")
                run.add(one.file, i, device.measure(parts[i], 1, 0, tell=run.log))
                bar.update()
            if left:
                run.write_scores(run.scores(entries, counts))
    finally:
        bar.close()
    scores = run.scores(entries, counts)
    run.write_scores(scores)
    lines = session.accuracy_lines(run, entries, scores, n_listed)
    run.write_results(lines, keys)
    session.write_metrics(run, entries, scores, config.load_config())
    return lines


def performance(device: Device, run: Session, folder: Path, entries: Sequence[Entry]) -> list[str]:
    """Run window 0 of five files for the time it takes; the lines of results.txt.

    Each runs once. One that is not taken ends it all, and the log says why.

    Raises
    ------
    UserError : see `Device.measure`; or the runs took no time.
    """
    five = entries[: session.LOOPS]
    windows = [one.windows(evaluation_set.read_bin(folder, one))[0] for one in five]
    began, answers = time.monotonic(), []
    for one, window in tqdm(list(zip(five, windows, strict=True)), "performance", unit="run"):
        run.log(f"Loading file {one.file} segment 0")
        try:
            answer = device.measure(
                window, run.facts.inferences, run.facts.warmups, once=True, tell=run.log
            )
            if answer.end_us <= answer.start_us:
                raise UserError(f"{device.port}: {run.facts.inferences} inferences took no time")
        except (UserError, KeyboardInterrupt) as error:
            run.log(f"ERROR - the run is not taken: {str(error) or 'broken off'}")
            raise
        run.add(one.file, 0, answer)
        answers.append(answer)
    lines = session.performance_lines(run, answers, time.monotonic() - began)
    run.write_results(lines, [(one, 0, 1) for one in five])
    return lines


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m apps.submission.runner",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("mode", choices=list(session.MODES))
    parser.add_argument("--port", required=True, help="serial port, pseudo-terminal, tcp:host:port")
    parser.add_argument("--list", type=Path, required=True, help="beside its .bin files")
    parser.add_argument("--emulated", action="store_true", help="the device is emulated")
    parser.add_argument(
        "--files", nargs="+", default=[], metavar="N or NAME", help="accuracy: some files only"
    )
    parser.add_argument("--session", type=Path, help="its folder; one that is there is resumed")
    parser.add_argument("--inferences", type=int, default=1500, help="performance: of a run")
    parser.add_argument("--warmups", type=int, default=10, help="performance: before a run")
    parser.add_argument("--baud", type=int, default=link.BAUD)
    parser.add_argument("--timeout", type=float, default=link.ANSWER_SECONDS, metavar="SECONDS")
    parser.add_argument(
        "--infer-timeout", type=float, default=link.INFER_SECONDS, metavar="SECONDS"
    )
    parser.add_argument("--verify", action="store_true", help="read every window back; slower")
    args = parser.parse_args(argv)
    session.check_counts(parser, args)
    if not all(0 < seconds <= LONGEST_SECONDS for seconds in (args.timeout, args.infer_timeout)):
        parser.error(f"time-outs are above 0 and at most {LONGEST_SECONDS} s")
    return args


def main(argv: Sequence[str] | None = None) -> None:
    """See the module."""
    args = _parse(argv)
    is_accuracy = args.mode == "accuracy"
    entries = evaluation_set.read_list(args.list)
    evaluation_set.check_set(args.list.parent, entries)
    chosen = choose(entries, args.files if is_accuracy else [])
    if not is_accuracy and len(chosen) < session.LOOPS:
        raise UserError(f"{args.list}: performance takes {session.LOOPS} files")
    folder = args.session or Path("sessions") / f"{datetime.datetime.now():%Y%m%d_%H%M%S}"
    if not is_accuracy and (folder / "session.json").exists():
        raise UserError(f"{folder}: performance is not resumed; leave --session out")
    patience = args.timeout, args.infer_timeout
    with Device(args.port, args.baud, *patience, args.verify) as device:
        print(f"{args.port}: {device.name}, model {device.model}")
        if device.model != MODEL:
            raise UserError(f"{args.port}: the device holds {device.model}, not {MODEL}")
        facts = Facts(
            mode=args.mode,
            device=device.name,
            model=device.model,
            emulated=args.emulated or any(n in device.name.lower() for n in EMULATED_NAMES),
            list=f"{args.list.parent.resolve().name}/{args.list.name}",
            fingerprint=fingerprint(args.list.parent, entries),
            inferences=1 if is_accuracy else args.inferences,
            warmups=0 if is_accuracy else args.warmups,
        )
        with Session(folder, facts) as run:
            try:
                what = device, run, args.list.parent, chosen
                lines = accuracy(*what, len(entries)) if is_accuracy else performance(*what)
            except UserError as error:
                if not is_accuracy:
                    raise
                kept = f"{len(run.measured)} windows are kept, --session {folder} goes on"
                raise UserError(f"{error}; {kept}") from error
    print(*lines, sep="\n")
    if device.retries:
        print(f"{device.retries} windows were sent again after a lost or wrong byte")
    print(f"Session logged in {folder}")


if __name__ == "__main__":
    sys.exit(cli.run(main))
