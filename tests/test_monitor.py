"""A machine listened to: hop by hop as the contract says, files, a folder, a microphone."""

import itertools
import json
import os
import re
import signal
import subprocess
import sys
import tracemalloc
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import small_streams as streams
import soundfile
from conftest import ROOT
from small_streams import RATE, by_the_contract, faulty, noise

from asd import cli, files
from asd.embedded import boards, codegen, host, stream_runs
from asd.embedded import stream as in_c
from asd.evaluation import streaming
from asd.monitor import __main__ as monitor
from asd.monitor import listener, sounds, watch
from asd.monitor.drift import Drift
from asd.monitor.journal import Journal
from asd.monitor.listener import Listener
from asd.monitor.watch import Watch
from asd.paths import record_of
from asd.tflite import litert

SECOND = RATE
needs_cc = pytest.mark.skipif(host.compiler() is None, reason="no C compiler: apt install gcc")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return streams.make(tmp_path_factory.mktemp("model"))


@pytest.fixture
def run(model, capsys):
    """The monitor in this process: its exit status, and its lines by event."""

    def call(*arguments, of=model):
        status = cli.run(lambda: monitor.main([str(one) for one in (of, *arguments)]))
        out, err = capsys.readouterr()
        lines = [json.loads(line) for line in out.splitlines()]
        return SimpleNamespace(
            status=status, err=err, lines=lines,
            events={one["event"]: [line for line in lines if line["event"] == one["event"]]
                    for one in lines},
        )  # fmt: skip

    return call


def write(path, samples, rate=RATE, **kwargs):
    soundfile.write(path, samples, rate, **{"subtype": "PCM_16"} | kwargs)
    return path


def mixed():
    """9 s: as usual, a whistle, as usual, silence, too loud and clipped, as usual but faint."""
    loud = np.clip(noise(SECOND, 4).astype(np.int32) * 40, -32768, 32767).astype(np.int16)
    return np.concatenate([
        noise(2 * SECOND, 1), faulty(2 * SECOND, 2), noise(SECOND, 3), np.full(SECOND, 7, np.int16),
        loud, noise(2 * SECOND, 5, 0.001),
    ])  # fmt: skip


def compare(hops, expected):
    assert len(hops.end) == len(expected)
    assert hops.end.tolist() == [one["end"] for one in expected]
    assert hops.decided.tolist() == [one["decided"] for one in expected]
    assert hops.alarm.tolist() == [one["alarm"] for one in expected]
    assert [set(listener.flag_names(int(one))) for one in hops.flags] == [
        one["flags"] for one in expected
    ]
    np.testing.assert_allclose(hops.level, [one["level"] for one in expected], atol=1e-4)
    scores = [np.nan if one["score"] is None else one["score"] for one in expected]
    np.testing.assert_allclose(hops.score, scores, rtol=1e-3)
    for i in np.flatnonzero(hops.decided):
        assert hops.above[i] == expected[i]["above"]
        assert hops.limit[i] == expected[i]["limit"]
    bands = np.array([one["band"] for one in expected])
    assert (hops.band == bands).mean() > 0.99, "ties aside"


# The stream


def test_hops_are_as_the_contract_says(model):
    stream, samples = streaming.read(model), mixed()
    expected = by_the_contract(stream, model, samples)
    hops = Listener(stream, litert.predictor(model)).push(samples)
    compare(hops, expected)
    told = set().union(*(one["flags"] for one in expected))
    assert told == {"gap", "clipped", "silent", "low", "high"}
    states = [one["alarm"] for one in expected]
    assert sum(a != b for a, b in itertools.pairwise(states)) >= 3, "on, off, on"


@pytest.mark.parametrize("most", [1, 100, 5000])
def test_any_number_of_samples_gives_the_same(model, most):
    stream, samples = streaming.read(model), mixed()[: (1 if most == 1 else 9) * SECOND]
    whole = Listener(stream, litert.predictor(model)).push(samples)
    one, rng, at, parts = (
        Listener(stream, litert.predictor(model)),
        np.random.default_rng(most),
        0,
        [],
    )
    while at < len(samples):
        n = int(rng.integers(0, most + 1))
        parts.append(one.push(samples[at : at + n]))
        at += n
    for name, column in whole._asdict().items():
        pieces = np.concatenate([getattr(part, name) for part in parts])
        if column.dtype == np.float64:
            np.testing.assert_allclose(pieces, column, rtol=1e-3)
        else:
            assert np.mean(pieces == column) > (0.99 if name == "band" else 0.9999), name


@pytest.mark.parametrize(
    "change",
    [{"hop_length": 300}, {"hop_length": 77, "frames": 1}, {"windows": 300},
     {"windows": 1, "step": 1, "k": 1, "n": 1}],
    ids=str,
)  # fmt: skip
def test_other_streams(model, change):
    """Hops longer than a frame, windows of one frame, a mean of one window, one never filled."""
    samples = mixed()[SECOND : 3 * SECOND]
    stream = streams.changed(streaming.read(model), **change)
    predict = litert.predictor(model)
    if "frames" in change:  # whose windows the model does not take

        def predict(windows):
            return 0.5 * windows - 20

        expected = by_the_contract(stream, model, samples, predict=predict)
    else:
        expected = by_the_contract(stream, model, samples)
    one = Listener(stream, predict)
    parts = [one.push(part) for part in np.split(samples, [5, 2000, 2700])]
    compare(listener.Hops(*map(np.concatenate, zip(*parts, strict=True))), expected)


def test_a_gap_starts_everything_anew_but_the_alarm(model):
    stream, samples = streaming.read(model), faulty(4 * SECOND)
    at = 2 * SECOND + 57
    expected = by_the_contract(stream, model, samples, (at,))
    one = Listener(stream, litert.predictor(model))
    first = one.push(samples[:at])
    one.gap()
    second = one.push(samples[at:])
    compare(listener.Hops(*map(np.concatenate, zip(first, second, strict=True))), expected)
    flags = [listener.flag_names(int(flag)) for flag in second.flags]
    assert flags[0] == ["gap"] and not any(flags[1:])
    decided = np.flatnonzero(second.decided)
    assert second.alarm[: decided[0]].all(), "it stays until there is a decision"
    assert not second.alarm[decided[0]], "one of three is above"
    assert second.alarm[-1]
    one.gap()
    later = one.push(noise(SECOND))
    assert later.end[0] == len(samples) + 256


def test_an_error_too_large_for_32_bits_is_the_largest(model):
    one = Listener(streaming.read(model), lambda windows: windows + 2000)
    score = one.push(noise(SECOND)).score
    np.testing.assert_array_equal(score[2:], (2**32 - 1) / 4096)


@needs_cc
@pytest.mark.parametrize("floats", [1, 0], ids=["float", "fixed point"])
def test_alarms_are_those_of_the_c(model, tmp_path, floats):
    """Times of decisions, alarms and flags are equal; scores, levels and bands all but equal.

    A log-mel value's rounding may move an input byte, in fixed point one of 1,500 of real clips.
    """
    stream, samples = streaming.read(model), mixed()
    codegen.write(model.read_bytes(), tmp_path)
    in_c.write(model.read_bytes(), stream, tmp_path)
    library = stream_runs.Library(tmp_path, tmp_path, [f"-DASD_FRONTEND_FLOAT={floats}"])
    told = library.run(samples)
    hops = Listener(stream, litert.predictor(model)).push(samples)
    assert len(told) == len(hops.end)
    assert np.array_equal(told["decision"], hops.decided)
    assert np.array_equal(told["alarm"], hops.alarm)
    assert np.array_equal(told["flags"], hops.flags)
    decided = hops.decided
    assert np.array_equal(told["above"][decided], hops.above[decided])
    largest = 2e-3 if floats else 1e-2
    assert np.abs(hops.score[decided] / hops.limit[decided] - 1).min() > largest, "none is close"
    np.testing.assert_allclose(stream_runs.scores(told), hops.score, rtol=largest)
    np.testing.assert_allclose(told["level"] / 65536, hops.level, atol=0.05)
    with_window = hops.band >= 0
    assert np.mean(told["worst"][with_window] == hops.band[with_window]) > 0.98


@needs_cc
def test_detect_raises_the_alarms_of_the_monitor(model, run, tmp_path):
    """mcu/detect.c and this, of one file, told with the command lines of both."""
    if not boards.MCU.is_dir():
        pytest.skip("no mcu/")
    codegen.write(model.read_bytes(), tmp_path)
    in_c.write(model.read_bytes(), streaming.read(model), tmp_path)
    sources = [*tmp_path.glob("*.c"), *(boards.MCU / name for name in ("detect.c", "wav.c"))]
    command = ["cc", "-std=c99", f"-I{tmp_path}", f"-I{boards.MCU}", *sources, "-lm"]
    subprocess.run([*command, "-o", tmp_path / "detect"], check=True)
    path = write(tmp_path / "a.wav", mixed())
    for options, same in (([], []), (["-t", "30"], ["--threshold", 30]),
                          (["-k", "3", "-n", "5"], ["--rule", 3, 5])):  # fmt: skip
        with path.open("rb") as sound:
            done = subprocess.run([tmp_path / "detect", *options], stdin=sound, text=True,
                                  capture_output=True)  # fmt: skip
        rows = [f"seconds {line}".split() for line in done.stdout.splitlines()]
        here = run("--wav", path, *same)
        told = [(row[1], row[7] == "1", row[9] == "1", row[13]) for row in rows]
        expected = [(f"{one['time']:.3f}", one["above"], one["alarm"],
                     ",".join(one["flags"]) or "-") for one in here.events["decision"]]  # fmt: skip
        assert told == expected
        assert done.returncode == here.status == 3


def test_drift():
    stream = SimpleNamespace(
        feature=SimpleNamespace(sample_rate=8000, hop_length=800),
        step=10,
        score_median=10.0,
        threshold=20.0,
    )  # fmt: skip - a decision a second
    drift = Drift(stream)
    for i in range(59):
        drift.add(10 + i % 2)
        assert drift.value() is None, "a minute is needed"
    drift.add(11)
    assert drift.value() == pytest.approx(0.05)
    for _ in range(200):
        drift.add(1e6)
    for _ in range(600):
        drift.add(15.0)
    for _ in range(299):
        drift.add(1e6)
    assert drift.value() == pytest.approx(0.5), "more than half of the last ten minutes"
    drift.add(1e6)
    drift.add(1e6)
    assert drift.value() > 1000
    stream.score_median = None
    unknown = Drift(stream)
    for _ in range(100):
        unknown.add(1)
    assert unknown.value() is None


# Files


def test_files_and_what_is_told_of_them(model, run, tmp_path):
    normal = write(tmp_path / "a.wav", noise(5 * SECOND, 20))
    broken = np.concatenate([noise(3 * SECOND, 21), faulty(2 * SECOND, 22), noise(3 * SECOND, 23)])
    other = write(tmp_path / "b.wav", broken)
    assert run("--wav", normal).status == 0
    done = run("--wav", normal, other, normal)
    assert done.status == 3
    (begin, end) = done.events["alarm"]
    assert (begin["state"], end["state"]) == ("begin", "end")
    assert begin["file"] == str(other)
    assert 3 < begin["time"] < 3.6
    assert 5 < end["time"] < 5.6
    assert end["seconds"] == pytest.approx(end["time"] - begin["time"], abs=1e-5)
    assert begin["band_hz"] == pytest.approx(2500, rel=0.1)
    stream = streaming.read(model)
    expected = [one for one in by_the_contract(stream, model, broken) if one["decided"]]
    told = [one for one in done.events["decision"] if one["file"] == str(other)]
    assert [one["time"] for one in told] == [round(one["end"] / RATE, 6) for one in expected]
    assert [one["alarm"] for one in told] == [one["alarm"] for one in expected]
    assert [one["above"] for one in told] == [one["above"] for one in expected]
    assert [one["threshold"] for one in told] == pytest.approx([one["limit"] for one in expected])
    assert [one["score"] for one in told] == pytest.approx([o["score"] for o in expected], rel=1e-3)
    assert told[0]["flags"] == ["gap"] and told[1]["flags"] == []
    assert [one["alarms"] for one in done.events["file"]] == [0, 1, 0]
    (summary,) = done.events["summary"]
    assert done.lines[-1] == summary
    assert (summary["files"], summary["failed"], summary["alarms"]) == (3, 0, 1)
    assert summary["decisions"] == len(done.events["decision"])
    assert summary["seconds"] == pytest.approx(18, abs=0.1)
    assert summary["interrupted"] is False
    assert done.events["start"][0]["threshold"] == pytest.approx(stream.threshold, rel=1e-6)


def test_an_alarm_ends_with_its_recording(run, tmp_path):
    path = write(tmp_path / "a.wav", faulty(3 * SECOND))
    done = run("--brief", "--wav", path, path)
    assert "decision" not in done.events
    assert [one["state"] for one in done.events["alarm"]] == ["begin", "end"] * 2
    assert done.events["alarm"][1]["ended"] == "with the sound"
    assert done.events["alarm"][1]["time"] == done.events["file"][0]["seconds"]


def test_files_that_are_one_stream(run, tmp_path):
    samples = np.concatenate([noise(2 * SECOND, 50), faulty(2 * SECOND, 51), noise(2 * SECOND, 52)])
    whole = run("--wav", write(tmp_path / "whole.wav", samples))
    paths = [write(tmp_path / f"{i}.wav", part) for i, part in enumerate(np.split(samples, 3))]
    done = run("--joined", "--wav", *paths)
    for event in ("decision", "alarm", "file"):
        told = [one | {"file": ""} for one in done.events[event]]
        assert told == [one | {"file": ""} for one in whole.events[event]]
    assert [one["file"] for one in done.events["alarm"]] == [str(path) for path in paths[1:]]
    flags = [one["flags"] for one in done.events["decision"]]
    assert sum("gap" in one for one in flags) == 1


def test_short_files_are_long_enough_together(run, tmp_path):
    short = [write(tmp_path / f"{i}.wav", noise(1500, i)) for i in range(4)]
    refused = run("--wav", *short)
    assert refused.status == 1 and f"{short[0]}: too short" in refused.err
    assert len(run("--joined", "--wav", *short).events["decision"]) > 0
    assert run("--joined", "--wav", short[0]).status == 1


def test_times_after_days_are_told_to_the_sample(model, capsys):
    stream = streaming.read(model)
    Journal(stream, stream)._line("decision", time=1234567.128, score=12.3456789)
    told = json.loads(capsys.readouterr().out)
    assert (told["time"], told["score"]) == (1234567.128, 12.34568)


def test_other_thresholds_and_rules(run, model, tmp_path):
    path = write(tmp_path / "a.wav", faulty(3 * SECOND))
    assert run("--wav", path, "--threshold", 1e6).status == 0
    assert run("--wav", path, "--rule", 32, 32).events["alarm"][0]["time"] > 2.5
    normal = write(tmp_path / "b.wav", noise(3 * SECOND))
    low = run("--wav", normal, "--threshold", 0, "--rule", 1, 1)
    assert low.status == 3
    assert low.events["start"][0]["release"] == 0, "in proportion"
    assert low.events["alarm"][0]["time"] == low.events["decision"][0]["time"]
    again = run("--wav", path, "--release", 0)
    assert {one["threshold"] for one in again.events["decision"][2:]} == {0.0}
    refused = run("--wav", path, "--release", 1e6)
    assert (refused.status, refused.lines) == (1, [])
    assert "--release 1e+06 is above the threshold" in refused.err


@pytest.mark.parametrize(
    "arguments",
    [["--rule", "3", "2"], ["--rule", "1", "33"], ["--threshold", "-1"], ["--threshold", "nan"],
     ["--settle", "0"], ["--channel", "-1"], []],
    ids=" ".join,
)  # fmt: skip
def test_wrong_usage(model, tmp_path, arguments, capsys):
    path = write(tmp_path / "a.wav", noise(SECOND))
    what = ["--wav", str(path)] if arguments else []
    with pytest.raises(SystemExit) as caught:
        monitor.main([str(model), *what, *arguments])
    assert caught.value.code == 2
    assert re.search(
        r"error: (--rule K N needs|argument --\w+: .* is not|one of)", capsys.readouterr().err
    )


def test_samples_of_other_kinds_and_channels(run, tmp_path):
    """Floats, 24 bits, two channels, a header of an interrupted recorder: the same decisions."""
    samples = np.concatenate([noise(2 * SECOND, 30), faulty(2 * SECOND, 31)])
    plain = write(tmp_path / "plain.wav", samples)
    expected = run("--wav", plain).events["decision"]
    floats = write(tmp_path / "float.wav", samples / 32768, subtype="FLOAT")
    write(tmp_path / "24.wav", samples / 32768, subtype="PCM_24")
    cut = tmp_path / "cut.wav"
    content = bytearray(plain.read_bytes())
    content[40:44] = bytes(4)
    cut.write_bytes(content)
    both = write(tmp_path / "both.wav", np.stack([0 * samples, samples], axis=1))
    for arguments in (["float.wav"], ["24.wav"], ["cut.wav"], ["both.wav", "--channel", "1"]):
        found = run("--wav", tmp_path / arguments[0], *arguments[1:]).events["decision"]
        assert [one | {"file": ""} for one in found] == [one | {"file": ""} for one in expected]
    assert "2 channels, one is expected" in run("--wav", both).err
    assert "no channel 1" in run("--wav", floats, "--channel", 1).err


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("rate.wav", "sample rate 16000 Hz, feature.sample_rate is 8000 Hz; resample the clip"),
        ("short.wav", r"too short: 0\.2\d s, the first decision needs 0\.2\d s"),
        ("empty.wav", "the file is empty"),
        ("cut.wav", "truncated: its header promises"),
        ("text.wav", "not a readable wav file"),
        ("none.wav", "No such file"),
        ("folder.wav", "not a file"),
    ],
)
def test_a_file_that_cannot_be_heard_stops_before_anything_is(run, tmp_path, name, expected):
    least = (3 - 1 + 12 - 1) * 128 + 256
    good = write(tmp_path / "good.wav", noise(least))
    write(tmp_path / "rate.wav", noise(SECOND), 2 * RATE)
    write(tmp_path / "short.wav", noise(least - 1))
    (tmp_path / "empty.wav").touch()
    (tmp_path / "text.wav").write_text("this is no sound")
    (tmp_path / "cut.wav").write_bytes(good.read_bytes()[:-500])
    (tmp_path / "folder.wav").mkdir()
    done = run("--wav", good, tmp_path / name)
    assert (done.status, done.lines) == (1, [])
    assert re.search(rf"^error: .*{name}: .*{expected}", done.err)
    assert len(done.err.splitlines()) == 1
    assert len(run("--wav", good).events["decision"]) == 1


def test_floats_that_are_no_sound_are_told_when_they_come(run, tmp_path):
    """Nobody reads hours of sound before they are judged."""
    bad = np.zeros(SECOND)
    bad[SECOND // 2] = np.nan
    for value, expected in ((np.nan, "not numbers"), (3000.0, "samples up to 3000")):
        bad[SECOND // 2] = value
        path = write(tmp_path / "bad.wav", bad, subtype="FLOAT")
        done = run("--wav", path, write(tmp_path / "good.wav", noise(SECOND)))
        assert done.status == 1
        assert expected in done.events["error"][0]["error"]
        assert done.events["summary"][0]["failed"] == 1
        assert done.events["summary"][0]["files"] == 1


def test_a_wrong_model_is_named(run, model, tmp_path):
    path = write(tmp_path / "a.wav", noise(SECOND))
    missing = run("--wav", path, of=tmp_path / "none.tflite")
    assert missing.status == 1
    assert "none.tflite.json: no such file; run 02_convert.py" in missing.err
    other = tmp_path / "other.tflite"
    other.write_bytes(model.read_bytes()[:-1] + b"x")
    files.write_json(record_of(other), files.read_json(record_of(model)))
    assert "not the file other.tflite.json describes" in run("--wav", path, of=other).err


@pytest.mark.parametrize("told", [True, False])
def test_memory_does_not_grow_with_the_sound(model, tmp_path, told):
    """A quarter of an hour, 14.4 MB of samples; where a recorder was interrupted, too."""
    path = tmp_path / "long.wav"
    write(path, noise(2))
    size = 2 * 900 * SECOND
    content = bytearray(path.read_bytes()[:44])
    content[4:8], content[40:44] = (size + 36).to_bytes(4, "little"), size.to_bytes(4, "little")
    if not told:
        content[40:44] = bytes(4)
    path.write_bytes(content)
    os.truncate(path, 44 + size)
    stream = streaming.read(model)
    sounds.check(path, monitor.whole(stream.feature), monitor.least(stream))
    hops, one = 0, Listener(stream, lambda windows: windows)
    tracemalloc.start()
    try:
        for samples in sounds.of_file(path, stream.feature):
            hops += len(one.push(samples).end)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert hops == (900 * SECOND - 256) // 128 + 1
    assert peak < 9e6


# A folder


class Clock:
    """Time that passes only while one sleeps, and what happens meanwhile."""

    def __init__(self, monkeypatch, events):
        self.now, self.events = 0.0, sorted(events, key=lambda one: one[0])
        monkeypatch.setattr(watch, "time", SimpleNamespace(monotonic=lambda: self.now,
                                                           sleep=self.sleep))  # fmt: skip

    def sleep(self, seconds):
        self.now += seconds
        while self.events and self.events[0][0] <= self.now:
            self.events.pop(0)[1]()
        if self.now > 1000:
            raise KeyboardInterrupt


def test_recordings_that_appear(tmp_path, monkeypatch):
    """Half written, with a header that promises more, renamed into place, replaced, appended to."""
    whole = write(tmp_path / "source", noise(SECOND), format="WAV").read_bytes()
    folder = tmp_path / "folder"
    folder.mkdir()
    a, b, c, d = (folder / f"{name}.wav" for name in "abcd")
    f = folder / "F.WAV"
    (folder / ".hidden.wav").write_bytes(whole)
    (folder / "notes.txt").write_text("no sound")
    (folder / "e.wav").mkdir()

    def replace():
        (folder / "new").write_bytes(whole)
        (folder / "new").replace(b)

    def append():
        with a.open("ab") as file:
            file.write(bytes(1000))

    clock = Clock(monkeypatch, [
        (10, lambda: a.write_bytes(whole[:5000])), (11, lambda: a.write_bytes(whole[:9000])),
        (30, lambda: a.write_bytes(whole)),
        (50, lambda: b.write_bytes(whole)), (60, replace), (70, append),
        (80, lambda: c.write_bytes(whole[:5000])),  # and never the rest
        (200, lambda: c.write_bytes(whole)),
        (300, lambda: d.write_bytes(whole)), (301, d.unlink),
        (400, lambda: f.write_bytes(whole)), (500, f.unlink), (510, lambda: f.write_bytes(whole)),
    ])  # fmt: skip
    given = []
    with pytest.raises(KeyboardInterrupt):
        for path in Watch(folder, 2.0).files():
            given.append((path.name, clock.now))
    names, times = zip(*given, strict=True)
    assert names == ("a.wav", "b.wav", "b.wav", "c.wav", "c.wav", "F.WAV", "F.WAV")
    for now, (least, most) in zip(
        times,
        [(32, 34), (52, 54), (62, 64), (140, 142), (202, 204), (402, 404), (512, 514)],
        strict=True,
    ):
        assert least <= now <= most


def test_a_folder_once(run, tmp_path):
    """All that are there, the oldest first; one that cannot be heard is told, and not the last."""
    folder = tmp_path / "folder"
    folder.mkdir()
    for i, name in enumerate(("b", "bad", "a")):
        path = write(folder / f"{name}.wav", noise(SECOND, i), RATE if name != "bad" else 2 * RATE)
        os.utime(path, (1000 + i, 1000 + i))
    (folder / "cut.wav").write_bytes((folder / "a.wav").read_bytes()[:-10])
    done = run("--watch", folder, "--once", "--settle", 0.05)
    assert done.status == 1
    names = [Path(one["file"]).stem for one in done.lines if one["event"] in ("file", "error")]
    assert names == ["b", "bad", "a", "cut"]
    reasons = [one["error"] for one in done.events["error"]]
    assert "resample" in reasons[0] and "truncated" in reasons[1]
    summary = done.events["summary"][0]
    assert (summary["files"], summary["failed"]) == (2, 2)
    alarm = write(folder / "alarm.wav", faulty(SECOND))
    assert run("--watch", folder, "--once", "--settle", 0.05).status == 3, "that weighs more"
    alarm.unlink()
    (folder / "bad.wav").unlink()
    (folder / "cut.wav").unlink()
    assert run("--watch", folder, "--once", "--settle", 0.05).status == 0
    write(folder / "c.wav", faulty(SECOND))
    assert run("--watch", folder, "--once", "--settle", 0.05).status == 3
    assert "no such folder" in run("--watch", tmp_path / "none").err


def test_ctrl_c_ends_with_the_summary(model, tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    write(folder / "a.wav", faulty(2 * SECOND))
    command = [sys.executable, "-m", "asd.monitor", str(model), "--watch", str(folder)]
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [*command, "--settle", "0.1", "--brief"], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, env=env, cwd=tmp_path,
    ) as process:  # fmt: skip
        events = []
        while "file" not in events:
            line = process.stdout.readline()
            assert line, process.stderr.read()
            events.append(json.loads(line)["event"])
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert events == ["start", "alarm", "alarm", "file"]
    (summary,) = [json.loads(line) for line in out.splitlines()]
    assert (summary["event"], summary["interrupted"], summary["alarms"]) == ("summary", True, 1)
    assert (process.returncode, err) == (3, "")


# The microphone


class Microphone:
    """What sounddevice offers of it."""

    PortAudioError = type("PortAudioError", (Exception,), {})
    samples = np.concatenate([noise(2 * SECOND, 40), faulty(2 * SECOND, 41)])
    lost_at = ()

    def __init__(self):
        self.opened = []

    def InputStream(self, **how):
        if how["device"] == "none":
            raise ValueError("No input device matching 'none'")
        if how["device"] == 9:
            raise self.PortAudioError("Invalid sample rate")
        self.opened.append(how)
        return Recording(self, how["channels"])


class Recording:
    def __init__(self, microphone, channels):
        self.microphone, self.channels, self.at = microphone, channels, 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.microphone.closed = True

    def read(self, n):
        if self.at >= len(self.microphone.samples):
            raise KeyboardInterrupt
        own = self.microphone.samples[self.at : self.at + n]
        samples = np.zeros((len(own), self.channels), np.int16)
        samples[:, -1] = own
        lost = any(self.at <= at < self.at + n for at in self.microphone.lost_at)
        self.at += n
        return samples, lost


@pytest.fixture
def microphone(monkeypatch):
    one = Microphone()
    monkeypatch.setitem(sys.modules, "sounddevice", one)
    return one


def test_the_microphone_hears_as_a_file(run, microphone, tmp_path):
    expected = run("--wav", write(tmp_path / "a.wav", microphone.samples)).events
    done = run("--microphone")
    assert done.status == 3
    (summary,) = done.events["summary"]
    assert summary["interrupted"] is True
    for event in ("decision", "alarm"):
        told = [one | {"file": ""} for one in done.events[event]]
        before = [one | {"file": ""} for one in expected[event]]
        assert [(one["time"], one.get("state"), one.get("alarm")) for one in told] == [
            (one["time"], one.get("state"), one.get("alarm")) for one in before
        ]
    assert {one["file"] for one in done.events["decision"]} == {"microphone"}
    (how,) = microphone.opened
    assert (how["samplerate"], how["channels"], how["dtype"]) == (RATE, 1, "int16")
    assert how["device"] is None
    assert microphone.closed


def test_the_microphones_channel_device_and_time(run, microphone):
    done = run("--microphone", "--channel", 2, "--device", "USB", "--seconds", 1.5)
    assert done.status == 0
    assert done.events["summary"][0]["interrupted"] is False
    assert done.events["summary"][0]["seconds"] == pytest.approx(1.5, abs=0.02)
    (how,) = microphone.opened
    assert (how["channels"], how["device"]) == (3, "USB")
    assert done.events["decision"][-1]["score"] > 0


def test_samples_that_the_microphone_lost_are_a_gap(run, microphone):
    microphone.lost_at = (SECOND + 3,)
    flags = [one["flags"] for one in run("--microphone").events["decision"]]
    assert [i for i, one in enumerate(flags) if "gap" in one] == [0, flags.index(["gap"], 1)]


def test_a_microphone_that_stops_leaves_what_was_heard(run, microphone, monkeypatch):
    def unplugged(self, n):
        if self.at >= 4 * SECOND:
            raise microphone.PortAudioError("Device unavailable")
        return read(self, n)

    read = Recording.read
    monkeypatch.setattr(Recording, "read", unplugged)
    done = run("--microphone")
    assert done.status == 3, "an alarm was raised"
    assert "Device unavailable" in done.events["error"][0]["error"]
    assert (done.events["summary"][0]["failed"], done.events["summary"][0]["alarms"]) == (1, 1)


def test_a_microphone_that_is_not_there(run, microphone, monkeypatch, tmp_path):
    for device, expected in (("none", "No input device"), ("9", "Invalid sample rate")):
        done = run("--microphone", "--device", device)
        assert done.status == 1
        assert expected in done.err and "--device chooses" in done.err
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    done = run("--microphone")
    assert done.status == 1
    assert "pip install -r asd/monitor/requirements.txt" in done.err
    assert len(done.err.splitlines()) == 1
    (tmp_path / "sounddevice.py").write_text("raise OSError('PortAudio library not found')")
    monkeypatch.delitem(sys.modules, "sounddevice")
    monkeypatch.syspath_prepend(tmp_path)
    done = run("--microphone")
    assert done.status == 1
    assert "libportaudio2" in done.err


def test_the_extra_is_named_with_its_version():
    lines = (ROOT / sounds.NEEDED).read_text().splitlines()
    assert [line.split("#")[0].strip() for line in lines if not line.startswith("#")] == [
        "sounddevice==0.5.6"
    ]
