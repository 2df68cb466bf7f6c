"""Clips of every year, found by the layout on disk; labels of evaluation clips."""

import re
import shutil

import msgspec
import numpy as np
import pytest
from conftest import call, write_clip, write_config

from asd import config, files
from asd.corpora import attributes, find, labels, names, rows
from asd.corpora.labels import Truth
from asd.corpora.survey import survey
from asd.paths import Paths
from common import UserError

GOLDEN_NAMES, GOLDEN_B11 = "asdkit/07_labels_names.npz", "cpjku_official_ae/b11_names.npz"


def paths_of(folder, corpus="dcase2023", mode="dev", **more):
    values = {"corpus": corpus, "dev_directory": str(folder), "eval_directory": str(folder)}
    return Paths(msgspec.structs.replace(config.load_config(), **values | more), mode)


def touch(folder, *file_names):
    folder.mkdir(parents=True, exist_ok=True)
    for name in file_names:
        (folder / name).touch()
    return folder


TRAIN = [f"section_00_{domain}_train_normal_000{i}_spd_{i}.wav" for i, domain in
         enumerate(("source", "source", "target"))]  # fmt: skip
TEST = [f"section_00_{domain}_test_{label}_000{i}_spd_{i}.wav" for i in range(2)
        for domain in ("source", "target") for label in ("anomaly", "normal")]  # fmt: skip


# ---------------------------------------------------------------------------------------------
# The table.


def test_every_year_is_a_row():
    assert [row.year for row in rows.YEARS.values()] == list(range(2020, 2027))
    with pytest.raises(UserError, match="no 'dcase2019'; known: dcase2020, "):
        rows.named("dcase2019")


def test_golden_machines_sections_and_sizes_of_evaluation_data(golden):
    arrays = np.load(golden / GOLDEN_B11)
    machines = bytes(arrays["eval_counts_machine"]).decode().split()
    found, domains, labelled = {}, {}, {}
    for machine, row in zip(machines, arrays["eval_counts"].tolist(), strict=True):
        year, section, domain, label, count = row
        found.setdefault(year, {}).setdefault(machine, set()).add(section)
        domains.setdefault(year, set()).add(domain)
        labelled.setdefault((year, machine, section), set()).add(label)
        assert count > 0
    assert found
    assert all(both == {0, 1} for both in labelled.values())
    for year, some in domains.items():
        assert some == ({0, 1} if rows.named(f"dcase{year}").has_domains else {0})
    for year, sections in found.items():
        ours = rows.named(f"dcase{year}").evaluation
        assert {name: set(map(int, some)) for name, some in ours.items()} == sections


def test_golden_classes_of_a_year_without_attributes(golden):
    """The label files that the original ships of 2020 have a class a machine id, of both data."""
    arrays = np.load(golden / GOLDEN_NAMES)
    counts = arrays["label_counts_shipped/num_class_train_test"].tolist()
    by_year = dict(zip(arrays["label_counts_shipped/year"].tolist(), counts, strict=True))
    if 2020 not in by_year:
        pytest.skip("this set of golden data has no classes of 2020")
    row = rows.named("dcase2020")
    clips = [
        (machine, split, names.parse(f"normal_id_{section}_00000000.wav"))
        for mode in ("dev", "eval") for machine, sections in row.sections(mode).items()
        for section in sections for split in ("train", "test")
    ]  # fmt: skip
    found = names.class_labels(clips, "section")
    assert [len(found.names), found.in_train, found.in_test] == by_year[2020]


# ---------------------------------------------------------------------------------------------
# Clips.


def test_clips_carry_domain_and_attributes(tmp_path):
    touch(tmp_path / "fan/train", *TRAIN)
    touch(tmp_path / "fan/test", *TEST)
    (_,), train, bad = find.find_clips(paths_of(tmp_path), "fan", "train")
    assert not bad
    assert [(c.section, c.domain, c.attributes, c.label, c.split) for c in train] == [
        ("00", "source", "spd_0", 0, "train"),
        ("00", "source", "spd_1", 0, "train"),
        ("00", "target", "spd_2", 0, "train"),
    ]
    _, test, _ = find.find_clips(paths_of(tmp_path), "fan", "test")
    assert [c.label for c in test] == [0] * 4 + [1] * 4
    assert {c.domain for c in test} == {"source", "target"}


def test_the_test_folders_of_2021_are_one_test_set(tmp_path, capsys):
    for domain in ("source", "target"):
        touch(tmp_path / f"fan/{domain}_test", *(name for name in TEST if domain in name))
    paths = paths_of(tmp_path, "dcase2021")
    assert find.find_machine_types(paths) == ["fan"], "by its test folders alone"
    places, clips, bad = find.find_clips(paths, "fan", "test")
    assert [place.name for place in places] == ["source_test", "target_test"]
    assert not bad
    assert len(clips) == len(TEST)
    assert [c.label for c in clips] == [0] * 4 + [1] * 4
    assert "warning" not in capsys.readouterr().out
    (tmp_path / f"fan/target_test/{TEST[0]}").touch()
    (clip,) = find.find_clips(paths, "fan", "test")[2]
    assert "says source, the folder is target_test" in clip.reason
    (tmp_path / f"fan/target_test/{TEST[0]}").unlink()
    touch(tmp_path / "fan/test", TEST[0])
    with pytest.raises(UserError, match=r"source_test/.* and .*/test/.*: two clips of one name"):
        find.find_clips(paths, "fan", "test")


def test_golden_test_folders_of_2021(golden, tmp_path):
    arrays = np.load(golden / GOLDEN_NAMES)
    everything = [str(path) for path in arrays["rename/2021/in"]]
    paths = [path.split("/")[-3:] for path in everything if "/eval_data/" in path]
    assert paths
    for machine, folder, name in paths:
        touch(tmp_path / machine / folder, name)
    for machine in {machine for machine, *_ in paths}:
        _, clips, bad = find.find_clips(paths_of(tmp_path, "dcase2021", "eval"), machine, "test")
        assert not bad
        assert {c.path.name for c in clips} == {n for m, _, n in paths if m == machine}
        assert all(clip.domain in clip.path.parent.name for clip in clips)


@pytest.mark.parametrize(
    ("split", "name", "why"),
    [
        ("train", "section_00_train_normal_0001.wav", "says no domain"),
        ("train", "section_00_source_train_anomaly_0001.wav", "says anomaly"),
        ("train", "section_00_source_test_normal_0001.wav", "says test, the folder is train"),
        ("test", "section_00_source_test_0001.wav", "says neither normal nor anomaly"),
        ("test", "recording.wav", "says neither section nor id"),
    ],
)
def test_a_name_that_says_too_little_is_a_bad_clip(tmp_path, split, name, why):
    touch(tmp_path / "fan" / split, *(TRAIN if split == "train" else TEST), name)
    _, clips, (bad,) = find.find_clips(paths_of(tmp_path), "fan", split)
    assert bad.path.name == name
    assert why in bad.reason
    assert len(clips) == len(TRAIN if split == "train" else TEST)


def test_a_missing_domain_is_told(tmp_path, capsys):
    touch(tmp_path / "fan/train", *TRAIN[:2])
    find.find_clips(paths_of(tmp_path), "fan", "train")
    expected = "fan train, section 00: no clip of the target domain, 2 of the source domain"
    assert expected in capsys.readouterr().out


@pytest.mark.parametrize(
    ("corpus", "file_names", "why"),
    [
        ("dcase2023", [*TRAIN, "normal_id_01_00000000.wav"],
         "1 names of DCASE 2020, as normal_id_01_00000000.wav; corpus is dcase2023"),
        ("dcase2020", ["normal_id_01_00000000.wav", *TRAIN],
         "3 names of DCASE 2021 or later, .*; corpus is dcase2020"),
        ("dcase2023", [*TRAIN, "section_02_source_train_normal_0000.wav"],
         "section 02; fan of dcase2023 has 00 in its dev data: keep one year"),
    ],
)  # fmt: skip
def test_mixed_years_are_refused_in_one_line(tmp_path, corpus, file_names, why):
    touch(tmp_path / "fan/train", *file_names)
    with pytest.raises(UserError, match=why) as caught:
        find.find_clips(paths_of(tmp_path, corpus), "fan", "train")
    assert "\n" not in str(caught.value)


def test_roboticarm_of_2024_lacks_test_in_its_names(tmp_path):
    touch(tmp_path / "RoboticArm/test", "section_00_source_normal_0035_weight15_BckgF.wav",
          "section_00_target_anomaly_0035_weight15_BckgF.wav")  # fmt: skip
    # as somebody has renamed them
    _, clips, bad = find.find_clips(paths_of(tmp_path, "dcase2024", "eval"), "RoboticArm", "test")
    assert not bad
    assert [(c.domain, c.label) for c in clips] == [("source", 0), ("target", 1)]


# ---------------------------------------------------------------------------------------------
# Attributes.


def test_attributes_of_the_table_fill_names_without(tmp_path, capsys):
    without = "section_00_target_train_normal_0009_noAttribute.wav"
    touch(tmp_path / "fan/train", *TRAIN, without)
    table = tmp_path / "fan/attributes_00.csv"
    table.write_text(
        "file_name,d1p,d1v,d2p,d2v\n"
        f"fan/train/{without},vel,12,loc,B\n"
        f"fan/train/{TRAIN[0]},spd,0\n"
        f"fan/train/{TRAIN[1]},spd,7,,\n"
    )
    _, clips, _ = find.find_clips(paths_of(tmp_path), "fan", "train")
    said = {clip.path.name: clip.attributes for clip in clips}
    assert said[without] == "vel_12_loc_B"
    assert said[TRAIN[1]] == "spd_1", "the name holds"
    out = capsys.readouterr().out
    assert "1 clips have other attributes in their names" in out
    assert f"as {TRAIN[1]}; the names' are taken" in out


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("name,d1p,d1v\n", "first line does not begin with file_name"),
        ("file_name,d1p,d1v\nfan/train/a.wav,vel\n", "line 2: .* pairs of an attribute"),
        ("file_name,d1p,d1v\nfan/train/a.wav,,12\n", "line 2: .* pairs of an attribute"),
        ("file_name,d1p,d1v\n,vel,12\n", "line 2: no file name"),
        ("file_name,d1p,d1v\na.wav,vel,1,vel,2\n", "line 2: one attribute has two values"),
        (
            "file_name,d1p,d1v\na.wav,vel,1\na.wav,,\na.wav,vel,2\n",
            "line 4: 'a.wav' stands there twice, with other attributes; remove one",
        ),
        ("file_name,d1p\n\udc80", "not a table of attributes"),
    ],
)
def test_attributes_that_do_not_parse(tmp_path, text, why):
    path = tmp_path / "attributes_00.csv"
    path.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(UserError, match=why) as caught:
        attributes.read(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_two_tables_of_attributes_are_one(tmp_path):
    """As additional training data and evaluation data of a machine type have one each."""
    names_of = [f"section_00_source_train_normal_000{i}.wav" for i in range(2)]
    fan = touch(tmp_path / "fan/train", *names_of).parent
    (fan / "attributes_00.csv").write_text(f"file_name,d1p,d1v\n{names_of[0]},vel,1\n"
                                           f"{names_of[1]},,\n")  # fmt: skip
    other = fan / "attributes_00_eval_data_fan_test.csv"
    other.write_text(f"file_name,d1p,d1v\n{names_of[0]},vel,1\n{names_of[1]},vel,2\n")
    (fan / "attributes_000.csv").write_text("of another section\n")
    paths = paths_of(tmp_path)
    said = [clip.attributes for clip in find.find_clips(paths, "fan", "train")[1]]
    assert said == ["vel_1", "vel_2"]
    other.write_text(f"file_name,d1p,d1v\n{names_of[0]},vel,3\n")
    why = rf"{other}: {names_of[0]} has other attributes there than in .*attributes_00.csv; remove"
    with pytest.raises(UserError, match=why):
        find.find_clips(paths, "fan", "train")


def test_golden_tables_of_attributes(golden, tmp_path):
    arrays = np.load(golden / GOLDEN_B11)
    for key in ("attributes_example", "attributes_min"):
        path = tmp_path / key
        path.write_bytes(bytes(arrays[key]))
        read = attributes.read(path)
        assert read
        for name, pairs in read.items():
            assert pairs == names.attribute_pairs(names.parse(name).attributes)


# ---------------------------------------------------------------------------------------------
# Labels of evaluation clips.


def test_the_list_of_a_year(tmp_path):
    path = tmp_path / "eval_data_list_2023.csv"
    path.write_text(
        "fan\nsection_00_0000.wav,section_00_source_test_anomaly_0007_spd_1.wav\n"
        "pump\nsection_00_0000.wav,section_00_target_test_normal_0001_noAttribute.wav\n"
    )
    assert labels.read(path) == {
        ("fan", "section_00_0000.wav"): Truth(1, "source", "spd_1"),
        ("pump", "section_00_0000.wav"): Truth(0, "target", "noAttribute"),
    }


def test_a_table_of_correspondence_has_the_published_name_last(tmp_path):
    path = tmp_path / "fan.csv"
    path.write_text(
        "source_file_name,target_file_name\n"
        "fan/test/section_00_source_test_anomaly_0007_spd_1.wav,fan/test/section_00_0000.wav\n"
    )
    assert labels.read(path) == {("fan", "section_00_0000.wav"): Truth(1, "source", "spd_1")}


def evaluator(folder, machine, truths, section="00"):
    """An official evaluator's folder: by name the label, the domain and the name with label."""
    for column, what in enumerate(("data", "domain", "attributes")):
        path = folder / f"ground_truth_{what}/ground_truth_{machine}_section_{section}_test.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"{name},{row[column]}\n" for name, row in truths.items()))
    return folder


def test_an_official_evaluators_folder(tmp_path):
    full = "section_00_target_test_anomaly_0003_mdl_A"
    evaluator(tmp_path, "fan", {"section_00_0000.wav": (1, 1, full)})
    expected = {("fan", "section_00_0000.wav"): Truth(1, "target", "mdl_A")}
    assert labels.read(tmp_path) == expected
    # 2022: the columns of attributes_00.csv, the name with label as the last
    path = tmp_path / "ground_truth_attributes/ground_truth_fan_section_00_test.csv"
    path.write_text(f"file_name,d1p,d1v\nfan/test/section_00_0000.wav,mdl,A,{full}.wav\n")
    assert labels.read(tmp_path) == expected


def test_golden_lists_of_all_years(golden, tmp_path):
    arrays = np.load(golden / GOLDEN_NAMES)
    years = sorted({key.split("/")[1] for key in arrays.files if key.startswith("rename/")})
    assert years
    for year in years:
        expected, lines = {}, {}
        pairs = zip(arrays[f"rename/{year}/in"], arrays[f"rename/{year}/out"], strict=True)
        for published, full in pairs:
            *_, machine, _, name = str(published).split("/")
            said = names.parse(str(full))
            if year == "2020":  # as it stands in the list
                label = ("normal", "anomaly")[said.label]
                full = f"{label}_id_{said.section}_{said.number}.wav"
            domain = None if year == "2020" else said.domain
            expected[machine, name] = Truth(said.label, domain, said.attributes)
            lines.setdefault(machine, [machine]).append(f"{name},{full}")
        path = tmp_path / f"eval_data_list_{year}.csv"
        path.write_text("\n".join(line for some in lines.values() for line in some) + "\n")
        assert labels.read(path) == expected


def test_golden_wrong_rows_of_2022_are_named(golden, tmp_path, capsys):
    arrays = np.load(golden / GOLDEN_NAMES)
    columns = [str(name) for name in arrays["gt2022/columns"]]
    wrong, n_rows, lines = set(), 0, {0: ["ToyCar"], 1: ["ToyTrain"]}
    truths = {}
    for row in arrays["gt2022/rows"].tolist():
        machine, section, clip, *_ = row
        said = dict(zip(columns, row, strict=True))
        name = f"section_{section:02}_{clip:04}.wav"
        domain = ("source", "target")[said["list_target"]]
        label = ("normal", "anomaly")[said["list_anomaly"]]
        lines[machine].append(f"{name},section_{section:02}_{domain}_test_{label}_{clip:04}.wav")
        right = said["official_anomaly"], said["official_target_right"]
        if right != (said["list_anomaly"], said["list_target"]):
            wrong.add((machine, name))
        of = "source", "target"
        full = f"section_{section:02}_{of[right[1]]}_test_normal_{clip:04}"
        truths.setdefault((machine, section), {})[name] = (*right, full)
        n_rows += 1
    assert n_rows > len(wrong) > 0
    path = tmp_path / "eval_data_list_2022.csv"
    path.write_text("\n".join(lines[0] + lines[1]) + "\n")
    for (machine, section), some in truths.items():
        evaluator(tmp_path / "evaluator", lines[machine][0], some, f"{section:02}")
    found = labels.differences(labels.read(path), labels.read(tmp_path / "evaluator"))
    assert set(found) == {(lines[machine][0], name) for machine, name in wrong}
    assert labels.main([str(path), str(tmp_path / "evaluator")]) == 1
    out = capsys.readouterr().out.splitlines()
    assert len(out) == len(wrong) + 2 + 1
    assert out[-1] == f"{len(wrong)} of {n_rows} clips that both list are told differently"
    assert labels.main([str(path), str(path)]) == 0


def test_the_wrong_list_of_2022_is_refused_for_its_wrong_machine_types_only(tmp_path):
    path, names_of = tmp_path / "eval_data_list_2022.csv", ["section_03_0000.wav"]
    rows_of = f"{names_of[0]},section_03_source_test_normal_0000.wav\n"
    path.write_text(f"ToyCar\n{rows_of}fan\n{rows_of}")
    for machine in ("ToyCar", "fan"):
        touch(tmp_path / machine / "test", *names_of)
    paths = paths_of(tmp_path, "dcase2022", "eval", evaluation_labels=str(path))
    with pytest.raises(UserError, match="ToyCar are known to be wrong.*official evaluator's"):
        find.find_clips(paths, "ToyCar", "test")
    assert [c.label for c in find.find_clips(paths, "fan", "test")[1]] == [0]
    right = evaluator(tmp_path / "right", "ToyCar", {names_of[0]: (1, 1, "")}, "03")
    (right / "ground_truth_attributes/ground_truth_ToyCar_section_03_test.csv").unlink()
    paths = paths_of(tmp_path, "dcase2022", "eval", evaluation_labels=str(right))
    (clip,) = find.find_clips(paths, "ToyCar", "test")[1]
    assert (clip.label, clip.domain) == (1, "target")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "no label in it"),
        ("section_00_0000.wav,section_00_source_test_normal_0000.wav\n", "line 1: no line with a"),
        ("fan\nsection_00_0000.wav,section_00_0000.wav\n", "line 2: .* neither normal nor anom"),
        ("fan\nsection_00_0000.wav,hello.wav\n", "line 2: the name 'hello.wav' says neither"),
        ("fan\nhello.wav,section_00_source_test_normal_0000.wav\n", "line 2: the name 'hello.wav'"),
        ("fan\na.wav,b.wav,c.wav\n", "line 2: 3 fields"),
        ("fan\n" + "section_00_0000.wav,section_00_source_test_normal_0000.wav\n" * 2,
         "line 3: fan's 'section_00_0000.wav' stands there twice"),
        ("\udc80", "not a list of labels"),
    ],
)  # fmt: skip
def test_a_list_that_is_none(tmp_path, text, why):
    path = tmp_path / "list.csv"
    path.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(UserError, match=why) as caught:
        labels.read(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_list_that_is_not_there_and_a_folder_that_is_no_evaluators(tmp_path):
    with pytest.raises(UserError, match="no such list of labels; name the list of the year"):
        labels.read(tmp_path / "nothing.csv")
    with pytest.raises(UserError, match="no ground_truth_data in it"):
        labels.read(tmp_path)
    evaluator(tmp_path, "fan", {"section_00_0000.wav": ("normal", 1, "")})
    with pytest.raises(UserError, match="is not a name and 0 or 1"):
        labels.read(tmp_path)


@pytest.mark.parametrize(
    ("listed", "why"),
    [
        ("fan\nid_01_00000000.wav,normal_id_01_00000007.wav\n", "no label of any clip of fan"),
        ("pump\nsection_03_0000.wav,section_03_source_test_normal_0000.wav\n",
         "no label of fan, only of pump; is it of another year"),
        ("fan\nsection_03_0000.wav,section_03_source_test_normal_0000.wav\n",
         r"no label of section 04 of fan \(of 1 of 2 clips\)"),
    ],
)  # fmt: skip
def test_a_list_of_other_clips(tmp_path, listed, why):
    (tmp_path / "list.csv").write_text(listed)
    touch(tmp_path / "fan/test", "section_03_0000.wav", "section_04_0000.wav")
    paths = paths_of(tmp_path, "dcase2022", "eval", evaluation_labels=str(tmp_path / "list.csv"))
    with pytest.raises(UserError, match=why) as caught:
        find.find_clips(paths, "fan", "test")
    assert "\n" not in str(caught.value)


# ---------------------------------------------------------------------------------------------
# The scripts.


def year_2021(folder):
    """Data of one machine type as 2021 has it, with the list of its evaluation clips."""
    dev, evaluation = folder / "dev_data/fan", folder / "eval_data/fan"
    lines = ["fan"]
    for i in range(4):
        write_clip(dev / f"train/section_00_source_train_normal_000{i}.wav", i)
        write_clip(evaluation / f"train/section_03_source_train_normal_000{i}.wav", i)
    for k, domain in enumerate(("source", "target")):
        for j, label in enumerate(("normal", "anomaly")):
            for i in range(2):
                seed = 100 + 10 * k + 5 * j + i
                name = f"section_00_{domain}_test_{label}_000{i}.wav"
                write_clip(dev / f"{domain}_test/{name}", seed, 0.2 * j)
                name = f"section_03_{domain}_test_000{2 * j + i}.wav"
                write_clip(evaluation / f"{domain}_test/{name}", seed, 0.2 * j)
                full = name.replace("_test_", f"_test_{label}_")
                lines.append(f"{name},{full}")
    (folder / "eval_data_list_2021.csv").write_text("\n".join(lines) + "\n")
    return folder


def test_evaluation_data_has_an_auc_where_its_labels_are_named(tmp_path, capsys):
    folder = year_2021(tmp_path)
    listed = str(folder / "eval_data_list_2021.csv")
    cfg = write_config(folder, corpus="dcase2021", evaluation_labels=listed)
    for mode in ("-d", "-e"):
        assert call("00_train.py", mode, "-c", cfg) == 0
        assert call("01_test.py", mode, "-c", cfg) == 0
    for name, section in (("result", "00"), ("result/eval", "03")):
        rows_of = files.read_csv(folder / name / "metrics.csv")
        row = dict(zip(rows_of[0], rows_of[1], strict=True))
        assert section in rows_of[1]
        assert {"4"} == {row[key] for key in row if key in ("normal", "anomalous")}
        scores = files.read_csv(folder / name / f"anomaly_score_fan_id_{section}.csv")
        assert len(scores) == 8
    out = capsys.readouterr().out
    assert "so there is no AUC" not in out
    cfg = write_config(folder, corpus="dcase2021")
    assert call("01_test.py", "-e", "-c", cfg) == 0
    assert "so there is no AUC" in capsys.readouterr().out
    left = [name for name in ("metrics.csv", "result.csv", "roc_fan.png", "official.csv")
            if (folder / "result/eval" / name).exists()]  # fmt: skip
    assert not left, "the figures of the run before, which had labels"


FROZEN = {"kind": "frozen", "backend": {"kind": "knn", "distance": "cosine", "neighbours": 1}}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A year's data with models and results of it, not to be changed."""
    folder = tmp_path_factory.mktemp("year")
    dev, evaluation, lines = folder / "dev_data/fan", folder / "eval_data/fan", ["fan"]
    for i, domain in enumerate(("source", "source", "target", "target")):
        for place in (dev, evaluation):
            write_clip(place / f"train/section_00_{domain}_train_normal_000{i}.wav", i)
        for label in ("normal", "anomaly"):
            tone = 0.1 * (label == "anomaly")
            full = f"section_00_{domain}_test_{label}_000{i}.wav"
            write_clip(dev / "test" / full, 10 + i, tone)
            name = f"section_00_{2 * i + (label == 'anomaly'):04}.wav"
            write_clip(evaluation / "test" / name, 10 + i, tone)
            lines.append(f"{name},{full}")
    (folder / "eval_data_list_2023.csv").write_text("\n".join(lines) + "\n")
    for mode in ("-d", "-e"):
        for script in ("00_train.py", "01_test.py"):
            assert call(script, mode, "-c", of_2023(folder)) == 0
    return folder


def of_2023(folder, **changes):
    listed = {"evaluation_labels": str(folder / "eval_data_list_2023.csv")}
    values = {"corpus": "dcase2023", "detector": FROZEN} | listed | changes
    return write_config(folder, **values)


def everything(folder):
    return {path: path.read_bytes() for name in ("model", "result")
            for path in (folder / name).rglob("*.*")}  # fmt: skip


def put(name):
    return lambda folder: write_clip(folder / name, 77)


def twice(folder):
    name = folder / "dev_data/fan/test/section_00_source_test_normal_0000.wav"
    write_clip(name.with_suffix(".WAV"), 77, format="WAV")


def no_table(folder):
    (folder / "dev_data/fan/attributes_00.csv").write_text("file_name,d1p,d1v\na.wav,vel\n")


def list_of(text):
    return lambda folder: (folder / "eval_data_list_2023.csv").write_text(text)


BAD = {
    "a name of 2020": (
        "-d", put("dev_data/fan/test/normal_id_00_00000000.wav"),
        r"dev_data/fan/test: 1 names of DCASE 2020, as normal_id.*; corpus is dcase2023: set it"),
    "a section of 2022": (
        "-d", put("dev_data/fan/test/section_02_source_test_normal_0000.wav"),
        r"test/section_02_.*wav: section 02; fan of dcase2023 has 00 .* keep one year"),
    "a test folder of 2021": (
        "-d", put("dev_data/fan/source_test/section_00_source_test_normal_0000.wav"),
        r"dev_data/fan/source_test: a folder of dcase2021; corpus is dcase2023: set it to dcase2021"
        ", or move the folder away"),
    "a machine type of 2021": (
        "-d", put("dev_data/pump/train/section_00_source_train_normal_0000.wav"),
        r"dev_data/pump: a machine type of dcase2021; corpus is dcase2023: set it to .* keep one"),
    "a name without domain": (
        "-d", put("dev_data/fan/test/section_00_test_normal_0009.wav"),
        r"test/section_00_test_normal_0009.wav: the name says no domain, .* rename or remove"),
    "a test clip without label": (
        "-d", put("dev_data/fan/test/section_00_source_test_0009.wav"),
        r"section_00_source_test_0009.wav: the name says neither normal nor anomaly .* rename"),
    "two clips of one name": ("-d", twice, r"0000.WAV and .*0000.wav: two clips of one name; remo"),
    "no table of attributes": (
        "-d", no_table, r"attributes_00.csv: line 2: 'a.wav,vel' is not a .* mend or remove the"),
    "a list of another year": (
        "-e", list_of("pump\nsection_00_0000.wav,section_00_source_test_normal_0000.wav\n"),
        r"eval_data_list_2023.csv: no label of fan, only of pump; is it of another year\? .* name"),
    "a list of 2021": (
        "-e", list_of("fan\nsection_00_source_test_0000.wav,section_00_source_test_normal_0.wav\n"),
        r"eval_data_list_2023.csv: no label of any clip of fan, not of section_00_0000.wav; is it"),
    "a clip without label": (
        "-e", put("eval_data/fan/test/section_00_0099.wav"),
        r"eval_data_list_2023.csv: no label of fan's section_00_0099.wav \(of 1 of 9 clips\); is"),
    "no list": ("-e", list_of("fan\n"), r"eval_data_list_2023.csv: no label in it; name the list"),
}  # fmt: skip


@pytest.mark.parametrize("what", BAD)
@pytest.mark.parametrize("script", ["00_train.py", "01_test.py"])
def test_bad_input_is_one_line_and_loses_nothing(trained, tmp_path, capsys, script, what):
    mode, spoil, why = BAD[what]
    folder = tmp_path / "copy"
    shutil.copytree(trained, folder)
    cfg = of_2023(folder)
    before = everything(folder)
    spoil(folder)
    if what == "a machine type of 2021":  # a model of it, too, so that its clips are looked at
        for suffix in (".npz", ".json"):
            model = folder / f"model/model_fan{suffix}"
            before[model.with_stem("model_pump")] = model.read_bytes()
            shutil.copy(model, model.with_stem("model_pump"))
        scores = folder / "model/normal_score_fan.csv"
        before[scores.with_stem("normal_score_pump")] = scores.read_bytes()
        shutil.copy(scores, scores.with_stem("normal_score_pump"))
    assert call(script, mode, "-c", cfg) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert re.match(f"error: .*{why}", line), line
    assert everything(folder) == before


def test_a_missing_domain_is_told_by_the_scripts(trained, tmp_path, capsys):
    folder = tmp_path / "copy"
    shutil.copytree(trained, folder)
    for path in (folder / "dev_data/fan/test").glob("*_target_*"):
        path.unlink()
    assert call("01_test.py", "-d", "-c", of_2023(folder)) == 0
    expected = "fan test, section 00: no clip of the target domain, 4 of the source domain"
    assert expected in capsys.readouterr().out


def test_sections_without_labels_are_named(trained, tmp_path, capsys):
    folder = tmp_path / "copy"
    shutil.copytree(trained, folder)
    fan = folder / "eval_data/fan"
    shutil.rmtree(fan)
    for i in range(2):
        write_clip(fan / f"train/section_03_source_train_normal_000{i}.wav", i)
        label = ("normal", "anomaly")[i]
        write_clip(fan / f"test/section_03_source_test_{label}_000{i}.wav", 5 + i)
        write_clip(fan / f"test/section_04_000{i}.wav", 7 + i)
    cfg = of_2023(folder, corpus="dcase2022", evaluation_labels=None)
    assert (folder / "result/eval/metrics.csv").exists()
    assert call("01_test.py", "-e", "-c", cfg) == 0
    out = capsys.readouterr().out
    assert "scores of 4 clips, 2 of them without labels, of fan 04, so there is no AUC" in out
    assert not (folder / "result/eval/metrics.csv").exists()  # it was of other scores


def test_a_skipped_clip_of_any_test_folder_is_forgotten_once_it_is_mended(tmp_path):
    folder = year_2021(tmp_path)
    cfg = config.load_config(write_config(folder, corpus="dcase2021"))
    broken = folder / "dev_data/fan/target_test/section_00_target_test_normal_0000.wav"
    whole = broken.read_bytes()
    broken.write_bytes(b"")
    paths = Paths(cfg, "dev")
    (found,) = survey(paths, ["fan"], "test", skip_bad_clips=True)
    assert len(found.clips) == 7
    assert files.read_csv(paths.table("skipped"))[1][0] == str(broken)
    broken.write_bytes(whole)
    survey(paths, ["fan"], "test", skip_bad_clips=True)
    assert not paths.table("skipped").exists()
