"""Training a network to tell the sections of a machine type apart, with outliers and two domains.

A group of clips is what a batch has so many of: source clips, target clips, proxy outliers. All
groups go through the network together, and share the statistics of its batch normalisations.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from asd.augment import emphasis, keys
from asd.augment.mixing import mixed
from asd.discriminative import Resumable
from asd.features import lessons
from asd.features.lessons import Lesson
from asd.losses import sections as losses
from asd.training import Epoch
from common import UserError

NO_SECTION = -1  # of a clip of another machine type, or that was altered


class Aims(NamedTuple):
    """What is learnt.

    Attributes
    ----------
    binary : of each section, whether a clip is of it or not, instead of which section it is
    outliers : the weight of their loss
    mixing : own clips are mixed with others of the batch, audio and labels
    margin, kept : of the alignment of domains, see `losses.alignment`; the share of the other
        losses in the sum. None: target clips are not learnt from
    faithful : labels of mixed clips as published
    bands, db, sample_rate : of own clips that are outliers with a band altered, see
        `emphasis.altered`; no bands: there are none
    """

    binary: bool
    outliers: float
    mixing: bool
    margin: float | None
    kept: float
    faithful: bool
    bands: int = 0
    db: tuple[float, float] = (0.0, 0.0)
    sample_rate: int = 0


class Classifier(Resumable):
    """A network in training.

    Parameters
    ----------
    network : waves to embeddings and logits, see `asd.networks.kinds.classifier`
    lesson : what it learns from
    aims : and what
    optimiser : of Keras
    rate : the learning rate of an epoch, counted from 0
    scaled : clips to a root mean square of 1
    seed : of all that is drawn
    """

    def __init__(
        self,
        network: keras.Model,
        lesson: Lesson,
        aims: Aims,
        optimiser: keras.optimizers.Optimizer,
        rate: Callable[[int], float],
        scaled: bool,
        seed: int,
    ) -> None:
        self._network, self._aims, self._optimiser = network, aims, optimiser
        self._rate, self._scaled, self._seed = rate, scaled, seed
        optimiser.build(network.trainable_variables)
        self._all = network.weights + optimiser.variables
        self._groups, self._whole = self._grouped(lesson)
        self._sections = _numbers(lesson)
        length = network.input_shape[1]
        vector, number = tf.TensorSpec((None,), tf.int32), tf.TensorSpec((), tf.int32)
        waves = tf.TensorSpec((None, length), tf.float32)
        signature = [waves, vector, vector, number, number]
        self._step = tf.function(self._one_step, input_signature=signature)

    def told_of(self, lesson: Lesson) -> int:
        """The snippets that cover its source clips."""
        length = self._network.input_shape[1]
        return sum(-(-lesson.heard.length_of(int(i)) // length) for i in self._groups[0])

    def _grouped(self, lesson: Lesson) -> tuple[list[np.ndarray], list[bool]]:
        """The groups, and which leave out a batch that is not full."""
        source, target = lesson.of_domain(target=False), lesson.of_domain(target=True)
        aligned = self._aims.margin is not None
        groups = [source, np.empty(0, np.int64), lesson.outliers]
        if aligned:  # the few target clips again and again, at least as many as source clips
            groups[1] = np.tile(target, len(source) // len(target) + 1)
        return groups, [not aligned, False, True]

    def _one_step(
        self,
        waves: tf.Tensor,
        sections: tf.Tensor,
        counts: tf.Tensor,
        epoch: tf.Tensor,
        step: tf.Tensor,
    ) -> tf.Tensor:
        key, aims = keys.of_step(self._seed, epoch, step), self._aims
        own = counts[0] + counts[1]
        n_classes = self._network.output_shape[1][-1]
        labels = tf.one_hot(sections[:own], n_classes)
        if aims.bands:
            waves, sections = self._with_altered(key, waves, sections, own)
        if aims.mixing:
            waves, labels = self._mixed(key, waves, sections, own, n_classes)
        with tf.GradientTape() as tape:
            embeddings, logits = self._network(waves, training=True)
            loss = self._loss(labels, sections, logits, own)
            if aims.margin is not None:
                parts = (slice(0, counts[0]), slice(counts[0], own))
                pairs = [x[part] for x in (embeddings, sections) for part in parts]
                domains = tf.add_n([tf.reduce_mean(one) for one in
                                    losses.alignment(*pairs, aims.margin)]) / 2  # fmt: skip
                loss = aims.kept * loss + (1 - aims.kept) * domains
        variables = self._network.trainable_variables
        gradients = tape.gradient(loss, variables)
        self._optimiser.apply_gradients(zip(gradients, variables, strict=True))
        return loss

    def _with_altered(
        self, key: tf.Tensor, waves: tf.Tensor, sections: tf.Tensor, own: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Behind the outliers, the own clips with a band altered, which are of no section."""
        aims, all_of_them = self._aims, tf.ones(own, tf.bool)
        args = aims.bands, aims.db, aims.sample_rate, all_of_them
        more, _ = emphasis.altered(keys.split(key, 2), waves[:own], *args)
        none = tf.fill((own,), NO_SECTION)
        return tf.concat([waves, more], 0), tf.concat([sections, none], 0)

    def _mixed(
        self, key: tf.Tensor, waves: tf.Tensor, sections: tf.Tensor, own: tf.Tensor, n_classes: int
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Waves of which the own clips are mixed, and the labels of these."""
        share = keys.uniform(keys.split(key, 0), (own,))
        order = keys.permutation(keys.split(key, 1), own)
        new = mixed(waves[:own], share, order, tf.ones(own, tf.bool))
        both = sections[:own], tf.gather(sections[:own], order)
        labels = losses.mixed_labels(*both, share, n_classes, self._aims.faithful)
        return tf.concat([new, waves[own:]], 0), labels

    def _loss(
        self, labels: tf.Tensor, sections: tf.Tensor, logits: tf.Tensor, own: tf.Tensor
    ) -> tf.Tensor:
        """Of own clips, the first, and of outliers, where there are any."""
        of_own = losses.own_or_not if self._aims.binary else losses.cross_entropy
        loss = tf.reduce_mean(of_own(labels, logits[:own]))
        if not (len(self._groups[2]) or self._aims.bands):
            return loss
        if self._aims.binary:
            others = losses.own_or_not_of_outliers(sections[own:], logits[own:])
        else:
            others = losses.of_outliers(logits[own:])
        return loss + self._aims.outliers * tf.reduce_mean(others)

    def epoch(self, lesson: Lesson, number: int, size: int, told: Callable) -> Epoch:
        """Go through the snippets of all clips once, or until outliers are at an end.

        Parameters
        ----------
        number : of the epoch, from 1
        size : snippets of a group in a batch
        told : is called with the loss of each batch and how many own clips it has
        """
        self._optimiser.learning_rate.assign(self._rate(number - 1))
        there = [i for i, group in enumerate(self._groups) if len(group)]
        batches = lessons.batches(
            lesson.heard, [self._groups[i] for i in there], [self._whole[i] for i in there], size,
            self._network.input_shape[1], self._scaled, [self._seed, number],
        )  # fmt: skip
        values, counts = [], []
        for step, batch in enumerate(batches):
            of_groups = np.zeros(len(self._groups), np.int32)
            of_groups[there] = [len(some) for some in batch.clips]
            sections = self._sections[np.concatenate(batch.clips)]
            place = tf.constant(number), tf.constant(step)
            loss = self._step(tf.constant(batch.waves), sections, of_groups, *place)
            values.append(float(loss))
            counts.append(int(of_groups[0]))
            told(values[-1], counts[-1])
            if not np.isfinite(values[-1]):
                raise UserError(f"the training loss of epoch {number} is {values[-1]}; take a "
                                "smaller learning rate, and check the recordings")  # fmt: skip
        return Epoch(number, float(np.average(values, weights=counts)), None)


def _numbers(lesson: Lesson) -> np.ndarray:
    """The number of each clip's section, (n_heard,) int32; -1 of other machine types."""
    places = {section: i for i, section in enumerate(lesson.sections)}
    numbers = (places[clip.section] if clip.machine_type == lesson.machine_type else NO_SECTION
               for clip in lesson.heard.clips)  # fmt: skip
    return np.array(list(numbers), np.int32)


def probabilities(logits: np.ndarray, binary: bool, faithful: bool) -> np.ndarray:
    """What a clip's sections are thought to be, by snippet.

    Parameters
    ----------
    logits : (n_snippets, n_sections) float64
    binary : each section by itself
    faithful : the sum of the whole table is 1, not that of each snippet's row, as published

    Returns
    -------
    (n_snippets, n_sections) float64
    """
    from scipy.special import expit, softmax

    if binary:
        return expit(logits)
    return softmax(logits, axis=None if faithful else 1)


def clip_scores(
    of_snippets: Sequence[np.ndarray], sections: Sequence[int], binary: bool, faithful: bool
) -> np.ndarray:
    """1 - the probability of the own section, the mean over a clip's snippets: (n_clips,) float64.

    Parameters
    ----------
    of_snippets : of each clip, logits, (n_snippets, n_sections)
    sections : of each clip, which is its own
    binary, faithful : see `probabilities`
    """
    table = np.concatenate(of_snippets).astype(np.float64)
    counts = [len(some) for some in of_snippets]
    own = np.repeat(sections, counts)
    scores = 1 - probabilities(table, binary, faithful)[np.arange(len(table)), own]
    begins = np.cumsum(counts) - counts
    return np.add.reduceat(scores, begins) / counts
