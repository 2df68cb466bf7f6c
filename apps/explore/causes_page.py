"""The figures of a classifier of causes: tables, the confusion matrix, the page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from apps.explore import pictures, report
from apps.explore.outcome import Figure, Outcome
from asd.causes.model import UNKNOWN
from asd.page import html
from asd.page.html import Section

INTERVAL = ("Intervals hold 95 % of bootstrap draws of machines, then of recordings of each; few "
            "machines make them wide.")  # fmt: skip
LEAKS = ("In a random split a machine is on both sides: that figure says what is known of machines "
         "that were learnt, and nothing about others.")  # fmt: skip


def tables(one: Outcome, figures: Sequence[Figure]) -> Iterator[tuple[str, tuple, list[tuple]]]:
    """What is printed and shown: title, header, rows."""
    yield ("Balanced accuracy", ("split", "value", "95 % interval"), [
        (row.split, f"{row.value:.3f}",
         f"{row.low:.3f} – {row.high:.3f}" if row.low < row.high else "–") for row in figures
    ])  # fmt: skip
    clips = one.clips
    header = ("class", "clips", "right", "unknown")
    yield ("Told right, by class, on machines never heard", header, [
        (str(name), int(which.sum()), f"{np.mean(one.found.said[which] == name):.2f}",
         f"{np.mean(one.said[which] == UNKNOWN):.2f}")
        for name in np.unique(clips.causes) for which in [clips.causes == name]
    ])  # fmt: skip
    if one.unheard:
        yield ("A cause that was not learnt, on machines never heard",
               ("cause", "clips", "called unknown", "AUC of the distance"),
               [(row.cause, row.clips, f"{row.unknown:.2f}", f"{row.auc:.2f}")
                for row in one.unheard])  # fmt: skip


def counts(one: Outcome, classes: Sequence[str], told: Sequence[str]) -> np.ndarray:
    """Clips of each class that are said to be each, (n_classes, n_told) int64."""
    return np.array([[np.sum((one.clips.causes == true) & (one.said == word)) for word in told]
                     for true in classes])  # fmt: skip


def write(out: Path, one: Outcome, figures: Sequence[Figure]) -> None:
    """confusion.png and causes.html."""
    classes = [str(name) for name in np.unique(one.clips.causes)]
    told = [*classes, UNKNOWN]
    path = out / "confusion.png"
    pictures.confusion(path, classes, told, counts(one, classes, told))
    first, chance = figures[0], figures[-1]
    lead = html.paragraph(
        f"On machines that it has never heard, the classifier tells {len(classes)} classes with a "
        f"balanced accuracy of {first.value:.2f} ({first.low:.2f} – {first.high:.2f}; chance "
        f"{chance.value:.2f}). {len(one.clips.causes)} recordings of "
        f"{len(set(one.clips.machines))} machines; the normal mean of each machine is taken off."
    )
    parts = [html.table(header, rows, title) for title, header, rows in tables(one, figures)]
    unknown = html.paragraph(
        f"{100 * one.known_called_unknown:.0f} % of recordings of known classes are called "
        "unknown, as the mean over the classes: they are farther from what was learnt than other "
        "machines' recordings were, but for a small share of these.")  # fmt: skip
    seen = report.picture(path, "classes against what was said of them, in per cent and numbers")
    report.write(out / "causes.html", "Causes", [
        Section("How well causes are told", [parts[0], html.paragraph(INTERVAL),
                                             html.paragraph(LEAKS)]),
        Section("What is taken for what", [seen, parts[1]]),
        Section("Unknown causes", [unknown, *parts[2:]]),
    ], [lead])  # fmt: skip
