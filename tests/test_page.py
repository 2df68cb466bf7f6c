"""The report: its figures are those of the files, its text is escaped, it needs no network."""

import html.parser
import io
import itertools
import re

import numpy as np
import pages
import pytest
import soundfile
from conftest import call, write_clip, write_config
from pages import HOSTILE, Made

import common
from asd import files
from asd.clips import Clip, Scores
from asd.detectors import reconstruction
from asd.evaluation import alarms as rates
from asd.page import alarms, charts, choice, facts, pictures, report, run
from asd.page import html as markup
from asd.page.html import STYLE, Html, Section
from asd.paths import facts_of, report_of, scores_of, table_of
from common import UserError

FROZEN = {"kind": "frozen", "backend": {"kind": "knn", "distance": "cosine", "neighbours": 1}}
VOID = {"meta", "img", "br"}


class Reader(html.parser.HTMLParser):
    """A page's tags, texts by tag, and attributes; every tag must be closed in order."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.texts, self.links, self.rows, self.open = [], [], [], [], []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [value for key, value in attrs if key in ("src", "href")]
        self.links += [value for key, value in attrs if key.startswith("on")]
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)
        if {"td", "th"} & set(self.open[-4:]) and self.rows:
            self.rows[-1][-1] += data

    @property
    def text(self):
        return " ".join(" ".join(self.texts).split())


def made(folder, **how):
    pages.write(folder, Made(**how))
    return Reader(report.make(folder).read_text(encoding="utf-8"))


# The scripts.


def test_figures_of_the_scripts_files_are_on_the_page(story):
    page = Reader(report_of(story / "result").read_text(encoding="utf-8"))
    header, *rows = files.read_csv(story / "result/metrics.csv")
    several = [row for row in page.rows if row[:1] == ["ToyTest"]]
    for row in rows:
        of = dict(zip(header, row, strict=True))
        name = {"pooled": "all clips together", "average": "mean of the ids"}.get(
            of["id"], of["id"]
        )
        told = [f"{float(of[key]):.3f}" for key in ("auc", "auc_low", "auc_high", "pauc")]
        line = ["ToyTest", name, of["normal"], of["anomalous"], told[0],
                f"{told[1]} – {told[2]}", told[3], of["note"]]  # fmt: skip
        assert line in several
    for table, key in (("parity", "score_median"), ("mcu", "score_median")):
        header, *rows = files.read_csv(story / f"result/{table}.csv")
        assert rows
        for row in rows:
            value = f"{100 * float(row[header.index(key)]):.3f}\u00a0%"
            assert any(value in one and one[-1] == row[-1] for one in page.rows), row
    header, *rows = files.read_csv(story / "result/mcu.csv")
    for row in rows:
        hop = row[header.index("stream_instructions")]
        assert not hop or any(f"{int(hop):,}" in one for one in page.rows)
    header, *rows = files.read_csv(story / "result/decisions.csv")
    for row in rows:
        assert f"threshold {float(row[header.index('threshold')]):.4g}" in page.text


def test_the_scripts_report_has_pictures_and_sound_of_its_clips(story):
    told = facts.read(story / "result")
    assert len(told.pictures) > 8
    text = report_of(story / "result").read_text(encoding="utf-8")
    assert len(text) < 10e6
    scores = dict(files.read_csv(story / "result/anomaly_score_ToyTest_id_01.csv"))
    scores |= dict(files.read_csv(story / "result/anomaly_score_ToyTest_id_02.csv"))
    most = [one.clip.name for one in told.pictures if not one.surprising]
    assert most == sorted(scores, key=lambda name: -float(scores[name]))[: len(most)]
    for one in told.pictures:
        assert one.error and one.sound
        samples, rate = soundfile.read(io.BytesIO(_bytes(one.sound)), dtype="int16")
        own, _ = soundfile.read(story / "dev_data/ToyTest/test" / one.clip.name, dtype="int16")
        assert rate == 16000 and len(own) - len(samples) in range(512)
        assert np.abs(samples.astype(int) - own[: len(samples)]).max() <= 1
        assert f"data:audio/flac;base64,{one.sound}" in text


def _bytes(text):
    import base64

    return base64.b64decode(text)


def test_evaluation_data_without_labels(data):
    for name in ("00_train.py", "01_test.py"):
        assert call(name, "-e", "-c", data / "test.yaml") == 0
    page = Reader(report_of(data / "result/eval").read_text(encoding="utf-8"))
    assert "nobody told" in page.text
    assert "ROC" not in page.text.replace("area under the ROC curve", "")
    told = facts.read(data / "result/eval")
    assert {one.clip.label for one in told.pictures} == {None}


def test_a_report_that_fails_loses_nothing(data, capsys):
    config = data / "test.yaml"
    assert call("00_train.py", "-d", "-c", config) == 0
    report_of(data / "result").mkdir(parents=True)  # in its place
    assert call("01_test.py", "-d", "-c", config) != 0
    assert "report.html" in capsys.readouterr().err
    for name in ("metrics.csv", "decisions.csv", "anomaly_score_ToyTest_id_01.csv"):
        assert (data / "result" / name).is_file()


def test_a_detector_that_reconstructs_nothing(data):
    config = write_config(data, detector=FROZEN)
    for name in ("00_train.py", "01_test.py"):
        assert call(name, "-d", "-c", config) == 0
    told = facts.read(data / "result")
    assert told.pictures and not any(one.error for one in told.pictures)
    text = Reader(report_of(data / "result").read_text(encoding="utf-8")).text
    assert "reconstructs nothing" in text and "lower picture" not in text


def test_conversion_without_a_report(data, capsys):
    config = data / "test.yaml"
    for name in ("00_train.py", "01_test.py", "02_convert.py"):
        assert call(name, "-d", "-c", config) == 0
    facts_of(data / "result").unlink()
    assert call("03_tflite_test.py", "-d", "-c", config, "--boards", "none") == 0
    assert "no report without report.json; run 01_test.py" in capsys.readouterr().out


# What is converted belongs to the models that were scored.


def table_like(folder, name="parity"):
    header = ["variant", "machine_type", "id", "score_max", "score_median", "auc_keras", "auc",
              "p_value", "verdict"]  # fmt: skip
    files.write_csv(table_of(folder, name), [header, ["", "fan", "00", 0.1, 0.0123, "", "", "",
                                                      "FAIL"]])  # fmt: skip


def test_comparisons_of_other_models_are_not_shown(tmp_path):
    told = pages.write(tmp_path, Made())
    table_like(tmp_path)
    assert "Parity lost" not in report.make(tmp_path).read_text()
    run.converted(tmp_path)
    assert "Parity lost in 1 of 1 comparisons" in report.make(tmp_path).read_text()
    facts.write(tmp_path, facts.Facts(**{**_fields(told), "converted": {}}))
    assert "Parity lost" in report.make(tmp_path).read_text(), "scored again, the same"
    told.machines[0].sha256 = "another"
    facts.write(tmp_path, facts.Facts(**{**_fields(told), "converted": {}}))
    assert "Parity lost" not in report.make(tmp_path).read_text()


def _fields(told):
    return {name: getattr(told, name) for name in told.__struct_fields__}


# What there may be.

KINDS = {
    "plain": {},
    "hostile names": {"types": (HOSTILE,), "name": HOSTILE},
    "without labels": {"unknown": 9, "normal": 0, "anomalous": 0},
    "some without labels": {"unknown": 2},
    "no scores of training clips": {"training": 0},
    "without labels and training": {"unknown": 3, "training": 0},
    "one clip": {"types": ("fan",), "ids": 1, "normal": 1, "anomalous": 0},
    "no anomalous clip": {"anomalous": 0},
    "200 ids": {"types": ("fan",), "ids": 200, "normal": 3, "anomalous": 2, "training": 400},
    "20 machine types": {"types": tuple(f"type{i}" for i in range(20))},
    "domains": {"label_domains": True},
}


@pytest.mark.parametrize("kind", KINDS)
def test_pages_of_any_run_are_whole_and_need_no_network(tmp_path, kind):
    page = made(tmp_path, **KINDS[kind])
    text = report_of(tmp_path).read_text(encoding="utf-8")
    assert page.tags.count("h1") == page.tags.count("title") == page.tags.count("main") == 1
    assert "script" not in page.tags
    assert all(link.startswith(("#", "data:image/png;", "data:audio/flac;")) for link in page.links)
    assert not re.search(r"https?:|//[a-z]|@import|url\(", re.sub(r"data:[^\"]*", "", text))
    levels = [int(tag[1]) for tag in page.tags if re.fullmatch("h[1-6]", tag)]
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
    assert len(text) < 10e6
    for svg in re.findall(r"<svg [^>]*>", text):
        assert "aria-label=" in svg or "aria-hidden=" in svg


def test_names_are_shown_and_not_obeyed(tmp_path):
    page = made(tmp_path, types=(HOSTILE,))
    shown = HOSTILE.replace("\u202e", "\\u202e").replace("\ufeff", "\\ufeff")
    assert shown in "".join(page.texts)
    assert "\u202e" not in report_of(tmp_path).read_text(encoding="utf-8")


def test_a_name_that_is_no_unicode(tmp_path):
    page = made(tmp_path, types=("fan\udce9",))
    assert "fan\\udce9" in page.text


def test_text_and_attributes_are_escaped():
    got = markup.tag("p", "<b>&", Html("<i></i>"), title='"><script>', class_="a", hidden=False)
    assert got == '<p title="&quot;&gt;&lt;script&gt;" class="a">&lt;b&gt;&amp;<i></i></p>'


def test_a_page_of_ones_own():
    table = markup.table(("run", "score"), [("a<b", 0.5), ("c", "–")], "Scores & more")
    page = Reader(markup.page("Runs < all", [Section("One", [table]), Section("Two", [])]))
    assert page.rows == [["run", "score"], ["a<b", "0.5"], ["c", "–"]]
    assert page.links == ["#part0", "#part1"]
    assert "Scores & more" in page.texts and "Runs < all" in page.texts


def test_another_run_at_once_is_told_and_no_failure(data, capsys, monkeypatch):
    """The tables of another machine type appear while this run reads its clips again."""
    config = data / "test.yaml"
    assert call("00_train.py", "-d", "-c", config) == 0
    gathered = report.gather.gather

    def meanwhile(*args):
        pages.write(data / "elsewhere", Made(types=("fan",)))
        table_of(data / "elsewhere", "metrics").replace(table_of(data / "result", "metrics"))
        return gathered(*args)

    monkeypatch.setattr(report.gather, "gather", meanwhile)
    assert call("01_test.py", "-d", "-c", config) == 0
    assert "no report, another run writes into this folder" in capsys.readouterr().out
    assert not report_of(data / "result").exists()


def test_comparisons_of_machine_types_that_were_not_scored_are_not_shown(tmp_path):
    pages.write(tmp_path, Made(types=("pump", "fa")))
    table_like(tmp_path)  # of the fan
    run.converted(tmp_path)
    assert "Parity lost" not in report.make(tmp_path).read_text()


@pytest.mark.parametrize("damage", ["no facts", "no scores", "a clip less", "a word", "old format",
                                    "no metrics", "a row cut short"])  # fmt: skip
def test_damage_is_named_in_one_line(tmp_path, damage):
    pages.write(tmp_path, Made())
    scores = scores_of(tmp_path, "fan", "01")
    if damage == "no facts":
        facts_of(tmp_path).unlink()
    elif damage == "no scores":
        scores.unlink()
    elif damage == "a clip less":
        files.write_csv(scores, files.read_csv(scores)[1:])
    elif damage == "a word":
        files.write_csv(scores, [[name, "x"] for name, _ in files.read_csv(scores)])
    elif damage == "old format":
        files.write_json(facts_of(tmp_path), files.read_mapping(facts_of(tmp_path)) | {"format": 0})
    elif damage == "no metrics":
        table_of(tmp_path, "metrics").unlink()
    else:
        table = table_of(tmp_path, "decisions")
        table.write_text(table.read_text()[:-40])
    with pytest.raises(UserError, match="run 01_test.py") as caught:
        report.make(tmp_path)
    assert str(tmp_path) in str(caught.value) and "\n" not in str(caught.value)
    assert not report_of(tmp_path).exists()


# Alarms.


def test_the_table_of_alarms_is_of_the_files_scores(tmp_path):
    page = made(tmp_path, types=("fan",), normal=30, anomalous=20)
    header, *rows = files.read_csv(table_of(tmp_path, "decisions"))
    counts = {0: [0, 0], 1: [0, 0]}
    for row in rows:
        limit = float(row[header.index("threshold")])
        for name, score in files.read_csv(scores_of(tmp_path, "fan", row[1])):
            counts[int(name[0])][0] += float(score) > limit
            counts[int(name[0])][1] += 1
    false, hits = (above / count for above, count in counts.values())
    assert 0 < false < hits < 1
    for rule in rates.RULES:
        (line,) = [row for row in page.rows if row[0] == str(rule)]
        assert line[1] == alarms.frequency(float(rates.a_day(false, rule, 10)))
        assert line[3] == f"{100 * rates.probability(hits, rule):.0f}\u00a0%"
    assert f"{counts[0][0]} of {counts[0][1]} normal clips" in page.text


def test_how_often():
    words = {8640: "8,640", 1.2: "1", 0.5: "one in 2 days", 1 / 50: "one in 50 days",
             1e-9: "one in over 10 years", 0: "none seen"}  # fmt: skip
    assert {value: alarms.frequency(value) for value in words} == words


# Which clips.


def scored(machine, labels, values):
    clips = [Clip(f"{i}", machine, "00", "test", label) for i, label in enumerate(labels)]
    return Scores(tuple(clips), np.array(values, float))


def test_the_most_anomalous_and_the_most_surprising():
    labels = [0] * 30 + [1] * 30
    values = np.r_[np.arange(30), np.arange(30) + 15.5]
    found = choice.of([scored("fan", labels, values)], [None])
    most = [one.clip for one in found if not one.surprising]
    assert most == list(range(59, 49, -1))
    surprising = [one.clip for one in found if one.surprising]
    assert surprising == [29, 30, 28, 31, 27, 32, 26, 33, 25, 34]


def test_machine_types_take_turns():
    both = [scored("fan", [0, 1] * 10, np.arange(20)), scored("pump", [0, 1], [5000, 4000])]
    found = choice.of(both, [None, None])
    assert [(one.machine, one.clip) for one in found[:4]] == [(0, 19), (1, 0), (0, 18), (1, 1)]
    assert len({(one.machine, one.clip) for one in found}) == len(found)


def test_surprise_without_labels_is_far_from_the_training_clips():
    test = scored("fan", [None] * 6, [100, 90, 10, 4, 11, 80])
    found = choice.of([test], [scored("fan", [0] * 3, [9, 10, 11])])
    assert [one.clip for one in found if not one.surprising] == [0, 1, 5]
    assert [one.clip for one in found if one.surprising] == [3, 4, 2]


# Pictures.


def test_reconstruction_error_by_frame_and_band():
    rng = np.random.default_rng(0)
    frames, n = rng.normal(size=(9, 4)).astype(np.float32), 3
    weights = rng.normal(size=(12, 12)).astype(np.float32)
    got = reconstruction.errors(lambda x: x @ weights, frames, n)
    expected = np.zeros((9, 4))
    for t in range(9):
        found = []
        for start in range(max(t - n + 1, 0), min(t, 9 - n) + 1):
            window = frames[start : start + n].reshape(-1)
            found.append(np.square(window - window @ weights).reshape(n, 4)[t - start])
        expected[t] = np.mean(found, axis=0)
    np.testing.assert_allclose(got, expected, rtol=1e-4)


def test_a_picture_has_time_to_the_right_and_low_bands_below(tmp_path):
    from matplotlib.image import imread

    values = np.zeros((5, 3), np.float32)
    values[4, 0] = 255  # the last frame, the lowest band
    values[0, 2] = 51
    palette = np.stack([np.arange(256)] * 3, 1).astype(np.uint8).tobytes()
    content = pictures.Colours(0, 255, palette).png(values)
    drawn = imread(io.BytesIO(content), format="png")[:, :, 0]
    assert drawn.shape == (3, 5)
    expected = np.zeros((3, 5))
    expected[2, 4], expected[0, 0] = 1, 0.2
    np.testing.assert_allclose(drawn, expected, atol=1e-6)


def test_long_clips_are_averaged():
    values = np.arange(10_000, dtype=np.float32)[:, None] * np.ones((1, 2), np.float32)
    narrow = pictures._narrowed(values)
    assert narrow.shape == (pictures.MOST_COLUMNS, 2)
    assert narrow.mean() == pytest.approx(values.mean(), rel=0.01)
    assert (np.diff(narrow[:, 0]) > 0).all()


def test_sound_of_a_long_clip_is_left_out(tmp_path):
    from asd import config

    feature = config.load_config().feature
    for seconds, there in ((2, True), (61, False)):
        path = write_clip(tmp_path / f"{seconds}.wav", n_samples=16000 * seconds)
        samples = pictures.samples_of(Clip(path, "a", "00", "test", 0), feature)
        assert bool(pictures.sound(samples, feature)) == there


def test_time_and_frequency_of_a_tone_are_where_the_axes_say():
    """A tone of 2 kHz from 3 to 5 s, in the picture's own units."""
    from asd import config

    feature = config.load_config().feature
    time = np.arange(16000 * 10) / 16000
    wave = np.where((time > 3) & (time < 5), np.sin(2 * np.pi * 2000 * time), 0)
    padded = np.pad(wave, feature.n_fft // 2).astype(np.float32)
    level = common.log_mel(padded, feature)
    hop = feature.hop_length / feature.sample_rate
    heard = np.flatnonzero(level.max(axis=1) > level.max() - 20) * hop
    assert heard.min() == pytest.approx(3, abs=0.05) and heard.max() == pytest.approx(5, abs=0.05)
    band = level[int(4 / hop)].argmax()
    from asd.page import clips

    labels = clips._frequencies(feature, 0)
    (place,) = [float(re.search(r' y="([\d.]+)"', one)[1]) - 4 for one in labels if "2 kHz" in one]
    assert clips.MAP_HEIGHT * (1 - (band + 0.5) / feature.n_mels) == pytest.approx(place, abs=2)


# Charts.


@pytest.mark.parametrize("low, high", [(0, 1), (7.7, 13.6), (-3e-5, 2e-5), (0, 9.99e8)])
def test_ticks_are_round_and_inside(low, high):
    found = charts.steps(low, high)
    assert 2 <= len(found) <= 7
    slack = 1e-9 * (high - low)
    assert all(low - slack <= one <= high + slack for one in found)


# Light and dark.


def luminance(colour):
    """WCAG 2.2's relative luminance."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return np.dot(linear, (0.2126, 0.7152, 0.0722))


def schemes():
    style = STYLE.read_text(encoding="utf-8")
    light, dark = (dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", block))
                   for block in re.findall(r":root \{(.*?)\}", style, re.DOTALL)[:2])  # fmt: skip
    assert light.keys() == dark.keys() and len(light) > 12
    return {"light": light, "dark": dark}


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast_is_enough(scheme):
    colours = schemes()[scheme]
    text = {"ink", "muted", "link", "good", "bad"}
    lines = {name for name in colours if re.fullmatch(r"c\d", name)} | {"normal", "anomalous",
                                                                         "training"}  # fmt: skip
    for name in text | lines:
        for paper in ("paper", "box"):
            pair = sorted((luminance(colours[name]), luminance(colours[paper])))
            ratio = (pair[1] + 0.05) / (pair[0] + 0.05)
            assert ratio >= (4.5 if name in text else 3), (name, paper, ratio)
