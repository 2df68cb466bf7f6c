"""Blocks of a transformer: attention, with or without a bias by distance, and two dense layers."""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from asd.networks.architecture import GATE
from asd.networks.transformer import ACTIVATIONS, Fixed, LoraDense

PARTS = ("q", "k", "v", "out", "fc1", "fc2")  # the dense layers of a block
ORDERS = ("post", "pre", "twice")


def buckets_of(distances: np.ndarray, count: int, most: int) -> np.ndarray:
    """The buckets of distances between tokens, (n,) int64 of any sign -> from 0 to count - 1.

    Half of them are of positive distances. Of a direction the first half are of one distance each,
    the others grow by the logarithm up to `most`, from where on all are in the last. Raffel and
    others 2020, arXiv:1910.10683.
    """
    half = count // 2
    exact = half // 2
    size = np.abs(distances)
    # In float32, as the program that trained has it: rounding decides where a bucket ends.
    share = np.log(np.maximum(size, 1).astype(np.float32) / np.float32(exact))
    share = share / np.float32(math.log(most / exact)) * np.float32(half - exact)
    far = np.minimum(exact + share.astype(np.int64), half - 1)
    return np.where(size < exact, size, far) + half * (distances > 0)


@keras.saving.register_keras_serializable("asd")
class DistanceBias(Fixed):
    """What attention from one token to another gains by their distance.

    (n, n_tokens, width) -> (1, heads, n_tokens, n_tokens); the second axis of tokens is that which
    is attended to.
    """

    def __init__(self, heads: int, buckets: int, max_distance: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.own = {"heads": heads, "buckets": buckets, "max_distance": max_distance}
        # From -max_distance to max_distance; what is farther is in the same buckets.
        self.of_distances = buckets_of(np.arange(-max_distance, max_distance + 1), buckets,
                                       max_distance)  # fmt: skip

    def build(self, shape: tuple[int | None, ...]) -> None:
        """Make the table, (buckets, heads)."""
        self.table = self.fixed("table", (self.own["buckets"], self.own["heads"]))
        self.built = True

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """See the class."""
        n, most = tf.shape(x)[1], self.own["max_distance"]
        places = tf.range(n)
        distances = tf.clip_by_value(places[None, :] - places[:, None], -most, most)
        by_distance = tf.gather(tf.convert_to_tensor(self.table), self.of_distances)
        bias = tf.gather(tf.transpose(by_distance), distances + most, axis=1)
        return bias[None]

    def compute_output_shape(self, shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """The shape of `call`."""
        return 1, self.own["heads"], shape[1], shape[1]

    def get_config(self) -> dict[str, Any]:
        """What makes the layer again."""
        return super().get_config() | self.own


@keras.saving.register_keras_serializable("asd")
class Block(Fixed):
    """Attention, then two dense layers; each adds to the tokens, with a layer normalisation.

    Where order is "post", x <- norm1(alpha x + attention(x)), x <- norm2(alpha x + dense(x)); where
    it is "pre", x <- x + attention(norm1(x)), x <- x + dense(norm2(x)). Where it is "twice", the
    last is x <- 2 dense(norm2(x)), as EAT's program computes it with layer_norm_first.

    With a bias by distance, attention is softmax(q k^T / sqrt(d) + gate * bias) v. The gate of a
    query is 1, or where `gated` a (b scale - 1) + 2, of which a and b are sigmoids of a dense
    layer's first and last four outputs' sums for the query, and scale is the head's. Chi and others
    2022, arXiv:2106.16138.

    Parameters
    ----------
    hidden, heads, activation, epsilon, order, alpha, gated : see above and `Beats`
    lora : `rank`, `alpha` and `layers`, of `PARTS`; None: nothing is trained
    """

    def __init__(
        self,
        hidden: int,
        heads: int,
        activation: str = "gelu",
        epsilon: float = 1e-5,
        order: str = "post",
        alpha: float = 1.0,
        gated: bool = False,
        lora: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.own = {"hidden": hidden, "heads": heads, "activation": activation, "epsilon": epsilon,
                    "order": order, "alpha": alpha, "gated": gated, "lora": lora}  # fmt: skip
        self.heads, self.order, self.alpha, self.gated = heads, order, alpha, gated
        self.activation = ACTIVATIONS[activation]
        for name in PARTS:
            setattr(self, name, self._dense(name))
        norm = keras.layers.LayerNormalization
        how = {"epsilon": epsilon, "trainable": False, "dtype": self.dtype_policy}
        self.norm1, self.norm2 = norm(name="norm1", **how), norm(name="norm2", **how)

    def _dense(self, name: str) -> LoraDense:
        """A part; its width follows in `build`."""
        lora = self.own["lora"]
        how = (
            {"rank": lora["rank"], "alpha": lora["alpha"]}
            if lora and name in lora["layers"]
            else {}
        )
        return LoraDense(0, name=name, dtype=self.dtype_policy, **how)

    def build(self, x_shape: tuple[int | None, ...], bias_shape: Any = None) -> None:
        """Make all parts for tokens of a width."""
        width, hidden = x_shape[-1], self.own["hidden"]
        for name in PARTS:
            part = getattr(self, name)
            part.units = hidden if name == "fc1" else width
            part.build((None, None, hidden if name == "fc2" else width))
        for norm in (self.norm1, self.norm2):
            norm.build((None, None, width))
        if self.gated:
            self.gate = LoraDense(GATE, name="gate", dtype=self.dtype_policy)
            self.gate.build((None, None, None, width // self.heads))
            self.gate_scale = self.fixed("gate_scale", (self.heads,))
        self.built = True

    def call(self, x: tf.Tensor, bias: tf.Tensor | None = None) -> tf.Tensor:
        """(n, n_tokens, width), and the bias, (1, heads, n_tokens, n_tokens) -> as the first."""
        if self.order == "post":
            x = self.norm1(self.alpha * x + self._attention(x, bias))
            return self.norm2(self.alpha * x + self._two(x))
        x += self._attention(self.norm1(x), bias)
        more = self._two(self.norm2(x))
        return more + (x if self.order == "pre" else more)

    def _two(self, x: tf.Tensor) -> tf.Tensor:
        return self.fc2(self.activation(self.fc1(x)))

    def _attention(self, x: tf.Tensor, bias: tf.Tensor | None) -> tf.Tensor:
        n, count, width = tf.shape(x)[0], tf.shape(x)[1], x.shape[2]
        size = width // self.heads

        def of_heads(part: LoraDense) -> tf.Tensor:  # (n, heads, n_tokens, size)
            return tf.transpose(tf.reshape(part(x), (n, count, self.heads, size)), (0, 2, 1, 3))

        q, k, v = of_heads(self.q), of_heads(self.k), of_heads(self.v)
        scores = tf.matmul(q / math.sqrt(size), k, transpose_b=True)
        if bias is not None:
            scores += self._gates(q) * bias if self.gated else bias
        values = tf.matmul(tf.nn.softmax(scores), v)
        return self.out(tf.reshape(tf.transpose(values, (0, 2, 1, 3)), (n, count, width)))

    def _gates(self, q: tf.Tensor) -> tf.Tensor:
        """(n, heads, n_tokens, size) -> (n, heads, n_tokens, 1)."""
        sums = self.gate(q)
        half = GATE // 2
        a, b = (tf.sigmoid(tf.reduce_sum(one, -1, keepdims=True))
                for one in (sums[..., :half], sums[..., half:]))  # fmt: skip
        scale = tf.reshape(tf.convert_to_tensor(self.gate_scale), (1, -1, 1, 1))
        return a * (b * scale - 1) + 2

    def compute_output_spec(self, x: keras.KerasTensor, bias: Any = None) -> keras.KerasTensor:
        """The shape of `call`."""
        return self.same_shape(x)

    def get_config(self) -> dict[str, Any]:
        """What makes the layer again."""
        return super().get_config() | self.own
