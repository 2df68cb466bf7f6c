"""The explorer: what paths tell, copies, splits, clusters, and a classifier of causes."""

import csv
import itertools
import re
import sys

import numpy as np
import pytest
import soundfile
from conftest import SAMPLE_RATE, write_clip

from apps.explore import (
    __main__ as explore,
)
from apps.explore import (
    augment,
    cause_list,
    clusters,
    features,
    learner,
    recordings,
    splits,
)
from apps.explore.learner import Clips
from asd import cli
from asd.causes.model import NORMAL, Causes
from asd.causes.statistics import NAMES
from asd.corpora import demo
from asd.corpora.demo_plan import Options
from common import UserError


def call(*argv):
    return cli.run(lambda: explore.main([str(arg) for arg in argv]))


def table(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


# What paths tell.


@pytest.mark.parametrize(
    ("path", "label", "machine", "snr"),
    [
        ("6_dB_fan/fan/id_00/abnormal/00000000.wav", "abnormal", "fan/id_00", "6"),
        ("-6_dB/dev_data/pump/id_02/normal/1.WAV", "normal", "pump/id_02", "-6"),
        ("dev_data/ToyCar/test/anomaly_id_01_00000000.wav", "abnormal", "ToyCar/id_01", ""),
        ("fan/train/section_02_source_train_normal_0000_n_A.wav", "normal", "fan/section_02", ""),
        ("press/hall 3/today.flac", "", "hall 3", ""),
        ("fan/id_04/anomalous/x.ogg", "abnormal", "fan/id_04", ""),
        ("abnormality/x.wav", "", "abnormality", ""),
    ],
)
def test_paths_tell_label_machine_and_ratio(tmp_path, path, label, machine, snr):
    one = recordings.described(tmp_path / path, tmp_path)
    assert (one.label, one.machine, one.snr) == (label, machine, snr)
    assert one.name == path


def test_what_the_named_folder_is_called_counts(tmp_path):
    folder = tmp_path / "6_dB/fan/id_06"
    one = recordings.described(folder / "normal/7.wav", folder)
    assert (one.machine, one.label, one.snr) == ("id_06", "normal", "6")


def test_a_recording_at_several_ratios_is_one(tmp_path):
    names = [f"{snr}_dB/fan/id_00/{kind}/0.wav" for snr in (-6, 0, 6)
             for kind in ("normal", "abnormal")]  # fmt: skip
    groups = [recordings.described(tmp_path / name, tmp_path).group for name in names]
    assert len(set(groups)) == 2 and groups[0] == groups[2] == groups[4]


# Metadata.


@pytest.fixture
def mimii(tmp_path):
    """Two ids of eight channels, as MIMII has them; one clip of each label."""
    rng = np.random.default_rng(0)
    for machine, label in itertools.product(("id_00", "id_02"), ("normal", "abnormal")):
        path = tmp_path / "mimii/6_dB/fan" / machine / label / "00000000.wav"
        path.parent.mkdir(parents=True)
        sound = 0.1 * rng.standard_normal((SAMPLE_RATE, 8))
        soundfile.write(path, sound, SAMPLE_RATE, format="WAVEX", subtype="PCM_16")
    return tmp_path / "mimii"


def test_metadata_of_mimii(mimii, tmp_path, capsys):
    assert call("metadata", mimii, "--out", tmp_path / "out") == 0
    rows = table(tmp_path / "out/metadata.csv")
    assert [row["path"] for row in rows] == [
        f"6_dB/fan/id_0{i}/{label}/00000000.wav" for i in (0, 2) for label in ("abnormal", "normal")
    ]
    for row in rows:
        told = [row[key] for key in ("machine", "snr_db", "channels", "rate_hz", "bits", "format")]
        assert told[1:] == ["6", "8", "16000", "16", "WAVEX"] and told[0].startswith("fan/id_0")
        assert float(row["seconds"]) == 1 and float(row["level_db"]) == pytest.approx(-20, abs=0.2)
        assert len(row["levels_db"].split()) == 8
    assert "4 recordings, 0 of them unreadable" in capsys.readouterr().out
    assert "WAVEX" in (tmp_path / "out/metadata.html").read_text()


def test_metadata_names_what_cannot_be_read(mimii, tmp_path, capsys):
    (mimii / "broken.wav").write_bytes(b"RIFF nothing")
    (mimii / "empty.wav").touch()
    write_clip(mimii / "other.flac", rate=44100, subtype="PCM_24")
    assert call("metadata", mimii, "--out", tmp_path / "out") == 0
    faults = {row["path"]: row["fault"] for row in table(tmp_path / "out/metadata.csv")}
    assert faults["empty.wav"] == "the file is empty; replace it" and faults["broken.wav"]
    assert faults["other.flac"] == ""
    out = capsys.readouterr().out
    assert "7 recordings, 2 of them unreadable" in out and "unreadable: empty.wav" in out


# Copies and splits.


@pytest.mark.parametrize("snr_db", [-6, 0, 20.5, 40])
def test_noise_is_as_loud_as_said(snr_db):
    samples = np.sin(np.arange(SAMPLE_RATE) / 7).astype(np.float32)
    copy = augment.noise(samples, snr_db, np.random.default_rng(0))
    added = copy.astype(np.float64) - samples
    assert 10 * np.log10(np.mean(samples**2) / np.mean(added**2)) == pytest.approx(snr_db, abs=0.1)
    spectrum = np.abs(np.fft.rfft(added)) ** 2  # white: as much in either half
    half = len(spectrum) // 2
    assert spectrum[:half].sum() / spectrum[half:].sum() == pytest.approx(1, abs=0.1)


def test_noise_leaves_silence_alone():
    silence = np.zeros(1000, np.float32)
    assert not augment.noise(silence, 0, np.random.default_rng(0)).any()


def test_roll_begins_elsewhere_and_loses_nothing():
    samples = np.arange(1000, dtype=np.float32)
    for seed in range(20):
        copy = augment.roll(samples, np.random.default_rng(seed))
        assert copy[0] != 0 and np.count_nonzero(np.diff(copy) != 1) == 1
        assert np.array_equal(np.sort(copy), samples)


@pytest.mark.parametrize("rate", [0.8, 1.25])
def test_stretch_changes_length_and_tempo_and_no_pitch(rate):
    n, hz, every = 4 * SAMPLE_RATE, 1000, SAMPLE_RATE // 4
    time = np.arange(n) / SAMPLE_RATE
    beats = np.exp(-(np.arange(n) % every) / 400)  # four a second
    copy = augment.stretch((np.sin(2 * np.pi * hz * time) * beats).astype(np.float32), rate)
    assert len(copy) == round(n / rate)
    size = np.abs(copy[: len(copy) // 80 * 80]).reshape(-1, 80).mean(axis=1)  # 200 a second
    beating = np.abs(np.fft.rfft(size - size.mean(), 20_000))  # steps of a hundredth of a Hz
    assert beating[200:800].argmax() / 100 + 2 == pytest.approx(4 * rate, rel=0.03)
    peak = np.abs(np.fft.rfft(copy)).argmax() * SAMPLE_RATE / len(copy)
    assert peak == pytest.approx(hz, rel=0.01)
    with pytest.raises(ValueError, match="above 0"):
        augment.stretch(copy, 0)


def test_groups_stay_on_one_side():
    groups = np.array([f"g{i}" for i in range(12) for _ in range(1 + i % 4)])
    seen = set()
    for seed in range(30):
        test = splits.grouped(groups, 0.3, seed)
        assert 0 < test.sum() < len(test)
        assert not set(groups[test]) & set(groups[~test])
        assert test.mean() < 0.5
        seen.add(tuple(test))
    assert len(seen) > 5
    for share in (0.001, 0.999):
        assert 0 < splits.grouped(["a", "b"], share, 0).sum() < 2
    with pytest.raises(ValueError, match="two groups"):
        splits.grouped(["a", "a"], 0.5, 0)


def test_each_group_is_left_out_once():
    groups = ["b", "a", "b", "c"]
    found = list(splits.leaving_out(groups))
    assert [name for name, _ in found] == ["a", "b", "c"]
    assert np.array_equal(np.sum([test for _, test in found], axis=0), np.ones(4))


def test_a_random_split_spreads_labels_evenly():
    labels = np.array(["x"] * 10 + ["y"] * 6 + ["z"])
    parts = splits.at_random(labels, 3, 0)
    for label in "xyz":
        counts = np.bincount(parts[labels == label], minlength=3)
        assert counts.max() - counts.min() <= 1


@pytest.mark.parametrize("by", ["machine", "recording"])
def test_no_copy_crosses_a_split(mimii, tmp_path, by):
    for snr in (0, -6):  # the same recordings in more noise
        for path in (mimii / "6_dB").rglob("*.wav"):
            other = mimii / f"{snr}_dB" / path.relative_to(mimii / "6_dB")
            other.parent.mkdir(parents=True)
            other.write_bytes(path.read_bytes())
    options = ["--noise", 10, "--noise", 0, "--rolls", 1, "--stretch", 1.25, "--by", by]
    assert call("features", mimii, "--out", tmp_path / "out", "--channel", 7, *options) == 0
    rows, arrays = table(tmp_path / "out/features.csv"), np.load(tmp_path / "out/features.npz")
    assert len(rows) == 3 * 4 * 5 == len(arrays.files)
    sides = {}
    for row in rows:
        recording = re.sub("^-?[0-9]+_dB/", "", row["path"])
        sides.setdefault(recording if by == "recording" else row["machine"], set()).add(
            row["split"]
        )
        assert arrays[row["row"]].shape == (int(row["frames"]), 40)
    assert all(len(one) == 1 for one in sides.values())
    assert {side for one in sides.values() for side in one} == {"train", "test"}
    frames = {row["copy"]: int(row["frames"]) for row in rows}
    assert frames["original"] == 32 and frames["stretch 1.25"] == 26
    first = {row["copy"]: arrays[row["row"]] for row in reversed(rows)}
    for copy in ("noise 10 dB", "noise 0 dB", "roll 0"):
        assert np.abs(first[copy] - first["original"]).max() > 1


def test_copies_are_the_same_whatever_else_is_there():
    samples = np.random.default_rng(0).standard_normal(4000).astype(np.float32)
    wanted = features.Wanted(recordings.feature(), 40, (10,), 1, (), seed=5)
    one, same, other = (features.copies(samples, wanted, name) for name in ("a", "a", "b"))
    for (_, a), (_, b), (_, c) in zip(one[1:], same[1:], other[1:], strict=True):
        assert np.array_equal(a, b) and not np.array_equal(a, c)


# What is learnt from.


def clips_of(rows, causes, machines, groups=None):
    groups = np.arange(len(causes)).astype(str) if groups is None else groups
    return Clips(np.asarray(rows, np.float32), *map(np.array, (causes, machines, groups)))


def random_clips(seed=0, n=24):
    rng = np.random.default_rng(seed)
    machines = np.repeat(["a", "b", "c"], n // 3)
    causes = np.tile([NORMAL, "x", "y", NORMAL], n // 4)
    return clips_of(rng.normal(0, 1, (n, len(NAMES), 6)), causes, machines)


def test_a_normal_clip_is_not_in_its_own_reference():
    clips = random_clips()
    found = learner.referred(clips)
    for i, row in enumerate(clips.rows):
        others = (clips.machines == clips.machines[i]) & (clips.causes == NORMAL)
        others[i] = False
        np.testing.assert_allclose(found[i], row - clips.rows[others].mean(axis=0), atol=1e-5)


def test_what_a_machine_always_has_is_taken_off():
    clips = random_clips()
    shift = np.random.default_rng(1).normal(0, 9, (3, len(NAMES), 6)).astype(np.float32)
    shifted = clips._replace(rows=clips.rows + np.repeat(shift, 8, axis=0))
    np.testing.assert_allclose(learner.referred(shifted), learner.referred(clips), atol=1e-4)


def test_moved_bands():
    rows = np.arange(6, dtype=np.float32).reshape(1, 1, 6)
    assert learner.moved(rows, 1).ravel().tolist() == [0, 0, 1, 2, 3, 4]
    assert learner.moved(rows, -2).ravel().tolist() == [2, 3, 4, 5, 5, 5]


@pytest.mark.parametrize("n_classes", [2, 3])
def test_probabilities_are_scikit_learns(n_classes):
    from sklearn.linear_model import LogisticRegression

    clips = random_clips()
    causes = np.array(["x", "y", NORMAL])[np.arange(24) % n_classes]
    fitted = learner.fit(clips.rows, causes, clips.machines)
    copies = np.concatenate([learner.moved(clips.rows, k) for k in learner.SHIFTS])
    theirs = LogisticRegression(C=learner.STRENGTH, class_weight="balanced", max_iter=1000)
    theirs.fit(fitted.standardised(copies), np.tile(causes, len(learner.SHIFTS)))
    wanted = theirs.predict_proba(fitted.standardised(clips.rows))
    np.testing.assert_allclose(fitted.probabilities(clips.rows), wanted, atol=1e-3)
    assert fitted.distances(clips.rows).max() < 1e-5


def test_each_machine_is_asked_of_who_has_not_heard_it(monkeypatch):
    clips, heard = random_clips(), []
    true = learner.fit

    def fit(rows, causes, machines):
        heard.append(set(machines))
        return true(rows, causes, machines)

    monkeypatch.setattr(learner, "fit", fit)
    learner.held_out(clips.rows, clips, clips.machines)
    assert heard == [{"b", "c"}, {"a", "c"}, {"a", "b"}]


def test_balanced_accuracy_and_its_interval():
    clips = random_clips()
    said = clips.causes.copy()
    assert learner.balanced_accuracy(clips.causes, said) == 1
    assert learner.interval(clips, said, 0) == (1, 1)
    said[clips.causes == "x"] = NORMAL
    assert learner.balanced_accuracy(clips.causes, said) == pytest.approx(2 / 3)
    said = np.where(np.arange(24) % 3 == 0, "x", clips.causes)
    value = learner.balanced_accuracy(clips.causes, said)
    low, high = learner.interval(clips, said, 0)
    assert low < value < high
    # Copies of recordings tell nothing more: they are drawn together.
    twice = Clips(*(np.concatenate([one, one]) for one in clips))
    assert learner.interval(twice, np.tile(said, 2), 0) == pytest.approx((low, high), abs=0.02)
    apart = twice._replace(groups=np.arange(48).astype(str))
    less = learner.interval(apart, np.tile(said, 2), 0)
    assert less[1] - less[0] < high - low


def test_a_threshold_in_which_classes_weigh_the_same():
    causes = np.array(["many"] * 96 + ["few"] * 4)
    distance = np.concatenate([np.full(96, 1.0), [2.0, 3.0, 4.0, 5.0]])
    assert learner.threshold(causes, distance, 0.125) == 4  # a quarter of the few is an eighth
    assert learner.threshold(causes, distance, 0.3) == 3
    clips = clips_of(np.zeros((100, len(NAMES), 2)), causes, np.repeat(["a", "b"], 50))
    limits = learner.thresholds(clips, distance, 0.125)
    assert limits[0] == learner.threshold(causes[50:], distance[50:], 0.125)
    assert limits[-1] == 1  # of the other machine's clips, which are all alike


# Lists of causes.


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no column path"),
        ("path\na.wav\n", "no column cause"),
        ("path,cause\n", "no recording in it"),
        ("path,cause\na.wav\n", "line 2: 1 fields, the header has 2"),
        ("path,cause\na.wav,\n", "line 2: no path or no cause"),
        ("path,cause\na.wav,x\na.wav,y\n", "line 3: 'a.wav' has two causes"),
        ('path,cause\n"a.wav,x\n', "not a list of causes"),
        ("path,cause\n\xff.wav,x\n", "not a list of causes"),
    ],
)
def test_a_wrong_list_is_named(tmp_path, text, words):
    path = tmp_path / "list.csv"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(UserError, match=words) as error:
        cause_list.read(path)
    assert str(path) in str(error.value)


def test_a_list_names_files_from_its_own_folder_on(tmp_path):
    (tmp_path / "list.csv").write_text("\ufeffcause,file,by\nx,sub/a.wav,me\n\n")
    assert cause_list.read(tmp_path / "list.csv") == {(tmp_path / "sub/a.wav").resolve(): "x"}
    with pytest.raises(UserError, match="no such list of causes"):
        cause_list.read(tmp_path / "nowhere.csv")


# On demo sound.


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """Three demo fans: 10 normal clips and 8 of each of five causes, 2 s each."""
    folder = tmp_path_factory.mktemp("demo")
    demo.make(folder, Options(0, ("DemoFan",), 3, 10, 40, False, 2.0), 2)
    for path in folder.rglob("test/normal_*.wav"):
        path.unlink()
    return folder


@pytest.fixture(scope="module")
def learnt(sound, tmp_path_factory):
    """What `causes --save` wrote of it."""
    out = tmp_path_factory.mktemp("learnt")
    argv = ("causes", sound, "--labels", sound / "causes.csv", "--out", out)
    assert call(*argv, "--save", out / "fan") == 0
    return out


def test_causes_are_told_on_machines_never_heard(learnt):
    figures = {row["split"]: row for row in table(learnt / "figures.csv")}
    referred = float(figures["a machine never heard, its own normal taken off"]["value"])
    plain = float(figures["a machine never heard"]["value"])
    assert float(figures["chance"]["value"]) == pytest.approx(1 / 6)
    assert referred > 0.55 and referred > plain + 0.05
    assert float(figures["random split (leaks)"]["value"]) > plain + 0.05
    rows = table(learnt / "causes.csv")
    assert len(rows) == 3 * (10 + 40)
    right = {}
    for row in rows:
        right.setdefault(row["cause"], []).append(row["most_probable"] == row["cause"])
    assert np.mean([np.mean(one) for one in right.values()]) == pytest.approx(referred)
    page = (learnt / "causes.html").read_text()
    assert "random split (leaks)" in page and "data:image/png;base64," in page
    assert (learnt / "confusion.png").read_bytes().startswith(b"\x89PNG")


def test_a_cause_left_out_is_unknown_more_often_than_by_chance(learnt):
    rows = table(learnt / "unknown.csv")
    assert len(rows) == 5
    known = np.mean([row["said"] == "unknown" for row in table(learnt / "causes.csv")])
    assert np.mean([float(row["auc"]) for row in rows]) > 0.65
    assert np.mean([float(row["unknown"]) for row in rows]) > 1.5 * known


def test_the_stored_classifier_says_what_was_learnt(learnt, sound):
    causes = Causes.load(learnt / "fan")
    assert causes.record.classes == (
        "bearing", "clogging", "imbalance", "normal", "rubbing", "voltage_drop"
    )  # fmt: skip
    truth = cause_list.read(sound / "causes.csv")
    feature, right = causes.record.feature, []
    for one in recordings.with_causes(recordings.find(sound), truth):
        frames = recordings.frames_of(recordings.samples_of(one.path, feature), feature)
        found = causes.answer(frames, one.machine)
        most = max(found.probabilities, key=found.probabilities.get)
        assert found.cause in (most, "unknown")
        right.append(most == one.cause)
    assert np.mean(right) > 0.9  # clips that it has learnt from
    assert causes.record.measured["machines"] == 3


def test_another_machine_gets_its_reference(learnt, sound, tmp_path, capsys):
    for name in ("fan.json", "fan.tflite"):
        (tmp_path / name).write_bytes((learnt / name).read_bytes())
    other = tmp_path / "press"
    for i in range(3):
        write_clip(other / f"normal_id_09_{i}.wav", i)
    assert call("reference", tmp_path / "fan.json", other) == 0
    assert "the normal sound of press/id_09, of 3 recordings" in capsys.readouterr().out
    assert "press/id_09" in Causes.load(tmp_path / "fan").record.references
    (tmp_path / "nothing").mkdir()
    assert call("reference", tmp_path / "fan.json", tmp_path / "nothing") == 1


def test_clusters_are_mostly_machines(sound, tmp_path, capsys):
    argv = ("clusters", sound, "--labels", sound / "causes.csv", "--only", "abnormal")
    assert call(*argv, "--out", tmp_path, "-k", 3) == 0
    out = capsys.readouterr().out
    found = {row["agreement with"]: row for row in table(tmp_path / "agreement.csv")}
    index = {name: float(row["adjusted Rand index"]) for name, row in found.items()}
    assert index["machine id"] > 0.3 > 0.15 > index["cause"]
    assert "these clusters are mostly machines, not faults" in out
    rows = table(tmp_path / "clusters.csv")
    assert len(rows) == 120 and {row["cluster"] for row in rows} == {"0", "1", "2"}
    elbow = [float(row["inertia"]) for row in table(tmp_path / "elbow.csv")]
    assert len(elbow) == 9 and elbow[0] > elbow[-1]
    for name in ("map_pca.png", "elbow.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")


def test_clusters_by_tsne_without_labels(sound, tmp_path, capsys):
    assert call("clusters", sound, "--by", "tsne", "--most", 3, "--out", tmp_path) == 0
    assert (tmp_path / "map_tsne.png").exists()
    assert [row["agreement with"] for row in table(tmp_path / "agreement.csv")] == [
        "machine id", "label"
    ]  # fmt: skip


def test_without_umap_nothing_is_begun(sound, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "umap", None)
    assert call("clusters", sound, "--by", "umap", "--out", tmp_path) == 1
    assert "--by umap needs umap-learn" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_what_agreements_say():
    def said(**indices):
        titles = clusters.BY | {"machine": "machine id"}
        return clusters.verdict(
            [clusters.Agreement(titles[key], 2, 9, value) for key, value in indices.items()]
        )

    assert "mostly machines, not faults" in said(machine=0.7, cause=0.1)
    assert "mostly machines" not in said(machine=0.1, cause=0.7)
    assert "tell apart is the cause" in said(machine=0.1, cause=0.7)
    assert "little of what is known" in said(machine=0.05, cause=0.01)
    assert "Nothing is known" in said()


def test_components_keep_most_of_the_variance():
    rng = np.random.default_rng(0)
    rows = rng.normal(0, 1, (50, 2)) @ rng.normal(0, 1, (2, 12)) + 0.01 * rng.normal(0, 1, (50, 12))
    points, shares = clusters.components(rows)
    assert points.shape == (50, 2) and shares.sum() > 0.95
    tried = clusters.tries(np.repeat([[0.0, 0], [9, 9], [0, 9]], 5, axis=0) + points[:15] / 50,
                           6, 0)  # fmt: skip
    assert max(tried, key=lambda one: one.silhouette).k == 3


# What cannot be.


def test_real_fans_have_no_causes_to_learn(real, tmp_path, capsys):
    assert call("causes", real / "mimii/fan", "--out", tmp_path) == 1
    err = capsys.readouterr().err
    assert "there are no causes to learn: 2 abnormal without a cause, 2 normal" in err
    assert len(err.strip().splitlines()) <= 2  # and a progress bar is none of it
    assert call("metadata", real / "mimii", "--out", tmp_path) == 0
    assert {row["format"] for row in table(tmp_path / "metadata.csv")} == {"WAVEX"}


def labelled(folder, clips):
    """Recordings with causes: (machine, label, cause, how many) each."""
    rows = ["path,cause"]
    for number, (machine, label, cause, count) in enumerate(clips):
        for i in range(count):
            name = f"fan/{machine}/{label}/{number}_{i}.wav"
            write_clip(folder / name, 10 * number + i, n_samples=4000)
            rows += [f"{name},{cause}"] if cause else []
    (folder / "list.csv").write_text("\n".join(rows) + "\n")
    return folder


@pytest.mark.parametrize(
    "clips",
    [
        [("id_00", "normal", "", 3), ("id_02", "normal", "", 3)],
        [("id_00", "normal", "", 3), ("id_00", "abnormal", "x", 3)],
        [("id_00", "normal", "", 3), ("id_00", "abnormal", "x", 3), ("id_02", "normal", "", 3),
         ("id_02", "abnormal", "x", 1)],
        [("id_00", "abnormal", "x", 3), ("id_02", "abnormal", "x", 3), ("id_02", "normal", "", 3)],
    ],
    ids=["only normal", "one machine", "once in the other machine", "normal in one machine only"],
)  # fmt: skip
def test_where_there_are_no_causes_to_learn(tmp_path, capsys, clips):
    folder = labelled(tmp_path / "data", [*clips, ("id_04", "abnormal", "z", 1)])
    argv = ("--labels", folder / "list.csv", "--out", tmp_path / "out")
    assert call("causes", folder, *argv) == 1
    err = capsys.readouterr().err
    assert "there are no causes to learn" in err and "name causes of more" in err


def test_what_is_left_out_is_said(tmp_path, capsys):
    clips = [(machine, label, cause, 3) for machine in ("id_00", "id_02")
             for label, cause in (("normal", ""), ("abnormal", "x"))]  # fmt: skip
    clips += [("id_00", "abnormal", "rare", 2), ("id_02", "abnormal", "", 1),
              ("id_04", "abnormal", "x", 4)]  # fmt: skip
    folder = labelled(tmp_path / "data", clips)
    argv = ("--labels", folder / "list.csv", "--out", tmp_path / "out")
    assert call("causes", folder, *argv) == 0
    out = capsys.readouterr().out
    assert "left out: 2 rare, which fewer than 2 machine ids have" in out
    assert "left out: 1 without a cause" in out
    assert "left out: 4 of fan/id_04, which has no normal recording" in out
    assert len(table(tmp_path / "out/causes.csv")) == 12


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["metadata", "{}/nowhere"], "no such folder of recordings"),
        (["metadata", "{}/empty"], "no recording in it or below"),
        (["metadata", "{}/bad"], "none of its 2 recordings can be read"),
        (["features", "{}/bad", "--by", "recording"], ".wav: the file is empty"),
        (["features", "{}/one"], "all of one machine"),
        (["features", "{}/data", "--by", "recording", "--rate", "8000"], "sample rate 16000 Hz"),
        (["features", "{}/data", "--channel", "3", "--by", "recording"], "no channel 3, it has 1"),
        (["clusters", "{}/one"], "1 recordings; clusters need four or more"),
        (["clusters", "{}/data", "--only", "abnormal"], "0 recordings abnormal; clusters need"),
        (["clusters", "{}/data", "-k", "9"], "5 recordings make at most 4 clusters, not 9"),
        (["clusters", "{}/alike"], "recordings are all alike"),
        (["clusters", "{}/data", "--labels", "{}/no.csv"], "no such list of causes"),
        (["causes", "{}/data", "--labels", "{}/no.csv"], "no such list of causes"),
        (["reference", "{}/none", "{}/data"], "none.json: no such file"),
    ],
)
def test_bad_input_is_one_line(tmp_path, capsys, argv, words):
    for i in range(5):
        write_clip(tmp_path / f"data/fan/id_0{i % 2}/normal/{i}.wav", i)
        write_clip(tmp_path / f"alike/{i}.wav", 0)
    write_clip(tmp_path / "one/a.wav")
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad").mkdir()
    for i in range(2):
        (tmp_path / f"bad/{i}.wav").touch()
    argv = [arg.format(tmp_path) for arg in argv]
    out = [] if argv[0] == "reference" else ["--out", tmp_path / "out"]
    assert call(*argv, *out) == 1
    lines = [line for line in re.split("[\r\n]", capsys.readouterr().err) if "error:" in line]
    assert len(lines) == 1 and words in lines[0]
