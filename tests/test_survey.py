"""Which clips are found, and what is wrong with others."""

import os

import msgspec
import numpy as np
import pytest
import soundfile
from conftest import SAMPLE_RATE, make_data, write_clip

from asd import config
from asd.clips import Scores
from asd.corpora import dcase2020, survey
from asd.paths import Paths
from common import UnusableClip, UserError

FEATURE = config.load_config().feature


def test_clips_are_found_in_order(tmp_path):
    make_data(tmp_path)
    dev, evaluation = (tmp_path / f"{mode}_data/ToyTest" for mode in ("dev", "eval"))
    train, bad = dcase2020.find_clips(dev / "train", "dev", "ToyTest", "train")
    assert [c.path.name for c in train] == sorted(c.path.name for c in train)
    assert not bad
    test, _ = dcase2020.find_clips(dev / "test", "dev", "ToyTest", "test")
    assert [(c.section, c.label) for c in test] == [
        (i, label) for i in ("01", "02") for label in (0, 1) for _ in range(4)
    ]
    unlabelled, _ = dcase2020.find_clips(evaluation / "test", "eval", "ToyTest", "test")
    assert {(c.section, c.label) for c in unlabelled} == {("05", None)}


def test_ids_are_read_from_names_alone(tmp_path):
    folder = tmp_path / "id_99" / "anomaly_id_98" / "test"
    write_clip(folder / "normal_id_01_00000000.wav")
    ((clip,), _) = dcase2020.find_clips(folder, "dev", "ToyTest", "test")
    assert (clip.section, clip.label) == ("01", 0)


@pytest.mark.parametrize(
    ("mode", "split", "name"),
    [
        ("dev", "train", "anomaly_id_01_00000000.wav"),
        ("dev", "train", "recording.wav"),
        ("dev", "test", "id_01_00000000.wav"),
        ("eval", "test", "normal_id_01_00000000.wav"),
        ("dev", "test", "normal_id__00000000.wav"),
        ("dev", "test", "normal_id_a1_00000000.wav"),
        ("dev", "test", "normal_id_\N{ARABIC-INDIC DIGIT ONE}_00000000.wav"),
    ],
)
def test_a_name_that_fits_no_pattern_is_bad(tmp_path, mode, split, name):
    write_clip(tmp_path / name)
    (tmp_path / "notes.txt").write_text("not a clip")
    (tmp_path / f"._{name}").write_text("left by another system")
    clips, (bad,) = dcase2020.find_clips(tmp_path, mode, "ToyTest", split)
    assert not clips
    assert bad.path.name == name
    assert "rename or remove" in bad.reason
    assert "<id> and <number> are digits" in bad.reason


def test_ids_have_any_number_of_digits_and_are_ordered_as_numbers(tmp_path):
    for name in ("10", "2", "123", "02"):
        write_clip(tmp_path / f"normal_id_{name}_0.wav")
    clips, bad = dcase2020.find_clips(tmp_path, "dev", "ToyTest", "test")
    assert not bad
    assert [clip.section for clip in clips] == ["02", "2", "10", "123"]
    scored = Scores(tuple(reversed(clips)), np.arange(4.0))
    assert [name for name, _ in scored.by_section()] == ["02", "2", "10", "123"]


def machine_types(root, *folders):
    for folder in folders:
        (root / folder).mkdir(parents=True)
    return root


def test_stray_folders_are_left_out_and_said(tmp_path, capsys):
    data = machine_types(
        tmp_path, "fan/train", "pump/test", "__MACOSX/fan", "@eaDir/x", "old/fan/train", "empty"
    )
    assert dcase2020.find_machine_types(data) == ["fan", "pump"]
    told = capsys.readouterr().out.splitlines()
    assert len(told) == 4
    assert f"left out {data}/@eaDir: neither train nor test in it, so no machine type" in told
    assert any(f"move {data}/old/fan up in its place" in line for line in told)
    assert dcase2020.find_machine_types(data, ["pump"]) == ["pump"]
    assert capsys.readouterr().out == ""


def test_the_inner_folder_is_suggested_where_no_other_qualifies(tmp_path):
    data = machine_types(tmp_path, "ToyCar/ToyCar/train")
    for wanted in ([], ["ToyCar"]):
        with pytest.raises(UserError, match="move .*ToyCar/ToyCar up in its place"):
            dcase2020.find_machine_types(data, wanted)


def test_missing_and_empty_folders_are_named(tmp_path):
    with pytest.raises(UserError, match=r"nowhere: no such folder.*get_dataset\.sh"):
        dcase2020.find_machine_types(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"no machine type in it.*get_dataset\.sh"):
        dcase2020.find_machine_types(tmp_path)
    (tmp_path / "fan" / "train").mkdir(parents=True)
    with pytest.raises(UserError, match="no machine type pump; found: fan"):
        dcase2020.find_machine_types(tmp_path, ["pump"])
    with pytest.raises(UserError, match=r"no \.wav file"):
        dcase2020.find_clips(tmp_path / "fan", "dev", "ToyTest", "test")
    with pytest.raises(UserError, match="no such folder"):
        dcase2020.find_clips(tmp_path / "fan" / "test", "dev", "ToyTest", "test")


def test_machine_types_whose_files_would_share_names_are_refused(tmp_path):
    for name in ("fan", "fan_quant_fullint", "pump_quant"):
        (tmp_path / name / "test").mkdir(parents=True)
    with pytest.raises(UserError, match="files of fan_quant_fullint would have.*files of fan;"):
        dcase2020.find_machine_types(tmp_path)
    assert dcase2020.find_machine_types(tmp_path, ["pump_quant", "fan"]) == ["pump_quant", "fan"]


@pytest.mark.parametrize("name", ["../fan", "", ".", "fan/../fan", "fan\n"])
def test_a_machine_type_is_a_folder_of_the_data(tmp_path, name):
    (tmp_path / "fan" / "train").mkdir(parents=True)
    with pytest.raises(UserError, match="no machine type .*; found: fan") as caught:
        dcase2020.find_machine_types(tmp_path, [name])
    assert "\n" not in str(caught.value)


def test_a_bad_clip_of_any_name_is_one_line(tmp_path):
    make_data(tmp_path)
    cfg = msgspec.structs.replace(config.load_config(), dev_directory=str(tmp_path / "dev_data"))
    (tmp_path / "dev_data/ToyTest/train/a\n\x1b[31m.wav").touch()
    with pytest.raises(UserError) as caught:
        survey.survey(Paths(cfg, "dev"), ["ToyTest"], "train", False)
    assert any(r"train/a\n\x1b[31m.wav: " in line for line in str(caught.value).splitlines())


LONG = 128000  # samples: 251 frames


def broken_clips(tmp_path):
    """What is wrong, a clip with that fault, and what the message must hold."""
    whole = write_clip(tmp_path / "whole.wav", n_samples=LONG).read_bytes()

    def file(name, content):
        (tmp_path / name).write_bytes(content)
        return tmp_path / name

    def clip(name, **kwargs):
        return write_clip(tmp_path / name, n_samples=kwargs.pop("n_samples", LONG), **kwargs)

    stereo = tmp_path / "stereo.wav"
    soundfile.write(stereo, np.zeros((LONG, 2)), SAMPLE_RATE)
    return {
        "empty": (file("empty.wav", b""), "the file is empty"),
        "not wav": (file("text.wav", b"hello, this is no recording" * 99), "not a readable wav"),
        "header only": (file("header.wav", whole[:20]), "not a readable wav"),
        "truncated": (file("cut.wav", whole[: len(whole) // 2]), "truncated.*promises 256000"),
        "flac": (clip("flac.wav", format="FLAC"), "FLAC file, not wav"),
        "rate": (clip("rate.wav", rate=44100), "sample rate 44100 Hz.*16000 Hz"),
        "stereo": (stereo, "2 channels.*feature.channel"),
        "short": (clip("short.wav", n_samples=100000), "too short: 196 frames.*250 frames"),
    }


def reason(path, feature=FEATURE):
    """Why a clip cannot be used; None where it can."""
    try:
        survey.examine(path, feature)
    except UnusableClip as error:
        return str(error)
    return None


FAULTS = ("empty", "not wav", "header only", "truncated", "flac", "rate", "stereo", "short")


@pytest.mark.parametrize("fault", FAULTS)
def test_an_unusable_clip_is_told_with_the_remedy(tmp_path, fault):
    import re

    path, expected = broken_clips(tmp_path)[fault]
    why = reason(path)
    assert re.search(expected, why)
    assert re.search("replace|resample|convert|remove|choose", why)
    assert survey.examine(tmp_path / "whole.wav", FEATURE) == LONG


def test_a_pipe_does_not_hang(tmp_path):
    os.mkfifo(tmp_path / "normal_id_01_00000000.wav")
    assert reason(tmp_path / "normal_id_01_00000000.wav") == "not a file; remove it"


def test_the_shortest_usable_clip(tmp_path):
    needed = 249 * 512  # samples: frame 249 is centred on the end
    assert reason(write_clip(tmp_path / "a.wav", n_samples=needed)) is None
    assert "too short" in reason(write_clip(tmp_path / "b.wav", n_samples=needed - 1))


def test_a_channel_is_chosen(tmp_path):
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, (LONG, 8)).astype(np.float32)
    path = tmp_path / "eight.wav"
    soundfile.write(path, samples, SAMPLE_RATE, subtype="FLOAT")
    third = msgspec.structs.replace(FEATURE, channel=2)
    assert reason(path, third) is None
    assert "no channel 9" in reason(path, msgspec.structs.replace(FEATURE, channel=9))
