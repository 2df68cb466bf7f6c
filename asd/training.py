"""Training: one `fit` for any Keras model, loss and optimiser, on examples read a block at a time.

The usual chain of dense layers, with Adam on the mean squared error of its own input, is trained
by `asd.dense_training` where no GPU is visible; any other model by TensorFlow.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from asd.config import Compile, Fit
from asd.features.windows import Windows
from common import UserError

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

ADAM = ("adam", "Adam")
MEAN_SQUARED_ERROR = ("mean_squared_error", "MeanSquaredError", "mse", "MSE")


class Epoch(NamedTuple):
    """A row of the history; losses in the unit of the loss, dB^2 for windows."""

    number: int  # from 1
    loss: float
    val_loss: float | None


class Examples(Protocol):
    """What a model learns from; `asd.features.windows.Windows` is one.

    A block is a tuple of arrays, the last of which says where in the others examples begin.
    """

    train: np.ndarray  # numbers of the items (clips) that are trained on
    validation: np.ndarray  # and of those that validate

    def count(self, items: np.ndarray) -> int:
        """Examples of some items."""

    def blocks(
        self, items: np.ndarray, batch_size: int, rng: np.random.Generator | None
    ) -> Iterator[tuple[np.ndarray, ...]]:
        """Every example of some items once; whole batches but in the last block."""

    def signature(self) -> tuple[tf.TensorSpec, ...]:
        """Shapes and types of a block."""

    def batch(self, *block: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Inputs and targets of the examples of a block that the last array names."""


def fit(model: keras.Model, examples: Examples, settings: Fit, seed: int) -> list[Epoch]:
    """Train a model as configured, and show how it goes; see `epochs`."""
    from tqdm import tqdm

    history: list[Epoch] = []
    rows = epochs(model, examples, settings, seed)
    bar = tqdm(rows, "training", settings.epochs, unit="epoch", disable=settings.verbose != 1)
    for row in bar:
        history.append(row)
        shown = {"loss": f"{row.loss:.3f}"}
        if row.val_loss is not None:
            shown["val_loss"] = f"{row.val_loss:.3f}"
        bar.set_postfix(shown)
        if settings.verbose == 2:
            print(f"epoch {row.number}/{settings.epochs}", *(f"{k} {v}" for k, v in shown.items()))
    return history


def epochs(model: keras.Model, examples: Examples, settings: Fit, seed: int) -> Iterator[Epoch]:
    """Train a model on every example once an epoch.

    With `shuffle` in an order drawn from the seed and the epoch: of the items, and of the examples
    within each block of them. The loss of an epoch is the mean over its batches while they are
    trained on, as Keras' fit reports it; the validation loss is taken after the epoch, in
    inference mode.

    Yields
    ------
    a row of the history after each epoch

    Raises
    ------
    UserError : the loss is not a number, or Keras does not know the optimiser or the loss.
    """
    train_on, measure = _steps(model, examples, settings)

    def mean(function: Callable, items: np.ndarray, rng: np.random.Generator | None) -> float:
        """Mean over the examples of the losses, whose sums `function` returns block by block."""
        blocks = examples.blocks(items, settings.batch_size, rng)
        return math.fsum(float(function(*block)) for block in blocks) / examples.count(items)

    for number in range(1, settings.epochs + 1):
        rng = np.random.default_rng([seed, number]) if settings.shuffle else None
        items = rng.permutation(examples.train) if rng else examples.train
        loss = mean(train_on, items, rng)
        if not math.isfinite(loss):
            raise UserError(
                f"the training loss of epoch {number} is {loss}; nothing was written; "
                "check the recordings and fit.compile in the YAML"
            )
        held_out = examples.validation
        yield Epoch(number, loss, mean(measure, held_out, None) if len(held_out) else None)


def _steps(model: keras.Model, examples: Examples, settings: Fit) -> tuple[Callable, Callable]:
    """Two functions of a block: train on its examples; only measure.

    Both go through the examples in batches and return the sum over examples of the losses.
    """
    names = settings.compile
    usual = names.optimizer in ADAM and names.loss in MEAN_SQUARED_ERROR
    if usual and isinstance(examples, Windows) and not _gpu_is_visible():
        from asd import dense_training

        if dense_training.suits(model):
            trainer = dense_training.Trainer(model, settings.batch_size)
            return partial(trainer.run, True), partial(trainer.run, False)
    return _keras_steps(model, examples, settings)


def _gpu_is_visible() -> bool:
    import tensorflow as tf

    return bool(tf.config.list_physical_devices("GPU"))


def _compiled(names: Compile, model: keras.Model) -> tuple[Any, Callable]:
    """The optimiser and the loss of those names, the loss tried on outputs of the model's shape."""
    import keras
    import tensorflow as tf

    try:
        optimizer, loss_of = keras.optimizers.get(names.optimizer), keras.losses.get(names.loss)
    except ValueError as error:
        reason = " ".join(str(error).split())[:150]
        raise UserError(f"fit.compile: Keras knows no such name: {reason}") from error
    outputs = tf.zeros((2, *model.output_shape[1:]))
    try:
        loss_of(outputs, outputs)
    except (ValueError, TypeError, tf.errors.InvalidArgumentError) as error:
        reason = " ".join(str(error).split())[:150]
        raise UserError(f"fit.compile: this loss does not fit the model: {reason}") from error
    return optimizer, loss_of


def _keras_steps(
    model: keras.Model, examples: Examples, settings: Fit
) -> tuple[Callable, Callable]:
    """The two functions for any model, optimiser and loss, as TensorFlow compiles them."""
    import tensorflow as tf

    optimizer, loss_of = _compiled(settings.compile, model)
    optimizer.build(model.trainable_variables)
    size = settings.batch_size

    def train_step(inputs: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            losses = loss_of(targets, model(inputs, training=True))
            mean = tf.add_n([tf.reduce_mean(losses), *model.losses])
        variables = model.trainable_variables
        optimizer.apply_gradients(zip(tape.gradient(mean, variables), variables, strict=True))
        return tf.reduce_sum(losses)

    def measure(inputs: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
        return tf.reduce_sum(loss_of(targets, model(inputs, training=False)))

    def summed(step: Callable) -> Callable:
        def run(*block: tf.Tensor) -> tf.Tensor:
            *arrays, starts = block
            losses = tf.constant(0.0, tf.float64)
            for i in tf.range(0, tf.size(starts), size):
                inputs, targets = examples.batch(*arrays, starts[i : i + size])
                losses += tf.cast(step(inputs, targets), tf.float64)
            return losses

        return tf.function(run, input_signature=examples.signature())

    return summed(train_step), summed(measure)
