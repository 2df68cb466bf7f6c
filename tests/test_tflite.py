"""Fold, equalisation, the five variants, and running them."""

import numpy as np
import pytest

import keras_model
from asd import config
from asd.tflite import chain, convert, fold, int8, keras_chain, litert, reader, rounding
from asd.tflite.convert import BY_SUFFIX, VARIANTS
from common import UserError
from tests import fuzz, networks

SIZE = 64
TENSORFLOWS = {"rounding": "nearest", "range_margin": 0}


@pytest.fixture(scope="module", autouse=True)
def tensorflow():
    keras_model.start_tensorflow(0)


@pytest.fixture(scope="module")
def model():
    """A small auto-encoder with batch normalisation, and Dense biases, that have seen life."""
    from keras import Input, Model, layers

    rng = np.random.default_rng(0)
    inputs = x = Input((SIZE,))
    for units in (48, 32, 48):
        x = layers.Activation("relu")(layers.BatchNormalization()(layers.Dense(units)(x)))
    model = Model(inputs, layers.Dense(SIZE)(x))
    for layer in model.layers:
        weights = [rng.normal(0, 0.5, w.shape) for w in layer.get_weights()]
        if len(weights) == 4:  # batch normalisation: gamma, beta, mean, variance
            weights[0] = rng.uniform(0.5, 2, weights[0].shape)
            weights[3] = 10.0 ** rng.uniform(2, 4, weights[3].shape)
        layer.set_weights(weights)
    return model


@pytest.fixture(scope="module")
def windows():
    return np.random.default_rng(1).normal(-20, 10, (500, SIZE)).astype(np.float32)


@pytest.fixture(scope="module")
def contents(model, windows):
    """The flatbuffer of every variant, by kind of weights and suffix."""
    folded = fold.fold_batch_norm(model)
    return {
        (per_channel, variant.suffix): convert.convert(folded, variant, windows, per_channel)
        for per_channel in (True, False)
        for variant in VARIANTS
    }


def run(layers, windows):
    return chain.predictor(layers)(windows)


def assert_same(actual, expected):
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def test_the_fold_is_the_same_function(model, windows):
    folded = fold.fold_batch_norm(model)
    assert not any(layer.norm for layer in folded)
    assert_same(run(folded, windows), model.predict(windows, verbose=0))


def test_the_reference_fold_drops_the_bias(model, windows):
    from keras import models

    unbiased = models.clone_model(model)
    unbiased.set_weights(model.get_weights())
    for layer in unbiased.layers[:-1]:
        if type(layer).__name__ == "Dense":
            weights, bias = layer.get_weights()
            layer.set_weights([weights, 0 * bias])
    expected = unbiased.predict(windows, verbose=0)
    folded = fold.fold_batch_norm(model, reference=True)
    assert_same(run(folded, windows), expected)
    assert np.abs(expected - model.predict(windows, verbose=0)).max() > 0.1


def test_the_fold_knows_norms_without_scale_or_centre(windows):
    from keras import Sequential, layers

    model = Sequential(
        [
            layers.Input((SIZE,)),
            layers.Dense(8),
            layers.BatchNormalization(scale=False, center=False, epsilon=0.1),
            layers.ReLU(),
            layers.Dense(SIZE),
        ]
    )
    expected = model.predict(windows, verbose=0)
    assert_same(run(fold.fold_batch_norm(model), windows), expected)


def test_other_layers_are_refused_by_name():
    from keras import Sequential, layers

    for wrong in (
        [layers.Dense(8, activation="tanh", name="odd")],
        [layers.Dense(8, use_bias=False, name="odd")],
        [layers.Dense(8), layers.LeakyReLU(name="odd")],
        [layers.Dense(8), layers.ELU(name="odd")],
        [layers.Dense(8), layers.LayerNormalization(name="odd")],
        [layers.Dense(8), layers.Activation("sigmoid", name="odd")],
        [layers.Dense(8, activation="relu"), layers.BatchNormalization(name="odd")],
        [layers.BatchNormalization(name="odd")],
        [layers.ReLU(max_value=6, name="odd")],
        [layers.Activation("relu", name="odd")],
    ):
        model = Sequential([layers.Input((SIZE,)), *wrong, layers.Dense(SIZE)])
        with pytest.raises(
            UserError, match=r"layer odd \((Dense|LeakyReLU|ELU|Layer|Activ|Batch|ReLU)"
        ):
            fold.fold_batch_norm(model)


def test_equalisation_is_the_same_function_with_like_ranges(model, windows):
    folded = fold.fold_batch_norm(model)
    equal = fold.equalise(folded)
    assert_same(run(equal, windows), run(folded, windows))
    before = [np.abs(layer.weights).max(axis=0) for layer in folded[:-1]]
    after = [np.abs(layer.weights).max(axis=0) for layer in equal[:-1]]
    next_rows = [np.abs(layer.weights).max(axis=1) for layer in equal[1:]]
    for ranges, wide, there in zip(after, before, next_rows, strict=True):
        np.testing.assert_allclose(ranges, there, rtol=0.05)
        assert ranges.max() / ranges.min() < wide.max() / wide.min()


def test_equalisation_leaves_dead_channels_alone(model, windows):
    folded = fold.fold_batch_norm(model)
    folded[0].weights[:, 2] = 0
    assert_same(run(fold.equalise(folded), windows), run(folded, windows))


def test_the_variants_are_the_references():
    assert [variant.suffix for variant in VARIANTS] == [
        "", "_quant", "_quant_fullint", "_quant_fullint_micro", "_quant_fullint_micro_intio",
    ]  # fmt: skip


@pytest.mark.parametrize("per_channel", [True, False])
def test_every_variant_is_what_it_says(contents, per_channel):
    for variant in VARIANTS:
        content = contents[per_channel, variant.suffix]
        facts = reader.describe(content)
        (source,), (target,) = facts["inputs"], facts["outputs"]
        assert facts["bytes"] == len(content)
        assert source["shape"] == target["shape"] == [1, SIZE]
        kind = "int8" if variant.int8_io else "float32"
        assert source["type"] == target["type"] == kind
        assert (source["scale"] is not None) == variant.int8_io
        operators = {(row["name"], row["count"]) for row in facts["operators"]}
        cast = variant.calibrated and not variant.int8_io
        casts = {("QUANTIZE", 1), ("DEQUANTIZE", 1)} if cast else set()
        assert operators == {("FULLY_CONNECTED", 4)} | casts
        assert facts["weights"]["per_channel"] == (variant.quantised and per_channel)
    sizes = {suffix: len(contents[per_channel, suffix]) for suffix in BY_SUFFIX}
    assert sizes["_quant"] < sizes[""]


@pytest.mark.parametrize("per_channel", [True, False])
def test_every_variant_is_close_to_the_model(contents, model, windows, per_channel):
    expected = model.predict(windows, verbose=0)
    spread = expected.std()
    for variant in VARIANTS:
        actual = litert.predictor(contents[per_channel, variant.suffix])(windows)
        assert actual.dtype == np.float32
        error = np.abs(actual - expected).mean() / spread
        assert error < (0.04 if variant.quantised else 1e-5), variant
        assert (error > 1e-4) == variant.quantised, variant


def constants(content):
    """Kind, scales, zero points and content of every tensor, in the order of the operators."""
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))
    graph, kinds = model.subgraphs[0], {0: np.float32, 2: np.int32, 9: np.int8}
    for operator in graph.operators:
        for number in (*operator.inputs, *operator.outputs):
            tensor = graph.tensors[number]
            data, q = model.buffers[tensor.buffer].data, tensor.quantization
            scales, points = ([], []) if q is None or q.scale is None else (q.scale, q.zeroPoint)
            has = data is not None and len(data)
            values = np.asarray(data, np.uint8).view(kinds[tensor.type]) if has else np.array([])
            yield tensor.type, np.array(scales), np.array(points), values.astype(np.float64)


def by_tensorflow(folded, variant, windows, per_channel):
    """What TensorFlow's converter makes of the model."""
    import tensorflow as tf
    from keras import Input, Model, layers

    inputs = x = Input((SIZE,))
    for layer in folded:
        x = layers.Dense(len(layer.bias), activation="relu" if layer.relu else None)(x)
    model = Model(inputs, x)
    model.set_weights([array for layer in folded for array in (layer.weights, layer.bias)])
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    if variant.quantised:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter._experimental_disable_per_channel_quantization_for_dense_layers = not per_channel
    if variant.calibrated:
        converter.representative_dataset = lambda: iter([[windows]])
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    if variant.int8_io:
        converter.inference_input_type = converter.inference_output_type = tf.int8
    return converter.convert()


@pytest.mark.parametrize("per_channel", [True, False])
@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: variant.suffix or "float")
def test_the_files_are_tensorflows(model, windows, variant, per_channel):
    """Scales, zero points, integers and operators, but for the last digit of a rounding.

    And but for the correction of biases, the rounding by windows and the margin of ranges, which
    TensorFlow's converter does not have.
    """
    folded = fold.fold_batch_norm(model)
    ours = convert.convert(folded, variant, windows, per_channel, False, **TENSORFLOWS)
    theirs = by_tensorflow(folded, variant, windows, per_channel)
    assert reader.describe(ours)["operators"] == reader.describe(theirs)["operators"]
    for our, their in zip(constants(ours), constants(theirs), strict=True):
        assert our[0] == their[0]
        np.testing.assert_allclose(our[1], their[1], rtol=1e-6)
        np.testing.assert_array_equal(our[2], their[2])
        integers = our[0] != 0
        np.testing.assert_allclose(our[3], their[3], rtol=1e-6, atol=1 if integers else 1e-6)
        if integers and len(our[3]):
            assert np.mean(our[3] != their[3]) < 0.01


@pytest.mark.parametrize("per_channel", [True, False])
def test_corrected_biases_keep_the_mean(model, windows, per_channel):
    """What rounding weights adds in the mean is taken off; nothing but biases changes."""
    folded = fold.fold_batch_norm(model)
    files = [
        convert.convert(
            folded, "_quant_fullint_micro_intio", windows, per_channel, correct, **TENSORFLOWS
        )
        for correct in (False, True)
    ]
    for plain, corrected in zip(*map(constants, files), strict=True):
        np.testing.assert_array_equal(plain[1], corrected[1])
        if plain[0] != 2:  # int32
            np.testing.assert_array_equal(plain[3], corrected[3])
    expected = run(folded, windows).mean(axis=0)
    off = [np.abs(litert.predictor(file)(windows).mean(axis=0) - expected) for file in files]
    assert off[1].mean() < 0.5 * off[0].mean()


def test_sums_of_the_largest_integers_are_exact():
    rng = np.random.default_rng(0)
    x = rng.integers(-128, -120, (2500, 3)).astype(np.int8)
    products = x.astype(np.int64).T @ x.astype(np.int64)
    mean = x.astype(np.int64).sum(axis=0) / 2500
    found = rounding.moments(x)
    np.testing.assert_array_equal(found[0], mean)
    np.testing.assert_array_equal(found[1], products / 2500 - np.outer(mean, mean))
    for width in (1024, 1100):  # in float32, and wider
        x = np.full((4, width), -128, np.int8)
        x[np.arange(4), -1 - np.arange(4)] = [-127, 1, 125, 127]
        weights = np.full((1, width), -127, np.int8)
        largest = x.astype(np.int64) @ weights[0].astype(np.int64)  # some 2^24
        base = int(largest.min())
        layer = networks.int_dense(weights, np.array([-base], np.int32), [1.0], False,
                                   (1.0, 0), (512.0, 0))  # fmt: skip
        np.testing.assert_array_equal(layer.outputs(x)[:, 0], np.rint((largest - base) / 512))
        fine = networks.int_dense(weights, np.array([-base], np.int32), [1.0], False,
                                  (1.0, 0), (1.0, -128))  # fmt: skip
        np.testing.assert_array_equal(fine.outputs(x)[:, 0], np.minimum(largest - base - 128, 127))


def test_rounding_by_windows_is_nearer_than_to_the_nearest():
    """Of inputs that go together, as bands do; the error is that of the definition."""
    rng = np.random.default_rng(3)
    inputs = np.clip(rng.normal(0, 8, (2000, 4)) @ rng.normal(0, 1, (4, 20)), -128, 127)
    inputs = np.rint(inputs + rng.normal(0, 1, inputs.shape)).clip(-128, 127).astype(np.int8)
    mean, covariance = rounding.moments(inputs)
    np.testing.assert_array_equal(mean, inputs.astype(float).mean(axis=0))
    np.testing.assert_allclose(covariance, np.cov(inputs.T, bias=True), rtol=1e-9, atol=1e-9)
    weights = rng.uniform(-127, 127, (20, 30))
    found = rounding.rounded(weights, covariance, 127)
    np.testing.assert_array_equal(found, np.rint(found))
    assert np.abs(found).max() <= 127

    def error(integers):
        apart = (inputs - mean) @ (integers - weights)
        return np.square(apart).mean()

    assert error(found) < 0.2 * error(np.rint(weights))
    # Inputs that do not go together, or say nothing, leave nothing to make up for.
    for nothing in (np.diag(np.arange(1.0, 21)), np.zeros((20, 20))):
        np.testing.assert_array_equal(rounding.rounded(weights, nothing, 127), np.rint(weights))


@pytest.mark.parametrize("per_channel", [True, False])
def test_evened_activations_are_the_same_function(model, windows, per_channel):
    folded = fold.fold_batch_norm(model)
    extremes, _ = int8.calibrate(folded, windows)
    evened = rounding.evened(folded, [high for _, high in extremes[1:]], per_channel)
    assert_same(run(evened, windows), run(folded, windows))
    after, _ = int8.calibrate(evened, windows)
    for (_, wide), (_, narrow) in zip(extremes[1:-1], after[1:-1], strict=True):
        alive = wide > 0.01 * wide.max()
        assert np.ptp(np.log(narrow[alive])) < 0.9 * np.ptp(np.log(wide[alive]))


@pytest.mark.parametrize("per_channel", [True, False])
def test_rounding_by_windows_keeps_outputs_nearer(per_channel):
    """As the file runs, on windows that calibrated and on others that go together likewise."""
    rng = np.random.default_rng(5)
    layers = [
        chain.Dense(rng.normal(0, 1 / np.sqrt(n), (n, m)), rng.normal(0, 1, m), relu=n < 128)
        for n, m in ((SIZE, 96), (96, 96), (96, 128), (128, 8))
    ]
    windows = rng.normal(0, 1, (2000, 6)) @ rng.normal(0, 3, (6, SIZE)) - 20
    windows = (windows + rng.normal(0, 0.3, windows.shape)).astype(np.float32)
    expected = run(layers, windows)
    errors = {}
    for how in ("nearest", "calibrated"):
        way = {"per_channel": per_channel, "rounding": how}
        predict = litert.predictor(convert.convert(layers, convert.MCU, windows[::2], **way))
        errors[how] = np.square(predict(windows) - expected)
    for part in (slice(0, None, 2), slice(1, None, 2)):
        assert errors["calibrated"][part].mean() < 0.8 * errors["nearest"][part].mean()


def test_integers_run_as_litert_runs_them(model, windows):
    """What later layers are rounded for is what the file gives."""
    folded = fold.fold_batch_norm(model)
    layers = int8.quantise(folded, windows, int8.Way())
    content = convert.convert(folded, convert.MCU, windows)
    q = first = layers[0].input.to_int8(windows)
    for layer in layers:
        q = layer.outputs(q)
    np.testing.assert_array_equal(q, litert.runner(content)(first))


def test_ranges_have_their_margin(model, windows):
    folded = fold.fold_batch_norm(model)
    scales = [
        [layer.output.scale for layer in int8.quantise(folded, windows, int8.Way(range_margin=m))]
        for m in (0, 0.1)
    ]
    np.testing.assert_allclose(np.divide(*scales[::-1]), 1.1, rtol=1e-5)


def test_constants_are_aligned(contents):
    from ai_edge_litert import schema_py_generated as schema

    for content in contents.values():
        model = schema.Model.GetRootAs(content, 0)
        for i in range(1, model.BuffersLength()):
            data = model.Buffers(i).DataAsNumpy()
            start = data.__array_interface__["data"][0]
            origin = np.frombuffer(content, np.uint8).__array_interface__["data"][0]
            assert (start - origin) % 16 == 0


def test_layers_of_zeros_and_of_large_biases(windows):
    """Channels without weights, outputs without a range, biases that would not fit 32 bits."""
    rng = np.random.default_rng(0)
    first = chain.Dense(0.01 * rng.standard_normal((SIZE, 6)), np.full(6, 5.0), relu=True)
    first.weights[:, 0] = 0  # a constant
    first.weights[:, 1], first.bias[1] = 0, -3  # always off
    first.weights[:, 2] *= 1e-12  # nearly a constant
    second = chain.Dense(0.1 * rng.standard_normal((6, SIZE)), np.zeros(SIZE))
    second.weights[:, 3] = 0  # nothing at all
    expected = run([first, second], windows)
    for per_channel in (True, False):
        content = convert.convert(
            [first, second], "_quant_fullint_micro_intio", windows, per_channel
        )
        actual = litert.predictor(content)(windows)
        assert np.abs(actual - expected).max() < 0.03 * np.ptp(expected)
    dead = chain.Dense(np.zeros((SIZE, 4)), np.zeros(4), relu=True)
    off = [dead, chain.Dense(np.zeros((4, SIZE)), np.zeros(SIZE))]
    content = convert.convert(off, "_quant_fullint", windows)
    np.testing.assert_array_equal(litert.predictor(content)(windows), 0)


def test_scales_hold_zero_and_the_range():
    for low, high in ((-3.0, 5.0), (0.0, 7.0), (-1e-3, 0.0), (-100.0, 1.0)):
        scale = int8.scale_of(low, high)
        real = (np.array([-128, 127]) - scale.zero_point) * scale.scale
        np.testing.assert_allclose(real, [low, high], atol=0.51 * scale.scale)
        assert -128 <= scale.zero_point <= 127
    assert int8.scale_of(0.0, 0.0) == int8.Scale(1.0, -128)


def test_each_channel_has_its_own_scale(model, windows):
    """With channels of very different range only per-channel weights keep the small ones."""
    folded = fold.fold_batch_norm(model)
    factor = np.where(np.arange(SIZE) == 0, 1e-3, 1.0)
    folded[-1].weights *= factor
    folded[-1].bias *= factor
    expected = run(folded, windows)[:, 0]
    errors = []
    for per_channel in (True, False):
        content = convert.convert(folded, "_quant", None, per_channel)
        errors.append(np.abs(litert.predictor(content)(windows)[:, 0] - expected).mean())
    assert errors[1] > 5 * errors[0]


def test_int8_input_is_quantised_by_the_rule(contents, windows):
    content = contents[True, "_quant_fullint_micro_intio"]
    facts = reader.describe(content)
    source, target = facts["inputs"][0], facts["outputs"][0]
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=content)
    interpreter.allocate_tensors()
    q = np.round(windows[:1] / source["scale"]) + source["zero_point"]
    q = np.clip(q, -128, 127).astype(np.int8)
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], q)
    interpreter.invoke()
    raw = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    expected = (raw.astype(np.float64) - target["zero_point"]) * target["scale"]
    np.testing.assert_allclose(litert.predictor(content)(windows[:1]), expected, rtol=1e-5)
    extreme = np.full((1, SIZE), 1e6, np.float32)
    assert np.isfinite(litert.predictor(content)(extreme)).all()


def test_a_window_s_result_does_not_depend_on_its_company(contents, windows):
    for suffix in BY_SUFFIX:
        predict = litert.predictor(contents[True, suffix])
        together = predict(windows[:50])
        alone = np.concatenate([predict(windows[i : i + 1]) for i in range(50)])
        np.testing.assert_allclose(together, alone, rtol=1e-5, atol=1e-4)


def test_conversion_is_repeatable(contents, model, windows):
    folded = fold.fold_batch_norm(model)
    again = convert.convert(folded, "_quant_fullint_micro_intio", windows)
    assert again == contents[True, "_quant_fullint_micro_intio"]


def test_calibration_needs_windows_of_the_right_shape(model):
    folded = fold.fold_batch_norm(model)
    for wrong in (None, np.zeros((5, SIZE + 1)), np.zeros((0, SIZE)), np.zeros(SIZE)):
        with pytest.raises(ValueError, match="calibration needs windows"):
            convert.convert(folded, "_quant_fullint", wrong)


@pytest.mark.parametrize(("n", "count"), [(10780, 10000), (1372000, 10000), (100, 100), (7, 50)])
def test_calibration_windows_are_spread(n, count):
    chosen = convert.spread_windows(n, count, seed=0)
    count = min(n, count)
    assert len(chosen) == len(set(chosen)) == count
    assert np.all(np.diff(chosen) > 0)
    assert chosen[0] >= 0
    assert chosen[-1] < n
    assert np.abs(chosen - np.arange(count) * n / count).max() <= n / count + 1
    np.testing.assert_array_equal(chosen, convert.spread_windows(n, count, seed=0))
    if n > count:
        assert not np.array_equal(chosen, convert.spread_windows(n, count, seed=1))


def test_calibration_windows_are_numbers(model, windows):
    folded = fold.fold_batch_norm(model)
    with pytest.raises(ValueError, match="not numbers"):
        convert.convert(folded, "_quant_fullint", windows * np.nan)


def test_an_unfolded_model_is_refused(model):
    with pytest.raises(UserError, match="fold_batch_norm comes first"):
        fold.equalise(keras_chain.of_model(model))
    with pytest.raises(UserError, match="fold_batch_norm comes first"):
        convert.convert(keras_chain.of_model(model), "")


def test_a_predictor_takes_any_float_and_refuses_other_widths(contents, windows):
    predict = litert.predictor(contents[True, ""])
    with pytest.raises(ValueError, match=f"shape .n, {SIZE}. are needed"):
        predict(windows[:, :-1])
    np.testing.assert_array_equal(predict(windows.astype(np.float64)), predict(windows))


def test_a_file_that_is_no_model_is_refused(tmp_path):
    (tmp_path / "bad.tflite").write_bytes(b"not a model" * 100)
    with pytest.raises(UserError, match=r"bad\.tflite: not a TFLite file"):
        litert.predictor(tmp_path / "bad.tflite")


def test_a_damaged_file_is_read_or_refused(tmp_path):
    """The reader finds what a small file says, or why it cannot; nothing else is raised."""

    def attempt(rng, folder):
        content = fuzz.mutated(networks.random_network(int(rng.integers(1, 6)), 6, 2), rng)
        try:
            reader.describe(content)
            reader.read(content)
        except UserError as error:
            assert str(error).isprintable()
            return "refused"
        return "read"

    assert fuzz.tried(attempt, 1000)["refused"] > 100


def test_prepare_equalises_only_per_tensor(model):
    import msgspec

    base = config.load_config().convert
    folded = fold.fold_batch_norm(model)

    def same_weights(**changes):
        prepared = fold.prepare(model, msgspec.structs.replace(base, **changes))
        pairs = zip(prepared, folded, strict=True)
        return all(
            np.array_equal(a.weights, b.weights) and np.array_equal(a.bias, b.bias)
            for a, b in pairs
        )

    assert same_weights()
    assert same_weights(dense_weights="per_tensor", equalise=False)
    assert not same_weights(dense_weights="per_tensor")
    assert not same_weights(reference_fold=True)


def test_lists_that_share_their_bytes_are_refused(tmp_path):
    """A file of 3 kB whose 1,000 buffers are one array of 1 MB would take 1 GB."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    builder = flatbuffers.Builder(1 << 21)
    data = builder.CreateNumpyVector(np.zeros(1 << 20, np.uint8))
    schema.BufferStart(builder)
    schema.BufferAddData(builder, data)
    buffer = schema.BufferEnd(builder)
    schema.ModelStartBuffersVector(builder, 1000)
    for _ in range(1000):
        builder.PrependUOffsetTRelative(buffer)
    buffers = builder.EndVector()
    schema.ModelStart(builder)
    schema.ModelAddBuffers(builder, buffers)
    builder.Finish(schema.ModelEnd(builder), b"TFL3")
    content = bytes(builder.Output())
    with fuzz.bounded(), pytest.raises(UserError, match="lists more than it holds"):
        reader.describe(content)


def test_the_documented_way_from_python(tmp_path, model):
    path = tmp_path / "ad01.h5"
    model.save(path)
    chain_of_file = keras_chain.read(str(path))
    assert len(chain_of_file) == len(fold.fold_batch_norm(model))
