"""Heads: layers that hold a centre or more for each class, and give the loss of embeddings.

Pull embeddings of a class together and those of classes apart, and a clip unlike all has no near
neighbour among the training clips.
"""

from __future__ import annotations

import math
from typing import Any

import keras
import msgspec
import tensorflow as tf

from asd.losses import cosines, scales, settings

REDUCTIONS = {"mean": tf.reduce_mean, "sum": tf.reduce_sum, "none": tf.identity}
registered = keras.saving.register_keras_serializable(package="asd")


class Head(keras.layers.Layer):
    """What heads share: centres drawn at random, a scale, and the loss.

    Parameters
    ----------
    classes : how many
    values : the section of the kind
    reduction : of the losses of a batch: mean, sum or none
    """

    Settings: type[msgspec.Struct]
    of_each = 1  # columns of a class

    def __init__(self, classes: int, values: Any, reduction: str = "mean", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if isinstance(values, dict):
            values = msgspec.convert(values, self.Settings)
        if reduction not in REDUCTIONS:
            raise ValueError(f"no reduction {reduction}; known: {', '.join(REDUCTIONS)}")
        self.classes, self.values, self.reduction = classes, values, reduction
        self.first_scale = self._first_scale()

    def _first_scale(self) -> float:
        return scales.first(self.classes * self.of_each)

    def _centres(self, width: int) -> tuple[tuple[int, ...], int]:
        """The shape of the centres, and a and b together of their range, sqrt(6 / (a + b))."""
        columns = self.classes * self.of_each
        return (width, columns), width + columns

    def build(self, embeddings_shape: tuple[int | None, ...]) -> None:
        shape, fans = self._centres(embeddings_shape[-1])
        limit = math.sqrt(6 / fans)  # Glorot and Bengio 2010
        self.centres = self.add_weight(
            name="centres",
            shape=shape,
            initializer=keras.initializers.RandomUniform(-limit, limit),
            trainable=self.values.centres == "trained",
        )
        self.scale = self.add_weight(
            name="scale",
            shape=(),
            dtype="float64",
            initializer=lambda shape, dtype: tf.constant(self.first_scale, dtype, shape),
            trainable=False,
            autocast=False,
        )

    def call(
        self,
        embeddings: tf.Tensor,
        labels: tf.Tensor,
        key: tf.Tensor | None = None,
        training: bool | None = None,
    ) -> tf.Tensor:
        """The loss, nats.

        Parameters
        ----------
        embeddings : (n, width)
        labels : (n, n_classes), one-hot or mixed; rows have the sum 1
        key : of the step, for heads that draw; see `asd.augment.keys.of_step`
        training : a dynamic scale moves

        Returns
        -------
        (), or (n,) without a reduction
        """
        near = self._cosines(embeddings)
        labels = tf.cast(labels, near.dtype)
        if training and getattr(self.values, "scale", None) == "dynamic":
            new = self._new_scale(tf.stop_gradient(near), labels, tf.convert_to_tensor(self.scale))
            self.scale.assign(new)
        log_probability = self._log_probabilities(self._scaled(near, labels))
        return REDUCTIONS[self.reduction](cosines.cross_entropy(labels, log_probability))

    def logits(self, embeddings: tf.Tensor) -> tf.Tensor:
        """What tells the classes apart without labels, (n, n_classes)."""
        near = self._cosines(tf.cast(embeddings, self.compute_dtype))
        return tf.cast(self.scale, near.dtype) * near

    def _cosines(self, embeddings: tf.Tensor) -> tf.Tensor:
        return cosines.to_centres(embeddings, tf.convert_to_tensor(self.centres))

    def _scaled(self, near: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        return tf.cast(self.scale, near.dtype) * near

    def _log_probabilities(self, logits: tf.Tensor) -> tf.Tensor:
        return cosines.log_probabilities(logits, self.of_each)

    def _new_scale(self, near: tf.Tensor, labels: tf.Tensor, before: tf.Tensor) -> tf.Tensor:
        raise NotImplementedError

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "classes": self.classes,
            "values": msgspec.to_builtins(self.values),
            "reduction": self.reduction,
        }


@registered
class AdaCos(Head):
    """Softmax of scaled cosines to one centre a class. Zhang et al. 2019, arXiv:1905.00292.

    Faithful: a batch of mixed clips only makes the dynamic scale NaN.
    """

    Settings = settings.AdaCos

    def _new_scale(self, near: tf.Tensor, labels: tf.Tensor, before: tf.Tensor) -> tf.Tensor:
        return scales.of_adacos(near, labels, before, self.values.faithful)


@registered
class ScAdaCos(Head):
    """AdaCos with several centres a class. Wilkinghoff 2021, doi:10.1109/IJCNN52387.2021.9534290.

    Faithful: the dynamic scale is taken from angles to centres of other classes.
    """

    Settings = settings.ScAdaCos

    @property
    def of_each(self) -> int:
        return self.values.sub_clusters

    def logits(self, embeddings: tf.Tensor) -> tf.Tensor:
        """The logarithms of the classes' probabilities, (n, n_classes)."""
        return self._log_probabilities(super().logits(embeddings))

    def _new_scale(self, near: tf.Tensor, labels: tf.Tensor, before: tf.Tensor) -> tf.Tensor:
        return scales.of_sub_clusters(near, labels, before, self.of_each, self.values.faithful)


@registered
class ArcFace(Head):
    """Softmax of scaled cosines, the angle to the own class widened. Deng et al. 2019,
    arXiv:1801.07698. A mixed clip's margin is shared out as its labels are.

    Faithful: the margin widens the angles to all classes, in `logits` too.
    """

    Settings = settings.ArcFace

    def _first_scale(self) -> float:
        return self.values.scale

    def logits(self, embeddings: tf.Tensor) -> tf.Tensor:
        """Scaled cosines, (n, n_classes): without labels there is no own class to widen."""
        if not self.values.faithful:
            return super().logits(embeddings)
        near = self._cosines(tf.cast(embeddings, self.compute_dtype))
        return self._scaled(near, tf.ones_like(near))

    def _scaled(self, near: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        margin = self.values.margin * (1 if self.values.faithful else labels)
        return super()._scaled(cosines.with_margin(near, margin), labels)


@registered
class AdaProj(Head):
    """AdaCos with a subspace for each class. Wilkinghoff 2024, arXiv:2403.14179.

    Faithful: in the dynamic scale a clip's own class counts as another one at a right angle.
    """

    Settings = settings.AdaProj

    def _centres(self, width: int) -> tuple[tuple[int, ...], int]:
        dimensions = self.values.dimensions
        fans = dimensions * width + self.classes * width
        return (self.classes, dimensions, width), fans

    def _cosines(self, embeddings: tf.Tensor) -> tf.Tensor:
        return cosines.to_subspaces(embeddings, tf.convert_to_tensor(self.centres))

    def logits(self, embeddings: tf.Tensor) -> tf.Tensor:
        """The logarithms of the classes' probabilities, (n, n_classes)."""
        return self._log_probabilities(super().logits(embeddings))

    def _new_scale(self, near: tf.Tensor, labels: tf.Tensor, before: tf.Tensor) -> tf.Tensor:
        return scales.of_adaproj(near, labels, before, self.values.faithful)
