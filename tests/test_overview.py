"""What is said of the recordings that are there."""

import numpy as np
import pytest
import soundfile
from conftest import SAMPLE_RATE, write_config
from test_corpora import touch

from asd.corpora import overview

SECONDS = 10


def write(path, level_db, channels=1, seconds=SECONDS):
    """A square wave of that level in its last channel, silence in the others."""
    samples = np.zeros((int(seconds * SAMPLE_RATE), channels))
    samples[:, -1] = 10 ** (level_db / 20) * np.tile([1, -1], len(samples) // 2)
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, SAMPLE_RATE, subtype="FLOAT")
    return path


def told(tmp_path, capsys, *arguments, **overrides):
    cfg = write_config(tmp_path, **{"corpus": "dcase2023"} | overrides)
    overview.main([*arguments, "-c", str(cfg)])
    return capsys.readouterr().out.splitlines()


@pytest.mark.parametrize("channels", [1, 2])
def test_length_and_level_of_each_channel(tmp_path, channels):
    heard = overview.hear(write(tmp_path / "a.wav", -20, channels, 1.5))
    assert heard.seconds == 1.5
    expected = [overview.FLOOR_DB] * (channels - 1) + [-20]
    assert heard.levels == pytest.approx(expected, abs=1e-4)


def test_a_clip_that_cannot_be_read_is_not_heard(tmp_path):
    assert overview.hear(touch(tmp_path, "a.wav") / "a.wav") is None
    soundfile.write(tmp_path / "b.wav", np.zeros((0, 1)), SAMPLE_RATE)
    assert overview.hear(tmp_path / "b.wav") is None


def test_clips_are_counted_by_section_domain_split_and_label(tmp_path, capsys):
    fan = tmp_path / "dev_data/fan"
    for i in range(3):
        write(fan / f"train/section_00_source_train_normal_000{i}_spd_{i % 2}.wav", -20 - i)
    write(fan / "train/section_00_target_train_normal_0000_spd_9.wav", -20)
    for label in ("normal", "anomaly"):
        write(fan / f"test/section_00_source_test_{label}_0000_noAttribute.wav", -40)
    (fan / "test/recording.wav").touch()
    lines = told(tmp_path, capsys, "-d")
    table = [line.split() for line in lines[1:3]]
    span = ["10.0", "-22", "to", "-20", "2"]
    assert table[0] == ["fan", "train", "00", "source", "3", "0", "0", *span]
    assert table[1] == ["fan", "train", "00", "target", "1", "0", "0", "10.0", "-20", "1"]
    assert "no clip of the target domain" in lines[3], "the finder says what it finds"
    assert lines[4].split() == ["fan", "test", "00", "source", "1", "1", "0", "10.0", "-40", "0"]
    assert "cannot be used" in lines[5]
    assert "not there: bearing, gearbox, slider, ToyCar, ToyTrain, valve" in lines[6]
    assert len(lines) == 7


def test_what_lacks_is_said(tmp_path, capsys):
    data = tmp_path / "eval_data/fan"
    for section in ("03", "05"):
        write(data / f"test/section_{section}_0000.wav", -20, 2, 3)
    out = "\n".join(told(tmp_path, capsys, "-e", corpus="dcase2022"))
    assert "fan                  train none" in out
    assert "fan train: no clip of section 03, 04, 05" in out
    assert "fan test: no clip of section 04\n" in out
    assert "--dcase2022 --eval TYPE" in out
    assert "2 clips without labels: eval_data_list_2022.csv" in out
    assert "fan test 05: 2 channels, the corpus has 1" in out
    assert "fan test 05: clips of another length than 10 to 10 s" in out


def test_odd_rows_are_remarked(tmp_path, capsys):
    data = tmp_path / "dev_data/fan/train"
    write(data / "section_00_source_train_normal_0000_strength_1_ambient.wav", -20)
    write(data / "section_00_source_train_normal_0001_spd_1.wav", -20, 2)
    touch(data, "section_01_source_train_normal_0001_spd_1.wav")
    out = "\n".join(told(tmp_path, capsys, "-d", "-m", "fan", corpus="dcase2021"))
    assert "  clips of 1 and 2 channels" in out
    assert "attributes that are no names with values, as strength_1_ambient" in out
    assert "none of the clips can be read, as" in out
    assert "not there" not in out, "only one machine type was asked for"
