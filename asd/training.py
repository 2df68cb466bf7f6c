"""Training: the epochs of Keras' fit, stepped inside one compiled function.

Windows are gathered from the memory-mapped frame store a few batches at a time, so that the
matrix of all windows never exists.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from tqdm import tqdm

from asd.frames import FrameStore
from common import Config, UserError

if TYPE_CHECKING:
    import keras

BATCHES_PER_CALL = 16  # 21 MB of windows at 512 a batch

History = list[tuple[int, float, float | None]]  # epoch from 1, loss, validation loss; dB^2


def split_clips(n_clips: int, validation_split: float) -> int:
    """How many clips, the first in sorted order, are trained on; the others validate."""
    return max(1, int(n_clips * (1 - validation_split)))


def fit(model: keras.Model, store: FrameStore, cfg: Config) -> History:
    """Train the auto-encoder to reconstruct the windows of the store's clips.

    Each epoch visits every training window once, in an order drawn from the seed and the epoch
    (`fit.shuffle`). The loss of an epoch is the mean over its batches while they are trained on,
    as Keras' fit reports it; the validation loss is taken after the epoch, in inference mode.

    Returns
    -------
    one row per epoch

    Raises
    ------
    UserError : the loss is not a number, or Keras does not know the optimiser or the loss.
    """
    n, size = cfg.feature.frames, cfg.fit.batch_size
    n_train = split_clips(len(store), cfg.fit.validation_split)
    train = store.window_starts(n, slice(n_train))  # (n_train_windows,) int32, rows
    validation = store.window_starts(n, slice(n_train, None))
    train_batches, sum_losses = _compile(model, cfg)

    def total(function: Callable, starts: np.ndarray) -> float:
        """Sum over the windows of the batch losses that `function` returns."""
        step = BATCHES_PER_CALL * size
        parts = (starts[i : i + step] for i in range(0, len(starts), step))
        return math.fsum(float(function(store.gather(part, n))) for part in parts)

    history: History = []
    bar = tqdm(range(1, cfg.fit.epochs + 1), "training", unit="epoch", disable=cfg.fit.verbose != 1)
    for epoch in bar:
        if cfg.fit.shuffle:
            order = np.random.default_rng([cfg.seed, epoch]).permutation(train)
        else:
            order = train
        try:
            loss = total(train_batches, order) / len(train)
        except (ValueError, TypeError) as error:
            reason = " ".join(str(error).split())[:150]
            raise UserError(f"fit.compile: this loss does not fit the model: {reason}") from error
        if not math.isfinite(loss):
            raise UserError(
                f"the training loss of epoch {epoch} is {loss}; nothing was written; "
                "check the recordings and fit.compile in the YAML"
            )
        val_loss = total(sum_losses, validation) / len(validation) if len(validation) else None
        history.append((epoch, loss, val_loss))
        shown = {"loss": f"{loss:.3f}"} | ({"val_loss": f"{val_loss:.3f}"} if val_loss else {})
        bar.set_postfix(shown)
        if cfg.fit.verbose == 2:
            print(f"epoch {epoch}/{cfg.fit.epochs}", *(f"{k} {v}" for k, v in shown.items()))
    return history


def _compile(model: keras.Model, cfg: Config) -> tuple[Callable, Callable]:
    """Two compiled functions of (n, vector_size) windows: train on them; only measure.

    Both go through the windows in batches and return the sum over windows of the losses.
    """
    import keras
    import tensorflow as tf

    try:
        loss_of = keras.losses.get(cfg.fit.compile.loss)
        optimizer = keras.optimizers.get(cfg.fit.compile.optimizer)
    except ValueError as error:
        reason = " ".join(str(error).split())[:150]
        raise UserError(f"fit.compile: Keras knows no such name: {reason}") from error
    weights = model.trainable_variables
    optimizer.build(weights)
    size = cfg.fit.batch_size
    spec = tf.TensorSpec((None, model.input_shape[1]), tf.float32)

    def train_step(batch: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(loss_of(batch, model(batch, training=True)))
        optimizer.apply_gradients(zip(tape.gradient(loss, weights), weights, strict=True))
        return loss

    def measure(batch: tf.Tensor) -> tf.Tensor:
        return tf.reduce_mean(loss_of(batch, model(batch, training=False)))

    def summed(step: Callable) -> Callable:
        def run(windows: tf.Tensor) -> tf.Tensor:
            total = tf.constant(0.0)
            for i in tf.range(0, tf.shape(windows)[0], size):
                batch = windows[i : i + size]
                total += step(batch) * tf.cast(tf.shape(batch)[0], tf.float32)
            return total

        return tf.function(run, input_signature=[spec])

    return summed(train_step), summed(measure)
