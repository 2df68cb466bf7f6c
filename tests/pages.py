"""Result folders as 01_test.py leaves them, made up: what a report may meet."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import msgspec
import numpy as np

from asd import config, files
from asd.clips import Clip, Scores
from asd.evaluation import tables, verdicts
from asd.page import facts, pictures
from asd.page.facts import Facts, Machine, OneClip, Picture
from asd.paths import scores_of, table_of
from asd.versions import versions

# What a machine type or a clip may be called: a file's name may hold all but a slash.
HOSTILE = '<script>alert("1")<b>&amp;\'\u202egnp.\u05d0\u05d1\u05d2\ufeff' + "x" * 60


@dataclasses.dataclass
class Made:
    """How many of what."""

    types: tuple[str, ...] = ("fan", "pump")
    ids: int = 2
    normal: int = 6  # test clips of an id
    anomalous: int = 5
    unknown: int = 0
    training: int = 20  # clips; 0: no scores of them
    label_domains: bool = False
    sound: bytes = b""
    name: str = ""  # a part of every clip's


def scores_for(machine: str, made: Made, rng: np.random.Generator) -> tuple[Scores, Scores | None]:
    """Scores of test and of training clips; anomalous ones are higher."""
    clips, values = [], []
    for section in (f"{i:02}" for i in range(made.ids)):
        for label, count in ((0, made.normal), (1, made.anomalous), (None, made.unknown)):
            for i in range(count):
                name = f"{label}_id_{section}_{i:04}{made.name}.wav"
                domain = ("source", "target")[i % 2] if made.label_domains else None
                clips.append(Clip(Path(name), machine, section, "test", label, domain))
                values.append(rng.gamma(9, 1) + 4 * (label == 1))
    train = [Clip(Path(f"{i}.wav"), machine, f"{i % made.ids:02}", "train", 0)
             for i in range(made.training)]  # fmt: skip
    normal = Scores(tuple(train), rng.gamma(9, 1, len(train))) if train else None
    return Scores(tuple(clips), np.array(values)), normal


def write(folder: Path, made: Made) -> Facts:
    """Write a result folder without its report."""
    cfg, rng = config.load_config(), np.random.default_rng(0)
    both = [scores_for(name, made, rng) for name in made.types]
    machines = []
    for test, normal in both:
        for section, part in test.by_section():
            rows = zip([clip.name for clip in part.clips], part.values, strict=True)
            files.write_csv(scores_of(folder, test.machine_type, section), rows)
        clips = [OneClip(c.name, c.section, c.domain or "", c.label, 10.0) for c in test.clips]
        training = {} if normal is None else {s: p.values.tolist() for s, p in normal.by_section()}
        machines.append(Machine(test.machine_type, "model.keras", "00", {}, "all", "11", clips,
                                training))  # fmt: skip
    if not made.unknown:
        results = [tables.evaluate(test, cfg.max_fpr) for test, _ in both]
        tables.write_metrics(table_of(folder, "metrics"), results)
    if made.training:
        how = msgspec.structs.replace(cfg.decision, threshold="empirical")
        found = [verdicts.of(test, normal, how) for test, normal in both]
        verdicts.write_table(table_of(folder, "decisions"), found)
    shown = [_picture(one, clip, i, made.sound) for one in machines
             for i, clip in enumerate(one.clips[:4])]  # fmt: skip
    told = Facts("2026-01-01 00:00 UTC", "", "dev", facts.configuration(cfg), versions(),
                 "mean squared reconstruction error (dB²)", True, machines, shown)  # fmt: skip
    facts.write(folder, told)
    return told


def _picture(machine: Machine, clip: OneClip, i: int, sound: bytes) -> Picture:
    values = np.random.default_rng(i).normal(size=(313, 128)).astype(np.float32)
    colours = pictures.colours([values], pictures.LEVEL_SHARES, pictures.LEVEL_COLOURS)
    png = pictures.text(colours.png(values))
    return Picture(machine.name, clip, i % 2 == 1, png, (-40, 3.5), 10.0, (1.6, 8.0), png,
                   (0, 123.4), pictures.text(sound))  # fmt: skip
