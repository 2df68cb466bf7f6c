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
    # (n,) float64, the mean loss of each batch, and after these of each that validates.
    batches: np.ndarray | None = None


class Examples(Protocol):
    """What a model learns from; `asd.features.windows.Windows` is one.

    A block is a tuple of arrays, the last of which says where in the others examples begin.
    """

    items: np.ndarray  # numbers of what they are read from: clips

    def __len__(self) -> int:
        """How many they are."""

    def blocks(
        self, items: np.ndarray, batch_size: int, rng: np.random.Generator | None
    ) -> Iterator[tuple[np.ndarray, ...]]:
        """Every example once, of the items in this order; whole batches but in the last block."""

    def signature(self) -> tuple[tf.TensorSpec, ...]:
        """Shapes and types of a block."""

    def batch(self, *block: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Inputs and targets of the examples of a block that the last array names."""


def fit(
    model: keras.Model, train: Examples, validation: Examples, settings: Fit, seed: int
) -> list[Epoch]:
    """Train a model as configured, and show how it goes; see `epochs`."""
    from tqdm import tqdm

    history: list[Epoch] = []
    rows = epochs(model, train, validation, settings, seed)
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


def epochs(
    model: keras.Model, train: Examples, validation: Examples, settings: Fit, seed: int
) -> Iterator[Epoch]:
    """Train a model on every example once an epoch.

    With `shuffle` in an order drawn from the seed and the epoch: of the items, and of the examples
    within each block of them. The loss of an epoch is the mean over its examples while they are
    trained on, as Keras' fit reports it; the validation loss is taken after the epoch, in
    inference mode.

    Yields
    ------
    a row of the history after each epoch

    Raises
    ------
    UserError : the loss is not a number, or Keras does not know the optimiser or the loss.
    """
    train_on, measure = _steps(model, train, settings)
    size = settings.batch_size

    def losses(
        function: Callable, examples: Examples, items: np.ndarray, rng: np.random.Generator | None
    ) -> np.ndarray:
        """(n_examples,) float64, what `function` returns block by block."""
        parts = [np.asarray(function(*block)) for block in examples.blocks(items, size, rng)]
        return np.concatenate(parts).astype(np.float64)

    for number in range(1, settings.epochs + 1):
        rng = np.random.default_rng([seed, number]) if settings.shuffle else None
        items = rng.permutation(train.items) if rng else train.items
        own = losses(train_on, train, items, rng)
        if not math.isfinite(loss := own.mean()):
            raise UserError(
                f"the training loss of epoch {number} is {loss}; nothing was written; "
                "check the recordings and fit.compile in the YAML"
            )
        others = np.empty(0)
        if len(validation):
            others = losses(measure, validation, validation.items, None)
        means = [np.add.reduceat(one, at) / np.diff([*at, len(one)]) for one in (own, others)
                 if len(at := np.arange(0, len(one), size))]  # fmt: skip
        val_loss = float(others.mean()) if len(others) else None
        yield Epoch(number, float(loss), val_loss, np.concatenate(means))


def _steps(model: keras.Model, examples: Examples, settings: Fit) -> tuple[Callable, Callable]:
    """Two functions of a block: train on its examples; only measure.

    Both go through the examples in batches and return the loss of each, (n_examples,) float32.

    Raises
    ------
    UserError : see `epochs`; or PyTorch's conventions are asked for, and the model or the optimiser
        is another than the usual.
    """
    names = settings.compile
    usual = names.optimizer in ADAM and names.loss in MEAN_SQUARED_ERROR
    special = settings.conventions == "torch" or settings.weight_decay > 0
    if usual and isinstance(examples, Windows) and (special or not _gpu_is_visible()):
        from asd import dense_training

        if dense_training.suits(model):
            how = settings.batch_size, settings.conventions, settings.weight_decay
            trainer = dense_training.Trainer(model, *how)
            return partial(trainer.run, True), partial(trainer.run, False)
    if special:
        raise UserError("fit.conventions: torch and fit.weight_decay are for adam on the mean "
                        "squared error of a chain of dense layers; leave both out")  # fmt: skip
    return _keras_steps(model, examples, settings)


def _gpu_is_visible() -> bool:
    import tensorflow as tf

    return bool(tf.config.list_physical_devices("GPU"))


def named(names: Compile) -> tuple[Any, Callable]:
    """Keras' optimiser and loss of those names.

    Raises
    ------
    UserError : Keras knows no such name; the key is named.
    """
    import keras

    found: list[Any] = []
    for key, get in (("optimizer", keras.optimizers.get), ("loss", keras.losses.get)):
        try:
            found.append(get(getattr(names, key)))
        except ValueError as error:
            reason = " ".join(str(error).split())[:150]
            raise UserError(f"key fit.compile.{key}: Keras knows no such name: {reason}") from error
    optimizer, loss_of = found
    return optimizer, loss_of


def _compiled(names: Compile, model: keras.Model) -> tuple[Any, Callable]:
    """The optimiser and the loss of those names, the loss tried on outputs of the model's shape."""
    import tensorflow as tf

    optimizer, loss_of = named(names)
    outputs = tf.zeros((2, *model.output_shape[1:]))
    try:
        loss_of(outputs, outputs)
    except (ValueError, TypeError, tf.errors.InvalidArgumentError) as error:
        reason = " ".join(str(error).split())[:150]
        raise UserError(f"key fit.compile.loss: does not fit the model: {reason}") from error
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
        return losses

    def measure(inputs: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
        return loss_of(targets, model(inputs, training=False))

    def each(step: Callable) -> Callable:
        def run(*block: tf.Tensor) -> tf.Tensor:
            *arrays, starts = block
            losses = tf.TensorArray(tf.float32, 0, True, infer_shape=False, element_shape=(None,))
            for i in tf.range(0, tf.size(starts), size):
                inputs, targets = examples.batch(*arrays, starts[i : i + size])
                losses = losses.write(losses.size(), step(inputs, targets))
            return losses.concat()

        return tf.function(run, input_signature=examples.signature())

    return each(train_step), each(measure)
