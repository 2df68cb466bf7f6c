"""Configuration, clips, log-mel frames, vectors, scores, files."""

import sys

import librosa
import msgspec
import numpy as np
import pytest
import soundfile
from conftest import SAMPLE_RATE, make_data, write_clip

import common
from common import UserError

FEATURE = common.load_config().feature
WHOLE = msgspec.structs.replace(FEATURE, central_frames=None)


# Configuration


def config_of(tmp_path, text):
    path = tmp_path / "my.yaml"
    path.write_text(text)
    return common.load_config(path)


def test_baseline_holds_the_reference_values():
    cfg = common.load_config()
    assert cfg.max_fpr == 0.1
    assert (cfg.feature.n_mels, cfg.feature.frames, cfg.feature.n_fft) == (128, 5, 1024)
    assert (cfg.feature.hop_length, cfg.feature.power) == (512, 2.0)
    assert cfg.feature.central_frames == (50, 250)
    assert (cfg.fit.compile.optimizer, cfg.fit.compile.loss) == ("adam", "mean_squared_error")
    assert (cfg.fit.epochs, cfg.fit.batch_size, cfg.fit.validation_split) == (100, 512, 0.1)
    assert cfg.fit.shuffle is True


def test_a_file_overrides_only_what_it_names(tmp_path):
    cfg = config_of(tmp_path, "fit: {epochs: 3}\nmodel_directory: there\n")
    assert cfg.fit.epochs == 3
    assert cfg.fit.batch_size == common.load_config().fit.batch_size
    assert str(cfg.models) == "there"


def test_configuration_cannot_be_changed():
    with pytest.raises(AttributeError):
        common.load_config().seed = 1


def test_recipes_are_valid():
    names = [path.name for path in (common.HERE / "recipes").glob("*.yaml")]
    assert {"dcase2020.yaml", "demo.yaml"} <= set(names)
    for name in names:
        common.load_config(common.HERE / "recipes" / name)
    assert common.load_config(common.HERE / "recipes/dcase2020.yaml").feature == WHOLE


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("feature: {n_mel: 128}", r"unknown key feature.n_mel; did you mean feature.n_mels\?"),
        ("n_mels: 64", r"unknown key n_mels; did you mean feature.n_mels\?"),
        ("epoch: 3", r"unknown key epoch; did you mean fit.epochs\?"),
        ("fit: {compile: {optimiser: sgd}}", r"fit.compile.optimiser.*fit.compile.optimizer\?"),
        ("feature: {n_mels: many}", "key feature.n_mels: expected int, got str, and.*'many'"),
        ("fit: {epochs: 0}", "key fit.epochs: expected int >= 1, and this is 0"),
        ("fit: {epochs: 2.5}", "key fit.epochs: expected int, got float, and this is 2.5"),
        ("fit: 3", "key fit: expected object, got int, and this is 3"),
        ("feature: {central_frames: [10, 12]}", "central_frames .*at least 5 frames"),
        ("feature: {central_frames: [a, b]}", r"central_frames.*expected int, got str"),
        ("convert: {dense_weights: both}", "convert.dense_weights.*'both'"),
        ("seed: [", "not a YAML file"),
        ("- 1", "not a mapping"),
        ("seed:", "key seed: expected int, got null"),
        ("seed: 4294967296", "key seed: expected int"),
        ("feature.n_mels: 64", r"unknown key feature.n_mels; did you mean feature.n_mels\?"),
        ("fit: {verbos: 1}", r"unknown key fit.verbos; did you mean fit.verbose\?"),
        ("fit: {verbose: 3}", "key fit.verbose: expected one of 0, 1, 2, and this is 3"),
        ("seed: 1\nseed: 2", "key seed stands twice"),
        ("false", "not a mapping"),
    ],
)
def test_a_wrong_key_is_named(tmp_path, text, expected):
    with pytest.raises(UserError, match=expected) as caught:
        config_of(tmp_path, text)
    assert "my.yaml" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_key_is_named(tmp_path, monkeypatch):
    text = common.BASELINE.read_text().replace("max_fpr:", "#")
    (tmp_path / "baseline.yaml").write_text(text)
    monkeypatch.setattr(common, "BASELINE", tmp_path / "baseline.yaml")
    with pytest.raises(UserError, match="key max_fpr is missing"):
        common.load_config(tmp_path / "baseline.yaml")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"none\.yaml: no such configuration file"):
        common.load_config(tmp_path / "none.yaml")


def test_scientific_notation_is_a_number(tmp_path):
    assert config_of(tmp_path, "max_fpr: 1e-1").max_fpr == 0.1


# Clips


def test_clips_are_found_in_order(tmp_path):
    make_data(tmp_path)
    train, bad = common.find_clips(tmp_path / "dev_data/ToyTest/train", "dev", "train")
    assert [c.path.name for c in train] == sorted(c.path.name for c in train)
    assert not bad
    test, _ = common.find_clips(tmp_path / "dev_data/ToyTest/test", "dev", "test")
    assert [(c.machine_id, c.label) for c in test] == [
        (i, label) for i in ("01", "02") for label in (0, 1) for _ in range(4)
    ]
    unlabelled, _ = common.find_clips(tmp_path / "eval_data/ToyTest/test", "eval", "test")
    assert {(c.machine_id, c.label) for c in unlabelled} == {("05", None)}


def test_ids_are_read_from_names_alone(tmp_path):
    folder = tmp_path / "id_99" / "anomaly_id_98" / "test"
    write_clip(folder / "normal_id_01_00000000.wav")
    ((clip,), _) = common.find_clips(folder, "dev", "test")
    assert (clip.machine_id, clip.label) == ("01", 0)


@pytest.mark.parametrize(
    ("mode", "split", "name"),
    [
        ("dev", "train", "anomaly_id_01_00000000.wav"),
        ("dev", "train", "recording.wav"),
        ("dev", "test", "id_01_00000000.wav"),
        ("eval", "test", "normal_id_01_00000000.wav"),
        ("dev", "test", "normal_id_1_00000000.wav"),
    ],
)
def test_a_name_that_fits_no_pattern_is_bad(tmp_path, mode, split, name):
    write_clip(tmp_path / name)
    (tmp_path / "notes.txt").write_text("not a clip")
    (tmp_path / f"._{name}").write_text("left by another system")
    clips, (bad,) = common.find_clips(tmp_path, mode, split)
    assert not clips
    assert bad.path.name == name
    assert "rename or remove" in bad.reason


def test_missing_and_empty_folders_are_named(tmp_path):
    with pytest.raises(UserError, match=r"nowhere: no such folder.*get_dataset\.sh"):
        common.find_machine_types(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"no machine type in it.*get_dataset\.sh"):
        common.find_machine_types(tmp_path)
    (tmp_path / "fan").mkdir()
    with pytest.raises(UserError, match="no machine type pump; there is fan"):
        common.find_machine_types(tmp_path, ["pump"])
    with pytest.raises(UserError, match=r"no \.wav file"):
        common.find_clips(tmp_path / "fan", "dev", "test")
    with pytest.raises(UserError, match="no such folder"):
        common.find_clips(tmp_path / "fan" / "test", "dev", "test")


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
        "truncated": (file("cut.wav", whole[: len(whole) // 2]), "truncated.*promises 256044"),
        "flac": (clip("flac.wav", format="FLAC"), "FLAC file, not wav"),
        "rate": (clip("rate.wav", rate=44100), "sample rate 44100 Hz.*16000 Hz"),
        "stereo": (stereo, "2 channels.*feature.channel"),
        "short": (clip("short.wav", n_samples=100000), "too short: 196 frames.*250 frames"),
    }


FAULTS = ("empty", "not wav", "header only", "truncated", "flac", "rate", "stereo", "short")


@pytest.mark.parametrize("fault", FAULTS)
def test_an_unusable_clip_is_told_with_the_remedy(tmp_path, fault):
    import re

    path, expected = broken_clips(tmp_path)[fault]
    reason = common.check_clip(path, FEATURE)
    assert re.search(expected, reason)
    assert re.search("replace|resample|convert|remove|choose", reason)
    assert common.check_clip(tmp_path / "whole.wav", FEATURE) is None


def test_the_shortest_usable_clip(tmp_path):
    needed = 249 * 512  # samples: frame 249 is centred on the end
    assert common.check_clip(write_clip(tmp_path / "a.wav", n_samples=needed), FEATURE) is None
    assert "too short" in common.check_clip(
        write_clip(tmp_path / "b.wav", n_samples=needed - 1), FEATURE
    )


def test_a_channel_is_chosen(tmp_path):
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, (LONG, 8)).astype(np.float32)
    path = tmp_path / "eight.wav"
    soundfile.write(path, samples, SAMPLE_RATE, subtype="FLOAT")
    third = msgspec.structs.replace(FEATURE, channel=2)
    assert common.check_clip(path, third) is None
    assert "no channel 9" in common.check_clip(path, msgspec.structs.replace(FEATURE, channel=9))
    np.testing.assert_array_equal(common.read_samples(path, 5, 50, 2), samples[5:50, 2])


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_samples_that_are_not_numbers_are_refused(tmp_path, value):
    samples = np.zeros(LONG, np.float32)
    samples[60000] = value
    soundfile.write(tmp_path / "nan.wav", samples, SAMPLE_RATE, subtype="FLOAT")
    with pytest.raises(ValueError, match="not numbers"):
        common.clip_frames(tmp_path / "nan.wav", FEATURE)


# Log-mel frames


@pytest.mark.parametrize(("n_fft", "n_mels"), [(1024, 128), (1023, 64), (256, 128), (4096, 1)])
def test_mel_filters_are_librosas(n_fft, n_mels):
    for rate in (16000, 44100, 1500):
        expected = librosa.filters.mel(sr=rate, n_fft=n_fft, n_mels=n_mels)
        ours = common.mel_filters(rate, n_fft, n_mels)
        assert ours.dtype == np.float32
        np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-9)
        together = np.zeros_like(ours)
        for part in common.mel_bands(rate, n_fft, n_mels):
            together[part.bands, part.bins] = part.weights.T
        np.testing.assert_array_equal(together, ours)


def librosa_frames(path, n_fft=1024, power=2.0):
    samples, rate = librosa.load(path, sr=None, mono=True)
    mel = librosa.feature.melspectrogram(
        y=samples, sr=rate, n_fft=n_fft, hop_length=512, n_mels=128, power=power
    )
    return (20 / power * np.log10(mel + sys.float_info.epsilon)).T


def assert_same_as_librosa(path):
    expected = librosa_frames(path)
    cropped = common.clip_frames(path, FEATURE)
    whole = common.clip_frames(path, WHOLE)
    assert cropped.shape == (200, 128)
    assert cropped.dtype == whole.dtype == np.float32
    np.testing.assert_allclose(cropped, expected[50:250], atol=1e-4, rtol=0)
    np.testing.assert_allclose(whole, expected, atol=1e-4, rtol=0)


TIME = np.arange(160000) / SAMPLE_RATE
SOUNDS = {
    "silence": 0 * TIME,
    "sine": 0.9 * np.sin(2 * np.pi * 1000 * TIME),
    "quiet sine": 1e-3 * np.sin(2 * np.pi * 440.3 * TIME),
    "noise": 0.1 * np.random.default_rng(0).standard_normal(len(TIME)),
    "impulse": np.eye(1, len(TIME), 80000)[0],
}


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "FLOAT"])
@pytest.mark.parametrize("sound", SOUNDS)
def test_frames_are_librosas(tmp_path, sound, subtype):
    soundfile.write(tmp_path / "a.wav", SOUNDS[sound], SAMPLE_RATE, subtype=subtype)
    assert_same_as_librosa(tmp_path / "a.wav")


def test_frames_are_librosas_for_other_settings(tmp_path):
    soundfile.write(tmp_path / "a.wav", SOUNDS["noise"], SAMPLE_RATE)
    for n_fft in (512, 1023):
        feature = msgspec.structs.replace(WHOLE, n_fft=n_fft, power=1.0)
        frames = common.clip_frames(tmp_path / "a.wav", feature)
        expected = librosa_frames(tmp_path / "a.wav", n_fft=n_fft, power=1.0)
        np.testing.assert_allclose(frames, expected, atol=1e-4)


def test_silence_is_the_floor(tmp_path):
    soundfile.write(tmp_path / "a.wav", SOUNDS["silence"], SAMPLE_RATE)
    frames = common.clip_frames(tmp_path / "a.wav", FEATURE)
    np.testing.assert_allclose(frames, 10 * np.log10(2.220446e-16), atol=1e-4)


def test_twice_the_amplitude_is_six_decibels_more():
    samples = SOUNDS["noise"].astype(np.float32)
    difference = common.log_mel(2 * samples, FEATURE) - common.log_mel(samples, FEATURE)
    np.testing.assert_allclose(difference, 20 * np.log10(2), atol=1e-3)


# Vectors and scores


def test_vectors_are_frame_major_views():
    frames = np.arange(7 * 3, dtype=np.float32).reshape(7, 3)
    windows = common.vectors(frames, 5)
    assert windows.shape == (3, 15)
    assert np.shares_memory(windows, frames)
    for i in range(3):
        np.testing.assert_array_equal(windows[i], np.concatenate(frames[i : i + 5]))


def test_scores_are_mean_squared_errors(monkeypatch):
    rng = np.random.default_rng(0)
    clips = [rng.standard_normal((n, 4)).astype(np.float32) for n in (9, 5, 30, 12)]
    calls = []

    def predict(windows):
        calls.append(len(windows))
        return 0.5 * windows

    expected = []
    for frames in clips:
        windows = [np.concatenate(frames[i : i + 5]) for i in range(len(frames) - 4)]
        expected.append(np.mean([np.mean((0.5 * w) ** 2) for w in windows]))
    np.testing.assert_allclose(common.anomaly_scores(predict, clips, 5), expected, rtol=1e-6)
    assert calls == [5 + 1 + 26 + 8]
    monkeypatch.setattr(common, "WINDOWS_PER_CALL", 6)
    np.testing.assert_allclose(common.anomaly_scores(predict, clips, 5), expected, rtol=1e-6)
    assert calls[1:] == [6, 26, 8]


def test_a_model_that_gives_no_number_is_an_error():
    frames = [np.zeros((6, 4), np.float32)]
    with pytest.raises(UserError, match="not a number"):
        common.anomaly_scores(lambda windows: windows * np.nan, frames, 5)


# Files


def test_a_file_appears_only_when_whole(tmp_path):
    path = tmp_path / "new" / "file.csv"
    with pytest.raises(RuntimeError), common.whole_file(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert list(path.parent.iterdir()) == []
    path.write_text("before")
    with pytest.raises(TypeError):
        common.write_csv(path, [("a", 1), None])
    assert path.read_text() == "before"
    common.write_csv(path, [("a", np.float64(0.1)), ("b", 1 / 3)])
    assert path.read_bytes() == b"a,0.1\nb,0.3333333333333333\n"
    assert [p.name for p in path.parent.iterdir()] == ["file.csv"]


def test_damaged_json_is_named(tmp_path):
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(UserError, match=r"a\.json: damaged"):
        common.read_json(tmp_path / "a.json")
