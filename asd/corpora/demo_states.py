"""How demo machines run in the source and in the target domain: the states of a section.

A state is a value of each attribute of the section, and names of clips say it: `speed_1560_load_2`.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from asd.corpora.demo_sound import MACHINES, Running, Unit

DOMAINS = ("source", "target")
# Sizes are plausible ones: large enough to be told apart, and as large as weak anomalies.
LOAD_DB, MIC_DB_PER_OCTAVE, NOISE_DB = 3.0, -1.5, 5.0  # a step of the attribute


def _ratio(db: float) -> float:
    return 10 ** (db / 20)


def _load(step: float) -> Running:
    """More is pumped or driven: flow and vanes are louder."""
    gain = _ratio(LOAD_DB * (step - 1))
    return Running(flow=gain, vane=gain)


# What a value of an attribute does; speeds are re nominal, and the power of flow noise falls as
# speed to the fifth, as in `demo_sound.voltage_drop`.
EFFECTS: dict[str, Callable[[float], Running]] = {
    "speed": lambda ratio: Running(ratio, flow=ratio**2.5),
    "load": _load,
    "mic": lambda step: Running(tilt_db=MIC_DB_PER_OCTAVE * (step - 1)),
    "noise": lambda step: Running(background=_ratio(NOISE_DB * (step - 1))),
}


@dataclass(frozen=True)
class Shift:
    """What differs between the domains of a section: values of its attributes in each."""

    attributes: tuple[str, str]
    source: Sequence[tuple[float, float]]
    target: Sequence[tuple[float, float]]


SHIFTS = (
    Shift(("speed", "load"), [(1, 1), (0.94, 1), (1, 2)], [(0.84, 2), (0.84, 1)]),
    Shift(("speed", "mic"), [(1, 1), (0.92, 1)], [(1, 2), (0.92, 2)]),
    Shift(("load", "noise"), [(1, 1), (2, 1), (3, 1)], [(1, 2), (2, 2)]),
)


@dataclass(frozen=True)
class State:
    """A way to run, and its attributes by name."""

    attributes: Mapping[str, str]
    running: Running


def sounds_as(machine_type: str) -> str:
    """The machine of `demo_sound.MACHINES` that takes the place of one of a year's machine types.

    The one of that name, as of fan, pump and gearbox; or any, the same always.
    """
    for name in MACHINES:
        if name.removeprefix("Demo").lower() in machine_type.lower():
            return name
    return list(MACHINES)[zlib.crc32(machine_type.encode()) % len(MACHINES)]


def of_section(machine_type: str, section: str, unit: Unit) -> dict[str, list[State]]:
    """The states of a section by domain; sections of one machine type differ in what shifts."""
    which = zlib.crc32(machine_type.encode()) // len(MACHINES) + int(section)
    shift = SHIFTS[which % len(SHIFTS)]
    values = {"source": shift.source, "target": shift.target}
    return {d: [_state(unit, shift.attributes, one) for one in values[d]] for d in DOMAINS}


def _state(unit: Unit, names: Sequence[str], values: Sequence[float]) -> State:
    running, said = Running(), {}
    for name, value in zip(names, values, strict=True):
        running &= EFFECTS[name](value)
        rpm = round(60 * unit.shaft_hz * value, -1)
        said[name] = f"{rpm:.0f}" if name == "speed" else f"{value:.0f}"
    return State(said, running)
