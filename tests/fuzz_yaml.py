"""Hostile YAML: mutations of baseline.yaml and the recipes are read, or refused in one line.

.venv/bin/python -m tests.fuzz_yaml --size 5000
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import yaml

from asd import config
from asd.detectors import kinds
from common import HERE, UserError
from tests import fuzz

MOST_LETTERS = 300  # of a message
SOURCES = [config.BASELINE, *sorted((HERE / "recipes").glob("*.yaml"))]
VALUES = [
    "2020-01-01", "2001-12-14t21:59:43.10-05:00", "2020-13-99", "12:30:45", "1:2:3.4e5",
    "!!set {a}", "!!set [a]", "!!binary aGVsbG8=", "!!omap [a: 1, b: 2]", "!!pairs [a: 1]",
    "!!timestamp now", "!!int many", "!!float much", "!!bool perhaps", "!!str [a]", "!!map a",
    "!!seq {a: 1}", "! a", "!!python/object/apply:os.getcwd []", "!!python/name:os.system",
    "!mine {a: 1}", "!<tag:a> b",
    "7" * 5000, "-" + "9" * 400, "0x" + "f" * 5000, "0b_", "0x_", "08", "0o17", "1_000", "1e999",
    "-1e999", ".inf", "-.inf", ".nan", ".NaN", "1" * 400 + ".0", ":".join(["59"] * 300), "1e-400",
    "18446744073709551616", "-1", "0", "1.5", "true", "yes", "null", "~", "", "=", "<<", "*a",
    "&a [*a]", "&a {b: *a}", "&a", "{<<: {a: 1}}", "{<<: 1}", "{? [1, 2] : 3}", "{? {a: 1} : 2}",
    "{1: 2}", "{null: 1}", "{2020-01-01: 1}", "{1.5: 2, true: 3}", "{a: 1, a: 2}", "{.nan: 1}",
    "[" * 10000, "[" * 200 + "]" * 200, "{a: " * 10000, "{a: " * 200 + "}" * 200, "- " * 10000,
    "? " * 3000, '"\\0"', '"a\\x00b"', '"a\\nb"', '"\\e[31m"', '"\\ud800"', '"\\udcff"',
    '"\\ud83d\\ude00"', '"\\U00110000"', '"\\UFFFFFFFF"', '"\\u2028"', "a\0b", "\ufeff", "\t1",
    "x" * 5000, "é", "名前", "..", ".", "/", "a/b", "../a", "a\\\\b", "metrics.csv", "Parity.CSV",
    "skipped.csv", "eval", "roc_fan.png", "anomaly_score_fan_id_00.csv", "tflite_result.csv",
    "x - at `$.seed`", "'x` - at `$'", "|\n  text\n  more", "[1, 2", "{a", "'", '"', "%", "@", "`",
    "{kind: frozen}", "{kind: frozen, backend: {kind: knn, distance: cosine, neighbours: 1}}",
    "{kind: [a]}", "{kind: " + "k" * 5000 + "}", "[128, " * 30 + "1" + "]" * 30, "[]", "{}",
]  # fmt: skip
LINES = [
    "a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\nd: &d [*c, *c]\ne: &e [*d, *d]\nf: [*e, *e]",
    "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9) if i else 'x'}]\n" for i in range(40)),
    "".join(f"a{i}: &a{i} {{<<: [*a{i - 1}, *a{i - 1}]}}\n" if i else "a0: &a0 {b: 1}\n"
            for i in range(30)),
    "<<: {seed: 3}", "<<: [{seed: 3}, {seed: 4}]", "--- {}", "---\nseed: 1\n---\nseed: 2", "...",
    "%YAML 1.1\n---", "%YAML 9.9", "%YAML " + "9" * 5000 + ".1\n---", "%TAG ! tag:a,2000:", "- 1",
    "? [a, b]\n: 1", "2020-01-01: 3", "1: 2", "null: 1", "true: 1", "? !!set {a}\n: 1", "=: 1",
    "k" * 5000 + ": 1", '"\\0": 1', '"\\ud800": 1', '"a\\nb": 1', "\tseed: 1", "seed: 1\n seed: 2",
    "".join(f"{' ' * i}a:\n" for i in range(300)), "".join(f"k{i}: 0\n" for i in range(3000)),
]  # fmt: skip


def _with_another_value(lines: list[str], rng: np.random.Generator) -> None:
    """Give a key another value."""
    keyed = [i for i, line in enumerate(lines) if re.match(r" *\w+:", line)]
    if keyed:
        at = int(rng.choice(keyed))
        lines[at] = lines[at].partition(":")[0] + ": " + VALUES[rng.integers(len(VALUES))]


def _with_a_value_inside(lines: list[str], rng: np.random.Generator) -> None:
    """Put a value in the place of a word or number anywhere."""
    at = int(rng.integers(len(lines)))
    words = list(re.finditer(r"[\w.]+", lines[at]))
    if words:
        word = words[rng.integers(len(words))]
        value = VALUES[rng.integers(len(VALUES))]
        lines[at] = lines[at][: word.start()] + value + lines[at][word.end() :]


def _with_another_line(lines: list[str], rng: np.random.Generator) -> None:
    lines.insert(int(rng.integers(len(lines) + 1)), LINES[rng.integers(len(LINES))])


def _with_a_line_twice(lines: list[str], rng: np.random.Generator) -> None:
    line = lines[rng.integers(len(lines))]
    lines.insert(int(rng.integers(len(lines) + 1)), line)


def _with_a_line_deeper(lines: list[str], rng: np.random.Generator) -> None:
    at = int(rng.integers(len(lines)))
    lines[at] = " " * int(rng.integers(1, 5)) + lines[at]


CHANGES = (
    _with_another_value, _with_another_value, _with_another_value, _with_a_value_inside,
    _with_another_line, _with_a_line_twice, _with_a_line_deeper,
)  # fmt: skip


def hostile(rng: np.random.Generator) -> bytes:
    """A YAML file of ours with a few things changed, in its text or in its bytes."""
    content = SOURCES[rng.integers(len(SOURCES))].read_bytes()
    if rng.random() < 0.7:
        lines = content.decode().splitlines()
        for _ in range(rng.integers(1, 4)):
            CHANGES[rng.integers(len(CHANGES))](lines, rng)
        content = "\n".join(lines).encode()
    if rng.random() < 0.35:
        content = fuzz.mutated(content, rng)
    if rng.random() < 0.03:
        content = content.decode("latin-1").encode(
            str(rng.choice(["utf-16", "utf-8-sig", "utf-32"]))
        )
    return content


def check_values(values: Any) -> None:
    """See that numbers are finite and texts can name a file."""
    if isinstance(values, dict | list | tuple):
        for value in values.values() if isinstance(values, dict) else values:
            check_values(value)
    elif isinstance(values, float):
        assert math.isfinite(values)
    elif isinstance(values, str):
        assert "\0" not in values
        values.encode("utf-8")


def check_message(message: str, path: Path) -> None:
    """See that it is one bounded line that names the file."""
    assert str(path) in message, message
    assert message.isprintable(), message
    assert len(message) <= MOST_LETTERS, f"{len(message)} letters: {message}"


def attempt(rng: np.random.Generator, folder: Path) -> str:
    """Write a hostile file, and read it, with the recipes that are a base beside it."""
    for source in SOURCES:
        (folder / source.name).symlink_to(source)
    path = folder / "my.yaml"
    path.write_bytes(hostile(rng))
    try:
        cfg = config.load_config(path)
        kinds.of(cfg)
    except UserError as error:
        check_message(str(error), path)
        return "refused"
    check_values({key: value for key, value in msgspec.structs.asdict(cfg).items()
                  if key != "detector"} | cfg.detector.values)  # fmt: skip
    yaml.safe_dump(cfg.detector.values)
    return "read"


if __name__ == "__main__":
    fuzz.main(__doc__, attempt)
