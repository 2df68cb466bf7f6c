"""MIMII: three data sets of eight channels, whose files of all machine ids have the same names."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import CLIP_SAMPLES, SAMPLE_RATE, call, write_config
from test_corpora import FROZEN, paths_of, touch
from test_download import serve, server, tree  # noqa: F401 - a fixture

from asd import config, files
from asd.clips import Clip
from asd.corpora import download, find, overview, records, rows
from asd.corpora.survey import survey
from asd.paths import Paths
from common import UserError

IDS = ("id_00", "id_02")


def numbered(count):
    return [f"{i:08}.wav" for i in range(count)]


def layout(folder, normal=7, abnormal=2):
    """The files of a machine type, empty."""
    for place in IDS:
        touch(folder / "fan" / place / "normal", *numbered(normal))
        touch(folder / "fan" / place / "abnormal", *numbered(abnormal))
    return paths_of(folder, "mimii")


def write_mimii(folder):
    """Noise in seven channels, in channel 3 a tone that abnormal clips have."""
    for k, place in enumerate(IDS):
        for label, count in (("normal", 7), ("abnormal", 3)):
            for i in range(count):
                rng = np.random.default_rng(1000 * k + 10 * i + (label == "normal"))
                samples = 0.05 * rng.standard_normal((CLIP_SAMPLES, 8))
                if label == "abnormal":
                    time = np.arange(CLIP_SAMPLES) / SAMPLE_RATE
                    samples[:, 3] += 0.2 * np.sin(2 * np.pi * 1500 * time)
                path = folder / "fan" / place / label / f"{i:08}.wav"
                path.parent.mkdir(parents=True, exist_ok=True)
                soundfile.write(path, samples, SAMPLE_RATE, format="WAVEX")
    return folder


def test_a_clips_name_is_its_files_or_its_alias():
    assert Clip(Path("a/b.wav"), "fan", "00", "test", 0).name == "b.wav"
    assert Clip(Path("a/b.wav"), "fan", "00", "test", 0, alias="a_b.wav").name == "a_b.wav"


def test_as_many_normal_clips_as_abnormal_ones_are_tested(tmp_path):
    paths = layout(tmp_path)
    before = tree(tmp_path)
    assert find.find_machine_types(paths) == ["fan"]
    _, train, bad = find.find_clips(paths, "fan", "train")
    places, test, more = find.find_clips(paths, "fan", "test")
    assert not bad and not more
    assert [(c.section, c.label) for c in test] == [
        (section, label) for section in ("00", "02") for label in (0, 0, 1, 1)
    ]
    assert [(c.section, c.label, c.domain) for c in sorted(train, key=lambda c: c.section)] == [
        ("00", 0, None)] * 5 + [("02", 0, None)] * 5  # fmt: skip
    paths_found = {c.path for c in (*train, *test)}
    assert len(paths_found) == len(train) + len(test) == 2 * 9
    assert len({c.name for c in (*train, *test)}) == 18
    for section in ("00", "02"):
        held = {c.path.name for c in test if c.section == section and c.label == 0}

        def drawn(name, section=section):
            return hashlib.sha256(f"fan/id_{section}/{name}".encode()).digest()

        assert held == set(sorted(numbered(7), key=drawn)[:2])
    assert places == [
        tmp_path / f"fan/{i}/{label}" for i in IDS for label in ("abnormal", "normal")
    ]
    assert [c.name for c in test][2:4] == ["abnormal_id_00_00000000.wav",
                                          "abnormal_id_00_00000001.wav"]  # fmt: skip
    assert tree(tmp_path) == before, "nothing is moved or renamed"
    assert [find.has_clips(paths, "fan", split) for split in ("train", "test")] == [True, True]


def test_the_split_is_the_same_elsewhere_and_a_clip_more_moves_one(tmp_path):
    def trained(paths):
        return {c.name for c in find.find_clips(paths, "fan", "train")[1]}

    one = trained(layout(tmp_path / "6_dB"))
    assert trained(layout(tmp_path / "-6_dB")) == one
    touch(tmp_path / "6_dB/fan/id_00/abnormal", "00000009.wav")
    fewer = trained(paths_of(tmp_path / "6_dB", "mimii"))
    assert fewer < one and len(one - fewer) == 1


def test_an_id_that_cannot_train_is_told(tmp_path, capsys):
    paths = layout(tmp_path, 2, 3)
    with pytest.raises(UserError, match="fan: no train clip in it; .* all are test clips"):
        find.find_clips(paths, "fan", "train")
    assert not find.has_clips(paths, "fan", "train")
    assert len(find.find_clips(paths, "fan", "test")[1]) == 2 * 5
    assert "fan/id_02: as many abnormal clips as normal ones, or more" in capsys.readouterr().out


def test_what_is_not_of_the_layout_is_named(tmp_path):
    with pytest.raises(UserError, match="no such folder of recordings; ./get_dataset.sh --mimii 6"):
        find.find_machine_types(paths_of(tmp_path / "nowhere", "mimii"))
    touch(tmp_path / "fan/train", "normal_id_00_00000000.wav")
    with pytest.raises(UserError, match="no machine type of MIMII in it, a folder with id_<XX>"):
        find.find_machine_types(paths_of(tmp_path, "mimii"))
    paths = layout(tmp_path)
    for split in ("train", "test"):
        (bad,) = find.find_clips(paths, "fan", split)[2]
        assert bad.path.name == "normal_id_00_00000000.wav"
        assert "clips are in id_<XX>/normal and id_<XX>/abnormal; move or remove" in bad.reason
    with pytest.raises(UserError, match="no machine type pump; found: fan"):
        find.find_machine_types(paths, ["pump"])
    listed = paths_of(tmp_path, "mimii", "dev", evaluation_labels="list.csv")
    with pytest.raises(UserError, match="with corpus: mimii labels are folders' names"):
        find.find_clips(listed, "fan", "test")


def test_the_scripts_take_one_of_eight_channels(tmp_path, capsys):
    data = write_mimii(tmp_path / "mimii/6_dB/dev_data")

    def yaml(**feature):
        return write_config(tmp_path, corpus="mimii", dev_directory=str(data), detector=FROZEN,
                            feature=feature)  # fmt: skip

    assert call("00_train.py", "-d", "-c", yaml()) == 1
    assert "8 channels, one is expected; choose one with feature.channel" in capsys.readouterr().err
    auc = {}
    for channel in (0, 3):
        cfg = yaml(channel=channel)
        for script in ("00_train.py", "01_test.py"):
            assert call(script, "-d", "-c", cfg, *["--overwrite"] * (script[0:2] == "00")) == 0
        rows_of = files.read_csv(tmp_path / "result/metrics.csv")
        auc[channel] = [dict(zip(rows_of[0], row, strict=True))["auc"] for row in rows_of[1:3]]
    assert auc[3] == ["1.0", "1.0"] != auc[0]
    for section in ("00", "02"):
        names = [
            n for n, _ in files.read_csv(tmp_path / f"result/anomaly_score_fan_id_{section}.csv")
        ]
        assert len(names) == 6
        assert names[3:] == [f"abnormal_id_{section}_{i:08}.wav" for i in range(3)]
        assert all(name.startswith(f"normal_id_{section}_") for name in names[:3])


def test_bad_clips_of_both_splits_are_listed_though_they_share_a_folder(tmp_path):
    data = write_mimii(tmp_path / "data")
    cfg = config.load_config(write_config(tmp_path, corpus="mimii", dev_directory=str(data),
                                          feature={"channel": 0}))  # fmt: skip
    paths = Paths(cfg, "dev")
    clips = [find.find_clips(paths, "fan", split)[1][0].path for split in ("train", "test")]
    assert clips[0].parent == clips[1].parent
    whole = [path.read_bytes() for path in clips]
    for path in clips:
        path.write_bytes(b"")
    for split in ("train", "test"):
        survey(paths, ["fan"], split, skip_bad_clips=True)
    listed = [row[0] for row in files.read_csv(paths.table("skipped"))[1:]]
    assert listed == [str(path) for path in clips]
    clips[0].write_bytes(whole[0])
    survey(paths, ["fan"], "train", skip_bad_clips=True)
    assert [row[0] for row in files.read_csv(paths.table("skipped"))[1:]] == [str(clips[1])]
    clips[1].unlink()
    survey(paths, ["fan"], "test", skip_bad_clips=True)
    assert not paths.table("skipped").exists()


def test_overview_says_what_lacks_and_of_what_a_year_is_made(tmp_path, capsys):
    layout(tmp_path / "dev_data")
    overview.main(["-d", "-c", str(write_config(tmp_path, corpus="mimii"))])
    out = capsys.readouterr().out
    assert "not there: pump, slider, valve; ./get_dataset.sh --mimii TYPE" not in out
    assert "not there: pump, slider, valve; ./get_dataset.sh --mimii SNR TYPE" in out
    assert "fan train: no clip of section 04, 06" in out
    touch(tmp_path / "dev_data/fan/train", "section_00_source_train_normal_0000.wav")
    overview.main(["-d", "-c", str(write_config(tmp_path, corpus="dcase2021"))])
    expected = "dcase2021 are parts of MIMII DUE (zenodo 4740355) and ToyADMOS2 (zenodo 4580270)"
    assert expected in capsys.readouterr().out


@pytest.mark.parametrize("given", ["-6", "0", "6_dB"])
def test_download_of_one_ratio(server, monkeypatch, given):  # noqa: F811
    monkeypatch.setattr(records, "ZENODO", server.url)
    described = []
    for snr in (-6, 0, 6):
        for machine in ("fan", "pump"):
            name = f"{snr}_dB_{machine}.zip"
            members = {f"{machine}/id_00/normal/00000000.wav": f"{snr} {machine}"}
            one = serve(server, f"records/3384388/files/{name}", members)
            described.append({"key": name, "size": 1, "checksum": f"md5:{one.md5}"})
    server.files["api/records/3384388"] = json.dumps({"files": described}).encode()
    assert download.main(["--mimii", given, "pump", "fan"]) is None
    snr = given.removesuffix("_dB")
    place = Path(f"mimii/{snr}_dB/dev_data")
    assert [str(path) for path in sorted(Path().glob("*/*"))] == [f"mimii/{snr}_dB"]
    for machine in ("fan", "pump"):
        assert (place / machine / "id_00/normal/00000000.wav").read_text() == f"{snr} {machine}"
    assert len(server.ranges) == 3, "the record once, each archive once"


def test_download_of_what_mimii_has_not(capsys):
    with pytest.raises(
        UserError, match="ToyCar: no such machine type; known: fan, pump, slider, v"
    ):
        download.main(["--mimii", "6", "ToyCar"])
    for given in ("7", "six", "6_dB_fan"):
        with pytest.raises(SystemExit, match="2"):
            download.main(["--mimii", given])
        assert f"MIMII has -6, 0, 6 dB, not '{given}'" in capsys.readouterr().err


def test_the_rows_of_mimii():
    for snr, row in rows.MIMII.items():
        assert row.records == (3384388,) and row.archives == (f"{snr}_dB_{{}}",)
        assert row.dev == dict.fromkeys(
            ("fan", "pump", "slider", "valve"), ("00", "02", "04", "06")
        )
        assert len(row.channels) == 8
    assert rows.named("mimii") in rows.MIMII.values()
    with pytest.raises(UserError, match="dcase2026, mimii, folder"):
        rows.named("mimi")


def test_real_clips_have_eight_channels(real, tmp_path):
    values = {"corpus": "mimii", "dev_directory": str(real / "mimii"), "feature": {"channel": 7}}
    cfg = config.load_config(write_config(tmp_path, **values))
    (found,) = survey(Paths(cfg, "dev"), ["fan"], "test", skip_bad_clips=False)
    assert {c.label for c in found.clips} == {0, 1}
    assert all(clip.n_samples == 10 * SAMPLE_RATE for clip in found.clips)
    (heard,) = {len(overview.hear(clip.path).levels) for clip in found.clips}
    assert heard == 8
