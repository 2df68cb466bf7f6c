"""HTML as text: tags whose contents are escaped, tables, and whole pages.

A page of one's own is a title and sections:

    rows = [("dcase2023", 0.64), ("student", 0.66)]
    body = html.table(("experiment", "official score"), rows, "Official scores")
    text = html.page("Experiments", [html.Section("Comparison", [body])])
    files.write_text(path, text)

Text is escaped wherever it is not `Html` already, so that names of any kind are shown as they are.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from asd.messages import plain

STYLE = Path(__file__).with_name("style.css")
ALONE = {"br", "img", "meta"}  # tags without an end
# Cells that stand to the right: numbers, and those with a unit or an interval.
_NUMBER = re.compile(r"[-+−]?\d[\d,.]*(\s%)?( – [\d.,]+)?|–")
_KEPT = re.compile("([\n\u00a0])")  # beside letters that can be seen


class Html(str):
    """Text that is HTML already."""


class Section(NamedTuple):
    """A part of a page."""

    heading: str
    body: Sequence[Html]


def escaped(text: Any) -> Html:
    """A text as HTML; control characters and those that turn its direction become visible."""
    if isinstance(text, Html):
        return text
    words = str(text)
    if words.isprintable():  # among them the megabytes of pictures and sound
        return Html(html.escape(words))
    parts = _KEPT.split(words)
    return Html("".join(one if _KEPT.fullmatch(one) else html.escape(plain(one)) for one in parts))


def joined(parts: Iterable[Any]) -> Html:
    """Parts one after the other, each escaped unless it is HTML."""
    return Html("".join(map(escaped, parts)))


def tag(kind: str, *children: Any, **attributes: Any) -> Html:
    """An element.

    Parameters
    ----------
    children : escaped unless they are HTML
    attributes : an underscore stands for a hyphen, one at the end for nothing (`class_`); those
        of None and False are left out, one of True has no value
    """
    told = ""
    for name, value in attributes.items():
        name = name.rstrip("_").replace("_", "-")
        if value is True:
            told += f" {name}"
        elif value is not None and value is not False:
            told += f' {name}="{escaped(value)}"'
    end = "" if kind in ALONE else f"{joined(children)}</{kind}>"
    return Html(f"<{kind}{told}>{end}")


def name(text: str) -> Html:
    """A name of something, whose letters may run from right to left."""
    return tag("bdi", plain(text))


def listed(parts: Sequence[Any]) -> Html:
    """Parts with commas between them, and an "and"."""
    *first, last = parts
    between = [Html(", ")] * max(len(first) - 1, 0) + [Html(" and ")] * bool(first)
    return joined([one for pair in zip(first, between, strict=True) for one in pair] + [last])


def percent(share: float, places: int = 0) -> str:
    """A share as per cent."""
    return f"{100 * share:.{places}f}\u00a0%"


def paragraph(*parts: Any, class_: str | None = None) -> Html:
    """A paragraph."""
    return tag("p", *parts, class_=class_)


def table(header: Sequence[Any], rows: Iterable[Sequence[Any]], caption: str) -> Html:
    """A table that scrolls in its own box where it is wider than the screen.

    Parameters
    ----------
    header, rows : cells, escaped unless they are HTML; of a row the first is its heading
    """
    head = tag("tr", *(tag("th", cell, scope="col") for cell in header))
    body = [tag("tr", tag("th", first, scope="row"),
                *(tag("td", cell, class_="number" if _NUMBER.fullmatch(str(cell)) else None)
                  for cell in rest)) for first, *rest in rows]  # fmt: skip
    inside = tag("table", tag("thead", head), tag("tbody", *body), aria_label=caption)
    box = tag("div", inside, class_="scroll", tabindex=0, role="region", aria_label=caption)
    return tag("figure", tag("figcaption", caption), box)


def folded(summary: Any, *body: Any) -> Html:
    """What is shown when its summary is clicked."""
    return tag("details", tag("summary", summary), *body)


def pairs(rows: Iterable[tuple[Any, Any]]) -> Html:
    """Terms, each with what it means or is."""
    return tag("dl", *(tag("div", tag("dt", term), tag("dd", told)) for term, told in rows))


def page(title: str, sections: Sequence[Section], lead: Iterable[Html] = ()) -> str:
    """A whole page, with all that it needs inside.

    Parameters
    ----------
    lead : what stands between the title and the list of sections
    """
    names = [f"part{i}" for i in range(len(sections))]
    links = [tag("li", tag("a", one.heading, href=f"#{key}"))
             for key, one in zip(names, sections, strict=True)]  # fmt: skip
    parts = [tag("section", tag("h2", one.heading, id=key), *one.body)
             for key, one in zip(names, sections, strict=True)]  # fmt: skip
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", title),
        tag("style", Html(STYLE.read_text(encoding="utf-8"))),
    )
    nav = tag("nav", tag("ul", *links), aria_label="Contents")
    body = tag("body", tag("header", tag("h1", title), *lead), nav, tag("main", *parts))
    return f"<!DOCTYPE html>\n{tag('html', head, body, lang='en')}\n"
