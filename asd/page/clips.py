"""Clips to look at and listen to: the most anomalous and the most surprising."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from asd.page import charts, html
from asd.page.charts import LEFT, RIGHT, TOP, WIDTH
from asd.page.facts import Picture
from asd.page.html import Html, Section
from asd.page.run import Run
from common import Feature, mels_of

MAP_HEIGHT, BELOW = 128, 38  # of a map, and of its axis, in units of the drawing
BANDS_HZ = (125, 250, 500, 1000, 2000, 4000, 8000, 16000, 32000)
LABEL_GAP = 13  # between labels, in units of the drawing
MISTAKES = {(0, True): ": a false alarm", (1, False): ": missed"}
LABELS = {0: "normal", 1: "anomalous", None: "no label"}


def sections(run: Run) -> list[Section]:
    """Both lists."""
    most = [one for one in run.facts.pictures if not one.surprising]
    surprising = [one for one in run.facts.pictures if one.surprising]
    found = [Section("The most anomalous clips", [*_explained(run), _cards(run, most)])]
    if surprising:
        told = ("Clips whose score contradicts their label most: normal clips with a score above "
                "the middle (median) of all test clips, and anomalous clips below it, by turns."
                if run.labelled else
                "Clips whose score is furthest from the middle of the training clips' scores, on "
                "either side: those that are most unlike what was learnt, and those that are most "
                "like it.")  # fmt: skip
        listen = "Listen: is the label right, is something else recorded?" if run.labelled else ""
        found.append(Section("The most surprising clips", [
            html.paragraph(told, f" Those shown above are left out. {listen}"),
            _cards(run, surprising)]))  # fmt: skip
    return found


def _explained(run: Run) -> list[Html]:
    several = " Machine types take turns." if len(run.facts.machines) > 1 else ""
    lines = [html.paragraph(
        "Those with the highest scores." + several + " The upper picture is the sound: time to the "
        "right, frequency upwards, the brighter the louder (log-mel, dB).",
        _faded(run))]  # fmt: skip
    if run.facts.reconstructs:
        lines.append(html.paragraph(
            "The lower picture is what the detector could not explain: it tries to draw each piece "
            "of the sound again, having seen only normal ones, and where it fails the picture is "
            "bright. That is where, and at which frequency, the clip sounds unusual."))  # fmt: skip
        if run.facts.configuration["detector"].get("score") == "mahalanobis":
            lines.append(html.paragraph(
                "The score weighs these errors by how usual they are, which the picture does not.",
                class_="note"))  # fmt: skip
    else:
        lines.append(html.paragraph(
            "This detector compares clips as a whole and reconstructs nothing, so there is no "
            "picture of where in a clip the anomaly is.", class_="note"))  # fmt: skip
    return lines


def _faded(run: Run) -> str:
    if all(one.heard[0] <= 0 and one.heard[1] >= one.end for one in run.facts.pictures):
        return ""
    return " What is faded at the edges is not used: the detector does not hear it."


def _cards(run: Run, pictures: Sequence[Picture]) -> Html:
    return html.tag("div", *(_card(run, i + 1, one) for i, one in enumerate(pictures)),
                    class_="cards")  # fmt: skip


def _card(run: Run, number: int, one: Picture) -> Html:
    machine = next(m for m in run.facts.machines if m.name == one.machine)
    place = machine.clips.index(one.clip)
    score, limit = run.scores[one.machine][place], run.limits(machine).get(one.clip.section)
    feature = msgspec.convert(run.facts.configuration["feature"], Feature)
    domain = f", {one.clip.domain} domain" if one.clip.domain else ""
    said = f"score {score:.4g}"
    if limit is not None:
        above = bool(score > limit)
        said += f", {'above' if above else 'not above'} the threshold {limit:.4g}"
        said += MISTAKES.get((one.clip.label, above), "")
    head = html.tag("h3", f"{number}. ", html.name(one.machine),
                    f" id {one.clip.section}: {LABELS[one.clip.label]}{domain}")  # fmt: skip
    drawn = _drawing(one, feature)
    low, high = one.level_db
    ends = f"loudness: dark {low:.0f} dB, bright {high:.0f} dB".replace("-", "−")
    if one.error:
        ends += f"; unexplained: dark {one.error_db2[0]:.3g}, bright {one.error_db2[1]:.3g} dB²"
    notes = (html.paragraph(text, class_="note") for text in (ends, html.name(one.clip.name)))
    below, name = notes
    return html.tag("article", head, html.paragraph(said), drawn, below, _player(one), name,
                    class_="card")  # fmt: skip


def _player(one: Picture) -> Html:
    if not one.sound:
        return html.paragraph("Not in this page, for its size: open the file to listen.",
                              class_="note")  # fmt: skip
    return html.tag("audio", controls=True, preload="none", aria_label=f"listen to {one.clip.name}",
                    src=f"data:audio/flac;base64,{one.sound}")  # fmt: skip


def _drawing(one: Picture, feature: Feature) -> Html:
    """The maps above each other, with one axis of time."""
    across = WIDTH - LEFT - RIGHT
    scale = across / one.end  # units of the drawing a second
    maps = [(one.level, 0.0, one.end)]
    if one.error:
        maps.append((one.error, *one.heard))
    shapes: list[Html] = []
    top = TOP
    for content, start, end in maps:
        shapes.append(html.tag(
            "image", href=f"data:image/png;base64,{content}", x=f"{LEFT + start * scale:.1f}",
            y=top, width=f"{(end - start) * scale:.1f}", height=MAP_HEIGHT,
            preserveAspectRatio="none"))  # fmt: skip
        if content is one.level:
            shapes += [_pale(top, LEFT, LEFT + one.heard[0] * scale),
                       _pale(top, LEFT + one.heard[1] * scale, WIDTH - RIGHT)]  # fmt: skip
        shapes += _frequencies(feature, top)
        edge = f"M{LEFT} {top}V{top + MAP_HEIGHT}H{WIDTH - RIGHT}"
        shapes.append(html.tag("path", d=edge, class_="axis"))
        top += MAP_HEIGHT + 10
    bottom = top - 10
    for second in charts.steps(0, one.end):
        shapes.append(charts.text(LEFT + second * scale, bottom + 15, f"{second:g}", "middle"))
    shapes.append(charts.text(LEFT + across / 2, bottom + 31, "seconds", "middle"))
    told = f"Log-mel picture of {one.clip.name}"
    told += ", and below it the reconstruction error by time and mel band" if one.error else ""
    return charts.svg(shapes, bottom + BELOW, told)


def _pale(top: float, left: float, right: float) -> Html:
    return html.tag("rect", x=f"{left:.1f}", y=top, width=f"{max(right - left, 0):.1f}",
                    height=MAP_HEIGHT, class_="unheard")  # fmt: skip


def _frequencies(feature: Feature, top: float) -> list[Html]:
    """Frequencies beside a map, at the centres of bands."""
    low_hz, high_hz = feature.mel_range_hz or (0.0, feature.sample_rate / 2)
    low, high = (mels_of(hz, feature.mel_scale) for hz in (low_hz, high_hz))
    shapes, last = [], top + MAP_HEIGHT + LABEL_GAP
    for hz in BANDS_HZ:
        if low_hz <= hz <= high_hz:
            place = (mels_of(hz, feature.mel_scale) - low) / (high - low) * (
                feature.n_mels + 1
            ) - 0.5
            down = top + MAP_HEIGHT * (1 - place / feature.n_mels)
            if 0 <= place <= feature.n_mels and last - down >= LABEL_GAP:
                shapes.append(charts.text(LEFT - 5, max(down, top + 5) + 4, _hertz(hz), "end"))
                last = down
    return shapes


def _hertz(hz: int) -> str:
    return f"{hz / 1000:g} kHz" if hz >= 1000 else f"{hz} Hz"
