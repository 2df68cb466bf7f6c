"""What densities learn: likely normal windows, less likely outliers."""

from __future__ import annotations

import tensorflow as tf


def negative_log_likelihood(log_likelihoods: tf.Tensor) -> tf.Tensor:
    """The mean of the negated, ().

    Parameters
    ----------
    log_likelihoods : (n,), an element of a window
    """
    return -tf.reduce_mean(log_likelihoods)


def margin_ranking(normal: tf.Tensor, outliers: tf.Tensor, margin: float) -> tf.Tensor:
    """By how much outliers are not less likely than normal windows by a margin, ().

    The mean of max(0, margin - (normal - outlier)) over pairs; of the longer list the last have no
    partner and are left out.

    Parameters
    ----------
    normal, outliers : (n,) and (m,), log-likelihoods an element of a window
    """
    n = tf.minimum(tf.shape(normal)[0], tf.shape(outliers)[0])
    return tf.reduce_mean(tf.nn.relu(margin - (normal[:n] - outliers[:n])))
