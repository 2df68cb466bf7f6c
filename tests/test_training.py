"""Training against Keras' own fit."""

import functools
import itertools
import os
import re
import shutil
from types import SimpleNamespace

import msgspec
import numpy as np
import pytest
from conftest import UNITS, frames_of, write_clip, write_config

import common
import keras_model
from asd import config, dense_training, machine_code, training
from asd.features import windows as windows_module
from asd.features.windows import split
from common import HERE, UserError


@pytest.fixture(scope="module", autouse=True)
def tensorflow():
    keras_model.start_tensorflow(0)


def prepared(data, feature=None, units=UNITS, **fit):
    """Settings, windows to train on and to validate, and a model of random weights."""
    cfg = config.load_config(write_config(data, fit=fit, feature=feature or {}))
    keras_model.start_tensorflow(cfg.seed)
    windows = split(frames_of(data), cfg.feature.frames, cfg.fit, cfg.seed)
    return cfg, windows, keras_model.build(cfg.feature.vector_size, units)


def fit(cfg, windows, model):
    return training.fit(model, *windows, cfg.fit, cfg.seed)


def test_the_model_is_the_references():
    model = keras_model.build(640, UNITS)
    assert model.count_params() == 269_992
    kinds = [type(layer).__name__ for layer in model.layers]
    assert kinds == ["InputLayer"] + ["Dense", "BatchNormalization", "Activation"] * 9 + ["Dense"]
    units = [layer.units for layer in model.layers if type(layer).__name__ == "Dense"]
    assert units == [128] * 4 + [8] + [128] * 4 + [640]
    norm = model.layers[2]
    assert (norm.epsilon, norm.momentum) == (1e-3, 0.99)


def test_training_is_keras_fit(data):
    """Unshuffled, every epoch can be compared: as near as Keras is to itself.

    Adam follows the rounding of gradients that are zero (of biases before a batch normalisation),
    so Keras' own fit moves when its input changes in the last bit.
    """
    import keras

    cfg, examples, model = prepared(data, shuffle=False, epochs=2)
    initial = model.get_weights()
    assert [len(part.items) for part in examples] == [10, 2]
    windows, held_out = (
        np.concatenate([common.vectors(part.store[i], 5) for i in part.items]) for part in examples
    )

    same = keras.models.clone_model(model)
    same.compile(optimizer="adam", loss="mean_squared_error")
    same.optimizer.build(same.trainable_variables)
    beginning = [one.numpy() for one in same.optimizer.variables]

    def keras_fit(scale):
        same.set_weights(initial)
        for variable, value in zip(same.optimizer.variables, beginning, strict=True):
            variable.assign(value)
        scaled = windows * np.float32(scale)
        history = same.fit(
            scaled, scaled, batch_size=64, epochs=2, shuffle=False, verbose=0,
            validation_data=(held_out, held_out),
        ).history  # fmt: skip
        return np.array([history["loss"], history["val_loss"]])

    history = np.array([row[1:3] for row in fit(cfg, examples, model)]).T  # (2, n_epochs)
    expected = keras_fit(1)
    others = [keras_fit(1 + bits * 2.0**-23) for bits in (1, -1, 2)]
    spread = np.max([abs(other - expected) for other in others], axis=0)
    assert (spread < 0.003 * expected).all()
    assert (abs(history - expected) < 2 * spread + 1e-5 * expected).all()


def chains():
    """A model of each form that is trained by our own code; small, but for the reference."""
    from keras import Input, Sequential, layers

    relu, norm = layers.ReLU, layers.BatchNormalization
    yield "reference", keras_model.build(640, UNITS)
    yield "one layer", Sequential([Input((640,)), layers.Dense(640)])
    yield "other constants", Sequential([
        Input((640,)), layers.Dense(24), norm(epsilon=0.1, momentum=0.5), relu(),
        layers.Dense(9), norm(), relu(), layers.Dense(33), norm(), relu(), layers.Dense(640),
    ])  # fmt: skip


def has_gradient(model):
    """Whether each array of a chain is one that training moves: no bias before a normalisation."""
    kinds = [type(layer).__name__ for layer in model.layers if layer.get_weights()]
    for kind, after in itertools.pairwise([*kinds, ""]):
        yield from [True, after != "BatchNormalization"] if kind == "Dense" else [True] * 4


def gradients_of(trainer):
    """The gradients of the last batch in Keras' order, flat."""
    state, values = trainer._state, []
    of_units = dense_training.units.py_func(state.gradients[0], state)
    for i, (n_in, n_out, start) in enumerate(state.layers):
        last = i == len(state.layers) - 1
        values += [state.gradients[0, start : start + n_in * n_out]]
        values += [of_units[i, k, :n_out] for k in range(1 if last else 3)]
    return np.concatenate(values)


@pytest.mark.parametrize(("n_parts", "n_windows"), [(1, 64), (2, 64), (2, 61), (3, 90), (4, 69)])
@pytest.mark.parametrize("form", ["reference", "one layer", "other constants"])
def test_steps_are_those_of_keras(monkeypatch, form, n_parts, n_windows):
    """Loss, gradients, moving statistics and parameters after batches of 64; then the measure.

    The last of 4 parts of 5 windows, the rest of 69, is empty.
    """
    import keras
    import tensorflow as tf

    monkeypatch.setenv("OMP_NUM_THREADS", str(n_parts))
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    frames = rng.normal(-30, 10, (100, 128)).astype(np.float32)
    starts = rng.permutation(96)[:n_windows].astype(np.int32)
    windows = common.vectors(frames, 5)[starts]
    ours = dict(chains())[form]
    theirs = keras.models.clone_model(ours)
    arrays = [a + 0.1 * rng.standard_normal(a.shape) ** 2 for a in ours.get_weights()]
    ours.set_weights(arrays)
    theirs.set_weights(arrays)
    assert dense_training.suits(ours)
    trainer = dense_training.Trainer(ours, 64)

    optimizer, squares = keras.optimizers.Adam(), keras.losses.MeanSquaredError()
    total = 0.0
    for batch in (windows[i : i + 64] for i in range(0, n_windows, 64)):
        with tf.GradientTape() as tape:
            loss = squares(batch, theirs(batch, training=True))
        gradients = tape.gradient(loss, theirs.trainable_variables)
        optimizer.apply_gradients(zip(gradients, theirs.trainable_variables, strict=True))
        total += len(batch) * float(loss)

    assert trainer.run(True, frames, starts).sum() == pytest.approx(total, rel=1e-5)
    expected = np.concatenate([np.ravel(g) for g in gradients])
    np.testing.assert_allclose(gradients_of(trainer), expected, atol=5e-4 * np.abs(expected).max())
    for our, their, array, followed in zip(
        ours.weights, theirs.weights, arrays, has_gradient(ours), strict=True
    ):
        if followed:  # Keras moves a bias before a normalisation, by the rounding of its zero
            off, moved = np.abs(our - their).sum(), np.abs(their - array).sum()
            assert off < 0.01 * moved, our.path
        else:
            np.testing.assert_array_equal(our, array.astype(np.float32))
    expected = n_windows * float(squares(windows, ours(windows, training=False)))
    assert trainer.run(False, frames, starts).sum() == pytest.approx(expected, rel=1e-5)


def test_where_nothing_can_be_kept_code_is_compiled_still():
    """As in a read-only container: Numba finds no place for a function without a file."""
    assert machine_code.compiled(eval("lambda x: x + 1"))(1) == 2


DAMAGE_PROBE = """
import os, sys
import numpy as np
import keras_model
keras_model.start_tensorflow(0)
from asd import dense_training
model = keras_model.build(640, (4,))
trainer = dense_training.Trainer(model, 64)
rng = np.random.default_rng(0)
frames = rng.normal(-30, 10, (100, 128)).astype(np.float32)
print(repr(trainer.run(True, frames, np.arange(90, dtype=np.int32))))
"""


PLACE_PROBE = """
from asd import dense_training
print(dense_training.run_batches.stats.cache_path, end="")
"""


def test_damaged_machine_code_is_compiled_again(tmp_path):
    """Numba would end in a traceback, or run whatever the file holds."""
    import subprocess
    import sys

    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path / "cache")}

    def said(probe, environment):
        command = [sys.executable, "-c", probe]
        done = subprocess.run(command, capture_output=True, text=True, cwd=HERE, env=environment)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def trained():
        return said(DAMAGE_PROBE, environment)

    # A copy of what other runs have compiled: compiling takes longest.
    expected = said(DAMAGE_PROBE, os.environ)
    pyc = shutil.ignore_patterns("*.pyc")
    place = said(PLACE_PROBE, environment)
    shutil.copytree(said(PLACE_PROBE, os.environ), place, ignore=pyc, dirs_exist_ok=True)
    kept = sorted((tmp_path / "cache").rglob("*.nb[ic]"))
    before = {path: path.read_bytes() for path in kept}
    assert len(before) > 5
    assert trained() == expected
    assert {path: path.read_bytes() for path in kept} == before, "what is sound is kept"
    read = [path for path in kept if re.match(r"dense_training\.run_batches.*nbi", path.name)]
    assert read
    for index in read:  # that of this source, and what older ones left
        index.write_bytes(before[index][: len(before[index]) // 2])
    assert trained() == expected


def test_whatever_is_damaged_of_kept_machine_code_all_of_it_goes(tmp_path):
    function = SimpleNamespace(stats=SimpleNamespace(cache_path=str(tmp_path)))
    names = ("a.nbi", "a.1.nbc", machine_code.SEAL)

    def kept_after(damage):
        for i, name in enumerate(names[:2]):
            (tmp_path / name).write_bytes(bytes(range(10 * i, 10 * i + 9)))
        machine_code.seal_cache(function)
        damage()
        machine_code.mend_cache(function)
        machine_code.seal_cache(function)  # lets others in again
        return sorted(path.name for path in tmp_path.glob("*.nb[ic]"))

    assert kept_after(lambda: None) == sorted(names[:2]), "what is sound is kept"
    for path in (tmp_path / name for name in names):
        assert kept_after(lambda path=path: path.write_bytes(path.read_bytes()[:-3])) == []
        assert kept_after(lambda path=path: path.write_bytes(b"\xff" + path.read_bytes()[1:])) == []


def test_where_a_gpu_is_visible_keras_trains(data, monkeypatch):
    cfg, windows, model = prepared(data, epochs=1)
    assert isinstance(training._steps(model, windows[0], cfg.fit)[0], functools.partial)
    monkeypatch.setattr(training, "_gpu_is_visible", lambda: True)
    monkeypatch.setattr(dense_training, "Trainer", None)
    history = fit(cfg, windows, model)
    assert len(history) == 1


def others():
    """Models that are Keras' to train."""
    from keras import Input, Model, Sequential, layers, regularizers

    x = Input((640,))
    yield "skip", Model(x, layers.Dense(640)(layers.Dense(8)(x)) + layers.Dense(640)(x))
    norm = layers.BatchNormalization
    for name, hidden in {
        "no scale": [layers.Dense(8), norm(scale=False)],
        "frozen": [layers.Dense(8, trainable=False)],
        "regularised": [layers.Dense(8, kernel_regularizer=regularizers.L2(0.1))],
        "tanh": [layers.Dense(8, activation="tanh")],
    }.items():
        yield name, Sequential([Input((640,)), *hidden, layers.Dense(640)])
    yield "relu output", Sequential([Input((640,)), layers.Dense(640, activation="relu")])


def test_other_models_are_trained_by_keras(data):
    for name, model in others():
        assert not dense_training.suits(model), name
        cfg, windows, _ = prepared(data, units=(), epochs=2)
        history = fit(cfg, windows, model)
        assert 0 < history[1].loss < history[0].loss, name


def test_a_regulariser_counts(data):
    """It pulls weights to zero, which a loss on windows alone does not."""
    sizes = []
    for strength in (0.0, 100.0):
        from keras import Input, Sequential, layers, regularizers

        cfg, windows, _ = prepared(data, epochs=6)
        pulled = layers.Dense(8, kernel_regularizer=regularizers.L2(strength))
        fit(cfg, windows, Sequential([Input((640,)), pulled, layers.Dense(640)]))
        sizes.append(float(np.square(pulled.get_weights()[0]).sum()))
    assert sizes[1] < 0.5 * sizes[0]


@pytest.mark.parametrize("names", [("sgd", "mae"), ("rmsprop", "mse"), ("adam", "log_cosh")])
def test_other_optimisers_and_losses_are_left_to_keras(data, names):
    import keras

    cfg, examples, model = prepared(
        data, units=(16, 4, 16), shuffle=False, epochs=2, validation_split=0.0,
        compile={"optimizer": names[0], "loss": names[1]},
    )  # fmt: skip
    same = keras.models.clone_model(model)
    same.set_weights(model.get_weights())
    same.compile(optimizer=names[0], loss=names[1])
    windows = np.concatenate([common.vectors(frames, 5) for frames in examples[0].store])
    expected = same.fit(windows, windows, batch_size=64, epochs=2, shuffle=False, verbose=0)
    history = fit(cfg, examples, model)
    np.testing.assert_allclose([row.loss for row in history], expected.history["loss"], rtol=0.003)


def test_the_same_seed_gives_the_same_weights(data):
    results = []
    for seed in (0, 0, 1):
        cfg, windows, _ = prepared(data, epochs=2)
        cfg = msgspec.structs.replace(cfg, seed=seed)
        keras_model.start_tensorflow(seed)
        model = keras_model.build(cfg.feature.vector_size, UNITS)
        fit(cfg, windows, model)
        results.append(model.get_weights())
    assert all(np.array_equal(a, b) for a, b in zip(results[0], results[1], strict=True))
    assert not np.array_equal(results[0][0], results[2][0])


@pytest.mark.parametrize("frames_per_block", [10**6, 90, 30])
def test_every_window_is_visited_once(data, monkeypatch, frames_per_block):
    """Whatever the blocks: whole batches but for the last, an order of its own for each seed."""
    monkeypatch.setattr(windows_module, "FRAMES_PER_BLOCK", frames_per_block)
    write_clip(data / "dev_data/ToyTest/train/normal_id_01_00000099.wav", 99, n_samples=40000)
    _, (examples, _), _ = prepared(data, feature={"central_frames": None})
    clips = np.array([9, 2, 5, 3, 12, 6, 0])
    expected = np.concatenate([common.vectors(examples.store[i], 5) for i in clips])

    def visited(seed):
        rng = None if seed is None else np.random.default_rng(seed)
        parts = list(examples.blocks(clips, 64, rng))
        assert all(len(starts) % 64 == 0 for _, starts in parts[:-1])
        assert len(parts) == 1 if frames_per_block == 10**6 else len(parts) > 2
        return np.concatenate([common.vectors(f, 5)[starts] for f, starts in parts])

    np.testing.assert_array_equal(visited(None), expected)
    first, again, other = visited(1), visited(1), visited(2)
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    assert not np.array_equal(first, expected)
    np.testing.assert_array_equal(*(np.unique(windows, axis=0) for windows in (first, expected)))
    assert len(first) == len(expected) == len(np.unique(expected, axis=0))


@pytest.mark.parametrize("frames_per_block", [10**6, 90])
def test_random_windows_validate(data, monkeypatch, frames_per_block):
    """A tenth of the windows of all clips; both parts together are every window once."""
    monkeypatch.setattr(windows_module, "FRAMES_PER_BLOCK", frames_per_block)
    cfg, parts, _ = prepared(data, validation="random_windows")
    store, n_windows = parts[0].store, int(parts[0].store.n_windows(5).sum())
    assert [len(part) for part in parts] == [n_windows - n_windows // 10, n_windows // 10]
    numbers = np.concatenate([part.numbers() for part in parts])
    assert sorted(numbers) == list(range(n_windows))
    for part, rng in ((parts[0], np.random.default_rng(1)), (parts[1], None)):
        blocks = list(part.blocks(part.items, 64, rng))
        assert all(len(starts) % 64 == 0 for _, starts in blocks[:-1])
        found = np.concatenate([common.vectors(f, 5)[starts] for f, starts in blocks])
        expected = store.gather(part.numbers(), 5)
        np.testing.assert_array_equal(*(one[np.lexsort(one.T)] for one in (found, expected)))
    again = split(store, 5, cfg.fit, cfg.seed)[1].numbers()
    np.testing.assert_array_equal(again, parts[1].numbers())
    assert not np.array_equal(split(store, 5, cfg.fit, cfg.seed + 1)[1].numbers(), again)


@pytest.mark.parametrize(
    ("clips", "share", "trained"), [(7000, 0.1, 6300), (55, 0.1, 49), (10, 0.0, 10), (1, 0.5, 1)]
)
def test_the_last_clips_validate(clips, share, trained):
    settings = msgspec.structs.replace(config.load_config().fit, validation_split=share)
    parts = split(range(clips), 5, settings, seed=0)
    assert [part.items.tolist() for part in parts] == [[*range(trained)], [*range(trained, clips)]]


def test_without_validation_there_is_no_validation_loss(data):
    ((_, loss, val_loss, _),) = fit(*prepared(data, epochs=1, validation_split=0.0))
    assert loss > 0
    assert val_loss is None


def test_a_loss_that_is_no_number_stops_the_run(data):
    cfg, windows, model = prepared(data, epochs=3)
    path = windows[0].store.path
    poisoned = np.fromfile(path, np.float32)
    poisoned[300] = np.nan
    poisoned.tofile(path)
    with pytest.raises(UserError, match="training loss of epoch 1 is nan"):
        fit(cfg, windows, model)


@pytest.mark.parametrize("key", ["optimizer", "loss"])
def test_a_name_that_keras_does_not_know(data, key):
    names = {"optimizer": "adam", "loss": "mean_squared_error"} | {key: "nonsense"}
    arguments = prepared(data, compile=names)
    with pytest.raises(UserError, match=r"fit\.compile.*nonsense"):
        fit(*arguments)


MEMORY_PROBE = """
import re, sys
from pathlib import Path
import numpy as np
import keras_model
from asd import config, training
from asd.features.windows import split
from asd.detectors import kinds
from asd.store import Store

def resident(field):  # MB; not getrusage, whose peak is inherited from the parent process
    return int(re.search(field + r":\\s+(\\d+) kB", open("/proc/self/status").read())[1]) / 1024

keras_model.start_tensorflow(0)
idle = resident("VmRSS")
n_clips, cfg = 1500, config.load_config(sys.argv[1])
offsets = 200 * np.arange(n_clips + 1)
rows = kinds.of(cfg).rows
path = Path(sys.argv[2])
store = Store((None,) * n_clips, rows, path, path.open("rb", 0), offsets, ())
windows = split(store, 5, cfg.fit, cfg.seed)
model = keras_model.build(640, (128,) * 4 + (8,) + (128,) * 4)
training.fit(model, *windows, cfg.fit, cfg.seed)
print(resident("VmHWM") - idle)
"""


def test_the_matrix_of_all_vectors_never_exists(tmp_path):
    """1,500 clips are a frame store of 154 MB; their vectors would take 753 MB."""
    import subprocess
    import sys

    rng = np.random.default_rng(0)
    (rng.standard_normal((300_000, 128), np.float32) - 30).tofile(tmp_path / "frames.f32")
    config = write_config(tmp_path, fit={"epochs": 1, "batch_size": 512, "verbose": 0})
    command = [sys.executable, "-c", MEMORY_PROBE, str(config), str(tmp_path / "frames.f32")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=HERE, check=True)
    above_idle = float(done.stdout)  # MB
    assert 150 < above_idle < 500


def test_as_many_parts_as_this_run_may_use_cores(monkeypatch):
    model = keras_model.build(640, UNITS)
    for cores in (1, 3):
        monkeypatch.setenv("OMP_NUM_THREADS", str(cores))
        chain = dense_training.keras_chain.of_model(model)
        state, _ = dense_training.initial_state(chain, 64)
        assert len(state.gradients) == cores
