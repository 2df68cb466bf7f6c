"""Line charts and bars as SVG: axes with ticks, in colours that the page gives by light or dark."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from asd.page.html import Html, joined, tag

# Units of the drawing, which are pixels where it is 400 wide: so text is readable on a phone.
WIDTH, HEIGHT = 400, 280
LEFT, RIGHT, TOP, BOTTOM = 54, 22, 10, 46
TICKS = 5  # at most about so many
NICE = (1, 2, 5, 10)
LONGEST_LABEL = 56  # letters along the width


class Axis(NamedTuple):
    """What runs along one side."""

    label: str
    low: float
    high: float
    logarithmic: bool = False
    ticks: tuple[tuple[float, str], ...] | None = None  # None: nice ones

    def share(self, value: np.ndarray | float) -> np.ndarray:
        """Where values lie, 0 at the low end to 1 at the high end; those beyond lie at the ends."""
        values = np.clip(np.asarray(value, np.float64), self.low, self.high)
        low, high = self.low, self.high
        if self.logarithmic:
            values, low, high = np.log10(values), math.log10(low), math.log10(high)
        return (values - low) / (high - low)

    def marks(self) -> tuple[tuple[float, str], ...]:
        """Ticks with what is written at them."""
        if self.ticks is not None:
            return self.ticks
        if self.logarithmic:
            exponents = range(
                math.ceil(math.log10(self.low)), math.floor(math.log10(self.high)) + 1
            )
            return tuple((10.0**i, f"{10.0**i:,.10g}") for i in exponents)
        return tuple((value, f"{value:.10g}") for value in steps(self.low, self.high))


def steps(low: float, high: float) -> list[float]:
    """Round numbers between two, about `TICKS` of them."""
    raw = (high - low) / TICKS
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(nice * power for nice in NICE if nice * power >= raw * (1 - 1e-9))
    return [
        i * step for i in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)
    ]


class Plane(NamedTuple):
    """Two axes, and what turns numbers into shapes between them."""

    x: Axis
    y: Axis
    height: int = HEIGHT

    @property
    def bottom(self) -> float:
        """Where the x axis is."""
        return self.height - BOTTOM

    def places(self, x: Sequence[float], y: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
        """Points in units of the drawing."""
        across = LEFT + self.x.share(x) * (WIDTH - LEFT - RIGHT)
        return across, self.bottom - self.y.share(y) * (self.bottom - TOP)

    def line(self, x: Sequence[float], y: Sequence[float], kind: str) -> Html:
        """A line through points; several of one place are drawn once."""
        points = [f"{a:.1f},{b:.1f}" for a, b in zip(*self.places(x, y), strict=True)]
        kept = [one for i, one in enumerate(points) if not i or one != points[i - 1]]
        return tag("polyline", points=" ".join(kept), class_=kind)

    def dot(self, x: float, y: float, kind: str) -> Html:
        """A circle at a point."""
        (across,), (down,) = self.places([x], [y])
        return tag("circle", cx=f"{across:.1f}", cy=f"{down:.1f}", r=4.5, class_=kind)

    def bars(self, edges: np.ndarray, heights: np.ndarray, kind: str) -> Html:
        """Bars between edges, (n + 1,), of heights (n,), without those of no height."""
        across, _ = self.places(edges, edges * 0)
        _, tops = self.places(edges[:-1], heights)
        return joined(
            tag("rect", x=f"{left:.1f}", y=f"{top:.1f}", width=f"{right - left:.1f}",
                height=f"{self.bottom - top:.1f}", class_=kind)
            for left, right, top, height in zip(across, across[1:], tops, heights, strict=False)
            if height > 0
        )  # fmt: skip

    def outline(self, edges: np.ndarray, heights: np.ndarray, kind: str) -> Html:
        """The upper edge of bars."""
        x = np.repeat(edges, 2)
        return self.line(x, np.concatenate([[0], np.repeat(heights, 2), [0]]), kind)

    def area(self, low: float, high: float, kind: str) -> Html:
        """A strip from bottom to top."""
        (left, right), _ = self.places([low, high], [self.y.low] * 2)
        return tag("rect", x=f"{left:.1f}", y=TOP, width=f"{right - left:.1f}",
                   height=self.bottom - TOP, class_=kind)  # fmt: skip

    def svg(self, shapes: Iterable[Html], told: str) -> Html:
        """The drawing.

        Parameters
        ----------
        told : what it shows, for those who cannot see it
        """
        return svg([*self._axes(), *shapes], self.height, told)

    def _axes(self) -> list[Html]:
        middle = (TOP + self.bottom) / 2
        shapes = []
        for value, text in self.x.marks():
            (across,), _ = self.places([value], [self.y.low])
            shapes += [_straight(across, TOP, across, self.bottom, "grid"),
                       _text(across, self.bottom + 16, text, "middle")]  # fmt: skip
        for value, text in self.y.marks():
            _, (down,) = self.places([self.x.low], [value])
            shapes += [_straight(LEFT, down, WIDTH - RIGHT, down, "grid"),
                       _text(LEFT - 6, down + 4, text, "end")]  # fmt: skip
        edge = tag("path", d=f"M{LEFT} {TOP}V{self.bottom}H{WIDTH - RIGHT}", class_="axis")
        label = self.x.label
        if len(label) > LONGEST_LABEL:
            label = label[: LONGEST_LABEL - 1] + "…"
        turned = f"rotate(-90 12 {middle})"
        return [*shapes, edge, _text((LEFT + WIDTH - RIGHT) / 2, self.height - 8, label, "middle"),
                _text(12, middle, self.y.label, "middle", transform=turned)]  # fmt: skip


def svg(shapes: Iterable[Html], height: int, told: str) -> Html:
    """A drawing `WIDTH` wide."""
    return tag("svg", *shapes, viewBox=f"0 0 {WIDTH} {height}", role="img", aria_label=told)


def _straight(x1: float, y1: float, x2: float, y2: float, kind: str) -> Html:
    return tag("path", d=f"M{x1:.1f} {y1:.1f}L{x2:.1f} {y2:.1f}", class_=kind)


def _text(x: float, y: float, words: str, anchor: str, **more: str) -> Html:
    return tag("text", words, x=f"{x:.1f}", y=f"{y:.1f}", text_anchor=anchor, **more)


def text(x: float, y: float, words: str, anchor: str) -> Html:
    """Words at a place in units of the drawing; anchor: start, middle or end."""
    return _text(x, y, words, anchor)


def key(entries: Iterable[tuple[str, str]]) -> Html:
    """What lines and bars mean: their class, and words."""
    marks = {"normal": "bar", "anomalous": "bar"}
    items = []
    for kind, words in entries:
        bar = marks.get(kind) == "bar"
        shape = (tag("rect", x=2, y=2, width=20, height=8, class_=kind) if bar
                 else tag("path", d="M0 6H24", class_=kind))  # fmt: skip
        mark = tag("svg", shape, viewBox="0 0 24 12", aria_hidden="true")
        items.append(tag("li", mark, words))
    return tag("ul", *items, class_="key")
