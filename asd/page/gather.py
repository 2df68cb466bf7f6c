"""The facts of a run that has just scored its test clips: see `asd.page.facts`."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

import common
from asd import files
from asd.clips import Clip, Scores
from asd.detectors import reconstruction, sections
from asd.detectors.detector import Detector
from asd.page import choice, pictures
from asd.page.choice import Chosen
from asd.page.facts import Facts, Machine, OneClip, Picture, configuration
from asd.page.pictures import Maps
from asd.paths import Paths, record_of
from asd.store import Store
from asd.versions import versions
from common import Predict


class Part(NamedTuple):
    """What a run has of a machine type."""

    model: Path
    sha256: str  # of what was loaded
    clips: Store
    scored: Scores
    normal: Scores | None  # of training clips
    rebuilt: dict[str, Predict]  # see `reconstruction.of`


def gather(paths: Paths, detector: Detector, parts: Sequence[Part]) -> Facts:
    """The facts of a run, with pictures of a few clips, which are read again for that.

    Raises
    ------
    UnusableClip, OSError : a clip has been changed meanwhile.
    """
    cfg = paths.cfg
    return Facts(
        made=f"{datetime.datetime.now(datetime.timezone.utc):%Y-%m-%d %H:%M UTC}",
        experiment=cfg.experiment,
        mode=paths.mode,
        configuration=configuration(cfg),
        versions=versions(),
        score_title=detector.score_title,
        reconstructs=any(part.rebuilt for part in parts),
        machines=[_machine(paths, part) for part in parts],
        pictures=_pictures(paths, parts),
    )


def _machine(paths: Paths, part: Part) -> Machine:
    path = record_of(part.model)
    record = files.read_mapping(path) if path.exists() else {}
    return Machine(
        name=part.scored.machine_type,
        model=part.model.name,
        sha256=part.sha256,
        record=record if record.get("sha256") == part.sha256 else {},
        used=str(part.clips),
        fingerprint=part.clips.fingerprint,
        clips=[_clip(paths, clip) for clip in part.scored.clips],
        training={}
        if part.normal is None
        else {section: of.values.tolist() for section, of in part.normal.by_section()},
    )


def _clip(paths: Paths, clip: Clip) -> OneClip:
    seconds = (clip.n_samples or 0) / paths.cfg.feature.sample_rate
    return OneClip(clip.name, clip.section, clip.domain or "", clip.label, seconds)


def _pictures(paths: Paths, parts: Sequence[Part]) -> list[Picture]:
    chosen = choice.of([part.scored for part in parts], [part.normal for part in parts])
    made: dict[Chosen, Picture] = {}
    for number, part in enumerate(parts):
        own = [one for one in chosen if one.machine == number]
        made |= dict(zip(own, _of_machine(paths, part, own), strict=True))
    _keep_sound([made[one] for one in chosen])
    return [made[one] for one in chosen]


def _keep_sound(made: Sequence[Picture]) -> None:
    """Leave sound out where there is too much of it: of the last clips of either kind."""
    ranks = {True: 0, False: 0}
    order = []
    for one in made:
        order.append((ranks[one.surprising], one.surprising))
        ranks[one.surprising] += 1
    room = pictures.MOST_BYTES * 4 / 3  # of base64
    for _, one in sorted(zip(order, made, strict=True), key=lambda pair: pair[0]):
        room -= len(one.sound)
        if room < 0:
            room += len(one.sound)
            one.sound = ""


def _of_machine(paths: Paths, part: Part, chosen: Sequence[Chosen]) -> list[Picture]:
    """The pictures of a machine type, in colours of one meaning."""
    if not chosen:
        return []
    feature = paths.cfg.feature
    hop_seconds = feature.hop_length / feature.sample_rate
    samples = [pictures.samples_of(part.scored.clips[one.clip], feature) for one in chosen]
    maps = [_maps(paths, part, one.clip, wave)
            for one, wave in zip(chosen, samples, strict=True)]  # fmt: skip
    levels = pictures.colours([one.level for one in maps], pictures.LEVEL_SHARES,
                              pictures.LEVEL_COLOURS)  # fmt: skip
    with_error = [one.error for one in maps if one.error is not None]
    errors = with_error and pictures.colours(with_error, pictures.ERROR_SHARES,
                                             pictures.ERROR_COLOURS)  # fmt: skip
    made = []
    for one, wave, of_clip in zip(chosen, samples, maps, strict=True):
        picture = Picture(
            machine=part.scored.machine_type,
            clip=_clip(paths, part.scored.clips[one.clip]),
            surprising=one.surprising,
            level=pictures.text(levels.png(of_clip.level)),
            level_db=(levels.low, levels.high),
            end=len(of_clip.level) * hop_seconds,
            heard=(of_clip.heard[0] * hop_seconds, of_clip.heard[1] * hop_seconds),
            sound=pictures.text(pictures.sound(wave, feature)),
        )
        if of_clip.error is not None:
            picture.error = pictures.text(errors.png(of_clip.error))
            picture.error_db2 = (errors.low, errors.high)
        made.append(picture)
    return made


def _maps(paths: Paths, part: Part, clip: int, samples: np.ndarray) -> Maps:
    level = common.log_mel(samples, paths.cfg.feature)
    first, end = part.clips.rows.feature.central_frames or (0, len(level))
    section = part.scored.clips[clip].section
    predict = part.rebuilt.get(section, part.rebuilt.get(sections.ALL))
    error = None
    if predict is not None:
        frames = np.ascontiguousarray(part.clips[clip])
        error = reconstruction.errors(predict, frames, paths.cfg.feature.frames)
    return Maps(level, (first, min(end, len(level))), error)
