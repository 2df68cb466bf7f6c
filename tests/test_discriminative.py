"""Training steps of MultiResNet with trained sub-cluster AdaCos, against the original's. Golden."""

from __future__ import annotations

import numpy as np
import pytest
from test_networks import MARCH, RATE, near, recipe, to_keras, variable, weights

import keras_model
from asd.networks.kinds import MultiResNet

SUB_CLUSTERS = {"scale": "fixed", "centres": "trained"}
DECAY = 0.01


@pytest.fixture(autouse=True, scope="module")
def _started():
    keras_model.start_tensorflow(0)


@pytest.fixture(scope="module")
def file(golden):
    return dict(np.load(golden / "asdkit" / "08_training.npz"))


def of(file, name):
    return {key.removeprefix(f"{name}/"): value for key, value in file.items()
            if key.startswith(f"{name}/")}  # fmt: skip


class Given:
    """Mixing with the draws of a file in the place of drawn ones."""

    def __init__(self, arrays, dtype):
        import tensorflow as tf

        self._arrays, self._dtype = arrays, dtype
        kinds = {"lam": dtype, "dec": dtype, "perm": "int64"}
        self._now = {
            name: tf.Variable(arrays[name][0], dtype=kind, trainable=False)
            for name, kind in kinds.items()
        }

    def step(self, i):
        for name, value in self._now.items():
            value.assign(self._arrays[name][i])

    def __call__(self, _, waves, labels):
        return self._mixed(waves), {name: self._mixed(own) for name, own in labels.items()}

    def _mixed(self, values):
        import tensorflow as tf

        values = tf.cast(values, self._dtype)
        lam, dec = (self._now[name][:, None] for name in ("lam", "dec"))
        other = tf.gather(values, self._now["perm"])
        return dec * (lam * values + (1 - lam) * other) + (1 - dec) * values


class Overheard:
    """A network, and what it said last."""

    def __init__(self, network, shape, dtype):
        import tensorflow as tf

        self._network = network
        self.said = tf.Variable(tf.zeros(shape, dtype), trainable=False)

    def __call__(self, waves, training):
        embeddings = self._network(waves, training=training)
        self.said.assign(embeddings)
        return embeddings


def learner_of(arrays, options, optimiser, dtype):
    """A learner with the file's weights, the network, its head and the mixing."""
    import keras
    import msgspec

    from asd import losses
    from asd.augment import Augmentation
    from asd.discriminative import Learner, Task
    from asd.losses import heads

    keras.config.set_dtype_policy(dtype)
    keras.config.set_floatx(dtype)  # of inputs: mixed waves are no float32 values
    try:
        settings = MultiResNet.Settings(**options)
        network = MultiResNet.build(settings, int(arrays["wave_len"]), RATE)
        n_classes, n_sub = map(int, arrays["n_classes_n_sub"])
        values = msgspec.convert(SUB_CLUSTERS | {"sub_clusters": n_sub},
                                 losses.SINGLE["scadacos"].Settings)  # fmt: skip
        head = heads.ScAdaCos(n_classes, values, dtype=dtype)
    finally:
        keras.config.set_dtype_policy("float32")
        keras.config.set_floatx("float32")
    for key, array in weights(arrays).items():
        if array.size:
            variable(network, key).assign(to_keras(array))
    mixing = Given(arrays, dtype)
    tasks = [Task(arrays["class_index"].ravel(), n_classes, head, 1.0)]
    learner = Learner(network, tasks, optimiser, Augmentation([mixing]), seed=0)
    head.centres.assign(arrays["W0"])
    return learner, network, head, mixing


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("how", ["sgd_lr1e-5", "adamw_lr1e-3"])
@pytest.mark.parametrize(("name", "options"), [("head", {}), ("mar", MARCH)])
def test_three_steps_golden(file, name, options, how, dtype):
    """Losses, embeddings before each step; weights, centres and running statistics after them.

    The first steps of AdamW follow the signs of gradients, of which rounding in float32 turns some;
    so they are compared in float64 only, as the file's README says.
    """
    import keras
    import tensorflow as tf

    from asd.optimisers import AdamW

    if how.startswith("adamw") and dtype == "float32":
        pytest.skip("AdamW's first steps in float32 are a matter of chance")
    arrays = of(file, name)
    expected = of(arrays, how)
    optimiser = AdamW(1e-3, DECAY) if how.startswith("adamw") else keras.optimizers.SGD(1e-5)
    learner, network, head, mixing = learner_of(arrays, options, optimiser, dtype)
    overheard = learner._network = Overheard(network, expected["embed"].shape[1:], dtype)
    part = {"float64": 1e-8, "float32": 2e-5}[dtype]
    if how.startswith("adamw"):
        part = 1e-5  # the learning rate is of float32
    for i, seed in enumerate(arrays["wave_seeds"]):
        made = recipe(int(seed), int(arrays["batch"]), int(arrays["wave_len"])).astype(dtype)
        mixing.step(i)
        more = 0.0 if dtype == "float64" else 4 * float(expected["f32_dev_embed_per_step"][i])
        classes = (tf.constant(arrays["class_index"][i]),)
        loss = learner._step(tf.constant(made), classes, tf.constant(1), tf.constant(i))
        assert near(overheard.said, expected["embed"][i], part, more), i
        assert float(loss) == pytest.approx(float(expected["loss"][i]), rel=part)
    assert near(head.centres, expected["W_after"], part)
    for key, value in expected.items():
        if key.startswith("running_after/"):
            ours = variable(network, key.removeprefix("running_after/"))
            assert near(ours, value, 10 * part), key
        if key.startswith("param_after/"):
            ours = to_keras(variable(network, key.removeprefix("param_after/")).numpy())
            kept = ours.ravel()[::128] if value.ndim == 1 and ours.ndim > 1 else ours
            assert near(kept, value, part), key
