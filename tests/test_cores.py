"""What is particular to a core or a compiler: roundings, cost, warnings."""

import ctypes
import platform
import shutil
import subprocess

import numpy as np
import pytest
from conftest import board_or_skip
from networks import int_dense
from networks import tflite as network_file
from test_codegen import HOST_PATHS, host, inputs_of, small

from asd.embedded import boards, codegen, pairs
from asd.tflite import litert, reader

EXTREMES = [2.0**-45, 2.0**-32, 2.0**-31, 2.0**-30, 1e-3, 2.0**-9, 0.25, 0.5, 1.0, 3.7, 100.0]


@pytest.mark.parametrize("per_channel", [True, False])
def test_two_roundings_in_vectors_equal_those_of_integers(tmp_path, per_channel):
    """Factors that shift to the left, not at all, or by all of 31 bits; ties; ends of 32 bits."""
    row = board_or_skip("mps3-an547")
    rng = np.random.default_rng(0)
    for i, factor in enumerate([1.0] if per_channel else EXTREMES[2::4]):
        n = 2 * len(EXTREMES) + 1  # rows that are no multiple of 4
        scales = np.float32((EXTREMES * 3)[:n] if per_channel else [factor])
        biases = rng.integers(-(2**30), 2**30, n, np.int32) >> rng.integers(0, 30, n, np.int32)
        weights = rng.integers(-127, 128, (n, 3), np.int8)
        layer = int_dense(weights, biases, scales, False, (1.0, 0), (1.0, 5))
        content, folder = network_file([layer]), tmp_path / f"{i}"
        x = inputs_of(content, 100)
        expected = host(content, folder, "double")(x)
        assert np.array_equal(boards.run(row, folder, x, folder).outputs, expected), factor


def test_ad01_in_two_roundings_on_an_m55(real, tmp_path):
    content = (real / "reference/ad01_int8.tflite").read_bytes()
    x = np.random.default_rng(0).integers(-128, 128, (3, 640), np.int8)
    expected = host(content, tmp_path, "double")(x)
    ran = boards.run(board_or_skip("mps3-an547"), tmp_path, x, tmp_path)
    assert np.array_equal(ran.outputs, expected)
    assert ran.instructions <= 55_500


@pytest.mark.parametrize("group", [2, 4, 8])
def test_groups_of_pairs_are_exact(tmp_path, group, monkeypatch):
    """At the ends of a group's 16 bits, too: every weight beside the largest of x."""
    monkeypatch.setattr(pairs, "columns_of_group", lambda layer: group)
    row = board_or_skip("mps2-an385-m0plus")
    for i, (n_inputs, n_outputs) in enumerate([(64, 4), (65, 5), (600, 4), (9, 18)]):
        rng = np.random.default_rng(i)
        weights = rng.integers(-128, 128, (n_outputs, n_inputs), np.int8)
        # The wide layer holds next to nothing between its ends.
        weights >>= rng.integers(0, 4, n_inputs, np.int8) if n_inputs < 600 else np.int8(5)
        weights[0, :3] = -128, -128, 127
        weights[-1, -2:] = 127, -128
        biases = rng.integers(-9999, 9999, n_outputs, np.int32)
        layer = int_dense(weights, biases, [2.0**-11], False, (1.0, 3), (1.0, -5))
        content, folder = network_file([layer]), tmp_path / f"{i}"
        assert pairs.pack(reader.read(content).layers[0]).packed == group
        ends = np.concatenate([np.where(weights > 0, end, -1 - end) for end in (127, -128)])
        x = np.concatenate([inputs_of(content, 30), ends.astype(np.int8)])
        expected = litert.runner(content)(x)
        assert len(np.unique(expected)) > 40
        actual = host(content, folder, flags=HOST_PATHS["pairs"])(x)
        assert np.array_equal(actual, expected), i
        if i % 2:
            assert np.array_equal(boards.run(row, folder, x, folder).outputs, expected), i


ARM = "arm-none-eabi-g++ -mthumb -mcpu=cortex-"
CPLUSPLUS = [
    *(f"{compiler}{kernel}" for compiler in ("g++", "clang++")
      for kernel in ("", " -DASD_FLOAT_UNIT=0 -DASD_KERNEL=ASD_MLAL",
                     " -DASD_FLOAT_UNIT=0 -DASD_KERNEL=ASD_PAIRS")),
    *(ARM + core for core in (
        "m0plus", "m23", "m3", "m4 -mfpu=fpv4-sp-d16 -mfloat-abi=hard",
        "m7 -mfpu=fpv5-d16 -mfloat-abi=hard", "m33 -mfpu=fpv5-sp-d16 -mfloat-abi=hard",
        "m55 -mfloat-abi=hard")),
    "riscv64-unknown-elf-g++ -march=rv32imac -misa-spec=2.2 -mabi=ilp32 -specs=picolibc.specs",
    "riscv64-unknown-elf-g++ -march=rv32imafc -misa-spec=2.2 -mabi=ilp32f -specs=picolibc.specs",
]  # fmt: skip
NO_WARNING = ["-Wall", "-Wextra", "-Wpedantic", "-Werror"]


@pytest.mark.parametrize("compiler", CPLUSPLUS)
def test_the_sources_are_cplusplus(tmp_path, compiler):
    command = compiler.split()
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    for rounding, standard in (("single", "c++98"), ("double", "c++17"), ("single", "c++17")):
        codegen.write(small(), tmp_path, rounding)
        options = [f"-std={standard}", "-O2", *NO_WARNING, "-x", "c++", "-c", "model.c"]
        done = subprocess.run([*command, *options, "-o", "model.o"], cwd=tmp_path,
                              capture_output=True, text=True)  # fmt: skip
        assert (done.returncode, done.stderr) == (0, ""), standard


@pytest.mark.parametrize("rounding", ["single", "double"])
@pytest.mark.parametrize("target", ["msp430", "powerpc"])
def test_an_int_of_16_bits_and_another_byte_order_are_served(tmp_path, target, rounding):
    """Seen by clang's warnings: shifts, constants and conversions for such a target."""
    if shutil.which("clang") is None:
        pytest.skip("no clang: apt install clang")
    codegen.write(small(), tmp_path, rounding)
    (tmp_path / "string.h").write_text(
        "#include <stddef.h>\nvoid *memcpy(void *, const void *, size_t);\n"
    )
    options = ["-ffreestanding", "-I.", "-std=c99", *NO_WARNING, "-Wconversion", "-fsyntax-only"]
    for kernel in ("ASD_PLAIN", "ASD_PAIRS"):
        command = ["clang", f"--target={target}", *options, f"-DASD_KERNEL={kernel}", "model.c"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_fast_math_changes_nothing(tmp_path, compiler):
    """Ties of the quantiser, which a multiplication by 1 / scale moves; what is not a number."""
    if shutil.which(compiler) is None or platform.machine() != "x86_64":
        pytest.skip(f"needs {compiler} on x86-64")
    layer = int_dense(np.eye(9, dtype=np.int8), None, [0.01], False, (0.3, 17), (0.5, -3))
    codegen.write(network_file([layer]), tmp_path)
    rng = np.random.default_rng(0)
    scale = np.float32(0.3)
    values = scale * np.float32(rng.integers(-140, 140, (500, 9)) + 0.5)
    values[0, :3] = np.nan, np.inf, -np.inf
    finite = np.nan_to_num(values, nan=-1e9, posinf=1e9, neginf=-1e9)
    expected = np.rint(finite / scale).clip(-145, 110) + 17
    scores = []
    for flags in (["-O2"], ["-Ofast", "-march=native"], ["-O2", "-ffinite-math-only"],
                  ["-O3", "-funsafe-math-optimizations"]):  # fmt: skip
        # Else a library that is linked with such flags sets the whole process' denormals to zero.
        command = [compiler, *flags, "-nostartfiles", "-shared", "-fPIC"]
        command += ["-o", f"{len(scores)}.so", "model.c"]
        subprocess.run(command, cwd=tmp_path, check=True)
        library = ctypes.CDLL(str(tmp_path / f"{len(scores)}.so"))
        library.model_score.restype = ctypes.c_float
        q, work, scratch = np.empty((500, 9), np.int8), (ctypes.c_int8 * 18)(), bytes(64)
        for row, of_row in zip(values, q, strict=True):
            library.model_quantise(row.ctypes.data_as(ctypes.c_void_p),
                                   of_row.ctypes.data_as(ctypes.c_void_p))  # fmt: skip
        assert np.array_equal(q, expected), flags
        given = values[1:].ctypes
        scores.append([library.model_score(ctypes.c_void_p(given.data + 36 * i), work, scratch)
                       for i in range(100)])  # fmt: skip
    assert all(of_flags == scores[0] for of_flags in scores)


def test_clang_says_how_to_compile_where_it_cannot_undo_fast_math(tmp_path):
    if shutil.which("clang") is None:
        pytest.skip("no clang: apt install clang")
    (tmp_path / "string.h").write_text("")
    codegen.write(small(), tmp_path)
    command = ["clang", "--target=arm-none-eabi", "-ffreestanding", "-I.", "-Ofast", "model.c"]
    done = subprocess.run([*command, "-fsyntax-only"], cwd=tmp_path, capture_output=True, text=True)
    assert "add -fno-fast-math for this file" in done.stderr


def test_a_risc_v_with_a_float_unit(tmp_path):
    """Whose float registers the start code has to switch on."""
    row = board_or_skip("virt")
    content = small(1)
    codegen.write(content, tmp_path / "model")
    flags = "-march=rv32imafc -misa-spec=2.2 -mabi=ilp32f -specs=picolibc.specs"
    make = ["make", "-C", str(boards.MCU), "BOARD=virt", f"MODEL={tmp_path}/model"]
    subprocess.run([*make, f"BUILD={tmp_path}/build", f"CPUFLAGS={flags}"], check=True)
    x = inputs_of(content, 20)
    x.tofile(tmp_path / "input.bin")
    boards.emulate(row, tmp_path, tmp_path / "build/firmware.elf", 60, "output.bin")
    outputs = np.fromfile(tmp_path / "output.bin", np.int8).reshape(len(x), -1)
    assert np.array_equal(outputs, litert.runner(content)(x))
