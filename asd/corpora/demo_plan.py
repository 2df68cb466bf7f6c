"""Which clips a demo set has, and what is in each: planned before any is made."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from asd.corpora import demo_sound, demo_states, names, rows
from asd.corpora.demo_sound import Running
from asd.corpora.demo_states import DOMAINS, State

GOLDEN = 0.618034  # its multiples modulo 1 fill [0, 1) evenly, however many there are
DEFAULT_IDS = 2  # per Demo type
MOST_IDS = 50  # per Demo type: dev and eval share the numbers of two digits
MOST_CLIPS = 99_999_999  # a clip's number of 2020 has eight digits
LEAST_SECONDS, MOST_SECONDS = 0.1, 3600.0  # of a clip
WEAKEST = 0.1  # strengths of anomalies lie in [WEAKEST, 1]
LEAST_TARGET, TARGET_SHARE = (
    2,
    0.01,
)  # training clips of the target domain; the years had 10 of 1000
SUPPLEMENTAL_SHARE = 0.1  # of the number of training clips
LABELS = ("normal", "anomaly")


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the clips depend on."""

    seed: int
    machine_types: tuple[str, ...]
    ids: int | None  # per machine type; None: all that the year has
    train_clips: int  # per id or section
    test_clips: int  # per id and label; in years with domains per section, domain and label
    eval: bool
    seconds: float
    sound_version: int = demo_sound.VERSION
    layout: str = rows.FIRST

    def __post_init__(self) -> None:
        if self.layout not in rows.CORPORA:
            raise ValueError(f"unknown layout {self.layout}")
        if unknown := set(self.machine_types) - set(machine_types(self.layout)):
            raise ValueError(f"unknown machine type {unknown.pop()}")
        counts = self.train_clips, self.test_clips
        if not (
            (self.ids is None or 1 <= self.ids <= MOST_IDS)
            and all(1 <= count <= MOST_CLIPS for count in counts)
            and LEAST_SECONDS <= self.seconds <= MOST_SECONDS
        ):
            raise ValueError("a number beyond its limits")

    @property
    def corpus(self) -> rows.Corpus:
        """The row of the layout."""
        return rows.CORPORA[self.layout]

    @property
    def modes(self) -> tuple[str, ...]:
        """ "dev", and "eval" where that is wanted."""
        return ("dev", "eval") if self.eval else ("dev",)


def machine_types(layout: str) -> list[str]:
    """What a set of a layout can hold: 2020 the machines of demo_sound, too."""
    corpus = rows.CORPORA[layout]
    of_year = dict.fromkeys((*corpus.dev, *corpus.evaluation))
    return [*(demo_sound.MACHINES if layout == rows.FIRST else ()), *of_year]


def described(options: Options) -> dict[str, Any]:
    """Options as they are written; sets of 2020 need not name their layout."""
    values = msgspec.to_builtins(options)
    if options.layout == rows.FIRST:
        del values["layout"]
    return values


@dataclass(frozen=True)
class DemoClip:
    """A clip of the set. Its sound depends on this, the seed and the length, on nothing else."""

    mode: str  # "dev" or "eval"
    machine_type: str
    section: str  # or machine id, two digits
    folder: str  # "train", "test"
    name: str
    unit: tuple[str, str]  # see `demo_sound.unit`
    running: Running = field(default_factory=Running)  # when nothing is wrong
    cause: str | None = None
    strength: float = 0.0
    full_name: str = ""  # with the label, of an anonymous clip of the evaluation data
    domain: str | None = None
    attributes: Mapping[str, str] = field(default_factory=dict)

    @property
    def path(self) -> str:
        """Where it is in the set's folder."""
        return f"{self.mode}_data/{self.machine_type}/{self.folder}/{self.name}"


def plan(options: Options) -> Iterator[DemoClip]:
    """All clips of a set.

    Demo types have the dev ids 00, 02, 04, ... and the eval ids 01, 03, 05, ...; the machine types
    of a year have the year's.
    """
    for machine_type in options.machine_types:
        if machine_type in demo_sound.MACHINES:
            for number in range(2 * (options.ids or DEFAULT_IDS)):
                mode, section = ("dev", "eval")[number % 2], f"{number:02d}"
                if mode in options.modes:
                    unit = machine_type, section
                    yield from _of_2020(_Place(options, mode, machine_type, section, unit))
            continue
        clips = _of_domains if options.corpus.has_domains else _of_2020
        for mode in options.modes:
            for section in options.corpus.sections(mode).get(machine_type, ())[: options.ids]:
                unit = demo_states.sounds_as(machine_type), f"{machine_type}_{section}"
                yield from clips(_Place(options, mode, machine_type, section, unit))


@dataclass(frozen=True)
class _Place:
    """A section of the dev or the eval data."""

    options: Options
    mode: str
    machine_type: str
    section: str
    unit: tuple[str, str]

    def clip(self, folder: str, name: str, **more: Any) -> DemoClip:
        return DemoClip(
            self.mode, self.machine_type, self.section, folder, f"{name}.wav", self.unit, **more
        )

    def fault(self, i: int, where: str = "") -> dict[str, Any]:
        """Cause and strength of the i-th anomaly: causes by turns, strengths evenly spread."""
        machine, unit = self.unit
        causes = demo_sound.MACHINES[machine].causes
        turn, which = divmod(i, len(causes))
        name = f"{machine}/{unit}{where}/{causes[which]}"
        start = demo_sound.generator(self.options.seed, name).random()
        strength = WEAKEST + (1 - WEAKEST) * ((start + turn * GOLDEN) % 1)
        return {"cause": causes[which], "strength": round(strength, 3)}

    def random(self, *names: object) -> Any:
        """Random numbers of something in this section, the same however many clips there are."""
        return demo_sound.generator(self.options.seed, "/".join(map(str, (*self.unit, *names))))


def _of_2020(place: _Place) -> Iterator[DemoClip]:
    """An id; that of evaluation data has half as many clips."""
    options, of = place.options, f"id_{place.section}"
    if place.mode == "dev":
        for i in range(options.train_clips):
            yield place.clip("train", f"normal_{of}_{i:08d}")
        for i in range(options.test_clips):
            yield place.clip("test", f"normal_{of}_{i:08d}")
            yield place.clip("test", f"anomaly_{of}_{i:08d}", **place.fault(i))
        return
    for i in range(-(-options.train_clips // 2)):
        yield place.clip("train", f"normal_{of}_{i:08d}")
    for i in range(-(-options.test_clips // 2)):
        # A coin for each pair: shuffled, and the same however many clips there are.
        coin = int(place.random(i).integers(2))
        for k in range(2):
            label = LABELS[k ^ coin]
            more = place.fault(i) if label == "anomaly" else {}
            full_name = f"{label}_{of}_{i:08d}.wav"
            yield place.clip("test", f"{of}_{2 * i + k:08d}", full_name=full_name, **more)


def _of_domains(place: _Place) -> Iterator[DemoClip]:
    """A section of a year with a source and a target domain."""
    options, corpus = place.options, place.options.corpus
    unit = demo_sound.unit(*place.unit)
    states = demo_states.of_section(place.machine_type, place.section, unit)
    n = options.train_clips
    n_target = max(min(LEAST_TARGET, n // 2), round(TARGET_SHARE * n))
    for domain, count in zip(DOMAINS, (n - n_target, n_target), strict=True):
        for i in range(count):
            state = states[domain][i % len(states[domain])]
            yield _clip(place, "train", domain, "normal", i, state)
    for i in range(options.test_clips):
        clips = [_test_clip(place, domain, label, i, states[domain])
                 for domain in DOMAINS for label in LABELS]  # fmt: skip
        yield from clips if place.mode == "dev" else _anonymous(place, clips, i)
    if corpus.has_supplemental:  # the machine alone; their names are no year's
        for i in range(-int(-SUPPLEMENTAL_SHARE * n // 1)):
            state = states["source"][i % len(states["source"])]
            running = state.running & Running(background=0.0)
            name = f"section_{place.section}_supplemental_clean_{i:04d}"
            yield place.clip("supplemental", name, running=running)


def _clip(
    place: _Place, split: str, domain: str, label: str, i: int, state: State, **more: Any
) -> DemoClip:
    corpus, machine_type = place.options.corpus, place.machine_type
    terse = machine_type in corpus.terse
    attributes = {} if machine_type in corpus.without_attributes else state.attributes
    pairs = [("" if terse else "_").join(pair) for pair in attributes.items()]
    words = ["section", place.section, domain, split, label, f"{i:04d}"]
    if terse and split == "test":
        words.remove(split)
    name = "_".join([*words, *(pairs or [names.NO_ATTRIBUTE])])
    folders = corpus.folders(split)
    folder = folders[DOMAINS.index(domain) if len(folders) > 1 else 0]
    more |= {"running": state.running, "domain": domain, "attributes": attributes}
    return place.clip(folder, name, **more)


def _test_clip(place: _Place, domain: str, label: str, i: int, states: list[State]) -> DemoClip:
    state = states[place.random(domain, label, i).integers(len(states))]
    fault = place.fault(i, f"/{domain}") if label == "anomaly" else {}
    return _clip(place, "test", domain, label, i, state, **fault)


def _anonymous(place: _Place, clips: list[DemoClip], i: int) -> Iterator[DemoClip]:
    """The i-th test clips of each domain and label without their labels, shuffled in a folder."""
    said = len(place.options.corpus.test_folders) > 1  # the domain, by the folder and the name
    for folder in dict.fromkeys(clip.folder for clip in clips):
        some = [clip for clip in clips if clip.folder == folder]
        order = place.random(folder, i).permutation(len(some))
        for clip, k in zip(some, order, strict=True):
            word = f"{clip.domain}_test_" if said else ""
            name = f"section_{place.section}_{word}{len(some) * i + k:04d}.wav"
            yield dataclasses.replace(clip, name=name, full_name=clip.name)
