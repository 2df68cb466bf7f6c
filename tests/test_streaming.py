"""What training clips say of a stream: thresholds, false alarms, the record."""

import json
from dataclasses import replace

import msgspec
import numpy as np
import pytest
import small_streams as streams
from scipy import stats

from asd import config, files
from asd.clips import Scores
from asd.evaluation import intervals, stream_limits, streaming
from asd.evaluation.serving import Heard
from asd.evaluation.stream_limits import Alarm
from asd.evaluation.streaming import decision_scores
from asd.paths import record_of
from common import UserError


def heard(errors, levels=None):
    clips = streams.Clips([np.zeros((1, 1))] * len(errors)).clips
    values = np.array([one.mean() for one in errors])
    levels = levels or [np.zeros(len(one) + 2) for one in errors]
    return Heard(Scores(clips, values), values, np.full(16, 0.0), tuple(errors), tuple(levels))


def test_scores_of_decisions_are_means_of_the_last_windows():
    errors = np.random.default_rng(0).gamma(2, size=50)
    expected = [errors[i - 12 : i].mean() for i in range(12, 51, 5)]
    np.testing.assert_allclose(decision_scores(errors, 12, 5), expected, rtol=1e-12)
    assert len(decision_scores(errors[:12], 12, 5)) == 1
    assert len(decision_scores(errors[:11], 12, 5)) == 0


def test_the_rule_with_hysteresis():
    """k of n above; while the alarm is on, above the release point counts."""
    alarm = Alarm(2, 3, 10.0, 5.0)
    scores = [11, 4, 10.5, 6, 6, 5, 5, 6, 11, 11]
    told = [(alarm.decide(score), alarm.on) for score in scores]
    assert told == [
        (True, False), (False, False), (True, True), (True, True), (True, True), (False, True),
        (False, False), (False, False), (True, False), (True, True),
    ]  # fmt: skip
    alarm.forget()
    assert alarm.on
    assert (alarm.decide(6), alarm.on) == (True, False), "one of three, from here on"
    assert stream_limits.begins(np.array([11.0, 11, 0, 0, 0, 11, 11]), Alarm(2, 2, 10, 5)) == 2
    alarm = Alarm(32, 32, 1, 1)
    assert [alarm.decide(2) and alarm.on for _ in range(33)] == [False] * 31 + [True] * 2


def test_what_training_clips_say():
    rng = np.random.default_rng(1)
    errors = [rng.gamma(20, size=58) for _ in range(10)]
    levels = [np.linspace(-40, -30 - i, 60) for i in range(10)]
    cfg = streams.settings()
    stream = streaming.of(cfg, heard(errors, levels))
    every = np.concatenate([[e[i - 12 : i].mean() for i in range(12, 59, 5)] for e in errors])
    assert stream.threshold == pytest.approx(np.quantile(every, 0.9), rel=1e-12)
    middle = (every.mean() + stream.threshold) / 2
    assert stream.release == pytest.approx(middle, rel=1e-12)
    assert stream.score_median == pytest.approx(np.median(every), rel=1e-12)
    means = [[one[i : i + 12].mean() for i in range(2, 49)] for one in levels]
    assert stream.level_db == pytest.approx((np.min(means), np.max(means)), rel=1e-12)
    assert (stream.windows, stream.step, stream.k, stream.n) == (12, 5, 2, 3)
    assert set(stream.band_errors) == {2.0**-12}, "a band without errors can be divided by"
    assert stream.feature == cfg.feature
    text = msgspec.json.encode(streaming.of(cfg, heard(errors, levels), [9]))
    told = msgspec.json.decode(text, type=streaming.Stream)
    assert msgspec.json.encode(told) == text, "the C knows a stream by its record's text"


def test_windows_of_a_clip_and_clips_that_are_too_short():
    rng = np.random.default_rng(2)
    errors = [rng.gamma(20, size=n) for n in (30, 40, 50)]
    whole = streaming.of(streams.settings(stream={"windows": None}), heard(errors))
    assert whole.windows == 30
    assert whole.false_alarms["decisions"] == 1 + 3 + 5
    some = streaming.of(streams.settings(stream={"windows": 45}), heard(errors))
    assert some.false_alarms["clips"] == 1
    none = streaming.of(streams.settings(stream={"windows": 51}), heard(errors))
    assert none is None
    assert "no clip is as long as stream.windows" in streaming.tell("m.tflite", none)


def test_false_alarms_are_of_clips_held_out():
    """One clip of ten is another, by which the threshold of all would be its own score."""
    errors = [np.full(58, 1.0 + 0.001 * i) for i in range(10)]
    errors[3] = np.full(58, 100.0)
    stream = streaming.of(streams.settings(stream={"share": 0.95}), heard(errors))
    assert stream.threshold == 100
    rates = stream.false_alarms
    assert rates["share"] == pytest.approx(0.1), "all of its decisions"
    assert rates["nominal"] == 0.05
    assert (rates["low"], rates["high"]) == pytest.approx(intervals.of_share(1, 10))
    hours = 10 * 10 * 5 * 128 / 8000 / 3600
    assert rates["hours"] == pytest.approx(hours)
    assert rates["alarms_an_hour"] == pytest.approx(1 / hours)
    low, high = intervals.of_share(1, 10)
    assert rates["alarms_an_hour_low"] == pytest.approx(low * 10 / hours)
    assert rates["alarms_an_hour_high"] == pytest.approx(high * 10 / hours)


def test_false_alarms_of_clips_that_the_model_has_not_heard():
    errors = [np.full(58, 1.0 + 0.001 * i) for i in range(8)] + [np.full(58, 9.0), np.full(58, 0.5)]
    cfg = streams.settings()
    rates = streaming.of(cfg, heard(errors), [8, 9]).false_alarms
    assert (rates["unheard_share"], rates["unheard_clips"]) == (0.5, 2)
    low, high = rates["unheard_low"], rates["unheard_high"]
    assert (low, high) == pytest.approx(intervals.of_share(1, 2))
    for unheard in ((), range(10)):
        assert "unheard_share" not in streaming.of(cfg, heard(errors), unheard).false_alarms
    line = streaming.tell("m.tflite", streaming.of(cfg, heard(errors), [8, 9]))
    assert "50.0% on the 2 clips that it was not trained on" in line


MOVED = {"threshold": "validation"}


def of_two_ids(louder):
    """Scores of 20 clips, of which the last five, of id 02, were not trained on."""
    rng = np.random.default_rng(4)
    sizes = np.array([1.0] * 8 + [3.0] * 7 + [3.0 * louder] * 5)
    scores = [rng.gamma(50, 0.02, 12) * size for size in sizes]
    clips = streams.Clips([np.zeros((1, 1))] * 20).clips
    clips = [replace(clip, section="00" if i < 8 else "02") for i, clip in enumerate(clips)]
    return stream_limits.Decisions(scores, clips, np.arange(20) >= 15)


def test_clips_that_were_not_trained_on_move_the_threshold():
    """By how much higher they are than the trained ones of their own ids, at what five can tell."""
    how = streams.settings(stream={"share": 0.95} | MOVED).stream
    two = of_two_ids(1.7)
    heard, own, others = (np.concatenate(two.scores[a:b]) for a, b in ((0, 15), (8, 15), (15, 20)))
    factor = np.quantile(others, 0.8) / np.quantile(own, 0.8)
    assert factor == pytest.approx(1.7, rel=0.1)
    found = stream_limits.of(how, two)
    assert found.threshold == pytest.approx(np.quantile(heard, 0.95) * factor, rel=1e-12)
    mean = np.concatenate(two.scores).mean()
    assert found.release == pytest.approx((mean + found.threshold) / 2, rel=1e-12)
    assert f"trained clips, times {factor:.3g} by the 0.8 quantiles" in found.way
    low = stream_limits.of(streams.settings(stream={"share": 0.7} | MOVED).stream, two)
    factor = np.quantile(others, 0.7) / np.quantile(own, 0.7)
    assert low.threshold == pytest.approx(np.quantile(heard, 0.7) * factor, rel=1e-12)
    quiet = stream_limits.of(how, of_two_ids(0.5))
    assert quiet.threshold == pytest.approx(np.quantile(heard, 0.95), rel=1e-12), "never lower"
    alone = two._replace(clips=[replace(c, section="04") if i > 14 else c
                                for i, c in enumerate(two.clips)])  # fmt: skip
    factor = np.quantile(others, 0.8) / np.quantile(heard, 0.8)
    assert stream_limits.of(how, alone).threshold == pytest.approx(
        np.quantile(heard, 0.95) * factor, rel=1e-12
    ), "none of their id was trained on"
    zeros = two._replace(scores=[0 * one for one in two.scores[:15]] + two.scores[15:])
    assert stream_limits.of(how, zeros).threshold == 0


def test_few_clips_that_were_not_trained_on_move_nothing():
    how, two = streams.settings(stream=MOVED).stream, of_two_ids(5)
    every = np.quantile(np.concatenate(two.scores), 0.9)
    for count, why in ((0, "none known as not trained on"), (3, "3 of them not trained on"),
                       (20, "20 of them not trained on")):  # fmt: skip
        found = stream_limits.of(how, two._replace(unheard=np.arange(20) >= 20 - count))
        assert found.threshold == pytest.approx(every, rel=1e-12)
        assert found.way == f"0.9 quantile on 20 clips, {why}"


def test_false_alarms_are_of_clips_that_were_not_trained_on_where_these_are_enough():
    """Each of the five against a threshold without it: the loudest of them alone is above."""
    errors = [np.full(58, 1.0 + 0.001 * i) for i in range(8)]
    errors += [np.full(58, 2.0 + 0.001 * i) for i in range(4)] + [np.full(58, 9.0)]
    cfg = streams.settings(stream=MOVED)
    stream = streaming.of(cfg, heard(errors), range(8, 13))
    rates = stream.false_alarms
    assert (rates["clips"], rates["unheard_clips"], rates["held_out_unheard"]) == (5, 5, 1)
    assert rates["share"] == pytest.approx(0.2)
    assert (rates["low"], rates["high"]) == pytest.approx(intervals.of_share(1, 5))
    assert rates["alarms_an_hour"] == pytest.approx(1 / rates["hours"])
    assert rates["hours"] == pytest.approx(5 * 10 * 5 * 128 / 8000 / 3600)
    line = streaming.tell("m.tflite", stream)
    assert "of those on the 5 clips that it was not trained on, each held out, 20.0%" in line
    assert stream.way in line
    assert "10.0% are to be above it" in line


def test_a_threshold_of_the_training_clips_is_told_with_what_the_others_make_of_it():
    """All five others are above what eight clips and the other four say, and one line says so."""
    errors = [np.full(58, 1.0 + 0.001 * i) for i in range(80)] + [
        np.full(58, 2.0 + i) for i in range(5)
    ]
    stream = streaming.of(streams.settings(), heard(errors), range(80, 85))
    scores = np.repeat([one[0] for one in errors], 10)
    assert stream.threshold == pytest.approx(np.quantile(scores, 0.9), rel=1e-12)
    assert (stream.moved, stream.way) == (
        False,
        "0.9 quantile on 85 clips, 5 of them not trained on",
    )
    rates = stream.false_alarms
    assert (rates["clips"], rates["share"], rates["held_out_unheard"]) == (5, 1, 1)
    hint = "stream.threshold: validation raises it"
    assert hint in streaming.tell("m.tflite", stream)
    moved = streaming.of(streams.settings(stream=MOVED), heard(errors), range(80, 85))
    assert moved.moved
    assert moved.threshold > 2 * stream.threshold
    assert hint not in streaming.tell("m.tflite", moved)


@pytest.mark.parametrize("ids", [("00",) * 4, ("00", "02", "04", "06")])
def test_three_others_move_the_threshold_where_one_of_four_is_held_out(ids):
    """Of one id or of four; without the factor of 2 all four would be above."""
    scores = [np.full(10, 1.0)] * 8 + [np.full(10, 2.0)] * 4
    clips = streams.Clips([np.zeros((1, 1))] * 12).clips
    clips = [replace(c, section=s) for c, s in zip(clips, ("00",) * 8 + ids, strict=True)]
    found = stream_limits.Decisions(scores, clips, np.arange(12) >= 8)
    cfg = streams.settings(stream={"share": 0.7} | MOVED)
    assert np.quantile(np.concatenate(scores[:11]), 0.7) == 1
    assert stream_limits.of(cfg.stream, found).threshold == 2
    rates = stream_limits.false_alarms(cfg, found)
    assert (rates["clips"], rates["share"]) == (4, 0)


def test_a_moved_threshold_holds_on_clips_that_were_not_trained_on():
    """Of scores that are 1.8 times as high there: 60 such clips are enough to be near."""
    rng = np.random.default_rng(5)
    how = streams.settings(stream={"share": 0.95} | MOVED).stream

    def draw(count, size):
        return [size * rng.lognormal(0, 0.4) * rng.gamma(80, 1 / 80, 20) for _ in range(count)]

    clips = list(streams.Clips([np.zeros((1, 1))] * 260).clips)
    above = []
    for _ in range(20):
        scores = draw(200, 1.0) + draw(60, 1.8)
        found = stream_limits.Decisions(scores, clips, np.arange(260) >= 200)
        above.append(np.mean(np.concatenate(draw(200, 1.8)) > stream_limits.of(how, found)[0]))
    assert 0.03 < np.mean(above) < 0.07


def test_the_interval_of_decisions_that_are_alike():
    n = np.full(40, 25)
    alike = np.where(np.arange(40) < 4, 25, 0)
    assert intervals.of_clustered_share(alike, n) == pytest.approx(intervals.of_share(4, 40))
    assert intervals.of_clustered_share(0 * n, n) == pytest.approx(intervals.of_share(0, 40))
    rng = np.random.default_rng(0)
    apart = rng.binomial(25, 0.1, 40)
    low, high = intervals.of_clustered_share(apart, n)
    least, most = intervals.of_share(int(apart.sum()), 1000)
    assert high - low == pytest.approx(most - least, rel=0.25)
    assert high - low >= most - least - 1e-12, "no more than so many decisions"
    for hits, counts in (([], []), ([1], [0]), ([3], [2]), ([-1], [2])):
        with pytest.raises(ValueError, match="at least one a clip"):
            intervals.of_clustered_share(hits, counts)


def test_that_interval_holds():
    """Of shares that differ from clip to clip: it misses 5 % of 400 draws at most."""
    rng = np.random.default_rng(3)
    misses = 0
    for _ in range(400):
        share = rng.beta(0.3, 2.7, 55)  # mean 0.1, mostly near 0
        low, high = intervals.of_clustered_share(rng.binomial(21, share), np.full(55, 21))
        misses += not low <= 0.1 <= high
    assert misses <= stats.binom.ppf(0.999, 400, 0.05)


def test_which_clips_were_not_heard(tmp_path):
    class Clips:
        fingerprint = "f"

        def __len__(self):
            return 10

    model, store = tmp_path / "model_fan.keras", Clips()
    assert streaming.unheard(model, store) == []
    clips = {"count": 10, "trained": 8, "validated": 2, "fingerprint": "f"}
    files.write_json(record_of(model), {"clips": clips})
    assert streaming.unheard(model, store) == [8, 9]
    for change in ({"fingerprint": "other"}, {"trained": 10}, {"trained": 5}, {"trained": None}):
        files.write_json(record_of(model), {"clips": clips | change})
        assert streaming.unheard(model, store) == [], change


def test_a_record_is_read_or_refused_in_a_line(tmp_path):
    path = streams.make(tmp_path)
    record = files.read_json(record_of(path))
    stream = streaming.read(path)
    assert stream.windows == 12
    told = record["stream"]
    cases = [
        ({}, "says nothing of a stream; run 02_convert.py"),
        (record | {"sha256": "0" * 64}, "not the file model_ToyTest_int8.tflite.json describes"),
        ({"stream": told | {"k": 4}}, "damaged .*k above n"),
        ({"stream": told | {"n": 33}}, "damaged"),
        ({"stream": told | {"release": told["threshold"] + 1}}, "damaged"),
        ({"stream": told | {"band_errors": told["band_errors"][1:]}}, "band_errors are not one"),
        ({"stream": told | {"band_errors": [0.0] * 16}}, "band_errors are not one above 0"),
        ({"stream": {}}, "damaged .*feature"),
        ({"stream": told | {"threshold": float("inf")}}, "damaged .*no number"),
    ]
    for values, expected in cases:
        record_of(path).write_text(json.dumps(values))
        with pytest.raises(UserError, match=expected):
            streaming.read(path)
    record_of(path).unlink()
    with pytest.raises(UserError, match=r"no such file; run 02_convert\.py"):
        streaming.read(path)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("stream: {alarm: [4, 3]}", r"key stream: alarm \[4, 3\] asks for more"),
        ("stream: {alarm: [1, 33]}", r"key stream.alarm\[1\]: expected int <= 32"),
        ("stream: {windows: 0}", "key stream.windows: expected int >= 1"),
        ("stream: {share: 1}", "key stream.share: expected float < 1"),
        ("stream: {release: 2}", "key stream.release: expected float <= 1"),
        ("stream: {steps: 2}", "unknown key stream.steps; did you mean stream.step"),
    ],
)
def test_a_wrong_key_is_named(tmp_path, text, expected):
    (tmp_path / "my.yaml").write_text(text)
    with pytest.raises(UserError, match=expected):
        config.load_config(tmp_path / "my.yaml")
