"""Demo sound: the data set on disk, and what each cause does to the sound."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import numpy as np
import pytest
import soundfile

import common
from asd import config, files
from asd.corpora import dcase2020, demo, demo_plan, demo_sound
from asd.corpora.alone import alone
from asd.corpora.demo_sound import CAUSES, MACHINES, SAMPLE_RATE, Running
from common import UserError

ROOT = Path(__file__).resolve().parent.parent
SECONDS = 10  # of the clips whose sound is measured
SMALL = ("--seconds", "1", "--train-clips", "3", "--test-clips", "5")


def make(out: Path, *options: str) -> dict[str, bytes]:
    """Make a set; its wav files by path."""
    demo.main(["--out", str(out), *SMALL, *options])
    return wavs(out)


def wavs(out: Path) -> dict[str, bytes]:
    return {str(path.relative_to(out)): path.read_bytes() for path in sorted(out.rglob("*.wav"))}


def times(out: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in out.rglob("*.wav")}


def causes(out: Path) -> dict[str, tuple[str, float]]:
    header, *rows = files.read_csv(out / "causes.csv")
    assert header == ["path", "cause", "strength"]
    return {path: (cause, float(strength)) for path, cause, strength in rows}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set of the default machine types; not to be changed."""
    out = tmp_path_factory.mktemp("demo") / "set"
    make(out)
    return out


# The set on disk.


def test_layout_and_names(small):
    for machine_type in ("DemoFan", "DemoPump"):
        for mode, ids, sizes in (("dev", {"00", "02"}, (6, 20)), ("eval", {"01", "03"}, (4, 12))):
            folder = small / f"{mode}_data" / machine_type
            for split, size in zip(("train", "test"), sizes, strict=True):
                clips, bad = dcase2020.find_clips(folder / split, mode, machine_type, split)
                assert (len(clips), bad, {clip.section for clip in clips}) == (size, [], ids)
    assert (small / "dev_data/DemoFan/test/anomaly_id_02_00000004.wav").exists()
    assert (small / "eval_data/DemoPump/test/id_03_00000005.wav").exists()
    assert sorted(path.name for path in small.iterdir()) == [
        "README.txt", "causes.csv", "demo.json", "dev_data", "eval_data",
    ]  # fmt: skip
    assert not list(small.rglob(".*"))


def test_format(small):
    for path in small.rglob("*.wav"):
        info = soundfile.info(str(path))
        form = (info.format, info.subtype, info.samplerate, info.channels, info.frames)
        assert form == ("WAV", "PCM_16", 16000, 1, 16000)


def test_loud_enough_and_not_clipped(small):
    for path in small.rglob("*.wav"):
        samples = soundfile.read(path)[0]
        rms_db = 10 * np.log10(np.mean(samples**2))
        assert -33 < rms_db < -14, path
        assert np.abs(samples).max() < 0.9
        assert abs(samples.mean()) < 1e-4


def test_clips_do_not_depend_on_workers_nor_on_the_size_of_the_set(small, tmp_path):
    larger = make(tmp_path / "l", "--workers", "1", "--train-clips", "7", "--test-clips", "9")
    smaller = wavs(small)
    assert len(larger) > len(smaller)
    assert smaller == {path: larger[path] for path in smaller}
    known, more = causes(small), causes(tmp_path / "l")
    assert known == {path: fault for path, fault in more.items() if path in smaller}


def test_no_two_clips_are_the_same(small, tmp_path):
    first, second = wavs(small), make(tmp_path / "other", "--seed", "1")
    assert first.keys() == second.keys()
    assert len({*first.values(), *second.values()}) == 2 * len(first)


def test_the_set_of_2020_stays_as_it_is(small, tmp_path):
    """By checksums of names, causes, options and README; for the sound see `composed`."""
    listed = "\n".join(wavs(small)).encode()
    assert hashlib.sha256(listed).hexdigest()[:16] == "c31884af2201578c"
    digests = {name: files.file_hash(small / name)[:16]
               for name in ("causes.csv", "demo.json", "README.txt")}  # fmt: skip
    assert digests == {
        "causes.csv": "961cf4fbb7ad327f",
        "demo.json": "83d47b80f68399d9",
        "README.txt": "180b3e040a200d68",
    }
    assert make(tmp_path / "s", "--layout", "dcase2020") == wavs(small)


def test_types_ids_and_no_eval(tmp_path):
    made = make(tmp_path / "s", "--machine-type", "DemoGearbox", "--ids", "3", "--no-eval")
    assert {Path(path).parts[:2] for path in made} == {("dev_data", "DemoGearbox")}
    assert {Path(path).name.split("_")[2] for path in made} == {"00", "02", "04"}
    assert "clogging" not in {cause for cause, _ in causes(tmp_path / "s").values()}


def test_causes_csv_lists_the_anomalies(small):
    faults = causes(small)
    dev = {path for path in faults if path.startswith("dev_data")}
    assert dev == {path for path in wavs(small) if "/anomaly_" in path}
    assert {cause for cause, _ in faults.values()} == set(CAUSES)
    assert all(demo_plan.WEAKEST <= strength <= 1 for _, strength in faults.values())


def test_eval_labels_are_shuffled_and_balanced():
    options = demo.Options(0, ("DemoFan",), 1, 1, 200, True, 1.0)
    test = [clip for clip in demo.plan(options) if clip.mode == "eval" and clip.folder == "test"]
    assert [clip.name for clip in test] == [f"id_01_{i:08}.wav" for i in range(200)]
    faulty = np.array([clip.cause is not None for clip in test])
    assert faulty.sum() == 100
    assert 30 < faulty[::2].sum() < 70


def test_strengths_fill_their_range():
    options = demo.Options(0, ("DemoFan",), 1, 1, 100, False, 1.0)
    for cause in CAUSES:
        strengths = [clip.strength for clip in demo.plan(options) if clip.cause == cause]
        assert len(strengths) == 20
        assert np.histogram(strengths, 4, (demo_plan.WEAKEST, 1))[0].min() >= 4


def test_readme_says_that_it_is_no_real_sound(small):
    text = (small / "README.txt").read_text()
    assert "DEMO" in text and "synthetic" in text and "Seed 0." in text and '"seconds":1.0' in text


# Making it again.


def test_a_whole_set_is_left_alone(small, capsys):
    before = times(small)
    make(small)
    assert times(small) == before
    assert capsys.readouterr().out == f"{small}: this demo set is whole already, 84 clips\n"


def test_other_options_make_it_anew_and_keep_foreign_files(tmp_path):
    first = make(tmp_path / "s", "--no-eval", "--machine-type", "DemoFan", "DemoPump")
    own = tmp_path / "s/dev_data/DemoFan/test/notes.txt"
    own.write_text("mine")
    second = make(tmp_path / "s", "--no-eval", "--machine-type", "DemoPump", "--seed", "5")
    assert {path for path in first if "DemoPump" in path} == second.keys()
    assert not set(second.values()) & set(first.values())
    assert own.read_text() == "mine"
    assert not (tmp_path / "s/dev_data/DemoFan/train").exists()
    assert json.loads((tmp_path / "s/demo.json").read_text())["seed"] == 5


def own_clip(path: Path, n_samples: int, later_seconds: float) -> Path:
    """A clip of the user in the place of one of the set."""
    soundfile.write(path, np.zeros(n_samples), SAMPLE_RATE)
    when = (path.parents[3] / "causes.csv").stat().st_mtime + later_seconds
    os.utime(path, (when, when))
    return path


@pytest.mark.parametrize(("n_samples", "later_seconds"), [(16001, -9), (16000, 9), (99, 9)])
def test_own_clips_in_a_set_that_is_made_anew_stay(tmp_path, n_samples, later_seconds):
    """Another length, or younger than the set."""
    out, options = tmp_path / "s", ("--no-eval", "--machine-type", "DemoFan")
    make(out, *options)
    own = out / "dev_data/DemoFan/train/normal_id_00_00000001.wav"
    own = own_clip(own, n_samples, later_seconds)
    before = wavs(out)
    with pytest.raises(UserError, match=f"^{own}: not as it was made; move it away, or name"):
        make(out, *options, "--seed", "5")
    assert wavs(out) == before and (out / "causes.csv").exists()
    own.rename(tmp_path / "own.wav")
    assert make(out, *options, "--seed", "5").keys() == before.keys()


def test_a_second_run_in_the_folder_is_refused(small):
    before = times(small)
    with alone(small), pytest.raises(UserError, match=f"^{small}: another run works in it; wait"):
        make(small, "--seed", "5")
    assert times(small) == before


def test_an_incomplete_set_is_completed(tmp_path):
    out = tmp_path / "s"
    made = make(out, "--no-eval")
    lost = out / "dev_data/DemoFan/train/normal_id_00_00000001.wav"
    lost.unlink()
    (out / "causes.csv").unlink()
    before = times(out)
    assert make(out, "--no-eval") == made
    after = times(out)
    assert after.pop(lost) and after == before
    assert (out / "causes.csv").exists()


def test_the_list_of_causes_is_never_that_of_another_set(tmp_path, monkeypatch):
    make(tmp_path / "s", "--no-eval", "--machine-type", "DemoFan")

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(demo.workers, "in_order", interrupt)
    with pytest.raises(KeyboardInterrupt):
        make(tmp_path / "s", "--no-eval", "--machine-type", "DemoPump")
    assert not (tmp_path / "s/causes.csv").exists()


@pytest.mark.skipif(os.name != "posix", reason="signals to a process group are POSIX's")
def test_an_interrupt_leaves_whole_clips_that_the_next_run_owns(small, tmp_path):
    out = tmp_path / "s"
    options = ["--seconds", "1", "--train-clips", "3000", "--test-clips", "5"]
    command = [
        sys.executable,
        "-m",
        "asd.corpora.demo",
        "--out",
        str(out),
        "--workers",
        "2",
        *options,
    ]
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 180
        # not walked: hidden folders come and go
        while not list(out.glob("*/*/*/[!.]*.wav")) and time.monotonic() < deadline:
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to all processes
        errors = process.communicate(timeout=30)[1]
    finally:
        process.kill()
    assert process.returncode == 130
    assert "interrupted" in errors and "Traceback" not in errors
    made, whole = wavs(out), wavs(small)
    assert 0 < len(made) < 12000
    assert not list(out.rglob(".*")) and not (out / "causes.csv").exists()
    assert made.keys() & whole.keys()
    assert all(made[path] == whole[path] for path in made.keys() & whole.keys())
    assert make(out) == whole  # other options: what the interrupted run made is removed


@pytest.mark.parametrize("content", [None, "{}", '{"seed": 0, "more": 1}', "not JSON"])
def test_a_foreign_folder_is_refused(tmp_path, content):
    (tmp_path / "recording.wav").write_bytes(b"mine")
    if content:
        (tmp_path / "demo.json").write_text(content)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(UserError, match=str(tmp_path)):
        make(tmp_path)
    assert sorted(tmp_path.iterdir()) == before


def test_a_stamp_cannot_point_outside(tmp_path):
    out, outside = tmp_path / "s", tmp_path / "mine/train/normal_id_00_00000000.wav"
    outside.parent.mkdir(parents=True)
    outside.touch()
    make(out, "--no-eval", "--machine-type", "DemoFan")
    stamp = json.loads((out / "demo.json").read_text())
    files.write_json(out / "demo.json", stamp | {"machine_types": ["../../mine"]})
    with pytest.raises(UserError, match="name another --out"):
        make(out)
    assert outside.exists()


@pytest.mark.parametrize(
    "beyond", [{"ids": 10**12}, {"seconds": 1e308}, {"train_clips": -1}, {"test_clips": 0}]
)
def test_a_stamp_beyond_all_limits_is_one_line(tmp_path, beyond):
    out = tmp_path / "s"
    out.mkdir()
    options = demo.Options(0, ("DemoFan",), 1, 1, 1, False, 1.0)
    files.write_json(out / "demo.json", msgspec.to_builtins(options) | beyond)
    with pytest.raises(UserError, match=r"demo\.json: of another version"):
        make(out)


def test_a_clip_that_cannot_be_written_leaves_nothing(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(demo.wave.Wave_write, "writeframes", full)
    options = demo.Options(0, ("DemoFan",), 1, 1, 1, False, 1.0)
    with pytest.raises(OSError, match="No space"):
        demo.write_clip(tmp_path, options, next(demo.plan(options)))
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize(
    "option", [["--ids", "0"], ["--ids", "51"], ["--train-clips", "x"], ["--seconds", "nan"],
               ["--seed", "-1"], ["--machine-type", "saw"], ["--workers", "0"]],
)  # fmt: skip
def test_wrong_usage(tmp_path, option, capsys):
    with pytest.raises(SystemExit) as stop:
        make(tmp_path / "s", *option)
    assert stop.value.code == 2 and option[0] in capsys.readouterr().err
    assert not (tmp_path / "s").exists()


# The sound. Clips of one generator differ only by the cause.


def clip(machine_type: str, cause: str | None = None, strength: float = 1.0, seed: int = 0):
    """A clip of id 00, (160000,) float32."""
    machine = demo_sound.unit(machine_type, "00")
    running = CAUSES[cause](strength) if cause else Running()
    return demo_sound.clip(
        machine, running, demo_sound.generator(seed, "test"), SECONDS * SAMPLE_RATE
    )


def composed(unit: demo_sound.Unit, running: Running, rng: np.random.Generator, n: int):
    """A clip of its parts, summed in this order, (n,) float32."""
    gain = 10 ** ((demo_sound.LEVEL_DB + rng.uniform(-demo_sound.GAIN_DB, demo_sound.GAIN_DB)) / 20)
    turns = demo_sound._turns(unit, running, rng, n)
    sound = demo_sound._machine(unit, running, turns, rng)
    sound = sound + demo_sound._factory(unit, running, rng, n)
    if running.knock:
        sound += running.knock * demo_sound._knocks(unit, turns, rng)
    if running.rub:
        sound += running.rub * demo_sound._rubs(turns, rng)
    sound = gain * (sound - sound.mean())
    return sound * min(1, demo_sound.PEAK / np.abs(sound).max())


@pytest.mark.parametrize("cause", [None, *CAUSES])
def test_not_a_bit_of_a_clip_of_2020_changes(cause):
    unit = demo_sound.unit("DemoFan", "00")
    running = CAUSES[cause](0.7) if cause else Running()
    expected = composed(unit, running, demo_sound.generator(1, "test"), SAMPLE_RATE)
    for state in (running, Running() & running):
        found = demo_sound.clip(unit, state, demo_sound.generator(1, "test"), SAMPLE_RATE)
        assert found.tobytes() == expected.tobytes()


def power_db(samples: np.ndarray, low_hz: float, high_hz: float) -> float:
    """Power of a band."""
    hz = np.fft.rfftfreq(len(samples), 1 / SAMPLE_RATE)
    spectrum = np.abs(np.fft.rfft(samples)) ** 2
    return 10 * np.log10(spectrum[(low_hz <= hz) & (hz < high_hz)].sum())


def noise_db(samples: np.ndarray, low_hz: float, high_hz: float) -> float:
    """Level of the noise of a band, between the lines that stand out of it."""
    hz = np.fft.rfftfreq(len(samples), 1 / SAMPLE_RATE)
    spectrum = np.abs(np.fft.rfft(samples)) ** 2
    return 10 * np.log10(np.median(spectrum[(low_hz <= hz) & (hz < high_hz)]))


def envelope(samples: np.ndarray, low_hz: float, high_hz: float) -> np.ndarray:
    """Envelope of a band, without its mean."""
    hz = np.fft.rfftfreq(len(samples), 1 / SAMPLE_RATE)
    spectrum = np.fft.rfft(samples) * ((low_hz <= hz) & (hz < high_hz))
    analytic = np.fft.ifft(np.pad(2 * spectrum, (0, len(samples) - len(spectrum))))
    return np.abs(analytic) - np.abs(analytic).mean()


def line_db(samples: np.ndarray, hz: float) -> float:
    """Power of a line that wanders, above that of its neighbourhood."""
    return power_db(samples, 0.96 * hz, 1.04 * hz) - power_db(samples, 1.1 * hz, 1.18 * hz)


def vane_tone_hz(samples: np.ndarray, machine: demo_sound.Unit) -> float:
    """The strongest frequency within 10 % of the nominal one."""
    spectrum = np.abs(np.fft.rfft(samples)) ** 2
    spectrum = np.convolve(spectrum, np.ones(21), "same")  # 2 Hz: the tone wanders
    hz = np.fft.rfftfreq(len(samples), 1 / SAMPLE_RATE)
    nominal = machine.vanes * machine.shaft_hz
    near = np.abs(hz / nominal - 1) < 0.1
    return hz[near][np.argmax(spectrum[near])]


every_type = pytest.mark.parametrize("machine_type", MACHINES)


@every_type
def test_a_clip_is_deterministic_finite_and_not_clipped(machine_type):
    for cause in (None, *MACHINES[machine_type].causes):
        samples = clip(machine_type, cause)
        assert samples.shape == (160000,) and samples.dtype == np.float32
        assert np.isfinite(samples).all() and np.abs(samples).max() < 0.9
        assert np.array_equal(samples, clip(machine_type, cause))


def test_a_clip_that_would_clip_is_turned_down():
    machine, rng = demo_sound.unit("DemoFan", "00"), demo_sound.generator(0, "test")
    samples = demo_sound.clip(machine, Running(knock=100), rng, SAMPLE_RATE)
    assert np.abs(samples).max() == pytest.approx(demo_sound.PEAK, rel=1e-3)


@every_type
def test_machines_of_a_type_differ(machine_type):
    units = [demo_sound.unit(machine_type, f"{i:02d}") for i in range(10)]
    low, high = MACHINES[machine_type].shaft_hz
    assert all(low <= unit.shaft_hz <= high for unit in units)
    assert len({unit.shaft_hz for unit in units}) == len({unit.bearing_hz for unit in units}) == 10


@every_type
def test_a_healthy_machine_turns_at_its_speed_and_wanders(machine_type):
    machine = demo_sound.unit(machine_type, "00")
    turns = demo_sound._turns(machine, Running(), demo_sound.generator(0, "test"), 160000)
    hz = np.diff(turns[::1600]) * 10  # mean speed of each tenth of a second
    assert np.abs(hz / machine.shaft_hz - 1).max() < 0.04
    assert 0.002 < hz.std() / machine.shaft_hz < 0.02
    assert np.abs(np.diff(hz)).max() / machine.shaft_hz < 0.005  # slowly
    tone = vane_tone_hz(clip(machine_type), machine)
    assert tone == pytest.approx(machine.vanes * hz.mean(), rel=0.015)


@every_type
def test_bearing_rings_its_resonance_at_the_fault_frequency(machine_type):
    machine = demo_sound.unit(machine_type, "00")
    band = machine.bearing_hz - 500, machine.bearing_hz + 500
    healthy, faulty = clip(machine_type), clip(machine_type, "bearing")
    assert power_db(faulty, *band) > power_db(healthy, *band) + 5
    fault_hz = machine.fault_order * machine.shaft_hz
    rise = line_db(envelope(faulty, *band), fault_hz) - line_db(envelope(healthy, *band), fault_hz)
    assert rise > 10
    assert power_db(faulty, 0, 1000) == pytest.approx(power_db(healthy, 0, 1000), abs=0.5)


@every_type
def test_imbalance_raises_the_shaft_line_alone(machine_type):
    hz = demo_sound.unit(machine_type, "00").shaft_hz
    healthy, faulty = clip(machine_type), clip(machine_type, "imbalance")
    rise = power_db(faulty, 0.96 * hz, 1.04 * hz) - power_db(healthy, 0.96 * hz, 1.04 * hz)
    assert 12 < rise < 21
    assert power_db(faulty, 2.5 * hz, 8000) == pytest.approx(
        power_db(healthy, 2.5 * hz, 8000), abs=0.1
    )


@every_type
def test_rubbing_bursts_once_per_turn_in_every_band(machine_type):
    hz = demo_sound.unit(machine_type, "00").shaft_hz
    healthy, faulty = clip(machine_type), clip(machine_type, "rubbing")
    for low in (5000, 6000, 7000):
        band = low, low + 1000
        assert power_db(faulty, *band) > power_db(healthy, *band) + 3
        line = line_db(envelope(faulty, *band), hz)
        assert line > 15 and line > line_db(envelope(healthy, *band), hz) + 3


@pytest.mark.parametrize("machine_type", ["DemoFan", "DemoPump"])
def test_clogging_lowers_the_flow_and_lifts_the_vane_tone(machine_type):
    machine = demo_sound.unit(machine_type, "00")
    healthy, faulty = clip(machine_type), clip(machine_type, "clogging")
    normal_hz, hz = vane_tone_hz(healthy, machine), vane_tone_hz(faulty, machine)
    assert hz / normal_hz == pytest.approx(1.03, abs=0.01)
    tone = power_db(faulty, 0.98 * hz, 1.02 * hz)
    assert 2 < tone - power_db(healthy, 0.98 * normal_hz, 1.02 * normal_hz) < 4
    assert noise_db(faulty, 400, 1600) < noise_db(healthy, 400, 1600) - 1


@every_type
def test_voltage_drop_slows_the_shaft_and_hums(machine_type):
    machine = demo_sound.unit(machine_type, "00")
    healthy, faulty = clip(machine_type), clip(machine_type, "voltage_drop")
    ratio = vane_tone_hz(faulty, machine) / vane_tone_hz(healthy, machine)
    assert ratio == pytest.approx(0.94, abs=0.01)
    rise = power_db(faulty, 99.9, 100.2) - power_db(healthy, 99.9, 100.2)
    assert rise == pytest.approx(15, abs=2)


@every_type
def test_stronger_is_farther_from_healthy(machine_type):
    feature = config.load_config().feature
    healthy = common.log_mel(clip(machine_type), feature)
    for cause in MACHINES[machine_type].causes:
        frames = [
            common.log_mel(clip(machine_type, cause, strength), feature)
            for strength in (demo_plan.WEAKEST, 0.5, 1.0)
        ]
        # (3,) float64, dB: the mean spectrum's distance
        far = [np.abs(each.mean(0) - healthy.mean(0)).mean() for each in frames]
        assert 0 < far[0] < far[1] < far[2], cause
