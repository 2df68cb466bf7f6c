"""Recordings with causes: a classifier that is tested on machines that it has never heard."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from apps.explore import cause_list, causes_page, learner, recordings, report, splits
from apps.explore.learner import Clips
from apps.explore.outcome import Figure, Outcome
from apps.explore.recordings import NORMAL, Recording
from asd import files
from asd.causes import model, network, statistics
from common import Feature, UserError

LEAST = 2  # clips of a class in a machine, machines of a class
REMEDY = "name causes of more recordings in a CSV with the columns path and cause (--labels)"


class Wanted(NamedTuple):
    """How a classifier is made and tested."""

    feature: Feature
    labels: Path | None
    save: Path | None = None
    unknown_share: float = 0.05  # of clips of known causes that may be called unknown
    seed: int = 0


def usable(some: Sequence[Recording], folder: Path) -> list[Recording]:
    """Recordings of classes that can be learnt and tested; what is left out is said.

    Raises
    ------
    UserError : no cause can be learnt, with how many recordings there are of what.
    """
    told = [one for one in some if one.cause and one.machine]
    normal = {one.machine for one in told if one.cause == NORMAL}
    kept = [one for one in told if one.machine in normal]
    clips = Counter((one.cause, one.machine) for one in kept)
    machines = Counter(cause for (cause, _), count in clips.items() if count >= LEAST)
    classes = {cause for cause, count in machines.items() if count >= LEAST}
    if not classes - {NORMAL} or len(classes) < 2:
        counts = Counter(one.cause or f"{one.label or 'unlabelled'} without a cause"
                         for one in some)  # fmt: skip
        there = ", ".join(f"{count} {name}" for name, count in sorted(counts.items()))
        n_ids = len({one.machine for one in some})
        raise UserError(
            f"{folder}: there are no causes to learn: {there}, of {n_ids} machine ids; a cause "
            f"needs {LEAST} recordings of each of {LEAST} ids that have normal ones, too; {REMEDY}"
        )
    left = Counter(
        "without a cause" if one not in told else
        f"of {one.machine}, which has no normal recording" if one.machine not in normal else
        f"{one.cause}, which fewer than {LEAST} machine ids have"
        for one in some if one not in kept or one.cause not in classes
    )  # fmt: skip
    for why, count in sorted(left.items()):
        print(f"left out: {count} {why}")
    return [one for one in kept if one.cause in classes]


def tested(clips: Clips, wanted: Wanted) -> Outcome:
    """Test on machines left out, and beside it what a random split makes of the same."""
    rows, seed = learner.referred(clips), wanted.seed
    found = learner.held_out(rows, clips, clips.machines)
    plain = learner.held_out(clips.rows, clips, clips.machines)
    n_parts = len(set(clips.machines))
    dealt = splits.at_random(clips.causes, n_parts, seed)
    leaking = [learner.held_out(one, clips, dealt) for one in (rows, clips.rows)]
    limits = learner.thresholds(clips, found.distance, wanted.unknown_share)
    names = ("a machine never heard, its own normal taken off", "a machine never heard",
             "random split (leaks), its own normal taken off", "random split (leaks)")  # fmt: skip
    figures = []
    for name, one in zip(names, (found, plain, *leaking), strict=True):
        value = learner.balanced_accuracy(clips.causes, one.said)
        figures.append(Figure(name, value, *learner.interval(clips, one.said, seed)))
    causes = set(clips.causes) - {NORMAL}
    enough = len(causes) > 1  # with one cause left out, a class beside normal is needed
    unheard = learner.unheard(clips, rows, limits) if enough else []
    said = learner.with_unknown(found, limits)
    share = np.mean([np.mean(said[clips.causes == cause] == model.UNKNOWN)
                     for cause in sorted(set(clips.causes))])  # fmt: skip
    return Outcome(clips, found, said, figures, unheard, float(share))


def saved(one: Outcome, wanted: Wanted) -> tuple[Path, Path]:
    """Learn from all clips and write the classifier; its TFLite and JSON files."""
    clips = one.clips
    rows = learner.referred(clips)
    fitted = learner.fit(rows, clips.causes, clips.machines)
    content = network.network(fitted.weights, fitted.bias, fitted.standardised(rows))
    record = model.Record(
        feature=wanted.feature,
        statistics=statistics.NAMES,
        classes=tuple(map(str, fitted.classes)),
        mean=fitted.mean.tolist(),
        scale=fitted.scale.tolist(),
        references={k: v.reshape(-1).tolist() for k, v in learner.references(clips).items()},
        rows=network.quantised(fitted.known).tobytes(),
        radii=fitted.radii.tolist(),
        threshold=learner.threshold(clips.causes, one.found.distance, wanted.unknown_share),
        tflite_sha256=hashlib.sha256(content).hexdigest(),
        measured=_measured(one),
    )
    return model.save(wanted.save, record, content)


def _measured(one: Outcome) -> dict[str, Any]:
    first = one.figures[0]
    return {"balanced_accuracy": first.value, "low": first.low, "high": first.high,
            "chance": 1 / len(set(one.clips.causes)), "clips": len(one.clips.causes),
            "machines": len(set(one.clips.machines)),
            "known_called_unknown": one.known_called_unknown}  # fmt: skip


def run(folder: Path, out: Path, wanted: Wanted) -> None:
    """Write causes.csv, figures.csv, unknown.csv, confusion.png, causes.html; perhaps a model.

    Raises
    ------
    UserError : there are no causes to learn; a recording or the list cannot be used.
    """
    found = recordings.find(folder)
    causes = cause_list.read(wanted.labels) if wanted.labels else {}
    some = usable(recordings.with_causes(found, causes), folder)
    rows = recordings.each(some, wanted.feature, statistics.statistics, str(folder))
    clips = Clips(np.stack(rows), *(np.array([getattr(one, name) for one in some])
                                    for name in ("cause", "machine", "group")))  # fmt: skip
    one = tested(clips, wanted)
    _write(out, some, one)
    if wanted.save:
        for path in saved(one, wanted):
            print(f"{path}: written")


def _write(out: Path, some: Sequence[Recording], one: Outcome) -> None:
    found = one.found
    files.write_csv(out / "causes.csv", [
        ("path", "machine", "cause", "said", "most_probable", "probability", "distance"),
        *((clip.name, clip.machine, clip.cause, *told) for clip, *told in zip(
            some, one.said.tolist(), found.said.tolist(), found.probability.tolist(),
            found.distance.tolist(), strict=True)),
    ])  # fmt: skip
    chance = 1 / len(set(one.clips.causes))
    figures = [*one.figures, Figure("chance", chance, chance, chance)]
    files.write_csv(out / "figures.csv", [Figure._fields, *figures])
    files.write_csv(out / "unknown.csv", [learner.Unheard._fields, *one.unheard])
    for title, header, lines in causes_page.tables(one, figures):
        print(f"\n{title}")
        report.show(header, lines)
    causes_page.write(out, one, figures)
