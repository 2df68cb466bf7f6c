"""Losses of an embedding that consists of parts, one a branch of the network."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from asd.augment import exchange
from asd.losses.heads import registered

PUBLISHED_TIMES = 2  # the published programs add the total to itself


class Parts(keras.layers.Layer):
    """What the losses of parts share: a main head, the weight of the others, and how many parts."""

    def __init__(
        self,
        main: keras.layers.Layer,
        n_parts: int,
        weight: float,
        faithful: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.main, self.n_parts, self.weight, self.faithful = main, n_parts, weight, faithful

    def _total(self, main: tf.Tensor, others: tf.Tensor) -> tf.Tensor:
        total = main + self.weight * others
        return PUBLISHED_TIMES * total if self.faithful else total

    def logits(self, embeddings: tf.Tensor) -> tf.Tensor:
        """Those of the main head."""
        return self.main.logits(embeddings)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "main": keras.saving.serialize_keras_object(self.main),
            "n_parts": self.n_parts,
            "weight": self.weight,
            "faithful": self.faithful,
        }

    @classmethod
    def _heads_of(cls, config: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
        """The configuration with layers in the place of what stands for them."""
        found = {name: keras.saving.deserialize_keras_object(config[name]) for name in names}
        return config | found


def _build(head: keras.layers.Layer, shape: tuple[int | None, ...]) -> None:
    if not head.built:  # it is where a model is loaded
        head.build(shape)


@registered
class FeatEx(Parts):
    """The main head's loss, and that of a head which also tells exchanged parts.

    In training some embeddings have their parts, but for the first, replaced by those of other
    clips; their classes are others of their own. Wilkinghoff 2023, arXiv:2312.09578.

    Faithful: the loss counts twice.

    Parameters
    ----------
    main : head of the classes
    exchanged : head of (1 + n_parts) times as many
    n_parts, probability : of the embedding; of an exchange in training
    """

    def __init__(
        self, main: keras.layers.Layer, exchanged: keras.layers.Layer, n_parts: int,
        probability: float, weight: float, faithful: bool = False, **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(main, n_parts, weight, faithful, **kwargs)
        self.exchanged, self.probability = exchanged, probability

    def build(self, embeddings_shape: tuple[int | None, ...]) -> None:
        _build(self.main, embeddings_shape)
        _build(self.exchanged, embeddings_shape)

    def call(
        self,
        embeddings: tf.Tensor,
        labels: tf.Tensor,
        key: tf.Tensor | None = None,
        training: bool | None = None,
    ) -> tf.Tensor:
        """See `heads.Head.call`; training needs a key, which the exchange is drawn from."""
        n = tf.shape(embeddings)[0]
        if training:
            if key is None:
                raise ValueError("FeatEx draws in training and needs a key")
            orders, applied = exchange.drawn(key, n, self.n_parts, self.probability)
        else:
            orders = tf.tile(tf.range(n)[None], (self.n_parts, 1))
            applied = tf.zeros((n,), tf.bool)
        main = self.main(embeddings, labels, training=training)
        others = exchange.exchanged(embeddings, labels, orders, applied)
        return self._total(main, self.exchanged(*others, training=training))

    def get_config(self) -> dict[str, Any]:
        exchanged = keras.saving.serialize_keras_object(self.exchanged)
        own = {"exchanged": exchanged, "probability": self.probability}
        return super().get_config() | own

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> FeatEx:
        return cls(**cls._heads_of(config, ("main", "exchanged")))


@registered
class Subspace(Parts):
    """The main head's loss and that of a head for each part of the embedding, same labels.

    So no branch of the network can leave the work to another. Fujimura et al. 2024,
    arXiv:2409.09332.

    Faithful: the loss counts twice.
    """

    def __init__(
        self, main: keras.layers.Layer, heads: list[keras.layers.Layer], weight: float,
        faithful: bool = False, **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(main, len(heads), weight, faithful, **kwargs)
        self.heads = list(heads)

    def build(self, embeddings_shape: tuple[int | None, ...]) -> None:
        *batch, width = embeddings_shape
        _build(self.main, embeddings_shape)
        for head in self.heads:
            _build(head, (*batch, width // self.n_parts))

    def call(
        self,
        embeddings: tf.Tensor,
        labels: tf.Tensor,
        key: tf.Tensor | None = None,
        training: bool | None = None,
    ) -> tf.Tensor:
        """See `heads.Head.call`."""
        main = self.main(embeddings, labels, training=training)
        parts = tf.split(embeddings, self.n_parts, axis=-1)
        losses = [head(part, labels, training=training)
                  for head, part in zip(self.heads, parts, strict=True)]  # fmt: skip
        return self._total(main, tf.add_n(losses))

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        del config["n_parts"]  # as many as heads
        return config | {"heads": keras.saving.serialize_keras_object(self.heads)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Subspace:
        return cls(**cls._heads_of(config, ("main", "heads")))


def weighted(losses: dict[str, tuple[tf.Tensor, float]]) -> tf.Tensor:
    """The sum of losses with their weights, each by the name of its label and counted once.

    Raises
    ------
    ValueError : there is none.
    """
    if not losses:
        raise ValueError("no loss to be trained on")
    return tf.add_n([weight * loss for loss, weight in losses.values()])
