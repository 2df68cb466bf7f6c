"""How weights begin."""

from __future__ import annotations

import math

import keras


def by_inputs(seed: int | None = None) -> keras.initializers.Initializer:
    """Uniform within +-1 / sqrt(fan_in), as PyTorch draws kernels of convolutions and dense layers.

    Of a convolution, fan_in is the kernel's size times the channels that it reads.
    """
    # Keras' bound is sqrt(3 * scale / fan_in).
    return keras.initializers.VarianceScaling(1 / 3, "fan_in", "uniform", seed)


def bias_by_inputs(fan_in: int, seed: int | None = None) -> keras.initializers.Initializer:
    """The same for a bias, whose shape does not tell the fan_in of its kernel."""
    bound = 1 / math.sqrt(fan_in)
    return keras.initializers.RandomUniform(-bound, bound, seed)
