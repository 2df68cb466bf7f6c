"""The stream in C against the contract, on this machine, on boards and under Node."""

from __future__ import annotations

import ctypes
import functools
import re
import shutil
import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest
import soundfile
from conftest import ROOT, board_or_skip, installed, write_clip

import common
from asd import files, paths
from asd.embedded import boards, codegen, host, stream, stream_rung, stream_runs
from asd.embedded.costs import Cost
from asd.embedded.stream_runs import CLIPPED, GAP, HIGH, LOW, SILENT, Library
from asd.evaluation import streaming
from asd.tflite import litert
from asd.tflite.int8 import Scale
from common import UserError
from tests import fuzz_stream, shapes, streams
from tests.networks import int_dense, tflite

pytestmark = pytest.mark.skipif(host.compiler() is None, reason="no C compiler: apt install gcc")

# Ten bands are no whole number of fours, and a hop of 100 samples does not divide a frame.
FEATURE = streams.feature_of(n_mels=10, frames=3, hop_length=100)
RULE = streams.stream_of(FEATURE, windows=7)
MODEL = streams.small_model(FEATURE)
STRICT = ("-O2", "-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wshadow", "-Werror", "-c")
NAMED = {"low": LOW, "high": HIGH, "clipped": CLIPPED, "silent": SILENT, "gap": GAP}
ARITHMETICS = pytest.mark.parametrize("floats", [True, False], ids=["float", "integers"])


@functools.cache
def sound() -> np.ndarray:
    return streams.sound(1.2)


@functools.cache
def noise() -> np.ndarray:
    """Noise that swells, of levels that both arithmetics promise."""
    swell = 4000 * np.sin(np.arange(16000) / 3000) ** 2 + 20
    return (np.random.default_rng(0).normal(size=16000) * swell).astype(np.int16)


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    """The C of a small model."""
    return streams.written(tmp_path_factory.mktemp("source"), MODEL, RULE)


@pytest.fixture(scope="module")
def library(tmp_path_factory, source):
    """That compiled for this machine, in one arithmetic or the other."""

    @functools.cache
    def of(floats: bool = True) -> Library:
        flags = [f"-DASD_FRONTEND_FLOAT={int(floats)}"]
        return Library(source, tmp_path_factory.mktemp(f"floats_{floats}"), flags)

    return of


class Stream:
    """A stream of its own in a library, driven call by call."""

    def __init__(self, library: Library) -> None:
        self.c, sizes = library.c, [library.c.stream_bytes(), library.c.stream_work_bytes()]
        self._memory = [np.zeros(-(-size // 8), np.uint64) for size in sizes]
        self.at, self._work = [one.ctypes.data_as(ctypes.c_void_p) for one in self._memory]
        self.c.model_stream_init(self.at)

    def push(self, samples: np.ndarray, channel: int = 0) -> int:
        """Samples of one channel, or (n, channels)."""
        samples = np.ascontiguousarray(samples, np.int16)
        n, channels = len(samples), samples[:1].size or 1
        at = samples.ctypes.data_as(ctypes.c_void_p)
        return self.c.model_stream_push(self.at, at, n, channels, channel)

    def poll(self) -> np.ndarray:
        """All that there is to be had, (n_hops,) RESULT."""
        found, result = [], np.zeros(1, stream_runs.RESULT)
        while self.c.model_stream_poll(self.at, result.ctypes.data_as(ctypes.c_void_p), self._work):
            found.append(result.copy())
        return np.concatenate([result[:0], *found])

    def hear(self, samples: np.ndarray) -> np.ndarray:
        """Push and poll by turns."""
        pieces = [samples[at : at + 90] for at in range(0, len(samples), 90)]
        return np.concatenate([self.poll() for piece in pieces if self.push(piece) == len(piece)])

    def set_threshold(self, threshold: float, release: float) -> int:
        limits = [ctypes.c_uint32(stream.q12(one)) for one in (threshold, release)]
        return self.c.model_stream_set_threshold(self.at, *limits)

    def bytes(self) -> bytes:
        return self._memory[0].tobytes()


# Against the scripts' own arithmetic.


def python_errors(samples: np.ndarray, content: bytes, feature: common.Feature) -> np.ndarray:
    """The errors of windows and bands by common's frames and LiteRT, (n_windows, n_mels), dB^2."""
    frames = common.log_mel(samples * np.float32(1 / 32768), feature)
    windows = np.ascontiguousarray(common.vectors(frames, feature.frames))
    squares = np.square(windows - litert.predictor(content)(windows), dtype=np.float64)
    return squares.reshape(len(windows), feature.frames, -1).mean(axis=1)


@ARITHMETICS
def test_scores_are_those_of_the_scripts(library, floats):
    results = library(floats).run(noise())
    errors = python_errors(noise(), MODEL, FEATURE).mean(axis=1)
    assert len(results) == (len(noise()) - FEATURE.n_fft) // FEATURE.hop_length + 1
    assert list(results["frame"]) == list(range(len(results)))
    assert (results["windows"][:2] == 0).all()
    scored = results[FEATURE.frames - 1 :]
    expected = [errors[max(i - RULE.windows + 1, 0) : i + 1].mean() for i in range(len(errors))]
    most = 1e-4 if floats else 2e-4
    np.testing.assert_allclose(stream_runs.scores(scored), expected, rtol=most)


def of_shape(kind: str) -> bytes:
    """A model for these windows whose file ends in another type than int8."""
    scale, width = Scale(0.4, 50), FEATURE.vector_size
    if kind == "float32":
        builder = shapes.Builder((1, width), kind, None)
        builder.add(shapes.Step("QUANTIZE", scale, "int8"))
        shapes.chain(builder, 2, (width, 9, width)).add(shapes.Step("DEQUANTIZE", None, kind))
        return builder.content()
    if kind == "softmax":
        builder = shapes.chain(shapes.Builder((1, width), "int8", scale), 2, (width, 9, width))
        builder.add(shapes.Step("SOFTMAX", Scale(1 / 256, -128)))
        return builder.content()
    builder = shapes.Builder((1, width), kind, Scale(scale.scale, scale.zero_point + 128))
    return shapes.chain(builder, 2, (width, 9, width)).content()


@pytest.mark.parametrize("kind", ["float32", "uint8"])
@ARITHMETICS
def test_files_of_other_types_have_streams(tmp_path, kind, floats):
    content = of_shape(kind)
    folder = streams.written(tmp_path, content, RULE)
    results = Library(folder, tmp_path, [f"-DASD_FRONTEND_FLOAT={int(floats)}"]).run(noise())
    errors = python_errors(noise(), content, FEATURE).mean(axis=1)
    rows = results[FEATURE.frames - 1 :]["error"]
    np.testing.assert_allclose(rows / stream.Q12, errors, rtol=2e-3)


@ARITHMETICS
def test_a_published_clip_has_the_score_of_the_scripts(real, tmp_path, floats):
    """1e-3 of 01's arithmetic, and next to no input byte is another."""
    path = real / "dcase2020" / "ToyCar" / "test" / "anomaly_id_01_00000000.wav"
    content, rule = streams.published(real)
    padded, _ = common.read_clip(path, rule.feature)
    frames = common.log_mel(padded, rule.feature)
    windows = np.ascontiguousarray(common.vectors(frames, rule.feature.frames))
    rule = msgspec.structs.replace(rule, windows=len(windows))
    folder = streams.written(tmp_path / "c", content, rule)
    inputs = np.zeros(frames.shape, np.int8)
    here = Library(folder, tmp_path, [f"-DASD_FRONTEND_FLOAT={int(floats)}"])
    results = here.run(np.rint(padded * 32768).astype(np.int16), inputs=inputs)
    expected = common.reconstruction_error(windows, litert.predictor(content)(windows))
    assert results["windows"][-1] == len(windows)
    assert stream_runs.scores(results)[-1] == pytest.approx(expected, rel=1e-3)
    network = litert.runner(content).source
    quantised = litert.to_int8(frames, network["scale"], network["zero_point"])
    assert (inputs != quantised).mean() <= (1e-4 if floats else 2e-3)
    assert np.abs(inputs.astype(int) - quantised).max() <= 1


@ARITHMETICS
def test_levels_and_the_worst_band(tmp_path, floats):
    """The contract's items 5 and 6, in float64."""
    errors = python_errors(noise(), MODEL, FEATURE)
    usual = tuple(np.median(errors, axis=0).tolist())  # so that each is the worst at some time
    folder = streams.written(tmp_path, MODEL, msgspec.structs.replace(RULE, band_errors=usual))
    here = Library(folder, tmp_path, [f"-DASD_FRONTEND_FLOAT={int(floats)}"])
    results = here.run(noise())
    frames = common.log_mel(noise() * np.float32(1 / 32768), FEATURE)
    bands = [None] * (FEATURE.frames - 1) + list(errors)
    level, mean, flags = frames[0].mean(dtype=np.float64), None, set()
    for frame, own, result in zip(frames, bands, results, strict=True):
        level += (frame.mean(dtype=np.float64) - level) / RULE.windows
        assert result["level"] / 65536 == pytest.approx(level, abs=0.02)
        below, over = RULE.level_db[0] - 6 - level, level - RULE.level_db[1] - 6
        if min(abs(below), abs(over)) > 0.1:
            assert result["flags"] & (LOW | HIGH) == LOW * (below > 0) + HIGH * (over > 0)
            flags.add(int(result["flags"] & (LOW | HIGH)))
        if own is not None:
            mean = own if mean is None else mean + (own - mean) / RULE.windows
            ratios = mean / usual
            assert ratios[result["worst"]] >= 0.99 * ratios.max()
    assert flags == {0, LOW, HIGH}
    assert len(np.unique(results["worst"])) > 2


# The same everywhere.


def of_place(board: boards.Board, source: Path, work: Path) -> stream_runs.Ran:
    return stream_runs.on_board(board, source, work, sound())


@pytest.mark.parametrize("board", boards.all_boards(), ids=lambda board: board.name)
def test_boards_give_the_bits_of_this_machine(library, source, tmp_path, board):
    installed(board)
    ran = of_place(board, source, tmp_path)
    here = library(board.has_float_unit).run(sound())
    np.testing.assert_array_equal(ran.results, here)
    assert ran.instructions_min <= ran.instructions <= 1.1 * ran.instructions_min
    assert ran.push_instructions < 20 * 61


NODE = """
const fs = require("fs");
const [file, samples, hops, longest] = process.argv.slice(2);
const wasm = new WebAssembly.Instance(new WebAssembly.Module(fs.readFileSync(file))).exports;
const sound = fs.readFileSync(samples);
const at = Math.ceil(wasm.__heap_base.value / 8) * 8;
const results = at + Math.ceil(sound.length / 8) * 8;
wasm.memory.grow(Math.ceil((results + 32 * (Number(hops) + 2)) / 65536));
new Uint8Array(wasm.memory.buffer).set(sound, at);
const n = wasm.stream_run(at, sound.length / 2, Number(longest), 1, results, 0);
process.stdout.write(new Uint8Array(wasm.memory.buffer, results, 32 * n));
"""
# What the compiler takes from a C library.
STRINGS = """
#include <stddef.h>
void *memset(void *, int, size_t);
void *memcpy(void *, const void *, size_t);
void *memmove(void *, const void *, size_t);
int memcmp(const void *, const void *, size_t);
"""
LIBRARY = """
#include <string.h>
void *memset(void *to, int c, size_t n) { char *t = to; while (n--) *t++ = (char)c; return to; }
void *memcpy(void *to, const void *from, size_t n)
{ char *t = to; const char *f = from; while (n--) *t++ = *f++; return to; }
void *memmove(void *to, const void *from, size_t n)
{ char *t = to; const char *f = from;
  if (t < f) while (n--) *t++ = *f++; else while (n--) t[n] = f[n]; return to; }
int memcmp(const void *a, const void *b, size_t n)
{ const unsigned char *x = a, *y = b;
  while (n--) if (*x++ != *y++) return x[-1] - y[-1]; return 0; }
"""


def test_webassembly_gives_the_bits_of_this_machine(library, source, tmp_path):
    if lacking := [name for name in ("node", "clang", "wasm-ld") if not shutil.which(name)]:
        pytest.skip(f"no {' and no '.join(lacking)}; apt install nodejs clang lld")
    (tmp_path / "string.h").write_text(STRINGS)
    (tmp_path / "library.c").write_text(LIBRARY)
    (tmp_path / "run.cjs").write_text(NODE)
    sound().tofile(tmp_path / "sound")
    sources = [source / name for name in stream_runs.SOURCES]
    sources += [codegen.KERNELS / "stream" / "run.c", tmp_path / "library.c"]
    objects = []
    for path in sources:
        objects.append(tmp_path / f"{path.stem}.o")
        subprocess.run(["clang", "--target=wasm32", "-std=c99", "-O2", "-ffreestanding",
                        "-Wall", "-Wextra", "-Werror",
                        "-DASD_FLOAT_UNIT=1", f"-I{tmp_path}", f"-I{source}", "-c", path,
                        "-o", objects[-1]], check=True)  # fmt: skip
    subprocess.run(["wasm-ld", "--no-entry", "--export=stream_run", "--export=__heap_base",
                    "-o", tmp_path / "stream.wasm", *objects], check=True)  # fmt: skip
    here = library().run(sound())
    command = ["node", "run.cjs", "stream.wasm", "sound", str(len(here)), str(stream_runs.LONGEST)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, check=True)
    np.testing.assert_array_equal(np.frombuffer(done.stdout, stream_runs.RESULT), here)


FLAGS = {
    "fused": ["-std=gnu11", "-O3", "-mfma", "-ffp-contract=fast"],
    # Without -nostartfiles its library would set the whole process' denormals to zero.
    "fast": ["-std=gnu11", "-Ofast", "-march=native", "-nostartfiles"],
    "plain": ["-O0"],
    "a longer ring": ["-DMODEL_STREAM_SAMPLES=1001"],
}


@pytest.mark.parametrize("flags", FLAGS)
def test_flags_change_no_bit(library, source, tmp_path, flags):
    """Multiply-adds are not fused, nor sums put in another order, where a compiler may."""
    if "-mfma" in FLAGS[flags] and " fma " not in Path("/proc/cpuinfo").read_text():
        pytest.skip("this processor has none to fuse")
    other = Library(source, tmp_path, FLAGS[flags]).run(sound())
    np.testing.assert_array_equal(other, library().run(sound()))


@pytest.mark.parametrize("compiler", ["gcc -std=c99", "clang -std=c99", "g++ -xc++",
                                      "clang++ -xc++", "gcc -std=gnu17"])  # fmt: skip
@ARITHMETICS
def test_compilers_have_nothing_to_say(source, tmp_path, compiler, floats):
    command = compiler.split()
    if not shutil.which(command[0]):
        pytest.skip(f"no {command[0]}")
    command += [*STRICT, f"-DASD_FRONTEND_FLOAT={int(floats)}", source / "model_stream.c"]
    done = subprocess.run([*command, "-o", tmp_path / "o"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("compiler", ["gcc -std=c99", "g++ -xc++", "arm-none-eabi-g++ -std=c++98 "
                                      "-Wno-long-long -mcpu=cortex-m4 -mthumb -xc++"])  # fmt: skip
@pytest.mark.parametrize("name", ["model_stream.c", "model_frontend.c"])
def test_the_smallest_stream_has_no_warning_either(tmp_path, compiler, name):
    """Windows of a frame of a band, of which one is a score; and C++ before 2011."""
    command = compiler.split()
    if not shutil.which(command[0]):
        pytest.skip(f"no {command[0]}")
    feature = streams.feature_of(frames=1, n_mels=1)
    rule = streams.stream_of(feature, windows=1, step=1, k=1, n=1)
    folder = streams.written(tmp_path, streams.small_model(feature), rule)
    command += [*STRICT, folder / name, "-o", tmp_path / "o"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("core", ["cortex-m0plus", "cortex-m23", "cortex-m55"])
def test_a_core_needs_no_atomic_functions(source, tmp_path, core):
    compiler = "arm-none-eabi-gcc"
    if not shutil.which(compiler):
        pytest.skip(f"no {compiler}")
    hard = ["-mfloat-abi=hard"] if core == "cortex-m55" else []
    command = [compiler, f"-mcpu={core}", "-mthumb", *hard, *STRICT, source / "model_stream.c"]
    subprocess.run([*command, "-o", tmp_path / "o"], check=True)
    symbols = subprocess.run(["arm-none-eabi-nm", "-u", tmp_path / "o"], capture_output=True,
                             text=True, check=True).stdout.split()  # fmt: skip
    known = {"memset", "memcpy", "memmove", "memcmp", "model_run", "model_log_mel"}
    assert not [name for name in symbols if name not in known | {"U"} and "div" not in name
                and name not in ("__aeabi_lmul",)]  # fmt: skip
    # No float where there is no unit for it.
    assert not [name for name in symbols if re.match("__aeabi_[fd]", name)]


# What a caller does.


@pytest.mark.parametrize("longest", [1, 37, 99, 1500])
def test_the_lengths_of_pushes_do_not_matter(library, longest):
    expected = library().run(sound())
    np.testing.assert_array_equal(library().run(sound(), longest), expected)


def test_one_channel_of_several(library):
    rng = np.random.default_rng(0)
    several = rng.integers(-32768, 32768, (3000, 4)).astype(np.int16)
    several[:, 2] = sound()[:3000]
    alone, among = Stream(library()), Stream(library())
    for at in range(0, 3000, 90):
        assert alone.push(several[at : at + 90, 2]) == among.push(several[at : at + 90], 2)
        np.testing.assert_array_equal(alone.poll(), among.poll())


def test_samples_that_do_not_fit_are_a_gap(library):
    """What came whole before it is used up; the next sample begins anew."""
    one, held = Stream(library()), FEATURE.n_fft + FEATURE.hop_length
    assert one.c.model_stream_room(one.at) == held
    assert one.push(sound()[: held + 50]) == held
    assert one.push(sound()[:10]) == 0 == one.c.model_stream_room(one.at)
    before = one.poll()
    assert list(before["frame"]) == [0, 1]
    assert list(before["flags"] & GAP) == [GAP, 0]
    after = one.hear(sound()[2000:4000])
    np.testing.assert_array_equal(after, Stream(library()).hear(sound()[2000:4000]))


def test_a_reset_begins_anew_and_keeps_what_was_set(library):
    one = Stream(library())
    one.set_threshold(1.0, 0.5)
    first = one.hear(sound()[:3000])
    assert first["alarm"][-1]
    one.c.model_stream_reset(one.at)
    again = one.hear(sound()[:3000])
    decided = np.flatnonzero(again["decision"])
    assert again["alarm"][: decided[0]].all()  # it stays until there is a decision
    assert not again["alarm"][decided[0]]  # one of the last three is above, of a rule of two
    assert again["alarm"][decided[1]]
    for name in ("sum", "windows", "frame", "level", "worst", "flags", "decision"):
        np.testing.assert_array_equal(again[name], first[name])


def decisions(results: np.ndarray, threshold: float, release: float, k: int, n: int) -> list:
    """The contract's items 3 and 4, from the errors of windows alone."""
    errors, history, alarm, told = [], [], False, []
    for result in results:
        if not result["windows"]:
            continue
        errors.append(int(result["error"]))
        past = len(errors) - RULE.windows
        if past >= 0 and past % RULE.step == 0:
            limit = stream.q12(release if alarm else threshold)
            history.append(sum(errors[-RULE.windows :]) > limit * RULE.windows)
            alarm = sum(history[-n:]) >= k
            told.append((int(result["frame"]), history[-1], alarm))
    return told


@pytest.mark.parametrize(("k", "n"), [(1, 1), (2, 3), (5, 5), (3, 32)])
@pytest.mark.parametrize("shares", [(0.5, 0.5), (0.7, 0.2), (1.1, 1.1)])
def test_alarms_are_those_of_a_plain_model(library, k, n, shares):
    scores = stream_runs.scores(library().run(sound()))
    threshold, release = (np.nanquantile(scores, min(one, 1)) + max(one - 1, 0) for one in shares)
    one = Stream(library())
    assert one.set_threshold(threshold, release) == 1
    assert one.c.model_stream_set_rule(one.at, k, n) == 1
    results = one.hear(sound())
    made = results[results["decision"] == 1]
    expected = decisions(results, threshold, release, k, n)
    assert [tuple(map(int, row)) for row in expected] == [
        (row["frame"], row["above"], row["alarm"]) for row in made
    ]
    if shares[0] < 1 and n < 5:
        assert 0 < made["alarm"].sum() < len(made)


def test_what_is_no_rule_is_refused(library):
    one = Stream(library())
    before = one.bytes()
    assert one.set_threshold(1.0, 1.1) == 0
    for k, n in ((0, 1), (3, 2), (1, 33), (0, 0)):
        assert one.c.model_stream_set_rule(one.at, k, n) == 0
    assert one.bytes() == before


def test_flags_of_samples(library):
    n_fft, hop = FEATURE.n_fft, FEATURE.hop_length
    samples = np.random.default_rng(0).integers(-99, 6, 3000).astype(np.int16)
    samples[700], samples[1234] = 32767, -32768
    samples[1530:2030] = 5
    flags = Stream(library()).hear(samples)["flags"]
    for t, found in enumerate(flags):
        frame = samples[t * hop : t * hop + n_fft]
        assert bool(found & CLIPPED) == bool(np.isin(frame[-hop:], [32767, -32768]).any())
        assert bool(found & SILENT) == bool((frame == frame[0]).all())
        assert bool(found & GAP) == (t == 0)
    assert (flags & SILENT).any()
    assert (flags & CLIPPED).any()


def test_counts_of_samples_that_wrap(library):
    """After 2^32 samples, three days of them."""
    one, counts = Stream(library()), np.uint32([2**32 - 1111])
    at = [8, 24]  # of `written` and `taken` behind `sum`, `head`, `dropped` and `gaps`
    for offset in at:
        ctypes.memmove(one.at.value + offset, counts.ctypes.data, 4)
    np.testing.assert_array_equal(one.hear(sound()), Stream(library()).hear(sound()))
    wrapped = np.frombuffer(one.bytes(), np.uint32)[[offset // 4 for offset in at]]
    assert (wrapped < len(sound())).all()


def test_the_count_of_hops_stays_at_its_largest(library):
    """After 2^32 of them, four years: a frame 0 would begin level and flags anew."""
    one, other = Stream(library()), Stream(library())
    before, after = np.split(sound(), 2)
    one.hear(before), other.hear(before)
    ctypes.memmove(one.at.value + 48, np.uint32([2**32 - 9]).ctypes.data, 4)  # `frames`
    hops, expected = one.hear(after), other.hear(after)
    assert hops["frame"].tolist() == [min(2**32 - 9 + i, 2**32 - 1) for i in range(len(expected))]
    expected["frame"] = hops["frame"]
    np.testing.assert_array_equal(hops, expected)


# States that are kept.


@ARITHMETICS
def test_a_restored_stream_goes_on(library, floats):
    one, other = Stream(library(floats)), Stream(library(floats))
    one.hear(sound()[:5000])
    size = one.c.stream_saved_bytes()
    saved = ctypes.create_string_buffer(size)
    assert one.c.model_stream_save(one.at, saved, size - 1) == 0
    assert one.c.model_stream_save(one.at, saved, size) == size
    assert other.c.model_stream_restore(other.at, saved, size) == 1
    np.testing.assert_array_equal(one.hear(sound()[5000:]), other.hear(sound()[5000:]))


def test_a_state_of_another_model_or_rule_or_arithmetic_is_refused(library, tmp_path):
    one = Stream(library())
    size = one.c.stream_saved_bytes()
    saved = ctypes.create_string_buffer(size)
    assert one.c.model_stream_save(one.at, saved, size) == size
    others = {
        "model": (streams.small_model(FEATURE, seed=5), RULE, 1),
        "rule": (MODEL, msgspec.structs.replace(RULE, threshold=901.0), 1),
        "arithmetic": (MODEL, RULE, 0),
    }
    for name, (content, rule, floats) in others.items():
        folder = streams.written(tmp_path / name, content, rule)
        other = Stream(Library(folder, folder, [f"-DASD_FRONTEND_FLOAT={floats}"]))
        assert other.c.stream_saved_bytes() == size
        before = other.bytes()
        assert other.c.model_stream_restore(other.at, saved, size) == 0, name
        assert other.bytes() == before


@ARITHMETICS
def test_fuzzed_under_sanitizers(tmp_path, floats):
    said = fuzz_stream.fuzz(tmp_path, 8000, seed=3, fixed=not floats)
    counts = [int(number) for number in re.findall(r"(\d+) ", said)]
    assert min(counts) > 3, said


THREADS = """
#include <pthread.h>
#include <stdio.h>
#include "model_stream.h"
static model_stream stream;
static uint64_t work[(MODEL_STREAM_WORK_BYTES + 7) / 8];
enum { N = 60000 };
static void *pushes(void *unused)
{
    int16_t samples[50];
    uint32_t at = 0, i;
    while (at < N) {
        for (i = 0; i < 50; i++) samples[i] = (int16_t)((at + i) * 37 % 2003);
        if (model_stream_room(&stream) >= 50) at += model_stream_push(&stream, samples, 50, 1, 0);
    }
    return unused;
}
int main(void)
{
    pthread_t thread;
    uint32_t hops = 0;
    model_stream_result result;
    model_stream_init(&stream);
    pthread_create(&thread, NULL, pushes, NULL);
    while (hops < (N - MODEL_FFT) / MODEL_HOP + 1)
        hops += (uint32_t)model_stream_poll(&stream, &result, work);
    pthread_join(thread, NULL);
    printf("%llu\\n", (unsigned long long)result.sum);
    return 0;
}
"""


def test_one_thread_pushes_and_another_polls(library, source, tmp_path):
    """Under the thread sanitizer; the result is that of one thread."""
    (tmp_path / "main.c").write_text(THREADS)
    sources = [source / name for name in stream_runs.SOURCES]
    command = [host.compiler(), "-std=c99", "-O1", "-g", "-fsanitize=thread", f"-I{source}"]
    command += ["-o", "main", "main.c", *sources, "-lpthread"]
    subprocess.run(command, cwd=tmp_path, check=True)
    done = subprocess.run([tmp_path / "main"], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    samples = (np.arange(60000) * 37 % 2003).astype(np.int16)
    assert int(done.stdout) == library().run(samples)["sum"][-1]


# Programs that are made of it.


@pytest.fixture(scope="module")
def detect(source, tmp_path_factory) -> Path:
    """mcu/detect.c, as its make line builds it."""
    if not boards.MCU.is_dir() or not shutil.which("make"):
        pytest.skip("no mcu/, or no make")
    copy = tmp_path_factory.mktemp("detect") / "mcu"
    shutil.copytree(boards.MCU, copy, ignore=shutil.ignore_patterns("build"))
    subprocess.run(["make", "-C", copy, "detect", f"MODEL={source}"], check=True)
    return copy / "build" / "detect"


def lines_of(text: str) -> list[dict[str, str]]:
    """The lines that detect prints, as mappings."""
    rows = [f"seconds {line}".split() for line in text.splitlines()]
    return [dict(zip(row[::2], row[1::2], strict=True)) for row in rows]


def heard(detect: Path, content: bytes, *options: object) -> subprocess.CompletedProcess:
    return subprocess.run([detect, *map(str, options)], input=content, capture_output=True)


def test_detect_says_what_the_stream_says(detect, library):
    results = library().run(sound())
    made = results[results["decision"] == 1]
    limit = np.nanmedian(stream_runs.scores(results))
    done = heard(detect, sound().tobytes(), "-t", limit, "-r", limit / 2, "-k", 1, "-n", 1)
    rows = lines_of(done.stdout.decode())
    ends = (made["frame"] * FEATURE.hop_length + FEATURE.n_fft) / streams.RATE
    assert [float(row["seconds"]) for row in rows] == pytest.approx(ends, abs=6e-4)
    scores = stream_runs.scores(made)
    assert [float(row["score"]) for row in rows] == pytest.approx(scores, abs=6e-5)
    expected = decisions(results, limit, limit / 2, 1, 1)
    assert [(row["above"], row["alarm"]) for row in rows] == [
        (str(int(above)), str(int(alarm))) for _, above, alarm in expected
    ]
    before = [False, *(alarm for _, _, alarm in expected[:-1])]
    limits = [limit / 2 if alarm else limit for alarm in before]
    assert [float(row["threshold"]) for row in rows] == pytest.approx(limits, abs=2e-4)
    assert "gap" in rows[0]["flags"]
    assert any("clipped" in row["flags"] for row in rows)
    assert (done.returncode, done.stderr) == (3, b"")  # there was an alarm
    assert heard(detect, sound().tobytes(), "-t", 1e5).returncode == 0


def wav(samples: np.ndarray, folder: Path, **how) -> bytes:
    rate = how.pop("rate", streams.RATE)
    soundfile.write(folder / "a.wav", samples, rate, subtype=how.pop("subtype", "PCM_16"), **how)
    return (folder / "a.wav").read_bytes()


def test_detect_reads_wavs_and_raw_samples(detect, tmp_path):
    raw = sound().tobytes()
    expected = heard(detect, raw).stdout
    assert len(expected.splitlines()) > 9
    content = wav(sound(), tmp_path)
    assert heard(detect, content).stdout == expected
    # As arecord has it, which does not know how much there will be.
    endless = content[:40] + b"\x00\x00\x00\x80" + content[44:]
    assert heard(detect, endless).stdout == expected
    assert heard(detect, content + b"LISTxxxxxxxxxxx").stdout == expected
    both = np.stack([sound()[::-1], sound()], axis=1)
    assert heard(detect, wav(both, tmp_path), "-x", 1).stdout == expected
    assert heard(detect, wav(both, tmp_path, format="WAVEX"), "-x", 1).stdout == expected
    assert heard(detect, both.tobytes(), "-c", 2, "-x", 1).stdout == expected
    odd = heard(detect, raw + b"x")
    assert odd.stdout == expected
    assert odd.stderr == b"detect: the last sample is not whole; left out\n"
    for content in (b"", b"R", b"RIFF"[:3]):
        assert (heard(detect, content).returncode, heard(detect, content).stdout) == (0, b"")


def test_detect_refuses_in_one_line(detect, tmp_path):
    mono = wav(sound()[:999], tmp_path)
    cases = [
        (b"RIFFxxxxAVI xxxx", (), "not a wav file"),
        (mono[:30], (), "the wav's head is damaged"),
        (mono[:36], (), "the wav holds no samples"),
        (wav(sound()[:999], tmp_path, rate=8000), (), "8000 Hz; the model hears 16000 Hz"),
        (wav(sound()[:999], tmp_path, subtype="PCM_24"), (), "not a wav of 16-bit samples"),
        (wav(np.zeros((99, 2)), tmp_path), (), "2 channels; say which with -x"),
        (mono, ("-x", 1), "-x 1: there are 1 channels, from 0"),
        (mono, ("-t", "much"), "-t much: a number from 0 to 1.04858e+06"),
        (mono, ("-k", "1.5"), "-k 1.5: a whole number"),
        (mono, ("-k", "3", "-n", "2"), "-k 3 -n 2: K is at most N"),
        (mono, ("-t", "5", "-r", "6"), "-r 6 is above the threshold, 5"),
        (mono, ("a.wav",), "a.wav: not an option; samples come from standard input"),
    ]
    for content, options, why in cases:
        done = heard(detect, content, *options)
        told = done.returncode, done.stderr.decode(), done.stdout
        assert told == (1, f"detect: {why}\n", b"")
    assert heard(detect, b"", "-h").returncode == 0
    assert heard(detect, b"", "-z").returncode == 1


def test_detect_tells_at_once_and_ends_with_its_reader(detect):
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "bufsize": 0}
    with subprocess.Popen([detect], **pipes) as process:
        process.stdin.write(sound()[:4000].tobytes())
        first = process.stdout.readline()  # while the input is still open
        process.stdout.close()
        with pytest.raises(BrokenPipeError):
            while True:
                process.stdin.write(sound().tobytes())
    assert first.startswith(b"0.")
    assert process.returncode not in (0, 3)


def test_a_board_hears_a_wav_as_if_by_a_microphone(m4, source, library, tmp_path):
    """mcu/listen.c, built by its make line."""
    copy = tmp_path / "mcu"
    shutil.copytree(boards.MCU, copy, ignore=shutil.ignore_patterns("build"))
    command = ["make", "-C", copy, f"BOARD={m4.name}", f"MODEL={source}", "BUILD=build"]
    for goals in ([], ["listen"]):  # what was made of another main is no reason not to
        subprocess.run([*command, *goals], check=True, stdout=subprocess.DEVNULL)
    two = np.stack([sound(), sound()[::-1]], axis=1)
    (tmp_path / "sound.wav").write_bytes(wav(two, tmp_path))
    qemu = [*m4.qemu, "-kernel", copy / "build" / "firmware.elf", "-display", "none",
            "-semihosting-config", "enable=on,target=native", "-monitor", "none",
            "-serial", "none"]  # fmt: skip
    done = subprocess.run(qemu, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    results = library().run(sound())
    made = results[results["decision"] == 1]
    lines = (done.stdout + done.stderr).splitlines()
    assert done.returncode == 0, lines
    ends = (made["frame"] * FEATURE.hop_length + FEATURE.n_fft) / streams.RATE
    assert [float(line.split()[0]) for line in lines] == pytest.approx(ends, abs=1e-3)
    said = [float(line.split()[3]) for line in lines]
    assert said == pytest.approx(stream_runs.scores(made), abs=1e-3)
    shown = [float(line.split()[5]) for line in lines]
    before = np.concatenate([[0], made["alarm"][:-1]])
    assert shown == pytest.approx(np.where(before, RULE.release, RULE.threshold), abs=1e-3)
    alarms = [" ALARM" in line for line in lines]
    begins = np.diff(np.concatenate([[0], made["alarm"]]).astype(int)) > 0
    assert alarms == list(begins)
    assert any(begins)
    # Flags are those of the hops since the decision before.
    parts = np.split(results["flags"], np.flatnonzero(results["decision"]) + 1)[:-1]
    flags = [{name for name, bit in NAMED.items() if np.bitwise_or.reduce(one) & bit}
             for one in parts]  # fmt: skip
    assert [set(line.split()) & set(NAMED) for line in lines] == flags
    assert set().union(*flags) == set(NAMED)


# The generator, and the rung of 03_tflite_test.py.


def record(model: Path, rule: streaming.Stream) -> None:
    told = {"sha256": files.file_hash(model), streaming.KEY: msgspec.to_builtins(rule)}
    files.write_json(paths.record_of(model), told)


def test_the_command_writes_the_whole_folder(tmp_path, source):
    model, out = tmp_path / "model_A.tflite", tmp_path / "out"
    model.write_bytes(MODEL)
    record(model, RULE)
    command = [sys.executable, "-m", "asd.embedded.stream", model, out]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    written = {path.name: path.read_bytes() for path in out.iterdir()}
    assert written == {path.name: path.read_bytes() for path in source.iterdir()}
    assert set(written) == {*codegen.names(), *stream.names()}
    record(model, msgspec.structs.replace(RULE, band_errors=(1.0,)))
    refused = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert refused.returncode == 1
    assert len(refused.stderr.splitlines()) == 1
    assert "run 02_convert.py again" in refused.stderr


def test_another_prefix(tmp_path):
    """All names that a linker sees begin with it."""
    codegen.write(MODEL, tmp_path, name="pump")
    stream.write(MODEL, RULE, tmp_path, "pump")
    sources = [tmp_path / f"pump{part}.c" for part in ("", "_frontend", "_stream")]
    for path in sources:
        subprocess.run(["cc", "-c", path, "-o", path.with_suffix(".o")], check=True)
    symbols = subprocess.run(["nm", "-g", *(path.with_suffix(".o") for path in sources)],
                             capture_output=True, text=True, check=True).stdout  # fmt: skip
    names = re.findall(r"[TDRB] (\w+)", symbols)
    assert {name.split("_")[0] for name in names} == {"pump"}
    assert "pump_stream_band_hz" in names
    text = "".join(path.read_text() for path in tmp_path.glob("pump_stream.[ch]"))
    assert not re.findall(r"\bmodel_|\bMODEL_", text)


TWO = """
#include "fan_stream.h"
#include "pump_stream.h"
static fan_stream fan;
static pump_stream pump;
static uint64_t work[(FAN_STREAM_WORK_BYTES + PUMP_STREAM_WORK_BYTES + 7) / 8];
int main(void)
{
    fan_stream_result of_fan;
    pump_stream_result of_pump;
    fan_stream_init(&fan);
    pump_stream_init(&pump);
    return fan_stream_poll(&fan, &of_fan, work) + pump_stream_poll(&pump, &of_pump, work);
}
"""


@pytest.mark.parametrize("compiler", ["gcc -std=c99", "g++ -xc++"])
def test_two_models_in_one_firmware(tmp_path, compiler):
    for name, feature in (("fan", FEATURE), ("pump", streams.feature_of(n_fft=512, power=1.0))):
        codegen.write(content := streams.small_model(feature), tmp_path, name=name)
        stream.write(content, streams.stream_of(feature), tmp_path, name)
    (tmp_path / "main.c").write_text(TWO)
    command = [*compiler.split(), "-Wall", "-Wextra", "-Werror", *sorted(tmp_path.glob("*.c"))]
    if not shutil.which(command[0]):
        pytest.skip(f"no {command[0]}")
    subprocess.run([*command, "-o", tmp_path / "main"], check=True)
    assert subprocess.run([tmp_path / "main"]).returncode == 0


REFUSED = {
    "windows": (streams.small_model(FEATURE), {"feature": streams.feature_of(n_mels=9)}, "windows"),
    "classifier": (of_shape("softmax"), {}, "SOFTMAX"),
    "hop": (MODEL, {"feature": streams.feature_of(n_mels=10, hop_length=300)}, "hop_length"),
    "transform": (MODEL, {"feature": streams.feature_of(n_mels=10, n_fft=300)}, "n_fft"),
    "band errors": (MODEL, {"band_errors": (0.0,) * 10}, "band errors"),
    "rule": (MODEL, {"k": 4}, "4 of 3"),
    "rate": (MODEL, {"feature": streams.feature_of(n_mels=10, sample_rate=2**18)}, "65 kHz"),
    "release": (MODEL, {"release": 901.0}, "released at 901"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_has_no_stream_is_refused(tmp_path, case):
    content, changes, why = REFUSED[case]
    with pytest.raises(UserError, match=why) as caught:
        stream.write(content, msgspec.structs.replace(RULE, **changes), tmp_path)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("scales", [(1e-7, 0.4), (0.4, 1e-7), (0.4, 200.0)])
def test_scales_whose_integers_would_overflow_are_refused(scales):
    """400 dB over 1e-7 is more than 32 bits hold."""
    source, target = ((scale, 0) for scale in scales)
    own = [0.1 * scales[1] / scales[0]]
    layer = int_dense(np.eye(30, dtype=np.int8), None, own, False, source, target)
    with pytest.raises(UserError, match="no scales of dB"):
        stream.generate(tflite([layer]), RULE)


def test_an_old_stream_is_removed(tmp_path):
    assert len(stream.write(MODEL, RULE, tmp_path)) == len(stream.names())
    assert stream.write(MODEL, None, tmp_path) == []
    assert not list(tmp_path.iterdir())


def test_the_rung_sees_whether_a_stream_is_the_model(tmp_path, source, m4):
    model = tmp_path / "model_A.tflite"
    model.write_bytes(MODEL)
    clip = write_clip(tmp_path / "clip.wav")
    assert stream_rung.of(model, MODEL, clip) is None
    record(model, RULE)
    unusual = streams.feature_of(n_mels=10, hop_length=300)
    record(model, msgspec.structs.replace(RULE, feature=unusual))
    assert stream_rung.of(model, MODEL, clip) is None, "C has none, as 02_convert.py said"
    record(model, RULE)
    rung = stream_rung.of(model, MODEL, clip)
    plain = Cost("A", "host", "this machine", "plain", 1, 0, 0.0, 0.0, None)
    here = rung.added(plain, None, source, tmp_path)
    there = rung.added(plain, m4, source, tmp_path)
    assert here.verdict == there.verdict == "pass"
    assert here.stream_error == there.stream_error < 1e-3
    assert (here.stream_instructions, there.stream_differs) == (None, 0)
    assert 10_000 < there.stream_instructions < 100_000
    assert 2_000 < there.stream_ram < 8_000
    # Another model's stream is not this one's; nor a board's that differs from this machine's.
    other = streams.written(tmp_path / "other", streams.small_model(FEATURE, seed=5), RULE)
    elsewhere = tmp_path / "elsewhere"  # a library that is loaded stays what it is
    wrong = stream_rung.of(model, MODEL, clip).added(plain, None, other, elsewhere)
    assert wrong.verdict == "FAIL"
    apart = rung.added(plain, m4, other, elsewhere)
    assert apart.stream_differs > 10
    assert apart.verdict == "FAIL"


def test_the_lines_of_the_manual_compile(source, tmp_path):
    """As mcu/README.md has them."""
    manual = boards.MCU / "README.md"
    if not manual.is_file():
        pytest.skip("mcu/ is not there")
    (text,) = re.findall(r"```c\n(#include \"model_stream.h\"\n.*?)```", manual.read_text(), re.S)
    shown = "void set_lamp(int);\nvoid wait_for_interrupt(void);\n"
    own = "void microphone_interrupt(const int16_t *, uint32_t);\nvoid listen(void);\n"
    (tmp_path / "main.c").write_text(shown + text.replace("\n\n", f"\n\n{own}", 1))
    command = ["cc", "-std=c99", *STRICT, f"-I{source}", "main.c", "-o", "main.o"]
    subprocess.run(command, cwd=tmp_path, check=True)


# What ad01's stream may cost: instructions of a hop, bytes of RAM in all, bytes of flash.
BUDGETS = {"mps2-an386": (400_000, 12_000, 300_000), "mps3-an547": (130_000, 12_000, 300_000)}


@pytest.mark.parametrize("name", BUDGETS)
def test_ad01_costs_no_more_than_promised(real, tmp_path, name):
    board = board_or_skip(name)
    source = streams.written(tmp_path / "c", *streams.published(real))
    ran = stream_runs.on_board(board, source, tmp_path, streams.sound(0.3))
    for figure, most in zip(
        (ran.instructions, ran.ram, ran.flash_bytes), BUDGETS[name], strict=True
    ):
        assert figure <= most
    assert ran.results["windows"][-1] > 0
