"""What is said of the cycles that a model takes on a board."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace

import pytest

from asd.embedded import costs
from asd.embedded.costs import Cost
from asd.page import conversion
from common import HERE


def cost(core: str, instructions: int | None, machine_type: str = "ToyCar") -> Cost:
    """Of a place where the C was run."""
    bytes_of = {"code_bytes": 1, "constant_bytes": 2, "scratch_bytes": 3, "stack_bytes": 4}
    return Cost(machine_type, core, core, "dsp", 9, 0, 0.001, 0.002, None,
                instructions=instructions, **bytes_of)  # fmt: skip


def said_of_cycles(*rows: Cost, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """The lines about boards that need so many cycles."""
    assert costs.show(rows, [], [], Path("mcu.csv")) == 0
    lines = capsys.readouterr().out.splitlines()
    assert all(len(line) <= 100 for line in lines)
    return [line for line in lines if re.search(r"\d cycles", line)]


def test_cycles_are_the_instructions_times_those_of_two_boards():
    # 120 MHz / 124.906 and / 116.212 inferences a second, for 582,305 instructions.
    low, high = costs.expected_cycles("Cortex-M4F", 582_305)
    assert low == pytest.approx(120e6 / 124.906, abs=1)
    assert high == pytest.approx(120e6 / 116.212, abs=1)
    assert costs.expected_cycles("Cortex-M3", 582_305) is None


def test_what_is_said_of_cycles(capsys):
    rows = (cost("this machine", None), cost("Cortex-M3", 577_644), cost("Cortex-M4F", 100),
            cost("Cortex-M4F", 252_564, "fan"))  # fmt: skip
    (line,) = said_of_cycles(*rows, capsys=capsys)
    assert "on a board with Cortex-M4F, flash waits included" in line
    assert line.endswith(" expect 417,000 to 448,000 cycles,")
    assert said_of_cycles(rows[1], capsys=capsys) == []
    assert "expect 165 to 177 cycles," in said_of_cycles(rows[2], capsys=capsys)[0]


def test_the_report_says_the_same():
    rows = [{"core": core, "instructions": count} for core, count in
            (("this machine", ""), ("Cortex-M4F", "900"), ("Cortex-M4F", "252564"))]  # fmt: skip
    (paragraph,) = conversion._cycles(SimpleNamespace(boards=rows))
    assert "expect 417,000 to 448,000 cycles on Cortex-M4F, flash waits" in str(paragraph)
    assert conversion._cycles(SimpleNamespace(boards=rows[:1])) == []


def test_code_of_another_core_is_explained(capsys):
    told = "M0+ on M3, M23 on M33: the code of the first, run by the second"
    cores = ("M0+ on M3", "Cortex-M3", "M23 on M33", "M0+ on M3")
    costs.show([cost(core, 9) for core in cores], [], [], Path("mcu.csv"))
    assert told in capsys.readouterr().out.splitlines()
    numbers = {"code_bytes": "1", "constant_bytes": "2", "scratch_bytes": "3", "stack_bytes": "4"}
    rows = [{"core": core, "machine_type": "fan", "kernel": "dsp", "instructions": "9",
             "differing_bytes": "0", "score_median": "0", "verdict": "pass"} | numbers
            for core in cores]  # fmt: skip
    assert f"{told}." in "".join(map(str, conversion._boards(SimpleNamespace(boards=rows))))
    costs.show([cost("Cortex-M3", 9)], [], [], Path("mcu.csv"))
    assert "run by" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "count", "caution"),
    [
        ("README.md", r"Cortex-M4F \| dsp \| ([\d,]+)", "None of it was measured on a board"),
        ("mcu/README.md", r"([\d,]+) instructions on Cortex-M4F", "No board has run this yet."),
    ],
)
def test_the_readme_says_the_same(name, count, caution):
    text = " ".join((HERE / name).read_text(encoding="utf-8").split())
    instructions = int(re.search(count, text)[1].replace(",", ""))
    assert f"about {costs.cycles_in_words('Cortex-M4F', instructions)}" in text
    low, high = costs.BOARD_CYCLES["Cortex-M4F"]
    assert f"{low:,.0f} and {high:,.0f} cycles" in text
    assert caution in text
