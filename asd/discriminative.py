"""Training a network to tell classes of clips apart: an epoch at a time, resumed where it ended.

What is drawn depends on the seed, the epoch and the step only, so a training that was interrupted
and goes on from the checkpoint of an epoch gives the same weights as one that was not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence, Sized
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from asd import files
from asd.augment import Augmentation, keys
from asd.config import Fit
from asd.features.segments import Segments
from asd.training import Epoch
from common import UserError


class Task(NamedTuple):
    """Classes to be told apart, and what does so.

    Attributes
    ----------
    classes : of all clips, (n_clips,) int64
    count : how many there are; of the head, times the classes that augmentation makes of each
    head : of `asd.losses`
    weight : of its loss in the sum
    """

    classes: np.ndarray
    count: int
    head: keras.layers.Layer
    weight: float


class Resumable:
    """A training that goes on where it was interrupted."""

    _all: list[keras.Variable]  # what the next epoch begins with

    def told_of(self, segments: Sized) -> int:
        """How many clips, or pieces of them, an epoch tells of, about."""
        return len(segments)

    def save(self, path: Path, history: Sequence[Epoch], fingerprint: str) -> None:
        """Write all that the next epoch begins with."""
        arrays = {f"variable_{i:04}": one.numpy() for i, one in enumerate(self._all)}
        losses = np.array([row.loss for row in history])
        with files.whole_file(path, durable=True) as temporary, temporary.open("wb") as file:
            np.savez(file, losses=losses, fingerprint=np.array(fingerprint), **arrays)

    def resume(self, path: Path, fingerprint: str) -> list[Epoch]:
        """Go on from a checkpoint of the same training; the epochs that it has behind it.

        One of another training, or a damaged one, is told and passed over.
        """
        if not path.exists():
            return []
        try:
            with np.load(path, allow_pickle=False) as arrays:
                if str(arrays["fingerprint"]) != fingerprint:
                    raise ValueError("of another training")
                values = [arrays[f"variable_{i:04}"] for i in range(len(self._all))]
                losses = arrays["losses"].tolist()
            if [one.shape for one in values] != [tuple(one.shape) for one in self._all]:
                raise ValueError("of other shapes")
        except Exception as error:  # the reader raises whatever a damaged file leads it to
            reason = " ".join(str(error).split())[:120]
            print(f"{path}: not gone on from ({reason}); training from the start")
            return []
        for variable, value in zip(self._all, values, strict=True):
            variable.assign(value)
        return [Epoch(number, loss, None) for number, loss in enumerate(losses, 1)]


class Learner(Resumable):
    """A network in training.

    Parameters
    ----------
    network : waves, (n, n_samples) float32, to embeddings, (n, width)
    tasks : whose heads are trained with it
    optimiser : of Keras
    augment : see `asd.augment.of`; its classes are those of the heads
    seed : of all that is drawn
    """

    def __init__(
        self,
        network: keras.Model,
        tasks: Sequence[Task],
        optimiser: keras.optimizers.Optimizer,
        augment: Augmentation,
        seed: int,
    ) -> None:
        self._network, self._tasks, self._augment = network, tasks, augment
        self._optimiser, self._seed = optimiser, seed
        width = network.output_shape[-1]
        for task in tasks:
            labels = tf.one_hot([0], task.count * augment.factor)
            task.head(tf.zeros((1, width)), labels)  # which builds it
        trained = [network, *(task.head for task in tasks)]
        self._trainable = [one for model in trained for one in model.trainable_variables]
        optimiser.build(self._trainable)
        self._all = [one for model in trained for one in model.weights] + optimiser.variables
        self._step = tf.function(self._one_step)

    def _one_step(
        self, waves: tf.Tensor, classes: tuple[tf.Tensor, ...], epoch: tf.Tensor, step: tf.Tensor
    ) -> tf.Tensor:
        key = keys.of_step(self._seed, epoch, step)
        labels = {
            str(i): tf.one_hot(own, task.count)
            for i, (own, task) in enumerate(zip(classes, self._tasks, strict=True))
        }
        waves, labels = self._augment(keys.split(key, 0), waves, labels)
        with tf.GradientTape() as tape:
            embeddings = self._network(waves, training=True)
            losses = []
            for i, task in enumerate(self._tasks):
                own = keys.split(key, 1 + i)
                loss = task.head(embeddings, labels[str(i)], own, training=True)
                losses.append(task.weight * loss)
            loss = tf.add_n(losses)
        gradients = tape.gradient(loss, self._trainable)
        self._optimiser.apply_gradients(zip(gradients, self._trainable, strict=True))
        return loss

    def epoch(self, segments: Segments, number: int, size: int, told: Callable) -> Epoch:
        """Go through all clips once, in an order of the epoch's own.

        A last batch of one clip, which has no variance, is left out.

        Parameters
        ----------
        number : of the epoch, from 1
        size : clips of a batch
        told : is called with the loss of each batch and how many clips it has
        """
        rng = np.random.default_rng([self._seed, number])
        order = rng.permutation(len(segments))
        losses, counts = [], []
        batches = segments.batches(order, size, [self._seed, number])
        for step, (some, waves) in enumerate(batches):
            if len(some) == 1 and len(order) > 1:
                continue
            classes = tuple(tf.constant(task.classes[some]) for task in self._tasks)
            place = tf.constant(number), tf.constant(step)
            losses.append(float(self._step(tf.constant(waves), classes, *place)))
            counts.append(len(some))
            told(losses[-1], len(some))
            if not np.isfinite(losses[-1]):
                raise UserError(f"the training loss of epoch {number} is {losses[-1]}; take a "
                                "smaller learning rate, and check the recordings")  # fmt: skip
        return Epoch(number, float(np.average(losses, weights=counts)), None)


def fingerprint(made_of: dict[str, Any], train: Any) -> str:
    """What stands for all that is trained and how; not the number of epochs, which may be raised.

    Parameters
    ----------
    made_of : of a detector, with the section `fit`
    train : clips, with a fingerprint of their own
    """
    made_of = made_of | {"fit": made_of["fit"] | {"epochs": None}}
    return files.fingerprint([made_of, train.fingerprint])


def epochs(
    learner: Resumable,
    segments: Sized,
    settings: Fit,
    checkpoint: Path,
    fingerprint: str,
    unit: str = "clip",
) -> Iterator[Epoch]:
    """Train until the last epoch, a checkpoint after each; those of an earlier run come at once.

    Parameters
    ----------
    learner : with a method `epoch`, as `Learner` has it
    segments : clips that it takes
    checkpoint, fingerprint : the file, and of what training; see `fingerprint`
    unit : what is counted
    """
    from tqdm import tqdm

    history = learner.resume(checkpoint, fingerprint)
    yield from history
    each = learner.told_of(segments)
    bar = tqdm(desc="training", total=settings.epochs * each, initial=len(history) * each,
               unit=unit, disable=settings.verbose != 1)  # fmt: skip

    def told(loss: float, count: int) -> None:
        bar.update(count)
        bar.set_postfix(epoch=len(history) + 1, loss=f"{loss:.3f}")

    with bar:
        while len(history) < settings.epochs:
            number = len(history) + 1
            row = learner.epoch(segments, number, settings.batch_size, told)
            history.append(row)
            learner.save(checkpoint, history, fingerprint)
            if settings.verbose == 2:
                print(f"epoch {number}/{settings.epochs} loss {row.loss:.3f}")
            yield row
