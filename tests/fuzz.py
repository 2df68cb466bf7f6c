"""What the fuzz tests share: mutations of bytes, and a command that tries as many as it is told.

Each `tests/fuzz_<what>.py` has a function `attempt(rng, folder)` that makes one hostile input,
gives it to the code and says in a word what came of it ("read", "refused"); what is wrong raises.
Its test tries a few; by hand it tries many:

    .venv/bin/python -m tests.fuzz_wavs --size 4000 --seed 1
"""

from __future__ import annotations

import argparse
import re
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

MOST_BYTES = 1 << 30  # of memory, for what is bounded
Attempt = Callable[[np.random.Generator, Path], str]


def mutated(content: bytes, rng: np.random.Generator) -> bytes:
    """The content with one to eight places flipped, overwritten, removed, doubled or cut off."""
    result = bytearray(content)
    for _ in range(rng.integers(1, 9)):
        if not result:
            break
        at = int(rng.integers(len(result)))
        span = slice(at, at + int(rng.integers(1, 17)))
        kind = rng.choice(["flip", "flip", "flip", "noise", "extreme", "remove", "double", "cut"])
        if kind == "flip":
            result[at] ^= 1 << int(rng.integers(8))
        elif kind == "noise":
            result[span] = rng.bytes(len(result[span]))
        elif kind == "extreme":
            result[span] = bytes([int(rng.choice([0, 0x7F, 0x80, 0xFF]))]) * len(result[span])
        elif kind == "remove":
            del result[span]
        elif kind == "double":
            result[at:at] = result[span]
        else:
            del result[at:]
    return bytes(result)


def tried(attempt: Attempt, size: int, seed: int = 0) -> Counter[str]:
    """What came of `size` attempts, each with a generator and a folder of its own.

    Raises
    ------
    AssertionError : one went wrong; its number is named, by which it can be tried again.
    """
    outcomes: Counter[str] = Counter()
    for number in range(size):
        with tempfile.TemporaryDirectory() as folder:
            try:
                outcome = attempt(np.random.default_rng([seed, number]), Path(folder))
            except Exception as error:
                raise AssertionError(f"attempt {number} of seed {seed}: {error!r}") from error
        outcomes[outcome] += 1
    return outcomes


def resident(what: str) -> int:
    """Bytes of memory in use: VmRSS now, VmHWM at most."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(re.search(rf"{what}:\s+(\d+) kB", status)[1])


@contextmanager
def bounded() -> Iterator[None]:
    """See that what runs meanwhile uses no more memory than a bound above what is in use."""
    Path("/proc/self/clear_refs").write_text("5")  # the peak is what is in use now
    before = resident("VmRSS")
    try:
        yield
    finally:
        more = resident("VmHWM") - before
        assert more < MOST_BYTES, f"{more:,} bytes more"


def main(doc: str | None, attempt: Attempt) -> None:
    """The command of a fuzz test: try, and say what came of it."""
    parser = argparse.ArgumentParser(description=doc)
    parser.add_argument("--size", type=int, default=1000, help="attempts")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    outcomes = tried(attempt, args.size, args.seed)
    print(f"{args.size} tried:", ", ".join(f"{n} {word}" for word, n in outcomes.most_common()))
