"""Layers of pre-trained transformers. What was trained before stays as it is; LoRA alone learns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from asd.networks import initialisers
from asd.networks.architecture import BANDS, PATCH

ACTIVATIONS = {
    "gelu": lambda x: tf.nn.gelu(x, approximate=False),
    "gelu_accurate": lambda x: tf.nn.gelu(x, approximate=True),
    "relu": tf.nn.relu,
}


class Fixed(keras.layers.Layer):
    """A layer whose own weights come from a file and are not trained."""

    def fixed(self, name: str, shape: Sequence[int]) -> keras.Variable:
        return self.add_weight(tuple(shape), "zeros", name=name, trainable=False)

    def same_shape(self, x: keras.KerasTensor) -> keras.KerasTensor:
        return keras.KerasTensor(x.shape, self.compute_dtype)


@keras.saving.register_keras_serializable("asd")
class LoraDense(Fixed):
    """A dense layer that stays as it is, and what learns beside it.

    x W + b + (alpha / rank) x A B, of which A and B learn. Hu and others 2021, arXiv:2106.09685;
    as there, A is drawn and B begins with 0, so that the layer begins as it was.

    Parameters
    ----------
    units : outputs
    use_bias : with b
    rank : of A B; 0: nothing is learnt
    alpha : weight of what is learnt, for all ranks alike
    """

    def __init__(
        self, units: int, use_bias: bool = True, rank: int = 0, alpha: float = 1.0, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.units, self.use_bias, self.rank, self.alpha = units, use_bias, rank, alpha

    def build(self, shape: tuple[int | None, ...]) -> None:
        """Make W, (inputs, units), b, A, (inputs, rank), and B, (rank, units)."""
        inputs = shape[-1]
        self.kernel = self.fixed("kernel", (inputs, self.units))
        self.bias = self.fixed("bias", (self.units,)) if self.use_bias else None
        if self.rank:
            self.lora_a = self.add_weight((inputs, self.rank), initialisers.by_inputs(),
                                          name="lora_a")  # fmt: skip
            self.lora_b = self.add_weight((self.rank, self.units), "zeros", name="lora_b")
        self.built = True

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """(..., inputs) -> (..., units)."""
        y = tf.matmul(x, tf.convert_to_tensor(self.kernel))
        if self.use_bias:
            y += self.bias
        if self.rank:
            low = tf.matmul(x, tf.convert_to_tensor(self.lora_a))
            y += (self.alpha / self.rank) * tf.matmul(low, tf.convert_to_tensor(self.lora_b))
        return y

    def compute_output_shape(self, shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """The shape of `call`."""
        return (*shape[:-1], self.units)

    def get_config(self) -> dict[str, Any]:
        """What makes the layer again."""
        own = {"units": self.units, "use_bias": self.use_bias, "rank": self.rank,
               "alpha": self.alpha}  # fmt: skip
        return super().get_config() | own


@keras.saving.register_keras_serializable("asd")
class Patches(keras.layers.Layer):
    """Squares of PATCH frames and mel bands: (n, n_frames, MELS) -> (n, n_patches, PATCH^2).

    In the order of time, those of a time from low to high bands; within one frames first.
    """

    def call(self, x: tf.Tensor) -> tf.Tensor:
        squares = tf.reshape(x, (-1, tf.shape(x)[1] // PATCH, PATCH, BANDS, PATCH))
        squares = tf.transpose(squares, (0, 1, 3, 2, 4))
        return tf.reshape(squares, (tf.shape(x)[0], -1, PATCH * PATCH))

    def compute_output_shape(self, shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """The shape of `call`."""
        return shape[0], shape[1] and shape[1] // PATCH * BANDS, PATCH * PATCH


@keras.saving.register_keras_serializable("asd")
class ConvPositions(Fixed):
    """Tokens, to each of which GELU of a convolution of it and its neighbours is added.

    Element length // 2 of the kernel weighs the token itself.
    """

    def __init__(self, length: int, groups: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.length, self.groups = length, groups

    def build(self, shape: tuple[int | None, ...]) -> None:
        """Make the kernel, (length, width / groups, width), and the bias, (width,)."""
        width = shape[-1]
        self.kernel = self.fixed("kernel", (self.length, width // self.groups, width))
        self.bias = self.fixed("bias", (width,))
        self.built = True

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """(n, n_tokens, width) -> the same shape."""
        half = self.length // 2
        padded = tf.pad(x, [[0, 0], [half, self.length - 1 - half], [0, 0]])
        # A group at a time: CPUs know no convolution of groups.
        parts = tf.split(padded, self.groups, axis=2)
        kernels = tf.split(tf.convert_to_tensor(self.kernel), self.groups, axis=2)
        found = [tf.nn.conv1d(one, kernel, 1, "VALID")
                 for one, kernel in zip(parts, kernels, strict=True)]  # fmt: skip
        return x + ACTIVATIONS["gelu"](tf.concat(found, axis=2) + self.bias)

    def compute_output_spec(self, x: keras.KerasTensor) -> keras.KerasTensor:
        """The shape of `call`."""
        return self.same_shape(x)

    def get_config(self) -> dict[str, Any]:
        """What makes the layer again."""
        return super().get_config() | {"length": self.length, "groups": self.groups}


def sines(n_times: tf.Tensor | int, width: int) -> tf.Tensor:
    """Fixed positions of patches, (n_times * BANDS, width) float64.

    The first half of a row tells the band, the second the time p: sin(p / 10000^(4 i / width)) for
    i from 0 to width / 4, then cosines.
    """
    rates = tf.constant(10000.0 ** -(np.arange(width // 4) * 4 / width))
    places = tf.range(n_times * BANDS)
    angles = [tf.cast(one, tf.float64)[:, None] * rates
              for one in (places % BANDS, places // BANDS)]  # fmt: skip
    return tf.concat([turn(one) for one in angles for turn in (tf.sin, tf.cos)], axis=1)


@keras.saving.register_keras_serializable("asd")
class Tokens(Fixed):
    """Patches with their positions added, `sines`, behind `count` tokens that were learnt."""

    def __init__(self, count: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.count = count

    def build(self, shape: tuple[int | None, ...]) -> None:
        """Make the tokens, (count, width)."""
        self.tokens = self.fixed("tokens", (self.count, shape[-1]))
        self.built = True

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """(n, n_patches, width) -> (n, count + n_patches, width)."""
        positions = tf.cast(sines(tf.shape(x)[1] // BANDS, x.shape[2]), x.dtype)
        first = tf.broadcast_to(+self.tokens, (tf.shape(x)[0], self.count, x.shape[2]))
        return tf.concat([first, x + positions], axis=1)

    def compute_output_shape(self, shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """The shape of `call`."""
        return shape[0], shape[1] and shape[1] + self.count, shape[2]

    def get_config(self) -> dict[str, Any]:
        """What makes the layer again."""
        return super().get_config() | {"count": self.count}
