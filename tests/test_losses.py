"""Losses: the originals' arrays, what each property of a head means, and their sections."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from asd import losses
from asd.sections import Choice
from common import UserError

keras = pytest.importorskip("keras")
tf = pytest.importorskip("tensorflow")

RIGHT, FAULT = {"faithful": False}, {"faithful": True}
FIXED, DYNAMIC = {"scale": "fixed"}, {"scale": "dynamic"}
CASES = {  # case of the golden data: kind and what its section says, the head there
    "adacos_fixed": ("adacos", FIXED, "W"),
    "adacos_dynamic": ("adacos", DYNAMIC, "W"),
    "adacos_dynamic_allsoft_FAULT": ("adacos", DYNAMIC | FAULT, "W"),
    "scadacos3_fixed": ("scadacos", FIXED | {"sub_clusters": 3}, "W_sub3"),
    "scadacos3_dynamic_FAULT": ("scadacos", DYNAMIC | FAULT | {"sub_clusters": 3}, "W_sub3"),
    "scadacos3_dynamic_right": ("scadacos", DYNAMIC | {"sub_clusters": 3}, "W_sub3"),
    "scadacos3_none": ("scadacos", FIXED | {"sub_clusters": 3}, "W_sub3"),
    "scadacos3_sum": ("scadacos", FIXED | {"sub_clusters": 3}, "W_sub3"),
    "scadacos3_dynamic_eval": ("scadacos", DYNAMIC | {"sub_clusters": 3}, "W_sub3"),
    "scadacos1_dynamic": ("scadacos", DYNAMIC | {"sub_clusters": 1}, "W"),
    "arcface_FAULT": ("arcface", {"margin": 0.5, "scale": 64.0} | FAULT, "W"),
    "arcface_right": ("arcface", {"margin": 0.5, "scale": 64.0}, "W"),
    "adaproj_fixed": ("adaproj", FIXED | {"dimensions": 4}, "W_proj"),
    "adaproj_dynamic_FAULT": ("adaproj", DYNAMIC | FAULT | {"dimensions": 4}, "W_proj"),
    "adaproj_dynamic_right": ("adaproj", DYNAMIC | {"dimensions": 4}, "W_proj"),
}
# Of float64, as the arrays are; of float32, of the largest value.
TOLERANCES = {"float64": 1e-9, "float32": 1e-5}
OF_GRADIENTS = {"float64": 1e-9, "float32": 1e-3}


def choice(kind, **values):
    return Choice(Path("my.yaml"), "detector.loss", kind, {"centres": "trained", **values})


def made(kind, classes, centres, dtype="float64", reduction="mean", **values):
    """A head as a YAML file names it, with given centres."""
    before = keras.config.floatx()
    keras.config.set_floatx(dtype)
    try:
        width = centres.shape[0] if centres.ndim == 2 else centres.shape[-1]
        head = losses.of(choice(kind, **values), classes, width, reduction)
        head.build((None, width))
    finally:
        keras.config.set_floatx(before)
    head.centres.assign(centres)
    return head


def with_gradients(head, x, y, key=None, training=True, dtype="float64"):
    """Loss, and its gradients by the embeddings and all trained weights."""
    x = tf.constant(x, dtype)
    with tf.GradientTape() as tape:
        tape.watch(x)
        loss = head(x, tf.constant(y, dtype), key=key, training=training)
    weights = [one.value for one in head.trainable_variables]
    return loss.numpy(), *(one.numpy() for one in tape.gradient(loss, [x, *weights]))


def close(found, expected, tolerance):
    """Equal up to that share of the largest value, or of 1."""
    largest = max(1.0, float(np.abs(np.nan_to_num(expected)).max(initial=0)))
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * largest)


def close_gradients(found, expected, tolerance):
    largest = float(np.abs(np.nan_to_num(expected)).max())
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * max(largest, 1e-30))


@pytest.fixture(scope="module")
def arrays(golden):
    with np.load(golden / "asdkit/02_losses.npz") as archive:
        return dict(archive)


@pytest.fixture(scope="module")
def of_parts(golden):
    with np.load(golden / "asdkit/03_augment_featex_subspace.npz") as archive:
        return dict(archive)


def batches(arrays, case, labels):
    """Embeddings, labels and head of a case."""
    if "allsoft" in case:
        return arrays["x"][:1], arrays["y_allsoft"][None], arrays["W"]
    aligned = "_aligned" if labels.startswith("aligned") else ""
    name = CASES[case][2] + aligned
    y = arrays[f"y_{labels}"]
    x = arrays[f"x{aligned}"]
    return x, np.broadcast_to(y, (len(x), *y.shape[-2:])), arrays[name]


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("labels", ["hard", "soft", "aligned_hard", "aligned_soft", ""])
@pytest.mark.parametrize("case", CASES)
def test_golden_losses(arrays, case, labels, dtype):
    prefix = f"{case}/{labels}".rstrip("/")
    if f"{prefix}/s0" not in arrays:
        pytest.skip("the golden data have no such case")
    x, y, centres = batches(arrays, case, labels)
    kind, values, _ = CASES[case]
    reduction = case.rpartition("_")[2] if case.endswith(("_none", "_sum")) else "mean"
    head = made(kind, y.shape[-1], centres, dtype, reduction, **values)
    assert head.first_scale == pytest.approx(float(arrays[f"{prefix}/s0"]), abs=1e-12)
    assert float(head.scale.numpy()) == head.first_scale
    for i, expected in enumerate(arrays[f"{prefix}/loss"]):
        loss, gx, gw = with_gradients(head, x[i], y[i], None, "eval" not in case, dtype)
        close(loss, expected, TOLERANCES[dtype])
        close(head.scale.numpy(), arrays[f"{prefix}/s"][i], TOLERANCES[dtype])
        close_gradients(gx, arrays[f"{prefix}/gx"][i], OF_GRADIENTS[dtype])
        close_gradients(gw, arrays[f"{prefix}/gw"][i], OF_GRADIENTS[dtype])
        if f"{prefix}/logits" in arrays:
            logits = head.logits(tf.constant(x[i], dtype)).numpy()
            close(logits, arrays[f"{prefix}/logits"][i], TOLERANCES[dtype])


def test_golden_losses_of_the_usual_size(arrays):
    """187 classes, 16 centres each, embeddings of 256."""
    r = np.random.default_rng(int(arrays["big/seed"]))
    x = r.standard_normal((64, 256)).astype(np.float32)
    r.integers(0, 187, 64), r.uniform(0, 1, (64, 1)), r.uniform(0, 1, (64, 1)), r.permutation(64)
    centres = r.uniform(-1, 1, (256, 2992)) * np.sqrt(6 / 3248)
    y = arrays["big/y"]
    for dtype, tolerance in TOLERANCES.items():
        # The labels are kept as float32.
        tolerance = max(tolerance, 1e-6)
        head = made("scadacos", 187, centres, dtype, sub_clusters=16, scale="fixed")
        assert head.first_scale == pytest.approx(float(arrays["big/scac_s"]), abs=1e-12)
        loss, gx, gw = with_gradients(head, x, y, dtype=dtype)
        close(loss, arrays["big/scac_loss"][0], tolerance)
        gradients = max(OF_GRADIENTS[dtype], 1e-6)
        close_gradients(gx[:8], arrays["big/scac_grad_x"], gradients)
        close_gradients(gw[:, ::187], arrays["big/scac_grad_W_cols"], gradients)
        close(head.logits(tf.constant(x[:4], dtype)).numpy(), arrays["big/scac_logits"], tolerance)
        head = made("scadacos", 187, centres, dtype, sub_clusters=16, scale="dynamic")
        for s, expected in zip(arrays["big/scac_dynamic_s"], arrays["big/scac_dynamic_loss"],
                               strict=True):  # fmt: skip
            close(with_gradients(head, x, y, dtype=dtype)[0], expected, tolerance)
            close(head.scale.numpy(), s, tolerance)
