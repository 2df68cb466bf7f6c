"""Fold, equalisation, the five variants, and running them."""

import numpy as np
import pytest

import common
import keras_model
from asd import tflite
from common import UserError

SIZE = 64  # and the units below: the converter leaves small weights in float


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
    folded = tflite.fold_batch_norm(model)
    return {
        (per_channel, variant.suffix): tflite.convert(folded, variant, windows, per_channel)
        for per_channel in (True, False)
        for variant in tflite.VARIANTS
    }


def assert_same(actual, expected):
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def test_the_fold_is_the_same_function(model, windows):
    folded = tflite.fold_batch_norm(model)
    assert {type(layer).__name__ for layer in folded.layers} == {"InputLayer", "Dense"}
    assert_same(folded.predict(windows, verbose=0), model.predict(windows, verbose=0))


def test_the_reference_fold_drops_the_bias(model, windows):
    from keras import models

    unbiased = models.clone_model(model)
    unbiased.set_weights(model.get_weights())
    for layer in unbiased.layers[:-1]:
        if type(layer).__name__ == "Dense":
            weights, bias = layer.get_weights()
            layer.set_weights([weights, 0 * bias])
    expected = unbiased.predict(windows, verbose=0)
    folded = tflite.fold_batch_norm(model, reference=True).predict(windows, verbose=0)
    assert_same(folded, expected)
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
    folded = tflite.fold_batch_norm(model).predict(windows, verbose=0)
    assert_same(folded, expected)


def test_other_layers_are_refused_by_name():
    from keras import Sequential, layers

    for wrong in (
        [layers.Dense(8, activation="tanh", name="odd")],
        [layers.Dense(8, use_bias=False, name="odd")],
        [layers.Dense(8), layers.Dropout(0.5, name="odd")],
        [layers.Dense(8, activation="relu"), layers.BatchNormalization(name="odd")],
        [layers.BatchNormalization(name="odd")],
        [layers.ReLU(max_value=6, name="odd")],
        [layers.Activation("relu", name="odd")],
    ):
        model = Sequential([layers.Input((SIZE,)), *wrong, layers.Dense(SIZE)])
        with pytest.raises(UserError, match="layer odd"):
            tflite.fold_batch_norm(model)


def test_equalisation_is_the_same_function_with_like_ranges(model, windows):
    folded = tflite.fold_batch_norm(model)
    equal = tflite.equalise(folded)
    expected = folded.predict(windows, verbose=0)
    assert_same(equal.predict(windows, verbose=0), expected)
    before = [np.abs(layer.get_weights()[0]).max(axis=0) for layer in folded.layers[1:-1]]
    after = [np.abs(layer.get_weights()[0]).max(axis=0) for layer in equal.layers[1:-1]]
    next_rows = [np.abs(layer.get_weights()[0]).max(axis=1) for layer in equal.layers[2:]]
    for ranges, wide, there in zip(after, before, next_rows, strict=True):
        np.testing.assert_allclose(ranges, there, rtol=0.05)
        assert ranges.max() / ranges.min() < wide.max() / wide.min()


def test_equalisation_leaves_dead_channels_alone(model, windows):
    folded = tflite.fold_batch_norm(model)
    weights, bias = folded.layers[1].get_weights()
    weights[:, 2] = 0
    folded.layers[1].set_weights([weights, bias])
    expected = folded.predict(windows, verbose=0)
    equal = tflite.equalise(folded).predict(windows, verbose=0)
    assert_same(equal, expected)


def test_the_variants_are_the_references():
    assert [variant.suffix for variant in tflite.VARIANTS] == [
        "", "_quant", "_quant_fullint", "_quant_fullint_micro", "_quant_fullint_micro_intio",
    ]  # fmt: skip


@pytest.mark.parametrize("per_channel", [True, False])
def test_every_variant_is_what_it_says(contents, per_channel):
    for variant in tflite.VARIANTS:
        content = contents[per_channel, variant.suffix]
        facts = tflite.describe(content)
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
    sizes = {suffix: len(contents[per_channel, suffix]) for suffix in tflite.BY_SUFFIX}
    assert sizes["_quant"] < sizes[""]


@pytest.mark.parametrize("per_channel", [True, False])
def test_every_variant_is_close_to_the_model(contents, model, windows, per_channel):
    expected = model.predict(windows, verbose=0)
    spread = expected.std()
    for variant in tflite.VARIANTS:
        actual = tflite.predictor(contents[per_channel, variant.suffix])(windows)
        assert actual.dtype == np.float32
        error = np.abs(actual - expected).mean() / spread
        assert error < (0.04 if variant.quantised else 1e-5), variant
        assert (error > 1e-4) == variant.quantised, variant


def test_each_channel_has_its_own_scale(model, windows):
    """With channels of very different range only per-channel weights keep the small ones."""
    from keras import models

    folded = models.clone_model(tflite.fold_batch_norm(model))
    folded.set_weights(tflite.fold_batch_norm(model).get_weights())
    weights, bias = folded.layers[-1].get_weights()
    factor = np.where(np.arange(SIZE) == 0, 1e-3, 1.0)
    folded.layers[-1].set_weights([weights * factor, bias * factor])
    expected = folded.predict(windows, verbose=0)[:, 0]
    errors = []
    for per_channel in (True, False):
        content = tflite.convert(folded, "_quant", None, per_channel)
        errors.append(np.abs(tflite.predictor(content)(windows)[:, 0] - expected).mean())
    assert errors[1] > 5 * errors[0]


def test_int8_input_is_quantised_by_the_rule(contents, windows):
    content = contents[True, "_quant_fullint_micro_intio"]
    facts = tflite.describe(content)
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
    np.testing.assert_allclose(tflite.predictor(content)(windows[:1]), expected, rtol=1e-5)
    extreme = np.full((1, SIZE), 1e6, np.float32)
    assert np.isfinite(tflite.predictor(content)(extreme)).all()


def test_a_window_s_result_does_not_depend_on_its_company(contents, windows):
    for suffix in tflite.BY_SUFFIX:
        predict = tflite.predictor(contents[True, suffix])
        together = predict(windows[:50])
        alone = np.concatenate([predict(windows[i : i + 1]) for i in range(50)])
        np.testing.assert_allclose(together, alone, rtol=1e-5, atol=1e-4)


def test_conversion_is_repeatable(contents, model, windows):
    folded = tflite.fold_batch_norm(model)
    again = tflite.convert(folded, "_quant_fullint_micro_intio", windows)
    assert again == contents[True, "_quant_fullint_micro_intio"]


def test_calibration_needs_windows_of_the_right_shape(model):
    folded = tflite.fold_batch_norm(model)
    for wrong in (None, np.zeros((5, SIZE + 1)), np.zeros((0, SIZE)), np.zeros(SIZE)):
        with pytest.raises(ValueError, match="calibration needs windows"):
            tflite.convert(folded, "_quant_fullint", wrong)


@pytest.mark.parametrize(("n", "count"), [(10780, 10000), (1372000, 10000), (100, 100), (7, 50)])
def test_calibration_windows_are_spread(n, count):
    chosen = tflite.spread_windows(n, count, seed=0)
    count = min(n, count)
    assert len(chosen) == len(set(chosen)) == count
    assert np.all(np.diff(chosen) > 0)
    assert chosen[0] >= 0
    assert chosen[-1] < n
    assert np.abs(chosen - np.arange(count) * n / count).max() <= n / count + 1
    np.testing.assert_array_equal(chosen, tflite.spread_windows(n, count, seed=0))
    if n > count:
        assert not np.array_equal(chosen, tflite.spread_windows(n, count, seed=1))


def test_calibration_windows_are_numbers(model, windows):
    folded = tflite.fold_batch_norm(model)
    with pytest.raises(ValueError, match="not numbers"):
        tflite.convert(folded, "_quant_fullint", windows * np.nan)


def test_an_unfolded_model_is_refused(model):
    with pytest.raises(UserError, match="fold_batch_norm comes first"):
        tflite.equalise(model)


def test_a_predictor_takes_any_float_and_refuses_other_widths(contents, windows):
    predict = tflite.predictor(contents[True, ""])
    with pytest.raises(ValueError, match=f"shape .n, {SIZE}. are needed"):
        predict(windows[:, :-1])
    np.testing.assert_array_equal(predict(windows.astype(np.float64)), predict(windows))


def test_a_file_that_is_no_model_is_refused(tmp_path):
    (tmp_path / "bad.tflite").write_bytes(b"not a model" * 100)
    with pytest.raises(UserError, match=r"bad\.tflite: not a readable TFLite model"):
        tflite.predictor(tmp_path / "bad.tflite")


def test_prepare_equalises_only_per_tensor(model):
    import msgspec

    base = common.load_config().convert
    folded = tflite.fold_batch_norm(model)

    def same_weights(**changes):
        prepared = tflite.prepare(model, msgspec.structs.replace(base, **changes))
        pairs = zip(prepared.get_weights(), folded.get_weights(), strict=True)
        return all(np.array_equal(a, b) for a, b in pairs)

    assert same_weights()
    assert same_weights(dense_weights="per_tensor", equalise=False)
    assert not same_weights(dense_weights="per_tensor")
    assert not same_weights(reference_fold=True)
