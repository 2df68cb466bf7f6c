"""The scripts among other programs' settings, beside other runs, with files of other people."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import keras
import librosa
import numpy as np
import pytest
from conftest import ROOT, SCRIPTS, call, make_data, run_script, write_clip, write_config

import keras_model
from asd import config, files, training
from asd.detectors.autoencoder import AutoEncoder
from asd.paths import Paths
from asd.tflite import litert, reader
from asd.tflite.convert import VARIANTS
from common import UserError

# Scores and neighbours


def twins(folder):
    """Test clips of which many are the same recording, among others, normal and anomalous."""
    test = folder / "dev_data/ToyTest/test"
    shutil.rmtree(test)
    for i in range(12):
        write_clip(test / f"normal_id_01_{i:08}.wav", 1 if i % 3 == 0 else 10 + i)
        write_clip(test / f"anomaly_id_01_{i:08}.wav", 1 if i % 4 else 50 + i)
    for i in range(7):
        write_clip(test / f"normal_id_02_{i:08}.wav", 1)
        write_clip(test / f"anomaly_id_02_{i:08}.wav", 1)


def test_equal_clips_have_equal_scores_whatever_stands_beside_them(data):
    twins(data)
    for name in SCRIPTS:
        assert call(name, "-d", "-c", data / "test.yaml", "--boards", "none") == 0
    for variant in (None, *(variant.suffix for variant in VARIANTS)):
        prefix = "" if variant is None else f"tflite{variant}_"
        result = data / "result"
        scores = {}
        for machine_id in ("01", "02"):
            rows = files.read_csv(result / f"{prefix}anomaly_score_ToyTest_id_{machine_id}.csv")
            for name, score in rows:
                content = (data / "dev_data/ToyTest/test" / name).read_bytes()
                scores.setdefault(content, set()).add(score)
        assert all(len(of_one) == 1 for of_one in scores.values()), variant
        assert len({*scores}) == len({s for of_one in scores.values() for s in of_one}) == 12
        rows = files.read_csv(result / f"{prefix}result.csv")
        aucs = {row[0]: row[1] for row in rows if len(row) == 3}
        assert aucs["02"] == "0.5", variant


def test_equal_embeddings_have_equal_scores(data):
    twins(data)
    backend = {"kind": "knn", "distance": "cosine", "neighbours": 1}
    write_config(data, detector={"kind": "frozen", "backend": backend})
    for name in SCRIPTS[:2]:
        assert call(name, "-d", "-c", data / "test.yaml") == 0
    rows = files.read_csv(data / "result/anomaly_score_ToyTest_id_02.csv")
    assert len({score for _, score in rows}) == 1


def test_what_share_of_the_clips_is_used_is_said(data, capsys):
    for name in SCRIPTS[:2]:
        assert call(name, "-d", "-c", data / "test.yaml") == 0
        assert "85% of the clips' length is used, frames 4 to 44" in capsys.readouterr().out


def test_empty_mel_bands_are_one_line(data, capsys):
    write_config(data, feature={"n_mels": 128, "n_fft": 256, "hop_length": 512})
    assert call("00_train.py", "-d", "-c", data / "test.yaml") == 0
    told = [line for line in capsys.readouterr().out.splitlines() if "mel bands" in line]
    assert len(told) == 1
    with pytest.warns(UserWarning, match="Empty filters"):
        empty = np.sum(~librosa.filters.mel(sr=16000, n_fft=256, n_mels=128).any(axis=1))
    assert told[0].startswith(f"warning: {empty} of 128 mel bands are between the bins")


# The user's environment


@pytest.fixture
def odd_home(tmp_path):
    """A home folder with the settings of other programs."""
    home = tmp_path / "home"
    (home / ".keras").mkdir(parents=True)
    (home / ".keras/keras.json").write_text(
        '{"backend": "jax", "floatx": "float12", "epsilon": "x", "nnx_enabled": true, '
        '"image_data_format": "channels_first"}'
    )
    (home / ".config/matplotlib").mkdir(parents=True)
    (home / ".config/matplotlib/matplotlibrc").write_text("backend: nonsense\nfont.size: 90\n")
    return home


@pytest.fixture(scope="module")
def usual(tmp_path_factory):
    """A folder in which 00 and 01 have run with this machine's settings."""
    folder = make_data(tmp_path_factory.mktemp("usual"))
    for name in SCRIPTS[:2]:
        done = run_script(name, "-d", "-c", write_config(folder))
        assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.parametrize("backend", ["jax", "torch", "nonsense", None])
def test_other_programs_settings_change_nothing(data, usual, odd_home, backend):
    environment = dict(
        os.environ,
        HOME=str(odd_home),
        MPLBACKEND="module://matplotlib_inline.x",
        TF_USE_LEGACY_KERAS="1",
        KERAS_NNX_ENABLED="true",
        KERAS_MAX_EPOCHS="x",
    )
    environment.pop("XDG_CONFIG_HOME", None)
    environment.pop("KERAS_BACKEND", None)
    for name in SCRIPTS[:2]:
        own = environment | ({"KERAS_BACKEND": backend} if backend else {})
        done = run_script(name, "-d", "-c", write_config(data), env=own)
        assert done.returncode == 0, done.stderr
    for name in ("model/history_ToyTest.csv", "result/anomaly_score_ToyTest_id_01.csv",
                 "result/roc_ToyTest.png"):  # fmt: skip
        assert (data / name).read_bytes() == (usual / name).read_bytes(), name


# Two runs at once, and runs that were killed


def start(*argv, **kwargs):
    command = [sys.executable, *map(str, argv)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                            **kwargs)  # fmt: skip


def wait_for(pattern, folder, process):
    """Until a file of the pattern is there."""
    deadline = time.monotonic() + 120
    while not list(folder.glob(pattern)) and process.poll() is None:
        assert time.monotonic() < deadline, f"no {pattern} in {folder}"
        time.sleep(0.02)


def test_a_training_goes_on_while_another_run_replaces_its_store(data, tmp_path):
    """The second run sees other clips of the same folder, and so another store in its place."""
    config_a = write_config(data, fit={"epochs": 60})
    alone = make_data(tmp_path / "alone")
    assert run_script("00_train.py", "-d", "-c", write_config(alone, fit={"epochs": 60})
                      ).returncode == 0  # fmt: skip
    first = start(ROOT / "00_train.py", "-d", "-c", config_a)
    wait_for("*.json", data / "features", first)
    (before,) = (data / "features").glob("*.f32")
    write_clip(data / "dev_data/ToyTest/train/normal_id_01_00000000.wav", seed=77)
    config_b = data / "b.yaml"
    config_b.write_text(config_a.read_text() + "experiment: b\n")
    second = run_script("00_train.py", "-d", "-c", config_b)
    assert second.returncode == 0, second.stderr
    assert not before.exists(), "the second run has not replaced the first one's store"
    out, _ = first.communicate(timeout=900)
    assert first.returncode == 0, out
    history = "model/history_ToyTest.csv"
    assert (data / history).read_bytes() == (alone / history).read_bytes()


def test_two_trainings_of_one_model_at_once(data, story):
    """Both end well, and what they leave is one whole model with its record."""
    path = write_config(data, fit={"epochs": 12})
    both = [start(ROOT / "00_train.py", "-d", "-c", path) for _ in range(2)]
    for process in both:
        out, _ = process.communicate(timeout=900)
        assert process.returncode == 0, out
    history = "model/history_ToyTest.csv"
    assert (data / history).read_bytes() == (story / history).read_bytes()
    assert call("01_test.py", "-d", "-c", path) == 0
    assert not list(data.rglob(".asd-*"))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_leaves_nothing_half_written(data, number):
    path = write_config(data, fit={"epochs": 100_000})

    def as_in_a_terminal():  # with nohup the signal is inherited as ignored
        signal.signal(number, signal.SIG_DFL)

    process = start(ROOT / "00_train.py", "-d", "-c", path, preexec_fn=as_in_a_terminal)
    try:
        wait_for("*.json", data / "features", process)
        process.send_signal(number)
        out, _ = process.communicate(timeout=300)
    finally:
        process.kill()
    assert process.returncode == 128 + number, out
    assert "interrupted; what was finished is kept" in out
    assert not list(data.rglob(".asd-*"))


WRITER = """
import sys, time
from pathlib import Path
from asd import files
with files.whole_file(Path(sys.argv[1])) as temporary:
    temporary.write_text("half")
    print("writing", flush=True)
    time.sleep(1000)
"""


def test_what_killed_runs_left_is_swept_and_what_others_write_is_not(tmp_path):
    writers = [start("-c", WRITER, tmp_path / name, cwd=ROOT) for name in ("dead.csv", "alive.csv")]
    try:
        for process in writers:
            assert process.stdout.readline() == "writing\n"
        writers[0].kill()
        writers[0].wait()
        assert len(list(tmp_path.glob(".asd-*"))) == 2
        files.sweep.cache_clear()
        files.write_csv(tmp_path / "new.csv", [["a"]])
        (left,) = tmp_path.glob(".asd-*/*")
        assert left.name == "alive.csv"
        assert sorted(path.name for path in tmp_path.glob("*.csv")) == ["new.csv"]
    finally:
        for process in writers:
            process.kill()
            process.wait()


def test_a_model_that_is_not_its_records_is_refused(story, tmp_path, capsys):
    folder = tmp_path / "copy"
    shutil.copytree(story, folder)
    path = write_config(folder, fit={"epochs": 12})
    model = folder / "model/model_ToyTest.keras"
    content = model.read_bytes()
    model.write_bytes(content + b"\0")
    for name in SCRIPTS[:3]:
        assert call(name, "-d", "-c", path) == 1
        assert "not the model that model_ToyTest.json describes" in capsys.readouterr().err


# Names and faults


def test_names_that_are_not_utf8(data, tmp_path):
    name = os.fsdecode(b"ger\xe4t")
    folder = Path(os.fsdecode(os.fsencode(data / "dev_data")), name)
    shutil.copytree(data / "dev_data/ToyTest", folder)
    for script in SCRIPTS:
        done = run_script(script, "-d", "-c", data / "test.yaml", "--boards", "none",
                          env=dict(os.environ, PYTHONIOENCODING="ascii"))  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert "Traceback" not in done.stderr
    assert (data / "result" / f"anomaly_score_{name}_id_01.csv").exists()


def test_a_fault_of_the_program_is_not_told_as_the_users(data, monkeypatch):
    """A training step that fails by itself says so, with its traceback."""
    model = keras_model.build(640, (4,))

    def broken(self, *args, **kwargs):
        raise ValueError("a fault of the program")

    monkeypatch.setattr(keras.optimizers.SGD, "apply_gradients", broken)
    settings = config.load_config().fit
    compiled = type(settings.compile)(optimizer="sgd", loss="mean_squared_error")
    settings = type(settings)(**{f: getattr(settings, f) for f in settings.__struct_fields__}
                              | {"compile": compiled, "epochs": 1})  # fmt: skip
    from conftest import frames_of

    from asd.features.windows import split

    with pytest.raises(ValueError, match="a fault of the program"):
        training.fit(model, *split(frames_of(data), 5, settings, 0), settings, 0)


# Models of other people


def published(folder, name="model_ToyTest_fp32.tflite"):
    """Take the trained model away, and put its float TFLite file in its place."""
    content = (folder / "model/model_ToyTest.tflite").read_bytes()
    shutil.rmtree(folder / "model")
    (folder / "model").mkdir()
    (folder / "model" / name).write_bytes(content)
    return content


def test_a_float_tflite_file_is_a_model(story, tmp_path, capsys):
    folder = tmp_path / "copy"
    shutil.copytree(story, folder)
    path = write_config(folder, fit={"epochs": 12})
    content = published(folder)
    shutil.rmtree(folder / "result")
    for name in SCRIPTS[1:]:
        assert call(name, "-d", "-c", path, "--boards", "none") == 0
    assert "PARITY KEPT in all 10 comparisons" in capsys.readouterr().out
    scores = "result/anomaly_score_ToyTest_id_01.csv"
    ours, keras_scores = (dict(files.read_csv(f / scores)) for f in (folder, story))
    for clip, score in ours.items():
        assert float(score) == pytest.approx(float(keras_scores[clip]), rel=1e-5)
    again = (folder / "model/model_ToyTest.tflite").read_bytes()
    windows = np.random.default_rng(0).normal(-30, 10, (50, 640)).astype(np.float32)
    np.testing.assert_array_equal(litert.predictor(again)(windows),
                                  litert.predictor(content)(windows))  # fmt: skip
    assert call("00_train.py", "-d", "-c", path) == 1
    assert "a published model is in the place of" in capsys.readouterr().err


def test_an_int8_file_is_no_model_to_begin_with(story, tmp_path, capsys):
    folder = tmp_path / "copy"
    shutil.copytree(story, folder)
    path = write_config(folder)
    int8 = (folder / "model/model_ToyTest_quant_fullint_micro_intio.tflite").read_bytes()
    published(folder)
    (folder / "model/model_ToyTest_fp32.tflite").write_bytes(int8)
    assert call("01_test.py", "-d", "-c", path) == 1
    line = capsys.readouterr().err
    assert "model_ToyTest_fp32.tflite: operator 0, FULLY_CONNECTED: its input is INT8" in line


def test_a_published_model_is_converted_without_training_clips(story, tmp_path, capsys):
    folder = tmp_path / "copy"
    shutil.copytree(story, folder)
    path = write_config(folder, fit={"epochs": 12})
    published(folder)
    shutil.rmtree(folder / "dev_data/ToyTest/train")
    for name in SCRIPTS[1:]:
        assert call(name, "-d", "-c", path, "--boards", "none") == 0
    out = capsys.readouterr().out
    assert f"put some into {folder}/dev_data/ToyTest/train and run again" in out
    assert "PARITY KEPT in all 4 comparisons" in out
    made = sorted(path.name for path in (folder / "model").glob("*.tflite"))
    assert made == [
        "model_ToyTest.tflite",
        "model_ToyTest_fp32.tflite",
        "model_ToyTest_quant.tflite",
    ]


def test_only_the_listed_clips_calibrate(story, tmp_path, capsys):
    folder = tmp_path / "copy"
    shutil.copytree(story, folder)
    names = [f"dev_data/ToyTest/train/normal_id_01_{i:08}.wav" for i in (1, 3, 99)]
    (folder / "list.txt").write_text("\n".join(names))
    convert = {"calibration_list": str(folder / "list.txt")}
    path = write_config(folder, fit={"epochs": 12}, convert=convert)
    assert call("02_convert.py", "-d", "-c", path) == 0
    record = files.read_json(folder / "model/model_ToyTest_quant_fullint_micro_intio.tflite.json")
    assert (record["calibration"]["clips"], record["calibration"]["windows"]) == (2, 2 * 36)
    # The same as if the others were not there.
    for clip in (folder / "dev_data/ToyTest/train").iterdir():
        if clip.name not in {name.rpartition("/")[2] for name in names}:
            clip.unlink()
    ours = (folder / "model/model_ToyTest_quant_fullint.tflite").read_bytes()
    path = write_config(folder, fit={"epochs": 12})
    assert call("02_convert.py", "-d", "-c", path) == 0
    assert (folder / "model/model_ToyTest_quant_fullint.tflite").read_bytes() == ours
    for content, expected in (("a.wav", "none of its clips is among"), (None, "no such list")):
        (folder / "list.txt").unlink()
        if content:
            (folder / "list.txt").write_text(content)
        path = write_config(folder, fit={"epochs": 12}, convert=convert)
        assert call("02_convert.py", "-d", "-c", path) == 1
        assert expected in capsys.readouterr().err
        (folder / "list.txt").touch()


def test_a_model_that_is_replaced_while_it_scores_is_noticed(story, tmp_path, monkeypatch):
    """The scores are recorded as those of the model that was loaded."""
    folder = tmp_path / "copy"
    shutil.copytree(story, folder)
    path = write_config(folder, fit={"epochs": 12})
    model = folder / "model/model_ToyTest.keras"
    kept = AutoEncoder.score

    def replaced(self, test):
        model.write_bytes(model.read_bytes() + b"another")
        return kept(self, test)

    monkeypatch.setattr(AutoEncoder, "score", replaced)
    assert call("01_test.py", "-d", "-c", path) == 0
    paths = Paths(config.load_config(path), "dev")
    source = files.read_json(paths.scores_source("ToyTest"))
    assert source["sha256"] == files.file_hash(story / "model/model_ToyTest.keras")


def test_int8_files_of_another_model_go_where_they_cannot_be_made_anew(story, tmp_path, capsys):
    folder = tmp_path / "copy"
    shutil.copytree(story, folder)
    path = write_config(folder)
    (folder / "model/model_ToyTest.keras").unlink()
    keras_model.build(640, (4,)).save(folder / "model/model_ToyTest.h5")
    for clip in (folder / "dev_data/ToyTest/train").iterdir():
        clip.unlink()
    for name in SCRIPTS[1:]:
        assert call(name, "-d", "-c", path, "--boards", "none") == 0
    out = capsys.readouterr().out
    assert "model_ToyTest_quant_fullint.tflite: removed, it was made from another model" in out
    assert "PARITY KEPT in all 4 comparisons" in out


def quantised(*argv):
    command = [sys.executable, "-m", "asd.tflite.quantise", *map(str, argv)]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT)


def test_a_float_file_is_quantised_without_the_scripts(story, tmp_path):
    float_file, out = story / "model/model_ToyTest.tflite", tmp_path / "int8.tflite"
    train = story / "dev_data/ToyTest/train"
    done = quantised(float_file, out, "--calibrate", train, "-c", story / "test.yaml")
    assert done.returncode == 0, done.stderr
    theirs = (story / "model/model_ToyTest_quant_fullint_micro_intio.tflite").read_bytes()
    ours, expected = (reader.describe(content) for content in (out.read_bytes(), theirs))
    for end in ("inputs", "outputs"):
        assert ours[end][0]["zero_point"] == expected[end][0]["zero_point"]
        assert ours[end][0]["scale"] == pytest.approx(expected[end][0]["scale"], rel=1e-4)
    # The same sounds as spectrograms give the same file.
    spectrograms = tmp_path / "spectrograms"
    spectrograms.mkdir()
    from conftest import frames_of

    store = frames_of(story)
    for clip, frames in zip(store.clips, store, strict=True):
        frames.tofile(spectrograms / f"{clip.path.stem}.bin")
    again = tmp_path / "again.tflite"
    done = quantised(float_file, again, "--calibrate", spectrograms, "-c", story / "test.yaml")
    assert done.returncode == 0, done.stderr
    assert again.read_bytes() == out.read_bytes()


def test_what_cannot_be_quantised_is_one_line(story, tmp_path):
    float_file, out = story / "model/model_ToyTest.tflite", tmp_path / "int8.tflite"
    train, path = story / "dev_data/ToyTest/train", story / "test.yaml"
    mixed = tmp_path / "mixed"
    mixed.mkdir()
    (mixed / "a.bin").write_bytes(bytes(2560 * 4))
    write_clip(mixed / "b.wav")
    odd = tmp_path / "odd"
    odd.mkdir()
    (odd / "a.bin").write_bytes(bytes(100))
    int8 = story / "model/model_ToyTest_quant_fullint_micro_intio.tflite"
    for argv, expected in (
        ((float_file, out, "--calibrate", tmp_path / "nowhere"), "no such folder"),
        ((float_file, out, "--calibrate", story), "neither a .wav nor a .bin file"),
        ((float_file, out, "--calibrate", mixed), "holds .wav and .bin files"),
        ((float_file, out, "--calibrate", odd), "a.bin: 100 bytes are no 5 or more frames"),
        ((int8, out, "--calibrate", train), "its input is INT8"),
        ((path, out, "--calibrate", train), "not a TFLite file"),
    ):
        done = quantised(*argv, "-c", path)
        assert done.returncode == 1
        assert expected in done.stderr
        assert len(done.stderr.splitlines()) == 1
        assert not out.exists()


def test_a_loss_that_does_not_fit_is_the_users(data):
    model = keras_model.build(640, (4,))
    settings = config.load_config().fit.compile
    names = type(settings)(optimizer="adam", loss="sparse_categorical_crossentropy")
    with pytest.raises(UserError, match=r"key fit\.compile\.loss: does not fit the model"):
        training._compiled(names, model)
