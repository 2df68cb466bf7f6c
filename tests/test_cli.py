"""How scripts end: one line for what a user can mend, and no letter that stops a run."""

import os
import re
import subprocess
import sys

import pytest

from asd import cli
from common import HERE, UserError


@pytest.fixture(autouse=True)
def interrupts(monkeypatch):
    """`cli.run` takes interrupts over; pytest wants its own back."""
    monkeypatch.setattr(cli.signal, "signal", lambda *_: None)


def raising(error):
    def main():
        raise error

    return main


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryError("Unable to allocate 9 TiB"), "not enough memory; close other programs"),
        (UnicodeEncodeError(sys.getfilesystemencoding(), "a\ud800", 1, 2, "no"),
         r"'a\\ud800': no file can have this name"),
        (UserError("a\x1b[31m\udcff: wrong"), r"a\\x1b\[31m\\udcff: wrong"),
        (UserError("one\ntwo"), "one\ntwo"),
    ],
)  # fmt: skip
def test_what_a_user_can_mend_is_one_line(capsys, error, expected):
    assert cli.run(raising(error)) == 1
    written = capsys.readouterr().err
    assert re.fullmatch(f"error: {expected}.*\n", written)


def test_a_fault_of_the_program_is_shown_whole():
    for error in (RecursionError(), ValueError("x"), UnicodeEncodeError("punycode", "a", 0, 1, "")):
        with pytest.raises(type(error)):
            cli.run(raising(error))


@pytest.mark.parametrize("encoding", ["ascii", "utf-8"])
def test_no_letter_stops_a_run(encoding):
    code = "from asd import cli; import sys; sys.exit(cli.run(lambda: print('m\\xb2 \\udcff')))"
    environment = os.environ | {"PYTHONIOENCODING": encoding, "PYTHONPATH": str(HERE)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout == {"ascii": b"m\\xb2 \\udcff\n", "utf-8": b"m\xc2\xb2 \\udcff\n"}[encoding]
