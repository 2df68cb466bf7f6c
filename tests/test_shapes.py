"""TFLite files of the shapes that public detectors have: read, generated, run, byte by byte."""

import ctypes
import subprocess
import sys
from dataclasses import astuple

import msgspec
import numpy as np
import pytest
import shapes
from ai_edge_litert.interpreter import Interpreter
from conftest import board_or_skip
from networks import int_dense
from shapes import SHAPES, Builder, Step, dense

from apps.server import wasm
from asd import config
from asd.embedded import boards, codegen
from asd.embedded import host as this_machine
from asd.tflite import litert, reader, tables, writer
from asd.tflite.chain import Dense
from asd.tflite.int8 import Elementwise, Scale
from common import UserError

needs_cc = pytest.mark.skipif(
    this_machine.compiler() is None, reason="no C compiler: apt install gcc"
)
WARNINGS = ["-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Werror"]
BYTES = np.arange(-128, 128).astype(np.int8)
FLAGS = ([], ["-DASD_FLOAT_UNIT=0"], ["-DASD_KERNEL=ASD_MLAL"])


def micro():
    if sys.version_info[:2] != (3, 11) or sys.platform != "linux":
        pytest.skip("tflite-micro has wheels for Python 3.11 on Linux only")
    return pytest.importorskip("tflite_micro", reason="tflite-micro is not installed").runtime


def cut(shape):
    """The file of a shape, without the SOFTMAX that no C gives."""
    return shape(cut=True).content() if shape is shapes.softmax else shape().content()


def windows(n=40):
    x = np.random.default_rng(0).integers(-128, 128, (n, 40)).astype(np.int8)
    x[0], x[1] = -128, 127
    return x


def by_litert(content):
    return litert.in_bytes(litert.runner(content))


def by_micro(content):
    """TFLite Micro from int8 to int8; see `litert.in_bytes`."""
    interpreter = micro().Interpreter.from_bytes(content)
    facts = reader.describe(content)
    shape, kind = facts["inputs"][0]["shape"], np.dtype(facts["inputs"][0]["type"])

    def run(x):
        outputs = []
        for row in x:
            interpreter.set_input(row.astype(kind).reshape(shape), 0)
            interpreter.invoke()
            outputs.append(interpreter.get_output(0).ravel())
        return np.array(outputs)

    run.source, run.target = facts["inputs"][0], facts["outputs"][0]
    run.network = lambda: reader.read(content)
    return litert.in_bytes(run)


def in_c(content, folder, rounding, flags=()):
    codegen.write(content, folder, rounding)
    library = this_machine.build(folder, folder, [*WARNINGS, *flags])
    return this_machine.runner(library, reader.read(content).outputs)


@needs_cc
@pytest.mark.parametrize("number", range(len(SHAPES) + 1))
def test_c_gives_the_bytes_of_litert(tmp_path, number):
    shape = (*SHAPES, shapes.uint8)[number]
    expected = by_litert(cut(shape))(windows())
    assert len(set(expected.ravel().tolist())) > 30
    actual = in_c(shape().content(), tmp_path, "single", FLAGS[number % 3])(windows())
    assert np.array_equal(actual, expected)


@needs_cc
@pytest.mark.parametrize("number", range(len(SHAPES)))
def test_c_gives_the_bytes_of_tflite_micro(tmp_path, number):
    shape = SHAPES[number]
    expected = by_micro(cut(shape))(windows())
    actual = in_c(shape().content(), tmp_path, "double", FLAGS[number % 3])(windows())
    assert np.array_equal(actual, expected)


PAIRS = ["-DASD_KERNEL=ASD_PAIRS", "-DASD_FLOAT_UNIT=0", "-DASD_SHORT_MULTIPLY=1"]


@needs_cc
@pytest.mark.parametrize("rounding", ["single", "double"])
def test_steps_at_random(tmp_path, rounding):
    """Of any kind and scale, one after the other, before, in and behind layers of any width."""
    oracle = by_litert if rounding == "single" else by_micro
    seen = set()
    for seed in (*range(12), 33):
        content = shapes.random_steps(seed, rounding, most=96).content()
        network = reader.read(content)
        x = np.random.default_rng(seed).integers(-128, 128, (20, network.inputs)).astype(np.int8)
        expected = oracle(content)(x)
        flags = (*FLAGS, PAIRS)[seed % 4]
        actual = in_c(content, tmp_path / str(seed), rounding, flags)(x)
        assert np.array_equal(actual, expected), seed
        seen |= set(expected.ravel().tolist())
    assert len(seen) > 80, "the outputs are not all at the ends"


BOARDS = {"mps2-an386": "single", "mps3-an547": "double"}


@pytest.mark.parametrize("number", range(len(SHAPES)))
@pytest.mark.parametrize("name", BOARDS)
def test_boards_give_the_same_bytes(tmp_path, name, number):
    row, shape, x = board_or_skip(name), SHAPES[number], windows(5)
    oracle = by_litert if BOARDS[name] == "single" else by_micro
    expected = oracle(cut(shape))(x)
    codegen.write(shape().content(), tmp_path, BOARDS[name])
    assert np.array_equal(boards.run(row, tmp_path, x, tmp_path).outputs, expected)


def table_file(kind, source, target, types=("int8", "int8")):
    builder = Builder((1, 256), types[0], source)
    builder.add(Step(kind, target, types[1]))
    return builder.content()


def steps_of(kind, count, seed):
    """Operators of random scales: the step, and its file."""
    rng = np.random.default_rng(seed)
    for i in range(count):
        scale = float(np.float32(10.0 ** rng.uniform(-3.5, 0.5)))
        source = Scale(scale, int(rng.integers(-128, 128)))
        target = tables.FIXED.get(kind)
        if target is None:
            other = Scale(float(np.float32(scale * 10 ** rng.uniform(-2, 2))), i % 256 - 128)
            target = source if kind == "RELU6" and i % 2 else other
        yield Elementwise(kind, source, target, kind), table_file(kind, source, target)


@pytest.mark.parametrize("kind", ["LOGISTIC", "TANH", "QUANTIZE", "RELU", "RELU6", "RELU_N1_TO_1"])
def test_tables_are_litert_s(kind):
    """All 256 bytes for 200 scales; some scales of RELU6 put 6 between two bytes."""
    for step, content in steps_of(kind, 200, seed=0):
        interpreter = Interpreter(model_content=content, num_threads=1)
        interpreter.allocate_tensors()
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], BYTES[None])
        interpreter.invoke()
        expected = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])[0]
        assert np.array_equal(tables.of(step, "single"), expected), step


@pytest.mark.parametrize("kind", ["LOGISTIC", "TANH", "QUANTIZE", "RELU", "RELU6"])
def test_tables_are_tflite_micro_s(kind):
    runtime = micro()
    for step, content in steps_of(kind, 200, seed=1):
        if kind == "RELU6" and step.source != step.target:
            with pytest.raises(UserError, match="RELU6: another scale behind it"):
                tables.of(step, "double")
            continue
        interpreter = runtime.Interpreter.from_bytes(content)
        interpreter.set_input(BYTES[None], 0)
        interpreter.invoke()
        expected = interpreter.get_output(0)[0]
        assert np.array_equal(tables.of(step, "double"), expected), step


@pytest.mark.parametrize("rounding", ["single", "double"])
def test_fused_clamps_end_where_the_interpreter_s_do(rounding):
    """Scales that put a limit half way between two bytes, where the interpreters round apart."""
    rng, oracle = np.random.default_rng(0), by_litert if rounding == "single" else by_micro
    weights, x = np.full((2, 4), 127, np.int8), np.repeat(BYTES[[0, 255]], 4).reshape(2, 4)
    for kind, limit in (("RELU6", 6), ("RELU_N1_TO_1", 1)):
        for steps in rng.integers(5, 60, 20) + 0.5:
            target = Scale(float(np.float32(limit / steps)), int(rng.integers(-60, 60)))
            builder = Builder((1, 4), "int8", Scale(1.0, 0))
            builder.layer(int_dense(weights, None, [0.1], False, (1.0, 0), astuple(target)), kind)
            (layer,) = reader.read(builder.content()).layers
            after = tables.after(layer, rounding)
            low, high = oracle(builder.content())(x)[:, 0]
            assert (after.low, after.high, after.table) == (low, high, None), (kind, target)


@needs_cc
@pytest.mark.parametrize("rounding", ["single", "double"])
def test_floats_become_the_bytes_of_the_file_s_own_quantize(tmp_path, rounding):
    """At random, and half way between two bytes, where the interpreters round each its way."""
    source = Scale(float(np.float32(0.3)), -7)
    builder = Builder((1, 600), "float32", None)
    builder.add(Step("QUANTIZE", source, "int8"))
    quantised = builder.content()
    builder.layer(dense(0, (600, 3), source))
    codegen.write(builder.content(), tmp_path, rounding)
    library = ctypes.CDLL(str(this_machine.build(tmp_path, tmp_path, WARNINGS)))
    rng = np.random.default_rng(0)
    halves = (np.arange(-150, 150) + np.float32(0.5)) * np.float32(source.scale)
    x = np.concatenate([halves, rng.uniform(-60, 60, 300)]).astype(np.float32)
    x[-4:] = 1e30, -1e30, np.inf, -np.inf
    actual = np.empty(600, np.int8)
    pointers = [one.ctypes.data_as(ctypes.c_void_p) for one in (x, actual)]
    library.model_quantise(*pointers)
    if rounding == "single":
        expected = litert.runner(quantised)(x[None])[0]
    else:
        interpreter = micro().Interpreter.from_bytes(quantised)
        interpreter.set_input(x[None], 0)
        interpreter.invoke()
        expected = interpreter.get_output(0)[0]
    assert np.array_equal(actual[:-4], expected[:-4])
    assert actual[-4:].tolist() == [127, -128, 127, -128]


def test_a_softmax_taken_off_can_be_made_of_the_output():
    """By the header's formula: within a step of LiteRT's, and the largest is the same."""
    whole, network = shapes.softmax().content(), reader.read(shapes.softmax().content())
    header = codegen.generate(whole)["model.h"]
    scale = float(header.split("MODEL_SOFTMAX_SCALE ")[-1].split("F\n")[0])
    assert np.float32(scale) == np.float32(network.target.scale.scale)
    outputs = by_litert(cut(shapes.softmax))(windows()).astype(float)
    powers = np.exp(scale * (outputs - outputs.max(axis=1, keepdims=True)))
    expected = litert.runner(whole)(windows())
    probabilities = powers / powers.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(probabilities, expected, atol=1.01 / 256)
    assert "model_score" not in header.split("#if 0")[0]


def test_the_header_tells_what_was_taken_off():
    def header(shape):
        return codegen.generate(shape().content())["model.h"]

    text = header(shapes.flatten)
    assert "file's start, in its order:\n *   RESHAPE from [1, 5, 8] to [1, 40]\n" in text
    assert "file's end, in its order:\n *   RESHAPE from [1, 40] to [1, 5, 8]\n" in text
    assert "SQUEEZE" not in text, "between layers it is nobody's care"
    text = header(shapes.float_ends)
    assert "QUANTIZE from float32" in text and "DEQUANTIZE to float32" in text
    assert "#define MODEL_INPUT_SCALE 0.25F\n#define MODEL_INPUT_ZERO_POINT 17\n" in text
    text = header(shapes.uint8_ends)
    assert "QUANTIZE from uint8 to int8" in text and "QUANTIZE from int8 to uint8" in text
    assert "MODEL_INPUT_FROM_UINT8(byte)" in text and "MODEL_OUTPUT_TO_UINT8(q)" in text
    assert "Taken off" not in header(shapes.reference)
    assert "MODEL_OUTPUT_SCALE 0.00390625F" in header(shapes.logistic)


@needs_cc
def test_uint8_is_128_more(tmp_path):
    """A user's own loop over uint8, by the header's macros, against LiteRT on uint8."""
    content = shapes.uint8_ends().content()
    codegen.write(content, tmp_path)
    (tmp_path / "main.c").write_text(
        """
        #include <stdio.h>
        #include "model.h"
        int main(void) {
            static uint8_t bytes[MODEL_INPUTS];
            static int8_t in[MODEL_INPUTS], out[MODEL_OUTPUTS];
            static uint64_t scratch[MODEL_SCRATCH_BYTES / 8 + 1];
            int i;
            while (fread(bytes, sizeof bytes, 1, stdin) == 1) {
                for (i = 0; i < MODEL_INPUTS; i++) in[i] = MODEL_INPUT_FROM_UINT8(bytes[i]);
                model_run(in, out, scratch);
                for (i = 0; i < MODEL_OUTPUTS; i++) putchar(MODEL_OUTPUT_TO_UINT8(out[i]));
            }
            return 0;
        }
        """
    )
    build = ["cc", *WARNINGS, "main.c", "model.c", "-o", "main"]
    subprocess.run(build, cwd=tmp_path, check=True)
    x = (windows().astype(int) + 128).astype(np.uint8)
    ran = subprocess.run([tmp_path / "main"], input=x.tobytes(), capture_output=True, check=True)
    assert ran.stdout == litert.runner(content)(x).tobytes()


@needs_cc
def test_sanitizers_find_nothing_in_the_steps(tmp_path):
    main = """
    #include <stdlib.h>
    #include "model.h"
    int main(void) {
        int8_t *in = calloc(MODEL_INPUTS, 1), *out = malloc(MODEL_OUTPUTS);
        void *scratch = malloc(MODEL_SCRATCH_BYTES);
        model_run(in, out, scratch);
        free(in), free(out), free(scratch);
        return 0;
    }
    """
    sanitize = ["-g", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    for shape, kernel in ((shapes.scales, "PAIRS"), (shapes.relu6, "PLAIN")):
        codegen.write(shape().content(), tmp_path)
        (tmp_path / "main.c").write_text(main)
        options = [*WARNINGS, *sanitize, f"-DASD_KERNEL=ASD_{kernel}"]
        command = ["cc", *options, "main.c", "model.c", "-o", "main"]
        subprocess.run(command, cwd=tmp_path, check=True)
        subprocess.run([tmp_path / "main"], cwd=tmp_path, check=True)


def refused():
    """Files that cannot be generated, with the rounding, and what is said of them."""
    how = r"python -m asd.tflite.quantise FILE OUT --calibrate FOLDER"
    chain = [fold_of(0)]
    float_sigmoid = Builder((1, 9), "float32", None)
    float_sigmoid.add(Step("LOGISTIC"))
    mixed = Builder((1, 40), "uint8", shapes.PLUS)
    mixed.add(Step("QUANTIZE", Scale(0.1, 3), "int8"))
    mixed.layer(dense(0, (40, 9), Scale(0.1, 3)))
    far = Builder((1, 40), "int8", shapes.INPUT)
    far.add(Step("QUANTIZE", Scale(1e-3, 3)))
    far.layer(dense(0, (40, 9), Scale(1e-3, 3)))
    wrong = shapes.chain(Builder((1, 40), "int8", shapes.INPUT), 4, (40, 9),
                         [[Step("LOGISTIC", Scale(0.1, 0))]])  # fmt: skip
    softmax_inside = shapes.softmax()
    softmax_inside.type = "int8"
    softmax_inside.layer(dense(0, (7, 7), Scale(1 / 256, -128)))
    both = shapes.chain(Builder((1, 40), "int8", shapes.INPUT), 4, (40, 9))
    both.add(Step("QUANTIZE", Scale(both.scale.scale, both.scale.zero_point + 128), "uint8"))
    shapes.chain(both, 6, (9, 7))
    n1 = shapes.chain(Builder((1, 40), "int8", shapes.INPUT), 4, (40, 9), [[Step("RELU_N1_TO_1")]])
    return [
        (writer.of_floats(chain), "single", f"^float32 throughout; .* {how}"),
        (writer.of_floats(chain, int8=True), "single", rf"\(dynamic range\); .* {how}"),
        (float_sigmoid.content(), "single", "^float32 throughout: convert it anew .*LOGISTIC"),
        (mixed.content(), "single", "QUANTIZE: int8 and uint8 of two scales"),
        (far.content(), "single", "QUANTIZE: scales 250 times apart"),
        (wrong.content(), "single", "LOGISTIC: its output has the scale 0.1"),
        (softmax_inside.content(), "single", "FULLY_CONNECTED: only chains of FULLY_CONNECTED"),
        (shapes.uint8().content(), "double", "uint8 weights, which TFLite Micro does not run"),
        (both.content(), "double", "uint8 weights, which TFLite Micro does not run"),
        (n1.content(), "double", "RELU_N1_TO_1: TFLite Micro has no such operator"),
        (float16_weights(), "single", "weights of float16 that are dequantised"),
        (far_weights(), "single", r"uint8 weights -?\d+ to \d+ steps from zero, which no int8"),
    ]


def test_a_change_of_shape_around_floats_is_nothing(tmp_path):
    """What is told to be quantised can be: `read_floats` is what `asd.tflite.quantise` reads by."""
    builder = Builder((1, 2, 4), "float32", None)
    builder.add(Step("RESHAPE", shape=(1, 8)))
    layer = fold_of(0)
    weights, bias = builder.constant("w", layer.weights.T.copy()), builder.constant("b", layer.bias)
    before, builder.last = builder.last, builder.made("y", (1, 3), "float32", None)
    builder.dense(writer.FLOAT, [before, weights, bias], builder.last, False)
    (read,) = reader.read_floats(builder.content())
    assert np.array_equal(read.weights, layer.weights)
    with pytest.raises(UserError, match="^float32 throughout; quantise it first"):
        reader.read(builder.content())


def fold_of(seed):
    rng = np.random.default_rng(seed)
    weights, bias = rng.normal(0, 1, (8, 3)), rng.normal(0, 1, 3)
    return Dense(weights.astype(np.float32), bias.astype(np.float32))


def float16_weights():
    """As TensorFlow's converter writes them: constants and a DEQUANTIZE."""
    builder = Builder((1, 8), "float32", None)
    first = builder.last
    builder.last = builder.constant("half", np.zeros((3, 8), np.int8))
    builder.graph.tensors[builder.last].type = shapes.schema.TensorType.FLOAT16
    builder.add(Step("DEQUANTIZE", None, "float32"))
    builder.first = first
    return builder.content()


def far_weights():
    """uint8 weights whose zero point is at the end."""
    builder = shapes.uint8()
    tensor = next(t for t in builder.graph.tensors if t.name == "weights")
    tensor.quantization.zeroPoint = [0]
    return builder.content()


def test_what_is_refused_is_told():
    for content, rounding, expected in refused():
        with pytest.raises(UserError, match=expected):
            codegen.generate(content, rounding)


def test_mixed_scales_are_tflite_micro_s_with_two_roundings():
    for types in (("int8", "uint8"), ("uint8", "int8")):
        scales = [Scale(0.1, 40 + 128 * (types[0] == "uint8")), Scale(0.07, 9)]
        content = table_file("QUANTIZE", *scales, types)
        interpreter = micro().Interpreter.from_bytes(content)
        more = [128 * (kind == "uint8") for kind in types]
        interpreter.set_input((BYTES + np.int16(more[0])).astype(types[0])[None], 0)
        interpreter.invoke()
        expected = interpreter.get_output(0)[0].astype(int) - more[1]
        points = [one.zero_point - n for one, n in zip(scales, more, strict=True)]
        step = Elementwise("QUANTIZE", Scale(0.1, points[0]), Scale(0.07, points[1]), "", True)
        assert np.array_equal(tables.of(step, "double"), expected)


def test_the_page_s_settings_are_of_int8_whatever_the_file_has():
    feature = msgspec.structs.replace(config.load_config(config.BASELINE).feature,
                                      n_mels=8, frames=5)  # fmt: skip
    for shape in (shapes.uint8_ends, shapes.float_ends):
        model = wasm.Model("fan", shape().content(), feature)
        ends = wasm.settings(model, b"")
        assert ends["input"] == {"size": 40, "scale": 0.25, "zero_point": 17}
        assert -128 <= ends["output"]["zero_point"] <= 127
    with pytest.raises(UserError, match="SOFTMAX, so it is a classifier"):
        wasm.settings(wasm.Model("fan", shapes.softmax().content(), feature), b"")


def test_files_of_any_types_score_windows_of_floats():
    """`litert.predictor`: uint8 and changes of shape as int8 and flat."""
    x = litert.to_float(windows(6), shapes.INPUT.scale, shapes.INPUT.zero_point)
    for shape in (shapes.uint8_ends, shapes.flatten, shapes.float_ends):
        network, content = reader.read(shape().content()), shape().content()
        expected = by_litert(content)(windows(6))
        target = network.target.scale
        values = litert.to_float(expected, target.scale, target.zero_point)
        assert np.array_equal(litert.predictor(content)(x), values)
