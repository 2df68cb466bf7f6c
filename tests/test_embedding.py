"""The embedding detector: one network for all machine types, trained, resumed, scored with."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import soundfile
from conftest import SAMPLE_RATE, call, write_clip, write_config

from asd import config, files
from asd.clips import Clip
from asd.detectors import kinds
from asd.features import segments
from asd.features.segments import Segments
from asd.paths import Paths
from common import UserError

SECONDS = 1.0
# Small, for what any network does; the large one's is looked at once.
NETWORK = {"kind": "student", "frames": 16, "step": 16, "channels": [8, 8], "steps": [1, 2],
           "size": 8}  # fmt: skip
LARGE = {"kind": "multiresnet", "width": 8, "n_ffts": [256], "fft": False, "range_hz": [0, 8000]}
DETECTOR = {
    "kind": "embedding", "seconds": SECONDS, "network": NETWORK,
    "tasks": [{"kind": "classes", "of": ["machine", "section", "attributes", "domain"],
               "loss": {"kind": "scadacos", "sub_clusters": 2, "scale": "fixed",
                        "centres": "trained"}}],
    "augment": [{"kind": "mixup", "probability": 0.5, "partners": "any"}],
    "optimiser": {"learning_rate": 0.001, "weight_decay": 0.01, "warm_up_steps": 2},
    "backend": {"kind": "knn", "distance": "cosine", "neighbours": 1},
}  # fmt: skip
FIT = {"epochs": 3, "batch_size": 5, "verbose": 0}


def year_2023(folder):
    """Two machine types of two attributes each, of development and of evaluation data."""
    for mode, types in (("dev", ("fan", "valve")), ("eval", ("bandsaw", "grinder"))):
        for k, machine_type in enumerate(types):
            of_type = folder / f"{mode}_data" / machine_type
            for i in range(6):
                domain, speed = ("source", "target")[i % 3 == 2], i % 2
                name = f"section_00_{domain}_train_normal_000{i}_vel_{speed}.wav"
                tone = 0.1 + 0.2 * speed
                write_clip(of_type / "train" / name, 100 * k + i, tone, n_samples=20000)
            for i, label in enumerate(("normal", "anomaly") * 4):
                domain = ("source", "target")[i // 4]
                name = f"section_00_{domain}_test_{label}_000{i}_vel_0.wav"
                write_clip(of_type / "test" / name, 200 * k + i, 0.1 + 0.3 * (i % 2),
                           n_samples=9000)  # fmt: skip
    return folder


def written(folder, fit=None, **changed):
    return write_config(folder, corpus="dcase2023", feature={"central_frames": None},
                        detector=DETECTOR | changed, fit=FIT | (fit or {}))  # fmt: skip


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder in which 00 and 01 have run; not to be changed."""
    folder = year_2023(tmp_path_factory.mktemp("embedding"))
    cfg = written(folder)
    for name in ("00_train.py", "01_test.py"):
        assert call(name, "-d", "-c", cfg) == 0
    return folder


def copy_of(folder, tmp_path, **changed):
    target = tmp_path / "copy"
    shutil.copytree(folder, target)
    return target, written(target, **changed)


def weights_of(path):
    import keras

    from asd.networks import layers, spectra  # noqa: F401 - which Keras then knows

    return keras.models.load_model(path, compile=False).get_weights()


def test_the_scripts(trained):
    model = trained / "model"
    assert (model / "model_all.keras").exists() and not (model / "checkpoint_all.npz").exists()
    record = files.read_json(model / "model_all.json")
    assert record["clips"]["count"] == 12 and record["loss"] > 0
    losses = [float(row[1]) for row in files.read_csv(model / "history_all.csv")[1:]]
    assert len(losses) == 3 and np.isfinite(losses).all()
    for machine_type in ("fan", "valve"):
        with np.load(model / f"model_{machine_type}.npz") as arrays:
            assert arrays["embeddings"].shape == (6, 8)
        assert len(files.read_csv(trained / f"result/anomaly_score_{machine_type}_id_00.csv")) == 8
    assert (trained / "result/official.csv").exists()
    assert (trained / "result/decisions.csv").exists()


def test_a_second_run_trains_nothing(trained, tmp_path, capsys):
    _, cfg = copy_of(trained, tmp_path)
    assert call("00_train.py", "-d", "-c", cfg) == 0
    out = capsys.readouterr().out
    assert out.count("already trained on these clips with this configuration; kept") == 3


def test_a_changed_back_end_trains_nothing(trained, tmp_path, capsys):
    _, cfg = copy_of(trained, tmp_path, backend={"kind": "mahalanobis"})
    assert call("00_train.py", "-d", "-c", cfg) == 0
    assert capsys.readouterr().out.count("; kept") == 3
    assert call("01_test.py", "-d", "-c", cfg) == 0


@pytest.mark.parametrize(("changed", "named"), [
    ({"network": NETWORK | {"size": 16}}, "detector.network.size"),
    ({"seconds": 0.9}, "detector.seconds"),
    ({"optimiser": DETECTOR["optimiser"] | {"learning_rate": 0.1}}, "optimiser.learning_rate"),
])  # fmt: skip
def test_another_network_is_not_taken_for_it(trained, tmp_path, capsys, changed, named):
    _, cfg = copy_of(trained, tmp_path, **changed)
    assert call("00_train.py", "-d", "-c", cfg) == 1
    assert named in capsys.readouterr().err


def test_resumed_training_equals_uninterrupted_training(trained, tmp_path, monkeypatch, capsys):
    """Interrupted after the second of three epochs: the same weights, bit for bit."""
    from asd.discriminative import Learner

    folder, cfg = copy_of(trained, tmp_path)
    for path in (folder / "model").iterdir():
        path.unlink()
    save = Learner.save

    def interrupted(learner, path, history, fingerprint):
        save(learner, path, history, fingerprint)
        if len(history) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(Learner, "save", interrupted)
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        assert call("00_train.py", "-d", "-c", cfg) not in (0, 1)
        raise SystemExit
    monkeypatch.undo()
    assert (folder / "model/checkpoint_all.npz").exists()
    assert not (folder / "model/model_all.keras").exists()
    epochs = []
    one_epoch = Learner.epoch
    monkeypatch.setattr(Learner, "epoch",
                        lambda self, *a: epochs.append(a[1]) or one_epoch(self, *a))  # fmt: skip
    assert call("00_train.py", "-d", "-c", cfg) == 0
    assert epochs == [3]
    ours, theirs = (weights_of(one / "model/model_all.keras") for one in (folder, trained))
    assert all(np.array_equal(a, b) for a, b in zip(ours, theirs, strict=True))
    for name in ("history_all.csv", "normal_score_fan.csv"):
        assert (folder / "model" / name).read_bytes() == (trained / "model" / name).read_bytes()


def test_a_checkpoint_of_another_training_is_told_and_passed_over(trained, tmp_path, capsys):
    for content in (b"nonsense", None):
        folder, cfg = copy_of(trained, tmp_path / str(content is None))
        (folder / "model/model_all.keras").unlink()
        checkpoint = folder / "model/checkpoint_all.npz"
        if content:
            checkpoint.write_bytes(content)
        else:
            np.savez(checkpoint, fingerprint=np.array("another"), losses=np.array([1.0]))
        assert call("00_train.py", "-d", "-c", cfg, "--overwrite") == 0
        assert "not gone on from" in capsys.readouterr().out
        ours, theirs = (weights_of(one / "model/model_all.keras") for one in (folder, trained))
        assert all(np.array_equal(a, b) for a, b in zip(ours, theirs, strict=True))


def test_a_network_for_each_machine_type_hears_no_other(trained, tmp_path, capsys):
    """Its weights are those of a training on that machine type alone, bit for bit."""
    folder, cfg = copy_of(trained, tmp_path, scope="machine")
    model = folder / "model"
    shutil.rmtree(model)
    for name in ("00_train.py", "01_test.py"):
        assert call(name, "-d", "-c", cfg) == 0
    both = weights_of(model / "model_fan_network.keras")
    assert not (model / "model_all.keras").exists()
    assert files.read_json(model / "model_valve_network.json")["clips"]["count"] == 6
    assert {row[0] for row in files.read_csv(folder / "result/metrics.csv")[1:]} == {"fan", "valve"}
    assert "valve_network: 6 clips" in capsys.readouterr().out
    shutil.rmtree(model)
    shutil.rmtree(folder / "dev_data/valve")
    assert call("00_train.py", "-d", "-c", cfg) == 0
    alone = weights_of(model / "model_fan_network.keras")
    assert all(np.array_equal(a, b) for a, b in zip(both, alone, strict=True))


def test_one_network_learns_from_both_data_and_serves_both(trained, tmp_path, capsys):
    how = {"learn_from": "both", "network": LARGE}
    folder, cfg = copy_of(trained, tmp_path, fit={"epochs": 1}, **how)
    shutil.rmtree(folder / "model")
    assert call("00_train.py", "-d", "-c", cfg) == 0
    assert "all: 24 clips of 4 machine types" in capsys.readouterr().out
    assert call("00_train.py", "-e", "-c", cfg) == 0
    assert "all: already trained" in capsys.readouterr().out
    assert call("01_test.py", "-e", "-c", cfg) == 0
    assert not (folder / "model/eval/model_all.keras").exists()
    assert (folder / "model/eval/model_grinder.npz").exists()


# Classes and waves


def clip(machine_type, section, domain, attributes):
    return Clip(None, machine_type, section, "train", 0, domain, attributes)


def test_classes_are_of_what_is_asked_for():
    clips = [clip("fan", "00", "source", "a_1"), clip("fan", "00", "target", "a_1"),
             clip("fan", "01", "source", "a_2"), clip("pump", "00", "source", "a_1")]  # fmt: skip
    named = segments.classes(clips, ["machine", "section", "attributes", "domain"])
    assert named.names == ("fan---0---a_1---0", "fan---0---a_1---1", "fan---1---a_2---0",
                           "pump---0---a_1---0")  # fmt: skip
    assert named.of_clips.tolist() == [0, 1, 2, 3]
    assert segments.classes(clips, ["machine"]).of_clips.tolist() == [0, 0, 0, 1]
    others = [clip("gearbox", "00", "source", ""), clip("fan", "00", "source", "")]
    wider = segments.classes(clips, ["machine"], others)
    assert wider.names == ("fan", "gearbox", "pump") and wider.of_clips.tolist() == [0, 0, 0, 2]


def test_names_of_test_clips_tell_of_classes_where_that_is_faithful(tmp_path, capsys):
    """Two speeds of two domains of two machine types; one more speed in a test clip's name."""
    folder = year_2023(tmp_path)
    name = "section_00_source_test_anomaly_0009_vel_7.wav"
    write_clip(folder / "dev_data/fan/test" / name, 7, 0.1, n_samples=9000)
    for faithful, count in ((False, 8), (True, 9)):
        tasks = [DETECTOR["tasks"][0] | {"faithful": faithful}]
        cfg = written(folder, fit={"epochs": 1}, tasks=tasks)
        assert call("00_train.py", "-d", "--overwrite", "-c", cfg) == 0
        assert f"{count} classes by machine" in capsys.readouterr().out


def stores_of(folder, **changed):
    from asd import store
    from asd.corpora.survey import survey

    cfg = config.load_config(written(folder, **changed))
    paths = Paths(cfg, "dev")
    detector = kinds.of(cfg, paths)
    sets = survey(paths, ["fan", "valve"], "train", skip_bad_clips=False)
    rows = detector.network.rows
    return tuple(store.load(paths, one, rows, False, False) for one in sets)


def test_waves_are_the_samples_of_the_files(trained, tmp_path):
    folder, _ = copy_of(trained, tmp_path)
    stores = stores_of(folder)
    there = Segments(stores, int(SECONDS * SAMPLE_RATE))
    assert len(there) == 12
    for i in (0, 5, 6, 11):
        samples = soundfile.read(there.clips[i].path, dtype="float32")[0]
        np.testing.assert_array_equal(there.wave(i), samples[:16000])
    long = Segments(stores, 50000)
    samples = soundfile.read(there.clips[7].path, dtype="float32")[0]
    np.testing.assert_array_equal(long.wave(7), np.tile(samples, 3)[:50000])


def test_batches_are_every_clip_once_and_the_same_for_a_seed(trained, tmp_path):
    folder, _ = copy_of(trained, tmp_path)
    there = Segments(stores_of(folder), 8000)
    order = np.random.default_rng(0).permutation(12)
    first, again, other = (list(there.batches(order, 5, seed)) for seed in ([1, 1], [1, 1], [1, 2]))
    assert [len(some) for some, _ in first] == [5, 5, 2]
    np.testing.assert_array_equal(np.concatenate([some for some, _ in first]), order)
    for one, two in zip(first, again, strict=True):
        np.testing.assert_array_equal(one[1], two[1])
    assert not np.array_equal(first[0][1], other[0][1])  # cut elsewhere


# What goes wrong


def test_a_single_class_is_one_line(trained, tmp_path, capsys):
    tasks = [DETECTOR["tasks"][0] | {"of": ["section"]}]
    _, cfg = copy_of(trained, tmp_path, tasks=tasks)
    assert call("00_train.py", "-d", "-c", cfg, "--overwrite") == 1
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert "detector.tasks[0].of: all training clips are of the one class 0" in line


def test_batches_of_one_clip_are_refused(trained, tmp_path, capsys):
    _, cfg = copy_of(trained, tmp_path, fit={"batch_size": 1})
    assert call("00_train.py", "-d", "-c", cfg, "--overwrite") == 1
    assert "fit.batch_size 1: batch normalisation needs two clips" in capsys.readouterr().err


def test_without_a_network_the_training_is_named(trained, tmp_path, capsys):
    folder, cfg = copy_of(trained, tmp_path)
    (folder / "model/model_all.keras").unlink()
    assert call("01_test.py", "-d", "-c", cfg) == 1
    assert "no model for all; train it: ./train.sh" in capsys.readouterr().err


@pytest.mark.parametrize(("changed", "named"), [
    ({"network": {"kind": "none"}}, "detector.network.kind"),
    ({"tasks": [{"kind": "classes", "of": ["colour"], "loss": {"kind": "adacos"}}]}, "of"),
    ({"augment": [{"kind": "mixup", "probability": 2, "partners": "any"}]}, "probability"),
])  # fmt: skip
def test_wrong_keys_are_named_before_anything_is_computed(tmp_path, changed, named):
    cfg = config.load_config(written(tmp_path, **changed))
    with pytest.raises(UserError, match=named):
        kinds.of(cfg, Paths(cfg, "dev"))
