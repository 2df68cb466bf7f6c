"""Random draws that are a function of the seed, the epoch and the step, and of nothing else.

So training that was interrupted goes on as if it had not been: no generator's state is kept. The
numbers are Philox', the same on every kind of processor.
"""

from __future__ import annotations

import tensorflow as tf

ALGORITHM = "philox"


def of_step(seed: int, epoch: tf.Tensor | int, step: tf.Tensor | int) -> tf.Tensor:
    """The key of a training step, (2,) int32, which draws are made from.

    Parameters
    ----------
    seed : of the training, not negative
    epoch, step : which, and which batch of it
    """
    low, high = seed % 2**31, seed // 2**31 % 2**31
    return split(split(tf.constant([low, high], tf.int32), epoch), step)


def split(key: tf.Tensor, number: tf.Tensor | int) -> tf.Tensor:
    """A key of its own for each number, (2,) int32, so that draws do not depend on each other."""
    return tf.random.experimental.stateless_fold_in(key, tf.cast(number, tf.int32), ALGORITHM)


def uniform(key: tf.Tensor, shape: tuple[tf.Tensor | int, ...]) -> tf.Tensor:
    """Float32 in [0, 1), of that shape."""
    return tf.random.stateless_uniform(shape, key, alg=ALGORITHM)


def permutation(key: tf.Tensor, n: tf.Tensor | int) -> tf.Tensor:
    """The numbers below n in any order, (n,) int32."""
    return tf.argsort(uniform(key, (n,)), stable=True)


def coins(key: tf.Tensor, n: tf.Tensor | int, probability: float) -> tf.Tensor:
    """True so often, (n,) bool."""
    return uniform(key, (n,)) < probability
