"""Write the tree of a submission from a YAML file and the sessions of its runs, and check it.

    python -m apps.submission.tree submission.yaml out
    python -m apps.submission.tree submission.yaml out --checker tiny/tools/submission
    python -m apps.submission.tree --check out

Reads the YAML (apps/submission/example.yaml shows every key), the sessions, the TFLite file with
the record beside it, and the code folder. Below the folder it writes
<closed|open>/<organisation>/{systems,code,results}, only if every rule holds. Closed: the weights
are the published ones, by hash, and the AUC is .85 or more. Generated code is that of the TFLite
file, by the hash in its heads. Emulated timings are only taken for a rehearsal, which says so in
the names and texts of the tree.

A tree may hold other benchmarks, or come from an earlier round: its results of ad are checked, and
what is not looked at is named.
"""

from __future__ import annotations

import argparse
import importlib.util
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from apps.submission import description, rules, tree_rules
from apps.submission.description import Submission
from apps.submission.rules import REHEARSAL
from apps.submission.session import FILES
from asd import cli, files
from common import UserError

VERSION = "v1.4"
LOOKS_OK = "SUMMARY: submission looks OK"
_LEFT_OUT = shutil.ignore_patterns("__pycache__", ".*", "*.o", "*.pyc")


def assemble(submission: Submission, root: Path) -> None:
    """Write the tree below `root`.

    Raises
    ------
    UserError : see `description.quantisation` and `rules.check_session`; or a folder is missing.
    """
    facts = description.quantisation(submission)
    home = root / submission.division / submission.organisation
    for mode in ("accuracy", "performance", "energy"):
        if not (name := getattr(submission, mode)):
            continue
        rules.check_session(Path(name), mode, submission.rehearsal)
        target = home / "results" / submission.folder / "ad" / mode
        target.mkdir(parents=True)
        pictures = [path.name for path in Path(name).glob("energy_inf_*.png")]
        for file in (*FILES, *(pictures if mode == "energy" else ())):
            shutil.copyfile(Path(name) / file, target / file)
    if not Path(submission.code).is_dir():
        raise UserError(f"{submission.code}: no such folder of code")
    code = home / "code" / "ad" / submission.implementation
    shutil.copytree(submission.code, code, ignore=_LEFT_OUT)
    for folder in sorted((p for p in code.rglob("*") if p.is_dir()), reverse=True):
        if not any(folder.iterdir()):
            folder.rmdir()
    files.write_json(code / "quantisation.json", facts)
    (home / "systems").mkdir()
    files.write_json(
        home / "systems" / f"{submission.folder}.json",
        description.system_json(submission, description.quantisation_words(facts)),
    )
    if submission.rehearsal:
        text = "A rehearsal: measured on an emulated device. Not a result, not to be submitted.\n"
        (home / f"{REHEARSAL}.txt").write_text(text, encoding="utf-8")


def official_check(root: Path, checker: Path, python: str) -> str:
    """The summary line of the official checker.

    Raises
    ------
    UserError : it finds errors, which are shown; or it cannot run.
    """
    script = checker / "submission_checker.py" if checker.is_dir() else checker
    if not script.is_file():
        raise UserError(f"{script}: no submission_checker.py")
    if python == sys.executable and not importlib.util.find_spec("pandas"):
        raise UserError("the official checker needs pandas: install it, or name another --python")
    with tempfile.TemporaryDirectory() as folder:
        arguments = ["--input", str(root.resolve()), "--version", VERSION]
        command = [python, str(script.resolve()), *arguments, "--csv", f"{folder}/summary.csv"]
        how = {"capture_output": True, "encoding": "utf-8", "errors": "replace", "timeout": 300}
        try:
            done = subprocess.run(command, **how)
        except OSError as error:
            raise UserError(f"{python}: cannot be run ({error.strerror})") from error
        except subprocess.TimeoutExpired as error:
            raise UserError(f"{script}: has not ended in {error.timeout:.0f} s") from error
    lines = (done.stdout + done.stderr).splitlines()
    if not any(LOOKS_OK in line for line in lines):
        wrong = [line for line in lines if re.match("ERROR|WARNING", line)] or lines[-1:]
        raise UserError("the official checker finds errors\n" + "\n".join(wrong))
    return LOOKS_OK


def _show(root: Path) -> str:
    """Check a tree: problems end the run, all else is printed; what holds, in words."""
    found = tree_rules.check_tree(root)
    for line in found.warnings:
        print(f"warning: {line}")
    for line in found.unchecked:
        print(f"not checked: {line}")
    if problems := found.problems:
        raise UserError("\n".join([f"{root}: {len(problems)} rules are broken", *problems]))
    if not found.systems:
        raise UserError(f"{root}: holds no results of {tree_rules.MODEL_FOLDER} to check")
    return "every rule holds" if not found.unchecked else "every rule that was checked holds"


def _write(submission: Submission, out: Path) -> tuple[Path, str]:
    """Assemble and check beside the target, then move it there; what holds, in words."""
    place = Path(submission.division) / submission.organisation
    if (out / place).exists():
        raise UserError(f"{out / place}: is there already; remove it or name another folder")
    files.check_writable(out)
    with tempfile.TemporaryDirectory(dir=out, prefix=".") as temporary:
        root = Path(temporary)
        assemble(submission, root)
        holds = _show(root)
        (out / place).parent.mkdir(exist_ok=True)
        (root / place).rename(out / place)
    return out / place, holds


def main(argv: Sequence[str] | None = None) -> None:
    """See the module."""
    parser = argparse.ArgumentParser(
        prog="python -m apps.submission.tree",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("yaml", type=Path, nargs="?", help="what is submitted")
    parser.add_argument("folder", type=Path, help="that holds, or will hold, closed/ or open/")
    parser.add_argument("--check", action="store_true", help="only check the tree that is there")
    parser.add_argument("--checker", type=Path, help="the official one, or its folder")
    parser.add_argument("--python", default=sys.executable, help="of the checker's environment")
    args = parser.parse_args(argv)
    if args.check == bool(args.yaml):
        parser.error("give a YAML file and a folder, or --check and a folder")
    if args.check:
        print(f"{args.folder}: {_show(args.folder)}")
    else:
        place, holds = _write(description.load(args.yaml), args.folder)
        print(f"{place}: written, {holds}")
    if args.checker:
        print(official_check(args.folder, args.checker, args.python))


if __name__ == "__main__":
    sys.exit(cli.run(main))
