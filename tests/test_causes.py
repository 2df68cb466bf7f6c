"""A stored classifier of causes: its arithmetic to the byte, what it says, damaged files."""

import hashlib
import json
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import msgspec
import numpy as np
import pytest
from conftest import ROOT

from asd import config
from asd.causes import model, network
from asd.causes.distances import distances, radii
from asd.causes.statistics import NAMES, statistics
from asd.tflite import litert
from common import UserError

CLASSES = ("bearing", "imbalance", "normal")
N_MELS = 8
SIZE = len(NAMES) * N_MELS


def clip(seed, level=-40.0):
    rng = np.random.default_rng(seed)
    return rng.normal(level, 3, (20, N_MELS)).astype(np.float32)


@pytest.fixture
def stored(tmp_path):
    """A classifier by which louder low bands are imbalance, louder high ones bearing."""
    feature = msgspec.structs.replace(
        config.load_config().feature, n_mels=N_MELS, central_frames=None
    )
    rng = np.random.default_rng(1)
    rows = rng.normal(0, 1, (12, SIZE)).astype(np.float32)
    band = np.tile(np.arange(N_MELS), len(NAMES))
    weights = np.stack([band >= N_MELS // 2, band < N_MELS // 2, np.zeros(SIZE)], 1) / 4.0
    bias = np.array([-2.0, -2.0, 2.0])
    content = network.network(weights, bias, rows)
    record = model.Record(
        feature=feature, statistics=NAMES, classes=CLASSES, mean=[0.0] * SIZE, scale=[1.0] * SIZE,
        references={"fan/id_00": statistics(clip(0)).reshape(-1).tolist(),
                    "fan/id_02": statistics(clip(1, -60)).reshape(-1).tolist()},
        rows=network.quantised(rows).tobytes(), radii=[1.0] * len(rows), threshold=4.0,
        tflite_sha256=hashlib.sha256(content).hexdigest(),
    )  # fmt: skip
    model.save(tmp_path / "fan", record, content)
    return tmp_path / "fan.json"


def int8_by_formula(layer, q):
    """Bytes of a dense layer and its softmax, (n, n_classes) int64."""
    acc = layer.raw_bias + q.astype(np.int64) @ layer.weights.T.astype(np.int64)
    logits = np.rint(np.float32(acc * layer.scales.astype(np.float64))) + layer.output.zero_point
    logits = (np.clip(logits, -128, 127) - layer.output.zero_point) * layer.output.scale
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares = powers / powers.sum(axis=1, keepdims=True)
    return np.clip(np.rint(shares * 256) - 128, -128, 127).astype(np.int64)


def test_every_byte_is_that_of_the_formula():
    rng = np.random.default_rng(0)
    for n_classes in (2, 6, 9):
        weights, bias = rng.normal(0, 0.3, (640, n_classes)), rng.normal(0, 1, n_classes)
        rows = rng.normal(0, 1.5, (300, 640)).astype(np.float32)
        run = litert.runner(network.network(weights, bias, rows))
        assert (run.source["type"], run.target["type"]) == ("int8", "int8")
        got = run(network.quantised(rows)).astype(np.int64)
        wanted = int8_by_formula(network.integers(weights, bias, rows), network.quantised(rows))
        assert np.count_nonzero(got != wanted) == 0
        assert len(np.unique(got)) > 20


def test_int8_keeps_the_probabilities_of_floats():
    rng = np.random.default_rng(3)
    weights, bias = rng.normal(0, 0.1, (640, 6)), rng.normal(0, 1, 6)
    rows = rng.normal(0, 1, (300, 640)).astype(np.float32)
    logits = rows @ weights + bias
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    got = litert.predictor(network.network(weights, bias, rows))(rows)
    assert np.abs(got - shares).mean() < 0.01
    assert np.mean(got.argmax(axis=1) == shares.argmax(axis=1)) > 0.95


def test_what_it_says(stored):
    causes = model.Causes.load(stored)
    same = causes.answer(clip(0), "fan/id_00")
    assert (same.cause, same.message) == ("normal", "Component OK")
    assert sum(same.probabilities.values()) == pytest.approx(1, abs=3 / 256)
    assert list(same.probabilities) == list(CLASSES)
    louder = clip(0)
    louder[:, N_MELS // 2 :] += 3
    found = causes.answer(louder, "fan/id_00")
    assert (found.cause, found.message) == ("bearing", "Probable cause: bearing")
    assert causes.probabilities(louder, "fan/id_00") == found.probabilities
    strange = causes.answer(clip(0) * np.float32(2), "fan/id_00")
    assert strange.cause == "unknown" and strange.distance > causes.record.threshold
    assert strange.message.startswith("Cause unknown")


def test_each_machine_has_its_reference(stored):
    causes = model.Causes.load(stored.with_suffix(""))  # either file, or their common name
    quiet = causes.answer(clip(1, -60), "fan/id_02")
    assert quiet.cause == "normal"
    assert causes.answer(clip(1, -60), "fan/id_00").cause == "unknown"
    mean = (causes.reference("fan/id_00") + causes.reference("fan/id_02")) / 2
    np.testing.assert_allclose(causes.reference(), mean)
    with pytest.raises(UserError, match="no normal reference of 'fan/id_04'; known are fan/id_00"):
        causes.answer(clip(0), "fan/id_04")
    rows = np.stack([statistics(clip(seed, -50)) for seed in (7, 8, 9)])
    model.with_reference(stored, "fan/id_04", rows)
    assert model.Causes.load(stored).answer(clip(10, -50), "fan/id_04").cause == "normal"


def test_threads_share_it(stored):
    causes = model.Causes.load(stored)
    clips = [clip(seed, -40 + seed % 5) for seed in range(64)]
    alone = [causes.answer(one, "fan/id_00") for one in clips]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda one: causes.answer(one, "fan/id_00"), clips)) == alone


def test_threads_wait_for_the_interpreter(stored, monkeypatch):
    causes, inside, met = model.Causes.load(stored), [], []
    true = causes._predict

    def predict(row):
        inside.append(row)
        time.sleep(0.01)
        met.append(len(inside))
        values = true(row)
        inside.pop()
        return values

    monkeypatch.setattr(causes, "_predict", predict)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda one: causes.probabilities(one, "fan/id_00"), [clip(0)] * 16))
    assert met == [1] * 16


def damaged(values, key, value):
    return json.dumps(values | {key: value})


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("classes", ["a", "a", "b"], "classes not different"),
        ("classes", ["a", "b"], "3 outputs for 2 classes"),
        ("mean", [0.0], f"rows of {SIZE} finite numbers"),
        ("scale", [0.0] * SIZE, "scales are not positive"),
        ("radii", [1.0], "no whole training clips"),
        ("threshold", 0.0, "not above 0"),
        ("statistics", ["mean"], "statistics are others"),
        ("rows", "AAAA", "no whole training clips"),
        ("tflite_sha256", "0" * 64, "not the network of fan.json"),
        ("another", 1, "no classifier of causes"),
    ],
)  # fmt: skip
def test_a_damaged_record_is_named(stored, key, value, words):
    stored.write_text(damaged(json.loads(stored.read_text()), key, value))
    with pytest.raises(UserError, match=words) as error:
        model.Causes.load(stored)
    assert str(stored.with_suffix("")) in str(error.value)


def test_missing_files_are_named(stored):
    stored.with_suffix(".tflite").unlink()
    with pytest.raises(UserError, match="fan.tflite: no such file; it belongs to fan.json"):
        model.Causes.load(stored)
    with pytest.raises(UserError, match="other.json: no such file"):
        model.Causes.load(stored.with_name("other"))


def test_statistics_tell_apart_what_is_steady_and_what_comes_and_goes():
    steady, knocking = np.full((100, 4), -40, np.float32), np.full((100, 4), -40, np.float32)
    knocking[::5] = -20
    rows = dict(zip(NAMES, statistics(knocking) - statistics(steady), strict=True))
    assert rows["mean"][0] == pytest.approx(4) and rows["quantile 0.9"][0] == pytest.approx(20)
    assert rows["quantile 0.1"][0] == rows["quantile 0.5"][0] == 0
    assert rows["standard deviation of changes"][0] > 10
    for wrong in (np.zeros((1, 4)), np.zeros(4), np.full((3, 4), np.nan)):
        with pytest.raises(ValueError, match="at least 2 frames of finite levels"):
            statistics(wrong.astype(np.float32))


def test_distances_are_in_units_of_what_machines_are_apart():
    known = np.array([[0, 0], [3, 0], [0, 0.5], [3, 4], [3, 0.2]])
    machines = np.array(["a", "a", "b", "b", "a"])
    found = radii(known, machines)
    apart = [0.5, np.hypot(3, 0.5), 0.5, 3.8, np.hypot(3, 0.3)]  # not the .2 within a
    np.testing.assert_allclose(found * np.sqrt(2), apart, atol=0.05)
    assert distances(known, found, known).max() < 1e-6
    # As far off is more where clips lie close together than where they do not.
    close, wide = distances(known, found, np.array([[-0.25, 0], [3, 4.25]]))
    assert close == pytest.approx(1 / 2, abs=0.05) and wide == pytest.approx(1 / 15, abs=0.01)
    single = radii(known, np.array(["a"] * 5))
    np.testing.assert_allclose(single[0] * np.sqrt(2), 0.5, atol=0.05)


def test_stored_rows_are_the_rows_that_were_learnt():
    rows = np.random.default_rng(0).normal(0, 3, (50, 7)).astype(np.float32)
    assert np.array_equal(network.stepped(network.quantised(rows)), network.stepped(rows))
    assert np.array_equal(network.stepped(network.stepped(rows)), network.stepped(rows))
    far = np.abs(rows) > network.LARGEST
    assert far.any() and np.abs(network.stepped(rows) - rows)[~far].max() < 0.024
    assert np.abs(network.stepped(rows)).max() < network.LARGEST + 0.1


def test_asking_loads_no_learner():
    code = ("import sys; from asd.causes import model; "
            "bad = {'scipy', 'sklearn', 'matplotlib', 'tensorflow', 'librosa'} & set(sys.modules); "
            "sys.exit(repr(bad) if bad else 0)")  # fmt: skip
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
