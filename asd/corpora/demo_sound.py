"""The sound of demo machines: shaft, vanes, flow, the factory around them, and five faults.

It is synthesised from what is known of rotating machines, never recorded: results on it say
nothing about real ones. `asd.corpora.demo` writes data sets of it.
"""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable
from dataclasses import dataclass, fields

import numpy as np
from numpy.random import Generator

VERSION = 1  # raise it when a change of this file or of demo_states changes the sound
SAMPLE_RATE = 16000  # Hz, as DCASE 2020 Task 2
TABLE = 65536  # points per turn of a waveform; the nearest is read, errors < -50 dB

# Sizes, here and in the causes, are plausible ones, set so that each id's AUC is about .7 to .95.
LEVEL_DB, GAIN_DB = -26.0, 2.0  # RMS of a machine re full scale; +- per clip
SNR_DB = (3.0, 12.0)  # machine to factory background, per clip
PEAK = 0.89  # -1 dBFS; a clip that is louder is turned down
CLIP_SPEED, WANDER = 0.01, 0.006  # +- of a clip's mean speed; standard deviation within a clip
WANDER_SECONDS, CONTROL_HZ = 2.0, 100  # over which speed is smooth; rate at which it is computed
HUM_DB, HUM_HZ = -24.0, 100.0  # magnetic hum re the machine; twice the mains frequency
NEIGHBOUR_DB = (-30.0, -15.0)  # tones of other machines re this one, per clip
CLANKS_PER_SECOND, CLANK_SECONDS, CLANK_DB = 0.2, 0.5, (-15.0, 0.0)  # distant blows on metal
KNOCK_SECONDS, SLIP = 0.001, 0.1  # decay of a bearing's ring; its balls are late by up to this
RUB_SHARPNESS = 12.0  # of the bursts: half as loud 20 degrees off the middle
FAR_DB, FAR_SECONDS = -10.0, 0.006  # the machine at a microphone 2 m farther off, and its way there
TILT_HZ = 500.0  # where a microphone's tilt changes nothing


@dataclass(frozen=True)
class Running:
    """How a machine runs and is recorded in a clip. All but the tilt are amplitude ratios."""

    speed: float = 1.0  # re nominal
    unbalance: float = 1.0  # gain of the line at the shaft frequency
    vane: float = 1.0  # gain of the vane tones
    flow: float = 1.0  # gain of the flow noise
    hum: float = 1.0  # gain of the magnetic hum
    knock: float = 0.0  # RMS of bearing impulses re the healthy machine
    rub: float = 0.0  # RMS of rubbing re the healthy machine
    background: float = 1.0  # gain of the factory around it
    tilt_db: float = 0.0  # per octave, of the microphone

    def __and__(self, other: Running) -> Running:
        """Both at once: ratios multiply; tilts, and what a healthy machine lacks, add up."""
        pairs = ((one, getattr(self, one.name), getattr(other, one.name)) for one in fields(self))
        return Running(*(a * b if one.default else a + b for one, a, b in pairs))


def _ratio(db: float | np.ndarray) -> float | np.ndarray:
    return 10 ** (db / 20)


def bearing(strength: float) -> Running:
    """A pitted race: every ball that passes the pit rings the bearing's seat."""
    return Running(knock=_ratio(20 * strength - 24))


def imbalance(strength: float) -> Running:
    """A heavy spot on the rotor: the line at the shaft frequency rises."""
    return Running(unbalance=_ratio(20 * strength))


def rubbing(strength: float) -> Running:
    """The rotor touches the casing once per turn: bursts of broadband noise."""
    return Running(rub=_ratio(20 * strength - 23))


def clogging(strength: float) -> Running:
    """Less flow: its noise falls, the unloaded rotor speeds up and its vanes sing louder."""
    return Running(1 + 0.03 * strength, flow=_ratio(-4 * strength), vane=_ratio(3 * strength))


def voltage_drop(strength: float) -> Running:
    """The motor slows down and hums; the power of flow noise falls as speed to the fifth."""
    speed = 1 - 0.06 * strength
    return Running(speed, flow=speed**2.5, hum=_ratio(15 * strength))


CAUSES: dict[str, Callable[[float], Running]] = {
    cause.__name__: cause for cause in (bearing, imbalance, rubbing, clogging, voltage_drop)
}
DRY_CAUSES = tuple(cause for cause in CAUSES if cause != "clogging")


@dataclass(frozen=True)
class Machine:
    """A machine type; its ids differ within the ranges."""

    shaft_hz: tuple[float, float]
    vanes: tuple[int, int]  # blades, vanes or teeth, first and last
    tone_share: float  # of the machine's power; the rest is flow noise
    vane_tilt_db: float  # per octave above the vane frequency
    flow_corner_hz: float  # where flow noise begins to fall
    flow_tilt_db: float  # per octave above it
    stroke_turns: int  # turns of the shaft per stroke of a piston
    stroke_depth: float  # amplitude modulation by the stroke, 0..1
    causes: tuple[str, ...] = tuple(CAUSES)  # what can happen to it


# 24-30 Hz: 4-pole motors on inverters; 48 Hz: a loaded 2-pole motor at 50 Hz; 20 Hz: a mixer.
MACHINES = {
    "DemoFan": Machine((24.0, 30.0), (5, 9), 0.4, -6.0, 250.0, -5.0, 1, 0.1),
    "DemoPump": Machine((47.5, 48.5), (6, 6), 0.5, -4.0, 400.0, -4.0, 16, 0.4),
    "DemoGearbox": Machine((18.0, 22.0), (23, 31), 0.45, -4.0, 300.0, -6.0, 1, 0.2, DRY_CAUSES),
}


@dataclass(frozen=True)
class Unit:
    """One machine, an id of a type; the same whatever the seed of the set."""

    kind: Machine
    shaft_hz: float
    vanes: int
    shaft: np.ndarray  # (1 + n_orders,) complex128, amplitudes of the shaft's harmonics, from 0 Hz
    vane: np.ndarray  # (1 + n_orders,) complex128, those of the vanes, with sidebands
    resonances_hz: tuple[float, ...]  # of the casing
    neighbours_hz: tuple[float, ...]  # tones of machines nearby
    fault_order: float  # bearing impulses per turn
    bearing_hz: float  # what they excite


def generator(seed: int, name: str) -> Generator:
    """Random numbers that depend on the seed and the name alone."""
    return np.random.default_rng([seed, *name.encode()])


@functools.lru_cache(maxsize=256)
def unit(machine_type: str, machine_id: str) -> Unit:
    """The machine of a type in MACHINES with this id: "00" to "99", or any other name."""
    kind = MACHINES[machine_type]
    rng = generator(0, f"{machine_type}_id_{machine_id}")
    shaft_hz = rng.uniform(*kind.shaft_hz)
    vanes = int(rng.integers(*kind.vanes, endpoint=True))
    order = np.arange(1, int(SAMPLE_RATE / 2 / (1.1 * shaft_hz)))  # no alias at full speed
    phasor = _ratio(rng.normal(0, 3, len(order))) * np.exp(2j * np.pi * rng.random(len(order)))
    shaft = phasor * 0.3 / order  # -6 dB per octave
    octaves = np.log2(np.maximum(order / vanes, 1))
    vane = phasor * (order % vanes == 0) * _ratio(kind.vane_tilt_db * octaves)
    vane[1:-1] += 0.15 * (vane[:-2] + vane[2:])  # vanes are not quite equal
    scale = np.sqrt(2 * kind.tone_share / np.sum(np.abs(shaft + vane) ** 2))
    return Unit(
        kind, shaft_hz, vanes, np.append(0, shaft * scale), np.append(0, vane * scale),
        resonances_hz=tuple(rng.uniform((400, 1000, 2200), (900, 2000, 4500))),
        neighbours_hz=tuple(rng.uniform((150, 500, 1200), (400, 1100, 3000))),
        fault_order=0.4 * rng.integers(8, 12) + rng.uniform(-0.1, 0.1),  # outer race, 8-11 balls
        bearing_hz=rng.uniform(2800, 4200),
    )  # fmt: skip


def clip(machine: Unit, running: Running, rng: Generator, n: int) -> np.ndarray:
    """One recording; of two made by equal generators, only `running` differs.

    Parameters
    ----------
    machine : see `unit`
    running : `Running()` is healthy; CAUSES give the others
    n : samples at SAMPLE_RATE

    Returns
    -------
    (n,) float32, full scale is 1, between -PEAK and PEAK
    """
    gain, machines, background = _parts(machine, running, rng, n)
    # Summed from left to right, as rounding tells the order.
    sound = functools.reduce(operator.add, [machines[0], background, *machines[1:]])
    return _recorded(sound, gain, running.tilt_db)


def stereo(machine: Unit, running: Running, rng: Generator, n: int) -> np.ndarray:
    """One recording by two microphones; see `clip`.

    Returns
    -------
    (2, n) float32, near and far: there the machine is weaker and the factory is not
    """
    gain, machines, background = _parts(machine, running, rng, n)
    own = functools.reduce(operator.add, machines)
    late = int(FAR_SECONDS * SAMPLE_RATE)
    there = np.concatenate((np.zeros(late, np.float32), own[: n - late])) * _ratio(FAR_DB)
    other = running.background * _factory(machine, running, rng, n)
    far = there + (background + other) * math.sqrt(0.5)
    channels = [_recorded(sound, gain, running.tilt_db) for sound in (own + background, far)]
    return np.stack(channels)


def _parts(
    machine: Unit, running: Running, rng: Generator, n: int
) -> tuple[float, list[np.ndarray], np.ndarray]:
    """Gain; the machine and what is wrong with it, and the factory, each (n,) float32."""
    gain = _ratio(LEVEL_DB + rng.uniform(-GAIN_DB, GAIN_DB))
    turns = _turns(machine, running, rng, n)
    machines = [_machine(machine, running, turns, rng)]
    background = running.background * _factory(machine, running, rng, n)
    if running.knock:
        machines.append(running.knock * _knocks(machine, turns, rng))
    if running.rub:
        machines.append(running.rub * _rubs(turns, rng))
    return gain, machines, background


def _recorded(sound: np.ndarray, gain: float, tilt_db: float) -> np.ndarray:
    """Sound as a microphone of that tilt writes it down, (n,) float32."""
    if tilt_db:
        octaves = np.log2(np.fft.rfftfreq(len(sound), 1 / SAMPLE_RATE)[1:] / TILT_HZ)
        spectrum = np.fft.rfft(sound)
        spectrum[1:] *= _ratio(tilt_db * octaves)
        sound = np.fft.irfft(spectrum, len(sound)).astype(np.float32)
    sound = gain * (sound - sound.mean())
    return sound * min(1, PEAK / np.abs(sound).max())


def _turns(machine: Unit, running: Running, rng: Generator, n: int) -> np.ndarray:
    """Angle of the shaft at each sample, (n,) float64, turns: the integral of a wandering speed."""
    window = np.hanning(int(WANDER_SECONDS * CONTROL_HZ))
    n_control = n * CONTROL_HZ // SAMPLE_RATE + 2
    steps = rng.standard_normal(n_control + len(window) - 1) / np.sqrt(np.sum(window**2))
    wander = WANDER * np.convolve(steps, window, "valid") + rng.uniform(-CLIP_SPEED, CLIP_SPEED)
    turns = rng.random() + np.cumsum(machine.shaft_hz * running.speed * (1 + wander)) / CONTROL_HZ
    return np.interp(np.arange(n) * (CONTROL_HZ / SAMPLE_RATE), np.arange(n_control), turns)


def _machine(machine: Unit, running: Running, turns: np.ndarray, rng: Generator) -> np.ndarray:
    """Shaft, vanes and flow, RMS 1 when healthy, (n,) float32."""
    kind, n = machine.kind, len(turns)
    harmonics = machine.shaft + running.vane * machine.vane
    harmonics[1] = running.unbalance * machine.shaft[1]
    shape = _shape(n, kind.flow_corner_hz, kind.flow_tilt_db, machine.resonances_hz)
    flow = np.fft.irfft(_noise(rng, shape), n).astype(np.float32, copy=False)
    flow *= running.flow * np.sqrt(1 - kind.tone_share)
    stroke = 1 + kind.stroke_depth * _wave(np.array([0, 1]), turns / kind.stroke_turns)
    return (_wave(harmonics, turns) + flow) * stroke


def _factory(machine: Unit, running: Running, rng: Generator, n: int) -> np.ndarray:
    """Pink noise, hum, tones of other machines and distant blows, (n,) float32."""
    noise = _noise(rng, _shape(n, 30.0, -3.0, ())) * np.float32(_ratio(-rng.uniform(*SNR_DB)))
    tones_hz = np.array([HUM_HZ, *machine.neighbours_hz])
    tones_db = np.append(HUM_DB, rng.uniform(*NEIGHBOUR_DB, len(machine.neighbours_hz)))
    tones = _ratio(tones_db) * np.exp(2j * np.pi * rng.random(len(tones_hz))) * n / np.sqrt(2)
    tones[0] *= running.hum
    noise[np.round(tones_hz * n / SAMPLE_RATE).astype(int)] += tones
    sound = np.fft.irfft(noise, n).astype(np.float32, copy=False)
    seconds = np.arange(int(CLANK_SECONDS * SAMPLE_RATE)) / SAMPLE_RATE
    for start in rng.integers(0, n, rng.poisson(CLANKS_PER_SECOND * n / SAMPLE_RATE)):
        partials = np.sin(2 * np.pi * rng.uniform(250, 2500, (4, 1)) * seconds)
        decays = np.exp(-seconds * rng.uniform(10, 40, (4, 1)))  # 25-100 ms
        blow = _ratio(rng.uniform(*CLANK_DB)) * np.sum(partials * decays, axis=0)
        sound[start : start + len(blow)] += blow[: n - start]
    return sound


@functools.lru_cache(maxsize=32)
def _shape(n: int, corner_hz: float, tilt_db: float, peaks_hz: tuple[float, ...]) -> np.ndarray:
    """Amplitudes, (n // 2 + 1,) float32, of noise of RMS 1 that falls by tilt_db per octave."""
    hz = np.fft.rfftfreq(n, 1 / SAMPLE_RATE)
    shape = hz / (hz + 30) * (1 + (hz / corner_hz) ** 2) ** (tilt_db / 40 / np.log10(2))
    for peak in peaks_hz:
        shape *= 1 + 2 / (1 + ((hz - peak) / (0.06 * peak)) ** 2)  # +9.5 dB, Q about 8
    return (shape * n / 2 / np.sqrt(np.sum(shape**2))).astype(np.float32)


def _noise(rng: Generator, shape: np.ndarray) -> np.ndarray:
    """Spectrum of noise, (n // 2 + 1,) complex64."""
    return rng.standard_normal(2 * len(shape), np.float32).view(np.complex64) * shape


def _wave(harmonics: np.ndarray, turns: np.ndarray) -> np.ndarray:
    """The sum of harmonics of one turn at the given angles, (n,) float32."""
    table = np.fft.irfft(harmonics * (TABLE / 2), TABLE).astype(np.float32)
    return table[(turns * TABLE).astype(np.int64) & (TABLE - 1)]


def _knocks(machine: Unit, turns: np.ndarray, rng: Generator) -> np.ndarray:
    """Decaying oscillations at the bearing's resonance, (n,) float32, RMS 1."""
    ball = (turns - turns[0]) * machine.fault_order
    impulse = ball.astype(np.int64)
    force = _ratio(rng.normal(0, 2, impulse[-1] + 1)).astype(np.float32)[impulse]
    late = rng.uniform(0, SLIP, impulse[-1] + 1)[impulse]
    since = np.maximum(ball - impulse - late, 0) / (machine.fault_order * machine.shaft_hz)
    seconds = since.astype(np.float32)
    ring = np.sin(np.float32(2 * np.pi * machine.bearing_hz) * seconds)
    sound = force * ring * np.exp(seconds / np.float32(-KNOCK_SECONDS))
    return sound / np.sqrt(np.mean(np.square(sound)))


def _rubs(turns: np.ndarray, rng: Generator) -> np.ndarray:
    """One burst of white noise per turn, (n,) float32, RMS 1."""
    burst = np.exp(RUB_SHARPNESS * (_wave(np.array([0, 1]), turns) - 1))
    sound = burst * rng.standard_normal(len(turns), np.float32)
    return sound / np.sqrt(np.mean(np.square(sound)))
