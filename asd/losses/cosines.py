"""From embeddings to the logarithms of class probabilities, all by angles."""

from __future__ import annotations

import tensorflow as tf

SHORTEST = 1e-12  # length that a vector is divided by at least
NEAREST_TO_ONE = 1 - 1e-7  # cosine whose angle has a gradient


def unit(vectors: tf.Tensor, axis: int) -> tf.Tensor:
    """The vectors along an axis with length 1, of the same shape."""
    return tf.math.l2_normalize(vectors, axis, epsilon=SHORTEST**2)


def to_centres(embeddings: tf.Tensor, centres: tf.Tensor) -> tf.Tensor:
    """Cosines of embeddings, (n, width), to centres, (width, n_centres): (n, n_centres)."""
    return unit(embeddings, -1) @ unit(centres, 0)


def to_subspaces(embeddings: tf.Tensor, bases: tf.Tensor) -> tf.Tensor:
    """Cosines of embeddings to their projections into the subspace of each class.

    The projection of x is sum_k (x . w_k) w_k, with vectors w_k of length 1 that need not be
    orthogonal. Of a = (x . w_k) and the products G of the w with each other, the cosine is
    |a|^2 / sqrt(a G a): the projections themselves, n x n_classes x width, are not made.

    Parameters
    ----------
    embeddings : (n, width)
    bases : (n_classes, dimensions, width)

    Returns
    -------
    (n, n_classes), not negative
    """
    rows = unit(bases, -1)
    products = tf.matmul(rows, rows, transpose_b=True)  # (n_classes, dimensions, dimensions)
    parts = tf.einsum("nd,ckd->cnk", unit(embeddings, -1), rows)
    squares = tf.reduce_sum((parts @ products) * parts, -1)  # lengths of the projections, squared
    lengths = tf.sqrt(tf.maximum(squares, SHORTEST**2))
    return tf.transpose(tf.reduce_sum(tf.square(parts), -1) / lengths)


def angles(cosines: tf.Tensor) -> tf.Tensor:
    """Radians, of the cosines' shape; never quite 0 or pi, where they have no gradient."""
    return tf.acos(tf.clip_by_value(cosines, -NEAREST_TO_ONE, NEAREST_TO_ONE))


def with_margin(cosines: tf.Tensor, margin: tf.Tensor | float) -> tf.Tensor:
    """Cosines of angles that are wider by the margin, radians."""
    return tf.cos(angles(cosines) + margin)


def log_probabilities(logits: tf.Tensor, of_each: int = 1) -> tf.Tensor:
    """Logarithm of the softmax over all columns, summed over those of each class.

    Parameters
    ----------
    logits : (n, n_classes * of_each), columns of a class side by side
    of_each : columns of a class

    Returns
    -------
    (n, n_classes)
    """
    if of_each == 1:
        return tf.nn.log_softmax(logits)
    columns = tf.shape(logits)[-1]
    apart = tf.reshape(logits, (-1, columns // of_each, of_each))
    return tf.reduce_logsumexp(apart, -1) - tf.reduce_logsumexp(logits, -1, keepdims=True)


def cross_entropy(labels: tf.Tensor, log_probability: tf.Tensor) -> tf.Tensor:
    """(n,), nats; labels are (n, n_classes), one-hot or mixed."""
    return -tf.reduce_sum(labels * log_probability, -1)
