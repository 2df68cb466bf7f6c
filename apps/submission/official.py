"""Run the official runner, unmodified, from a checkout of mlcommons/tiny.

    python -m apps.submission.official tiny/benchmark/runner accuracy --emulated \\
        --port /dev/pts/4 --dataset datasets
    python -m apps.submission.official tiny/benchmark/runner performance --port /dev/ttyACM0 \\
        --dataset datasets --inferences 3000

Reads the runner's devices_ad.yaml and tests_*.yaml, and the list in <dataset>/ad01. The runner
writes sessions/YYYYMMDD_HHMMSS below the working folder, or below --output; `session.json` is
put beside its files. What differs from the runner's own tests (--list, --inferences, --warmups)
stands in a tests.yaml beside the sessions.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from apps.submission import evaluation_set, handover
from apps.submission.session import LOOPS, MODES, NOT_A_RESULT, check_counts
from asd import cli, files
from asd.embedded import processes
from common import UserError

MODEL = "ad01"
# More than a run of the whole list prints, and more than a line of it has: beyond them it is lost.
MOST_LINES, MOST_LINE_CHARACTERS = 2_000_000, 10_000


def read_yaml(path: Path) -> Any:
    """A file of the official runner.

    Raises
    ------
    UserError : it is missing or not YAML.
    """
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(
            f"{path}: missing; name benchmark/runner of a checkout of mlcommons/tiny"
        ) from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: not a YAML file") from error


def usb_ids(devices: Path) -> tuple[int, int]:
    """Vendor and product id of the device under test in a devices YAML.

    Raises
    ------
    UserError : it has none.
    """
    for device in read_yaml(devices):
        if device.get("type") == "dut" and device.get("usb"):
            vid, pids = next(iter(device["usb"].items()))
            return vid, pids[0] if isinstance(pids, list) else pids
    raise UserError(f"{devices}: no device of type dut with usb ids in it")


def write_tests(path: Path, official: Path, args: argparse.Namespace) -> None:
    """The official tests of a mode, with the list and the infer command of `args`."""
    tests = {MODEL: read_yaml(official)[MODEL]}
    if args.list:
        tests[MODEL]["truth_file"] = args.list
    if args.mode == "performance":
        infer = f"infer {args.inferences} {args.warmups}"
        for step in tests[MODEL]["script"]:
            for name, commands in step.items():
                step[name] = [infer if c.startswith("infer ") else c for c in commands]
    files.check_writable(path.parent)
    with files.whole_file(path) as temporary:
        temporary.write_text(yaml.safe_dump(tests, sort_keys=False), encoding="utf-8")


def run(command: Sequence[str], folder: Path, emulated: bool) -> list[str]:
    """Run a command in a folder; its lines, shown as they come, throughput marked if emulated.

    Raises
    ------
    UserError : it fails, or prints without end.
    """
    environment = os.environ | {"MPLBACKEND": "Agg", "PYTHONUNBUFFERED": "1"}
    lines: list[str] = []
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    how = {"cwd": folder, "env": environment, "encoding": "utf-8", "errors": "replace", **pipes}
    with processes.started(command, **how) as process:
        while line := process.stdout.readline(MOST_LINE_CHARACTERS + 1):
            if len(lines) == MOST_LINES or len(line) > MOST_LINE_CHARACTERS:
                raise UserError(f"the official runner prints without end: {line[:40]!r}...")
            lines.append(line.rstrip("\n"))
            marked = emulated and re.search("inf./sec|uJ/inf", line)
            print(f"{lines[-1]} {NOT_A_RESULT}" if marked else lines[-1], flush=True)
            if line.startswith("RuntimeError: No response"):
                process.kill()  # its reading thread would go on for ever
        process.wait()
    if process.returncode == handover.NOT_INSTALLED:
        raise UserError(f"{command[0]}: {lines[-1]}; install it there, or name another --python")
    if process.returncode:
        last = next((line for line in reversed(lines) if line.strip()), "")
        raise UserError(f"the official runner failed: {last}")
    return lines


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m apps.submission.official",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("runner", type=Path, help="benchmark/runner of a checkout")
    parser.add_argument("mode", choices=list(MODES))
    parser.add_argument("--port", required=True, help="serial port or pseudo-terminal")
    parser.add_argument("--dataset", type=Path, required=True, help="the folder that holds ad01/")
    parser.add_argument("--emulated", action="store_true", help="the device is emulated")
    parser.add_argument("--list", metavar="NAME", help="in ad01/, instead of y_labels.csv")
    parser.add_argument("--inferences", type=int, default=1500, help="performance: of a run")
    parser.add_argument("--warmups", type=int, default=10, help="performance: before a run")
    parser.add_argument("--devices", type=Path, help="instead of the runner's devices_ad.yaml")
    parser.add_argument("--output", type=Path, default=Path(), help="where sessions/ goes")
    parser.add_argument("--python", default=sys.executable, help="of the runner's environment")
    args = parser.parse_args(argv)
    check_counts(parser, args)
    return args


def main(argv: Sequence[str] | None = None) -> None:
    """See the module."""
    args = _parse(argv)
    runner, output = args.runner.resolve(), args.output.resolve()
    if not (runner / "main.py").is_file():
        raise UserError(f"{args.runner}: no main.py; name benchmark/runner of a checkout")
    if args.port.startswith(("tcp:", "socket:")):
        raise UserError(f"{args.port}: the official runner opens serial ports and pseudo-terminals")
    devices = (args.devices or runner / "devices_ad.yaml").resolve()
    ids = usb_ids(devices)
    truth = args.dataset / MODEL / (args.list or "y_labels.csv")
    entries = evaluation_set.read_list(truth)
    evaluation_set.check_set(truth.parent, entries)
    if args.mode == "performance" and len(entries) < LOOPS:
        raise UserError(f"{truth}: performance takes {LOOPS} files")
    tests = output / "tests.yaml"
    write_tests(tests, runner / f"tests_{args.mode}.yaml", args)
    before = set(output.glob("sessions/*"))
    arguments = ["-d", devices, "-t", tests, "-s", args.dataset.resolve(), "-m", MODES[args.mode]]
    command = [args.python, handover.__file__, runner, args.port, *ids, *arguments]
    lines = run([str(part) for part in command], output, args.emulated)
    name = next((m[1] for line in lines if (m := re.match(r"Device name.*: (.+)", line))), "")
    for session in sorted(set(output.glob("sessions/*")) - before):
        facts = {"mode": args.mode, "device": name, "emulated": args.emulated, "runner": "official"}
        files.write_json(session / "session.json", facts)
        with contextlib.suppress(ValueError):
            session = session.relative_to(Path.cwd())
        print(f"Session logged in {session}")


if __name__ == "__main__":
    sys.exit(cli.run(main))
