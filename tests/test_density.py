"""The density detector: trained, resumed, scored with; its outliers and what is refused."""

from __future__ import annotations

import shutil
import sys

import numpy as np
import pytest
import yaml
from conftest import call, write_clip

from asd import cli, config, files
from asd.clips import Clip
from asd.detectors import kinds
from asd.evaluation import front
from asd.features import altered, company, drawn, lessons, standard
from asd.paths import Paths
from asd.tflite.convert import MCU

DETECTOR = {
    "kind": "density",
    "network": {"kind": "made", "hidden": [16, 16], "degrees": "spread"},
    "optimiser": {"learning_rate": 1e-3, "lowest_rate": 1e-5, "constant_epochs": 1,
                  "falling_epochs": 2, "weight_decay": 1e-5},
}  # fmt: skip
SECTIONS = ("00", "01")


def year_2021(folder):
    """Two machine types of two sections in the year's layout, source and target."""
    for number, machine_type in enumerate(("fan", "valve")):
        data, seed = folder / "dev_data" / machine_type, 1000 * number
        for section in SECTIONS:
            for i in range(4):
                for domain, some in (("source", 4), ("target", 1)):
                    if i < some:
                        seed += 1
                        name = f"section_{section}_{domain}_train_normal_{i:04}.wav"
                        write_clip(data / "train" / name, seed, 0.01 * number)
            for domain in ("source", "target"):
                for label, tone in (("normal", 0.0), ("anomaly", 0.1)):
                    for i in range(2):
                        seed += 1
                        name = f"section_{section}_{domain}_test_{label}_{i:04}.wav"
                        write_clip(data / f"{domain}_test" / name, seed, tone)
    return folder


def written(folder, fit=None, feature=None, **changed):
    directories = {f"{key}_directory": str(folder / name) for key, name in (
        ("dev", "dev_data"), ("eval", "eval_data"), ("feature", "features"), ("model", "model"),
        ("result", "result"))}  # fmt: skip
    values = directories | {
        "corpus": "dcase2021",
        "workers": 2,
        "feature": {"n_mels": 16, "central_frames": None} | (feature or {}),
        "detector": DETECTOR | changed,
        "fit": {"epochs": 3, "batch_size": 16, "verbose": 0} | (fit or {}),
    }
    path = folder / "density.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder in which 00 and 01 have run; not to be changed."""
    folder = year_2021(tmp_path_factory.mktemp("density"))
    cfg = written(folder)
    for name in ("00_train.py", "01_test.py"):
        assert call(name, "-d", "-c", cfg) == 0
    return folder


def copy_of(folder, tmp_path, **changed):
    target = tmp_path / "copy"
    shutil.copytree(folder, target)
    return target, written(target, **changed)


def arrays_of(path):
    with np.load(path) as arrays:
        return {name: arrays[name] for name in arrays.files}


def same(ours, theirs):
    ours, theirs = arrays_of(ours), arrays_of(theirs)
    return ours.keys() == theirs.keys() and all(np.array_equal(ours[k], theirs[k]) for k in ours)


def test_the_scripts(trained):
    model = trained / "model"
    assert not list(model.glob("checkpoint_*"))
    record = files.read_json(model / "model_fan.json")
    assert record["clips"]["count"] == 10
    assert (record["clips"]["trained"], record["clips"]["validated"]) == (8, 0)  # source alone
    losses = [float(row[1]) for row in files.read_csv(model / "history_fan.csv")[1:]]
    assert len(losses) == 3 and losses[2] < losses[0]
    for section in SECTIONS:
        assert len(files.read_csv(trained / f"result/anomaly_score_fan_id_{section}.csv")) == 8
    assert len(files.read_csv(model / "normal_score_fan.csv")) == 11
    for name in ("official.csv", "decisions.csv"):
        assert (trained / "result" / name).exists()


def test_closed_weights_stay_closed(trained):
    from asd.densities import masks

    arrays = arrays_of(trained / "model/model_fan.npz")
    *inner, last = masks.masks(80, [16, 16], how="spread")
    for name, mask in zip(("in", "h1", "out"), (*inner, np.tile(last, 2)), strict=True):
        kernel = arrays[f"network.{name}/kernel"]
        assert (kernel[mask == 0] == 0).all() and (kernel[mask == 1] != 0).all()


def test_scores_are_the_mean_over_all_windows_of_a_clip(trained):
    """Against the density by hand, in float64, from the arrays of the model's file."""
    from asd import store
    from asd.corpora.survey import survey

    cfg = config.load_config(trained / "density.yaml")
    paths = Paths(cfg, "dev")
    detector = kinds.of(cfg, paths)
    (clip_set,) = survey(paths, ["fan"], "test", False)
    clips = store.load(paths, clip_set, detector.rows, False, False)
    detector.load(trained / "model/model_fan.npz")
    one = {k: v.astype(float) for k, v in arrays_of(trained / "model/model_fan.npz").items()
           if v.dtype == np.float32}  # fmt: skip
    for i, score in enumerate(detector.score(clips).values):
        rows = (clips[i] - one["mean"]) / one["std"]
        x = np.stack([rows[k : k + 5].ravel() for k in range(len(rows) - 4)])
        y = x @ one["network.in/kernel"] + one["network.in/bias"]
        y = np.maximum(y + one["network.in/cond"][int(clips.clips[i].section)], 0)
        y = np.maximum(y @ one["network.h1/kernel"] + one["network.h1/bias"], 0)
        mean, log = np.split(y @ one["network.out/kernel"] + one["network.out/bias"], 2, axis=1)
        u = (x - mean) * np.exp(-log)
        by_hand = (u * u / 2 + np.log(2 * np.pi) / 2 + log).mean()
        assert score == pytest.approx(by_hand, rel=1e-5)


def test_a_second_run_trains_nothing(trained, tmp_path, capsys):
    _, cfg = copy_of(trained, tmp_path)
    assert call("00_train.py", "-d", "-c", cfg) == 0
    assert capsys.readouterr().out.count("; kept") == 2


@pytest.mark.parametrize(("changed", "named"), [
    ({"network": DETECTOR["network"] | {"hidden": [16, 8]}}, "detector.network.hidden"),
    ({"optimiser": DETECTOR["optimiser"] | {"learning_rate": 0.1}}, "optimiser.learning_rate"),
    ({"outliers": {"of": "other_sections"}}, "detector.outliers.of"),
    ({"faithful": True}, "detector.faithful"),
    ({"emphasis": {"bands": 4, "db": [3.0, 9.0]}}, "detector.emphasis"),
])  # fmt: skip
def test_another_density_is_not_taken_for_it(trained, tmp_path, capsys, changed, named):
    _, cfg = copy_of(trained, tmp_path, **changed)
    assert call("00_train.py", "-d", "-c", cfg) == 1
    assert named in capsys.readouterr().err


NETWORKS = (
    DETECTOR["network"],
    {"kind": "maf", "hidden": [16], "blocks": 2, "components": 2},
    {"kind": "conditional_autoencoder", "encoder": [16], "bottleneck": 4, "decoder": [16]},
)
OUTLIERS = {"of": "other_sections_and_machines", "weight": 1.0, "margin": 0.5}
EMPHASIS = {"bands": 4, "db": [3.0, 9.0]}


@pytest.mark.parametrize("network", NETWORKS, ids=lambda one: one["kind"])
def test_resumed_training_equals_uninterrupted_training(trained, tmp_path, monkeypatch, network):
    """Interrupted after two of three epochs, with outliers: the same weights, bit for bit."""
    from asd.densities.learner import Learner

    folders = []
    for name in ("whole", "interrupted"):
        folder, cfg = copy_of(trained, tmp_path / name, network=network, outliers=OUTLIERS,
                              emphasis=EMPHASIS)  # fmt: skip
        for path in (folder / "model").iterdir():
            path.unlink()
        folders.append(folder)
        save = Learner.save

        def interrupted(learner, path, history, fingerprint, save=save):
            save(learner, path, history, fingerprint)
            if len(history) == 2:
                raise KeyboardInterrupt

        if name == "interrupted":
            monkeypatch.setattr(Learner, "save", interrupted)
            with pytest.raises((KeyboardInterrupt, SystemExit)):
                sys.exit(call("00_train.py", "-d", "-c", cfg, "-m", "fan"))
            monkeypatch.undo()
            assert (folder / "model/checkpoint_fan.npz").exists()
            assert not (folder / "model/model_fan.npz").exists()
        assert call("00_train.py", "-d", "-c", cfg, "-m", "fan") == 0
        assert not list((folder / "model").glob("checkpoint_*"))
    assert same(*(one / "model/model_fan.npz" for one in folders))
    for name in ("history_fan.csv", "normal_score_fan.csv"):
        ours, theirs = ((one / "model" / name).read_bytes() for one in folders)
        assert ours == theirs


REFUSED = [
    ({"fit": {"batch_size": 512}}, "fit.batch_size is 512"),
    ({"outliers": {"of": "other_sections"}, "condition": "none"}, "detector.outliers.of"),
    ({"outliers": {"of": "some"}}, "detector.outliers.of"),
    ({"emphasis": {"bands": 4, "db": [6.0, 3.0]}}, "db [6.0, 3.0] must rise"),
    ({"network": {"kind": "made", "hidden": []}}, "network.hidden"),
    ({"network": {"kind": "resnet"}}, "key detector.network.kind: no 'resnet'; known: made, maf"),
    ({"network": NETWORKS[0] | {"degrees": "odd"}}, "network.degrees"),
]  # fmt: skip


@pytest.mark.parametrize(("changed", "named"), REFUSED)
def test_what_is_refused(trained, tmp_path, capsys, changed, named):
    _, cfg = copy_of(trained, tmp_path, **changed)
    assert call("00_train.py", "-d", "-c", cfg, "--overwrite") == 1
    *_, error = capsys.readouterr().err.splitlines()
    assert error.startswith("error: ") and named in error


def test_outliers_of_other_machines_need_others(trained, tmp_path, capsys):
    """Which are there whatever machine types are to be trained."""
    folder, cfg = copy_of(trained, tmp_path, outliers={"of": "other_machines"})
    assert call("00_train.py", "-d", "-c", cfg, "--overwrite", "-m", "fan") == 0
    assert "10 clips of section 00, 01; 10 outliers" in capsys.readouterr().out
    shutil.rmtree(folder / "dev_data/valve")
    assert call("00_train.py", "-d", "-c", cfg, "--overwrite", "-m", "fan") == 1
    assert "outliers of other machines, and there are none" in capsys.readouterr().err


def test_other_clips_of_other_machines_make_another_model(trained, tmp_path, capsys):
    """Where they are outliers; else each machine type's model is its own."""
    for which, status in (("other_machines", 1), ("other_sections", 0)):
        folder, cfg = copy_of(trained, tmp_path / which, outliers={"of": which})
        assert call("00_train.py", "-d", "-c", cfg, "--overwrite") == 0
        write_clip(next((folder / "dev_data/valve/train").iterdir()), 77)
        assert call("00_train.py", "-d", "-c", cfg, *(() if status else ("-m", "fan"))) == status
        if status:
            assert "model_fan.npz: trained on other clips" in capsys.readouterr().err


def test_a_section_that_was_not_trained_is_named(trained, tmp_path, capsys):
    folder, cfg = copy_of(trained, tmp_path)
    write_clip(folder / "dev_data/fan/source_test/section_02_source_test_normal_0000.wav")
    assert call("01_test.py", "-d", "-c", cfg) == 1
    error = capsys.readouterr().err
    assert "of section 02, and the model knows 00, 01" in error and "detector.condition" in error
    folder, cfg = copy_of(folder, tmp_path / "none", condition="none")
    for name, more in (("00_train.py", ["--overwrite"]), ("01_test.py", [])):
        assert call(name, "-d", "-c", cfg, *more) == 0


@pytest.mark.parametrize("damage", ["nonsense", "shape", "nan", "std"])
def test_a_damaged_model_is_named(trained, tmp_path, capsys, damage):
    folder, cfg = copy_of(trained, tmp_path)
    path = folder / "model/model_fan.npz"
    if damage == "nonsense":
        path.write_bytes(b"nonsense")
    else:
        arrays = arrays_of(path)
        if damage == "shape":
            arrays["network.in/bias"] = arrays["network.in/bias"][:-1]
        elif damage == "nan":
            arrays["network.h1/kernel"][0, 0] = np.nan
        else:
            arrays["std"][0] = 0
        np.savez(path, **arrays)
    (folder / "model/model_fan.json").unlink()  # a model of unknown make
    (folder / "model/normal_score_fan.csv").unlink()
    assert call("01_test.py", "-d", "-c", cfg) == 1
    assert "model_fan.npz: not a readable model" in capsys.readouterr().err


def test_densities_are_refused_by_name_where_chains_are_made(trained, tmp_path, capsys):
    _, cfg = copy_of(trained, tmp_path)
    assert call("02_convert.py", "-d", "-c", cfg) == 1
    error = capsys.readouterr().err
    assert "network made" in error and "conditional_autoencoder" in error


@pytest.mark.parametrize("normalise", ["mean_std", "none"])
def test_an_auto_encoder_given_its_section_becomes_tflite_and_c(
    trained, tmp_path, capsys, normalise
):
    """A model a section; every file is the model, every output byte of C the TFLite file's."""
    folder, cfg = copy_of(trained, tmp_path, network=NETWORKS[2], normalise=normalise)
    steps = (("00_train.py", "--overwrite"), ("01_test.py",), ("02_convert.py",),
             ("03_tflite_test.py", "--boards", "none"))  # fmt: skip
    for name, *more in steps:
        assert call(name, "-d", "-c", cfg, "-m", "fan", *more) == 0, name
    out = capsys.readouterr().out
    assert "PARITY KEPT in all 10 comparisons" in out and "Is the C code the TFLite file?" in out
    for section in SECTIONS:
        assert (folder / f"model/model_fan_section_{section}_c/model.c").is_file()
    rows = files.read_csv(folder / "result/mcu.csv")
    at = {name: i for i, name in enumerate(rows[0])}
    assert [row[at["machine_type"]] for row in rows[1:]] == ["fan 00", "fan 01"]
    bytes_of = [(folder / f"model/model_fan_section_{one}.tflite").read_bytes() for one in SECTIONS]
    assert bytes_of[0] != bytes_of[1]
    assert (
        cli.run(lambda: front.main(["-d", "-c", str(cfg), "-m", "fan", "--out", str(folder)])) == 0
    )
    (header, values) = files.read_csv(folder / "front.csv")
    found = dict(zip(header, values, strict=True))
    small = [folder / f"model/model_fan_section_{one}{MCU.suffix}.tflite" for one in SECTIONS]
    assert int(found["model_bytes"]) == sum(path.stat().st_size for path in small)
    results = files.read_csv(folder / f"result/tflite{MCU.suffix}_result.csv")
    averages = [float(row[1]) for row in results if row and row[0] == "Average"]
    assert float(found["auc"]) == pytest.approx(np.mean(averages))


@pytest.mark.parametrize("faithful", [True, False])
def test_golden_learning_rates(golden, trained, faithful):
    """The defaults of the original: its lowest rate taken for a share, and taken as a rate."""
    with np.load(golden / "cpjku_official_ae/a3_losses.npz") as arrays:
        epochs, _, upstream, right = arrays["lr_default"].T
    values = DETECTOR | {"faithful": faithful, "optimiser": DETECTOR["optimiser"] | {
        "learning_rate": 1e-4, "constant_epochs": 30, "falling_epochs": 60}}  # fmt: skip
    cfg = config.load_config(trained / "density.yaml")
    choice = config.Choice(trained, "detector", "density", {
        key: value for key, value in values.items() if key != "kind"})  # fmt: skip
    from msgspec.structs import replace

    detector = kinds.of(replace(cfg, detector=choice), Paths(cfg, "dev"))
    rates = np.array([detector._rate(int(epoch)) for epoch in epochs])
    wanted, other = (upstream, right) if faithful else (right, upstream)
    np.testing.assert_allclose(rates, wanted, rtol=1e-9)
    assert rates[-1] != pytest.approx(other[-1], rel=0.1)


def test_golden_standard(golden):
    with np.load(golden / "cpjku_official_ae/a1_features.npz") as arrays:
        degenerate = standard.of_clips([arrays["deg_features"].astype(np.float32)])
        np.testing.assert_allclose(degenerate.std, arrays["deg_std"], rtol=1e-5)


def test_golden_sections_of_outliers(golden):
    """Own clips get another section; clips of other machines get any."""
    with np.load(golden / "cpjku_official_ae/a4_density.npz") as arrays:
        before, used = arrays["postep/sec_out_before"], arrays["postep/sec_out_used"]
        own = arrays["postep/machine_out"] == 0
    assert (used[own] != before[own]).all()  # so it is there
    rng = np.random.default_rng(0)
    drawn_ones = np.array([drawn.others_conditions(before, own, 6, rng) for _ in range(500)])
    for i, is_own in enumerate(own):
        possible = set(range(6)) - ({before[i]} if is_own else set())
        assert set(drawn_ones[:, i].tolist()) == possible and used[i] in possible


def test_standard_rows():
    rng = np.random.default_rng(0)
    rows = (rng.normal(size=(500, 3)) * [1, 5, 0] + [-40, 3, 7]).astype(np.float32)
    one = standard.of_clips([rows])
    np.testing.assert_allclose(one.std[2], 1)
    windows = one.of(rows.reshape(100, 15))
    found = windows.reshape(-1, 3)
    np.testing.assert_allclose(found.mean(axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(found.std(axis=0), [1, 1, 0], rtol=1e-4)


class Few:
    """As much of a store as drawing needs: clips of some rows, whose values are their numbers."""

    width = 2

    def __init__(self, machine_type, rows):
        self.rows = np.array(rows)
        self.clips = [Clip(None, machine_type, f"{i:02}", "train", 0) for i in range(len(rows))]

    @property
    def fingerprint(self):
        return f"{self.clips[0].machine_type} {self.rows}"

    def __len__(self):
        return len(self.clips)

    def n_windows(self, n):
        return self.rows - n + 1

    def gather(self, windows, n):
        return np.repeat(windows[:, None].astype(np.float32), n * self.width, axis=1)


@pytest.mark.parametrize("learn", [company.of, lessons.lesson])
@pytest.mark.parametrize(("which", "hears"), [
    ("none", False), ("other_sections", False), ("other_machines", True),
    ("other_sections_and_machines", True),
])  # fmt: skip
def test_clips_that_nothing_is_learnt_from_make_no_other_model(learn, which, hears):
    own, other, changed = Few("fan", [100, 100]), Few("valve", [60]), Few("valve", [61])
    first, second = (learn("fan", (own, one), which) for one in (other, changed))
    assert (first.fingerprint != second.fingerprint) is hears
    assert [clip.machine_type for clip in first.clips] == ["fan", "fan"]


def test_windows_are_drawn_as_often_as_would_cover_a_clip():
    store = Few("fan", [313, 20, 6])
    parts = drawn.Parts((drawn.Part(store, np.array([0, 2]), np.array([4, 5, 6])),), 5, 6)
    some = parts.draw(np.random.default_rng(0))
    assert len(parts) == len(some.part) == 53 + 1  # of 10 s by 0.192 s
    first, last = some.number[some.condition == 4], some.number[some.condition == 6]
    assert len(first) == 53 and first.max() < 309 and len(set(first.tolist())) > 30
    assert last >= 309 + 16


def test_batches_are_full_and_have_as_many_outliers():
    own, other = Few("fan", [100, 100]), Few("valve", [60])
    there = company.of("fan", (own, other), "other_sections_and_machines")
    parts, mine = there.outlier_parts(("00", "01"))
    assert mine == (True, False)
    normal = drawn.Parts(there.normal_parts(("00", "01"), target=False), 5, 6)
    learnt = drawn.NormalAndOutliers(normal, drawn.Parts(parts, 5, 6), mine, 2,
                                     standard.as_they_are(2))  # fmt: skip
    batches = list(learnt.batches(8, 0, 1))
    assert len(batches) == len(normal) // 8 == 4
    assert all(one.windows.shape == (16, 10) and one.n_normal == 8 for one in batches)
    again, next_epoch = list(learnt.batches(8, 0, 1)), list(learnt.batches(8, 0, 2))
    assert all(np.array_equal(a.windows, b.windows) for a, b in zip(batches, again, strict=True))
    assert not np.array_equal(batches[0].windows, next_epoch[0].windows)


def test_normal_windows_are_altered_by_a_band_and_told_under_their_own_conditions():
    """Windows of five rows of two mel bands, of deviations of 1 and 4 dB."""
    own, other = Few("fan", [100, 100]), Few("valve", [60])
    there = company.of("fan", (own, other), "other_machines")
    parts, mine = there.outlier_parts(("00", "01"))
    normal = drawn.Parts(there.normal_parts(("00", "01"), target=False), 5, 6)
    scale = standard.Standard(np.zeros(2, np.float32), np.array([1, 4], np.float32))
    how = altered.Altered(bands=2, db=(6.0, 12.0))
    learnt = drawn.NormalAndOutliers(normal, drawn.Parts(parts, 5, 6), mine, 2, scale, how)
    batches = list(learnt.batches(8, 0, 1))
    gains = []
    for one in batches:
        assert one.windows.shape == (24, 10) and one.n_normal == 8
        assert np.array_equal(one.conditions[16:], one.conditions[:8])
        added = (one.windows[16:] - one.windows[:8]).reshape(8, 5, 2) * scale.std
        assert np.allclose(added, added[:, :1], atol=1e-3), "the same in all rows of a window"
        gains.append(added[:, 0])
    most, least = (some(np.abs(np.concatenate(gains)), 1) for some in (np.max, np.min))
    assert ((most > 5.99) & (most < 12.01)).all()
    assert np.allclose(least, most * np.exp(-2), atol=1e-3)  # a band off: two deviations
    signs = np.sign(np.concatenate(gains).sum(1))
    assert {-1, 1} == set(signs)
    bands = np.argmax(np.abs(np.concatenate(gains)), 1)
    assert {0, 1} == set(bands.tolist())
    again = list(learnt.batches(8, 0, 1))
    assert all(np.array_equal(a.windows, b.windows) for a, b in zip(batches, again, strict=True))


def test_altered_windows_count_in_the_loss_beside_other_outliers():
    """By hand: each half of the outliers is ranked below the same normal windows."""
    import tensorflow as tf

    from asd.densities.learner import Learner, Ranking

    class Sums:
        """A density whose log-likelihood of a window is its sum."""

        n_conditions, size, weight = 0, 1, tf.Variable(1.0)

        def make(self):
            pass

        def named(self):
            return {"weight": self.weight}

        def __call__(self, windows, given, training):
            return self.weight * tf.reduce_sum(windows, 1)

    learner = Learner(Sums(), lambda epoch: 0.0, 0.0, Ranking(1.0, 2.0), seed=0)
    windows = tf.constant([[3.0], [5.0], [0.0], [4.5], [4.0], [1.0]])
    loss = learner._one_step(windows, tf.zeros(6, tf.int32), tf.constant(2))
    ranked = [0, 0.5, 2, 0]  # max(0, 1 - (3 - 0)), 1 - (5 - 4.5), 1 - (3 - 4), 1 - (5 - 1)
    assert float(loss) == pytest.approx(-4 + 2 * np.mean(ranked))
