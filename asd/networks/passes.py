"""Passes over large tensors in training: several operations on each value compiled into one."""

from __future__ import annotations

import functools
from collections.abc import Callable

import tensorflow as tf


@functools.cache
def fused(function: Callable[..., tf.Tensor]) -> Callable[..., tf.Tensor]:
    """A function of a module, of tensors, in one pass over memory where a CPU computes it.

    XLA compiles it, which takes a moment for every shape, and so is for training. Operations that
    go through memory once gain; sums over an axis do not. With a GPU it stays as it is: there XLA
    needs what may not be installed.
    """
    if tf.config.list_physical_devices("GPU"):
        return function
    return functools.wraps(function)(tf.function(function, jit_compile=True))
