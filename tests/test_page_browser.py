"""The report in a real browser: no errors, nothing that overflows, on a phone and a desk."""

import itertools

import numpy as np
import pages
import pytest
from browser import MISSING, SCHEMES, WIDTHS, Browser, found
from conftest import write_clip
from test_page import KINDS

from asd import config
from asd.clips import Clip
from asd.page import html, pictures, report
from asd.page.html import Section
from asd.paths import report_of

pytestmark = pytest.mark.skipif(found() is None, reason=MISSING)

# Elements whose content is wider than they are, unless they scroll on purpose; and SVG texts that
# leave their drawing or lie on one another.
OVERFLOWS = """(() => {
    const bad = [];
    const told = one => `${one.tagName} ${one.className} ${one.textContent.slice(0, 60)}`;
    for (const one of document.querySelectorAll('details')) one.open = true;
    const width = document.documentElement.clientWidth;
    if (document.documentElement.scrollWidth > width) bad.push('the page');
    for (const one of document.body.querySelectorAll('*')) {
        if (one.closest('svg')) continue;
        const scrolls = ['auto', 'scroll'].includes(getComputedStyle(one).overflowX);
        if (one.clientWidth && one.scrollWidth > one.clientWidth + 1 && !scrolls)
            bad.push(told(one));
        if (!one.closest('.scroll, pre') && one.getBoundingClientRect().right > width + 1)
            bad.push('right of the page: ' + told(one));
    }
    for (const svg of document.querySelectorAll('svg')) {
        const box = svg.getBoundingClientRect();
        const texts = [...svg.querySelectorAll('text')].map(one =>
            [one, one.getBoundingClientRect()]);
        for (const [one, r] of texts)
            if (r.left < box.left - 1 || r.right > box.right + 1 || r.top < box.top - 1
                    || r.bottom > box.bottom + 1) bad.push('out of its drawing: ' + told(one));
        for (let i = 0; i < texts.length; i++) for (let j = i + 1; j < texts.length; j++) {
            const [a, p] = texts[i], [b, q] = texts[j];
            if (p.left < q.right - 1 && q.left < p.right - 1 && p.top < q.bottom - 3
                    && q.top < p.bottom - 3) bad.push(`${told(a)} lies on ${told(b)}`);
        }
    }
    return [...new Set(bad)];
})()"""
SMALLEST_TEXT = """Math.min(...[...document.querySelectorAll('svg text')].map(
    one => parseFloat(getComputedStyle(one).fontSize) * one.ownerSVGElement.clientWidth / 400))"""


@pytest.fixture(scope="module")
def browser():
    with Browser() as one:
        yield one


@pytest.fixture(scope="module", params=KINDS)
def page(request, tmp_path_factory):
    """The report of a made-up run of each kind."""
    folder = tmp_path_factory.mktemp("page")
    pages.write(folder, pages.Made(**KINDS[request.param]))
    return report.make(folder)


def test_nothing_fails_or_overflows(browser, page):
    for width, scheme in itertools.product(WIDTHS, SCHEMES):
        browser.open(page, width, scheme)
        assert browser.run(OVERFLOWS) == [], (width, scheme)
        assert browser.complaints() == []
        assert browser.requests() == [page.resolve().as_uri()]


@pytest.mark.parametrize("width", WIDTHS)
def test_the_scripts_report(browser, story, width):
    for scheme in SCHEMES:
        path = report_of(story / "result")
        browser.open(path, width, scheme)
        assert browser.run(OVERFLOWS) == []
        assert browser.complaints() == []
        assert browser.requests() == [path.resolve().as_uri()]
        assert browser.run(SMALLEST_TEXT) >= 9


def test_light_and_dark_differ(browser, page):
    papers = set()
    for scheme in SCHEMES:
        browser.open(page, 400, scheme)
        papers.add(browser.run("getComputedStyle(document.body).backgroundColor"))
    assert len(papers) == 2


def test_paper_is_light_and_shows_no_players(browser, tmp_path):
    wav = write_clip(tmp_path / "a.wav", n_samples=16000)
    feature = config.load_config().feature
    samples = pictures.samples_of(Clip(wav, "fan", "00", "test", 0), feature)
    pages.write(tmp_path, pages.Made(sound=pictures.sound(samples, feature)))
    browser.open(report.make(tmp_path), 1400, "dark")
    assert browser.run("document.querySelector('audio').clientHeight") > 0
    browser.call("Emulation.setEmulatedMedia", media="print",
                 features=[{"name": "prefers-color-scheme", "value": "dark"}])  # fmt: skip
    colour = browser.run("getComputedStyle(document.body).backgroundColor")
    ink = browser.run("getComputedStyle(document.body).color")
    assert (colour, ink) == ("rgb(255, 255, 255)", "rgb(0, 0, 0)")
    assert browser.run("document.querySelector('audio').clientHeight") == 0
    browser.call("Emulation.setEmulatedMedia", media="")


def test_a_clip_can_be_played(browser, story):
    """To its end: 1.5 s."""
    browser.open(report_of(story / "result"), 1400, "light")
    length = browser.run("""new Promise((done, fail) => {
        const audio = document.querySelector('audio');
        audio.onloadedmetadata = () => done(audio.duration);
        audio.onerror = () => fail(audio.error.message);
        audio.preload = 'auto';
        audio.load();
    })""")
    assert length == pytest.approx(1.5, abs=0.04)


def test_pictures_are_pictures(browser, story):
    """Each data URI of an image is decoded by the browser, of the shape that it should have."""
    browser.open(report_of(story / "result"), 400, "dark")
    sizes = browser.run("""Promise.all([...document.querySelectorAll('image')].map(async one => {
        const image = new Image();
        image.src = one.getAttribute('href');
        await image.decode();
        return [image.width, image.height];
    }))""")
    assert len(sizes) > 10
    assert {tuple(size) for size in sizes} == {(47, 128), (40, 128)}  # all frames; 4 to 44


FAULTS = {
    "a wide word": (html.paragraph(html.Html(f"<code>{'x' * 300}</code>")), "P"),
    "a wide box": (html.Html('<div style="width: 2000px">box</div>'), "the page"),
    "a text out of its drawing": (html.Html('<svg viewBox="0 0 400 99" aria-label="a">'
                                            '<text x="380" y="20">far too long</text></svg>'),
                                  "out of its drawing"),
    "texts on one another": (html.Html('<svg viewBox="0 0 400 99" aria-label="a"><text x="9" y="20"'
                                       '>one</text><text x="12" y="22">two</text></svg>'),
                             "lies on"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_overflow_is_seen(browser, tmp_path, fault):
    body, told = FAULTS[fault]
    path = tmp_path / "page.html"
    text = html.page("Fault", [Section("One", [body])])
    path.write_text(text.replace("overflow-wrap: break-word", ""))
    browser.open(path, 400, "light")
    assert any(told in one for one in browser.run(OVERFLOWS))


ERRORS = {"nothing": "<script>nothing()</script>", "gone.png": '<img src="gone.png">',
          "oh": "<script>console.error('oh')</script>"}  # fmt: skip


@pytest.mark.parametrize("told", ERRORS)
def test_errors_are_seen(browser, tmp_path, told):
    path = tmp_path / "page.html"
    path.write_text(html.page("Fault", [Section("One", [html.Html(ERRORS[told])])]))
    browser.open(path, 400, "light")
    seen = [*browser.complaints(), *browser.requests()]
    assert any(told in one for one in seen)


def test_a_page_of_a_table_of_experiments(browser, tmp_path):
    header = ["experiment", *(f"machine{i}" for i in range(12)), "official score"]
    values = np.random.default_rng(0).random((40, 13)).round(3)
    rows = [[f"recipe{i}_{'long' * 9}", *map(str, line)] for i, line in enumerate(values.tolist())]
    path = tmp_path / "grid.html"
    path.write_text(html.page("Grid", [Section("All", [html.table(header, rows, "Experiments")])]))
    for width, scheme in itertools.product(WIDTHS, SCHEMES):
        browser.open(path, width, scheme)
        assert browser.run(OVERFLOWS) == [] and browser.complaints() == []
