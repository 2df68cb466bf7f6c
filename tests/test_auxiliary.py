"""The auxiliary detector: sections told apart, with outliers and two domains, by 00 and 01."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from conftest import call, write_clip, write_config

from asd import auxiliary, files

TYPES = ("fan", "valve")
TONES = {"00": 0.05, "01": 0.5, "03": 0.2}
DETECTOR = {
    "kind": "auxiliary", "network": {"kind": "cpresnet", "rho": [3, 2], "channels": 4, "blocks": 1},
    "seconds": 0.5, "hop_seconds": 0.5, "unit_rms": False, "normalisation": "batchnorm",
    "task": "sections", "outliers": {"of": "other_machines", "weight": 0.5}, "mixing": True,
    "alignment": None,
    "optimiser": {"learning_rate": 0.003, "weight_decay": 1e-5, "constant_epochs": 1,
                  "falling_epochs": 2, "lowest_rate": 1e-4},
}  # fmt: skip
ALIGNED = {"mixing": False, "alignment": {"margin": 1.0, "others": 0.9}}
FIT = {"epochs": 3, "batch_size": 4, "verbose": 0}
FEATURE = {"n_mels": 24, "n_fft": 512, "hop_length": 256, "mel_scale": "htk",
           "central_frames": None}  # fmt: skip


def year_2021(folder, sections=("00", "01")):
    """Two machine types, sections that differ in the loudness of a tone; six clips each."""
    for mode, names in (("dev", sections), ("eval", ("03",))):
        for k, machine_type in enumerate(TYPES):
            of_type = folder / f"{mode}_data" / machine_type
            for section in names:
                for i in range(6):
                    domain = ("source", "target")[i == 5]
                    name = f"section_{section}_{domain}_train_normal_000{i}_strength_1.wav"
                    seed = 1000 * k + 100 * int(section) + i
                    write_clip(of_type / "train" / name, seed, TONES[section] + k, n_samples=12000)
                for i, label in enumerate(("normal", "anomaly") * 2):
                    domain = ("source", "target")[i // 2]
                    name = f"section_{section}_{domain}_test_{label}_000{i}.wav"
                    tone = TONES[section] + k + 0.3 * (i % 2)
                    split = of_type / f"{domain}_test"
                    write_clip(split / name, 50 * k + i, tone, n_samples=9000)
    return folder


def written(folder, fit=None, feature=None, experiment="", **changed):
    return write_config(folder, corpus="dcase2021", feature=FEATURE | (feature or {}),
                        experiment=experiment, detector=DETECTOR | changed,
                        fit=FIT | (fit or {}))  # fmt: skip


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder in which 00 and 01 have run; not to be changed."""
    folder = year_2021(tmp_path_factory.mktemp("auxiliary"))
    cfg = written(folder)
    for name in ("00_train.py", "01_test.py"):
        assert call(name, "-d", "-c", cfg) == 0
    return folder


def copy_of(folder, tmp_path, **changed):
    target = tmp_path / "copy"
    shutil.copytree(folder, target)
    return target, written(target, **changed)


def weights_of(path):
    with np.load(path) as arrays:
        return {name: arrays[name] for name in arrays.files}


def same(one, other):
    ours, theirs = weights_of(one), weights_of(other)
    return ours.keys() == theirs.keys() and all(
        np.array_equal(ours[name], theirs[name]) for name in ours
    )


def scores_of(folder, machine_type="fan", section="00", results="result"):
    path = folder / results / f"anomaly_score_{machine_type}_id_{section}.csv"
    return np.array([float(row[1]) for row in files.read_csv(path)])


def error_of(capsys, name, cfg, *more):
    capsys.readouterr()
    assert call(name, "-d", "-c", cfg, *more) == 1
    err = capsys.readouterr().err
    assert "Traceback" not in err
    return err.strip().splitlines()[-1]


def test_the_scripts(trained):
    model = trained / "model"
    assert not list(model.glob("checkpoint_*"))
    for machine_type in TYPES:
        record = files.read_json(model / f"model_{machine_type}.json")
        assert record["clips"] | {"fingerprint": 0} == {"count": 12, "trained": 10, "validated": 0,
                                                        "fingerprint": 0}  # fmt: skip
        assert weights_of(model / f"model_{machine_type}.npz")["sections"].tolist() == ["00", "01"]
        losses = [
            float(row[1]) for row in files.read_csv(model / f"history_{machine_type}.csv")[1:]
        ]
        assert len(losses) == 3 and np.isfinite(losses).all()
        scores = scores_of(trained, machine_type)
        assert len(scores) == 4 and ((scores > 0) & (scores < 1)).all()
    assert (trained / "result/official.csv").exists()
    assert (trained / "result/decisions.csv").exists()


def test_a_second_run_trains_nothing(trained, tmp_path, capsys):
    _, cfg = copy_of(trained, tmp_path)
    assert call("00_train.py", "-d", "-c", cfg) == 0
    assert capsys.readouterr().out.count("already trained on these clips") == 2


def test_one_machine_type_by_itself_hears_the_others_all_the_same(trained, tmp_path):
    """The model is that of a run for all: outliers are not only of the types that are asked for."""
    folder, cfg = copy_of(trained, tmp_path)
    shutil.rmtree(folder / "model")
    assert call("00_train.py", "-d", "-c", cfg, "-m", "valve") == 0
    assert not (folder / "model/model_fan.npz").exists()
    assert same(folder / "model/model_valve.npz", trained / "model/model_valve.npz")


@pytest.mark.parametrize(("changed", "named"), [
    ({"network": DETECTOR["network"] | {"channels": 8}}, "detector.network.channels"),
    ({"mixing": False}, "detector.mixing"),
    ({"outliers": {"of": "other_machines", "weight": 1.0}}, "detector.outliers.weight"),
    ({"feature": {"mel_scale": "slaney"}}, "feature.mel_scale"),
])  # fmt: skip
def test_another_make_is_not_taken_for_it(trained, tmp_path, capsys, changed, named):
    _, cfg = copy_of(trained, tmp_path, **changed)
    assert named in error_of(capsys, "00_train.py", cfg)
    assert named in error_of(capsys, "01_test.py", cfg)


def test_other_outliers_are_another_training(trained, tmp_path, capsys):
    """A clip of another machine type that changes makes the model stale."""
    folder, cfg = copy_of(trained, tmp_path)
    name = next((folder / "dev_data/valve/train").glob("section_00_source*"))
    write_clip(name, 77, n_samples=12000)
    assert "model_fan.npz: trained on other clips" in error_of(capsys, "00_train.py", cfg)


def test_resumed_training_equals_uninterrupted_training(trained, tmp_path, monkeypatch):
    """Interrupted after the second of three epochs: the same weights, bit for bit."""
    from asd.auxiliary import Classifier

    folder, cfg = copy_of(trained, tmp_path)
    shutil.rmtree(folder / "model")
    save = Classifier.save

    def interrupted(learner, path, history, fingerprint):
        save(learner, path, history, fingerprint)
        if len(history) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(Classifier, "save", interrupted)
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        assert call("00_train.py", "-d", "-c", cfg, "-m", "fan") not in (0, 1)
        raise SystemExit
    monkeypatch.undo()
    assert (folder / "model/checkpoint_fan.npz").exists()
    epochs = []
    one_epoch = Classifier.epoch
    monkeypatch.setattr(Classifier, "epoch",
                        lambda self, *a: epochs.append(a[1]) or one_epoch(self, *a))  # fmt: skip
    assert call("00_train.py", "-d", "-c", cfg, "-m", "fan") == 0
    assert epochs == [3]
    for name in ("history_fan.csv", "normal_score_fan.csv"):
        assert (folder / "model" / name).read_bytes() == (trained / "model" / name).read_bytes()
    assert same(folder / "model/model_fan.npz", trained / "model/model_fan.npz")
    assert not (folder / "model/checkpoint_fan.npz").exists()


@pytest.mark.parametrize("changed", [
    {"outliers": {"of": "none", "weight": 0.5}, "normalisation": "mean_std", "unit_rms": True},
    {"outliers": {"of": "other_sections_and_machines", "weight": 0.5}, "faithful": True},
    {"task": "own_or_not", "outliers": {"of": "other_sections", "weight": 1.0}},
    ALIGNED,
    {"emphasis": {"bands": 4, "db": [6.0, 12.0]}, "outliers": {"of": "none", "weight": 1.0}},
    ALIGNED | {"network": {"kind": "band_moments", "hidden": [8, 4]}, "normalisation": "mean_std"},
], ids=lambda one: "-".join(one))  # fmt: skip
def test_every_way_to_learn(trained, tmp_path, changed):
    folder, cfg = copy_of(trained, tmp_path, fit={"epochs": 1}, **changed)
    shutil.rmtree(folder / "model")
    for name in ("00_train.py", "01_test.py"):
        assert call(name, "-d", "-c", cfg, "-m", "fan") == 0
    assert np.isfinite(scores_of(folder)).all()
    assert not same(folder / "model/model_fan.npz", trained / "model/model_fan.npz")


def test_it_learns(tmp_path, capsys):
    """Sections that differ clearly are told apart: own clips score low, the others' name high."""
    folder = year_2021(tmp_path)
    changed = {"mixing": False, "outliers": {"of": "none", "weight": 1.0}}
    changed["optimiser"] = DETECTOR["optimiser"] | {"constant_epochs": 40}
    cfg = written(folder, fit={"epochs": 40}, **changed)
    assert call("00_train.py", "-d", "-c", cfg, "-m", "fan") == 0
    rows = files.read_csv(folder / "model/normal_score_fan.csv")[1:]
    assert np.mean([float(row[3]) for row in rows]) < 0.3
    train = folder / "dev_data/fan/train"
    for path in sorted((folder / "dev_data/fan/source_test").glob("section_00*")):
        shutil.copy(train / "section_01_source_train_normal_0000_strength_1.wav", path)
    assert call("01_test.py", "-d", "-c", cfg, "-m", "fan") == 0
    rows = files.read_csv(folder / "result/anomaly_score_fan_id_00.csv")
    swapped = [float(value) for name, value in rows if "source_test" in name]
    assert len(swapped) == 2 and min(swapped) > 0.7


def test_own_clips_with_a_band_altered_are_outliers_of_no_section():
    """Behind all others stands each own clip again, and not as it was."""
    import tensorflow as tf

    learner = object.__new__(auxiliary.Classifier)
    learner._aims = auxiliary.Aims(True, 1.0, False, None, 1.0, False, 4, (6.0, 12.0), 16000)
    waves = tf.random.stateless_normal((5, 1024), (0, 1))
    key = tf.constant([1, 2])
    found, sections = learner._with_altered(key, waves, tf.constant([0, 1, 0, -1, -1]), 3)
    assert sections.numpy().tolist() == [0, 1, 0, -1, -1, -1, -1, -1]
    assert np.array_equal(found[:5], waves)
    ratio = np.abs(np.fft.rfft(found[5:])) / np.abs(np.fft.rfft(waves[:3]))
    most = np.abs(20 * np.log10(ratio[:, 1:-1])).max(1)
    assert ((most > 5.9) & (most < 12.1)).all(), (
        "each own clip, by the decibels that were asked for"
    )


def test_both_data_are_learnt_by_one_model_that_serves_both(trained, tmp_path):
    folder, cfg = copy_of(trained, tmp_path, learn_from="both", fit={"epochs": 1})
    shutil.rmtree(folder / "model")
    assert call("00_train.py", "-d", "-c", cfg, "-m", "fan") == 0
    sections = weights_of(folder / "model/model_fan.npz")["sections"]
    assert sections.tolist() == ["00", "01", "03"]
    before = (folder / "model/model_fan.npz").stat().st_mtime_ns
    assert call("00_train.py", "-e", "-c", cfg, "-m", "fan") == 0
    assert (folder / "model/model_fan.npz").stat().st_mtime_ns == before
    assert not list((folder / "model").glob("eval/model_*"))
    assert call("01_test.py", "-e", "-c", cfg, "-m", "fan") == 0
    assert len(scores_of(folder, section="03", results="result/eval")) == 4


# Training from another run's models


def test_fine_tuning_starts_from_the_other_run(trained, tmp_path, capsys):
    """Of its learning rate so little is left that the weights are the other's."""
    optimiser = DETECTOR["optimiser"] | {"learning_rate": 1e-9, "lowest_rate": 1e-9}
    changed = ALIGNED | {"initial": "first", "optimiser": optimiser}
    folder, _ = copy_of(trained, tmp_path)
    (folder / "model/first").mkdir()
    for path in (folder / "model").glob("*_fan.*"):
        path.rename(folder / "model/first" / path.name)
    cfg = written(folder, experiment="second", fit={"epochs": 1}, **changed)
    assert call("00_train.py", "-d", "-c", cfg, "-m", "fan") == 0
    ours = weights_of(folder / "model/second/model_fan.npz")
    theirs = weights_of(folder / "model/first/model_fan.npz")
    for name in ours:
        if "kernel" in name:
            np.testing.assert_allclose(ours[name], theirs[name], atol=1e-6)
    assert call("01_test.py", "-d", "-c", cfg, "-m", "fan") == 0

    retrained = written(folder, experiment="first", fit={"epochs": 1})
    assert call("00_train.py", "-d", "-c", retrained, "-m", "fan", "--overwrite") == 0
    cfg = written(folder, experiment="second", fit={"epochs": 1}, **changed)
    assert "trained on other clips" in error_of(capsys, "00_train.py", cfg, "-m", "fan")


@pytest.mark.parametrize(("changed", "named"), [
    ({"network": DETECTOR["network"] | {"rho": [4, 2]}}, "detector.network.rho [3, 2]"),
    ({"feature": {"n_mels": 25}}, "feature.n_mels 24, the configuration says 25"),
    ({"normalisation": "mean_std"}, "detector.normalisation batchnorm"),
    ({"initial": "nowhere"}, "no model for fan, which detector.initial names"),
    ({"initial": "second"}, "second is this experiment itself"),
])  # fmt: skip
def test_a_run_of_another_make_is_named(trained, tmp_path, capsys, changed, named):
    folder, _ = copy_of(trained, tmp_path)
    (folder / "model/first").mkdir()
    for path in (folder / "model").glob("*_fan.*"):
        path.rename(folder / "model/first" / path.name)
    cfg = written(folder, experiment="second", **({"initial": "first"} | changed))
    assert named in error_of(capsys, "00_train.py", cfg, "-m", "fan")


def test_a_run_of_another_detector_is_named(trained, tmp_path, capsys):
    """Its record lacks what this detector is made of, and is not damaged for that."""
    folder, _ = copy_of(trained, tmp_path)
    (folder / "model/first").mkdir()
    for path in (folder / "model").glob("*_fan.*"):
        path.rename(folder / "model/first" / path.name)
    record = folder / "model/first/model_fan.json"
    values = files.read_json(record)
    values["configuration"]["detector"] = {"kind": "density"}
    files.write_json(record, values)
    cfg = written(folder, experiment="second", initial="first")
    line = error_of(capsys, "00_train.py", cfg, "-m", "fan")
    assert "trained with detector.kind density, the configuration says auxiliary" in line


# What goes wrong


def test_a_single_section_is_one_line(tmp_path, capsys):
    folder = year_2021(tmp_path, sections=("01",))
    for which, named in (
        ("none", "fan: all training clips are of section 01, and nothing is told apart"),
        ("other_sections", "fan: outliers of other sections, and there are none"),
    ):
        cfg = written(folder, outliers={"of": which, "weight": 0.5})
        assert named in error_of(capsys, "00_train.py", cfg)


def test_without_target_clips_nothing_is_aligned(trained, tmp_path, capsys):
    folder, cfg = copy_of(trained, tmp_path, **ALIGNED)
    for path in (folder / "dev_data/valve/train").glob("*target*"):
        path.unlink()
    line = error_of(capsys, "00_train.py", cfg, "--overwrite")
    assert "valve: no target clips to align source clips with" in line


def test_too_few_clips_for_a_batch_are_one_line(trained, tmp_path, capsys):
    _, cfg = copy_of(trained, tmp_path, fit={"batch_size": 64})
    line = error_of(capsys, "00_train.py", cfg, "--overwrite")
    assert "do not fill a batch; take a fit.batch_size of 20 or less" in line


def test_a_section_that_was_not_trained_is_one_line(trained, tmp_path, capsys):
    _, cfg = copy_of(trained, tmp_path)
    capsys.readouterr()
    assert call("01_test.py", "-e", "-c", cfg) == 1
    assert "section 03, and the model of fan knows 00, 01" in capsys.readouterr().err


@pytest.mark.parametrize(("changed", "named"), [
    ({"network": {"kind": "cpresnet", "rho": [0, 3], "channels": 4}}, "rho"),
    ({"network": {"kind": "multiresnet"}}, "detector.network.kind"),
    ({"outliers": {"of": "all", "weight": 1.0}}, "detector.outliers.of"),
    ({"alignment": {"margin": 1.0, "others": 1.0}}, "detector.alignment.others"),
    ({"mixing": True, "alignment": {"margin": 1.0, "others": 0.9}}, "mixing and alignment"),
    ({"task": "own_or_not", "outliers": {"of": "none", "weight": 1.0}}, "needs outliers"),
    ({"emphasis": {"bands": 4, "db": [6.0, 3.0]}}, "db [6.0, 3.0] must rise"),
    ({"optimiser": DETECTOR["optimiser"] | {"lowest_rate": 0.1}}, "lowest_rate 0.1 is above"),
    ({"hop_seconds": 1e-5}, "detector.seconds and hop_seconds: less than a sample"),
    ({"seconds": 0.03, "hop_seconds": 0.03}, "detector.seconds"),
])  # fmt: skip
def test_wrong_keys_are_one_line(trained, tmp_path, capsys, changed, named):
    _, cfg = copy_of(trained, tmp_path, **changed)
    assert named in error_of(capsys, "00_train.py", cfg, "--overwrite")


def test_a_damaged_model_is_one_line(trained, tmp_path, capsys):
    folder, cfg = copy_of(trained, tmp_path)
    path = folder / "model/model_fan.npz"
    arrays = weights_of(path)
    for damaged in (b"nonsense", arrays | {"cls.conv/kernel": np.zeros((1, 1, 3, 2), "f4")},
                    arrays | {"in.conv/kernel": arrays["in.conv/kernel"] * np.nan}):  # fmt: skip
        if isinstance(damaged, bytes):
            path.write_bytes(damaged)
        else:
            np.savez(path, **damaged)
        (folder / "model/model_fan.json").unlink(missing_ok=True)
        assert "model_fan.npz: not a readable model" in error_of(capsys, "01_test.py", cfg)


# Scores


@pytest.fixture(scope="module")
def scoring(golden):
    arrays = dict(np.load(golden / "cpjku_official_ae/a5_scoring.npz"))
    return {key.removeprefix("cls/"): one for key, one in arrays.items() if key.startswith("cls/")}


@pytest.mark.parametrize("faithful", [False, True])
def test_golden_scores(scoring, faithful):
    f, clips = scoring, np.unique(scoring["clip"])
    of_clips = [f["logits"][f["clip"] == clip] for clip in clips]
    sections = [int(f["section"][f["clip"] == clip][0]) for clip in clips]
    found = auxiliary.clip_scores(of_clips, sections, False, faithful)
    name, other = ("table", "row") if faithful else ("row", "table")
    np.testing.assert_allclose(found, f[f"clip_score_{name}"], rtol=0, atol=1e-9)
    assert np.abs(found - f[f"clip_score_{other}"]).max() > 0.1
    of_rows = 1 - auxiliary.probabilities(f["logits"].astype(np.float64), False, faithful)
    own = of_rows[np.arange(len(of_rows)), f["section"]]
    np.testing.assert_allclose(own, f[f"score_{name}"], rtol=0, atol=1e-9)


def test_a_clip_s_score_does_not_depend_on_the_others():
    logits = [np.array([[1.0, 2.0]]), np.array([[30.0, 0.0], [0.0, 0.0]])]
    both = auxiliary.clip_scores(logits, [0, 0], False, False)
    assert auxiliary.clip_scores(logits[:1], [0], False, False)[0] == both[0]
    assert both[1] == pytest.approx((0.5 + 9.4e-14) / 2)
    published = auxiliary.clip_scores(logits, [0, 0], False, True)
    assert auxiliary.clip_scores(logits[:1], [0], False, True)[0] != published[0]
    by_itself = auxiliary.clip_scores([np.array([[0.0, 9.0]])], [0], True, False)
    assert by_itself[0] == pytest.approx(0.5)
