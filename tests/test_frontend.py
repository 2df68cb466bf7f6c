"""The front end in C against common.log_mel, on this machine, on boards and as WebAssembly."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import msgspec
import numpy as np
import pytest
import soundfile
from conftest import board_or_skip, installed

import common
from asd import config
from asd.embedded import boards, frontend, host
from common import UserError

BASE = config.load_config().feature
STRICT = ["-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Werror"]
# Above a floor, dB, levels are this near, dB; below it both are.
FLOAT, FIXED = (-100, 0.01), (-80, 0.1)
# Float levels of 32-bit integers: a pure tone of nearly full scale lifts what is 130 dB below it.
BESIDE_A_LOUD_TONE = 0.1
LOUD = ("tone 0", "tone -6", "sweep", "impulses")
SECONDS = 8


def feature(**values):
    return msgspec.structs.replace(BASE, **values)


def int16(values):
    return np.clip(np.rint(values), -32768, 32767).astype(np.int16)


def signals(seconds=SECONDS, rate=BASE.sample_rate):
    """Some seconds of each kind of sound, int16, by name."""
    rng = np.random.default_rng(0)
    n = int(seconds * rate)
    t = np.arange(n) / rate
    sounds = {f"tone {db}": 32767 * 10 ** (db / 20) * np.sin(2 * np.pi * 1234.5 * t)
              for db in (0, -6, -20, -40, -60)}  # fmt: skip
    sounds["tone of a bin"] = 3276 * np.sin(2 * np.pi * 64 / 1024 * np.arange(n))
    sounds["sweep"] = 32767 * np.sin(2 * np.pi * rate / 4 * t * t / seconds)
    sounds["quiet sweep"] = sounds["sweep"] / 20
    sounds["silence"] = 0 * t
    sounds["silence, then a click"] = np.where(t < seconds / 2, 0, 20000 * (t == seconds / 2))
    sounds["constant"] = np.full(n, -32768)
    sounds["clipping"] = 3 * 32767 * np.sin(2 * np.pi * 777 * t)
    sounds["square"] = 32767 * np.sign(np.sin(2 * np.pi * 500 * t + 0.1))
    sounds["Nyquist"] = 32767 * (-1.0) ** np.arange(n)
    sounds["noise"] = 3000 * rng.normal(size=n)
    sounds["loud noise"] = 32768 * rng.uniform(-1, 1, n)
    sounds["noise of one bit"] = rng.integers(-1, 2, n)
    sounds["falling noise"] = 20000 * rng.normal(size=n) * 10 ** (-4 * t / seconds)
    sounds["impulses"] = np.where(np.arange(n) % 3000 == 0, 32767, 0)
    return {name: int16(values) for name, values in sounds.items()}


def expected(samples, of):
    return common.log_mel(samples.astype(np.float32) / 32768, of)


def in_db(levels):
    return levels / 65536 if levels.dtype == np.int32 else levels


def check(levels, samples, of, bar, name=""):
    """Levels are Python's above a floor; below it both are."""
    wanted, got, (floor, most) = expected(samples, of), in_db(levels), bar
    above = wanted >= floor
    far = np.abs(got - wanted)[above].max(initial=0)
    assert far <= most, f"{name}: off by {far:.4f} dB"
    assert got[~above].max(initial=-np.inf) < floor + most, name


@pytest.fixture(scope="module")
def compiler():
    if host.compiler() is None:
        pytest.skip("no C compiler")


@pytest.fixture(scope="module")
def base_c(compiler, tmp_path_factory):
    """The C of the baseline's features."""
    folder = tmp_path_factory.mktemp("frontend")
    frontend.write(BASE, folder)
    return folder


def flags_of(fixed):
    return [frontend.FIXED] if fixed else []


FIXED_OR_NOT = pytest.mark.parametrize("fixed", [False, True], ids=["float", "fixed"])


@FIXED_OR_NOT
def test_150_seconds_of_sounds_are_pythons(base_c, tmp_path, fixed):
    levels_of = frontend.on_host(base_c, tmp_path, BASE, flags_of(fixed))
    for name, samples in signals().items():
        floor, most = FIXED if fixed else FLOAT
        if not fixed and name in LOUD:
            most = BESIDE_A_LOUD_TONE
        check(levels_of(samples), samples, BASE, (floor, most), name)


@FIXED_OR_NOT
def test_real_clips_are_pythons(real, base_c, tmp_path, fixed):
    clips = sorted((real / "dcase2020").glob("*/test/*.wav"))[::7][:6]
    samples = np.concatenate([soundfile.read(path, dtype="int16")[0] for path in clips])
    assert len(samples) > 50 * BASE.sample_rate
    levels = frontend.on_host(base_c, tmp_path, BASE, flags_of(fixed))(samples)
    check(levels, samples, BASE, FIXED if fixed else FLOAT)


@FIXED_OR_NOT
def test_silence_is_that_of_python(base_c, tmp_path, fixed):
    levels_of = frontend.on_host(base_c, tmp_path, BASE, flags_of(fixed))
    levels = in_db(levels_of(np.zeros(2048, np.int16)))
    np.testing.assert_allclose(levels, 10 * np.log10(2.0**-52), atol=1e-4)


def loudest():
    """Frames of samples at full scale with the signs that make a bin, or its parts, the largest."""
    turns = np.arange(BASE.n_fft)[None, :] * np.arange(0, BASE.n_fft // 2 + 1)[:, None]
    angles = 2 * np.pi * turns / BASE.n_fft  # (n_bins, n_fft)
    # The transform takes a sample with an even number as real, and the next as imaginary.
    halves = np.where(np.arange(BASE.n_fft) % 2, np.sin(angles - angles[:, [1]]), np.cos(angles))
    signs = np.concatenate([np.cos(angles), np.sin(angles), halves, np.cos(angles + 0.7)])
    frames = np.where(signs >= -1e-9, 32767, -32768)
    return np.concatenate([frames, -1 - frames, np.full((1, BASE.n_fft), -32768)]).astype(np.int16)


# Of a frame's size each; with both powers, scales and parts of the band; bands that weigh no bin.
FEATURES = {
    "256": feature(n_fft=256, n_mels=40, mel_scale="htk"),
    "256, more bands than bins": feature(n_fft=256, n_mels=201, power=1.0),
    "512": feature(n_fft=512, n_mels=64, hop_length=200),
    "1024, roots": feature(power=1.0),
    "1024, a band": feature(n_mels=1, mel_range_hz=(300.0, 3400.0)),
    "2048": feature(n_fft=2048, n_mels=224, mel_scale="htk", sample_rate=32000),
    "2048, roots": feature(n_fft=2048, n_mels=30, power=1.0),
    "4096": feature(n_fft=4096, n_mels=127, hop_length=1000),
    "4096, roots": feature(n_fft=4096, n_mels=128, power=1.0, sample_rate=48000),
}
OF_ALL_FEATURES = ("tone -40", "silence", "clipping", "constant", "noise", "noise of one bit")


@FIXED_OR_NOT
@pytest.mark.parametrize("of", FEATURES.values(), ids=FEATURES)
def test_all_features_that_c_has(compiler, tmp_path, of, fixed):
    frontend.write(of, tmp_path)
    sounds = signals(2)
    levels_of = frontend.on_host(tmp_path, tmp_path, of, flags_of(fixed))
    for name in OF_ALL_FEATURES:
        bar = FIXED if fixed else FLOAT if name != "clipping" else (FLOAT[0], BESIDE_A_LOUD_TONE)
        check(levels_of(sounds[name]), sounds[name], of, bar, name)


@pytest.mark.parametrize(
    ("values", "wrong"),
    [
        ({"n_fft": 1000}, "n_fft is 1000"),
        ({"n_fft": 128}, "n_fft is 128"),
        ({"n_fft": 8192}, "n_fft is 8192"),
        ({"power": 1.5}, "power is 1.5"),
    ],
    ids=str,
)
def test_what_c_does_not_have_is_one_line(values, wrong):
    with pytest.raises(UserError, match=wrong) as caught:
        frontend.generate(feature(**values))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["kernels_1", "9lives", "asd_x", "Model"])
def test_a_name_that_c_cannot_have_is_refused(name):
    with pytest.raises(UserError, match="a name in C"):
        frontend.generate(BASE, name)


def test_the_command_writes_the_files(tmp_path, capsys):
    (tmp_path / "small.yaml").write_text("feature: {n_fft: 256, n_mels: 32}\n")
    frontend.main(["-c", str(tmp_path / "small.yaml"), str(tmp_path / "c"), "--name", "ears"])
    assert sorted(path.name for path in (tmp_path / "c").iterdir()) == list(frontend.names("ears"))
    assert "#define EARS_FFT 256\n" in (tmp_path / "c/ears_frontend.h").read_text()
    assert str(tmp_path / "c/ears_frontend.c") in capsys.readouterr().out.splitlines()


MAIN = """
#include "model_frontend.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
/* Frames of stdin, each cut at another sample into parts of their own size. */
int main(void)
{
    int16_t frame[MODEL_FFT];
    model_level *levels = (model_level *)malloc(MODEL_MELS * sizeof *levels);
    void *work = malloc(MODEL_FRONTEND_BYTES);
    size_t n, i;
    for (i = 0; fread(frame, sizeof *frame, MODEL_FFT, stdin) == MODEL_FFT; i++) {
        int16_t *first, *rest;
        n = i % (MODEL_FFT + 1);
        first = (int16_t *)malloc(n * sizeof *first + 1);
        rest = (int16_t *)malloc((MODEL_FFT - n) * sizeof *rest + 1);
        memcpy(first, frame, n * sizeof *first);
        memcpy(rest, frame + n, (MODEL_FFT - n) * sizeof *rest);
        memset(work, 0xFF, MODEL_FRONTEND_BYTES);
        model_log_mel(first, (uint32_t)n, rest, levels, work);
        fwrite(levels, sizeof *levels, MODEL_MELS, stdout);
        free(first);
        free(rest);
    }
    free(levels);
    free(work);
    return 0;
}
"""
SANITIZE = ["-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]


def run_program(folder, work, samples, compiler_and_flags):
    """The levels that a program of `MAIN` gives, (n_frames, n_mels) of 32 bits."""
    work.mkdir(parents=True, exist_ok=True)
    (work / "main.c").write_text(MAIN)
    command = [*compiler_and_flags, f"-I{folder}", str(work / "main.c")]
    subprocess.run([*command, str(folder / "model_frontend.c"), "-o", work / "main"], check=True)
    done = subprocess.run([work / "main"], input=samples.tobytes(), capture_output=True, check=True)
    return np.frombuffer(done.stdout, np.uint32)


@pytest.mark.parametrize("power", [1.0, 2.0])
@FIXED_OR_NOT
def test_frames_cut_anywhere_under_sanitizers(compiler, tmp_path, power, fixed):
    """All of the places where a frame's parts meet; memory of the sizes that the header names."""
    of = feature(n_fft=256, hop_length=256, n_mels=45, power=power)
    frontend.write(of, tmp_path)
    rng = np.random.default_rng(1)
    samples = rng.integers(-32768, 32768, (260, 256)) >> rng.integers(0, 16, (260, 1))
    samples = samples.astype(np.int16).reshape(-1)
    strict = ["cc", "-std=c99", *STRICT, *SANITIZE, *flags_of(fixed)]
    levels = frontend.on_host(tmp_path, tmp_path, of, flags_of(fixed))(samples)
    got = run_program(tmp_path, tmp_path / "program", samples, strict)
    np.testing.assert_array_equal(got, levels.view(np.uint32).reshape(-1))


@FIXED_OR_NOT
def test_no_sum_leaves_its_range(compiler, base_c, tmp_path, fixed):
    samples = loudest().reshape(-1)
    levels = run_program(base_c, tmp_path, samples, ["cc", *SANITIZE, *flags_of(fixed)])
    levels = levels.view(np.int32 if fixed else np.float32).reshape(-1, BASE.n_mels)
    check(levels, samples, feature(hop_length=BASE.n_fft), (-80, 0.1))


def has_fma():
    path = Path("/proc/cpuinfo")
    return path.is_file() and " fma " in path.read_text()


COMPILERS = {
    "fused": ["cc", "-std=gnu11", "-O3", *(["-mfma"] if has_fma() else [])],
    "fast": ["cc", "-std=gnu11", "-Ofast", *(["-mfma"] if has_fma() else [])],
    "clang": ["clang", "-std=gnu11", "-O3", *(["-mfma"] if has_fma() else [])],
    "C++": ["g++", "-x", "c++", "-std=c++11", "-O2", "-Wno-old-style-cast"],
    "-O0": ["cc", "-std=c99", "-O0"],
}


@pytest.mark.parametrize("command", COMPILERS.values(), ids=COMPILERS)
def test_all_compilers_give_the_same_bits(base_c, tmp_path, command):
    """Where multiplications and additions could be fused, too; without a warning."""
    if shutil.which(command[0]) is None:
        pytest.skip(f"no {command[0]}")
    samples = short()
    whole = samples[: len(samples) // BASE.n_fft * BASE.n_fft]
    of = feature(hop_length=BASE.n_fft)
    for fixed in (False, True):
        levels = frontend.on_host(base_c, tmp_path, of, flags_of(fixed))(whole)
        got = run_program(base_c, tmp_path, whole, [*command, *STRICT, *flags_of(fixed)])
        np.testing.assert_array_equal(got, levels.view(np.uint32).reshape(-1))


def short():
    """A part of some kinds of sound, as boards are slow."""
    sounds = signals(0.2)
    names = ("tone 0", "silence", "noise", "noise of one bit", "clipping", "impulses")
    return np.concatenate([sounds[name][:2500] for name in names])


@pytest.mark.parametrize("board", boards.all_boards(), ids=lambda board: board.name)
def test_boards_give_the_hosts_bits(base_c, tmp_path, board):
    installed(board)
    fixed = not board.has_float_unit
    samples = short()
    on_host = frontend.on_host(base_c, tmp_path, BASE, flags_of(fixed))(samples)
    ran = frontend.on_board(board, base_c, tmp_path, samples)
    differing = ran.levels.view(np.uint32) != on_host.view(np.uint32)
    assert differing.sum() == 0, f"{differing.sum()} of {differing.size}"
    assert ran.work_bytes <= 4200
    assert ran.code_bytes + ran.constant_bytes <= 14400
    budgets = {"Cortex-M4F": 70000, "Cortex-M55": 22000, "M0+ on M3": 430000, "M23 on M33": 430000}
    assert ran.instructions <= budgets.get(board.core, 120000)


OTHERS = [
    ("mps3-an547", FEATURES["256"]),
    ("mps3-an547", FEATURES["2048, roots"]),
    ("virt", FEATURES["512"]),
]


@pytest.mark.parametrize(("name", "of"), OTHERS, ids=["256", "roots", "512"])
def test_boards_have_other_features(compiler, tmp_path, name, of):
    board = board_or_skip(name)
    frontend.write(of, tmp_path / "c")
    samples = short()[: 3 * of.n_fft]
    flags = flags_of(not board.has_float_unit)
    on_host = frontend.on_host(tmp_path / "c", tmp_path, of, flags)(samples)
    ran = frontend.on_board(board, tmp_path / "c", tmp_path, samples)
    np.testing.assert_array_equal(ran.levels.view(np.uint32), on_host.view(np.uint32))


NODE = """
const fs = require("fs");
const [program, samples, levels, fft, hop, mels, bytes] = process.argv.slice(2);
WebAssembly.instantiate(fs.readFileSync(program)).then(({instance}) => {
  const {memory, model_log_mel, __heap_base} = instance.exports;
  const work = (__heap_base.value + 7) & ~7, out = work + Number(bytes);
  const frame = out + 4 * Number(mels), sound = fs.readFileSync(samples);
  memory.grow(1);
  const all = [];
  for (let at = 0; at + 2 * fft <= sound.length; at += 2 * hop) {
    new Uint8Array(memory.buffer, frame, 2 * fft).set(sound.subarray(at, at + 2 * fft));
    model_log_mel(frame, 300, frame + 600, out, work);
    all.push(Buffer.from(new Uint8Array(memory.buffer, out, 4 * mels)));
  }
  fs.writeFileSync(levels, Buffer.concat(all));
});
"""


@FIXED_OR_NOT
def test_webassembly_gives_the_same_bits(base_c, tmp_path, fixed):
    for program in ("clang", "wasm-ld", "node"):
        if shutil.which(program) is None:
            pytest.skip(f"no {program}")
    clang = ["clang", "--target=wasm32", "-std=c99", "-O3", "-ffreestanding", *flags_of(fixed)]
    source, made = base_c / "model_frontend.c", tmp_path / "frontend"
    subprocess.run([*clang, "-c", source, "-o", f"{made}.o"], check=True)
    link = ["wasm-ld", "--no-entry", "--export=model_log_mel", "--export=__heap_base"]
    subprocess.run([*link, f"{made}.o", "-o", f"{made}.wasm"], check=True)
    samples = short()
    samples.tofile(tmp_path / "samples.bin")
    (tmp_path / "run.cjs").write_text(NODE)
    sizes = [str(n) for n in (BASE.n_fft, BASE.hop_length, BASE.n_mels, 4400)]
    command = ["node", "run.cjs", f"{made}.wasm", "samples.bin", "levels.bin", *sizes]
    subprocess.run(command, cwd=tmp_path, check=True)
    levels = frontend.on_host(base_c, tmp_path, BASE, flags_of(fixed))(samples)
    got = np.fromfile(tmp_path / "levels.bin", np.uint32)
    np.testing.assert_array_equal(got, levels.view(np.uint32).reshape(-1))
