"""The command line of the scripts, and how they end: exit statuses, one line for a mistake."""

from __future__ import annotations

import argparse
import contextlib
import errno
import io
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from asd import messages
from asd.config import BASELINE
from common import UserError, __version__


def parse_args(
    doc: str,
    argv: Sequence[str] | None = None,
    add: Callable[[argparse.ArgumentParser], object] | None = None,
) -> argparse.Namespace:
    """The arguments of the numbered scripts; the mode is in `.mode`, "dev" or "eval".

    Parameters
    ----------
    doc : of the script, shown by -h
    add : adds arguments of the script's own
    """
    parser = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    mode = parser.add_mutually_exclusive_group(required=True)
    mode.add_argument("-d", "--dev", dest="mode", action="store_const", const="dev",
                      help="the development data: labelled test clips")  # fmt: skip
    mode.add_argument("-e", "--eval", dest="mode", action="store_const", const="eval",
                      help="the evaluation data: test clips without labels")  # fmt: skip
    option = parser.add_argument
    option("-v", "--version", action="version", version=__version__)
    option("-c", "--config", type=Path, default=BASELINE, metavar="FILE",
           help="YAML file over the values of baseline.yaml")  # fmt: skip
    option("-m", "--machine-type", action="append", default=[], metavar="TYPE",
           help="a machine type, repeatable; all that are found without it")  # fmt: skip
    option(
        "--seed",
        type=int,
        metavar="N",
        help="another than the YAML's, and an experiment of its own: its name and _seedN",
    )
    option("--overwrite", action="store_true",
           help="train anew where a model of another configuration or of other "
           "clips is there (scores and TFLite files are always written anew)")  # fmt: skip
    option("--skip-bad-clips", action="store_true",
           help="go on without clips that cannot be used; they are listed in "
           "skipped.csv of the result folder")  # fmt: skip
    option("--verify", action="store_true",
           help="compare the checksums of stored features, not only sizes and times")  # fmt: skip
    if add:
        add(parser)
    return parser.parse_args(argv)


@contextlib.contextmanager
def quiet_stderr() -> Iterator[None]:
    """Keep what C++ libraries write to stderr (banners, advice) from the user's screen."""
    sys.stderr.flush()
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(nowhere)
        os.close(kept)


def _robust_streams() -> None:
    """Let no letter end a run: what stdout or stderr cannot express is escaped.

    That is a letter that an ASCII terminal lacks, or a byte of a file's name that is not UTF-8.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


INTERRUPTS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)  # Ctrl-C, kill, a closed terminal


def run(main: Callable[[], int | None]) -> int:
    """Run a script's main; return its exit status.

    0 done, 1 failed (one line on stderr for what a user can mend), 128 and the signal's number
    when interrupted: 130 by Ctrl-C. Wrong usage, 2, is argparse's own exit.
    """
    interrupted = 0

    def on_interrupt(number: int, _: Any) -> None:
        nonlocal interrupted
        interrupted = number
        for one in INTERRUPTS:
            signal.signal(one, signal.SIG_IGN)  # one is enough, while things are put away
        raise KeyboardInterrupt

    for number in INTERRUPTS:
        if number == signal.SIGINT or signal.getsignal(number) != signal.SIG_IGN:  # nohup
            signal.signal(number, on_interrupt)
    _robust_streams()
    try:
        return main() or 0
    except BaseException as error:
        # An import or a callback of C code may turn the interrupt into an error of its own.
        if interrupted or isinstance(error, KeyboardInterrupt):
            print("\ninterrupted; what was finished is kept, run again to go on", file=sys.stderr)
            return 128 + (interrupted or signal.SIGINT)
        line = _one_line(error)
        if line is None:
            raise
        lines = [messages.plain(part) for part in line.split("\n")]
        print("error:", "\n".join(lines), file=sys.stderr)
        return 1


def _one_line(error: BaseException) -> str | None:
    """The line that tells a user's mistake or a machine's limit; None for a program's fault."""
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, MemoryError):
        return "not enough memory; close other programs, or take fewer or shorter clips"
    if isinstance(error, UnicodeEncodeError) and error.encoding == sys.getfilesystemencoding():
        return (
            f"{messages.shown(error.object)}: no file can have this name where names are "
            f"{error.encoding}; rename it, or set LC_ALL=C.UTF-8"
        )
    if isinstance(error, OSError):
        remedies = {
            errno.ENOSPC: "; free some space and run again",
            errno.EACCES: "; change its permissions, or name another folder in the YAML",
            errno.EPERM: "; change its permissions, or name another folder in the YAML",
            errno.EROFS: "; name another folder in the YAML",
            errno.ENOTDIR: "; a file stands where a folder is needed",
            errno.EEXIST: "; a file stands where a folder is needed",
        }
        if isinstance(error, BrokenPipeError):
            sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - for the flush at exit
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{error.strerror or error}{remedies.get(error.errno, '')}"
    return None
