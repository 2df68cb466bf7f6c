"""The scale that AdaCos and its kin multiply cosines by, as training goes.

With the published first scale, sqrt(2) ln(n_centres - 1), the softmax of a clip near its centre is
neither flat nor a step; the dynamic one follows the angles of each batch. Zhang et al. 2019,
arXiv:1905.00292. All is float64: (n, n_classes) cosines cost little beside the network.
"""

from __future__ import annotations

import math

import tensorflow as tf

from asd.losses.cosines import angles

WIDEST = math.pi / 4  # typical angle that a scale is made for
LEAST_COSINE = 1e-7  # added to a divisor, as published


def first(n_centres: int) -> float:
    """The scale before training.

    Raises
    ------
    ValueError : fewer than 3 centres: the scale would be 0, and nothing would be learnt.
    """
    if n_centres < 3:
        raise ValueError(
            f"the scale is sqrt(2) ln(centres - 1) and needs 3, not {n_centres}; "
            "take scadacos with more sub_clusters, or arcface"
        )
    return math.sqrt(2) * math.log(n_centres - 1)


def lower_median(values: tf.Tensor, which: tf.Tensor) -> tf.Tensor:
    """Of those values that are meant, the middle one, or the lower of two; of none, infinity."""
    kept = tf.sort(tf.reshape(tf.where(which, values, math.inf), (-1,)))
    count = tf.reduce_sum(tf.cast(which, tf.int32))
    return kept[tf.maximum(count - 1, 0) // 2]


def usable(new: tf.Tensor, before: tf.Tensor) -> tf.Tensor:
    """The new scale, or that before where a batch does not give one above 0."""
    return tf.where(tf.math.is_finite(new) & (new > 0), new, before)


def of_adacos(
    cosines: tf.Tensor, labels: tf.Tensor, before: tf.Tensor, faithful: bool
) -> tf.Tensor:
    """ln B / cos(min(pi / 4, median angle to the own class)) of a batch.

    B is the mean over clips of the sum of exp(scale * cosine) over classes that they are not of.
    Clips of several classes count for B only. In a batch without others the scale stays.

    Parameters
    ----------
    cosines, labels : (n, n_classes)
    before : the scale so far, () float64
    faithful : a batch of mixed clips gives NaN
    """
    cosines, labels = tf.cast(cosines, tf.float64), tf.cast(labels, tf.float64)
    wrong = tf.where(labels < 1, tf.exp(before * cosines), 0)
    mean = tf.reduce_mean(tf.reduce_sum(wrong, -1))
    own = tf.equal(labels, 1)
    angle = tf.minimum(lower_median(angles(cosines), own), tf.constant(WIDEST, tf.float64))
    new = tf.math.log(mean) / tf.cos(angle)
    new = tf.where(tf.reduce_any(own), new, math.nan)
    return new if faithful else usable(new, before)


def of_sub_clusters(
    cosines: tf.Tensor, labels: tf.Tensor, before: tf.Tensor, of_each: int, faithful: bool
) -> tf.Tensor:
    """The same of SCAdaCos: B over all centres, and the angles of a clip's classes summed.

    Parameters
    ----------
    cosines : (n, n_classes * of_each), centres of a class side by side
    labels : (n, n_classes)
    faithful : angles are those to the centres j with j % n_classes the own class
    """
    cosines, labels = tf.cast(cosines, tf.float64), tf.cast(labels, tf.float64)
    of_centres = tf.tile(labels, (1, of_each)) if faithful else tf.repeat(labels, of_each, -1)
    mean = tf.reduce_mean(tf.reduce_sum(tf.exp(before * cosines), -1))
    return _by_sums(mean, tf.reduce_sum(of_centres * angles(cosines), -1), before, faithful)


def of_adaproj(
    cosines: tf.Tensor, labels: tf.Tensor, before: tf.Tensor, faithful: bool
) -> tf.Tensor:
    """The same of AdaProj: angles of mixed clips are those to their classes, weighted.

    Parameters
    ----------
    cosines, labels : (n, n_classes)
    faithful : a clip's own class adds 1 to B
    """
    cosines, labels = tf.cast(cosines, tf.float64), tf.cast(labels, tf.float64)
    wrong = tf.where(labels < 1, tf.exp(before * cosines), 1 if faithful else 0)
    mean = tf.reduce_mean(tf.reduce_sum(wrong, -1))
    return _by_sums(mean, tf.reduce_sum(labels * angles(cosines), -1), before, faithful)


def _by_sums(mean: tf.Tensor, sums: tf.Tensor, before: tf.Tensor, faithful: bool) -> tf.Tensor:
    """The scale of B and the angle of each clip, (n,)."""
    middle = lower_median(sums, tf.ones_like(sums, tf.bool))
    angle = tf.minimum(middle, tf.constant(WIDEST, tf.float64))
    new = tf.math.log(mean) / (tf.cos(angle) + LEAST_COSINE)
    return new if faithful else usable(new, before)
