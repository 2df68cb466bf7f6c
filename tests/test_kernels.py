"""The kernels on cores and builds that no row of mcu/boards/ has: what they choose and cost."""

from __future__ import annotations

import dataclasses
import itertools
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from conftest import board_or_skip
from networks import int_dense
from networks import tflite as network_file
from shapes import random_steps

from asd import files
from asd.embedded import boards, codegen, costs, packing, weights
from asd.embedded import host as this_machine
from asd.embedded.costs import Cost
from asd.tflite import litert, reader
from asd.tflite.int8 import IntDense

AD01 = (640, 128, 128, 128, 128, 8, 128, 128, 128, 128, 640)
SOFT_M4 = "-mcpu=cortex-m4 -mthumb -mfloat-abi=soft"
INTEGER_M55 = "-mcpu=cortex-m55+nomve.fp+nofp -mthumb -mfloat-abi=hard"


def chain(
    widths: Sequence[int],
    octaves: float | None = None,  # of a row's scales; None: one scale a layer
    largest: int = 127,  # weight
    bias: float = 3000,  # standard deviation
    relu_zero: int = -128,  # zero point after a ReLU
    seed: int = 0,
) -> bytes:
    """A chain of layers with ReLU, but for the last, whose outputs seldom saturate."""
    rng = np.random.default_rng(seed)
    before, layers = (0.05, -7), []
    for i, (n_inputs, n_outputs) in enumerate(itertools.pairwise(widths)):
        last = i == len(widths) - 2
        w = np.clip(rng.normal(0, largest / 3, (n_outputs, n_inputs)).round(), -largest, largest)
        exponents = rng.uniform(0, octaves or 0, n_outputs if octaves else 1)
        scales = np.float32(0.002 * 2.0**exponents)
        size = np.sqrt(n_inputs) * largest / 3 * 80 * np.median(scales) * before[0]
        after = float(np.float32(size / 60)), 11 if last else relu_zero
        biases = rng.normal(0, bias, n_outputs).astype(np.int32)
        layers.append(int_dense(w.astype(np.int8), biases, scales, not last, before, after))
        before = after
    return network_file(layers)


def inputs_of(content: bytes, n: int) -> np.ndarray:
    """(n, inputs) int8, the ends of the range among them"""
    x = np.random.default_rng(n).integers(-128, 128, (n, reader.read(content).inputs), np.int8)
    x[0], x[1] = -128, 127
    return x


class Bench:
    """Runs networks on a board as another core, or built in another way."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.monkeypatch, self.count = folder, monkeypatch, itertools.count()

    def board(self, name: str, flags: str = "", option: str = "") -> boards.Board:
        """A board with other flags of the core or another option in place of -O2."""
        board = board_or_skip(name)
        mcu = self.folder / "mcu"
        if not mcu.exists():
            shutil.copytree(boards.MCU, mcu, ignore=shutil.ignore_patterns("build"))
            self.monkeypatch.setattr(boards, "MCU", mcu)
        text = (mcu / "boards" / f"{name}.mk").read_text()
        text = re.sub("CPUFLAGS = .*", f"CPUFLAGS = {flags}", text) if flags else text
        text += f"override OPT = {option}\n" if option else ""
        other = f"{name}-{next(self.count)}"
        (mcu / "boards" / f"{other}.mk").write_text(text)
        return dataclasses.replace(board, name=other)

    def run(self, board: boards.Board, content: bytes, rounding: str = "single") -> boards.BoardRun:
        """What a network costs there; its bytes are LiteRT's, or the plain kernel's."""
        folder = self.folder / f"{next(self.count)}"
        codegen.write(content, folder, rounding)
        x = inputs_of(content, 6)
        if rounding == "single":
            expected = litert.runner(content)(x)
        else:
            library = this_machine.build(folder, folder)
            expected = this_machine.runner(library, reader.read(content).outputs)(x)
        ran = boards.run(board, folder, x, folder)
        np.testing.assert_array_equal(ran.outputs, expected)
        return ran


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """For boards as other cores."""
    return Bench(tmp_path, monkeypatch)


@pytest.mark.parametrize(
    ("name", "flags", "rounding", "kernel", "most"),
    [
        ("mps2-an386", SOFT_M4, "single", "dsp", 345_000),
        ("mps2-an386", SOFT_M4, "double", "dsp", 330_000),
        ("mps3-an547", INTEGER_M55, "single", "mve", 105_000),
        ("mps3-an547", "", "double", "mve", 85_000),
    ],
)
def test_a_core_without_floats_uses_its_fast_kernel(bench, name, flags, rounding, kernel, most):
    ran = bench.run(bench.board(name, flags), chain(AD01), rounding)
    assert ran.kernel == kernel
    assert ran.instructions <= most


@pytest.mark.parametrize(
    ("name", "flags", "rounding", "most"),
    [
        ("mps2-an386", "", "single", 1.0),
        ("mps2-an386", SOFT_M4, "double", 1.1),
        ("mps2-an385", "", "single", 2.1),
    ],
)
def test_wide_rows_go_through_the_fast_kernel(bench, name, flags, rounding, most):
    """Of sums that may need more than 24 bits; instructions for a multiply-accumulate."""
    wide = chain((2560, 72, 18), octaves=1, bias=2.0**26)
    network = reader.read(wide)
    bound = 128 * np.abs(network.layers[0].weights.astype(int)).sum(axis=1).max()
    assert bound > 2**23
    ran = bench.run(bench.board(name, flags), wide, rounding)
    macs = sum(layer.weights.size for layer in network.layers)
    assert ran.instructions <= most * macs
    assert "plain" not in ran.kernel


def test_the_widest_rows_of_the_largest_weights(bench):
    """Every part of the columns is at the end of its range."""
    for sign in (-127, 127):
        w = np.full((5, 2047), sign, np.int8)
        layer = int_dense(
            w, np.full(5, sign * 2**20, np.int32), [1e-4], False, (1.0, 0), (300.0, 3)
        )
        content = network_file([layer])
        (packed,) = weights.Plan(reader.read(content), "single").dsp
        assert packed.packed > 3
        bench.run(bench.board("mps2-an386"), content)


@pytest.mark.parametrize(
    ("mode", "network"),
    [
        ("ASD_PACKED_ROWS", {"widths": (40, 24, 16), "octaves": 4}),
        ("ASD_PACKED_ROWS", {"widths": (21, 13, 6, 9), "octaves": 4, "relu_zero": 5}),
        ("ASD_ROWS", {"widths": (40, 24, 16), "octaves": 14, "bias": 2.0**20}),
        ("ASD_ROWS", {"widths": (21, 13, 6, 9), "octaves": 14, "bias": 2.0**20, "relu_zero": 5}),
        ("ASD_ROWS", {"widths": (24, 16, 8), "octaves": 1, "bias": 2.0**20.5}),
        ("ASD_ONE_SCALE", {"widths": (21, 13, 6, 9), "relu_zero": 5}),
    ],
)
def test_scales_of_every_size(bench, mode, network):
    content = chain(**network)
    assert f"#define ASD_SCALES {mode}\n" in codegen.generate(content)["model.c"]
    assert bench.run(bench.board("mps2-an386"), content).kernel == "dsp"


def test_one_layer_with_a_scale_and_one_with_many(bench):
    rng = np.random.default_rng(0)
    first = int_dense(rng.integers(-99, 99, (12, 20), np.int8), None, [0.01], True,
                      (0.05, 3), (0.3, -128))  # fmt: skip
    second = int_dense(rng.integers(-99, 99, (6, 12), np.int8), None, rng.uniform(0.01, 0.02, 6),
                       False, (0.3, -128), (2.0, 9))  # fmt: skip
    bench.run(bench.board("mps2-an386"), network_file([first, second]))


def test_products_that_need_more_than_16_bits(bench):
    rng = np.random.default_rng(0)
    w = rng.integers(-127, 128, (8, 640), np.int8)
    layer = int_dense(w, None, [0.1], False, (1.0, 0), (0.1, 5))
    content = network_file([layer])
    assert not packing.is_narrow(layer)
    assert packing.is_narrow(dataclasses.replace(layer, weight_scales=np.float32([1e-4])))
    bench.run(bench.board("mps2-an386"), content)


@pytest.mark.parametrize("low_bits", [4, 6])
@pytest.mark.parametrize("around", [0, -1_500_000])
def test_rows_of_six_bytes_hold_every_bit(low_bits, around):
    (layer,) = reader.read(chain((30, 10), octaves=5)).layers
    packed = packing.pack_dsp(layer)
    packed = dataclasses.replace(packed, bias=packed.bias // 256 % 2**18 * 256 + 256 * around)
    words, (least, factor) = packing.pack_scales(layer, packed, low_bits)
    blocks = words.reshape(-1, 6).astype(np.int64)
    rows = blocks[:, [1, 5, 2, 3]].ravel()
    halves = blocks[:, [0, 0, 4, 4]].ravel() >> np.tile([0, 16], len(rows) // 2) & 0xFFFF
    high = halves.astype(np.uint16).view(np.int16).astype(np.int64)
    biases = high * (factor & 0xFFFF) + factor + 256 * (rows & (2**low_bits - 1))
    np.testing.assert_array_equal(biases[:10].astype(np.uint32).view(np.int32), packed.bias[:10])
    scales = (least + (rows >> low_bits)).astype(np.uint32).view(np.float32)
    np.testing.assert_array_equal(scales[:10], layer.scales)


@pytest.mark.parametrize(
    ("octaves", "biases", "low_bits"),
    [(7.9, (0, 4_150_000), 6), (7.9, (-7_000_000, -2_900_000), 6), (7.9, (0, 2**22), 0),
     (8.1, (-5_000_000, -2_930_000), 5), (8.1, (0, 2**21), 0), (17, (8_300_000, 8_380_000), 4)],
)  # fmt: skip
def test_the_ends_of_six_bytes(bench, octaves, biases, low_bits):
    """A scale's bits and a bias's fit into 48; a scale spans an octave in 23."""
    scales = np.float32([1e-3, 1e-3 * 2.0**octaves, 1e-3])
    layer = int_dense(np.ones((3, 8), np.int8), np.array([*biases, biases[0]], np.int32), scales,
                      False, (1e-4, 0), (1.0, 0))  # fmt: skip
    content = network_file([layer])
    plan = weights.Plan(reader.read(content), "single")
    assert (plan.low_bits if plan.rows else 0) == low_bits
    bench.run(bench.board("mps2-an386"), content)


def test_layers_of_two_kernels_are_named(bench):
    """The DSP kernel cannot hold a weight of -128 after a negative one."""
    rng = np.random.default_rng(0)
    layers = [
        int_dense(rng.integers(-99, 99, (12, 2560), np.int8), None, [0.01], True,
                  (0.05, 3), (0.3, -128)),
        int_dense(np.full((6, 12), -128, np.int8), None, [0.01], False, (0.3, -128), (2.0, 9)),
    ]  # fmt: skip
    content = network_file(layers)
    header = codegen.generate(content)["model.h"]
    assert re.search(r"0: 2560 -> 12: dsp, in [23] parts of its columns\n", header)
    assert "1: 12 -> 6: plain, as a weight is -128\n" in header
    ran = bench.run(bench.board("mps2-an386"), content)
    assert ran.kernel == "dsp+plain"


def test_the_table_has_room_for_two_kernels(tmp_path, capsys):
    cost = Cost("DemoFan", "mps2-an386", "Cortex-M4F", "dsp+plain", 123_456, 0, 0.0, 0.0, None,
                instructions=1_000_000, code_bytes=1, constant_bytes=2, scratch_bytes=3,
                stack_bytes=4)  # fmt: skip
    costs.write(tmp_path / "mcu.csv", [cost])
    assert files.read_csv(tmp_path / "mcu.csv")[1][3] == "dsp+plain"
    assert costs.show([cost], [], [], tmp_path / "mcu.csv") == 0
    lines = capsys.readouterr().out.splitlines()
    (line,) = (line for line in lines if line.startswith("Cortex-M4F"))
    assert line.split()[2:4] == ["dsp+plain", "123456"]
    assert max(map(len, lines)) <= 100


@pytest.mark.parametrize("name", ["mps2-an385", "mps2-an386", "mps3-an547", "virt"])
def test_a_debug_build_costs_at_most_half_more(bench, name):
    content = chain((160, 96, 24, 64))
    usual = bench.run(bench.board(name), content).instructions
    for option in ("-Og", "-O1"):
        debug = bench.run(bench.board(name, option=option), content).instructions
        assert debug <= 1.5 * usual, option
        assert debug != usual, option


@pytest.mark.parametrize(("largest", "kernel", "most"), [(30, "pairs", 3.3), (127, "plain", 4.2)])
def test_rv32_takes_pairs_only_where_they_pay(bench, largest, kernel, most):
    """Of large weights two columns are in a group, and what is taken off costs more than it saves;
    instructions for a multiply-accumulate."""
    rng, layers = np.random.default_rng(0), []
    for shape in ((64, 256), (32, 64)):
        w = rng.integers(-largest, largest, shape, np.int8)
        layers.append(int_dense(w, None, [0.01], False, (0.3, 5), (0.3, 5)))
    content = network_file(layers)
    ran = bench.run(bench.board("virt"), content)
    assert ran.kernel == kernel
    assert ran.instructions <= most * (64 * 256 + 32 * 64)
    assert (ran.scratch_bytes > 128) == (kernel == "pairs")
    assert f"ASD_PAIRS on RV32: {kernel}" in codegen.generate(content)["model.h"]
    assert bench.run(bench.board("mps2-an385-m0plus"), content).kernel == "pairs"


M0PLUS, M23 = "mps2-an385-m0plus", "mps2-an505-m23"
# Seed 35: rows of six bytes, and pairs on RV32; 14: biases apart from sums; 33: with two roundings.
# All have a table before the first layer, tables or clamps behind others, and layers of one scale
# beside those of many.
STEPS = [
    *(("mps2-an386", flags, seed) for flags, seed in (("", 35), ("", 14), (SOFT_M4, 35))),
    *(("mps3-an547", flags, seed) for flags, seed in (("", 35), (INTEGER_M55, 14))),
    *((name, "", 35) for name in ("mps2-an385", M0PLUS, M23, "virt")),
    *((name, "", 33) for name in ("mps2-an386", "mps3-an547", M0PLUS, "virt")),
]


@pytest.mark.parametrize(("name", "flags", "seed"), STEPS)
def test_steps_behind_every_kernel(bench, name, flags, seed):
    rounding = "double" if seed == 33 else "single"
    content = random_steps(seed, rounding, most=96).content()
    plan = weights.Plan(reader.read(content), rounding)
    assert plan.network.before and plan.pairs and {1} < set(map(_count, plan.network.layers))
    assert plan.rows if seed == 35 else any(packed.packed > 1 for packed in plan.dsp)
    assert any(after.table is not None for after in plan.afters)
    bench.run(bench.board(name, flags), content, rounding)


def _count(layer: IntDense) -> int:
    return len(layer.weight_scales)
