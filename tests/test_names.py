"""What names of clips say, in every year; the label lists; class labels."""

import pytest

from asd.corpora import names
from asd.corpora.names import Name

GOLDEN_NAMES, GOLDEN_B11 = "asdkit/07_labels_names.npz", "cpjku_official_ae/b11_names.npz"


@pytest.mark.parametrize(
    ("file_name", "expected"),
    [
        ("normal_id_01_00000000.wav", Name("01", "00000000", 0, of_2020=True)),
        ("ID_1_0.WAV", Name("1", "0", of_2020=True)),
        # RoboticArm of 2024: no "test"
        ("section_00_source_normal_0035_weight15_BckgF.wav",
         Name("00", "0035", 0, "source", None, "weight15_BckgF")),
        # attributes may hold any of the words, and "id"
        ("section_00_target_test_anomaly_0049_id_C2_target_1_test.wav",
         Name("00", "0049", 1, "target", "test", "id_C2_target_1_test")),
        ("section_03_target_test_0001.wav", Name("03", "0001", None, "target", "test")),
        ("section_00_0117.wav", Name("00", "0117", split="test")),
        ("section_00_normal_test_source_0001.wav", Name("00", "0001", 0, "source", "test")),
        # a running number of more digits, an attribute of digits only
        ("section_00_source_train_normal_12345_6_7.wav",
         Name("00", "12345", 0, "source", "train", "6_7")),
    ],
)  # fmt: skip
def test_words_are_searched(file_name, expected):
    assert names.parse(file_name) == expected


@pytest.mark.parametrize(
    ("file_name", "why"),
    [
        ("recording.wav", "neither section nor id"),
        ("section_source_train_normal_0001.wav", "no digits after section_"),
        ("section.wav", "no digits after section_"),
        ("section_00_source_train_normal.wav", "no running number"),
        ("section_00_source_train_clean_0001.wav", "no running number"),
        ("section_00_source_target_test_normal_0001.wav", "says 'source' and 'target'"),
        ("mixed_section_00_0001.wav", "holds 'mixed' before its section"),
        ("section_00_test_\N{ARABIC-INDIC DIGIT ONE}.wav", "no running number"),
    ],
)
def test_a_name_that_says_too_little_or_two_things(file_name, why):
    with pytest.raises(ValueError, match=why):
        names.parse(file_name)


@pytest.mark.parametrize(
    ("attributes", "pairs"),
    [
        ("car_A1_spd_28V_mic_1", {"car": "A1", "spd": "28V", "mic": "1"}),
        ("v1pat_04_v2pat_05", {"v1pat": "04", "v2pat": "05"}),
        ("spd1000_BckgC", {"spd": "1000", "Bckg": "C"}),
        ("weight15_BckgF", {"weight": "15", "Bckg": "F"}),
        ("m-n_W", {"m-n": "W"}),
        ("vel_490_ac_0.05", {"vel": "490", "ac": "0.05"}),
        ("noAttribute", {}),
        ("", {}),
    ],
)
def test_attributes_are_pairs(attributes, pairs):
    assert names.attribute_pairs(attributes) == pairs


@pytest.mark.parametrize("attributes", ["strength_1_ambient", "vel_1_vel_2", "spd_", "_"])
def test_attributes_that_are_no_pairs(attributes):
    with pytest.raises(ValueError, match=r"no list of names|two values"):
        names.attribute_pairs(attributes)


def load(golden, name):
    import numpy as np

    return np.load(golden / name)


def test_golden_names_of_all_years(golden):
    arrays = load(golden, GOLDEN_NAMES)
    keys = ("path", "split", "machine", "section", "is_target", "is_normal", "attr")
    columns = [arrays[f"parser/{key}"] for key in keys]
    assert len(columns[0])
    for path, split, machine, section, is_target, is_normal, attributes in zip(
        *columns, strict=True
    ):
        *_, of_machine, of_split, file_name = str(path).split("/")
        name = names.parse(file_name)
        assert (of_machine, of_split, name.split) == (machine, split, split)
        assert int(name.section) == section
        assert name.domain == ("target" if is_target else "source")
        assert name.label == 1 - is_normal
        assert name.attributes == attributes


def test_golden_names_without_some_of_the_words(golden):
    arrays = load(golden, GOLDEN_B11)
    file_names = bytes(arrays["parse_names"]).decode().split()
    expected = arrays["parse_expected"]
    assert len(file_names) == len(expected) > 0
    for file_name, row in zip(file_names, expected.tolist(), strict=True):
        name = names.parse(file_name)
        domain = {None: -1, "source": 0, "target": 1}[name.domain]
        split = {None: -1, "train": 0, "test": 1}[name.split]
        label = -1 if name.label is None else name.label
        assert [int(name.section), domain, split, label, int(name.number)] == row, file_name


def test_golden_names_that_the_original_rejects(golden):
    """What it has read of them before it gave up is ours, but for attributes, which it counts."""
    arrays = load(golden, GOLDEN_NAMES)
    columns = arrays["parser_bad/section_target_normal_attr"].tolist()
    paths = arrays["parser_bad/path"].tolist()
    assert len(paths) == len(columns) > 0
    read = 0
    for path, said in zip(paths, columns, strict=True):
        file_name = path.split("/")[-1]
        section, target, _, attributes = ("" if one.startswith("ERR") else one for one in said)
        try:
            name = names.parse(file_name)
        except ValueError as error:
            assert "supplemental" in file_name and "no running number" in str(error)
            continue
        read += 1
        assert int(name.section) == int(section)
        assert name.domain == ({"0": "source", "1": "target"}[target] if target else None)
        assert name.attributes.endswith(attributes)
        assert (name.label is None) == (len(file_name.split("_")) == 3), "anonymous ones only"
    assert read


def test_golden_class_labels(golden):
    arrays = load(golden, GOLDEN_NAMES)
    sets = sorted({key.split("/")[1] for key in arrays.files if key.startswith("label/")})
    assert sets
    for one in sets:
        by = {"machine_section": "section", "machine_section_attr_domain": "attributes"}
        clips = [
            (machine, split, names.parse(file_name))
            for *_, machine, split, file_name in (
                str(path).split("/") for path in arrays[f"label/{one}/path"]
            )
        ]
        found = names.class_labels(clips, by[str(arrays[f"label/{one}/label_name"])])
        assert list(found.names) == arrays[f"label/{one}/classes"].tolist()
        assert list(found.index) == arrays[f"label/{one}/index"].tolist()
        if f"label/{one}/counts" in arrays:
            counts = [len(found.names), found.in_train, found.in_test]
            assert counts == arrays[f"label/{one}/counts"].tolist()


def test_classes_are_ordered_by_code_points_and_those_of_test_clips_count():
    clips = [
        ("fan", "train", names.parse("section_00_source_train_normal_0000_n_A")),
        ("ToyCar", "train", names.parse("section_10_source_train_normal_0000")),
        ("ToyCar", "test", names.parse("section_02_target_test_anomaly_0000_n_B")),
    ]
    by_section = names.class_labels(clips, "section")
    assert by_section.names == ("ToyCar---10", "ToyCar---2", "fan---0")
    assert (by_section.index, by_section.in_train, by_section.in_test) == ((2, 0, 1), 2, 1)
    by_attributes = names.class_labels(clips, "attributes")
    assert by_attributes.names == (
        "ToyCar---10------0",
        "ToyCar---2---n_B---1",
        "fan---0---n_A---0",
    )
