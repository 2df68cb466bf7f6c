"""How well anomalous clips are told from normal ones: AUC, ROC curves, histograms of scores."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from asd.evaluation import metrics
from asd.page import charts, html
from asd.page.charts import Axis, Plane
from asd.page.facts import Machine
from asd.page.html import Html, Section
from asd.page.run import Row, Run

MOST_NAMED = 6  # curves that have a colour each
WORST_NAMED = 3  # of more of them
MOST_PANELS = 6  # histograms of a machine type
MOST_ROWS = 24  # of a table that is not folded
BINS = 30
GRID = np.linspace(0, 1, 201)  # shares of normal clips at which curves are averaged
SHARES = tuple((share, html.percent(share)) for share in (0.0, 0.25, 0.5, 0.75, 1.0))


def sections(run: Run) -> list[Section]:
    """AUC and ROC curves, where clips have labels; and histograms."""
    found = [_aucs(run), _curves(run)] if run.labelled else []
    return [*found, _histograms(run)]


def digits(cell: str, places: int = 3) -> str:
    """A cell of a table with fewer digits; a dash where it is empty."""
    return f"{float(cell):.{places}f}" if cell else "–"


def short(cell: str) -> str:
    """A cell of a table with six significant digits."""
    return f"{float(cell):.6g}" if cell else "–"


def _aucs(run: Run) -> Section:
    header = ("machine type", "id", "normal", "anomalous", "AUC", "95 % interval", "pAUC", "note")
    rows = []
    for row in run.metrics:
        single = row["id"] in ("pooled", "average") and len(run_ids(run, row)) == 1
        if not single:
            interval = (
                f"{digits(row['auc_low'])} – {digits(row['auc_high'])}" if row["auc"] else "–"
            )
            names = html.name(row["machine_type"]), html.name(_words(row["id"]))
            rows.append((*names, row["normal"], row["anomalous"], digits(row["auc"]), interval,
                         digits(row["pauc"]), row["note"]))  # fmt: skip
    table = html.table(header, rows, "AUC by machine id, with its 95 % interval (metrics.csv)")
    if len(rows) > MOST_ROWS:
        total = [html.name(_words(name)) for name in ("pooled", "average")]
        means = [row for row in rows if row[1] in total]
        table = html.joined([
            html.table(header, means, "AUC by machine type, with its 95 % interval"),
            html.folded(f"All {len(rows)} rows, by machine id", table)])  # fmt: skip
    share = run.facts.configuration["max_fpr"]
    body = [html.paragraph(
        "AUC is the chance that an anomalous clip scores above a normal one: 1 is perfect, 0.5 is "
        "guessing. The interval is where the true value probably lies; where it holds 0.5, these "
        "clips do not show that the detector hears faults at all. pAUC is the same where at most "
        f"{html.percent(share)} of normal clips may be called anomalous."), table]  # fmt: skip
    if run.official:
        header, *rows = run.official
        table = html.table(header, [[_figure(cell) for cell in row] for row in rows], "Figures")
        body.append(html.folded("Figures as the year's challenge has them (official.csv)", table))
    return Section("How well are faults told from normal sound?", body)


def _figure(cell: str) -> str:
    try:
        return cell if cell.isdecimal() else f"{float(cell):.4f}"
    except ValueError:
        return cell


def run_ids(run: Run, row: Row) -> set[str]:
    """The ids of the machine type of a row of metrics.csv."""
    return {one["id"] for one in run.metrics if one["machine_type"] == row["machine_type"]} - {
        "pooled", "average"}  # fmt: skip


def _words(name: str) -> str:
    return {"pooled": "all clips together", "average": "mean of the ids"}.get(name, name)


def by_section(run: Run, machine: Machine) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Labels and scores, (n_clips,) each, of each section of a machine type, in order."""
    labels, scores = run.labels(machine), run.scores[machine.name]
    own = np.array([clip.section for clip in machine.clips])
    names = sorted(set(own.tolist()), key=lambda s: (int(s) if s.isdecimal() else -1, s))
    return {name: (labels[own == name], scores[own == name]) for name in names}


def _curves(run: Run) -> Section:
    figures = [_roc(run, machine) for machine in run.facts.machines]
    return Section("ROC curves", [html.paragraph(
        "Lower the threshold, and more faults are found, and more normal clips are called "
        "anomalous by mistake. A curve shows both for every threshold: the further up and left, "
        "the better. The dotted line is guessing; in the grey strip pAUC is taken."),
        html.tag("div", *figures, class_="cards")])  # fmt: skip


def _roc(run: Run, machine: Machine) -> Html:
    share = run.facts.configuration["max_fpr"]
    axes = (Axis(f"{words} called anomalous", 0, 1, ticks=SHARES) for words in
            ("normal clips", "anomalous clips"))  # fmt: skip
    plane = Plane(*axes, height=360)
    parts = by_section(run, machine)
    aucs = {row["id"]: row["auc"] for row in run.of(run.metrics, machine)}
    with_auc = [name for name in parts if aucs.get(name)]
    named = with_auc
    if len(with_auc) > MOST_NAMED:
        named = sorted(with_auc, key=lambda name: float(aucs[name]))[:WORST_NAMED]
    shapes = [plane.area(0, share, "strip")]
    entries = [(f"c{i}", f"id {name}: AUC {digits(aucs[name])}") for i, name in enumerate(named)]
    for name in with_auc:
        if name not in named:
            shapes.append(plane.line(*metrics.roc_curve(*parts[name]), "thin"))
    shapes.append(plane.line([0, 1], [0, 1], "chance"))
    shapes += [
        plane.line(*metrics.roc_curve(*parts[name]), f"c{i}") for i, name in enumerate(named)
    ]
    if rest := len(with_auc) - len(named):
        mean = np.mean([np.interp(GRID, *metrics.roc_curve(*parts[n])) for n in with_auc], axis=0)
        shapes.append(plane.line(np.append(0, GRID), np.append(0, mean), "mean"))
        entries += [("mean", f"mean of all {len(with_auc)} ids"),
                    ("thin", f"{rest} other ids; named are the worst")]  # fmt: skip
    if without := len(parts) - len(with_auc):
        entries.append(("", f"{without} ids without AUC, for want of normal or anomalous clips"))
    told = f"ROC curves of {machine.name}: " + "; ".join(words for _, words in entries)
    caption = html.tag("figcaption", html.name(machine.name))
    return html.tag("figure", caption, plane.svg(shapes, told), charts.key(entries))


def _histograms(run: Run) -> Section:
    figures = []
    for machine in run.facts.machines:
        parts = by_section(run, machine)
        shown = _worst(run, machine, list(parts))
        what = "" if len(shown) == len(parts) else (
            f": the {len(shown)} ids of the lowest AUC of {len(parts)}" if run.labelled
            else f": the first {len(shown)} of {len(parts)} ids")  # fmt: skip
        figures.append(html.tag("h3", html.name(machine.name), what))
        panels = [_histogram(run, machine, name, *parts[name]) for name in shown]
        figures.append(html.tag("div", *panels, class_="cards"))
    return Section("Scores and thresholds", [_explained(run), *figures])


def _explained(run: Run) -> Html:
    """How histograms are read."""
    share = html.percent(run.facts.configuration["decision"]["share"])
    parts = ["How many of the clips have which score. Each kind of clips adds up to 100 %, so that "
             "few and many can be compared."]  # fmt: skip
    if run.labelled:
        parts.append("The better blue and orange are apart, the better faults are found.")
    if run.decisions:
        parts.append("Clips to the right of the dashed line, the threshold, are called anomalous; "
                     f"{share} of normal training clips (grey outline) are meant to be left of "
                     "it.")  # fmt: skip
    if run.decisions and run.labelled:
        parts.append("Where normal test clips lie further right than the training clips, the "
                     "threshold is too low for them: more false alarms than meant.")  # fmt: skip
    return html.paragraph(" ".join(parts))


def _worst(run: Run, machine: Machine, names: Sequence[str]) -> list[str]:
    if len(names) <= MOST_PANELS:
        return list(names)
    aucs = {row["id"]: float(row["auc"] or 2) for row in run.of(run.metrics, machine)}
    return sorted(names, key=lambda name: aucs.get(name, 2))[:MOST_PANELS]


def _histogram(
    run: Run, machine: Machine, section: str, labels: np.ndarray, scores: np.ndarray
) -> Html:
    limit = run.limits(machine).get(section)
    every = list(itertools.chain.from_iterable(machine.training.values()))
    training = np.array(machine.training.get(section, every))
    of = "its" if section in machine.training else "all ids'"
    everything = np.concatenate([run.scores[machine.name], training,
                                 list(run.limits(machine).values())])  # fmt: skip
    low, high = everything.min(), everything.max()
    if high - low <= 1e-9 * max(abs(low), abs(high)):
        low, high = low - 0.5, high + 0.5
    edges = np.linspace(low, high, BINS + 1)
    kinds = (("normal", labels == 0, "normal test clips"),
             ("anomalous", labels == 1, "anomalous test clips"),
             ("normal", labels == -1, "test clips without label"))  # fmt: skip
    bars = [(kind, shares, f"{which.sum():,} {words}") for kind, which, words in kinds
            if which.any() for shares in [_shares(scores[which], edges)]]  # fmt: skip
    outline = _shares(training, edges) if len(training) else np.zeros(BINS)
    top = max([outline.max(), *(shares.max() for _, shares, _ in bars)]) * 1.05
    ticks = tuple((value, html.percent(value)) for value in charts.steps(0, top))
    plane = Plane(Axis("anomaly score", low, high), Axis("share of the clips", 0, top, ticks=ticks),
                  height=220)  # fmt: skip
    shapes = [plane.bars(edges, shares, kind) for kind, shares, _ in bars]
    entries = [(kind, words) for kind, _, words in bars]
    if len(training):
        shapes.append(plane.outline(edges, outline, "training"))
        entries.append(("training", f"{of} {len(training):,} normal training clips"))
    if limit is not None:
        shapes.append(plane.line([limit, limit], [0, top], "limit"))
        entries.append(("limit", f"threshold {limit:.4g}"))
    told = f"Histogram of scores of {machine.name} id {section}: " + "; ".join(
        w for _, w in entries
    )
    return html.tag("figure", html.tag("figcaption", f"id {section}"), plane.svg(shapes, told),
                    charts.key(entries))  # fmt: skip


def _shares(values: np.ndarray, edges: np.ndarray) -> np.ndarray:
    return np.histogram(values, edges)[0] / len(values)
