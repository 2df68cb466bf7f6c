"""The head of a report, what was run on what, and the words that it uses."""

from __future__ import annotations

from collections import Counter

import numpy as np
import yaml

from asd.evaluation.parity import FAIL
from asd.page import html
from asd.page.facts import Machine
from asd.page.html import Html, Section
from asd.page.run import Run

MOST_CARDS = 12
MODES = {"dev": "development data", "eval": "evaluation data"}


def title(run: Run) -> str:
    """What the page is called."""
    names = [machine.name for machine in run.facts.machines]
    told = ", ".join(names) if len(names) <= 3 else f"{len(names)} machine types"
    return f"Anomalous sounds: {' · '.join(filter(None, (run.facts.experiment, told)))}"


def lead(run: Run) -> list[Html]:
    """The first lines, and a card for each machine type."""
    clips = [clip for machine in run.facts.machines for clip in machine.clips]
    types = [html.name(one.name) for one in run.facts.machines[:MOST_CARDS]]
    if (more := len(run.facts.machines) - MOST_CARDS) > 0:
        types.append(f"{more} more machine types")
    parts = [html.paragraph(
        "A detector that has learnt from sound of normally running machines gave every test "
        "recording (a clip) an anomaly score: the higher, the less it sounds like normal. This "
        f"page tells how well that finds faults, in {len(clips):,} clips of ",
        html.listed(types), ".")]  # fmt: skip
    if not run.labelled:
        unknown = sum(clip.label is None for clip in clips)
        parts.append(html.paragraph(
            f"Of {unknown:,} of the {len(clips):,} clips nobody told whether they are normal or "
            "anomalous. So how many faults are found cannot be said; scores, thresholds and clips "
            "are below.", class_="warning"))  # fmt: skip
    if run.skipped:
        parts.append(html.paragraph(
            f"{run.skipped:,} recordings could not be used and are not in these figures; "
            "skipped.csv lists them with the reason.", class_="warning"))  # fmt: skip
    cards = [_card(run, machine) for machine in run.facts.machines[:MOST_CARDS]]
    if more := len(run.facts.machines) - len(cards):
        cards.append(html.paragraph(f"and {more} more machine types, in the tables below"))
    return [*parts, html.tag("div", *cards, class_="cards")]


def _card(run: Run, machine: Machine) -> Html:
    """The figures of a machine type that matter most."""
    lines = []
    rows = {row["id"]: row for row in run.of(run.metrics, machine)}
    if rows:
        average = rows["average"]
        if average["auc"]:
            value, low, high = (float(average[key]) for key in ("auc", "auc_low", "auc_high"))
            ids = len(rows) - 2
            of = f", mean of {ids} machine ids" if ids > 1 else ""
            between = f"probably between {low:.3f} and {high:.3f}{of}"
            lines += [
                html.paragraph(f"AUC {value:.3f}", class_="large"),
                html.paragraph(between, class_="note"),
                html.paragraph(
                    f"In {html.percent(value)} of all pairs of an anomalous and a normal clip, the "
                    f"anomalous one has the higher score (guessing: {html.percent(0.5)})."),
            ]  # fmt: skip
            if low <= 0.5:
                lines.append(html.paragraph(
                    "That may be luck: the interval reaches down to guessing. More test clips "
                    "would tell.", class_="bad"))  # fmt: skip
        else:
            lines.append(html.paragraph(f"No AUC: {average['note']}."))
    lines += [html.paragraph(one) for one in _alarms(run, machine)]
    verdicts = Counter(row["verdict"] for row in run.of(run.parity, machine))
    if verdicts:
        count = sum(verdicts.values())
        lines.append(html.paragraph(
            f"Converted models: {count - verdicts[FAIL]} of {count} comparisons passed",
            class_="bad" if verdicts[FAIL] else "good"))  # fmt: skip
    return html.tag("div", html.tag("h2", html.name(machine.name)), *lines, class_="card")


def called(run: Run, machine: Machine) -> np.ndarray | None:
    """(n_clips,) bool: which clips are above their threshold; None where there is none."""
    limits = run.limits(machine)
    if not limits:
        return None
    own = np.array([limits[clip.section] for clip in machine.clips])
    return run.scores[machine.name] > own


def _alarms(run: Run, machine: Machine) -> list[str]:
    above, labels = called(run, machine), run.labels(machine)
    if above is None:
        return []
    if (labels == -1).any():
        return [f"{above.sum():,} of {len(above):,} clips are above the threshold."]
    faulty, normal = labels == 1, labels == 0
    return [f"At the threshold, {(above & faulty).sum():,} of {faulty.sum():,} anomalous clips "
            f"are found, and {(above & normal).sum():,} of {normal.sum():,} normal clips are "
            "called anomalous by mistake."]  # fmt: skip


def sections(run: Run) -> list[Section]:
    """What was run on what."""
    told, config = run.facts, run.facts.configuration
    detector = config["detector"]["kind"]
    data = config["dev_directory" if told.mode == "dev" else "eval_directory"]
    rows = [("data", f"{MODES.get(told.mode, told.mode)}, {data}"),
            ("corpus", config["corpus"]),
            ("detector", f"{detector}: the score is the {told.score_title}"
             if told.reconstructs else f"{detector}; the score: {told.score_title}"),
            ("seed", config["seed"]),
            ("made", f"{told.made}, by asd {told.versions['asd']}, Python "
                     f"{told.versions['python']}"),
            ("folder", "beside this page lie the same figures as CSV files")]  # fmt: skip
    table = [_row(run, machine) for machine in told.machines]
    header = ("machine type", "test clips", "normal", "anomalous", "seconds a clip",
              "learnt from", "model")  # fmt: skip
    used = [html.paragraph(html.name(one.name), f": {one.used}", class_="note")
            for one in told.machines]  # fmt: skip
    text = yaml.safe_dump(config, sort_keys=False, allow_unicode=True)
    versions = ((name, version) for name, version in told.versions.items())
    models = [(html.name(one.name), f"{one.model}, SHA-256 {one.sha256}") for one in told.machines]
    return [Section("What was run on what", [
        html.pairs(rows),
        html.table(header, table, "Machine types"),
        html.folded("What of each clip is used", *used),
        html.folded("The whole configuration", html.tag("pre", text, tabindex=0)),
        html.folded("Model files and versions of programs", html.pairs(models),
                    html.table(("program", "version"), versions, "Versions")),
    ])]  # fmt: skip


def _row(run: Run, machine: Machine) -> tuple[object, ...]:
    labels, record = run.labels(machine), machine.record
    unknown = (labels == -1).any()
    counts = ("unknown",) * 2 if unknown else (f"{(labels == i).sum():,}" for i in (0, 1))
    seconds = np.array([clip.seconds for clip in machine.clips])
    low, high = f"{seconds.min():.3g}", f"{seconds.max():.3g}"
    clips = record.get("clips", {}).get("count")
    trained = "unknown, a published model" if clips is None else f"{clips:,} normal clips"
    length = low if low == high else f"{low} – {high}"
    return (html.name(machine.name), f"{len(labels):,}", *counts, length, trained,
            html.name(machine.model))  # fmt: skip


WORDS = (
    ("clip", "a recording of a few seconds; it gets one score"),
    ("machine type, id", "a kind of machine, and which one of that kind (also called section)"),
    ("anomaly score", "how far a clip is from what the detector has learnt as normal; only the "
     "order of scores matters, and scores of different machine types cannot be compared"),
    ("threshold", "a clip that scores above it is called anomalous; made of the scores of normal "
     "training clips, so that a chosen share of them lies below"),
    ("AUC", "area under the ROC curve: the chance that an anomalous clip scores above a normal "
     "one. 1 is perfect, 0.5 is guessing"),
    ("95 % interval", "with other clips of the same machine the figure would have been another; "
     "the interval is where its true value is, in 95 of 100 such experiments. Few clips make it "
     "wide"),
    ("pAUC", "the same where at most a small share of normal clips is called anomalous: what "
     "counts where false alarms are dear. 0.5 is guessing here, too"),
    ("detection", "the share of anomalous clips that are called anomalous"),
    ("false alarm", "a normal clip that is called anomalous"),
    ("mel band", "a range of frequencies, as wide as the ear tells them apart; log-mel is the "
     "loudness in each band, in decibels (dB)"),
    ("parity", "whether a converted model still gives the scores of the model that was trained"),
    ("int8", "numbers of 8 bits, with which small processors compute fastest"),
)  # fmt: skip


def words() -> Section:
    """What the words of a report mean."""
    return Section("Words used here", [html.pairs(WORDS)])
