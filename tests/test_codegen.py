"""Generated C against LiteRT and TFLite Micro, byte by byte; refusals; clean builds."""

import ctypes
import itertools
import shutil
import subprocess
import sys

import flatbuffers
import numpy as np
import pytest
from conftest import ROOT, board_or_skip
from networks import int_dense, random_network
from networks import tflite as network_file

import common
from asd.embedded import boards, codegen, packing
from asd.embedded import host as this_machine
from asd.tflite import convert, fold, litert, reader
from asd.tflite.convert import MCU
from common import UserError

needs_cc = pytest.mark.skipif(
    this_machine.compiler() is None, reason="no C compiler: apt install gcc"
)
WARNINGS = ["-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Werror"]
# Every path that this machine can take: vectors and a float unit, integers only, the packings of
# Armv7-M and of pairs of rows, and the latter with multiplications of 32 bits alone.
HOST_PATHS = {
    "float": [],
    "integer": ["-DASD_FLOAT_UNIT=0"],
    "mlal": ["-DASD_KERNEL=ASD_MLAL"],
    "mlal integer": ["-DASD_KERNEL=ASD_MLAL", "-DASD_FLOAT_UNIT=0"],
    "pairs": ["-DASD_KERNEL=ASD_PAIRS", "-DASD_FLOAT_UNIT=0", "-DASD_SHORT_MULTIPLY=1"],
}


def host(content, folder, rounding="single", flags=()):
    """The generated C as a function of int8 arrays."""
    codegen.write(content, folder, rounding)
    library = this_machine.build(folder, folder, [*WARNINGS, *flags])
    return this_machine.runner(library, reader.read(content).outputs)


def inputs_of(content, n, seed=0):
    width = reader.read(content).inputs
    x = np.random.default_rng(seed).integers(-128, 128, (n, width)).astype(np.int8)
    x[0], x[1] = -128, 127
    return x


def small(seed=0):
    return random_network(seed, max_width=20, max_depth=3)


@needs_cc
@pytest.mark.parametrize("group", range(10))
def test_random_networks_equal_litert(tmp_path, group):
    """200 in all, forty through each of the paths."""
    bytes_seen = set()
    for seed in range(20 * group, 20 * group + 20):
        content = random_network(seed)
        x = inputs_of(content, 40, seed)
        expected = litert.runner(content)(x)
        bytes_seen |= set(expected.ravel().tolist())
        name = list(HOST_PATHS)[seed % 5]
        actual = host(content, tmp_path / f"{seed}", flags=HOST_PATHS[name])(x)
        assert np.array_equal(actual, expected), (seed, name)
    assert len(bytes_seen) > 100, "the outputs are not all at the ends"


@needs_cc
def test_requantisation_at_ties_and_ends(tmp_path):
    """A layer of one weight and many scales: products at, and next to, every tie."""
    scales = np.float32([0.5, 0.25, 2.0**-9, 0.50000006, 0.49999997, 1 / 3, 0.0117, 2.0**-23])
    n = len(scales)
    for bias in (0, 1, -1, 2**24 + 1, -(2**24) - 3, 2**30):
        layer = int_dense(np.full((n, 1), 127, np.int8), np.full(n, bias, np.int32), scales, False,
                      (1.0, 0), (1.0, 3))  # fmt: skip
        content = network_file([layer])
        x = np.arange(-128, 128, dtype=np.int8)[:, None]
        expected = litert.runner(content)(x)
        for name, flags in HOST_PATHS.items():
            actual = host(content, tmp_path / f"{bias} {name}", flags=flags)(x)
            assert np.array_equal(actual, expected), (bias, name)


@needs_cc
@pytest.mark.parametrize("short", [0, 1])
def test_integers_round_as_float_hardware_does(tmp_path, short):
    """The float unit's product, drawn at random near ties, against the integer path."""
    codegen.write(small(), tmp_path)
    source = f"""
    #include "kernels_select.h"
    #define ASD_SHORT_MULTIPLY {short}
    #define ASD_DOUBLE_ROUNDING 0
    #define ASD_FLOAT_UNIT 0
    #define ASD_ALL_PACKED 0
    #include "kernels.h"
    int8_t integer(int32_t acc, uint32_t scale) {{
        asd_layer layer = {{0}};
        layer.scale = &scale; layer.low = -128;
        return asd_requantise(&layer, 0, acc);
    }}
    """
    (tmp_path / "probe.c").write_text(source)
    command = ["cc", "-std=c99", "-O2", "-w", "-shared", "-fPIC", "-o", "probe.so", "probe.c"]
    subprocess.run(command, cwd=tmp_path, check=True)
    function = ctypes.CDLL(str(tmp_path / "probe.so")).integer
    function.restype = ctypes.c_int8
    rng = np.random.default_rng(0)
    n = 200_000
    scales = np.float32(2.0 ** rng.uniform(-24, -1, n))
    wanted = rng.integers(-140, 140, n) + 0.5 * rng.integers(0, 2, n)
    accs = np.clip(np.round(wanted / scales), -(2**31), 2**31 - 1).astype(np.int64)
    accs = (accs + rng.integers(-1, 2, n)).clip(-(2**31) + 1, 2**31 - 1).astype(np.int32)
    products = accs.astype(np.float32) * scales
    expected = np.clip(np.rint(products), -128, 127).astype(int)
    ties = np.abs(np.abs(products) % 1 - 0.5) < 1e-4
    assert ties.sum() > 1000
    bits = scales.view(np.uint32)
    actual = [function(int(a), int(b)) for a, b in zip(accs, bits, strict=True)]
    assert np.array_equal(actual, expected)


@needs_cc
@pytest.mark.skipif(sys.version_info[:2] != (3, 11) or sys.platform != "linux",
                    reason="tflite-micro has wheels for Python 3.11 on Linux only")  # fmt: skip
def test_double_rounding_equals_tflite_micro(tmp_path):
    runtime = pytest.importorskip("tflite_micro", reason="tflite-micro is not installed").runtime
    for seed in range(30):
        content = random_network(seed)
        x = inputs_of(content, 20, seed)
        interpreter = runtime.Interpreter.from_bytes(content)
        expected = []
        for row in x:
            interpreter.set_input(row[None], 0)
            interpreter.invoke()
            expected.append(interpreter.get_output(0)[0])
        for name in ("float", "mlal"):
            folder = tmp_path / f"{seed} {name}"
            actual = host(content, folder, "double", HOST_PATHS[name])(x)
            assert np.array_equal(actual, expected), (seed, name)


@pytest.mark.parametrize("name", ["mps2-an386", "mps3-an547"])
def test_random_networks_on_boards_equal_litert(tmp_path, name):
    row = board_or_skip(name)
    for seed in range(20):
        content = random_network(seed, max_width=300, max_depth=6)
        x = inputs_of(content, 20, seed)
        codegen.write(content, tmp_path / str(seed))
        ran = boards.run(row, tmp_path / str(seed), x, tmp_path / str(seed))
        assert np.array_equal(ran.outputs, litert.runner(content)(x)), seed


@pytest.mark.parametrize("name", [row.name for row in boards.all_boards()])
def test_every_board_and_both_roundings(tmp_path, name):
    row = board_or_skip(name)
    for seed, rounding in ((1, "single"), (4, "double")):
        content = random_network(seed, max_width=150, max_depth=4)
        x = inputs_of(content, 30, seed)
        folder = tmp_path / rounding
        expected = host(content, folder, rounding)(x)
        assert np.array_equal(boards.run(row, folder, x, folder).outputs, expected)


@needs_cc
def test_quantise_and_score(tmp_path):
    content = network_file(
        [int_dense(np.eye(9, dtype=np.int8) * 100, None, [0.01], False, (0.25, 17), (0.5, -3))]
    )
    codegen.write(content, tmp_path)
    library = ctypes.CDLL(str(this_machine.build(tmp_path, tmp_path, WARNINGS)))
    library.model_score.restype = ctypes.c_float
    rng = np.random.default_rng(0)
    for values in (*rng.normal(0, 20, (50, 9)), np.full(9, 1e30), np.full(9, -np.inf)):
        values = np.float32(values)
        q, scratch = (ctypes.c_int8 * 18)(), (ctypes.c_uint64 * 64)()
        pointer = values.ctypes.data_as(ctypes.c_void_p)
        library.model_quantise(pointer, q)
        assert list(q)[:9] == litert.to_int8(values, 0.25, 17).tolist()
        score = library.model_score(pointer, q, scratch)
        if np.abs(values).max() < 1e3:
            error = litert.predictor(content)(values[None])[0] - values
            assert score == pytest.approx(np.mean(error**2), rel=1e-5)


def compilers():
    return [name for name in ("gcc", "clang") if shutil.which(name)]


@needs_cc
@pytest.mark.parametrize("rounding", ["single", "double"])
@pytest.mark.parametrize("seed", [0, 1])
def test_no_compiler_warns(tmp_path, rounding, seed):
    codegen.write(small(seed), tmp_path, rounding)
    assert compilers()
    for cc in compilers():
        for flags in (["-O0"], ["-O2"], ["-O3", "-march=native"], *HOST_PATHS.values()):
            subprocess.run([cc, *WARNINGS, *flags, "-c", "model.c", "-o", "m.o"], cwd=tmp_path,
                           check=True)  # fmt: skip
        header = '#include "model.h"\nint main(void) { return model_run != 0 ? 0 : 1; }\n'
        (tmp_path / "user.cpp").write_text(header)
        subprocess.run([cc, "-Wall", "-Wextra", "-c", "user.cpp", "-o", "u.o"], cwd=tmp_path,
                       check=True)  # fmt: skip


@needs_cc
def test_32_bit_builds_give_the_same_bytes(tmp_path):
    content = small(3)
    x = inputs_of(content, 50)
    expected = litert.runner(content)(x)
    codegen.write(content, tmp_path)
    main = """
    #include <stdio.h>
    #include "model.h"
    int main(void) {
        static int8_t in[MODEL_INPUTS], out[MODEL_OUTPUTS];
        static uint64_t scratch[MODEL_SCRATCH_BYTES / 8 + 1];
        while (fread(in, sizeof in, 1, stdin) == 1) {
            model_run(in, out, scratch);
            fwrite(out, sizeof out, 1, stdout);
        }
        return 0;
    }
    """
    (tmp_path / "main.c").write_text(main)
    command = ["gcc", "-m32", *WARNINGS, "-O2", "main.c", "model.c", "-o", "main"]
    built = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    if "libc-header-start.h" in built.stderr or "skipping incompatible" in built.stderr:
        pytest.skip("no 32-bit C library: apt install gcc-multilib")
    assert built.returncode == 0, built.stderr
    ran = subprocess.run([tmp_path / "main"], input=x.tobytes(), capture_output=True, check=True)
    assert ran.stdout == expected.tobytes()


@needs_cc
def test_sanitizers_find_nothing(tmp_path):
    """Every path and rounding over exact buffers, each twice, in a program of its own."""
    main = """
    #include <stdlib.h>
    #include "model.h"
    int main(void) {
        int i, n;
        for (n = 0; n < 200; n++) {
            int8_t *in = malloc(MODEL_INPUTS), *out = malloc(MODEL_OUTPUTS);
            void *scratch = malloc(MODEL_SCRATCH_BYTES);
            for (i = 0; i < MODEL_INPUTS; i++) in[i] = (int8_t)(rand() >> 8);
            model_run(in, out, scratch);
            free(in), free(out), free(scratch);
        }
        return 0;
    }
    """
    sanitize = ["-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    ways = itertools.product(HOST_PATHS.values(), ("single", "double"))
    for seed, (flags, rounding) in enumerate([*ways] * 2):
        codegen.write(small(seed % 7), tmp_path, rounding)
        (tmp_path / "main.c").write_text(main)
        command = ["cc", "-std=c99", "-O1", *sanitize, *flags, "main.c", "model.c", "-o", "main"]
        subprocess.run(command, cwd=tmp_path, check=True)
        subprocess.run([tmp_path / "main"], cwd=tmp_path, check=True)


def test_the_same_input_gives_the_same_text():
    content = small(5)
    assert codegen.generate(content) == codegen.generate(content)
    header = codegen.generate(content)["model.h"]
    assert reader.read(content).sha256 in header
    assert "LiteRT" in header
    assert "TFLite Micro" in codegen.generate(content, "double")["model.h"]


def test_the_range_proofs(tmp_path):
    """Sums that may need more than the packed kernels have bits are made in parts."""
    large = np.full((4, 640), 127, np.int8), np.full(4, 9_000_000, np.int32)
    wide = int_dense(*large, [1e-4], False, (1.0, -128), (10.0, 0))
    (layer,) = reader.read(network_file([wide])).layers
    assert packing.pack_dsp(layer).packed == 3  # parts, and one
    low = int_dense(np.full((4, 8), -128, np.int8), None, [1e-4], False, (1.0, 0), (1.0, 0))
    (layer,) = reader.read(network_file([low])).layers
    assert packing.pack_dsp(layer) is None
    if this_machine.compiler():
        weights = np.full((3, 4), 5, np.int8)
        after = int_dense(weights, None, [1e-2], True, (10.0, 0), (1.0, 0))
        content = network_file([wide, after])
        x = inputs_of(content, 30)
        for name, flags in HOST_PATHS.items():
            actual = host(content, tmp_path / name, flags=flags)(x)
            assert np.array_equal(actual, litert.runner(content)(x)), name


def converted(*parts, io="int8"):
    """Keras layers as TensorFlow's converter writes them in int8."""
    import tensorflow as tf
    from keras import Sequential

    model = Sequential(list(parts))
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    rng = np.random.default_rng(0)
    data = rng.normal(0, 1, (50, *model.input_shape[1:])).astype(np.float32)
    converter.representative_dataset = lambda: iter([[data]])
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = getattr(tf, io)
    return converter.convert()


def refusals():
    """What cannot be generated, and what the message says of it."""
    from keras import Input
    from keras import layers as keras_layers

    dense = [Input((40,)), keras_layers.Dense(40)]
    return [
        (b"", "not a TFLite file"),
        (b"\x00" * 4 + b"TFL3" + b"\xff" * 40, "not a readable TFLite file"),
        (converted(*dense, keras_layers.ELU()), "operator 2, ELU: only chains of FULLY"),
    ]  # fmt: skip


def test_what_cannot_be_generated_is_named(capfd):
    import keras_model

    keras_model.start_tensorflow(0)
    for content, expected in refusals():
        with pytest.raises(UserError, match=expected):
            reader.read(content)
    for name in ("2nd", "asd", "asd_model", "kernels", "kernels_select", "string"):
        with pytest.raises(UserError, match="--name"):
            codegen.generate(small(), name=name)


@needs_cc
@pytest.mark.parametrize("io", ["int8", "uint8", "float32"])
def test_what_keras_and_tensorflow_write_is_generated(tmp_path, capfd, io):
    """Flatten, ReLU6, tanh, sigmoid, another shape at the end, by the public converter."""
    import keras_model

    keras_model.start_tensorflow(0)
    from keras import Input, layers

    parts = [Input((5, 8)), layers.Flatten(), layers.Dense(24), layers.ReLU(max_value=6.0),
             layers.Dense(9, activation="tanh"), layers.Dense(40, activation="sigmoid"),
             layers.Reshape((5, 8))]  # fmt: skip
    content = converted(*parts, io=io)
    x = inputs_of(content, 40)
    expected = litert.in_bytes(litert.runner(content))(x)
    assert len(set(expected.ravel().tolist())) > 50
    assert np.array_equal(host(content, tmp_path)(x), expected)


def malformed():
    """Files that LiteRT reads otherwise, or not at all; and what the message says of each."""
    from ai_edge_litert import schema_py_generated as schema

    def changed(change):
        content = random_network(0, max_width=8)
        model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))
        change(model, model.subgraphs[0])
        builder = flatbuffers.Builder(1 << 16)
        builder.Finish(model.Pack(builder), b"TFL3")
        return bytes(builder.Output())

    def tensor(name, value, position, *path):
        def change(model, graph):
            op = graph.operators[0]
            target = graph.tensors[{"in": op.inputs[0], "w": op.inputs[1], "out": op.outputs[0]}[
                position]]  # fmt: skip
            for part in path:
                target = getattr(target, part)
            setattr(target, name, value)

        return change

    def two_graphs(model, graph):
        model.subgraphs.append(graph)

    def no_options(model, graph):
        graph.operators[0].builtinOptions = None

    def shuffled(model, graph):
        graph.operators[0].builtinOptions.weightsFormat = 1

    q = "quantization"
    return [
        (changed(two_graphs), "not one graph"),
        (changed(no_options), "operator 0, FULLY_CONNECTED: incomplete or malformed"),
        (changed(shuffled), "shuffled or sparse"),
        (changed(tensor("shape", [4, 8], "in")), r"its input has shape \[4, 8\]"),
        (changed(tensor("shape", [1, 9999], "out")), r"its output has shape"),
        (changed(tensor(q, None, "w")), "incomplete or malformed"),
        (changed(tensor("zeroPoint", [200], "out", q)), "zero point 200"),
        (changed(tensor("scale", [0.0], "in", q)), "a factor of 0"),
        (changed(tensor("scale", [1e9], "in", q)), "below 256"),
        (changed(tensor("scale", [float("nan")], "in", q)), "a factor of nan"),
        (changed(tensor("scale", [0.1] * 77, "w", q)), "77 weight scales"),
        (changed(tensor("shape", [3], "w")), "incomplete or malformed"),
    ]


def test_malformed_files_are_refused():
    for content, expected in malformed():
        with pytest.raises(UserError, match=expected):
            reader.read(content)


@needs_cc
@pytest.mark.parametrize("factor", [2.0**-45, 2.0**-33, 2.0**-32, 2.0**-31, 100.0])
def test_double_rounding_of_extreme_factors_is_defined(tmp_path, factor):
    layer = int_dense(np.full((4, 3), 100, np.int8), None, [factor], False, (1.0, 0), (1.0, 5))
    content = network_file([layer])
    sanitize = ["-fsanitize=undefined", "-fno-sanitize-recover=all", "-static-libubsan"]
    x = inputs_of(content, 20)
    outputs = host(content, tmp_path, "double", sanitize)(x)
    sums = 100 * x.astype(np.int64).sum(axis=1)
    expected = np.clip(np.round(sums * factor) + 5, -128, 127)
    np.testing.assert_allclose(outputs, np.repeat(expected[:, None], 4, 1), atol=1)


M4F = ["-mcpu=cortex-m4", "-mfpu=fpv4-sp-d16", "-mfloat-abi=hard"]
LINKS = [
    *([*M4F, *flags] for flags in (["-flto"], ["-flto", "-flto-partition=max"], ["-Os"], ["-O3"])),
    ["-mcpu=cortex-m0plus", "-flto"],
    ["-mcpu=cortex-m55", "-mfloat-abi=hard", "-flto"],
]


@pytest.mark.parametrize("flags", LINKS, ids=" ".join)
def test_two_models_link_into_one_firmware(tmp_path, flags):
    if shutil.which("arm-none-eabi-gcc") is None:
        pytest.skip("no Arm compiler: apt install gcc-arm-none-eabi libnewlib-arm-none-eabi")
    for seed, name in ((4, "first"), (5, "second")):
        codegen.write(small(seed), tmp_path, name=name)
    (tmp_path / "main.c").write_text(
        """
        #include "first.h"
        #include "second.h"
        static int8_t a[4096], b[4096];
        static uint64_t scratch[4096];
        int main(void) { first_run(a, b, scratch); second_run(b, a, scratch); return a[0]; }
        """
    )
    command = ["arm-none-eabi-gcc", "-mthumb", "-O2", *flags, *WARNINGS, "--specs=nosys.specs"]
    done = subprocess.run([*command, "main.c", "first.c", "second.c", "-o", "two.elf"],
                          cwd=tmp_path, capture_output=True, text=True)  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_the_command_line(tmp_path):
    (tmp_path / "m.tflite").write_bytes(small())
    command = [sys.executable, "-m", "asd.embedded.codegen", str(tmp_path / "m.tflite")]
    options = [str(tmp_path / "out"), "--name", "fan", "--rounding", "double"]
    done = subprocess.run([*command, *options], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert {"fan.c", "fan.h", "fan_weights.h", "kernels.h"} <= {
        path.name for path in (tmp_path / "out").iterdir()
    }
    if this_machine.compiler():
        subprocess.run(["cc", *WARNINGS, "-c", "fan.c", "-o", "fan.o"], cwd=tmp_path / "out",
                       check=True)  # fmt: skip
    (tmp_path / "m.tflite").write_bytes(b"junk")
    failed = subprocess.run([*command, *options], cwd=ROOT, capture_output=True, text=True)
    assert failed.returncode == 1
    assert failed.stderr.endswith("m.tflite: not a TFLite file\n")


INT8 = MCU


@pytest.fixture(scope="module")
def real_files(real):
    """The published int8 file and ad01.h5 converted anew, and the 72 spectrograms' windows."""
    from test_real import Official

    official = Official(real)
    equal = fold.equalise(official.folded)
    contents = {
        "published": (real / "reference/ad01_int8.tflite").read_bytes(),
        "per channel": convert.convert(official.folded, INT8, official.windows),
        "per tensor": convert.convert(equal, INT8, official.windows, per_channel=False),
    }
    return contents, np.concatenate([common.vectors(f, 5) for f in official.frames])


@needs_cc
@pytest.mark.parametrize("name", ["published", "per channel", "per tensor"])
def test_all_real_windows_on_the_host_and_an_m4(real_files, tmp_path, name):
    contents, windows = real_files
    assert len(windows) == 14_112
    model = litert.runner(contents[name])
    x = litert.to_int8(windows, model.source["scale"], model.source["zero_point"])
    expected = model(x)
    assert np.array_equal(host(contents[name], tmp_path)(x), expected)
    ran = boards.run(board_or_skip("mps2-an386"), tmp_path, x, tmp_path)
    assert np.array_equal(ran.outputs, expected)


BARS = {  # instructions for one inference
    "mps2-an385": 545_000,
    "mps2-an385-m0plus": 890_000,
    "mps2-an386": 248_000,
    "mps2-an500": 248_000,
    "mps2-an505": 248_000,
    "mps2-an505-m23": 890_000,
    "mps3-an547": 51_000,
    "virt": 825_000,
}


IN_WORDS = ("mps2-an385-m0plus", "mps2-an505-m23")  # their kernel expands x to words


@pytest.mark.parametrize("name", list(BARS))
def test_ad01_costs_no_more_than_promised(real_files, tmp_path, name):
    contents, windows = real_files
    for kind in ("published", "per channel"):
        model = litert.runner(contents[kind])
        x = litert.to_int8(windows[::700], model.source["scale"], model.source["zero_point"])
        codegen.write(contents[kind], tmp_path / kind)
        ran = boards.run(board_or_skip(name), tmp_path / kind, x, tmp_path / kind)
        assert np.array_equal(ran.outputs, model(x))
        # Larger weights need smaller groups of pairs.
        slack = 1.0 if kind == "published" else 1.21 if ran.kernel == "pairs" else 1.028
        assert ran.instructions <= slack * BARS[name]
        assert ran.stack_bytes <= 256
        assert ran.scratch_bytes <= (3_500 if name in IN_WORDS else 1_536)
        if name == "mps2-an386":
            most = {"published": 273_500, "per channel": 275_500}[kind]
            assert ran.code_bytes + ran.constant_bytes <= most
