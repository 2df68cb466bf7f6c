"""TFLite files with random damage: each is read and becomes C, or is refused in one line.

.venv/bin/python -m tests.fuzz_tflite --size 1000
"""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np

from asd.embedded import codegen
from asd.tflite import reader, writer
from asd.tflite.chain import Dense
from common import UserError
from tests import fuzz, networks, shapes


def floats(rng: np.random.Generator) -> bytes:
    """A float file of a random chain."""
    widths = rng.integers(1, 40, 4)
    chain = [
        Dense(rng.standard_normal((a, b)), rng.standard_normal(b), relu=bool(rng.integers(2)))
        for a, b in itertools.pairwise(widths)
    ]
    return writer.of_floats(chain)


def integers(seed: int) -> bytes:
    """An int8 file: every third time a chain of layers alone, else of another shape."""
    if seed % 3 == 0:
        return networks.random_network(seed, 40, 4)
    several = (*shapes.SHAPES, shapes.uint8)
    return several[seed % len(several)]().content()


def attempt(rng: np.random.Generator, folder: Path) -> str:
    """Read a damaged file in each way that there is."""
    of_floats = rng.random() < 0.3
    seed = int(rng.integers(1000))
    content = floats(rng) if of_floats else integers(seed)
    content = fuzz.mutated(content, rng)
    done = []
    for function in (reader.describe, reader.read_floats if of_floats else codegen.generate):
        try:
            with fuzz.bounded():
                function(content)
            done.append("read")
        except UserError as error:
            line = str(error)
            assert line and len(line.splitlines()) == 1 and len(line) < 300, line
            done.append("refused")
    return "read" if done == ["read", "read"] else "refused"


if __name__ == "__main__":
    fuzz.main(__doc__, attempt)
