"""The figures of the README on real recordings and published models, where they are at hand."""

import csv
import itertools
import shutil

import numpy as np
import pytest
import soundfile
import yaml
from browser import SCHEMES, WIDTHS, Browser, found
from conftest import ROOT, SCRIPTS, call, run_script
from test_common import assert_same_as_librosa
from test_page_browser import OVERFLOWS

import common
import keras_model
from asd import files
from asd.embedded import host, packing, stream_runs
from asd.evaluation import metrics, streaming
from asd.monitor.listener import Listener
from asd.paths import report_of
from asd.tflite import chain, convert, fold, litert, quantise, reader
from asd.tflite.convert import MCU


def test_frames_are_librosas_on_real_clips(real):
    clips = sorted((real / "dcase2020").glob("*/test/*.wav"))
    assert len(clips) >= 13
    for path in clips:
        assert_same_as_librosa(path)


def config_for(folder, real, **values):
    names = ("feature", "model", "result")
    folders = {f"{name}_directory": str(folder / name) for name in names}
    path = folder / "real.yaml"
    path.write_text(yaml.safe_dump({"dev_directory": str(real / "dcase2020")} | folders | values))
    return path


def check_alarm(slider, model):
    """A faulty slider between others: the alarm begins within two seconds, and not before."""
    names = ("normal_id_00_00000006", "normal_id_00_00000018", "anomaly_id_00_00000016",
             "normal_id_02_00000007")  # fmt: skip
    samples = np.concatenate([soundfile.read(slider / f"test/{name}.wav", dtype="int16")[0]
                              for name in names])  # fmt: skip
    onset = 20.0  # s: a clip has ten
    stream = streaming.read(model)
    hops = Listener(stream, litert.predictor(model)).push(samples)
    begin = hops.end[hops.alarm].min() / stream.feature.sample_rate
    assert onset < begin <= onset + 2
    assert not hops.alarm[-1], "it ends with the faulty clip"
    if host.compiler():
        folder = model.parent / "model_slider_c"
        told = stream_runs.Library(folder, model.parent).run(samples)
        assert np.mean(told["alarm"] == hops.alarm) > 0.99
        assert told["frame"][told["alarm"] == 1].min() * 512 + 1024 == begin * 16000


def test_real_slider_clips_go_all_the_way(real, tmp_path):
    config = config_for(tmp_path, real, fit={"epochs": 40})
    for name in SCRIPTS:
        done = run_script(name, "-d", "-c", config, "-m", "slider")
        assert done.returncode == 0, done.stdout + done.stderr
    header, *rows = files.read_csv(tmp_path / "result/parity.csv")
    verdicts = [row[header.index("verdict")] for row in rows]
    assert len(verdicts) == 10
    assert set(verdicts) <= {"pass", "within chance"}
    check_alarm(real / "dcase2020/slider", tmp_path / f"model/model_slider{MCU.suffix}.tflite")
    if found() is None:
        return  # its report is looked at where there is a browser
    path = report_of(tmp_path / "result")
    with Browser() as browser:
        for width, scheme in itertools.product(WIDTHS, SCHEMES):
            browser.open(path, width, scheme)
            assert browser.run(OVERFLOWS) == [] and browser.complaints() == []
            assert browser.requests() == [path.resolve().as_uri()]


def test_the_published_model_gives_the_published_scores(real, tmp_path):
    config = config_for(tmp_path, real)
    (tmp_path / "model").mkdir()
    shutil.copy(real / "reference/ad01.h5", tmp_path / "model/model_ToyCar.h5")
    assert call("01_test.py", "-d", "-c", config, "-m", "ToyCar") == 0
    published = dict(files.read_csv(real / "reference/result/anomaly_score_ToyCar_id_01.csv"))
    rows = files.read_csv(tmp_path / "result/anomaly_score_ToyCar_id_01.csv")
    assert len(rows) == 4
    for name, score in rows:
        assert float(score) == pytest.approx(float(published[name]), rel=1e-6)


class Official:
    """The 72 real spectrograms of y_labels_alt.csv and the published Keras model."""

    def __init__(self, real):
        with (real / "reference/y_labels_alt.csv").open(newline="") as file:
            rows = list(csv.reader(file))
        self.names = [row[0] for row in rows]
        self.labels = np.array([int(row[2]) for row in rows])
        paths = [real / "ad01" / name for name in self.names]
        self.frames = [np.fromfile(path, "<f4").reshape(200, 128) for path in paths]
        keras_model.start_tensorflow(0)
        self.model = keras_model.load(real / "reference/ad01.h5", 640)
        self.folded = fold.fold_batch_norm(self.model)
        self.scores = self.score(keras_model.predictor(self.model))
        # For checking the quantiser: calibrating on test clips is never a way to a result.
        normal = [f for f, label in zip(self.frames, self.labels, strict=True) if label == 0]
        windows = np.concatenate([common.vectors(frames, 5) for frames in normal])
        self.windows = windows[convert.spread_windows(len(windows), 3000, seed=0)]

    def score(self, predict):
        return common.anomaly_scores(predict, self.frames, 5)

    def auc(self, scores):
        return metrics.auc(self.labels, scores)


@pytest.fixture(scope="module")
def official(real):
    return Official(real)


INT8 = MCU


def test_keras_and_float_on_the_official_files(official):
    assert official.auc(official.scores) == pytest.approx(0.8711, abs=5e-5)
    folded = official.score(chain.predictor(official.folded))
    np.testing.assert_allclose(folded, official.scores, rtol=1e-4)
    converted = official.score(litert.predictor(convert.convert(official.folded, "")))
    np.testing.assert_allclose(converted, official.scores, rtol=1e-4)


def test_per_channel_int8_on_the_official_files(official):
    content = convert.convert(official.folded, INT8, official.windows)
    scores = official.score(litert.predictor(content))
    assert official.auc(scores) == pytest.approx(official.auc(official.scores), abs=0.003)
    assert np.median(np.abs(scores / official.scores - 1)) <= 0.0025


def test_equalised_per_tensor_int8_on_the_official_files(official):
    equal = fold.equalise(official.folded)
    content = convert.convert(equal, INT8, official.windows, per_channel=False)
    scores = official.score(litert.predictor(content))
    assert official.auc(scores) == pytest.approx(official.auc(official.scores), abs=0.003)
    assert np.median(np.abs(scores / official.scores - 1)) <= 0.01
    plain = convert.convert(official.folded, INT8, official.windows, per_channel=False)
    worse = official.score(litert.predictor(plain))
    assert np.median(np.abs(worse / official.scores - 1)) > np.median(
        np.abs(scores / official.scores - 1)
    )


def test_the_reference_fold_gives_the_published_float_scores(official, real):
    folded = fold.fold_batch_norm(official.model, reference=True)
    scores = official.score(litert.predictor(convert.convert(folded, "")))
    published = {}
    for path in (real / "reference/result").glob("tflite_anomaly_score_ToyCar_id_*.csv"):
        published |= dict(files.read_csv(path))
    expected = [
        float(published[name.replace("_hist_librosa.bin", ".wav")]) for name in official.names
    ]
    np.testing.assert_allclose(scores, expected, rtol=1e-5)
    assert np.median(np.abs(scores / official.scores - 1)) > 0.01, "it is another function"


def test_the_published_int8_file_runs(official, real):
    scores = official.score(litert.predictor(real / "reference/ad01_int8.tflite"))
    assert official.auc(scores) == pytest.approx(0.8495, abs=5e-5)
    facts = reader.describe((real / "reference/ad01_int8.tflite").read_bytes())
    assert facts["bytes"] == 276_976
    assert facts["inputs"][0]["scale"] == pytest.approx(0.39101523)
    assert facts["inputs"][0]["zero_point"] == 89
    assert facts["outputs"][0]["scale"] == pytest.approx(0.36449847)
    assert facts["outputs"][0]["zero_point"] == 96
    assert facts["weights"]["per_channel"] is False
    assert [(row["name"], row["count"]) for row in facts["operators"]] == [("FULLY_CONNECTED", 10)]


def test_the_published_float_file_goes_all_the_way(real, tmp_path):
    """Its test clips are the four that are at hand; training clips of ToyCar are not."""
    config = config_for(tmp_path, real)
    (tmp_path / "model").mkdir()
    shutil.copy(real / "reference/ad01_fp32.tflite", tmp_path / "model/model_ToyCar_fp32.tflite")
    for name in SCRIPTS[1:]:
        assert call(name, "-d", "-c", config, "-m", "ToyCar", "--boards", "none") == 0
    published = dict(
        files.read_csv(real / "reference/result/tflite_anomaly_score_ToyCar_id_01.csv")
    )
    rows = files.read_csv(tmp_path / "result/anomaly_score_ToyCar_id_01.csv")
    assert len(rows) == 4
    for name, score in rows:
        assert float(score) == pytest.approx(float(published[name]), rel=1e-5)
    header, *rows = files.read_csv(tmp_path / "result/parity.csv")
    assert {row[header.index("verdict")] for row in rows} <= {"pass", "within chance"}


@pytest.mark.parametrize(("weights", "most"), [("per_channel", 0.0025), ("per_tensor", 0.01)])
def test_the_published_float_file_quantised_without_the_scripts(
    official, real, tmp_path, weights, most
):
    """As above: calibrating on test clips checks a quantiser, and is never a way to a result."""
    normal = tmp_path / "normal"
    normal.mkdir()
    for name, label in zip(official.names, official.labels, strict=True):
        if label == 0:
            shutil.copy(real / "ad01" / name, normal)
    out, config = tmp_path / "int8.tflite", tmp_path / "way.yaml"
    config.write_text(yaml.safe_dump({"convert": {"dense_weights": weights}}))
    source = real / "reference/ad01_fp32.tflite"
    quantise.main([str(source), str(out), "--calibrate", str(normal), "-c", str(config)])
    float_scores = official.score(litert.predictor(source))
    scores = official.score(litert.predictor(out))
    assert official.auc(float_scores) == pytest.approx(0.8897, abs=5e-5)
    assert official.auc(scores) == pytest.approx(0.8897, abs=0.003)
    assert np.median(np.abs(scores / float_scores - 1)) <= most
    layers = reader.read(out.read_bytes()).layers
    packed = [packing.pack_dsp(layer) for layer in layers]
    assert all(one and one.packed == 1 for one in packed), "no layer is split, or left to ASD_PLAIN"


def test_one_network_for_real_clips(real, tmp_path):
    """Trained on the slider's clips and half of the others' normal test clips; tested on the rest.

    Two or three test clips an id say nothing about AUC, and little about parity.
    """
    for folder in sorted((real / "dcase2020").iterdir()):
        train = sorted(folder.glob("train/*.wav")) or sorted(folder.glob("test/normal_*"))[::2]
        kept = [path for path in sorted(folder.glob("test/*.wav")) if path not in train]
        for split, clips in (("train", train), ("test", kept)):
            target = tmp_path / "dev_data" / folder.name / split
            target.mkdir(parents=True)
            for path in clips:
                shutil.copy(path, target)
    recipe = yaml.safe_load((ROOT / "recipes/scac_trainable_small.yaml").read_text())
    recipe["detector"]["tasks"][0]["of"] = ["machine", "section"]
    names = ("dev", "feature", "model", "result")
    folders = {f"{name}_directory": str(tmp_path / f"{name}_data") for name in names}
    config = tmp_path / "network.yaml"
    more = {"corpus": "dcase2020", "fit": {"epochs": 3, "batch_size": 32}} | folders
    config.write_text(yaml.safe_dump(recipe | more))
    for name in SCRIPTS:
        done = run_script(name, "-d", "-c", config)
        assert done.returncode == 0 or "PARITY" in done.stdout, done.stdout + done.stderr
    results = tmp_path / "result_data/scac_trainable_small"
    scored = {path.name.split("_")[2] for path in results.glob("anomaly_score_*_id_0?.csv")}
    assert scored == {"ToyCar", "ToyConveyor", "fan", "pump", "slider", "valve"}
    header, *rows = files.read_csv(results / "parity.csv")
    float_rows = [row for row in rows if row[header.index("variant")] == ""]
    assert len(float_rows) == 11
    assert {row[header.index("verdict")] for row in float_rows} == {"pass"}
    header, *rows = files.read_csv(results / "embeddings.csv")
    assert max(float(row[header.index("relative_error")]) for row in rows) < 0.05
