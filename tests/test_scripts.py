"""The numbered scripts as a user runs them: results, refusals, interrupts."""

import os
import re
import signal
import subprocess
import sys
import time
import zipfile

import keras
import numpy as np
import pytest
import soundfile
import yaml
from conftest import (
    ROOT,
    SAMPLE_RATE,
    SCRIPTS,
    UNITS,
    call,
    clip_frames,
    make_data,
    run_script,
    write_clip,
    write_config,
)

import common
import keras_model
from asd import files
from asd.config import load_config
from asd.embedded import boards, codegen, frontend, host
from asd.embedded import stream as stream_in_c
from asd.evaluation import streaming
from asd.tflite import litert, reader
from asd.tflite.convert import MCU, VARIANTS
from tests import fuzz

NO_BOARDS = ("--boards", "none")


def listing(folder):
    return sorted(path.name for path in folder.iterdir())


def assert_one_line(done, expected, status=1):
    assert done.returncode == status, done.stdout + done.stderr
    assert re.search(expected, done.stderr), done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr


def assert_refused(capsys, expected, name, *argv):
    """In this process, which is quicker: exit status 1 and one line on stderr."""
    capsys.readouterr()
    assert call(name, *argv) == 1
    error = capsys.readouterr().err
    lines = [line for line in error.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, error
    assert re.search(expected, lines[0]), lines[0]
    assert "Traceback" not in error


# The story


def test_training_writes_its_files(story):
    model = story / "model"
    for name in ("model_ToyTest.keras", "history_ToyTest.csv", "history_ToyTest.png"):
        assert (model / name).stat().st_size > 100
    header, *rows = files.read_csv(model / "history_ToyTest.csv")
    assert header == ["epoch", "loss", "val_loss"]
    assert [row[0] for row in rows] == [str(i) for i in range(1, 13)]
    assert float(rows[-1][1]) < float(rows[0][1])
    record = files.read_json(model / "model_ToyTest.json")
    assert record["configuration"]["fit"]["epochs"] == 12
    assert len(record["configuration_hash"]) == 16
    assert record["clips"] | {"fingerprint": ""} == {
        "count": 12, "trained": 10, "validated": 2, "fingerprint": "",
    }  # fmt: skip
    assert record["loss"] == float(rows[-1][1])
    assert record["val_loss"] == float(rows[-1][2])
    assert record["seed"] == 0
    assert record["seconds"] > 0
    assert record["versions"]["tensorflow"] == "2.21.0"
    assert record["sha256"] == files.file_hash(model / "model_ToyTest.keras")


def test_scores_are_those_of_the_model(story):
    """Written out plainly: every window of every clip through Keras' predict."""
    cfg = load_config(story / "test.yaml")
    keras_model.start_tensorflow(0)
    model = keras_model.load(story / "model/model_ToyTest.keras", 640)
    for machine_id in ("01", "02"):
        rows = files.read_csv(story / f"result/anomaly_score_ToyTest_id_{machine_id}.csv")
        assert [row[0].split("_id")[0] for row in rows] == ["normal"] * 4 + ["anomaly"] * 4
        assert [row[0] for row in rows[:4]] == sorted(row[0] for row in rows[:4])
        for name, score in rows:
            path = story / "dev_data/ToyTest/test" / name
            frames = clip_frames(path, cfg.feature)
            windows = np.stack([frames[i : i + 5].ravel() for i in range(len(frames) - 4)])
            errors = np.square(windows - model.predict(windows, verbose=0)).mean(axis=1)
            assert float(score) == pytest.approx(errors.mean(), rel=1e-5)


def test_result_files_agree(story):
    rows = files.read_csv(story / "result/result.csv")
    assert [row[0] if row else "" for row in rows] == ["ToyTest", "id", "01", "02", "Average", ""]
    header, *metrics = files.read_csv(story / "result/metrics.csv")
    assert header[:3] == ["machine_type", "id", "clips"]
    by_id = {row[1]: dict(zip(header, row, strict=True)) for row in metrics}
    assert list(by_id) == ["01", "02", "pooled", "average"]
    for machine_id, auc, pauc in rows[2:4]:
        assert float(by_id[machine_id]["auc"]) == pytest.approx(float(auc), abs=1e-12)
        assert by_id[machine_id]["pauc"] == pauc


def test_conversion_writes_five_files_and_what_they_are(story):
    for variant in VARIANTS:
        path = story / f"model/model_ToyTest{variant.suffix}.tflite"
        record = files.read_json(path.with_suffix(".tflite.json"))
        facts = reader.describe(path.read_bytes())
        assert {key: record[key] for key in facts} == facts
        assert record["variant"] == variant.suffix
        assert record["source"]["model"] == "model_ToyTest.keras"
        if variant.calibrated:
            calibration = record["calibration"]
            assert (calibration["windows"], calibration["clips"]) == (12 * 36, 12)
            assert calibration["seed"] == 0
        else:
            assert record["calibration"] is None


def test_conversion_says_what_a_stream_is_judged_by(story):
    """Of what the int8 file makes of the training clips, of which the last two were not heard."""
    path = story / f"model/model_ToyTest{MCU.suffix}.tflite"
    stream, predict = streaming.read(path), litert.predictor(path)
    scores, levels, bands = [], [], []
    for clip in sorted((story / "dev_data/ToyTest/train").iterdir()):
        frames = clip_frames(clip, stream.feature)
        windows = np.ascontiguousarray(common.vectors(frames, 5))
        squares = np.square(windows - predict(windows)).astype(np.float64)
        scores.append(squares.mean(axis=1)[:31].mean())  # 36 windows, so there is one decision
        levels += [frames.mean(axis=1)[i : i + 31].mean(dtype=np.float64) for i in range(4, 10)]
        bands.append(squares.reshape(-1, 128).mean(axis=0))
    assert (stream.windows, stream.step, stream.k, stream.n) == (31, 8, 2, 3)
    assert stream.threshold == pytest.approx(np.quantile(scores, 0.97), rel=1e-6)
    mean = np.mean(scores)
    assert stream.release == pytest.approx((mean + stream.threshold) / 2, rel=1e-6)
    assert stream.level_db == pytest.approx((min(levels), max(levels)), abs=1e-4)
    np.testing.assert_allclose(stream.band_errors, np.mean(bands, axis=0), rtol=1e-4)
    rates = stream.false_alarms
    assert (rates["nominal"], rates["decisions"], rates["unheard_clips"]) == (0.03, 12, 2)
    above = np.array(scores[10:]) > np.quantile(scores[:10], 0.97)
    assert rates["unheard_share"] == pytest.approx(above.mean())
    out = (story / "02_convert.py.out").read_text()
    assert f"as a stream {stream.threshold:.4g} dB^2" in out
    source = (story / "model/model_ToyTest_c/model_stream.h").read_text()
    assert f"{stream.threshold:.9g}" in source


def test_conversion_goes_on_where_c_has_no_such_frames(story, tmp_path, monkeypatch, capsys):
    """The model's C without a stream, which asd.monitor has all the same; and 03 is content."""
    folder = copy_of(story, tmp_path)
    config, model = folder / "test.yaml", folder / "model"
    monkeypatch.setattr(frontend, "SIZES", (512,))
    assert call("02_convert.py", "-d", "-c", config) == 0
    assert "without a stream: feature.n_fft is 1024" in capsys.readouterr().out
    names = {path.name for path in (model / "model_ToyTest_c").iterdir()}
    assert not names & set(stream_in_c.names()) and "model.c" in names
    assert streaming.read(model / f"model_ToyTest{VARIANTS[-1].suffix}.tflite").windows == 31
    assert call("03_tflite_test.py", "-d", "-c", config, "--boards", "none") == 0


def test_verification_scores_every_variant(story):
    header, *rows = files.read_csv(story / "result/parity.csv")
    rows = [dict(zip(header, row, strict=True)) for row in rows]
    assert [(r["variant"], r["id"]) for r in rows] == [
        (variant.suffix, i) for variant in VARIANTS for i in ("01", "02")
    ]
    keras = {
        i: files.read_csv(story / f"result/anomaly_score_ToyTest_id_{i}.csv") for i in ("01", "02")
    }
    for row in rows:
        name = f"tflite{row['variant']}_anomaly_score_ToyTest_id_{row['id']}.csv"
        scores = files.read_csv(story / "result" / name)
        assert [r[0] for r in scores] == [r[0] for r in keras[row["id"]]]
        a, b = (np.array([float(r[1]) for r in x]) for x in (keras[row["id"]], scores))
        assert float(row["score_max"]) == pytest.approx(np.abs(b / a - 1).max(), rel=1e-6)
        assert float(row["score_median"]) == pytest.approx(np.median(np.abs(b / a - 1)), rel=1e-6)
        assert row["verdict"] in ("pass", "within chance")
        assert (float(row["score_max"]) < 1e-4) == (row["variant"] == "")
        table = files.read_csv(story / f"result/tflite{row['variant']}_result.csv")
        assert {r[0]: r[1] for r in table if len(r) == 3}[row["id"]] == row["auc"]
    out = (story / "03_tflite_test.py.out").read_text()
    assert "PARITY KEPT in all 10 comparisons" in out


def test_the_c_code_is_compared_where_it_can_run(story):
    source = story / "model/model_ToyTest_c"
    assert {"model.c", "model.h", "kernels.h"} <= set(listing(source))
    header, *rows = files.read_csv(story / "result/mcu.csv")
    rows = [dict(zip(header, row, strict=True)) for row in rows]
    ready = [row.name for row in boards.all_boards() if not boards.missing(row)]
    here = ["host"] if host.compiler() else []
    assert [row["board"] for row in rows] == here + ready
    for row in rows:
        assert row["windows"] == str(8 * 36)
        assert (row["differing_bytes"], row["verdict"]) == ("0", "pass")
        assert float(row["score_median"]) <= float(row["bar"])
        assert float(row["stream_error"]) < 1e-3
        assert row["stream_differs"] == "0" or not here
        if row["board"] != "host":
            assert int(row["stream_instructions"]) > int(row["instructions"]) > 264_192 / 16
            assert 10_000 < int(row["stream_ram"]) <= 12 * 1024
            assert int(row["constant_bytes"]) > 264_192
            assert int(row["stack_bytes"]) > 0


def test_boards_are_chosen_by_name(story, tmp_path, capsys):
    folder = copy_of(story, tmp_path)
    command = ("03_tflite_test.py", "-d", "-c", folder / "test.yaml", "--boards")
    assert_refused(capsys, "mps9: no such board; known:", *command, "mps9")
    if not boards.all_boards():
        return
    row = boards.named("mps2-an386")
    if boards.missing(row):
        assert_refused(capsys, "mps2-an386: .* not found; sudo apt install", *command, row.name)
        return
    assert call(*command, row.name, "--all-windows") == 0
    rows = files.read_csv(folder / "result/mcu.csv")[1:]
    assert [r[1] for r in rows] == ["host", "mps2-an386"]
    assert {r[4] for r in rows} == {str(16 * 36)}


def test_without_compiler_and_emulator_the_verdict_stands(story, tmp_path, capsys, monkeypatch):
    folder = copy_of(story, tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    config = folder / "test.yaml"
    assert call("03_tflite_test.py", "-d", "-c", config) == 0
    out = capsys.readouterr().out
    assert "PARITY KEPT in all 10" in out
    assert "not run: C on this machine: no C compiler; sudo apt install gcc" in out
    assert out.count("sudo apt install") == 1 + len(boards.all_boards())
    assert len(files.read_csv(folder / "result/mcu.csv")) == 1
    for row in boards.all_boards():
        assert_refused(capsys, f"{row.name}: .* not found; sudo apt install", "03_tflite_test.py",
                       "-d", "-c", config, "--boards", row.name)  # fmt: skip


def test_c_code_that_gives_other_bytes_fails(story, tmp_path, capsys, monkeypatch):
    """A generator with a fault: one bias is another."""
    if host.compiler() is None:
        pytest.skip("no C compiler: apt install gcc")
    generate, folder = codegen.generate, copy_of(story, tmp_path)

    def faulty(content):
        texts = generate(content)
        text = texts["model_weights.h"]
        at = text.index("    ", text.rindex("static const int32_t bias_9")) + 4
        return texts | {"model_weights.h": f"{text[:at]}1000 + {text[at:]}"}

    weights = folder / "model/model_ToyTest_c/model_weights.h"
    tflite_file = folder / f"model/model_ToyTest{MCU.suffix}.tflite"
    weights.write_text(faulty(tflite_file.read_bytes())[weights.name])
    command = ("03_tflite_test.py", "-d", "-c", folder / "test.yaml", *NO_BOARDS)
    assert_refused(capsys, "model_ToyTest_c: not the C source of .*model_weights.h differs",
                   *command)  # fmt: skip
    monkeypatch.setattr(codegen, "generate", faulty)
    assert call(*command) == 1
    out = capsys.readouterr().out
    assert "C CODE FAILS in 1 of 1 places" in out
    assert "PARITY KEPT" in out
    assert int(files.read_csv(folder / "result/mcu.csv")[1][5]) > 0


def test_c_code_of_another_model_is_refused_and_parity_kept(story, tmp_path, capsys):
    folder = copy_of(story, tmp_path)
    header = folder / "model/model_ToyTest_c/model.h"
    tflite_file = folder / f"model/model_ToyTest{MCU.suffix}.tflite"
    header.write_text(header.read_text().replace(files.file_hash(tflite_file), "0" * 64))
    (folder / "result/parity.csv").unlink()
    assert_refused(capsys, "model_ToyTest_c: not the C source of .*run 02_convert.py",
                   "03_tflite_test.py", "-d", "-c", folder / "test.yaml", *NO_BOARDS)  # fmt: skip
    assert len(files.read_csv(folder / "result/parity.csv")) == 11


def test_pictures_are_made(story):
    for name in ("result/roc_ToyTest.png", "result/histogram_ToyTest.png"):
        assert (story / name).read_bytes().startswith(b"\x89PNG")


def test_nothing_half_written_is_left(story):
    for folder in ("model", "result", "features"):
        assert not [name for name in listing(story / folder) if name.startswith(".")]


def copy_of(story, tmp_path):
    import shutil

    shutil.copytree(story, tmp_path / "copy")
    folder = tmp_path / "copy"
    write_config(folder, fit={"epochs": 12})
    return folder


def test_an_existing_model_is_kept_or_the_difference_named(story, tmp_path, capsys):
    folder = copy_of(story, tmp_path)
    model = folder / "model/model_ToyTest.keras"
    before = model.read_bytes()
    config = folder / "test.yaml"
    assert call("00_train.py", "-d", "-c", config) == 0
    assert "already trained on these clips with this configuration; kept" in capsys.readouterr().out

    write_config(folder, fit={"epochs": 1})
    difference = r"model_ToyTest\.keras: trained with fit\.epochs 12, the configuration says 1;"
    assert_refused(capsys, f"{difference} --overwrite", "00_train.py", "-d", "-c", config)
    write_config(folder, fit={"epochs": 12})
    extra = write_clip(folder / "dev_data/ToyTest/train/normal_id_01_00000077.wav", 77)
    assert_refused(capsys, r"trained on other clips \(12, now 13\)", "00_train.py", "-d", "-c",
                   config)  # fmt: skip
    extra.unlink()
    assert model.read_bytes() == before

    write_config(folder, fit={"epochs": 1})
    assert call("00_train.py", "-d", "-c", config, "--overwrite") == 0
    assert model.read_bytes() != before
    assert files.read_json(model.with_suffix(".json"))["configuration"]["fit"]["epochs"] == 1
    # What was made from the old model is not taken for the new one's.
    assert_refused(capsys, "scores are of another model.*run 01_test.py again",
                   "03_tflite_test.py", "-d", "-c", config)  # fmt: skip
    assert call("01_test.py", "-d", "-c", config) == 0
    assert_refused(capsys, "made from another model.*run 02_convert.py",
                   "03_tflite_test.py", "-d", "-c", config)  # fmt: skip


def test_lost_parity_is_exit_status_1(story, tmp_path):
    folder = copy_of(story, tmp_path)
    bar = {"score_max": None, "score_median": 1e-9, "auc_drop": 0.005}
    config = write_config(folder, fit={"epochs": 12}, parity={"per_channel": bar})
    done = run_script("03_tflite_test.py", "-d", "-c", config, *NO_BOARDS)
    assert done.returncode == 1
    assert "PARITY LOST in 8 of 10" in done.stdout
    assert "median 1e-09" in done.stdout
    assert "Traceback" not in done.stderr


def test_evaluation_data_gets_scores_only(story, tmp_path, capsys):
    """With the model of the development data, as it has none of its own."""
    folder = copy_of(story, tmp_path)
    config = folder / "test.yaml"
    before = {path: path.read_bytes() for path in (folder / "model").rglob("*") if path.is_file()}
    stale = [folder / "result/eval" / f"{name}result.csv" for name in ("", "tflite_quant_")]
    for path in stale:  # of a run with labels
        files.write_csv(path, [["ToyTest"]])
    for name in ("01_test.py", "02_convert.py", "03_tflite_test.py"):
        assert call(name, "-e", "-c", config, *NO_BOARDS) == 0
    out = capsys.readouterr().out
    assert "clips without labels, so there is no AUC" in out
    assert f"model_ToyTest.keras: of the development data, there is none in {folder}" in out
    result = folder / "result/eval"
    assert len(files.read_csv(result / "anomaly_score_ToyTest_id_05.csv")) == 3
    assert not list(result.glob("*result.csv"))
    rows = files.read_csv(result / "parity.csv")
    assert len(rows) == 1 + len(VARIANTS)
    assert all(row[7:11] == [""] * 4 for row in rows[1:])
    assert {path: path.read_bytes() for path in before} == before
    assert (folder / "model/eval/model_ToyTest_c/model.h").exists()


def test_a_model_of_the_evaluation_data_never_meets_one_of_the_development_data(
    story, tmp_path, capsys
):
    folder = copy_of(story, tmp_path)
    config = folder / "test.yaml"
    before = {path.name: path.read_bytes() for path in (folder / "model").glob("*.keras")}
    for name in SCRIPTS:
        assert call(name, "-e", "-c", config, *NO_BOARDS) == 0
    assert "development data" not in capsys.readouterr().out
    assert {p.name: p.read_bytes() for p in (folder / "model").glob("*.keras")} == before
    own = folder / "model/eval/model_ToyTest.keras"
    assert own.read_bytes() != before[own.name]
    source = files.read_json(folder / "result/eval/anomaly_score_ToyTest_eval.json")
    assert source["sha256"] == files.file_hash(own)
    assert call("01_test.py", "-d", "-c", config) == 0
    same = "result/anomaly_score_ToyTest_id_01.csv"
    assert (folder / same).read_bytes() == (story / same).read_bytes()


def test_an_experiment_has_folders_of_its_own(story, tmp_path, capsys):
    folder = copy_of(story, tmp_path)
    config = write_config(folder, experiment="wide", detector={"bottleneck": 16})
    for name in SCRIPTS:
        assert call(name, "-d", "-c", config, *NO_BOARDS) == 0
    model = keras_model.load(folder / "model/wide/model_ToyTest.keras", 640)
    assert 16 in [layer.units for layer in model.layers if hasattr(layer, "units")]
    record = files.read_json(folder / "model/wide/model_ToyTest.json")
    assert record["configuration"]["detector"] == {
        "kind": "autoencoder", "encoder": [128] * 4, "bottleneck": 16, "decoder": [128] * 4,
    }  # fmt: skip
    assert "result.csv" in listing(folder / "result/wide")
    for path in ("model/model_ToyTest.keras", "result/result.csv"):
        assert (folder / path).read_bytes() == (story / path).read_bytes()


def test_a_model_of_other_units_is_named(story, tmp_path, capsys):
    folder = copy_of(story, tmp_path)
    config = write_config(folder, fit={"epochs": 12}, detector={"bottleneck": 16})
    difference = r"trained with detector\.bottleneck 8, the configuration says 16"
    for name in SCRIPTS[:3]:
        assert_refused(capsys, difference, name, "-d", "-c", config)
    record = folder / "model/model_ToyTest.json"
    values = files.read_json(record)
    del values["configuration"]["detector"]
    files.write_json(record, values)
    assert_refused(capsys, r"does not tell detector\.bottleneck, which .* says is 16; --overwrite",
                   "00_train.py", "-d", "-c", config)  # fmt: skip


def test_training_ids_are_all_or_the_tested(data, capsys):
    extra = [write_clip(data / f"dev_data/ToyTest/train/normal_id_07_{i:08}.wav", i)
             for i in range(3)]  # fmt: skip
    config = write_config(data, fit={"epochs": 1}, training_ids="tested")
    assert call("00_train.py", "-d", "-c", config) == 0
    assert (
        "ToyTest: 3 training clips left out, of ids without test clips" in capsys.readouterr().out
    )
    assert files.read_json(data / "model/model_ToyTest.json")["clips"]["count"] == 12
    config = write_config(data, fit={"epochs": 1})
    assert_refused(capsys, r"trained on other clips \(12, now 15\)", "00_train.py", "-d", "-c",
                   config)  # fmt: skip
    assert len(extra) == 3


FROZEN = {"kind": "frozen", "backend": {"kind": "knn", "distance": "cosine", "neighbours": 1}}


def test_a_frozen_detector_goes_through_the_scripts(data, capsys):
    config = write_config(data, feature={"power": 1.0}, detector=FROZEN)
    for name in SCRIPTS:
        assert call(name, "-d", "-c", config, *NO_BOARDS) == 0
    out = capsys.readouterr().out
    assert "12 rows of mean mel frames" in out
    assert out.count("detector.kind frozen has nothing that becomes TFLite or C") == 1
    assert out.count("detector.kind frozen has no TFLite or C to compare with") == 1
    assert listing(data / "model") == ["model_ToyTest.json", "model_ToyTest.npz",
                                       "normal_score_ToyTest.csv"]  # fmt: skip
    feature = load_config(config).feature

    def embeddings(split, names):
        """Mean mel frames of length 1."""
        paths = [data / "dev_data/ToyTest" / split / name for name in names]
        frames = [clip_frames(path, feature, common.mel_spectrum) for path in paths]
        means = np.array([one.mean(axis=0) for one in frames])
        return means / np.linalg.norm(means, axis=1, keepdims=True)

    train = embeddings("train", listing(data / "dev_data/ToyTest/train"))
    for section in ("01", "02"):
        rows = files.read_csv(data / f"result/anomaly_score_ToyTest_id_{section}.csv")
        nearest = 1 - (embeddings("test", [row[0] for row in rows]) @ train.T).max(axis=1)
        np.testing.assert_allclose([float(row[1]) for row in rows], nearest, atol=1e-6)
    metrics = files.read_csv(data / "result/metrics.csv")
    assert metrics[1][5] != ""


def test_a_changed_back_end_does_not_train_again(data, capsys):
    config = write_config(data, detector=FROZEN)
    for name in SCRIPTS[:2]:
        assert call(name, "-d", "-c", config) == 0
    scores = data / "result/anomaly_score_ToyTest_id_01.csv"
    before, model = scores.read_bytes(), (data / "model/model_ToyTest.npz").stat().st_mtime_ns
    write_config(data, detector=FROZEN | {"backend": FROZEN["backend"] | {"neighbours": 3}})
    capsys.readouterr()
    for name in SCRIPTS[:2]:
        assert call(name, "-d", "-c", config) == 0
    assert "already trained" in capsys.readouterr().out
    assert scores.read_bytes() != before
    assert (data / "model/model_ToyTest.npz").stat().st_mtime_ns == model
    write_config(data, detector=FROZEN | {"backend": FROZEN["backend"] | {"neighbours": 13}})
    assert_refused(capsys, "neighbours is 13, but there are only 12 training clips",
                   "01_test.py", "-d", "-c", config)  # fmt: skip


def test_two_kinds_do_not_share_a_folder(story, tmp_path, capsys):
    folder = copy_of(story, tmp_path)
    before = (folder / "model/model_ToyTest.json").read_bytes()
    config = write_config(folder, detector=FROZEN)
    for more in ((), ("--overwrite",)):
        assert_refused(capsys, r"model_ToyTest\.keras: a model of another kind is in this folder",
                       "00_train.py", "-d", "-c", config, *more)  # fmt: skip
    assert (folder / "model/model_ToyTest.json").read_bytes() == before


def test_a_model_that_is_no_chain_is_named(data, capsys):
    from keras import Sequential, layers

    keras_model.start_tensorflow(0)
    (data / "model").mkdir()
    parts = [layers.Input((640,)), layers.Dense(640, activation="tanh", name="odd")]
    Sequential(parts).save(data / "model/model_ToyTest.h5")
    config = data / "test.yaml"
    assert call("01_test.py", "-d", "-c", config) == 0
    assert_refused(capsys, r"model_ToyTest\.h5: layer odd \(Dense, tanh\) cannot be folded",
                   "02_convert.py", "-d", "-c", config)  # fmt: skip


@pytest.mark.parametrize(
    "content", [b"", b"\x93NUMPY" + bytes(90), b"PK\x03\x04 no archive", b"\x93NUMPY"]
)
def test_a_damaged_frozen_model_is_named(data, capsys, content):
    config = write_config(data, detector=FROZEN)
    assert call("00_train.py", "-d", "-c", config) == 0
    (data / "model/model_ToyTest.npz").write_bytes(content)
    (data / "model/model_ToyTest.json").unlink()
    assert_refused(capsys, r"model_ToyTest\.npz: not a readable model", "01_test.py", "-d", "-c",
                   config)  # fmt: skip


def test_a_frozen_model_that_is_a_bomb_is_named(data, capsys):
    config = write_config(data, detector=FROZEN)
    assert call("00_train.py", "-d", "-c", config) == 0
    path = data / "model/model_ToyTest.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("embeddings.npy", bytes(1 << 30))
        archive.writestr("domains.npy", bytes(1))
    assert path.stat().st_size < 2_000_000
    (data / "model/model_ToyTest.json").unlink()
    with fuzz.bounded():
        assert_refused(capsys, "npz: not a readable model .more than 1,073,741,824 bytes",
                       "01_test.py", "-d", "-c", config)  # fmt: skip


def test_per_tensor_and_reference_fold(story, tmp_path, capsys):
    folder = copy_of(story, tmp_path)
    config = write_config(folder, fit={"epochs": 12}, convert={"dense_weights": "per_tensor"})
    assert call("02_convert.py", "-d", "-c", config) == 0
    record = files.read_json(folder / "model/model_ToyTest_quant.tflite.json")
    assert record["weights"]["per_channel"] is False
    assert record["conversion"]["dense_weights"] == "per_tensor"
    assert call("03_tflite_test.py", "-d", "-c", config, *NO_BOARDS) == 0
    header, *rows = files.read_csv(folder / "result/parity.csv")
    bars = {row[0]: row[header.index("bar")] for row in rows}
    assert bars[""] == "max 0.0001, AUC drop 0.001"
    assert bars["_quant"] == "median 0.05, AUC drop 0.01"

    config = write_config(folder, fit={"epochs": 12}, convert={"reference_fold": True})
    (folder / "model/model_ToyTest.keras").unlink()
    model = keras_model.build(640, UNITS)
    for layer in model.layers:
        if isinstance(layer, keras.layers.Dense):
            layer.bias.assign(np.random.default_rng(0).standard_normal(layer.units))
    model.save(folder / "model/model_ToyTest.h5")
    for name in ("01_test.py", "02_convert.py"):
        assert call(name, "-d", "-c", config) == 0
    capsys.readouterr()
    assert call("03_tflite_test.py", "-d", "-c", config, *NO_BOARDS) == 1
    out = capsys.readouterr().out
    assert "reference_fold: true: another function than the Keras model" in out
    assert "PARITY LOST" in out


# Command line


def test_help_needs_nothing_heavy():
    for name in SCRIPTS:
        command = [sys.executable, "-X", "importtime", str(ROOT / name), "-h"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0
        assert "--machine-type" in done.stdout
        imported = set(re.findall(r"\| +(\w+)$", done.stderr, re.MULTILINE))
        assert "argparse" in imported
        heavy = {"tensorflow", "keras", "matplotlib", "sklearn", "scipy", "librosa", "soundfile",
                 "joblib", "numba"}  # fmt: skip
        assert not imported & heavy


def test_scoring_needs_nothing_heavy(story, tmp_path):
    values = yaml.safe_load((story / "test.yaml").read_text())
    values["result_directory"] = str(tmp_path)
    config = tmp_path / "test.yaml"
    config.write_text(yaml.safe_dump(values))
    for name in (SCRIPTS[1], SCRIPTS[3]):
        command = [sys.executable, "-X", "importtime", str(ROOT / name), "-d", "-c", str(config)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stdout
        imported = set(re.findall(r"\| +(\w+)$", done.stderr, re.MULTILINE))
        assert "numpy" in imported
        assert not imported & {"tensorflow", "keras", "librosa", "numba"}


def test_version():
    done = run_script("00_train.py", "-v")
    assert (done.returncode, done.stdout.strip()) == (0, common.__version__)


@pytest.mark.parametrize("argv", [[], ["-d", "-e"], ["-d", "--nonsense"], ["-d", "-m"]])
def test_wrong_usage_is_exit_status_2(argv):
    done = run_script("01_test.py", *argv)
    assert done.returncode == 2
    assert "usage:" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("name", SCRIPTS)
def test_without_data_the_remedy_is_said(tmp_path, name):
    config = write_config(tmp_path)
    done = run_script(name, "-d", "-c", config)
    assert_one_line(done, r"dev_data: no such folder of recordings; \./get_dataset\.sh")


# Bad input


def test_a_wrong_key_is_one_line(data):
    (data / "wrong.yaml").write_text("feature: {n_mel: 64}")
    done = run_script("00_train.py", "-d", "-c", data / "wrong.yaml")
    assert_one_line(done, r"wrong\.yaml: unknown key feature\.n_mel; did you mean feature\.n_mels")


def test_bad_test_clips_stop_the_training_before_it_starts(data):
    bad = data / "dev_data/ToyTest/test/normal_id_01_00000000.wav"
    bad.write_bytes(bad.read_bytes()[:1000])
    done = run_script("00_train.py", "-d", "-c", data / "test.yaml")
    assert_one_line(done, f"{bad}: truncated")
    assert not (data / "model").exists()


def test_skipped_clips_are_in_no_result(data, capsys):
    test = data / "dev_data/ToyTest/test"
    cut = test / "normal_id_01_00000000.wav"
    cut.write_bytes(cut.read_bytes()[:1000])
    holed = test / "anomaly_id_02_00000001.wav"
    soundfile.write(holed, np.full(24000, np.nan, np.float32), SAMPLE_RATE, subtype="FLOAT")
    config = data / "test.yaml"
    assert_refused(capsys, "truncated", "00_train.py", "-d", "-c", config)
    for name in SCRIPTS:
        assert call(name, "-d", "-c", config, "--skip-bad-clips", *NO_BOARDS) == 0
    skipped = {row[0] for row in files.read_csv(data / "result/skipped.csv")[1:]}
    assert skipped == {str(cut), str(holed)}
    for prefix in ("", "tflite_", "tflite_quant_fullint_micro_intio_"):
        for machine_id in ("01", "02"):
            name = f"{prefix}anomaly_score_ToyTest_id_{machine_id}.csv"
            path = data / "result" / name
            names = [row[0] for row in files.read_csv(path)]
            assert len(names) == 7
            assert not {cut.name, holed.name} & set(names)
    _, *rows = files.read_csv(data / "result/metrics.csv")
    assert [row[2] for row in rows] == ["7", "7", "14", "14"]


def test_a_test_folder_of_one_class_gets_scores_and_a_reason(data, capsys):
    for path in (data / "dev_data/ToyTest/test").glob("anomaly_*"):
        path.unlink()
    config = data / "test.yaml"
    for name in SCRIPTS:
        assert call(name, "-d", "-c", config, *NO_BOARDS) == 0
    assert "no anomalous test clip" in capsys.readouterr().out
    assert len(files.read_csv(data / "result/anomaly_score_ToyTest_id_01.csv")) == 4
    assert files.read_csv(data / "result/result.csv")[2:5] == [
        ["01", "", ""], ["02", "", ""], ["Average", "", ""],
    ]  # fmt: skip


def test_missing_and_impossible_models(data, capsys):
    config, model = data / "test.yaml", data / "model"
    for name in SCRIPTS[1:]:
        assert_refused(capsys, r"no model for ToyTest; train it: \./train\.sh",
                       name, "-d", "-c", config)  # fmt: skip
    model.mkdir(exist_ok=True)
    (model / "model_ToyTest.keras").write_bytes(b"PK\x03\x04 no archive")
    assert_refused(capsys, r"model_ToyTest\.keras: not a readable Keras model",
                   "01_test.py", "-d", "-c", config)  # fmt: skip
    assert_refused(capsys, "what it was trained on is unknown", "00_train.py", "-d", "-c", config)
    (model / "model_ToyTest.hdf5").write_bytes(b"\x89HDF")
    assert_refused(capsys, r"two models for ToyTest: .*\.keras and .*\.hdf5; keep one",
                   "01_test.py", "-d", "-c", config)  # fmt: skip
    (model / "model_ToyTest.keras").unlink()
    assert_refused(capsys, r"model_ToyTest\.hdf5: not a readable Keras model",
                   "02_convert.py", "-d", "-c", config)  # fmt: skip
    assert_refused(capsys, r"model_ToyTest\.hdf5: a published model is in the place",
                   "00_train.py", "-d", "-c", config)  # fmt: skip


def test_a_model_of_another_input_size(story, tmp_path, capsys):
    folder = copy_of(story, tmp_path)
    config = write_config(folder, feature={"n_mels": 64}, fit={"epochs": 12})
    for name in ("01_test.py", "02_convert.py"):
        assert_refused(capsys, r"trained with feature\.n_mels 128, the configuration says 64",
                       name, "-d", "-c", config)  # fmt: skip
        (folder / "model/model_ToyTest.json").rename(folder / "away")
        assert_refused(capsys, "its input and output have 640 elements.* windows 320",
                       name, "-d", "-c", config)  # fmt: skip
        (folder / "away").rename(folder / "model/model_ToyTest.json")


def test_a_model_is_not_used_with_other_features_than_its_own(story, tmp_path, capsys):
    folder = copy_of(story, tmp_path)
    config = write_config(folder, feature={"power": 1.0}, fit={"epochs": 12})
    for name in ("01_test.py", "02_convert.py"):
        assert_refused(capsys, r"trained with feature\.power 2\.0, the configuration says 1\.0",
                       name, "-d", "-c", config)  # fmt: skip


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("00_train.py", "model/model_ToyTest.json"),
        ("01_test.py", "model/model_ToyTest.json"),
        ("03_tflite_test.py", "result/anomaly_score_ToyTest_dev.json"),
        ("03_tflite_test.py", "model/model_ToyTest_quant.tflite.json"),
    ],
)
def test_damaged_records_are_named(story, tmp_path, capsys, name, file):
    folder = copy_of(story, tmp_path)
    deep = '{"model":' * 500 + "1" + "}" * 500
    for content in ("{}", "[1]", "null", "{", "", "[" * 100_000, deep, "9" * 5000):
        (folder / file).write_text(content)
        assert_refused(capsys, f"{file}: damaged", name, "-d", "-c", folder / "test.yaml")


@pytest.mark.parametrize("content", ["a,nan\n", "a\n", "\x00\xff", ""])
def test_damaged_scores_are_named(story, tmp_path, capsys, content):
    folder = copy_of(story, tmp_path)
    path = folder / "result/anomaly_score_ToyTest_id_01.csv"
    path.write_bytes(content.encode("latin-1"))
    assert_refused(capsys, r"anomaly_score_ToyTest_id_01\.csv: (missing or )?damaged|no score of",
                   "03_tflite_test.py", "-d", "-c", folder / "test.yaml")  # fmt: skip


def test_nothing_is_trained_where_a_later_type_would_stop(data, capsys):
    make_data(data, "ToyZebra")
    (data / "model").mkdir()
    (data / "model/model_ToyZebra.h5").write_bytes(b"published")
    assert_refused(capsys, r"model_ToyZebra\.h5: a published model", "00_train.py", "-d", "-c",
                   data / "test.yaml")  # fmt: skip
    assert listing(data / "model") == ["model_ToyZebra.h5"]


def test_a_damaged_tflite_file_is_named(story, tmp_path, capsys):
    folder = copy_of(story, tmp_path)
    path = folder / "model/model_ToyTest_quant.tflite"
    path.write_bytes(path.read_bytes()[:-100])
    config = folder / "test.yaml"
    assert_refused(capsys, r"model_ToyTest_quant\.tflite: damaged", "03_tflite_test.py", "-d",
                   "-c", config)  # fmt: skip
    path.unlink()
    assert_refused(capsys, r"model_ToyTest_quant\.tflite: no such file; run 02_convert\.py",
                   "03_tflite_test.py", "-d", "-c", config)  # fmt: skip


def test_a_result_folder_that_cannot_be_written(data, capsys):
    """A file in its place: unlike permissions this also stops an administrator."""
    (data / "result").write_text("in the way")
    make_model(data)
    assert_refused(capsys, "result.*a file stands where a folder is needed",
                   "01_test.py", "-d", "-c", data / "test.yaml")  # fmt: skip
    assert (data / "result").read_text() == "in the way"


def make_model(folder):
    keras_model.start_tensorflow(0)
    (folder / "model").mkdir(exist_ok=True)
    keras_model.build(640, UNITS).save(folder / "model/model_ToyTest.keras")


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 1 MB, where this user may mount one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("mounting a small file system needs administrator rights")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def test_a_full_disk_is_one_line_and_loses_nothing(data, small_disk):
    config = write_config(data, model_directory=str(small_disk), fit={"epochs": 1, "verbose": 0})
    done = run_script("00_train.py", "-d", "-c", config)
    assert done.returncode == 1
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert re.search(r"model_ToyTest\.keras: .*(No space left|errno = 28)", errors[0])
    assert "Traceback" not in done.stderr
    assert listing(small_disk) == []


def test_a_read_only_result_folder_is_told_before_any_work(data, small_disk):
    make_model(data)
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    config = write_config(data, result_directory=str(small_disk / "result"))
    done = run_script("01_test.py", "-d", "-c", config)
    assert_one_line(done, "Read-only file system; name another folder")
    assert not (data / "features").exists()


# Interrupts


def interrupt(command, until, folder):
    """Start a script, send Ctrl-C to its process group when `until` is true; return it ended."""
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    deadline = time.monotonic() + 180
    while not until() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    assert process.poll() is None, process.communicate()
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, (process.returncode, out, err)
    assert "Traceback" not in err, err
    assert "interrupted" in err
    for path in folder.rglob(".*"):
        raise AssertionError(f"{path} is left")
    return out + err


@pytest.mark.parametrize("moment", ["features", "tensorflow", "training"])
def test_an_interrupt_leaves_nothing_half_written(tmp_path, moment):
    make_data(tmp_path, n_train=12 if moment != "features" else 600)
    config = write_config(tmp_path, fit={"epochs": 100000, "verbose": 0})
    features = tmp_path / "features"

    def until():
        stores = list(features.glob("*"))
        if moment == "features":
            return any(path.name.startswith(".") for path in stores)
        return any(path.suffix == ".json" for path in stores)

    def later():
        if until():
            time.sleep(0.5 if moment == "tensorflow" else 8)
            return True
        return False

    command = [sys.executable, str(ROOT / "00_train.py"), "-d", "-c", str(config)]
    interrupt(command, until if moment == "features" else later, tmp_path)
    assert not (tmp_path / "model/model_ToyTest.keras").exists()
    if moment != "features":
        assert len(listing(features)) == 2


@pytest.mark.parametrize("name", SCRIPTS)
def test_an_interrupt_of_the_imports_is_quiet(tmp_path, name):
    """From the script's first lines on; before, there is only Python's own start."""
    ready = "import signal, os, sys; signal.signal = lambda *a: (_s(*a), os.kill(os.getpid(), 2))"
    (tmp_path / "sitecustomize.py").write_text(f"import signal; _s = signal.signal\n{ready}\n")
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    done = run_script(name, "-d", env=environment)
    assert (done.returncode, done.stderr) == (130, "")
