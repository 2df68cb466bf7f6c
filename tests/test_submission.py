"""Evaluation set, runner, launcher and tree of a submission, on a fake device."""

import importlib.util
import json
import os
import re
import shutil
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import test_real
import yaml
from conftest import write_clip
from fake_device import NAME, FakeDevice, mean_square

import common
from apps.submission import (
    description,
    emulate,
    evaluation_set,
    link,
    official,
    rules,
    runner,
    session,
    tree,
)
from apps.submission.link import Answer
from apps.submission.session import Facts, Session
from asd import cli, config, files
from asd.embedded import codegen
from asd.evaluation import metrics
from asd.tflite import convert, fold, litert

FEATURE = config.load_config().feature
N_FRAMES, N_MELS = 8, 128
WINDOWS = N_FRAMES - 4  # of a short clip
CLIP_SAMPLES = 176_000  # 11 s, as ToyCar's
LABELS = np.array([0, 0, 0, 1, 1])  # of `dataset`


def call(module, *argv):
    """Run a module in this process, as its command line does; its exit status."""
    return cli.run(lambda: module.main([str(arg) for arg in argv]))


# Evaluation set


@pytest.mark.parametrize("name", list(evaluation_set.COUNTS))
def test_the_rule_gives_the_official_lists(real, tmp_path, name):
    assert call(evaluation_set, tmp_path, "--official", name) == 0
    assert (tmp_path / name).read_bytes() == (real / "reference" / name).read_bytes()


def test_the_lists_have_their_counts():
    for name, (normal, anomalous) in {
        "y_labels.csv": (140, 108),
        "y_labels_alt.csv": (36, 36),
    }.items():
        labels = [one.label for one in evaluation_set.official(name, FEATURE)]
        assert (labels.count(0), labels.count(1)) == (normal, anomalous)


def test_spectrograms_are_librosas(tmp_path, capsys):
    from test_common import librosa_frames

    clips = tmp_path / "clips"
    for i, word in enumerate(("normal", "anomaly")):
        write_clip(clips / f"{word}_id_01_{i:08}.wav", i, 0.1 * i, CLIP_SAMPLES)
    assert call(evaluation_set, tmp_path / "ad01", "--clips", clips, "--all") == 0
    assert "2 files, 1 normal and 1 anomalous, 196 windows each" in capsys.readouterr().out
    for wav in clips.iterdir():
        path = tmp_path / "ad01" / f"{wav.stem}_hist_librosa.bin"
        assert path.stat().st_size == 102_400
        frames = np.fromfile(path, "<f4").reshape(200, 128)
        np.testing.assert_allclose(frames, librosa_frames(wav)[50:250], atol=1e-4, rtol=0)
    first = (tmp_path / "ad01/y_labels.csv").read_text().splitlines()[0]
    assert first == "normal_id_01_00000000_hist_librosa.bin,2,0,2560,512"


def test_own_wavs_and_windows(tmp_path):
    write_clip(tmp_path / "clips/press on.wav", n_samples=CLIP_SAMPLES)
    (tmp_path / "my.csv").write_text("press on.wav,1\n")
    config = tmp_path / "c.yaml"
    config.write_text("feature: {n_mels: 64, frames: 3}\n")
    arguments = ("--clips", tmp_path / "clips", "--list", tmp_path / "my.csv", "-c", config)
    assert call(evaluation_set, tmp_path / "set", *arguments) == 0
    assert (tmp_path / "set/my.csv").read_text() == "press on_hist_librosa.bin,2,1,768,256\n"
    assert (tmp_path / "set/press on_hist_librosa.bin").stat().st_size == 200 * 64 * 4


def test_a_missing_clip_is_named(tmp_path, capsys):
    write_clip(tmp_path / "normal_id_01_00000003.wav", n_samples=CLIP_SAMPLES)
    assert call(evaluation_set, tmp_path / "ad01", "--clips", tmp_path) == 1
    error = capsys.readouterr().err
    assert re.fullmatch(r"error: \S*normal_id_01_00000013\.wav: missing.*\n", error)
    assert not (tmp_path / "ad01").exists()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a.bin,2,0,2560\n", "row 1 is not"),
        ("a.bin,2,7,2560,512\n", "row 1 is not"),
        ("a.bin,2,0,2560,0\n", "row 1 is not"),
        ("../a.bin,2,0,2560,512\n", "not a plain file name"),
        ("=a.bin,2,0,2560,512\n", "row 1: =a.bin begins as a formula"),
        ("a.bin,2,0,2560,512\n" * 2, "a.bin stands twice"),
        ("", "no row"),
    ],
)
def test_wrong_lists_are_refused(tmp_path, text, expected):
    (tmp_path / "list.csv").write_text(text)
    with pytest.raises(common.UserError, match=expected):
        evaluation_set.read_list(tmp_path / "list.csv")


# Runner


@pytest.fixture
def dataset(tmp_path):
    """Five short files below datasets/ad01, and their list."""
    folder = tmp_path / "datasets/ad01"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    entries = []
    for i, (label, level) in enumerate(zip(LABELS, (10, 12, 14, 13, 15), strict=True)):
        wav = f"{('normal', 'anomaly')[label]}_id_01_{i:08}.wav"
        entries.append(evaluation_set.entry(wav, label, FEATURE))
        frames = rng.normal(-level, 1, (N_FRAMES, N_MELS)).astype("<f4")
        (folder / entries[-1].file).write_bytes(frames.tobytes())
    files.write_csv(folder / "y_labels.csv", [one.row for one in entries])
    return folder / "y_labels.csv"


def direct_scores(path):
    """What the device must give: {file: score}, each window's rounded as it is printed."""
    scores = {}
    for one in evaluation_set.read_list(path):
        windows = one.windows((path.parent / one.file).read_bytes())
        values = [mean_square(np.frombuffer(window, "<f4")) for window in windows]
        scores[one.file] = np.mean([float(f"{value:0.3f}") for value in values])
    return scores


def run_accuracy(device, dataset, folder, *more):
    arguments = ("--port", device.port, "--list", dataset, "--session", folder)
    return call(runner, "accuracy", *arguments, *more)


def kept_scores(folder):
    return {name: float(score) for name, score in files.read_csv(folder / "scores.csv")}


@pytest.mark.parametrize("tcp", [False, True])
def test_accuracy_is_that_of_the_scores(dataset, tmp_path, capsys, tcp):
    with FakeDevice(tcp=tcp) as device:
        assert run_accuracy(device, dataset, tmp_path / "s") == 0
    scores = direct_scores(dataset)
    assert kept_scores(tmp_path / "s") == pytest.approx(scores)
    auc = metrics.auc(LABELS, np.array(list(scores.values())))
    assert auc == pytest.approx(5 / 6)
    results = (tmp_path / "s/results.txt").read_text()
    assert re.fullmatch(
        rf"\d{{4}}\.\d{{6}} ulp-mlperf: Top 1% = \d+\.\d\n"
        rf"\d{{4}}\.\d{{6}} ulp-mlperf: AUC = {auc:.3f}\n",
        results,
    )
    assert results in capsys.readouterr().out
    header, first, *_ = files.read_csv(tmp_path / "s/metrics.csv")
    assert float(first[header.index("auc")]) == pytest.approx(auc)
    rows = files.read_csv(tmp_path / "s/anomaly_score_ad01_id_01.csv")
    assert [row[0] for row in rows][-1] == "anomaly_id_01_00000004.wav"
    assert len(files.read_json(tmp_path / "s/results.json")) == 5 * WINDOWS
    assert rules.figure(tmp_path / "s/results.txt", "accuracy") == pytest.approx(auc, abs=5e-4)


def sent_before_window(n):
    """Bytes that the host sends before window n's `db load`."""
    digits = sum(len(f"db {'00' * k}%") for k in [31] * 82 + [18])
    return len("name%profile%") + n * (len("db load 2560%infer 1 0%results%") + digits)


@pytest.mark.parametrize(
    "fault",
    [
        {"drop": sent_before_window(1) + 5},  # of `db load`
        {"drop": sent_before_window(1) + 40},  # a digit
        {"drop": sent_before_window(1) + len("db load 2560%") + 65},  # a command's end
        {"drop_answer": 2000},
        {"drop_answer": 2003, "tcp": True},
    ],
)
def test_a_lost_byte_is_sent_again(dataset, tmp_path, capsys, fault):
    with FakeDevice(**fault) as device:
        arguments = ("--files", 1, "--timeout", 0.8, "--infer-timeout", 0.8)
        assert run_accuracy(device, dataset, tmp_path / "s", *arguments) == 0
    assert "1 windows were sent again" in capsys.readouterr().out
    name, score = next(iter(direct_scores(dataset).items()))
    assert kept_scores(tmp_path / "s") == {name: pytest.approx(score)}


@pytest.mark.parametrize("verify", [False, True])
def test_a_wrong_digit_is_seen_when_verified(dataset, tmp_path, capsys, verify):
    fault = sent_before_window(0) + len("db load 2560%db 000000")  # of an exponent
    with FakeDevice(garble=fault) as device:
        arguments = ("--files", 1, *(["--verify"] if verify else []))
        assert run_accuracy(device, dataset, tmp_path / "s", *arguments) == 0
    out = capsys.readouterr().out
    assert ("1 windows were sent again" in out) == verify
    ((name, score),) = kept_scores(tmp_path / "s").items()
    assert (score == pytest.approx(direct_scores(dataset)[name], abs=1e-6)) == verify


def test_every_lost_byte_of_the_answers_is_seen(dataset, tmp_path):
    first = evaluation_set.read_list(dataset)[0]
    one_window = tmp_path / "one/ad01"
    one_window.mkdir(parents=True)
    (one_window / first.file).write_bytes((dataset.parent / first.file).read_bytes()[:2560])
    files.write_csv(one_window / "y_labels.csv", [first.row])
    expected = direct_scores(one_window / "y_labels.csv")
    whole = "m-infer-done\r\nm-results-[101.234]\r\nm-ready\r\nm-results-[101.234]\r\nm-ready\r\n"
    with FakeDevice() as device:
        assert run_accuracy(device, one_window / "y_labels.csv", tmp_path / "all") == 0
        total = device._sent
    for back in range(1, len(whole), 8):
        with FakeDevice(drop_answer=total - back) as device:
            arguments = ("--timeout", 0.4, "--infer-timeout", 0.4)
            folder = tmp_path / str(back)
            assert run_accuracy(device, one_window / "y_labels.csv", folder, *arguments) == 0
        assert kept_scores(folder) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ({"silent_after": 300}, "the device is silent after `[^`]+`"),
        ({"closed_after": 300}, r"the connection is lost \(.*\)"),
        ({"closed_after": 300, "tcp": True}, r"the connection is lost \(.*\)"),
    ],
)
def test_a_broken_run_is_told_kept_and_resumed(dataset, tmp_path, capsys, fault, expected):
    folder = tmp_path / "s"
    with FakeDevice(**fault) as device:
        assert run_accuracy(device, dataset, folder, "--timeout", 1) == 1
        done = device.windows
    error = capsys.readouterr().err.splitlines()[-1]
    assert re.fullmatch(
        rf"error: \S+: {expected}; {done} windows are kept, --session \S+ goes on", error
    )
    assert 0 < done < 5 * WINDOWS
    table = folder / "windows.csv"
    assert len(files.read_csv(table)) == 1 + done
    table.write_text(table.read_text() + "normal_id_01_0000")  # cut short by a full disk
    with FakeDevice() as device:
        assert run_accuracy(device, dataset, folder) == 0
        assert device.windows == 5 * WINDOWS - done
    assert kept_scores(folder) == pytest.approx(direct_scores(dataset))
    assert len(files.read_csv(table)) == 1 + 5 * WINDOWS


ENDLESS_ANSWER = "the device talks without end after `[^`]+`; reset it"
ENDLESS_LINE = "the device sends a line without end, b'.{20,80}'...; reset it"


@pytest.mark.parametrize(
    ("talk", "pause", "expected"),
    [
        (b"m-lap-us-1\r\n", 0.1, ENDLESS_ANSWER),
        (b"m-lap-us-1\r\n" * 99, 0.0, ENDLESS_ANSWER),
        (b"\0\xff\r\n", 0.1, ENDLESS_ANSWER),
        (b"x" * 500, 0.0, ENDLESS_LINE),
        (b"\0\xff" * 250, 0.0, ENDLESS_LINE),
    ],
    ids=["lines", "many lines", "other bytes", "a line", "a line of other bytes"],
)
@pytest.mark.parametrize(("after", "tcp"), [(0, False), (1, True), (300, False)])
def test_talk_without_end_is_told(dataset, tmp_path, capsys, talk, pause, expected, after, tcp):
    with FakeDevice(talks_after=after, talk=talk, pause=pause, tcp=tcp) as device:
        assert run_accuracy(device, dataset, tmp_path / "s", "--timeout", 0.3) == 1
    (error,) = (line for line in capsys.readouterr().err.splitlines() if "error: " in line)
    assert re.match(rf"error: \S+: {expected}", error)
    assert error.endswith("goes on") == (after == 300)


BANNER = b"m-timestamp-mode-performance\r\nm-lap-us-4\r\nm-init-done\r\nm-ready\r\n"


@pytest.mark.parametrize(
    "said",
    [
        BANNER,  # of a device that has begun anew
        b"m-warmup-start-0\r\nm-warm" + BANNER,
        b"m-ready\r\n",  # of the command before
        b"\0\xff\r\n\0\r\nm-ready\r\n",
        b"m-results-[1.5]\r\nm-ready\r\nm-ready\r\n",
    ],
    ids=["begun anew", "reset", "ready", "other bytes", "twice"],
)
@pytest.mark.parametrize("command", ["infer", "db load"])
def test_an_answer_to_something_else(dataset, tmp_path, capsys, said, command):
    """Once: the window is sent again. Always: one line."""
    left = [1]

    def once(number, text):
        return said if text.startswith(command) and left and left.pop() else None

    with FakeDevice(instead=once) as device:
        assert run_accuracy(device, dataset, tmp_path / "s", "--files", 1) == 0
    assert "1 windows were sent again" in capsys.readouterr().out
    name, score = next(iter(direct_scores(dataset).items()))
    assert kept_scores(tmp_path / "s") == {name: pytest.approx(score)}
    with FakeDevice(instead=lambda _, text: said if text.startswith(command) else None) as device:
        assert run_accuracy(device, dataset, tmp_path / "t", "--files", 1) == 1
    (error,) = (line for line in capsys.readouterr().err.splitlines() if "error: " in line)
    assert re.search(rf"{command}.*: answered .*, 3 times; 0 windows are kept", error)


@pytest.mark.parametrize("name", [b"\x1b[2J", b"a\0b", b"caf\xe9", b""])
def test_a_name_is_plain_text(dataset, tmp_path, capsys, name):
    said = b"m-name-dut-[" + name + b"]\r\nm-ready\r\n"
    with FakeDevice(instead=lambda _, text: said if text == "name" else None) as device:
        assert run_accuracy(device, dataset, tmp_path / "s") == 1
    assert re.fullmatch(
        r"error: \S+: what answers is no device of the benchmark: no name\n",
        capsys.readouterr().err,
    )


def run_performance(device, dataset, folder, *more):
    arguments = ("--port", device.port, "--list", dataset, "--session", folder)
    return call(runner, "performance", *arguments, "--inferences", 3000, *more)


def runs_of(device):
    return [command for command in device.commands if "infer" in command]


def test_a_lost_digit_of_infer_is_seen(dataset, tmp_path, capsys):
    fault = sent_before_window(1) - len("infer 1 0%results%") + len("infer 3")
    with FakeDevice(microseconds=4000, drop=fault) as device:
        assert run_performance(device, dataset, tmp_path / "s") == 1
        assert runs_of(device) == ["infer 300 10"]
    assert re.search(r"infer 3000 10: answered .*; no run is repeated\n", capsys.readouterr().err)
    assert not (tmp_path / "s/results.txt").exists()


def test_a_run_near_the_time_out_is_taken(dataset, tmp_path, monkeypatch):
    monkeypatch.setattr(session, "LEAST_SECONDS", 0.0)
    with FakeDevice(microseconds=4000, run_seconds=[1.5]) as device:
        assert run_performance(device, dataset, tmp_path / "s", "--infer-timeout", 2) == 0
        assert runs_of(device) == ["infer 3000 10"] * 5
    first, *_ = files.read_json(tmp_path / "s/results.json")
    assert first["infer"]["start_time"] == 0  # the device's first run
    assert "not taken" not in (tmp_path / "s/log.txt").read_text()


@pytest.mark.parametrize("mode", ["performance", "accuracy"])
def test_a_run_longer_than_the_time_out_is_named(dataset, tmp_path, capsys, mode):
    run = run_performance if mode == "performance" else run_accuracy
    with FakeDevice(run_seconds=[1.5] * 5) as device:
        assert run(device, dataset, tmp_path / "s", "--infer-timeout", 0.5) == 1
        assert len(runs_of(device)) == 1
    why = r"the run of `infer \d+ \d+` is longer than the time-out, 0\.5 s; lower its number"
    assert re.search(rf"error: \S+: {why}", capsys.readouterr().err)
    if mode == "performance":
        log = (tmp_path / "s/log.txt").read_text()
        assert re.search(rf"ulp-mlperf: ERROR - the run is not taken: \S+: {why}", log)


LOSSES = {
    "a timestamp": (2, "infer", b"m-warmup-start-10\r\nm-warmup-done\r\nm-infer-start-3000\r\n"
                    b"m-lap-us-1\r\nm-infer-done\r\nm-results-[1.5]\r\nm-ready\r\n"),
    "the end": (1, "infer", b"m-warmup-start-10\r\nm-warmup-done\r\nm-infer-start-3000\r\n"
                b"m-lap-us-1\r\nm-lap-us-9\r\nm-infer-done\r\nm-results-[1.5]\r\n"),
    "all": (1, "infer", b""),
}  # fmt: skip


@pytest.mark.parametrize("what", list(LOSSES))
def test_a_run_that_is_not_taken_is_in_the_log(dataset, tmp_path, capsys, what):
    number, command, said = LOSSES[what]
    left = list(range(number))

    def instead(_, text):
        if not text.startswith(command):
            return None
        left.pop()
        return None if left else said

    with FakeDevice(instead=instead) as device:
        assert run_performance(device, dataset, tmp_path / "s", "--infer-timeout", 0.5) == 1
        assert len(runs_of(device)) == number
    reason = re.search(r"error: (.+)", capsys.readouterr().err)[1]
    assert (
        f"ulp-mlperf: ERROR - the run is not taken: {reason}\n"
        in (tmp_path / "s/log.txt").read_text()
    )
    assert len(files.read_csv(tmp_path / "s/windows.csv")) == number  # with its header


def test_a_run_broken_off_is_in_the_log(dataset, tmp_path, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(link.Device, "_infer", interrupted)
    with FakeDevice() as device:
        assert run_performance(device, dataset, tmp_path / "s") != 0
    assert "ERROR - the run is not taken: broken off\n" in (tmp_path / "s/log.txt").read_text()


def test_a_score_that_is_lost_is_asked_for_again(dataset, tmp_path, monkeypatch):
    monkeypatch.setattr(session, "LEAST_SECONDS", 0.0)
    left = [1]

    def once(_, text):
        return b"m-results-[7\r\nm-ready\r\n" if text == "results" and left and left.pop() else None

    with FakeDevice(instead=once) as device:
        assert run_performance(device, dataset, tmp_path / "s") == 0
        assert runs_of(device) == ["infer 3000 10"] * 5


def test_a_try_that_is_not_taken_is_in_the_log(dataset, tmp_path):
    fault = {"drop": sent_before_window(1) + 40}
    with FakeDevice(**fault) as device:
        assert run_accuracy(device, dataset, tmp_path / "s", "--files", 1, "--timeout", 0.8) == 0
    log = (tmp_path / "s/log.txt").read_text()
    assert len(re.findall("ulp-mlperf: not taken, the window is sent again: db ", log)) == 1


WRONG_COUNTS = [
    *(("--inferences", text) for text in ("0", "-1", "many", "1.5", "1000001", "99999999999")),
    *(("--warmups", text) for text in ("-1", "1000001", "99999999999")),
]


@pytest.mark.parametrize(
    "option",
    [
        *WRONG_COUNTS,
        *((name, text) for name in ("--timeout", "--infer-timeout")
          for text in ("0", "-1", "nan", "inf", "1e9")),
    ],
)  # fmt: skip
def test_numbers_that_no_device_takes(dataset, tmp_path, capsys, option):
    arguments = ("--port", "/dev/no-such-port", "--list", dataset, "--session", tmp_path / "s")
    with pytest.raises(SystemExit) as caught:
        call(runner, "performance", *arguments, *option)
    assert caught.value.code == 2
    assert re.search(r"error: (argument )?(--|time-outs)", capsys.readouterr().err)


def test_the_most_that_a_device_takes(dataset, tmp_path, capsys):
    arguments = ("--port", "/dev/no-such-port", "--list", dataset, "--session", tmp_path / "s")
    option = ("--inferences", link.MOST_INFERENCES, "--warmups", 0, "--timeout", 3600)
    assert call(runner, "performance", *arguments, *option) == 1
    assert "/dev/no-such-port: cannot be opened" in capsys.readouterr().err


@pytest.mark.parametrize("counts", [(0, 0), (-1, 0), (1, -1), (10**11, 1), (1, 10**11)])
def test_nothing_of_wrong_counts_is_sent(counts):
    with FakeDevice() as device, link.Device(device.port) as connected:
        with pytest.raises(common.UserError, match=f"^infer {counts[0]} {counts[1]}: takes 1 to"):
            connected.measure(bytes(2560), *counts)
        assert device.commands == ["name", "profile"]


def test_silence_from_the_start(dataset, tmp_path, capsys):
    with FakeDevice(silent_after=0) as device:
        assert run_accuracy(device, dataset, tmp_path / "s", "--timeout", 1) == 1
    assert re.search(
        r"^error: \S+: the device is silent after `name`$", capsys.readouterr().err, re.M
    )
    assert not (tmp_path / "s").exists()


def test_a_session_is_resumed_with_the_same_only(dataset, tmp_path, capsys):
    folder = tmp_path / "s"
    with FakeDevice() as device:
        assert run_accuracy(device, dataset, folder, "--files", 1) == 0
    assert "a part of the list: 1 of 5 files" in (folder / "results.txt").read_text()
    with FakeDevice(name="another") as device:
        assert run_accuracy(device, dataset, folder) == 1
    assert f"has device {NAME}, this run another" in capsys.readouterr().err
    path = next(dataset.parent.glob("anomaly*.bin"))
    path.write_bytes(path.read_bytes()[::-1])
    with FakeDevice() as device:
        assert run_accuracy(device, dataset, folder) == 1
    assert "has fingerprint" in capsys.readouterr().err


def test_files_are_chosen(dataset):
    entries = evaluation_set.read_list(dataset)
    assert runner.choose(entries, ["2"]) == entries[:2]
    assert runner.choose(entries, [entries[3].file, entries[1].file]) == [entries[1], entries[3]]
    for wrong in (["0"], ["6"], ["no.bin"]):
        with pytest.raises(common.UserError):
            runner.choose(entries, wrong)


@pytest.mark.parametrize(
    "port", ["/dev/no-such-port", "tcp:localhost", "tcp:127.0.0.1:1", "tcp:h:99999"]
)
def test_a_port_that_is_none_is_named(dataset, tmp_path, capsys, port):
    arguments = ("--port", port, "--list", dataset, "--session", tmp_path / "s")
    assert call(runner, "accuracy", *arguments) == 1
    assert re.fullmatch(rf"error: {port}: .*\n", capsys.readouterr().err)


@pytest.mark.parametrize("emulated", [False, True])
def test_performance(dataset, tmp_path, capsys, monkeypatch, emulated):
    monkeypatch.setattr(session, "LEAST_SECONDS", 0.0)
    with FakeDevice(microseconds=4000) as device:
        arguments = ("--port", device.port, "--list", dataset, "--session", tmp_path / "s")
        more = ("--inferences", 3000, *(["--emulated"] if emulated else []))
        assert call(runner, "performance", *arguments, *more) == 0
        assert [c for c in device.commands if "infer" in c] == ["infer 3000 10"] * 5
    out = capsys.readouterr().out
    throughput = [line for line in out.splitlines() if "inf./sec." in line]
    assert "Median throughput is    250.000 inf./sec." in throughput[-1]
    assert all(line.endswith(session.NOT_A_RESULT) == emulated for line in throughput)
    assert rules.is_emulated(tmp_path / "s") == emulated
    assert rules.figure(tmp_path / "s/results.txt", "performance") == 250
    records = files.read_json(tmp_path / "s/results.json")
    assert [record["infer"]["throughput"] for record in records] == [250] * 5


def test_a_run_that_the_official_runner_would_not_wait_for_is_named(tmp_path):
    for seconds in (29.9, 33.9):
        folder = write_session(tmp_path / str(seconds), "performance", seconds=seconds)
        for text in ((folder / name).read_text() for name in ("log.txt", "results.txt")):
            assert text.count("s, longer than the official runner's time-out, 30 s") == (
                5 if seconds > 30 else 0
            )
        assert rules.figure(folder / "results.txt", "performance") == pytest.approx(
            1500 / seconds, abs=1e-3
        )


def test_performance_that_is_too_short(dataset, tmp_path, capsys):
    with FakeDevice() as device:
        arguments = ("--port", device.port, "--list", dataset, "--session", tmp_path / "s")
        assert call(runner, "performance", *arguments) == 0
    assert "ERROR 2" in capsys.readouterr().out
    assert rules.figure(tmp_path / "s/results.txt", "performance") is None


# The emulated board


@pytest.fixture(scope="module")
def reference(real):
    """The published model and the real spectrograms."""
    return test_real.Official(real)


@pytest.mark.parametrize("per_channel", [True, False])
def test_the_emulated_board_scores_as_litert(per_channel, reference, real, m4, tmp_path, capsys):
    """Real spectrograms, their first windows: the pooled AUC is that of 03's functions."""
    rows = files.read_csv(real / "reference/y_labels_alt.csv")[::9]  # 4 normal, 4 anomalous
    folder = tmp_path / "datasets/ad01"
    folder.mkdir(parents=True)
    files.write_csv(folder / "list.csv", rows)
    clips = []
    for name, *_ in rows:
        clips.append(np.fromfile(real / "ad01" / name, "<f4").reshape(200, 128)[:11])
        (folder / name).write_bytes(clips[-1].tobytes())

    folded = reference.folded if per_channel else fold.equalise(reference.folded)
    content = convert.convert(folded, test_real.INT8, reference.windows, per_channel)
    codegen.write(content, tmp_path / "model")
    expected = common.anomaly_scores(litert.predictor(content), clips, 5)
    with emulate.emulated(m4, tmp_path / "model", tmp_path / "work") as address:
        arguments = ("--port", address, "--list", folder / "list.csv", "--emulated")
        assert call(runner, "accuracy", *arguments, "--session", tmp_path / "s") == 0
    labels = np.array([int(row[2]) for row in rows])
    auc = metrics.auc(labels, expected)
    assert 0 < auc < 1
    printed = re.search(r"AUC = ([\d.]+)$", capsys.readouterr().out, re.M)
    assert float(printed[1]) == pytest.approx(auc, abs=0.001)
    scores = kept_scores(tmp_path / "s")
    assert list(scores.values()) == pytest.approx(list(expected), abs=0.0006)  # of three decimals


# Launcher of the official runner


@pytest.fixture
def tiny():
    """A checkout of mlcommons/tiny."""
    folder = os.environ.get("ASD_TINY", "")
    if not folder or not Path(folder).is_dir():
        pytest.skip("no checkout of mlcommons/tiny; name its folder with ASD_TINY")
    return Path(folder)


def test_the_official_runner_is_handed_the_device(dataset, tmp_path, tiny, capsys):
    for mode, seconds in (("accuracy", 0), ("performance", 2.1)):

        def score(window, seconds=seconds):
            time.sleep(seconds)
            return mean_square(window)

        with FakeDevice(score) as device:
            arguments = ("--port", device.port, "--dataset", dataset.parent.parent)
            more = ("--emulated", "--output", tmp_path / mode)
            assert call(official, tiny / "benchmark/runner", mode, *arguments, *more) == 0
        out = capsys.readouterr().out
        (folder,) = (tmp_path / mode / "sessions").iterdir()
        assert files.read_json(folder / "session.json")["emulated"] is True
        assert rules.figure(folder / "results.txt", mode) is not None
        lines = [line for line in out.splitlines() if "inf./sec" in line]
        assert lines and all(line.endswith(session.NOT_A_RESULT) for line in lines)
        if mode == "accuracy":
            auc = metrics.auc(LABELS, np.array(list(direct_scores(dataset).values())))
            assert f"AUC = {auc:.3f}" in out
            with FakeDevice(score) as device:
                assert run_accuracy(device, dataset, tmp_path / "ours") == 0
            ours = files.read_json(tmp_path / "ours/results.json")
            theirs = files.read_json(folder / "results.json")
            assert [_form(record) for record in ours] == [_form(record) for record in theirs]


def _form(record):
    """A record without its times."""
    infer = {k: v for k, v in record["infer"].items() if k not in ("start_time", "end_time")}
    return record | {"infer": infer}


@pytest.fixture
def pretended(tmp_path):
    """A folder that looks like the official runner's."""
    folder = tmp_path / "runner"
    folder.mkdir()
    dut = {"name": "x", "type": "dut", "usb": {0x0483: [0x374B]}}
    (folder / "devices_ad.yaml").write_text(yaml.safe_dump([{"type": "power"}, dut]))
    script = [{"loop 5": ["download", "infer 1500 10"]}]
    tests = {"ad01": {"model": "ad01", "truth_file": "y_labels.csv", "script": script}}
    for mode in session.MODES:
        (folder / f"tests_{mode}.yaml").write_text(yaml.safe_dump(tests))
    return folder


def launch(folder, dataset, tmp_path, mode="performance", *more):
    arguments = (
        "--port",
        "/dev/pts/x",
        "--dataset",
        dataset.parent.parent,
        "--output",
        tmp_path / "o",
    )
    return call(official, folder, mode, *arguments, *more)


def test_what_main_py_sees(pretended, dataset, tmp_path, capsys):
    (pretended / "main.py").write_text(
        "import sys, serial.tools.list_ports, usb.core\n"
        "(port,) = serial.tools.list_ports.comports(True)\n"
        "print(port.device, hex(port.vid), hex(port.pid), list(usb.core.find(find_all=True)))\n"
        "print(open(sys.argv[sys.argv.index('-t') + 1]).read(), sys.argv[-2:])\n"
    )
    assert launch(pretended, dataset, tmp_path, "performance", "--inferences", 7) == 0
    out = capsys.readouterr().out
    assert "/dev/pts/x 0x483 0x374b []" in out
    assert "infer 7 10" in out and "['-m', 'p']" in out


def test_faults_of_the_official_runner_are_one_line(pretended, dataset, tmp_path, capsys):
    assert launch(tmp_path, dataset, tmp_path) == 1
    assert "no main.py" in capsys.readouterr().err
    (pretended / "main.py").write_text("raise RuntimeError('No interface or DUT detected')\n")
    assert launch(pretended, dataset, tmp_path) == 1
    error = "error: the official runner failed: RuntimeError: No interface or DUT detected\n"
    assert capsys.readouterr().err == error
    bare = tmp_path / "python"
    bare.write_text(f'#!/bin/sh\nexec {sys.executable} -I -S "$@"\n')
    bare.chmod(0o755)
    assert launch(pretended, dataset, tmp_path, "accuracy", "--python", bare) == 1
    assert re.search(r"not installed: pyserial .*scikit-learn", capsys.readouterr().err)


@pytest.mark.parametrize("option", WRONG_COUNTS)
def test_numbers_that_the_official_runner_is_not_given(pretended, dataset, tmp_path, option):
    with pytest.raises(SystemExit) as caught:
        launch(pretended, dataset, tmp_path, "performance", *option)
    assert caught.value.code == 2
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize(
    "code", ["while True: print('x' * 99)", "while True: sys.stdout.write('x' * 99)"]
)
def test_an_official_runner_that_prints_without_end(
    pretended, dataset, tmp_path, capsys, monkeypatch, code
):
    monkeypatch.setattr(official, "MOST_LINES", 1000)
    code = code.replace("True", "time.monotonic() < end")  # for a launcher that reads for ever
    code = f"import sys, time\nend = time.monotonic() + 5\n{code}"
    (pretended / "main.py").write_text(f"{code}\n")
    assert launch(pretended, dataset, tmp_path) == 1
    assert re.fullmatch(
        r"error: the official runner prints without end: 'x{40}'\.\.\.\n", capsys.readouterr().err
    )


def test_an_official_runner_of_other_bytes(pretended, dataset, tmp_path, capsys):
    (pretended / "main.py").write_text("import os\nos.write(1, b'caf\\xe9\\n')\n")
    assert launch(pretended, dataset, tmp_path) == 0
    assert "caf\ufffd" in capsys.readouterr().out


# Tree


def write_session(folder, mode, emulated=True, good=True, seconds=12, name="y_labels_alt.csv"):
    """A finished session, without a device."""
    entries = evaluation_set.official(name, FEATURE)
    facts = Facts(
        mode=mode, device=NAME, model="ad01", emulated=emulated, list=f"ad01/{name}",
        fingerprint="0", inferences=1 if mode == "accuracy" else 1500, warmups=0,
    )  # fmt: skip
    with Session(folder, facts) as run:
        if mode == "accuracy":
            run.measured = {
                (one.file, i): Answer(10 + (one.label if good else 0) + k % 7 / 10, 0, 2000)
                for k, one in enumerate(entries)
                for i in range(196)
            }
            scores = run.scores(entries, [196] * len(entries))
            lines = session.accuracy_lines(run, entries, scores, len(entries))
            run.write_results(lines, [(one, i, 196) for one in entries for i in range(196)])
        else:
            answers = [Answer(10.0, 0, int(seconds * 1e6))] * 5
            run.measured = {(one.file, 0): answers[0] for one in entries[:5]}
            run.write_results(
                session.performance_lines(run, answers, 60),
                [(one, 0, 1) for one in entries[:5]],
            )
    return folder


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A folder of emulated sessions, one a mode; not to be changed."""
    folder = tmp_path_factory.mktemp("sessions")
    for mode in session.MODES:
        write_session(folder / mode, mode)
    return folder


@pytest.fixture
def submitted(tmp_path, finished):
    """The values of a YAML file for a rehearsal of the closed division."""
    values = yaml.safe_load((common.HERE / "apps/submission/example.yaml").read_text())
    model = tmp_path / "model.tflite"
    model.write_bytes(b"a model")
    published = next(iter(description.PUBLISHED))
    record = {
        "sha256": files.file_hash(model),
        "source": {"model": "ad01.h5", "sha256": published},
        "conversion": {
            "dense_weights": "per_channel",
            "equalise": True,
            "bias_correction": True,
            "rounding": "calibrated",
        },
        "calibration": {"windows": 10_000, "clips": 100},
    }
    files.write_json(tmp_path / "model.tflite.json", record)
    code = tmp_path / "code/device"
    (code / "__pycache__").mkdir(parents=True)
    (code / "empty").mkdir()
    (code / "main.c").write_text("int main(void) { return 0; }\n")
    values |= {"model": str(model), "code": str(tmp_path / "code")}
    for mode in session.MODES:
        values[mode] = str(shutil.copytree(finished / mode, tmp_path / mode))
    return values


def write_tree(values, tmp_path, *more):
    path = tmp_path / "submission.yaml"
    path.write_text(yaml.safe_dump(values))
    return call(tree, path, tmp_path / "out", *more)


def test_a_rehearsal_is_written_and_marked(submitted, tmp_path, capsys):
    assert write_tree(submitted, tmp_path) == 0
    home = tmp_path / "out/closed/Example"
    assert (home / "REHEARSAL.txt").is_file()
    text = json.loads((home / "systems/mps2-an386-rehearsal.json").read_text())
    assert text["Board Name"].startswith("REHEARSAL, emulated, not a result")
    assert "per-channel weights" in text["Quantization Method"]
    assert "10000 windows of training clips, biases" in text["Quantization Method"]
    assert "each weight is rounded so that" in text["Quantization Method"]
    assert (home / "code/ad/asd-c/quantisation.json").is_file()
    found = sorted(path.name for path in (home / "code/ad/asd-c/device").iterdir())
    assert found == ["main.c"]
    assert call(tree, "--check", tmp_path / "out") == 0
    assert write_tree(submitted, tmp_path) == 1
    assert "is there already" in capsys.readouterr().err


def test_a_tree_of_a_board_is_no_rehearsal(submitted, tmp_path):
    for mode in session.MODES:
        shutil.rmtree(submitted[mode])
        write_session(Path(submitted[mode]), mode, emulated=False)
    assert write_tree(submitted | {"rehearsal": False}, tmp_path) == 0
    home = tmp_path / "out/closed/Example"
    assert not (home / "REHEARSAL.txt").exists()
    assert (home / "systems/mps2-an386.json").is_file()


def other_session(mode, **how):
    def change(values, tmp_path):
        values[mode] = str(write_session(tmp_path / "other", mode, **how))

    return change


def edit_session(mode, name, old, new):
    def change(values, tmp_path):
        path = Path(values[mode]) / name
        text = path.read_text()
        assert re.search(old, text)
        path.write_text(re.sub(old, new, text))

    return change


def other_weights(values, tmp_path):
    record = files.read_json(tmp_path / "model.tflite.json")
    record["source"]["sha256"] = "0" * 64
    files.write_json(tmp_path / "model.tflite.json", record)


def other_model(values, tmp_path):
    (tmp_path / "model.tflite").write_bytes(b"another")


def no_record(values, tmp_path):
    (tmp_path / "model.tflite.json").unlink()


def damaged_record(**new):
    def change(values, tmp_path):
        path = tmp_path / "model.tflite.json"
        files.write_json(path, files.read_json(path) | new)

    return change


def a_list_for_facts(values, tmp_path):
    (tmp_path / "accuracy/session.json").write_text("[1]")


def put(**new):
    return lambda values, tmp_path: values.update(new)


def no_code(values, tmp_path):
    shutil.rmtree(tmp_path / "code/device")


def code_of_another_model(values, tmp_path):
    head = "/* Generated by asd.embedded.codegen; do not edit.\n * TFLite file: SHA-256 "
    (tmp_path / "code/device/model.h").write_text(f"{head}{'0' * 64}\n */\n")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (code_of_another_model, r"device/model\.h: generated from another model, 000000000000"),
        (put(rehearsal=False), "emulated, which is never a result"),
        (other_weights, "made from other weights than the published"),
        (other_model, "is of another TFLite file"),
        (no_record, r"model\.tflite\.json: missing"),
        (damaged_record(source=[1]), r"model\.tflite\.json: damaged, it lacks sha256 or source"),
        (damaged_record(source={"model": "a", "sha256": [1]}), r"other weights .*\[1\]"),
        (damaged_record(conversion=["equalise"]), r"model\.tflite\.json: damaged, it lacks"),
        (damaged_record(calibration=[1]), r"model\.tflite\.json: damaged, no such calibration"),
        (a_list_for_facts, r"session\.json: damaged, it does not hold keys and values"),
        (put(code="a\nb"), r"code 'a\\nb' holds a control character"),
        (put(model="a\0b"), r"control character '\\x00' in a text"),
        (other_session("accuracy", good=False), r"AUC 0\.\d+ is under 0\.85"),
        (edit_session("accuracy", "results.txt", "AUC = .*", "AUC = 0.912"), "scores give 1.000"),
        (edit_session("accuracy", "results.txt", "AUC", "AOC"), "no figure of accuracy"),
        (edit_session("accuracy", "results.json", "id_01_00000003", "id_01_00000004"), "72 files"),
        (edit_session("accuracy", "results.json", '"mode": "a"', '"mode": "p"'), "not of accuracy"),
        (other_session("performance", seconds=9), r"lasted 9\.0 s"),
        (edit_session("performance", "results.json", r'"infer"', '"error"'), "0 runs"),
        (put(division="network"), "key division: "),
        (put(organisation="My Company"), "organisation is a folder's name"),
        (put(organization="x"), "unknown key organization; did you mean organisation"),
        (put(describe={}), "key describe.board is missing"),
        (put(status="lost"), "key status: "),
        (put(accuracy="nowhere"), "nowhere/log.txt: missing"),
        (put(code="nowhere"), "nowhere: no such folder of code"),
        (put(model="nowhere"), "nowhere: no such TFLite file"),
    ],
)  # fmt: skip
def test_what_cannot_be_submitted(submitted, tmp_path, capsys, change, expected):
    change(submitted, tmp_path)
    assert write_tree(submitted, tmp_path) == 1
    error = capsys.readouterr().err
    assert re.search(expected, error), error
    assert not list((tmp_path / "out").glob("*")), "nothing is left behind"


def test_open_takes_other_weights_and_a_lower_auc(submitted, tmp_path):
    other_weights(submitted, tmp_path)
    other_session("accuracy", good=False)(submitted, tmp_path)
    assert write_tree(submitted | {"division": "open"}, tmp_path) == 0
    assert (tmp_path / "out/open/Example").is_dir()


HOME = "closed/Example"
SYSTEM = f"{HOME}/systems/mps2-an386-rehearsal.json"
RESULTS = f"{HOME}/results/mps2-an386-rehearsal"


def system_json(root, **new):
    values = json.loads((root / SYSTEM).read_text()) | new
    (root / SYSTEM).write_text(json.dumps({k: v for k, v in values.items() if v is not None}))


def large_file(root):
    with (root / HOME / "code/ad/large.bin").open("wb") as file:
        file.truncate(500 * 2**20 + 1)


BROKEN = {
    "not closed or open": lambda root: (root / "network").mkdir(),
    "a symbolic link": lambda root: (root / HOME / "code/ad/link").symlink_to("asd-c"),
    "larger than 500 MB": large_file,
    "__pycache__: not to be": lambda root: (root / HOME / "code/ad/__pycache__").mkdir(),
    "empty: an empty folder": lambda root: (root / HOME / "code/ad/empty").mkdir(),
    r"code/ad/<impl.*empty": lambda root: shutil.rmtree(root / HOME / "code"),
    r"\.json: missing": lambda root: (root / SYSTEM).unlink(),
    "not a JSON object": lambda root: (root / SYSTEM).write_text("["),
    "Status is lost": lambda root: system_json(root, Status="lost"),
    "holds system_type": lambda root: system_json(root, system_type="edge"),
    "lacks Board Name": lambda root: system_json(root, **{"Board Name": None}),
    "the model folder is": lambda root: (root / RESULTS / "ad").rename(root / RESULTS / "ad01"),
    "performance: missing": lambda root: shutil.rmtree(root / RESULTS / "ad/performance"),
    "log.txt: missing": lambda root: (root / RESULTS / "ad/accuracy/log.txt").unlink(),
    "x: does not belong": lambda root: (root / RESULTS / "ad/accuracy/x").write_text(""),
    "no figure of perf": lambda root: (root / RESULTS / "ad/performance/results.txt").write_text(
        ""
    ),
    "tree is no rehearsal": lambda root: (root / HOME / "REHEARSAL.txt").unlink(),
    "results/<system>: missing": lambda root: shutil.rmtree(root / HOME / "results"),
    r"no closed/<org": lambda root: shutil.rmtree(root / HOME),
}


@pytest.mark.parametrize("expected", list(BROKEN))
def test_every_rule_of_the_tree(submitted, tmp_path, capsys, expected):
    assert write_tree(submitted, tmp_path) == 0
    root = tmp_path / "out"
    BROKEN[expected](root)
    assert call(tree, "--check", root) == 1
    assert re.search(expected, capsys.readouterr().err)


def test_odd_names_are_warned_of(submitted, tmp_path, capsys):
    assert write_tree(submitted, tmp_path) == 0
    for name in ("read me", "._read", "._me"):  # as macOS packs files
        (tmp_path / "out" / HOME / "code/ad" / name).write_text("x")
    assert call(tree, "--check", tmp_path / "out") == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if "holds a space" in line]
    assert lines == ["warning: closed/Example/code/ad/._me: its name begins with a dot or holds a "
                     "space; so do 2 more"]  # fmt: skip


def test_the_published_weights_are_those_of_the_hash(real):
    assert description.PUBLISHED[files.file_hash(real / "reference/ad01.h5")] == "ad01.h5"
    assert files.file_hash(real / "reference/ad01_int8.tflite") in description.PUBLISHED


def test_the_official_checker_agrees(submitted, tmp_path, tiny, capsys):
    python = os.environ.get("ASD_TINY_PYTHON", sys.executable)
    if python == sys.executable and not importlib.util.find_spec("pandas"):
        pytest.skip("the checker needs pandas; name a Python that has it with ASD_TINY_PYTHON")
    checker = ("--checker", tiny / "tools/submission", "--python", python)
    assert write_tree(submitted, tmp_path, *checker) == 0
    assert tree.LOOKS_OK in capsys.readouterr().out
    system_json(tmp_path / "out", Status="lost")
    with pytest.raises(common.UserError, match="invalid status"):
        tree.official_check(tmp_path / "out", checker[1], python)
