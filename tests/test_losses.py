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
    return section_of(kind, **{"centres": "trained"} | values)


def section_of(kind, **values):
    return Choice(Path("my.yaml"), "detector.loss", kind, values)


def made(kind, classes, centres, dtype="float64", reduction="mean", **values):
    """A head as a YAML file names it, with given centres."""
    width = centres.shape[0] if centres.ndim == 2 else centres.shape[-1]
    head = losses.of(choice(kind, **values), classes, width, reduction, dtype)
    head.build((None, width))
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
@pytest.mark.parametrize("case", CASES)
def test_golden_losses(arrays, case, dtype):
    prefixes = [name.removesuffix("/s0") for name in arrays
                if name.startswith(f"{case}/") and name.endswith("/s0")]  # fmt: skip
    assert prefixes
    for prefix in prefixes:
        x, y, centres = batches(arrays, case, prefix.removeprefix(case).strip("/"))
        kind, values, _ = CASES[case]
        reduction = case.rpartition("_")[2] if case.endswith(("_none", "_sum")) else "mean"
        head = made(kind, y.shape[-1], centres, dtype, reduction, **values)
        assert head.first_scale == pytest.approx(float(arrays[f"{prefix}/s0"]), abs=1e-12)
        assert float(head.scale.numpy()) == head.first_scale
        for i in range(len(arrays[f"{prefix}/loss"])):
            names = ("loss", "s", "gx", "gw", "logits")
            expected = {one: arrays[f"{prefix}/{one}"][i] for one in names
                        if f"{prefix}/{one}" in arrays}  # fmt: skip
            loss, gx, gw = with_gradients(head, x[i], y[i], None, "eval" not in case, dtype)
            close(loss, expected["loss"], TOLERANCES[dtype])
            close(head.scale.numpy(), expected["s"], TOLERANCES[dtype])
            close_gradients(gx, expected["gx"], OF_GRADIENTS[dtype])
            close_gradients(gw, expected["gw"], OF_GRADIENTS[dtype])
            if "logits" in expected:
                logits = head.logits(tf.constant(x[i], dtype)).numpy()
                close(logits, expected["logits"], TOLERANCES[dtype])


def test_golden_losses_are_all_compared(arrays):
    assert {name.split("/")[0] for name in arrays if name.endswith("/s0")} == set(CASES)


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


def featex(arrays, dtype="float32", **values):
    head = {"sub_clusters": int(arrays["n_subclusters"]), "scale": "fixed"}
    classes = arrays["featex/label"].shape[1]
    width = arrays["featex/embed"].shape[1]
    section = {
        "main": {"kind": "scadacos", "centres": "fixed", **head},
        "exchanged": {"kind": "scadacos", "centres": "trained", **head},
        "part": int(arrays["featex/sub_size"]), "probability": 0.5, "weight": 1.0, **values,
    }  # fmt: skip
    loss = losses.of(section_of("featex", **section), classes, width, dtype=dtype)
    loss.build((None, width))
    return loss


@pytest.mark.parametrize("faithful", [False, True])
def test_golden_featex(of_parts, faithful, monkeypatch):
    from asd.augment import exchange

    drawn = tf.constant(of_parts["featex/perms"]), tf.constant(of_parts["featex/dec"])
    monkeypatch.setattr(exchange, "drawn", lambda *_: drawn)
    loss = featex(of_parts, "float64", faithful=faithful)
    loss.main.centres.assign(of_parts["featex/W_main"])
    loss.exchanged.centres.assign(of_parts["featex/W_featex"])
    assert [one.path for one in loss.trainable_variables] == [loss.exchanged.centres.path]
    key = tf.zeros(2, tf.int32)
    total, gx, gw = with_gradients(loss, of_parts["featex/embed"], of_parts["featex/label"], key)
    ending = "FAULT" if faithful else "right"
    close(total, of_parts[f"featex/loss_total_{ending}"], 1e-9)
    close_gradients(gx, of_parts[f"featex/grad_embed_{ending}"], 1e-9)
    close_gradients(gw, of_parts[f"featex/grad_W_featex_{ending}"], 1e-9)
    main = loss.main(of_parts["featex/embed"], of_parts["featex/label"])
    close(main, of_parts["featex/loss_main_head"], 1e-9)
    if not faithful:
        close(total - main, of_parts["featex/loss_featex_head"], 1e-9)


def subspace(arrays, dtype="float32", **values):
    head = {"sub_clusters": int(arrays["n_subclusters"]), "scale": "fixed"}
    width = arrays["subspace/embed"].shape[1]
    section = {
        "main": {"kind": "scadacos", "centres": "fixed", **head},
        "parts": {"kind": "scadacos", "centres": "trained", **head},
        "part": arrays["subspace/W_0"].shape[0], "weight": 1.0, **values,
    }  # fmt: skip
    classes = arrays["subspace/label"].shape[1]
    loss = losses.of(section_of("subspace", **section), classes, width, dtype=dtype)
    loss.build((None, width))
    return loss


@pytest.mark.parametrize("faithful", [False, True])
def test_golden_subspace(of_parts, faithful):
    loss = subspace(of_parts, "float64", faithful=faithful)
    loss.main.centres.assign(of_parts["subspace/W_main"])
    for i, head in enumerate(loss.heads):
        head.centres.assign(of_parts[f"subspace/W_{i}"])
    x, y = of_parts["subspace/embed"], of_parts["subspace/label"]
    total, gx, *_ = with_gradients(loss, x, y)
    ending = "FAULT" if faithful else "right"
    close(total, of_parts[f"subspace/loss_total_{ending}"], 1e-9)
    close_gradients(gx, of_parts[f"subspace/grad_embed_{ending}"], 1e-9)
    close(loss.main(x, y), of_parts["subspace/loss_main_head"], 1e-9)
    parts = [head(part, y).numpy() for head, part in
             zip(loss.heads, tf.split(x, len(loss.heads), axis=-1), strict=True)]  # fmt: skip
    close(parts, of_parts["subspace/loss_sub"], 1e-9)


def test_golden_ranges_of_first_centres(golden):
    heads = {
        "scac_bound_187x16_256": ("scadacos", {"sub_clusters": 16}, (256, 2992)),
        "adaproj_bound_187x32_256": ("adaproj", {"dimensions": 32}, (187, 32, 256)),
    }
    with np.load(golden / "asdkit/08_training.npz") as archive:
        of = {name: float(archive[f"init/{name}"]) for name in heads}
    for name, (kind, values, shape) in heads.items():
        head = losses.of(choice(kind, scale="fixed", **values), 187, 256)
        head.build((None, 256))
        largest = np.abs(head.centres.numpy()).max()
        assert head.centres.shape == shape
        assert 0.9999 * of[name] < largest <= of[name] * (1 + 1e-6)


# What no golden array says.

KINDS = {
    "adacos": {"scale": "dynamic"},
    "scadacos": {"scale": "dynamic", "sub_clusters": 2},
    "arcface": {"scale": 30.0, "margin": 0.4},
    "adaproj": {"scale": "dynamic", "dimensions": 2},
}
N, WIDTH, CLASSES = 6, 8, 4


def some(seed=0):
    """Embeddings and one-hot labels."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((N, WIDTH)).astype(np.float32)
    return x, np.eye(CLASSES, dtype=np.float32)[rng.integers(0, CLASSES, N)]


def built(kind, classes=CLASSES, reduction="mean", **values):
    keras.utils.set_random_seed(3)
    head = losses.of(choice(kind, **KINDS[kind] | values), classes, WIDTH, reduction)
    head.build((None, WIDTH))
    return head


@pytest.mark.parametrize("kind", KINDS)
def test_a_head_learns(kind):
    """Gradient steps make the loss smaller, and its logits then tell the classes."""
    head, (x, y) = built(kind), some()
    optimiser, x = keras.optimizers.Adam(0.05), tf.Variable(x)
    optimiser.build([keras.Variable(x), *head.trainable_variables])

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            loss = head(x, y, training=True)
        gradients = tape.gradient(loss, [x, head.centres.value])
        x.assign_sub(0.5 * gradients[0])
        head.centres.assign_sub(0.5 * gradients[1])
        return loss

    first = float(step())
    last = [float(step()) for _ in range(150)][-1]
    assert last < 0.5 * first
    np.testing.assert_array_equal(np.argmax(head.logits(x), 1), np.argmax(y, 1))


@pytest.mark.parametrize("kind", KINDS)
def test_the_scale_moves_in_training_only(kind):
    head, (x, y) = built(kind), some()
    before = float(head.scale.numpy())
    alone = float(head(x, y, training=False)), float(head(x, y))
    assert float(head.scale.numpy()) == before and alone[0] == alone[1]
    head(x, y, training=True)
    assert (float(head.scale.numpy()) != before) == (head.values.scale == "dynamic")
    assert head.scale.dtype == "float64"
    assert head.scale.path not in [one.path for one in head.trainable_variables]


@pytest.mark.parametrize("kind", KINDS)
def test_fixed_centres_are_not_trained(kind):
    assert built(kind, centres="fixed").trainable_variables == []
    assert len(built(kind).trainable_variables) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_reductions_are_of_the_same_losses(kind):
    x, y = some()
    each = built(kind, reduction="none")(x, y).numpy()
    assert each.shape == (N,)
    assert float(built(kind, reduction="sum")(x, y)) == pytest.approx(each.sum(), rel=1e-6)
    assert float(built(kind)(x, y)) == pytest.approx(each.mean(), rel=1e-6)


@pytest.mark.parametrize("kind, classes", [("adacos", 4), ("scadacos", 2)])
def test_a_batch_without_a_usable_scale_leaves_it(kind, classes):
    """Embeddings away from all centres: ln B is below 0, and training would turn round."""
    centres = np.zeros((WIDTH, 4))
    centres[0] = 1
    x, y = np.tile(-np.eye(WIDTH)[0], (N, 1)), np.tile(np.eye(classes)[0], (N, 1))
    head, faithful = built(kind, classes), built(kind, classes, faithful=True)
    for one in (head, faithful):
        one.centres.assign(centres)
    assert losses_scale(head, x, y) == head.first_scale
    assert losses_scale(faithful, x, y) < 0


def losses_scale(head, x, y):
    """The scale after a batch of training."""
    head(x.astype(np.float32), y.astype(np.float32), training=True)
    return float(head.scale.numpy())


def test_mixed_clips_only_leave_the_scale():
    """Where the published one becomes NaN for good."""
    x, y = some()
    y = np.full_like(y, 1 / CLASSES)
    head = built("adacos")
    assert losses_scale(head, x, y) == head.first_scale
    assert np.isnan(losses_scale(built("adacos", faithful=True), x, y))


def test_the_margin_is_of_the_own_class():
    """So a wider margin raises the loss and leaves the logits, which know no class."""
    x, y = some()
    narrow, wide = built("arcface", margin=0.1), built("arcface", margin=0.5)
    assert float(wide(x, y)) > float(narrow(x, y))
    np.testing.assert_array_equal(wide.logits(x), narrow.logits(x))
    published = built("arcface", faithful=True, margin=0.5)
    assert not np.allclose(published.logits(x), wide.logits(x))


@pytest.mark.parametrize("kind", KINDS)
def test_half_precision_is_for_the_network_alone(kind):
    x, y = some()
    full = built(kind)
    keras.config.set_dtype_policy("mixed_float16")
    try:
        half = built(kind)
    finally:
        keras.config.set_dtype_policy("float32")
    x = x.astype(np.float16)
    for _ in range(3):
        assert float(half(x, y, training=True)) == float(full(x, y, training=True))
    assert half.centres.dtype == "float32" and half.scale.dtype == "float64"


def test_featex_makes_classes_of_one():
    section = {
        "main": {"kind": "scadacos", "centres": "fixed", "scale": "fixed", "sub_clusters": 4},
        "exchanged": {"kind": "adacos", "centres": "trained", "scale": "fixed"},
        "part": 4, "probability": 0.5, "weight": 1.0,
    }  # fmt: skip
    loss = losses.of(section_of("featex", **section), 1, WIDTH)
    loss.build((None, WIDTH))
    x, y = some()[0], np.ones((N, 1), np.float32)
    assert float(loss(x, y)) == pytest.approx(float(loss.exchanged(x, np.eye(3)[[0] * N])))


COMPOSED = {"featex": featex, "subspace": subspace}
OF_PARTS = {
    "n_subclusters": 2, "featex/embed": np.zeros((N, WIDTH)), "featex/sub_size": 4,
    "featex/label": np.zeros((N, CLASSES)), "subspace/embed": np.zeros((N, WIDTH)),
    "subspace/label": np.zeros((N, CLASSES)), "subspace/W_0": np.zeros((4, 8)),
}  # fmt: skip


@pytest.mark.parametrize("kind", [*KINDS, *COMPOSED])
def test_a_head_is_kept_with_a_model(kind, tmp_path):
    """Saved and loaded: the same loss, scale and logits."""
    from asd.augment import keys

    head = COMPOSED[kind](OF_PARTS) if kind in COMPOSED else built(kind)
    x, y = some()
    key = keys.of_step(1, 2, 3)
    head(x, y, key=key, training=True)
    inputs, labels = keras.Input((WIDTH,)), keras.Input((CLASSES,))
    model = keras.Model([inputs, labels], head(inputs, labels))
    model.save(tmp_path / "head.keras")
    again = keras.models.load_model(tmp_path / "head.keras")
    assert float(again([x, y])) == float(model([x, y]))
    loaded = next(layer for layer in again.layers if type(layer) is type(head))
    np.testing.assert_array_equal(loaded.logits(x), head.logits(x))
    for _ in range(2):
        found = [float(one(x, y, key=key, training=True)) for one in (loaded, head)]
        assert found[0] == found[1]
    assert len(loaded.trainable_variables) == len(head.trainable_variables)


def test_featex_draws_from_its_key():
    from asd.augment import keys

    loss, (x, y) = featex(OF_PARTS, probability=1.0), some()
    found = [float(loss(x, y, key=keys.of_step(*one), training=True))
             for one in ((1, 2, 3), (1, 2, 3), (1, 2, 4))]  # fmt: skip
    assert found[0] == found[1] != found[2]
    with pytest.raises(ValueError, match="needs a key"):
        loss(x, y, training=True)
    plain = np.hstack([y, np.zeros((N, 2 * CLASSES), np.float32)])
    expected = float(loss.main(x, y)) + float(loss.exchanged(x, plain))
    assert float(loss(x, y)) == pytest.approx(expected, rel=1e-6)


def test_losses_of_several_labels_are_each_counted_once():
    from asd.losses.parts import weighted

    one, two = tf.constant(2.0), tf.constant(3.0)
    assert float(weighted({"main": (one, 1.0), "attribute": (two, 0.5)})) == 3.5
    assert float(weighted({"main": (one, 1.0)})) == 2.0
    with pytest.raises(ValueError, match="no loss"):
        weighted({})


@pytest.mark.parametrize("kind, values, classes, named", [
    ("adacos", {"scale": "fixed"}, 2, "detector.loss: adacos of 2 classes: the scale"),
    ("adaproj", {"scale": "fixed", "dimensions": 4}, 2, "adaproj of 2 classes"),
    ("scadacos", {"scale": "fixed", "sub_clusters": 2}, 1, "detector.loss: one class"),
    ("scadacos", {"scale": "fixed", "sub_clusters": 0}, 9, "detector.loss.sub_clusters"),
    ("scadacos", {"scale": "adaptive", "sub_clusters": 2}, 9, "fixed, dynamic"),
    ("arcface", {"scale": 30.0, "margin": -1.0}, 9, "detector.loss.margin"),
    ("softmax", {}, 9, "known: adacos, scadacos"),
])  # fmt: skip
def test_what_a_loss_cannot_be_is_named(kind, values, classes, named):
    with pytest.raises(UserError) as told:
        losses.of(choice(kind, **values), classes, WIDTH)
    assert named in str(told.value) and "my.yaml" in str(told.value)


@pytest.mark.parametrize("kind", COMPOSED)
def test_an_embedding_without_parts_is_named(kind):
    for width in (3, 8):
        with pytest.raises(UserError, match="detector.loss.part: embeddings of 8"):
            COMPOSED[kind](
                OF_PARTS | {"featex/sub_size": width, "subspace/W_0": np.zeros((width, 8))}
            )


def test_a_section_inside_is_checked_without_tensorflow():
    main = {"kind": "adacos", "scale": "fixed", "centres": "fixed"}
    others = {"part": 4, "probability": 0.5, "weight": 1.0}
    section = {"main": main, "exchanged": {"kind": "featex"}, **others}
    with pytest.raises(UserError, match="detector.loss.exchanged.kind: no 'featex'"):
        losses.check(section_of("featex", **section))
