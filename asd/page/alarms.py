"""What alarms would be like on site: false alarms a day against detection, by k-of-n rules."""

from __future__ import annotations

import numpy as np

from asd.evaluation import alarms, intervals, metrics
from asd.evaluation.alarms import RULES
from asd.page import charts, html
from asd.page.charts import Axis, Plane
from asd.page.detection import SHARES
from asd.page.facts import Machine
from asd.page.html import Html, Section
from asd.page.overview import called
from asd.page.run import Run

LEAST_A_DAY = 0.01  # where the axis begins: an alarm in a hundred days
HEADING = "False alarms per day"


def sections(run: Run) -> list[Section]:
    """The section; of clips without labels a sentence."""
    if not run.labelled:
        return [Section(HEADING, [html.paragraph(
            "How often normal sound raises an alarm can only be told of clips of which is known "
            "that they are normal.")])]  # fmt: skip
    return [Section(HEADING, [
        html.paragraph(
            "A machine that is listened to all day gives thousands of clips, so even rare mistakes "
            "become many alarms. It helps not to believe a single clip: an alarm is raised only "
            "where k of the last n clips are above the threshold. Each line is such a rule; along "
            "it the thresholds of all ids are moved up (left) and down (right) together. The dot "
            "is the threshold of this run."),
        html.paragraph(
            "Assumed: one clip right after another, 24 hours a day, and each clip above the "
            "threshold or not independently of the others. Clips of a real machine resemble those "
            "before them, so on site a rule of several clips gains less than here. Every clip "
            "after which a rule holds counts as an alarm; detection is the chance that the rule "
            "holds when all of the last n clips are of a fault."),
        *(_of(run, machine) for machine in run.facts.machines)])]  # fmt: skip


def _of(run: Run, machine: Machine) -> Html:
    labels = run.labels(machine)
    head = html.tag("h3", html.name(machine.name))
    seconds = float(np.median([clip.seconds for clip in machine.clips]))
    reason = metrics.why_undefined(labels) or ("" if seconds else "no length of the clips")
    if reason:
        return html.joined([head, html.paragraph(f"No figures: {reason}.")])
    normal = int((labels == 0).sum())
    day = alarms.SECONDS_OF_DAY / seconds
    known = html.paragraph(
        f"Clips of {seconds:.3g} s: {day:,.0f} a day. {normal:,} normal clips stand behind these "
        f"figures. Where fewer than one clip in {normal:,} is above the threshold, they cannot "
        "tell how few false alarms there are: there the lines are dashed.")  # fmt: skip
    parts = [_chart(run, machine, seconds), _table(run, machine, seconds)]
    return html.joined([head, known, html.tag("div", *filter(None, parts), class_="cards")])


def margins(run: Run, machine: Machine) -> np.ndarray:
    """(n_clips,): how far scores are above their own threshold; the scores where there is none."""
    limits = run.limits(machine)
    own = np.array([limits[clip.section] if limits else 0.0 for clip in machine.clips])
    return run.scores[machine.name] - own


def _rates(run: Run, machine: Machine) -> tuple[float, float] | None:
    """Shares of normal and of anomalous clips above the threshold of the run."""
    above, labels = called(run, machine), run.labels(machine)
    if above is None:
        return None
    return float(above[labels == 0].mean()), float(above[labels == 1].mean())


def _chart(run: Run, machine: Machine, seconds: float) -> Html:
    labels = run.labels(machine)
    false, hits = metrics.roc_curve(labels, margins(run, machine))
    most = alarms.SECONDS_OF_DAY / seconds
    plane = Plane(Axis("false alarms per day", LEAST_A_DAY, most, logarithmic=True),
                  Axis("faults detected", 0, 1, ticks=SHARES), height=300)  # fmt: skip
    at, shapes, entries = _rates(run, machine), [], []
    for i, rule in enumerate(RULES):
        x, y = alarms.a_day(false, rule, seconds), alarms.probability(hits, rule)
        shapes += _line(plane, x, y, int((false == 0).sum()), i)
        if at and at[0]:
            shapes.append(plane.dot(float(alarms.a_day(at[0], rule, seconds)),
                                    float(alarms.probability(at[1], rule)), f"c{i}"))  # fmt: skip
        entries.append((f"c{i}", str(rule)))
    told = f"Detection against false alarms per day of {machine.name}, by rule; see the table"
    return html.tag("figure", plane.svg(shapes, told), charts.key(entries))


def _line(plane: Plane, x: np.ndarray, y: np.ndarray, unseen: int, i: int) -> list[Html]:
    """The line of a rule, dashed where no normal clip is above the threshold."""
    known = slice(max(unseen, int(np.searchsorted(x, LEAST_A_DAY)) - 1), None)
    solid = plane.line(x[known], y[known], f"c{i}")
    if x[unseen] <= LEAST_A_DAY:
        return [solid]
    before = y[unseen - 1]  # so much is detected with no normal clip above
    across = [LEAST_A_DAY, x[unseen], x[unseen]]
    return [plane.line(across, [before, before, y[unseen]], f"c{i} unknown"), solid]


def _table(run: Run, machine: Machine, seconds: float) -> Html | None:
    rates = _rates(run, machine)
    if rates is None:
        return html.paragraph("This run has no threshold, as it has no scores of training clips.")
    labels = run.labels(machine)
    normal = int((labels == 0).sum())
    most = intervals.of_share(round(rates[0] * normal), normal)[1]
    rows = [(str(rule), frequency(float(alarms.a_day(rates[0], rule, seconds)), rates[0] > 0),
             frequency(float(alarms.a_day(most, rule, seconds))),
             html.percent(float(alarms.probability(rates[1], rule))))
            for rule in RULES]  # fmt: skip
    told = (f"At this run's threshold {round(rates[0] * normal)} of {normal:,} normal clips are "
            f"above it. With so few clips the true share may be up to {html.percent(most, 1)} "
            "(95 % interval): hence 'at most'.")  # fmt: skip
    header = ("alarm when above", "false alarms a day", "at most", "detected")
    return html.tag("div", html.table(header, rows, "At the threshold of this run"),
                    html.paragraph(told, class_="note"))  # fmt: skip


def frequency(a_day: float, known: bool = True) -> str:
    """How often something happens a day, or in how many days once."""
    if not known or a_day == 0:
        return "none seen"
    if a_day >= 0.95:
        return f"{a_day:,.0f}"
    days = 1 / a_day
    return f"one in {days:,.0f} days" if days < 3650 else "one in over 10 years"
