"""Pictures: what a person sees in them, by their texts, their layout and their pixels."""

import itertools
import os
import subprocess
import sys
import warnings

import numpy as np
import pytest
from conftest import ROOT

from asd.evaluation import canvas, metrics, plots
from asd.training import Epoch

MOST_PIXELS = (2400, 3200)  # width and height
TITLE = "mean squared reconstruction error (dB²)"
LABELS = np.repeat([0, 1], 30)
PERFECT = np.r_[np.linspace(1, 2, 30), np.linspace(10, 20, 30)]
ONLY_NORMAL = ("id none", np.zeros(30, int), np.linspace(3, 4, 30), None)
NO_FONT = "\u98ce\u673a"  # Chinese, which no font that comes with matplotlib has


def curve(i):
    rng = np.random.default_rng(i)
    scores = 10 + rng.normal(0, 1, 60) + LABELS * rng.uniform(0, 3)
    return f"id {i:02}", LABELS, scores, metrics.auc(LABELS, scores)


class Drawn:
    """The figure and the pixels of a picture."""

    def __init__(self, figure, path):
        from matplotlib.image import imread

        self.figure, self.axes = figure, figure.axes
        self.renderer = figure.canvas.get_renderer()
        self.pixels = imread(path)[..., :3]  # (height, width, 3), 0 to 1
        self.title = figure._suptitle or figure.axes[0].title

    def texts(self):
        from matplotlib.text import Text

        found = [text for text in self.figure.findobj(Text) if text.get_visible()]
        return [text.get_text() for text in found if text.get_text()]

    def box(self, artist):
        return artist.get_tightbbox(self.renderer)

    def pixel_of(self, axes, x, y):
        """Row and column of a point of the axes."""
        right, up = axes.transData.transform((x, y))
        return int(len(self.pixels) - up), int(right)

    def around(self, axes, x, y, reach=3):
        """(n, 3) pixels beside and at a point of the axes."""
        row, column = self.pixel_of(axes, x, y)
        here = slice(row - reach, row + reach + 1), slice(column - reach, column + reach + 1)
        return self.pixels[here].reshape(-1, 3)


def has_colour(pixels, colour):
    from matplotlib.colors import to_rgb

    return bool((np.abs(pixels - to_rgb(colour)).max(-1) < 0.02).any())


@pytest.fixture
def draw(tmp_path, monkeypatch):
    """Draws a picture with every warning an error."""
    from matplotlib.figure import Figure

    saved, save = [], Figure.savefig
    monkeypatch.setattr(
        Figure, "savefig", lambda self, *args, **how: (saved.append(self), save(self, *args, **how))
    )

    def draw(function, *args):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            function(tmp_path / "picture.png", *args)
        return Drawn(saved[-1], tmp_path / "picture.png")

    return draw


@pytest.fixture
def bundled_fonts(monkeypatch):
    """The fonts that come with matplotlib alone, whatever is installed; the list of them."""
    import matplotlib
    from matplotlib.font_manager import fontManager

    own = [
        font for font in fontManager.ttflist if font.fname.startswith(matplotlib.get_data_path())
    ]
    monkeypatch.setattr(fontManager, "ttflist", own)
    canvas._families.cache_clear()
    yield own
    canvas._families.cache_clear()


# One id and hundreds


@pytest.mark.parametrize("n", (1, 4, 14, 20, 22, 100, 200, 300))
def test_pictures_hold_for_any_number_of_ids(draw, n):
    curves = [curve(i) for i in range(n)]
    roc = draw(plots.roc, "ToyTest", curves, 0.1)
    histograms = draw(plots.histograms, "ToyTest", curves, TITLE)
    for picture in (roc, histograms):
        height, width = picture.pixels.shape[:2]
        assert width <= MOST_PIXELS[0] and height <= MOST_PIXELS[1]
        assert len(picture.axes) <= 21
    for picture in (roc, histograms):
        (legend,) = map(picture.box, picture.figure.legends)
        assert not any(legend.overlaps(picture.box(axes)) for axes in picture.axes)
    ranked = sorted(curves, key=lambda one: one[3])
    named = ranked if n <= 14 else ranked[:5]
    shown = {f"{name}: AUC {auc:.3f}" for name, _, _, auc in named}
    if n > 14:
        shown.add(f"mean of {n} ids: AUC {np.mean([auc for *_, auc in curves]):.3f}")
    assert {text for text in roc.texts() if ": AUC" in text} == shown
    shown = {f"{name}: AUC {auc:.3f}" for name, _, _, auc in ranked[:210]}
    assert {text for text in histograms.texts() if ": AUC" in text} == shown


def test_rows_of_many_ids_do_not_meet(draw):
    drawn = draw(plots.histograms, "ToyTest", [curve(i) for i in range(200)], TITLE)
    for axes in drawn.axes:
        boxes = [label.get_window_extent(drawn.renderer) for label in axes.get_yticklabels()]
        assert len(boxes) > 60
        assert not any(a.overlaps(b) for a, b in itertools.pairwise(boxes))


def test_the_mean_curve_is_the_mean_of_the_curves(draw):
    perfect = ("id 99", LABELS, PERFECT, 1.0)
    against = ("id 98", LABELS, -PERFECT, 0.0)
    drawn = draw(plots.roc, "ToyTest", [perfect, against] * 10, 0.1)
    (mean,) = [line for line in drawn.axes[0].lines if "mean" in str(line.get_label())]
    assert mean.get_label() == "mean of 20 ids: AUC 0.500"
    x, y = mean.get_data()
    assert np.allclose(y[1:][x[1:] < 1], 0.5) and (y[0], y[-1]) == (0, 1)


def test_ids_without_auc_are_named_or_counted(draw):
    one = draw(plots.roc, "ToyTest", [curve(0), ONLY_NORMAL], 0.1)
    assert "id none: no AUC" in one.texts()
    many = draw(plots.roc, "ToyTest", [curve(0)] + [ONLY_NORMAL] * 30, 0.1)
    assert "30 ids without AUC" in many.texts()
    draw(plots.roc, "ToyTest", [ONLY_NORMAL], 0.1)
    # The legend knows the colour of anomalous clips though the first id has none.
    drawn = draw(plots.histograms, "ToyTest", [ONLY_NORMAL, curve(0)], TITLE)
    from matplotlib.colors import to_hex

    patches = drawn.figure.legends[0].get_patches()
    assert [to_hex(patch.get_edgecolor()) for patch in patches] == ["#3b7dd8", "#d8593b"]
    ranges = draw(plots.histograms, "ToyTest", [ONLY_NORMAL] * 50, TITLE)
    assert ranges.texts().count("id none: no AUC") == 50


@pytest.mark.parametrize("scores", (np.full(60, 7.0), np.full(60, 1e18), 1 + LABELS * 4e-16),
                         ids=("alike", "alike and huge", "apart by rounding"))  # fmt: skip
@pytest.mark.parametrize("n", (1, 30))
def test_scores_that_are_alike(draw, scores, n):
    curves = [("id 00", LABELS, scores, metrics.auc(LABELS, scores))] * n
    draw(plots.roc, "ToyTest", curves, 0.1)
    drawn = draw(plots.histograms, "ToyTest", curves, TITLE)
    low, high = drawn.axes[0].get_xlim()
    assert low < scores.min() <= scores.max() < high


# Told apart


def test_a_perfect_curve_is_seen(draw):
    drawn = draw(plots.roc, "ToyTest", [("id 00", LABELS, PERFECT, 1.0)], 0.1)
    (axes,) = drawn.axes
    (line,) = [line for line in axes.lines if line.get_xdata().size > 2]
    for x, y in ((0.5, 1), (0, 0.5), (0, 1)):
        assert has_colour(drawn.around(axes, x, y), line.get_color())
    # It is not the frame, which is black and apart from it.
    assert not has_colour(drawn.around(axes, 0.5, 1), "black")


def test_curves_that_coincide_are_all_seen(draw):
    curves = [(f"id {i:02}", LABELS, PERFECT + i, 1.0) for i in range(4)]
    drawn = draw(plots.roc, "ToyTest", curves, 0.1)
    (axes,) = drawn.axes
    row, left = drawn.pixel_of(axes, 0, 1)
    _, right = drawn.pixel_of(axes, 1, 1)
    colours = {line.get_color() for line in axes.lines if line.get_xdata().size > 2}
    assert len(colours) == 4
    assert all(has_colour(drawn.pixels[row, left:right], colour) for colour in colours)


def test_bars_are_told_apart(draw):
    # 40 bins of one unit: two normal bars, of which the second has an anomalous one before it,
    # nothing, an anomalous bar; clips at 0 and 40 span the scale.
    normal, anomalous = [0] + [0.5] * 8 + [1.5] * 8, [1.5] * 8 + [3.5] * 8 + [40]
    labels = np.repeat([0, 1], (len(normal), len(anomalous)))
    scores = np.array(normal + anomalous, float)
    drawn = draw(plots.histograms, "ToyTest", [("id 00", labels, scores, 0.9)], TITLE)
    (axes,) = drawn.axes
    colours = np.stack([drawn.around(axes, x, 4, 0)[0] for x in (0.5, 1.5, 2.5, 3.5)])  # (4, 3)
    apart = np.abs(colours[:, None] - colours[None]).max(-1)
    assert apart[~np.eye(4, dtype=bool)].min() > 0.15


def test_adjacent_bars_of_one_height_are_told_apart(draw):
    scores = np.r_[0, [0.5] * 14, [1.5] * 15, [30.0] * 29, 40]
    drawn = draw(plots.histograms, "ToyTest", [("id 00", LABELS, scores, 1.0)], TITLE)
    (axes,) = drawn.axes
    row, left = drawn.pixel_of(axes, 0.5, 6)
    _, right = drawn.pixel_of(axes, 1.5, 6)
    way = drawn.pixels[row, left : right + 1]
    assert np.allclose(way[0], way[-1])
    assert np.abs(way - way[0]).max() > 0.15


# Names


NAMES = ("вентилятор", "ファン", NO_FONT, "\U0001f527", "ventilateur d'été", "a\nb", "\udcff",
         "$x_1$", "a$b", r"\$\frac$_$", "_a_", "a\\b")  # fmt: skip


@pytest.mark.parametrize("n", (1, 30))
@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_any_name_is_drawn(draw, bundled_fonts, name, n):
    from matplotlib import cbook

    curves = [(f"id {name}", *curve(0)[1:])] * n
    seen = [draw(plots.roc, name, curves, 0.1), draw(plots.histograms, name, curves, TITLE),
            draw(plots.history, name, [Epoch(1, 3.0, 4.0)])]  # fmt: skip
    for drawn in seen:
        assert not any(cbook.is_math_text(text) for text in drawn.texts() if "mathd" not in text)
        assert drawn.title.get_text().startswith(canvas.readable(name))


def test_characters_that_no_font_has_are_escaped(bundled_fonts):
    assert canvas.readable(NO_FONT) == r"\u98ce\u673a"
    assert canvas.readable("вентилятор été") == "вентилятор été"
    assert canvas.readable("a\u200bb\t\udcff") == r"a\u200bb\t\udcff"
    assert canvas.readable(r"a\u98ce") == r"a\\u98ce"
    assert len({canvas.readable(name) for name in NAMES}) == len(NAMES)


def test_an_installed_font_that_has_the_characters_is_used(draw, bundled_fonts, tmp_path):
    from fontTools.fontBuilder import FontBuilder
    from fontTools.pens.ttGlyphPen import TTGlyphPen
    from matplotlib.font_manager import fontManager

    pen = TTGlyphPen(None)
    for i, point in enumerate(((0, 0), (0, 800), (800, 800), (800, 0))):
        (pen.lineTo if i else pen.moveTo)(point)
    pen.closePath()
    builder = FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder([".notdef", "block"])
    builder.setupCharacterMap({ord(char): "block" for char in NO_FONT})
    builder.setupGlyf({".notdef": TTGlyphPen(None).glyph(), "block": pen.glyph()})
    builder.setupHorizontalMetrics({".notdef": (900, 0), "block": (900, 0)})
    builder.setupHorizontalHeader(ascent=900, descent=-100)
    builder.setupNameTable({"familyName": "Blocks", "styleName": "Regular"})
    builder.setupOS2()
    builder.setupPost()
    builder.save(tmp_path / "blocks.ttf")
    fontManager.addfont(tmp_path / "blocks.ttf")

    drawn = draw(plots.roc, f"{NO_FONT} \U0001f527", [curve(0)], 0.1)
    assert drawn.title.get_text() == NO_FONT + r" \U0001f527: ROC"
    box = drawn.title.get_window_extent()
    first = drawn.pixels[: int(len(drawn.pixels) - box.y0), int(box.x0) : int(box.x0) + 20]
    assert (first.max(-1) < 0.1).sum() > 100  # a black block of 14 x 14 pixels


def test_fonts_that_cannot_be_opened_are_passed_over(draw, bundled_fonts, tmp_path):
    from matplotlib.font_manager import FontEntry

    (tmp_path / "damaged.ttf").write_bytes(b"no font")
    for name in ("gone.ttf", "damaged.ttf"):
        bundled_fonts.insert(0, FontEntry(fname=str(tmp_path / name), name=name))
    drawn = draw(plots.roc, NO_FONT, [curve(0)], 0.1)
    assert drawn.title.get_text() == r"\u98ce\u673a: ROC"


@pytest.mark.parametrize("name", ("x" * 255, "W" * 255, "\u98ce" * 85, "a b " * 60),
                         ids=("narrow", "wide", "escapes", "words"))  # fmt: skip
def test_a_long_name_is_written_out_above_the_axes(draw, bundled_fonts, name):
    pictures = ((plots.roc, [curve(0)], 0.1), (plots.histograms, [curve(0)], TITLE),
                (plots.history, [Epoch(1, 3.0, None)]))  # fmt: skip
    for function, *args in pictures:
        drawn = draw(function, name, *args)
        whole = "".join(drawn.title.get_text().split())
        assert whole.startswith("".join(canvas.readable(name).split()))
        box = drawn.title.get_window_extent()
        assert box.x0 >= 0 and box.x1 <= drawn.pixels.shape[1]
        others = [*drawn.axes, *drawn.figure.legends]
        assert not any(box.overlaps(drawn.box(other)) for other in others)


# The training history


def test_a_single_epoch_is_seen(draw):
    drawn = draw(plots.history, "ToyTest", [Epoch(1, 5.0, None)])
    (axes,) = drawn.axes
    assert has_colour(drawn.around(axes, 1, 5), plots.NORMAL_COLOUR)
    low, high = axes.get_xlim()
    assert [tick for tick in axes.get_xticks() if low <= tick <= high] == [1]
    assert "validation clips" not in drawn.texts()


@pytest.mark.parametrize("losses", ((0.0, 0.0), (3.0, 0.0), (2.0, -3.0)))
def test_losses_that_have_no_logarithm_are_seen(draw, losses):
    rows = [Epoch(i, loss, loss) for i, loss in enumerate(losses, 1)]
    drawn = draw(plots.history, "ToyTest", rows)
    (axes,) = drawn.axes
    low, high = axes.get_ylim()
    assert low <= min(losses) and max(losses) <= high
    assert has_colour(drawn.around(axes, 2, losses[-1]), plots.ANOMALY_COLOUR)
    assert draw(plots.history, "ToyTest", [Epoch(1, 5.0, 4.0)]).axes[0].get_yscale() == "log"


# The user's settings of matplotlib


def test_the_users_settings_change_nothing(draw, tmp_path):
    import matplotlib

    def pictures():
        draw(plots.roc, "ToyTest", [curve(0)], 0.1)
        yield (tmp_path / "picture.png").read_bytes()
        draw(plots.histograms, "ToyTest", [curve(0)], TITLE)
        yield (tmp_path / "picture.png").read_bytes()

    plain = list(pictures())
    theirs = {"savefig.bbox": "tight", "savefig.dpi": 50, "font.family": ["serif"],
              "axes.facecolor": "black", "lines.linewidth": 9, "text.usetex": True}  # fmt: skip
    with matplotlib.rc_context(theirs):
        assert list(pictures()) == plain
        assert all(matplotlib.rcParams[key] == value for key, value in theirs.items())


SCRIPT = """
import sys
from pathlib import Path
import numpy as np
from asd.evaluation import plots
labels = np.array([0, 0, 1, 1])
plots.roc(Path(sys.argv[1]), "ToyTest", [("id 00", labels, labels + 1.0, 1.0)], 0.1)
assert "matplotlib.pyplot" not in sys.modules
"""


def test_settings_that_stop_matplotlib_do_not_stop_pictures(tmp_path):
    (tmp_path / "matplotlibrc").write_bytes(b"text.usetex: True\n# \xff\n")
    written = []
    for i, broken in enumerate(({}, {"MPLBACKEND": "nonsense"},
                                {"MATPLOTLIBRC": str(tmp_path / "matplotlibrc")})):  # fmt: skip
        path = tmp_path / f"{i}.png"
        command = [sys.executable, "-c", SCRIPT, str(path)]
        done = subprocess.run(command, cwd=ROOT, env=os.environ | broken, capture_output=True,
                              text=True, timeout=120)  # fmt: skip
        assert done.returncode == 0, done.stderr
        written.append(path.read_bytes())
    assert written[0] == written[1] == written[2]
