"""The inference service as it runs: in the environment of its own that tests/run.sh makes."""

from __future__ import annotations

import argparse
import concurrent.futures
import contextlib
import hashlib
import http.client
import io
import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
import time
from types import SimpleNamespace

import msgspec
import numpy as np
import pytest
import soundfile
import yaml
from conftest import ROOT, SAMPLE_RATE, call, make_data, write_config

from apps.server import causes, limits, load, models, pages
from apps.server.limits import Gate, Limits, Rates, Refused
from asd import config, files
from asd.causes import model as causes_model
from asd.causes import network
from asd.causes.statistics import NAMES, statistics
from common import Feature, UserError, log_mel, mel_frequencies

INT8 = "_quant_fullint_micro_intio"
KEYS = {"Anomaly", "Details", "score", "threshold", "threshold_how", "false_alarm_rate", "model",
        "worst", "seconds", "rate_hz", "channels", "changed", "warnings"}  # fmt: skip
TOKEN = "a-token-of-the-tests-0123456789"
APP = ROOT / "apps/server"
PATIENCE = 60  # seconds until it is up, or answers


@pytest.fixture(scope="module")
def python():
    """The Python that has FastAPI and LiteRT, and no TensorFlow."""
    path = ROOT / ".venv-server/bin/python"
    if not path.exists():
        pytest.skip(f"no {path}: see apps/server/README.md")
    return path


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder in which all four scripts have run."""
    folder = make_data(tmp_path_factory.mktemp("served"))
    config = write_config(folder, fit={"epochs": 60})
    assert call("00_train.py", "-d", "-c", config) == 0
    assert call("01_test.py", "-d", "-c", config) == 0
    assert call("02_convert.py", "-d", "-c", config) == 0
    call("03_tflite_test.py", "-d", "-c", config, "--boards", "none")  # two epochs may lose parity
    return folder


def tflite(folder, suffix=INT8):
    return folder / f"model/model_ToyTest{suffix}.tflite"


@contextlib.contextmanager
def running(python, *arguments):
    """The service, until the block ends; with its port."""
    command = [python, "-m", "apps.server", "--port", "0", *map(str, arguments)]
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                               env=env, cwd=arguments[1].parent)  # fmt: skip
    try:
        said = []
        for line in process.stdout:
            said.append(line)
            if line.startswith("http://"):
                break
        assert said and said[-1].startswith("http://"), process.stderr.read()
        yield SimpleNamespace(port=int(said[-1].rsplit(":")[-1]), process=process, said=said)
        assert process.poll() is None, "it has ended"
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            _, errors = process.communicate(timeout=PATIENCE)
        finally:
            process.kill()
    assert process.returncode == 0 and "Traceback" not in errors, errors


@pytest.fixture(scope="module")
def service(python, trained, tmp_path_factory):
    page = tmp_path_factory.mktemp("page")
    (page / "index.html").write_text("<!doctype html><title>a page</title>")
    (page / "extra.js").write_text("export {};")
    (page / ".hidden.js").write_text("secret")
    (page / "link.js").symlink_to("/etc/passwd")
    (page / "model.wasm").write_bytes(b"\0asm")
    arguments = ("--model", tflite(trained), "--page", page, "--max-seconds", 4,
                 "--max-megabytes", 0.5, "--rate", 10_000)  # fmt: skip
    with running(python, *arguments) as one:
        yield one


def ask(service, method, path, body=None, headers=None):
    """Status, headers and body of an answer."""
    connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=PATIENCE)
    try:
        # A service that refuses need not have read all of a body; its answer is there all the same.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()
    finally:
        connection.close()


def infer(service, content, query="", **headers):
    """Status and JSON of an upload."""
    headers = {"Content-Type": load.FORM} | headers
    status, _, body = ask(service, "POST", f"/inference{query}", load.form(content), headers)
    return status, json.loads(body)


def sound(samples, rate=SAMPLE_RATE, **how):
    content = io.BytesIO()
    how = {"format": "WAV", "subtype": "PCM_16"} | how
    soundfile.write(content, samples, rate, **how)
    return content.getvalue()


def noise(seconds=1.5, seed=0):
    return 0.05 * np.random.default_rng(seed).standard_normal(round(seconds * SAMPLE_RATE))


def a_clip(folder):
    return (folder / "dev_data/ToyTest/test/normal_id_01_00000000.wav").read_bytes()


# Verdicts.


@pytest.mark.parametrize("suffix, tolerances", [
    ("", {"tflite_": 1e-6, "": 1e-5}),  # the Keras model's sums are in another order
    (INT8, {f"tflite{INT8}_": 1e-6}),
])  # fmt: skip
def test_scores_are_those_of_the_scripts(python, trained, suffix, tolerances):
    with running(python, "--model", tflite(trained, suffix)) as one:
        answers = {path.name: infer(one, path.read_bytes())
                   for path in (trained / "dev_data/ToyTest/test").glob("*.wav")}  # fmt: skip
    assert len(answers) == 16 and {status for status, _ in answers.values()} == {200}
    for table, relative in tolerances.items():
        scores = {}
        for section in ("01", "02"):
            path = trained / f"result/{table}anomaly_score_ToyTest_id_{section}.csv"
            scores |= {name: float(score) for name, score in files.read_csv(path)}
        found = {name: answer["score"] for name, (_, answer) in answers.items()}
        assert found == pytest.approx(scores, rel=relative)


def test_every_real_clip_scores_as_in_the_scripts(python, real, tmp_path):
    """Of six machine types and of MIMII's eight microphones, by a model of slider sound."""
    slider = sorted((real / "dcase2020/slider/train").glob("*.wav"))
    others = sorted((real / "dcase2020").glob("*/test/*.wav")) + sorted(real.glob("mimii/**/*.wav"))
    data = tmp_path / "dev_data/ToyTest"
    for split, clips in (("train", slider), ("test", others)):
        (data / split).mkdir(parents=True)
        for i, path in enumerate(clips):
            kind = "anomaly" if i % 2 and split == "test" else "normal"
            (data / split / f"{kind}_id_01_{i:08}.wav").write_bytes(path.read_bytes())
    cfg = write_config(tmp_path, fit={"epochs": 2}, feature={"channel": 0, "central_frames": None})
    for name in ("00_train.py", "01_test.py", "02_convert.py"):
        assert call(name, "-d", "-c", cfg) == 0
    scores = dict(files.read_csv(tmp_path / "result/anomaly_score_ToyTest_id_01.csv"))
    scores = {name: float(score) for name, score in scores.items()}
    with running(python, "--model", tflite(tmp_path, "")) as one:
        answers = {path.name: infer(one, path.read_bytes()) for path in (data / "test").iterdir()}
    assert {status for status, _ in answers.values()} == {200} and len(answers) == len(others)
    assert {answer["channels"] for _, answer in answers.values()} == {1, 8}
    found = {name: answer["score"] for name, (_, answer) in answers.items()}
    assert found == pytest.approx(scores, rel=1e-6)


def test_an_answer_is_what_the_page_reads(service, trained):
    status, answer = infer(service, a_clip(trained))
    assert status == 200 and answer.keys() == KEYS
    assert answer["Anomaly"] is (answer["score"] > answer["threshold"])
    assert answer["Details"].keys() == {"Message", "Probabilities", "Causes"}
    record = files.read_json(tflite(trained).with_suffix(".tflite.json"))
    assert answer["model"] == {"machine_type": "ToyTest", "sha256": record["sha256"]}
    serving = record["serving"]
    assert answer["threshold"] == serving["threshold"]["value"]
    rates = {name: serving["false_alarms"][name] for name in ("nominal", "low", "high")}
    assert answer["false_alarm_rate"] == rates and rates["low"] <= 0.1 <= rates["high"]
    assert (answer["seconds"], answer["rate_hz"], answer["channels"]) == (1.5, 16000, 1)
    assert answer["changed"] == answer["warnings"] == []
    assert "12 normal training clips" in answer["threshold_how"]
    status, _, body = ask(service, "GET", "/models")
    (told,) = json.loads(body)
    assert told.keys() == {"machine_type", "sha256", "threshold", "feature"}
    assert told["feature"]["central_frames"] == [4, 44]


def test_the_threshold_of_a_machine_id(service, trained):
    limits_of = files.read_json(tflite(trained).with_suffix(".tflite.json"))["serving"][
        "by_section"
    ]
    assert limits_of["01"]["value"] != limits_of["02"]["value"]
    for section, limit in limits_of.items():
        status, answer = infer(service, a_clip(trained), f"?machine_id={section}")
        assert status == 200 and answer["threshold"] == limit["value"]
    assert infer(service, a_clip(trained), "?machine_id=77")[0] == 400


def test_a_fault_is_found_with_its_band_and_moment(service):
    samples = noise()
    at = np.arange(len(samples)) / SAMPLE_RATE
    burst = (at >= 0.9) & (at < 1.2)
    status, answer = infer(service, sound(samples + 0.3 * burst * np.sin(2 * np.pi * 3000 * at)))
    assert status == 200 and answer["Anomaly"] is True
    low, high = answer["worst"]["band_hz"]
    start, end = answer["worst"]["seconds"]
    assert low < 3000 < high < 5000 and start < 1.05 < end <= 1.5
    assert "Sounds unlike normal" in answer["Details"]["Message"]


def test_the_worst_band_is_against_its_usual_error():
    usual = np.ones(128)
    usual[:8] = 1000  # a band that is never reconstructed well
    squares = np.broadcast_to(usual, (300, 5, 128)).astype(np.float32)
    squares[100:120, :, 60:68] = 3
    feature = Feature(sample_rate=16000, channel=None, n_mels=128, frames=5, n_fft=1024,
                      hop_length=512, power=2.0, central_frames=(50, 354))  # fmt: skip
    training = SimpleNamespace(band_errors=usual.tolist())
    model = SimpleNamespace(feature=feature, facts=SimpleNamespace(training=training))
    found = models.worst(squares.reshape(300, -1), model)
    edges = mel_frequencies(130, 0, 8000, "slaney")
    assert found["band_hz"] == pytest.approx([edges[60], edges[69]], abs=0.1)
    start, end = found["seconds"]
    assert 150 * 0.032 <= start < end <= 174 * 0.032 and end - start == pytest.approx(0.5, abs=0.05)


def test_what_is_done_to_a_recording_is_said(service):
    samples = np.round(32768 * noise()).astype(np.int16)
    plain = infer(service, sound(samples))[1]
    assert plain["changed"] == []
    flac = infer(service, sound(samples, format="FLAC"))[1]
    assert flac["score"] == plain["score"] and flac["changed"] == []
    both = np.stack([samples, samples[::-1]], axis=1)
    for how in ({}, {"subtype": "PCM_24"}, {"format": "WAVEX"}, {"format": "RF64"}):
        stereo = infer(service, sound(both, **how))[1]
        assert stereo["score"] == plain["score"]
        assert (
            stereo["changed"] == ["channel 0 (from 0) of 2 was taken"] and stereo["channels"] == 2
        )
    # Band-limited sound, so that resampling has nothing to take away at either rate.
    at = np.arange(round(1.5 * 48000)) / 48000
    tones = sum(0.02 * np.sin(2 * np.pi * hz * at + hz) for hz in range(200, 7000, 37))
    once = infer(service, sound(tones[::3], subtype="FLOAT"))[1]
    again = infer(service, sound(tones, 48000, subtype="FLOAT"))[1]
    assert again["changed"] == ["resampled from 48000 to 16000 Hz"]
    assert again["rate_hz"] == 48000 and again["seconds"] == 1.5
    assert again["score"] == pytest.approx(once["score"], rel=0.05)
    ogg = infer(service, sound(samples, format="OGG", subtype="VORBIS"))
    assert ogg[0] == 200 and ogg[1]["score"] > 0


def test_what_is_unlike_training_is_warned_of(service):
    def warnings(samples, rate=SAMPLE_RATE):
        return " ".join(infer(service, sound(samples, rate))[1]["warnings"])

    assert "quieter than the training clips" in warnings(0.01 * noise())
    assert "louder than the training clips" in warnings(5 * noise())
    assert "3 s long, the training clips 1.5 s" in warnings(noise(3))
    assert "recorded at 8000 Hz, so nothing is above 4000 Hz" in warnings(noise(0.75), 8000)
    assert "at full scale" in warnings(np.clip(100 * noise(), -1, 32767 / 32768))
    gap = noise()
    gap[4000:12000] = 0
    assert "digital silence" in warnings(gap)


# Refusals.


def header(content, **words):
    """A wav with other numbers in its header: 16 bit fields at their places."""
    damaged = bytearray(content)
    for at, value in words.items():
        damaged[int(at[1:]) : int(at[1:]) + 2] = value.to_bytes(2, "little")
    return bytes(damaged)


REFUSED = {
    "no sound": (lambda: b"hello", 415, "no wav, flac or ogg"),
    "another type": (lambda: b"\x89PNG\r\n\x1a\n" + bytes(99), 415, "no wav, flac or ogg"),
    "nothing": (lambda: b"", 415, "no wav, flac or ogg"),
    "cut": (lambda: sound(noise())[:9000], 400, "truncated"),
    "only a header": (lambda: sound(noise())[:44], 400, "truncated"),
    "no samples": (lambda: sound(np.empty(0)), 400, "without samples"),
    "no chunk": (lambda: b"RIFF\0\0\0\0WAVE", 400, "without samples"),
    "no such encoding": (lambda: header(sound(noise()), _20=77), 400, "cannot be decoded"),
    "damaged flac": (lambda: b"fLaC" + bytes(500), 400, "cannot be decoded"),
    "cut flac": (lambda: sound(noise(), format="FLAC")[:20000], 400, "damaged"),
    "silence": (lambda: sound(np.zeros(24000)), 422, "digital silence"),
    "a constant": (lambda: sound(np.full(24000, 0.25)), 422, "digital silence"),
    "not a number": (lambda: sound(np.full(24000, np.nan), subtype="FLOAT"), 422, "not numbers"),
    "infinite": (lambda: sound(noise() / 0.0, subtype="FLOAT"), 422, "not numbers"),
    "integers as floats": (lambda: sound(32768 * noise(), subtype="FLOAT"), 422, "full scale is 1"),
    "too short": (lambda: sound(noise(0.5)), 422, "too short: 0.5 s, at least 1.38 s"),
    "too long": (lambda: sound(noise(4.5)), 413, "longer than 4 s"),
    "too many bytes": (lambda: sound(noise(4)) * 5, 413, "longer than 0.5 MB"),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:divide by zero")
@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_judged_is_refused_in_one_line(service, name):
    make, status, line = REFUSED[name]
    found, answer = infer(service, make())
    assert (found, answer.keys()) == (status, {"detail"}), answer
    assert line in answer["detail"] and "\n" not in answer["detail"]
    assert "/" not in answer["detail"].replace("multipart/form-data", "")  # no path


@pytest.mark.parametrize(
    "content_type, body, status",
    [
        (load.FORM, b"", 400),
        (load.FORM, b"no form", 400),
        (load.FORM, load.form(b"x", "other"), 400),
        (load.FORM, load.form(b"x")[:-9], 400),
        (load.FORM, b"--%s\r\n%s" % (load.BOUNDARY, b"a" * 9000), 400),
        ("multipart/form-data", load.form(b"x"), 400),
        ("multipart/form-data; boundary=" + "b" * 300, b"", 400),
        ("application/json", b"{}", 415),
        ("", b"", 415),
    ],
)
def test_what_is_no_form_is_refused(service, content_type, body, status):
    headers = {"Content-Type": content_type}
    found, _, answer = ask(service, "POST", "/inference", body, headers)
    assert found == status and json.loads(answer).keys() == {"detail"}


def test_names_that_are_not_known(service, trained):
    assert infer(service, a_clip(trained), "?machine_type=ToyTest")[0] == 200
    status, answer = infer(service, a_clip(trained), "?machine_type=other")
    assert (status, answer["detail"]) == (400, "no model of that machine_type; known: ToyTest")
    for path in ("/nothing", "/page/../app.py", "/page/%2e%2e/app.py", "/page/.hidden.js",
                 "/page/link.js", "/docs", "/redoc"):  # fmt: skip
        status, headers, body = ask(service, "GET", path)
        assert status == 404 and json.loads(body) == {"detail": "no such path; see /openapi.json"}
    status, headers, _ = ask(service, "GET", "/inference")
    assert status == 405 and headers["Allow"] == "POST"


def test_a_body_without_an_end_is_cut_off(service):
    """The answer is there after the limit, although the client has told no length."""
    with socket.create_connection(("127.0.0.1", service.port), timeout=PATIENCE) as one:
        one.sendall(b"POST /inference HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n"
                    b"Content-Type: " + load.FORM.encode() + b"\r\n\r\n")  # fmt: skip
        head = load.form(b"RIFF").partition(b"RIFF")[0]
        one.sendall(b"%x\r\n%s\r\n" % (len(head), head))
        chunk, sent, answer = bytes(65536), 0, b""
        with contextlib.suppress(ConnectionError):  # it hangs up
            while not answer and sent < 100 * 2**20:
                one.sendall(b"%x\r\n%s\r\n" % (len(chunk), chunk))
                sent += len(chunk)
                if select.select([one], [], [], 0)[0]:
                    answer = one.recv(12)
        assert answer in (b"", b"HTTP/1.1 413")  # hung up upon, the answer may be lost
    assert 0 < sent < 50 * 2**20
    assert ask(service, "GET", "/health/ready")[0] == 200


def test_a_body_that_does_not_arrive_is_given_up(python, trained):
    with running(python, "--model", tflite(trained), "--read-seconds", 0.5, "--at-once", 1) as one:
        with socket.create_connection(("127.0.0.1", one.port), timeout=PATIENCE) as slow:
            head = (f"POST /inference HTTP/1.1\r\nHost: localhost\r\nContent-Type: {load.FORM}"
                    "\r\nContent-Length: 9999\r\n\r\n")  # fmt: skip
            slow.sendall(head.encode() + load.form(b"x")[:20])
            time.sleep(0.1)
            status, headers, _ = ask(one, "GET", "/health/ready")
            if status == 503:  # the slow one is inside
                assert headers["Retry-After"] == "1"
                status, headers, _ = ask(one, "POST", "/inference", b"", {})
                assert status in (503, 415)  # its half second may be over
            assert slow.recv(12) == b"HTTP/1.1 408"
        assert infer(one, a_clip(trained))[0] == 200


def test_places_and_bytes_are_bounded():
    gate = Gate(Limits(at_once=2, waiting_megabytes=1))
    gate.enter()
    gate.enter()
    with pytest.raises(Refused) as caught:
        gate.enter()
    assert caught.value.status == 503 and caught.value.retry_seconds == 1
    gate.hold(2**20)
    with pytest.raises(Refused) as caught:
        gate.hold(1)
    assert caught.value.status == 503
    gate.leave(2**20)
    gate.hold(2**20)
    gate.enter()


def test_a_client_that_asks_too_often_waits():
    rates = Rates(2)
    for _ in range(4):
        rates.check("a", now=100)
    with pytest.raises(Refused) as caught:
        rates.check("a", now=100)
    assert (caught.value.status, caught.value.retry_seconds) == (429, 1)
    rates.check("b", now=100)
    rates.check("a", now=100.5)
    with pytest.raises(Refused):
        rates.check("a", now=100.5)
    for i in range(limits.MOST_CLIENTS):
        rates.check(f"other {i}", now=101)
    assert len(rates._clients) == limits.MOST_CLIENTS


def test_requests_over_the_rate_get_429(python, trained):
    with running(python, "--model", tflite(trained), "--rate", 0.5) as one:
        found = [ask(one, "GET", "/version") for _ in range(4)]
        assert found[0][0] == 200 and found[-1][0] == 429
        assert int(found[-1][1]["Retry-After"]) >= 1
        assert ask(one, "GET", "/health/live")[0] == 200  # of an orchestrator, never refused


# Who may come in.


def test_only_who_has_the_token(python, trained, tmp_path):
    path = tmp_path / "token"
    path.write_text(TOKEN + "\n")
    with running(python, "--model", tflite(trained), "--token-file", path) as one:
        for wrong in ("", f"Bearer {TOKEN}x", f"Basic {TOKEN}", "Bearer", TOKEN):
            headers = {"Authorization": wrong, "Content-Type": load.FORM}
            status, headers, body = ask(one, "POST", "/inference", load.form(b""), headers)
            assert status == 401 and headers["WWW-Authenticate"] == "Bearer"
            assert TOKEN not in body.decode()
        for path in ("/models", "/metrics", "/version"):
            assert ask(one, "GET", path)[0] == 401
        for path in ("/", "/health/live", "/health/ready", "/openapi.json"):
            assert ask(one, "GET", path)[0] == 200
        assert infer(one, a_clip(trained), Authorization=f"Bearer {TOKEN}")[0] == 200
        assert ask(one, "GET", "/", headers={"Host": "machine.example"})[0] == 200


def test_without_a_token_only_this_machine(python, trained, service):
    assert "without --token-file it answers to this machine only (127.0.0.1)\n" in (
        [*service.said, service.process.stdout.readline()]
    )
    for host in ("evil.example", "evil.example:80", "127.0.0.1.evil.example", ""):
        assert ask(service, "GET", "/models", headers={"Host": host})[0] == 400
    assert ask(service, "GET", "/models", headers={"Host": "LOCALHOST:5000"})[0] == 200
    command = [python, "-m", "apps.server", "--model", tflite(trained), "--host", "0.0.0.0"]
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, env=env, timeout=PATIENCE)
    assert done.returncode == 1
    assert done.stderr == ("error: --host 0.0.0.0: without a token the service binds to 127.0.0.1 "
                           "only; give --token-file FILE\n")  # fmt: skip


def test_a_token_is_long_enough(tmp_path):
    for text in ("", "short", "two words of enough letters", "ü" * 40):
        (tmp_path / "token").write_text(text)
        with pytest.raises(UserError, match="a token is one word"):
            limits.token_of(tmp_path / "token")
    assert limits.token_of(None) is None


# What it tells.


def test_a_browser_gets_the_page_and_others_one_line(service):
    status, headers, body = ask(service, "GET", "/")
    assert (status, body) == (200, b"server is up")
    assert headers["Content-Type"].startswith("text/plain")
    accept = {"Accept": "text/html,application/xhtml+xml"}
    status, headers, body = ask(service, "GET", "/", headers=accept)
    assert b"<title>a page</title>" in body and headers["Content-Type"].startswith("text/html")
    policy = headers["Content-Security-Policy"]
    assert "default-src 'self'" in policy and "'wasm-unsafe-eval'" in policy
    assert "unsafe-inline" not in policy and "'unsafe-eval'" not in policy
    for name, kind in (("extra.js", "text/javascript"), ("model.wasm", "application/wasm")):
        status, headers, _ = ask(service, "GET", f"/page/{name}")
        assert status == 200 and headers["Content-Type"].startswith(kind)
        assert headers["X-Content-Type-Options"] == "nosniff"


def test_files_of_the_page_have_types(tmp_path):
    for suffix in pages.TYPES:
        (tmp_path / f"a{suffix}").write_bytes(b"x")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/b.js").write_bytes(b"y")
    found = pages.read([tmp_path])
    assert {name: page.content_type for name, page in found.items() if "/" not in name} == {
        f"a{suffix}": kind for suffix, kind in pages.TYPES.items()
    }
    assert found["sub/b.js"].content == b"y"


def test_no_version_nor_server_is_told_but_where_it_is_asked_for(service):
    status, headers, body = ask(service, "GET", "/openapi.json")
    assert status == 200 and "Server" not in headers
    document = json.loads(body)
    assert {"/inference", "/stream", "/models", "/metrics"} <= document["paths"].keys()
    assert json.loads(ask(service, "GET", "/version")[2]).keys() == {"version"}


def test_metrics_count_and_tell_drift(python, trained):
    with running(python, "--model", tflite(trained)) as one:
        for seed in range(3):
            assert infer(one, sound(noise(seed=seed) * 3))[1]["Anomaly"] is True
        assert infer(one, b"no sound")[0] == 415
        ask(one, "GET", "/some/path/nobody/knows")
        told = ask(one, "GET", "/metrics")[2].decode()
    values = {}
    for line in told.splitlines():
        if not line.startswith("#"):
            key, _, value = line.rpartition(" ")
            values[key] = float(value)
    assert values['asd_verdicts_total{machine_type="ToyTest",outcome="anomaly"}'] == 3
    assert values['asd_verdicts_total{machine_type="ToyTest",outcome="normal"}'] == 0
    assert values['asd_requests_total{path="/inference",status="200"}'] == 3
    assert values['asd_requests_total{path="/inference",status="415"}'] == 1
    assert values['asd_requests_total{path="other",status="404"}'] == 1
    assert values['asd_latency_seconds_count{path="/inference"}'] == 4
    assert values['asd_score_of_threshold_count{machine_type="ToyTest"}'] == 3
    assert values['asd_score_drift{machine_type="ToyTest"}'] > 3
    assert "nobody" not in told


# Streams.


def piece(service, samples, session="session-1", rate=SAMPLE_RATE):
    body = np.round(samples * 32767).astype("<i2").tobytes()
    headers = {"Content-Type": "application/octet-stream"}
    path = f"/stream?session={session}&rate_hz={rate}"
    status, _, answer = ask(service, "POST", path, body, headers)
    return status, json.loads(answer)


def test_a_stream_alarms_by_k_of_n(service, trained):
    normal = np.concatenate([noise(1.5, seed) for seed in range(100, 102)])
    loud = 5 * noise(4.5, 7)
    samples, found = np.concatenate([normal, loud]), []
    for first in range(0, len(samples), 5000):
        status, answer = piece(service, samples[first : first + 5000])
        assert status == 200 and answer["rule"] == {"k": 2, "n": 3}
        found += answer["stretches"]
    assert [one["seconds"]["from"] for one in found] == [0, 1.5, 3, 4.5, 6]
    verdicts = [one["verdict"]["Anomaly"] for one in found]
    assert verdicts[2:] == [True] * 3
    expected = [sum(verdicts[max(i - 2, 0) : i + 1]) >= 2 for i in range(5)]
    assert [one["alarm"] for one in found] == expected and expected[-1] is True
    assert answer["alarm"] is True
    p = 0.1
    a_day = 86400 / 1.5 * (3 * p**2 * (1 - p) + p**3)
    assert answer["false_alarms_a_day"] == pytest.approx(a_day)
    # A stretch is judged as an upload of it is.
    whole = sound(np.round(loud[:24000] * 32767).astype(np.int16))
    assert found[2]["verdict"]["score"] == pytest.approx(infer(service, whole)[1]["score"])


def test_a_stream_of_another_rate_and_a_silent_one(service):
    at = np.arange(2 * 48000) / 48000
    status, answer = piece(service, 0.1 * np.sin(2 * np.pi * 440 * at), "session-2", 48000)
    assert status == 200 and len(answer["stretches"]) == 1
    status, answer = piece(service, np.zeros(24000), "session-3")
    assert status == 200 and "digital silence" in answer["stretches"][0]["refused"]
    assert piece(service, np.zeros(10), "short")[0] == 400
    assert piece(service, np.zeros(10), "session-4", 10)[0] == 400
    path = "/stream?session=session-5&rate_hz=16000"
    assert (
        ask(service, "POST", path, b"abc", {"Content-Type": "application/octet-stream"})[0] == 400
    )
    assert ask(service, "POST", path, b"ab", {"Content-Type": "audio/wav"})[0] == 415


# Many at once.


def test_clients_at_once_get_the_answers_that_they_get_alone(service, trained):
    paths = sorted((trained / "dev_data/ToyTest/test").glob("*.wav"))
    contents = [path.read_bytes() for path in paths]
    contents += [
        sound(noise(seconds, 5)) for seconds in (1.4, 2, 3.3)
    ]  # other lengths between them
    alone = [infer(service, content)[1]["score"] for content in contents]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda one: infer(service, one)[1]["score"], contents * 6))
    assert together == alone * 6


def test_damaged_uploads_neither_end_it_nor_stay_in_memory(service, trained):
    """apps/server/load.py: fuzzed wavs among right ones, each answer looked at."""
    args = argparse.Namespace(host="127.0.0.1", port=service.port, token_file=None, scores=[],
                              clips=trained / "dev_data/ToyTest/test", requests=400, clients=8,
                              malformed=0.5, most_clips=8, seed=1,
                              pid=service.process.pid)  # fmt: skip
    requests, raw, faults = load.known(args)
    assert len(requests) == 8 and faults == []
    first, second = load.Load(args, requests, raw), load.Load(args, requests, raw)
    first.run()
    before = load.resident_megabytes(args.pid)
    second.run()
    after = load.resident_megabytes(args.pid)
    assert first.wrong == second.wrong == []
    assert set(second.statuses) <= {200, 400, 413, 415, 422} and second.statuses[400] > 20
    assert after <= 1.1 * before + 2
    if before:  # Linux
        assert after < 150


def test_it_needs_no_tensorflow(python):
    code = "import sys, apps.server.app; print(sorted({'tensorflow', 'keras', 'librosa', 'scipy',"
    code += "'sklearn', 'matplotlib'} & set(sys.modules)))"
    done = subprocess.run([python, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stderr
    names, pinned = [(ROOT / path).read_text() for path in ("apps/server/requirements.txt",
                                                            "requirements.txt")]  # fmt: skip
    assert "tensorflow" not in names.replace("without TensorFlow", "")
    ours, theirs = (dict(line.split()[0].split("==") for line in text.splitlines() if "==" in line)
                    for text in (pinned, names))  # fmt: skip
    assert {"numpy", "ai-edge-litert"} < theirs.keys() & ours.keys()
    assert all(ours[name] == theirs[name] for name in theirs.keys() & ours.keys())


BROKEN = """
import asyncio, sys
from pathlib import Path
from apps.server import app, load, models

def broken(*_):
    raise RuntimeError("/a/secret/path")

there = models.load_all([Path(sys.argv[1])], 1)
models.judge = broken
guard, sent = app.build(there, app.Settings(), {}), []
body = load.form(Path(sys.argv[2]).read_bytes())

async def receive():
    return {"type": "http.request", "body": body, "more_body": False}

async def send(message):
    sent.append(message)

headers = [(b"host", b"localhost"), (b"content-type", load.FORM.encode())]
scope = {"type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST",
         "path": "/inference", "raw_path": b"/inference", "root_path": "", "scheme": "http",
         "query_string": b"", "headers": headers, "client": ("127.0.0.1", 1),
         "server": ("127.0.0.1", 2)}
asyncio.run(guard(scope, receive, send))
print(sent[0]["status"], sent[1]["body"].decode())
"""


def test_a_fault_of_the_service_tells_nothing_but_that(python, trained):
    clip = trained / "dev_data/ToyTest/test/normal_id_01_00000000.wav"
    command = [python, "-c", BROKEN, tflite(trained), clip]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE)
    assert done.stdout == '500 {"detail":"internal error; the server\'s log tells more"}\n'
    assert "RuntimeError: /a/secret/path" in done.stderr  # where the operator looks


def test_the_examples_of_containers_are_what_the_service_knows():
    folder = ROOT / "apps/server"
    deployment, service = yaml.safe_load_all((folder / "kubernetes.yaml").read_text())
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert f'"{container[probe]["httpGet"]["path"]}"' in (folder / "app.py").read_text()
    assert {"memory", "cpu"} == container["resources"]["limits"].keys()
    (port,) = container["ports"]
    assert (
        service["spec"]["ports"][0]["targetPort"] == port["name"] and port["containerPort"] == 5000
    )
    composed = yaml.safe_load((folder / "compose.yaml").read_text())["services"]["asd-server"]
    assert composed["read_only"] is True and composed["cap_drop"] == ["ALL"]
    assert (folder / composed["build"]["context"] / composed["build"]["dockerfile"]).is_file()
    dockerfile = (folder / "Dockerfile").read_text()
    options = subprocess.run([sys.executable, "-m", "apps.server", "-h"], cwd=ROOT, text=True,
                             capture_output=True).stdout  # fmt: skip
    used = re.findall(r'"(--[a-z-]+)"', dockerfile + json.dumps([composed, container]))
    assert {"--token-file", "--model", "--host"} <= set(used)
    assert all(option in options for option in used)
    assert "USER 10001" in dockerfile and "HEALTHCHECK" in dockerfile


def test_a_model_without_its_record_is_named(python, trained, tmp_path):
    content = tflite(trained).read_bytes()
    record = files.read_json(tflite(trained).with_suffix(".tflite.json"))
    path = tmp_path / "model_ToyTest.tflite"
    path.write_bytes(content)

    def error(values):
        if values is not None:
            files.write_json(tmp_path / "model_ToyTest.tflite.json", values)
        command = [python, "-m", "apps.server", "--model", path, "--port", "0"]
        env = os.environ | {"PYTHONPATH": str(ROOT)}
        done = subprocess.run(command, capture_output=True, text=True, env=env, timeout=PATIENCE)
        assert done.returncode == 1 and done.stderr.count("\n") == 1
        return done.stderr

    assert "model_ToyTest.tflite.json: no such file; run 02_convert.py" in error(None)
    assert "not the file that model_ToyTest.tflite.json describes" in error({"sha256": "other"})
    without = {key: value for key, value in record.items() if key != "serving"}
    assert "tells no threshold; serve model_<type>.tflite" in error(without)
    assert "damaged" in error(record | {"serving": {"machine_type": "ToyTest"}})


def test_real_clips_are_judged_as_they_come(python, trained, real):
    """MIMII's eight channels and DCASE's clips, of any machine: no error, the change said."""
    with running(python, "--model", tflite(trained), "--rate", 1000) as one:
        mimii = sorted((real / "mimii").rglob("*.wav"))
        others = sorted((real / "dcase2020").glob("*/test/*.wav"))
        assert mimii and others
        for path in [*mimii, *others]:
            status, answer = infer(one, path.read_bytes())
            said = ["channel 0 (from 0) of 8 was taken"] if path in mimii else []
            assert (status, answer["changed"]) == (200, said), path


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    """A classifier of causes by which whatever is loud in the upper bands is a bearing's."""
    feature = msgspec.structs.replace(config.load_config().feature, n_mels=8, central_frames=None)
    size = len(NAMES) * 8
    weights = np.zeros((size, 2))
    weights[:, 0] = np.tile(np.arange(8) >= 4, len(NAMES)) / 4.0
    rows = np.random.default_rng(0).normal(0, 1, (6, size)).astype(np.float32)
    content = network.network(weights, np.array([-2.0, 2.0]), rows)
    noise = 0.05 * np.random.default_rng(1).standard_normal(24000).astype(np.float32)
    normal = statistics(log_mel(noise, feature)).reshape(-1).tolist()
    record = causes_model.Record(
        feature=feature, statistics=NAMES, classes=("bearing", "normal"), mean=[0.0] * size,
        scale=[1.0] * size, references={"ToyTest/id_01": normal},
        rows=network.quantised(rows).tobytes(), radii=[1e9] * 6, threshold=1.0,
        tflite_sha256=hashlib.sha256(content).hexdigest(),
    )  # fmt: skip
    return causes_model.save(tmp_path_factory.mktemp("causes") / "toy", record, content)[1]


def test_causes_are_told_beside_the_verdict(python, trained, classifier):
    wav = next((trained / "dev_data/ToyTest/test").glob("anomaly_id_01*.wav")).read_bytes()
    with running(python, "--model", tflite(trained), "--causes", classifier) as one:
        status, told = infer(one, wav, "?machine_id=01")
        assert status == 200 and told["Details"]["Causes"] == ["bearing", "normal"]
        shares = told["Details"]["Probabilities"]
        assert len(shares) == 2 and sum(shares) == pytest.approx(1, abs=2 / 256)
        if told["Anomaly"] and shares[0] > shares[1]:
            assert told["Details"]["Message"].startswith("Probable cause: bearing. Sounds unlike")
        assert not any("own normal sound" in line for line in told["warnings"])
        _, told = infer(one, wav)
        assert any("without this machine's own normal" in line for line in told["warnings"])


def test_a_classifier_of_another_machine_type_is_refused(classifier):
    with pytest.raises(UserError, match=r"toy.json: of ToyTest, and served are fan; name a model"):
        causes.give({"fan": None}, [classifier])


def test_what_the_image_installs_is_what_is_required_by_hash():
    """apps/server/locked.txt has every package of requirements.txt in its version, with hashes."""
    wanted = re.findall(r"^([\w.-]+)==(\S+)", (APP / "requirements.txt").read_text(), re.M)
    text = (APP / "locked.txt").read_text()
    locked = re.findall(r"^([\w.-]+)==(\S+) \\\n    --hash=sha256:[0-9a-f]{64}", text, re.M)
    assert {name.lower(): version for name, version in wanted}.items() <= dict(locked).items()
    assert len(locked) == len(re.findall("==", text)), "one is without hash"
    assert "--require-hashes -r /tmp/locked.txt" in (APP / "Dockerfile").read_text()
