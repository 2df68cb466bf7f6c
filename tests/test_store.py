"""Frame stores: computed once, reused, rebuilt when anything differs."""

import os
import shutil

import numpy as np
import pytest
import soundfile
from conftest import SAMPLE_RATE, clip_frames, frames_of, write_clip, write_config

import common
from asd import config, files, store, wav
from asd.rows import Extracted
from common import UserError


def load(data, split="train", skip_bad_clips=False, verify=False, **overrides):
    write_config(data, **overrides)
    return frames_of(data, split, skip_bad_clips, verify)


def stores(data):
    return sorted(path.name for path in (data / "features").glob("*.f32"))


@pytest.fixture
def computed(monkeypatch):
    """Counts how often a store is computed."""
    calls = []
    original = store._compute

    def counting(path, *args):
        calls.append(path.name)
        return original(path, *args)

    monkeypatch.setattr(store, "_compute", counting)
    return calls


def test_a_store_holds_the_frames_of_every_clip(data):
    rows = load(data)
    cfg = config.load_config(data / "test.yaml")
    assert len(rows) == 12
    assert rows.n_rows == 12 * 40
    assert rows[-1].dtype == np.float32
    for clip, of_clip in zip(rows.clips, rows, strict=True):
        np.testing.assert_array_equal(of_clip, clip_frames(clip.path, cfg.feature))


def test_gather_gives_the_windows_of_each_clip(data):
    write_clip(data / "dev_data/ToyTest/train/normal_id_01_00000099.wav", 99, n_samples=40000)
    rows = load(data, feature={"central_frames": None})
    expected = np.concatenate([common.vectors(np.asarray(clip), 5) for clip in rows])
    assert rows.n_windows(5).sum() == len(expected)
    assert len(set(rows.n_windows(5))) == 2
    order = np.random.default_rng(0).permutation(len(expected))
    np.testing.assert_array_equal(rows.gather(order, 5), expected[order])


def test_a_store_that_is_cut_while_it_is_read(data):
    rows = load(data)
    (path,) = (data / "features").glob("*.f32")
    os.truncate(path, path.stat().st_size - 4)
    with pytest.raises(UserError, match="changed while it was read"):
        list(rows)


def test_the_result_does_not_depend_on_the_number_of_workers(data):
    contents = []
    for count in (1, 3):
        load(data, workers=count)
        (path,) = (data / "features").glob("*.f32")
        contents.append(path.read_bytes())
        path.unlink()
    assert contents[0] == contents[1]


def test_a_store_is_reused(data, computed):
    first = load(data)
    second = load(data)
    assert len(computed) == 1
    assert first.fingerprint == second.fingerprint


def test_a_store_is_rebuilt_when_a_clip_or_a_setting_differs(data, computed):
    before = load(data)
    path = before.clips[0].path
    write_clip(path, seed=77)
    changed = load(data)
    assert len(computed) == 2
    assert changed.fingerprint != before.fingerprint
    os.utime(path, (1, 1))
    touched = load(data)
    assert len(computed) == 3
    assert touched.fingerprint == changed.fingerprint
    path.unlink()
    assert len(load(data)) == 11
    assert len(stores(data)) == 1, "stores of clips that are gone are removed"
    load(data, feature={"n_mels": 64})
    assert len(computed) == 5
    assert len(stores(data)) == 2, "stores of other settings are kept"


def test_a_clip_replaced_at_the_same_size_and_time_is_seen(data, computed):
    path = load(data).clips[0].path
    times = path.stat()
    new = write_clip(path.with_name("new"), seed=77, format="WAV")
    assert new.stat().st_size == times.st_size
    new.replace(path)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    cfg = config.load_config(data / "test.yaml")
    np.testing.assert_array_equal(load(data)[0], clip_frames(path, cfg.feature))
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))  # in place
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    np.testing.assert_array_equal(load(data)[0], clip_frames(path, cfg.feature))
    assert len(computed) == 3


def test_clips_are_identified_by_their_bytes_not_by_their_frames(data, monkeypatch):
    before = load(data)
    exact = common.log_mel

    def rounded_otherwise(samples, feature):
        return np.nextafter(exact(samples, feature), np.float32(np.inf))

    monkeypatch.setattr(common, "log_mel", rounded_otherwise)
    shutil.rmtree(data / "features")
    after = load(data)
    assert not np.array_equal(before[0], after[0])
    assert after.fingerprint == before.fingerprint
    assert load(data, feature={"n_mels": 64}).fingerprint != before.fingerprint
    path = before.clips[0].path
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))  # a sample that no frame needs
    assert load(data).fingerprint != before.fingerprint


def test_a_store_that_another_run_deletes_is_read_to_its_end(data):
    rows = load(data)
    expected = list(rows)
    write_clip(rows.clips[0].path, seed=77)
    other = load(data)
    assert len(stores(data)) == 1
    np.testing.assert_array_equal(list(rows), expected)
    np.testing.assert_array_equal(rows.gather(np.arange(36), 5)[0], expected[0][:5].ravel())
    assert not np.array_equal(other[0], expected[0])


def test_a_loud_float_clip_is_refused_with_the_remedy(data):
    path = data / "dev_data/ToyTest/train/normal_id_01_00000003.wav"
    samples = 3000 * np.random.default_rng(0).standard_normal(24000)
    soundfile.write(path, samples, SAMPLE_RATE, subtype="FLOAT")
    with pytest.raises(UserError, match=f"{path}: samples up to 1.*divide them by 32768"):
        load(data)
    soundfile.write(path, samples / 3000, SAMPLE_RATE, subtype="FLOAT")  # up to 4
    assert len(load(data)) == 12


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "FLOAT"])
def test_silent_and_clipped_clips_are_named_at_every_run(data, capsys, subtype):
    folder = data / "dev_data/ToyTest/train"
    noise = 0.1 * np.random.default_rng(0).standard_normal(24000)
    clipped, silent, quiet = noise.copy(), noise.copy(), noise * 2**-9
    clipped[20000:23000:2] = 1.0
    clipped[20001:23000:2] = -1.0
    silent[:3000] = 0
    for number, samples in enumerate([clipped, silent, quiet]):
        name = folder / f"normal_id_01_{number:08}.wav"
        soundfile.write(name, samples, SAMPLE_RATE, subtype=subtype)
    for _ in range(2):
        load(data)
        told = [line for line in capsys.readouterr().out.splitlines() if "warning" in line]
        assert told == [
            f"warning: {folder}/normal_id_01_00000000.wav: 12% of its samples are at full scale, "
            "clipped",
            f"warning: {folder}/normal_id_01_00000001.wav: 11% of it is digital silence",
        ]


def test_a_fault_of_the_disk_ends_the_run_and_is_not_remembered_as_the_clips(data, monkeypatch):
    opened = wav.opened

    def failing(path):
        if path.name == "normal_id_01_00000003.wav":
            raise OSError(5, "Input/output error", str(path))
        return opened(path)

    with monkeypatch.context() as patch:
        patch.setattr(wav, "opened", failing)
        with pytest.raises(OSError, match="Input/output error"):
            load(data, skip_bad_clips=True)
    assert len(load(data)) == 12


def test_how_much_of_the_clips_is_used_is_said(data):
    text = str(load(data))
    assert text.endswith(
        "; 85% of the clips' length is used, frames 4 to 44 (feature.central_frames)"
    )
    assert "used" not in str(load(data, feature={"central_frames": None}))


@pytest.mark.parametrize("damage", ["cut", "flipped", "index", "offsets", "gone"])
def test_a_damaged_store_is_computed_again(data, computed, capsys, damage):
    expected = list(load(data))
    (path,) = (data / "features").glob("*.f32")
    content = bytearray(path.read_bytes())
    if damage == "cut":
        path.write_bytes(content[:-4])
    elif damage == "flipped":
        content[1000] ^= 1
        path.write_bytes(content)
    elif damage == "index":
        path.with_suffix(".json").write_text('{"offsets": 3')
    elif damage == "offsets":
        index = path.with_suffix(".json")
        index.write_text(index.read_text().replace("40,", "41,", 1))
    else:
        path.unlink()
    np.testing.assert_array_equal(list(load(data)), expected)
    assert len(computed) == 2
    assert (
        f"{path.name}: the stored features are damaged; computing them again"
        in capsys.readouterr().out
    )


def test_a_checksum_is_taken_to_verify_or_where_the_time_differs(data, computed, capsys):
    expected = list(load(data))
    (path,) = (data / "features").glob("*.f32")
    times = path.stat()
    content = bytearray(path.read_bytes())
    content[1000] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    load(data)
    assert len(computed) == 1, "size and time are as they were"
    np.testing.assert_array_equal(list(load(data, verify=True)), expected)
    assert len(computed) == 2
    assert "the stored features are damaged" in capsys.readouterr().out
    os.utime(path, (1, 1))
    load(data)
    load(data)
    assert len(computed) == 2, "copied elsewhere, it is the same"


def test_frames_do_not_depend_on_the_frames_of_a_window(data, computed):
    load(data)
    load(data, feature={"frames": 3})
    load(data, detector={"bottleneck": 4})
    assert len(computed) == 1
    assert len(stores(data)) == 1


def test_an_embedding_is_a_row_of_its_own(data, computed):
    backend = {"kind": "knn", "distance": "cosine", "neighbours": 1}
    frozen = {"kind": "frozen", "backend": backend}
    frames = load(data)
    embeddings = load(data, detector=frozen)
    assert len(computed) == 2
    assert (len(embeddings), embeddings.n_rows, embeddings.width) == (12, 12, 128)
    cfg = config.load_config(data / "test.yaml")
    mel = clip_frames(frames.clips[3].path, cfg.feature, common.mel_spectrum)
    np.testing.assert_allclose(embeddings[3][0], mel.mean(axis=0), rtol=1e-6)


def write_nan_clip(data):
    path = data / "dev_data/ToyTest/train/normal_id_01_00000003.wav"
    samples = np.zeros(24000, np.float32)
    samples[12000] = np.nan
    soundfile.write(path, samples, SAMPLE_RATE, subtype="FLOAT")
    return path


def test_samples_that_are_too_large_are_the_clips_fault(data):
    path = data / "dev_data/ToyTest/train/normal_id_01_00000003.wav"
    loud = 1e25 * np.random.default_rng(0).standard_normal(24000)
    soundfile.write(path, loud.astype(np.float32), SAMPLE_RATE, subtype="FLOAT")
    with pytest.raises(UserError, match=f"{path}: samples up to .*e.25, full scale is 1"):
        load(data)


def test_bad_clips_stop_the_run_and_are_all_named(data):
    folder = data / "dev_data/ToyTest/train"
    (folder / "normal_id_02_00000000.wav").write_bytes(b"")
    write_clip(folder / "odd name.wav")
    (folder / "normal_id_01_00000099.wav").symlink_to(folder / "nowhere.wav")
    with pytest.raises(UserError) as caught:
        load(data)
    lines = str(caught.value).splitlines()
    assert len(lines) == 3
    assert any("00000099.wav: cannot be read (No such file" in line for line in lines)
    assert lines[-1].endswith("(--skip-bad-clips goes on without)")
    assert any("normal_id_02_00000000.wav: the file is empty" in line for line in lines)
    assert any("odd name.wav: the name is not" in line for line in lines)
    assert not (data / "result" / "skipped.csv").exists()


def test_a_long_list_of_bad_clips_is_cut(data):
    for path in (data / "dev_data/ToyTest/train").iterdir():
        path.write_bytes(b"")
    with pytest.raises(UserError, match="and 2 more .--skip-bad-clips goes on") as caught:
        load(data)
    assert len(str(caught.value).splitlines()) == 11
    with pytest.raises(UserError, match="no usable clip is left"):
        load(data, skip_bad_clips=True)


def test_samples_that_are_not_numbers_stop_the_run(data, computed):
    path = write_nan_clip(data)
    for _ in range(2):
        with pytest.raises(UserError, match=f"{path}: holds samples that are not numbers"):
            load(data)
    assert len(computed) == 1, "the good clips' frames are kept"


def test_bad_clips_are_skipped_and_listed(data, capsys):
    nan_clip = write_nan_clip(data)
    empty = data / "dev_data/ToyTest/train/normal_id_02_00000000.wav"
    empty.write_bytes(b"")
    for _ in range(2):
        rows = load(data, skip_bad_clips=True)
        names = {clip.path.name for clip in rows.clips}
        assert len(rows) == len(names) == 10
        assert not names & {nan_clip.name, empty.name}
        header, *rows = files.read_csv(data / "result/skipped.csv")
        assert header == ["file", "reason"]
        assert {row[0] for row in rows} == {str(nan_clip), str(empty)}
        assert all(len(row[1]) > 10 for row in rows)
    assert f"skipped {empty}: the file is empty" in capsys.readouterr().out
    load(data, "test", skip_bad_clips=True)
    assert len(files.read_csv(data / "result/skipped.csv")) == 3, "another folder's rows stay"
    write_clip(nan_clip)
    write_clip(empty)
    load(data, skip_bad_clips=True)
    assert not (data / "result/skipped.csv").exists()


def test_a_failed_extraction_leaves_nothing(data, monkeypatch):
    def failing(*_):
        yield Extracted(np.zeros((40, 128), np.float32), "", None)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store, "_extract", failing)
    with pytest.raises(OSError, match="No space"):
        load(data)
    assert list((data / "features").iterdir()) == []
