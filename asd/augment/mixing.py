"""Two clips made one: added (mixup) or one after the other (cutmix), and their labels likewise."""

from __future__ import annotations

import tensorflow as tf

from asd.augment import keys, settings


def mixed(values: tf.Tensor, share: tf.Tensor, order: tf.Tensor, applied: tf.Tensor) -> tf.Tensor:
    """share * value + (1 - share) * value of another, as Zhang et al. 2018, arXiv:1710.09412.

    Of two labels of 1 that is 1, without a rounding error.

    Parameters
    ----------
    values : (n, ...), waves, labels or any other
    share : (n,), of the clip itself
    order : (n,) int, the clip that each is mixed with
    applied : (n,), 1 or True where it is mixed
    """
    others = tf.gather(values, order)
    shares = _along(tf.cast(share, values.dtype), values)
    sums = shares * values + (1 - shares) * others
    return tf.where(_along(tf.cast(applied, tf.bool), values), sums, values)


def cut_in(
    waves: tf.Tensor, starts: tf.Tensor, lengths: tf.Tensor, order: tf.Tensor, applied: tf.Tensor
) -> tf.Tensor:
    """Waves, (n, n_samples), with a stretch of another in the place of their own.

    Parameters
    ----------
    starts, lengths : (n,) int, samples
    order, applied : see `mixed`
    """
    at = tf.range(tf.shape(waves)[1])[None]
    starts, lengths = tf.cast(starts, tf.int32)[:, None], tf.cast(lengths, tf.int32)[:, None]
    inside = (at >= starts) & (at < starts + lengths) & tf.cast(applied, tf.bool)[:, None]
    return tf.where(inside, tf.gather(waves, order), waves)


def cut_of(share: tf.Tensor, place: tf.Tensor, n_samples: tf.Tensor | int) -> tuple[tf.Tensor, ...]:
    """Where the stretch starts and how long it is, (n,) int32 each, samples.

    Parameters
    ----------
    share, place : (n,) in [0, 1): what the clip itself keeps; where the stretch is
    """
    whole = tf.cast(n_samples, tf.float64)
    lengths = tf.floor((1 - tf.cast(share, tf.float64)) * whole)
    starts = tf.floor(tf.cast(place, tf.float64) * tf.maximum(whole - lengths, 1))
    return tf.cast(starts, tf.int32), tf.cast(lengths, tf.int32)


def _along(values: tf.Tensor, of: tf.Tensor) -> tf.Tensor:
    """(n,) as (n, 1, ...), with as many axes as another tensor."""
    return tf.reshape(values, (-1, *[1] * (len(of.shape) - 1)))


def _order(key: tf.Tensor, n: tf.Tensor, kind: str) -> tf.Tensor:
    return tf.reverse(tf.range(n), [0]) if kind == "reversed" else keys.permutation(key, n)


class Mixup:
    """Waves and labels mixed with those of another clip of the batch."""

    def __init__(self, values: settings.Mixup, sample_rate: int = 0) -> None:
        self._values = values

    def __call__(
        self, key: tf.Tensor, waves: tf.Tensor, labels: dict[str, tf.Tensor]
    ) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """Augment a batch.

        Parameters
        ----------
        key : which all draws are made from; see `keys.of_step`
        waves : (n, n_samples)
        labels : by name, (n, n_classes)
        """
        n = tf.shape(waves)[0]
        share = keys.uniform(keys.split(key, 0), (n,))
        applied = keys.coins(keys.split(key, 1), n, self._values.probability)
        how = share, _order(keys.split(key, 2), n, self._values.partners), applied
        return mixed(waves, *how), {name: mixed(one, *how) for name, one in labels.items()}


class Cutmix:
    """A stretch of another clip of the batch, and its share of the labels.

    Yun et al. 2019, arXiv:1905.04899.
    """

    def __init__(self, values: settings.Cutmix, sample_rate: int = 0) -> None:
        self._values = values

    def __call__(
        self, key: tf.Tensor, waves: tf.Tensor, labels: dict[str, tf.Tensor]
    ) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """Augment a batch; see `Mixup`."""
        n, n_samples = tf.unstack(tf.shape(waves))
        share = keys.uniform(keys.split(key, 0), (n,))
        applied = keys.coins(keys.split(key, 1), n, self._values.probability)
        order = _order(keys.split(key, 2), n, self._values.partners)
        cut = cut_of(share, keys.uniform(keys.split(key, 3), (n,)), n_samples)
        of_labels = {name: mixed(one, share, order, applied) for name, one in labels.items()}
        return cut_in(waves, *cut, order, applied), of_labels
