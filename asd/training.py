"""Training: the epochs of Keras' fit on windows that are gathered batch by batch.

Frames are read from the frame store a block of clips at a time: neither the matrix of all windows
nor that of all frames ever exists. The usual chain of dense layers, with Adam on the mean squared
error, is trained by `asd.dense_training`, any other by Keras.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np

from asd.frames import FrameStore
from common import Config, UserError

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

FRAMES_PER_BLOCK = 2**17  # 67 MB at 128 mel bands; 655 clips of 200 frames
ADAM = ("adam", "Adam")
MEAN_SQUARED_ERROR = ("mean_squared_error", "MeanSquaredError", "mse", "MSE")

History = list[tuple[int, float, float | None]]  # epoch from 1, loss, validation loss; dB^2


def split_clips(n_clips: int, validation_split: float) -> int:
    """How many clips, the first in sorted order, are trained on; the others validate."""
    return max(1, int(n_clips * (1 - validation_split)))


def blocks(
    store: FrameStore, clips: np.ndarray, n: int, batch_size: int, rng: np.random.Generator | None
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Every window of n frames of some clips once, in blocks that are read one at a time.

    Windows that do not fill a batch go into the next block, so only the last batch is smaller.

    Parameters
    ----------
    clips : numbers of clips in the store; blocks take them in this order
    rng : draws the order of the windows within a block; None: as they come

    Yields
    ------
    frames : (n_frames, n_mels) float32, dB
    starts : (n_windows,) int32, the rows of `frames` at which windows begin
    """
    sizes = np.cumsum(store.n_windows(n)[clips] + n - 1)  # frames, up to and with each clip
    parts = np.split(clips, np.flatnonzero(np.diff(sizes // FRAMES_PER_BLOCK)) + 1)
    left = np.empty((0, store.n_mels), np.float32)  # windows of the block before, n rows each
    for part in parts:
        frames = store.read(part, space=len(left))
        frames[: len(left)] = left
        counts = store.n_windows(n)[part]
        of_clips = len(left) + np.cumsum(counts + n - 1) - counts - n + 1  # their first rows
        within = [first + np.arange(count) for first, count in zip(of_clips, counts, strict=True)]
        starts = np.concatenate([np.arange(0, len(left), n), *within]).astype(np.int32)
        if rng:
            rng.shuffle(starts)
        whole = len(starts) if part is parts[-1] else len(starts) // batch_size * batch_size
        yield frames, starts[:whole]
        left = frames[starts[whole:, None] + np.arange(n)].reshape(-1, store.n_mels)


def fit(model: keras.Model, store: FrameStore, cfg: Config) -> History:
    """Train the auto-encoder as configured, and show how it goes; see `epochs`."""
    from tqdm import tqdm

    history: History = []
    rows = epochs(model, store, cfg)
    bar = tqdm(rows, "training", cfg.fit.epochs, unit="epoch", disable=cfg.fit.verbose != 1)
    for epoch, loss, val_loss in bar:
        history.append((epoch, loss, val_loss))
        shown = {"loss": f"{loss:.3f}"} | ({"val_loss": f"{val_loss:.3f}"} if val_loss else {})
        bar.set_postfix(shown)
        if cfg.fit.verbose == 2:
            print(f"epoch {epoch}/{cfg.fit.epochs}", *(f"{k} {v}" for k, v in shown.items()))
    return history


def epochs(
    model: keras.Model, store: FrameStore, cfg: Config
) -> Iterator[tuple[int, float, float | None]]:
    """Train the auto-encoder to reconstruct the windows of the store's clips.

    Each epoch visits every training window once; with `fit.shuffle` in an order drawn from the
    seed and the epoch: of the clips, and of the windows within each block of clips. The loss of
    an epoch is the mean over its batches while they are trained on, as Keras' fit reports it;
    the validation loss is taken after the epoch, in inference mode.

    Yields
    ------
    a row of the history after each epoch

    Raises
    ------
    UserError : the loss is not a number, or Keras does not know the optimiser or the loss.
    """
    n, size = cfg.feature.frames, cfg.fit.batch_size
    n_train = split_clips(len(store), cfg.fit.validation_split)
    train, validation = np.arange(n_train), np.arange(n_train, len(store))
    train_on, measure = _compile(model, cfg)

    def mean(function: Callable, clips: np.ndarray, rng: np.random.Generator | None) -> float:
        """Mean over the windows of the batch losses, whose sums `function` returns."""
        parts = blocks(store, clips, n, size, rng)
        total = math.fsum(float(function(frames, starts)) for frames, starts in parts)
        return total / int(store.n_windows(n)[clips].sum())

    for epoch in range(1, cfg.fit.epochs + 1):
        rng = np.random.default_rng([cfg.seed, epoch]) if cfg.fit.shuffle else None
        try:
            loss = mean(train_on, rng.permutation(train) if rng else train, rng)
        except (ValueError, TypeError) as error:
            reason = " ".join(str(error).split())[:150]
            raise UserError(f"fit.compile: this loss does not fit the model: {reason}") from error
        if not math.isfinite(loss):
            raise UserError(
                f"the training loss of epoch {epoch} is {loss}; nothing was written; "
                "check the recordings and fit.compile in the YAML"
            )
        yield epoch, loss, mean(measure, validation, None) if len(validation) else None


def _compile(model: keras.Model, cfg: Config) -> tuple[Callable, Callable]:
    """Two functions of a block's frames and starts: train on its windows; only measure.

    Both go through the windows in batches and return the sum over windows of the losses.
    """
    names = cfg.fit.compile
    if names.optimizer in ADAM and names.loss in MEAN_SQUARED_ERROR:
        from asd import dense_training

        if dense_training.suits(model):
            trainer = dense_training.Trainer(model, cfg.fit.batch_size)
            return trainer.train, trainer.measure
    return _compile_keras(model, cfg)


def _compile_keras(model: keras.Model, cfg: Config) -> tuple[Callable, Callable]:
    """The two functions for any model, optimiser and loss, as TensorFlow compiles them."""
    import keras
    import tensorflow as tf

    try:
        loss_of = keras.losses.get(cfg.fit.compile.loss)
        optimizer = keras.optimizers.get(cfg.fit.compile.optimizer)
    except ValueError as error:
        reason = " ".join(str(error).split())[:150]
        raise UserError(f"fit.compile: Keras knows no such name: {reason}") from error
    size, n = cfg.fit.batch_size, cfg.feature.frames
    optimizer.build(model.trainable_variables)
    block = (
        tf.TensorSpec((None, cfg.feature.n_mels), tf.float32),  # frames, dB
        tf.TensorSpec((None,), tf.int32),  # rows at which windows begin
    )

    def train_step(windows: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            losses = loss_of(windows, model(windows, training=True))
            mean = tf.add_n([tf.reduce_mean(losses), *model.losses])
        variables = model.trainable_variables
        optimizer.apply_gradients(zip(tape.gradient(mean, variables), variables, strict=True))
        return tf.reduce_sum(losses)

    def measure(windows: tf.Tensor) -> tf.Tensor:
        return tf.reduce_sum(loss_of(windows, model(windows, training=False)))

    def summed(step: Callable) -> Callable:
        def run(frames: tf.Tensor, starts: tf.Tensor) -> tf.Tensor:
            losses = tf.constant(0.0, tf.float64)
            for i in tf.range(0, tf.size(starts), size):
                windows = _windows(frames, starts[i : i + size], n)
                losses += tf.cast(step(windows), tf.float64)
            return losses

        return tf.function(run, input_signature=block)

    return summed(train_step), summed(measure)


def _windows(frames: tf.Tensor, starts: tf.Tensor, n: int) -> tf.Tensor:
    """The windows of n frames that begin at some rows, (n_windows, n * n_mels)."""
    import tensorflow as tf

    rows = starts[:, None] + tf.range(n)  # (n_windows, n)
    return tf.reshape(tf.gather(frames, rows), (-1, n * frames.shape[1]))
