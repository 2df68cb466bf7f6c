"""FeatEx: parts of an embedding exchanged with those of other clips of the batch.

Wilkinghoff 2023, arXiv:2312.09578.
"""

from __future__ import annotations

import tensorflow as tf

from asd.augment import keys


def drawn(
    key: tf.Tensor, n: tf.Tensor | int, n_parts: int, probability: float
) -> tuple[tf.Tensor, tf.Tensor]:
    """What `exchanged` needs: an order for each part, the first unchanged; and which clips."""
    others = [keys.permutation(keys.split(key, i), n) for i in range(1, n_parts)]
    orders = tf.stack([tf.range(n), *others])
    return orders, keys.coins(keys.split(key, 0), n, probability)


def exchanged(
    embeddings: tf.Tensor, labels: tf.Tensor, orders: tf.Tensor, applied: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Embeddings whose parts come from several clips, and labels that say so.

    Parameters
    ----------
    embeddings : (n, width)
    labels : (n, n_classes)
    orders : (n_parts, n) int, the clip that each part comes from
    applied : (n,), 1 or True where parts are exchanged

    Returns
    -------
    embeddings : (n, width)
    labels : (n, n_classes * (1 + n_parts)): as it is, the clip's own in the first block; exchanged,
        those of part i, divided by n_parts, in block 1 + i
    """
    n_parts = orders.shape[0]
    parts = tf.split(embeddings, n_parts, axis=-1)
    moved = tf.concat([tf.gather(part, orders[i]) for i, part in enumerate(parts)], -1)
    zeros = tf.zeros_like(labels)
    shares = [tf.gather(labels, orders[i]) / n_parts for i in range(n_parts)]
    plain = tf.concat([labels, *[zeros] * n_parts], -1)
    which = tf.cast(applied, tf.bool)[:, None]
    return tf.where(which, moved, embeddings), tf.where(
        which, tf.concat([zeros, *shares], -1), plain
    )
