"""MADE, mixtures of Gaussians by it, flows of it (MAF), and the conditional auto-encoder.

Each is a layer that takes windows and their conditions and gives log-likelihoods; `parts` has its
inner layers by neutral names, by which a model's file knows their arrays.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from asd.densities import masks
from asd.densities.layers import ConditionalDense, FlowNormalization
from asd.networks.layers import BatchNormalization

LOG_OF_ROOT = 0.5 * math.log(2 * math.pi)  # of the normal density's factor


class Gaussians(NamedTuple):
    """What a network says of each input; (n, components, size) each."""

    u: tf.Tensor  # inputs, normalised: (x - mean) / exp(log_scale)
    mean: tf.Tensor
    log_scale: tf.Tensor
    log_weight: tf.Tensor | None  # of a mixture's components; None: there is one


class Density(keras.layers.Layer):
    """A network of windows of `size` elements; see `call`.

    Parameters
    ----------
    size : elements of a window
    n_conditions : how many there are; 0: the density has none
    """

    def __init__(self, size: int, n_conditions: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.size, self.n_conditions = size, n_conditions
        self.parts: dict[str, keras.layers.Layer] = {}

    def call(
        self, x: tf.Tensor, condition: tf.Tensor | None = None, training: bool = False
    ) -> tf.Tensor:
        """Log-likelihoods of windows, (n, size), and their conditions, (n,) int32 -> (n,)."""
        raise NotImplementedError

    def build(self, *shapes: tuple[int | None, ...]) -> None:
        """Nothing of its own: inner layers make their variables when they are called."""
        self.built = True

    def make(self) -> None:
        """Make all variables."""
        self(tf.zeros((2, self.size), self.compute_dtype), tf.zeros(2, tf.int32))

    def named(self) -> dict[str, keras.Variable]:
        """All variables, by the names of parts: `in/kernel`."""
        return {f"{name}/{one.name}": one for name, part in self.parts.items()
                for one in part.weights}  # fmt: skip

    def _layer(self, name: str, layer: keras.layers.Layer) -> keras.layers.Layer:
        self.parts[name] = layer
        return layer


class Made(Density):
    """A masked auto-encoder: Gaussians of each element given those of lower degree.

    With several components a mixture for each element: Germain and others 2015, arXiv:1502.03509.
    The element of degree 0 depends on nothing, not even the condition.

    Parameters
    ----------
    hidden : units of the layers, each with ReLU
    components : of a mixture; 1: a single Gaussian
    is_reversed : degrees fall from the first element to the last
    degrees : see `masks.hidden_degrees`
    """

    def __init__(
        self,
        size: int,
        n_conditions: int,
        hidden: Sequence[int],
        components: int = 1,
        is_reversed: bool = False,
        degrees: masks.Degrees = "cyclic",
        **kwargs: Any,
    ) -> None:
        super().__init__(size, n_conditions, **kwargs)
        self.components = components
        *inner, last = masks.masks(size, hidden, is_reversed, degrees)
        per_component = 2 if components == 1 else 3
        n_outputs = components * per_component  # of each element
        last = np.tile(last, (1, n_outputs))
        dtype = kwargs.get("dtype")
        for i, mask in enumerate([*inner, last]):
            name = "in" if not i else "out" if i == len(inner) else f"h{i}"
            self._layer(name, ConditionalDense(mask.shape[1], mask, 0 if i else n_conditions,
                                               dtype=dtype))  # fmt: skip

    def gaussians(self, x: tf.Tensor, condition: tf.Tensor | None = None) -> Gaussians:
        """Of windows, (n, size), and their conditions, (n,) int32 or None."""
        *inner, last = self.parts.values()
        y = x
        for layer in inner:
            y = tf.nn.relu(layer(y, condition))
        told = tf.reshape(last(y), (-1, self.components, last.units // self.size // self.components,
                                    self.size))  # fmt: skip
        mean, log_scale, *weight = tf.unstack(told, axis=2)
        u = (x[:, None, :] - mean) * tf.exp(-log_scale)
        log_weight = tf.nn.log_softmax(weight[0], axis=1) if weight else None
        return Gaussians(u, mean, log_scale, log_weight)

    def call(
        self, x: tf.Tensor, condition: tf.Tensor | None = None, training: bool = False
    ) -> tf.Tensor:
        """See `Density.call`."""
        told = self.gaussians(x, condition)
        each = -0.5 * tf.square(told.u) - LOG_OF_ROOT - told.log_scale
        if told.log_weight is None:
            return tf.reduce_sum(each, axis=(1, 2))
        return tf.reduce_sum(tf.reduce_logsumexp(told.log_weight + each, axis=1), axis=1)


class Maf(Density):
    """A masked autoregressive flow: MADEs in turn, each with a batch normalisation.

    Every second one has the reversed order. Behind them the normal density, or with several
    components the mixture of one more MADE. Papamakarios and others 2017, arXiv:1705.07057.

    Parameters
    ----------
    hidden : units of the layers of each MADE
    blocks : how many there are
    components : 1, or of the mixture behind them
    degrees : see `masks.hidden_degrees`
    """

    def __init__(
        self,
        size: int,
        n_conditions: int,
        hidden: Sequence[int],
        blocks: int,
        components: int = 1,
        degrees: masks.Degrees = "cyclic",
        **kwargs: Any,
    ) -> None:
        super().__init__(size, n_conditions, **kwargs)

        def made(prefix: str, number: int, parts: int) -> Made:
            one = Made(size, n_conditions, hidden, parts, number % 2 == 1, degrees, **kwargs)
            for name, layer in one.parts.items():
                self._layer(prefix + name, layer)
            return one

        self.flow = []
        for i in range(blocks):
            one = made(f"b{i + 1}/", i, 1)
            norm = self._layer(f"b{i + 1}/bn", FlowNormalization(dtype=kwargs.get("dtype")))
            self.flow.append((one, norm))
        self.mixture = made("mix/", blocks, components) if components > 1 else None

    def steps(
        self, x: tf.Tensor, condition: tf.Tensor | None, training: bool
    ) -> Iterator[tuple[tf.Tensor, tf.Tensor]]:
        """After each block its outputs, (n, size), and the log of its change of volume, (n,)."""
        for made, norm in self.flow:
            told = made.gaussians(x, condition)
            x, of_norm = norm(told.u[:, 0], training=training)
            yield x, of_norm - tf.reduce_sum(told.log_scale, axis=(1, 2))

    def call(
        self, x: tf.Tensor, condition: tf.Tensor | None = None, training: bool = False
    ) -> tf.Tensor:
        """See `Density.call`."""
        volume = 0.0
        for x, change in self.steps(x, condition, training):  # noqa: B007, B020
            volume = volume + change
        if self.mixture is not None:
            return self.mixture(x, condition) + volume
        return tf.reduce_sum(-0.5 * tf.square(x) - LOG_OF_ROOT, axis=1) + volume


class ConditionalAutoEncoder(Density):
    """A dense auto-encoder in which every layer knows the condition; batch norm and ReLU but last.

    Its log-likelihood is minus the sum of squared errors, as of Gaussians of one width.

    Parameters
    ----------
    encoder, bottleneck, decoder : units of the hidden layers
    """

    def __init__(
        self,
        size: int,
        n_conditions: int,
        encoder: Sequence[int],
        bottleneck: int,
        decoder: Sequence[int],
        **kwargs: Any,
    ) -> None:
        super().__init__(size, n_conditions, **kwargs)
        names = [f"enc{i}" for i in range(1, len(encoder) + 2)]
        names += [f"dec{i}" for i in range(1, len(decoder) + 1)]
        own = {"n_conditions": n_conditions, "dtype": kwargs.get("dtype")}
        for name, units in zip(names, [*encoder, bottleneck, *decoder], strict=True):
            self._layer(name, ConditionalDense(units, **own))
            self._layer(f"{name}/bn", BatchNormalization(dtype=kwargs.get("dtype")))
        self._layer("out", ConditionalDense(size, **own))

    def reconstruct(
        self, x: tf.Tensor, condition: tf.Tensor | None = None, training: bool = False
    ) -> tf.Tensor:
        """(n, size) -> the same shape."""
        *hidden, last = self.parts.values()
        for layer, norm in zip(hidden[::2], hidden[1::2], strict=True):
            x = tf.nn.relu(norm(layer(x, condition), training=training))
        return last(x, condition)

    def call(
        self, x: tf.Tensor, condition: tf.Tensor | None = None, training: bool = False
    ) -> tf.Tensor:
        """See `Density.call`."""
        return -tf.reduce_sum(tf.square(x - self.reconstruct(x, condition, training)), axis=1)
