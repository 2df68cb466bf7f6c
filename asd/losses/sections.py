"""Losses of a classifier that tells sections apart: of its own clips, of outliers, of domains."""

from __future__ import annotations

import tensorflow as tf

SHORTEST = 1e-6  # distance whose root has a gradient


def cross_entropy(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """(n,), nats; labels are (n, n_classes), one-hot or mixed, and a row's sum is 1."""
    return -tf.reduce_sum(labels * tf.nn.log_softmax(logits), -1)


def mixed_labels(
    sections: tf.Tensor, others: tf.Tensor, share: tf.Tensor, n: int, faithful: bool = False
) -> tf.Tensor:
    """The labels of clips that are mixed with others, (n_clips, n).

    Parameters
    ----------
    sections, others : numbers of the sections of a clip and of the one that is mixed in, (n_clips,)
    share : of the clip itself, (n_clips,)
    n : how many sections there are
    faithful : where both are of one section its weight is 1 - share, not 1, as published
    """
    own, other = (tf.one_hot(one, n, dtype=share.dtype) for one in (sections, others))
    kept = share
    if faithful:
        kept = tf.where(tf.equal(sections, others), tf.zeros_like(share), share)
    return kept[:, None] * own + (1 - share)[:, None] * other


def of_outliers(logits: tf.Tensor) -> tf.Tensor:
    """The cross entropy of outliers, which belong to every section alike: (n,), nats."""
    return -tf.reduce_mean(tf.nn.log_softmax(logits), -1)


def own_or_not(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """The binary cross entropy of a section's own clips, by its own logit: (n,), nats.

    Primus and others 2020, "Anomalous sound detection as a simple binary classification problem
    with careful selection of proxy outlier examples", DCASE workshop, arXiv:2011.02949.
    """
    return tf.reduce_sum(labels * tf.nn.softplus(-logits), -1)


def own_or_not_of_outliers(sections: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """The binary cross entropy of outliers: (n,), nats, the mean over sections not their own.

    Parameters
    ----------
    sections : numbers of their sections, (n,); -1 of other machine types
    """
    others = 1 - tf.one_hot(sections, tf.shape(logits)[1], dtype=logits.dtype)
    losses = tf.reduce_sum(others * tf.nn.softplus(logits), -1)
    return losses / tf.maximum(tf.reduce_sum(others, -1), 1)


@tf.custom_gradient
def squared_distances(source: tf.Tensor, target: tf.Tensor) -> tuple:
    """Mean squared differences of embeddings, one clip at a time.

    The differences of all pairs of maps at once, or those that a gradient would keep, fill memory.

    Parameters
    ----------
    source, target : (n_source, size), (n_target, size)

    Returns
    -------
    (n_source, n_target)
    """
    squares = tf.map_fn(lambda one: tf.reduce_mean(tf.square(one - target), -1), source)
    size = tf.cast(tf.shape(source)[1], source.dtype)

    def gradient(of_squares: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        by_source = tf.reduce_sum(of_squares, 1)[:, None] * source - of_squares @ target
        by_target = tf.reduce_sum(of_squares, 0)[:, None] * target
        by_target -= tf.matmul(of_squares, source, transpose_a=True)
        return 2 / size * by_source, 2 / size * by_target

    return squares, gradient


def alignment(
    source: tf.Tensor,
    target: tf.Tensor,
    source_sections: tf.Tensor,
    target_sections: tf.Tensor,
    margin: float,
) -> tuple[tf.Tensor, tf.Tensor]:
    """CCSA: clips of a section lie together in both domains, those of others apart.

    Motiian and others 2017, "Unified deep supervised domain adaptation and generalization", ICCV,
    arXiv:1709.10190. With d the root of the mean squared difference of a source and a target clip:
    d^2 of pairs of a section, max(0, margin - d)^2 of the others.

    Parameters
    ----------
    source, target : embeddings, (n_source, ...) and (n_target, ...)
    source_sections, target_sections : numbers, (n_source,) and (n_target,)

    Returns
    -------
    semantic, contrastive : (n_source,) each, sums over target clips divided by n_target
    """
    flat = (tf.reshape(one, (tf.shape(one)[0], -1)) for one in (source, target))
    squares = squared_distances(*flat)
    same = tf.equal(source_sections[:, None], target_sections[None])
    # The root has no gradient at 0, where a clip's embedding is another's.
    distances = tf.sqrt(tf.maximum(squares, SHORTEST**2))
    apart = tf.square(tf.maximum(margin - distances, 0))
    zeros, n = tf.zeros_like(squares), tf.cast(tf.shape(target)[0], squares.dtype)
    semantic = tf.reduce_sum(tf.where(same, squares, zeros), 1) / n
    return semantic, tf.reduce_sum(tf.where(same, zeros, apart), 1) / n
