"""Training: the epochs of Keras' fit, stepped inside one compiled function.

Frames are read from the frame store a block of clips at a time, and windows gathered from them
batch by batch: neither the matrix of all windows nor that of all frames ever exists.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from asd import dense
from asd.frames import FrameStore
from common import Config, UserError

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

MOST_PARTS = 4  # of a batch, which are computed at once; 128 windows of the usual 512
NOT_BY_WEIGHT = ("adafactor", "lamb", "muon")  # optimisers that look at a variable as a whole
FRAMES_PER_BLOCK = 2**17  # 67 MB at 128 mel bands; 655 clips of 200 frames

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
    """Two compiled functions of a block's frames and starts: train on its windows; only measure.

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
    size, n = cfg.fit.batch_size, cfg.feature.frames
    # Where layers are joined otherwise than in a chain, Keras runs them, on whole batches.
    chain = dense.is_chain(model)
    n_parts = min(os.cpu_count() or 1, MOST_PARTS) if chain else 1
    update = _updating(model.trainable_variables, optimizer, n_parts)
    block = (
        tf.TensorSpec((None, cfg.feature.n_mels), tf.float32),  # frames, dB
        tf.TensorSpec((None,), tf.int32),  # rows at which windows begin
    )

    def total(parts: list[tf.Tensor], outputs: list[tf.Tensor]) -> tf.Tensor:
        """Sum of the losses of windows."""
        pairs = zip(parts, outputs, strict=True)
        return tf.add_n([tf.reduce_sum(loss_of(part, output)) for part, output in pairs])

    def train_step(parts: list[tf.Tensor]) -> tf.Tensor:
        with tf.GradientTape() as tape:
            outputs = _chained(model, parts) if chain else [model(parts[0], training=True)]
            loss = total(parts, outputs)
            mean = loss / _count(parts)
        update(tape.gradient(mean, model.trainable_variables))
        return loss

    def measure(parts: list[tf.Tensor]) -> tf.Tensor:
        return total(parts, [model(part, training=False) for part in parts])

    def summed(step: Callable) -> Callable:
        def run(frames: tf.Tensor, starts: tf.Tensor) -> tf.Tensor:
            losses = tf.constant(0.0, tf.float64)
            for i in tf.range(0, tf.size(starts), size):
                batch = starts[i : i + size]
                share = -(-tf.size(batch) // n_parts)
                parts = [batch[k * share : (k + 1) * share] for k in range(n_parts)]
                losses += tf.cast(step([_windows(frames, part, n) for part in parts]), tf.float64)
            return losses

        return tf.function(run, input_signature=block)

    return summed(train_step), summed(measure)


def _windows(frames: tf.Tensor, starts: tf.Tensor, n: int) -> tf.Tensor:
    """The windows of n frames that begin at some rows, (n_windows, n * n_mels)."""
    import tensorflow as tf

    rows = starts[:, None] + tf.range(n)  # (n_windows, n)
    return tf.reshape(tf.gather(frames, rows), (-1, n * frames.shape[1]))


def _count(parts: list[tf.Tensor]) -> tf.Tensor:
    """Windows of a batch, float32."""
    import tensorflow as tf

    return tf.cast(tf.add_n([tf.shape(part)[0] for part in parts]), tf.float32)


def _updating(
    variables: list[keras.Variable], optimizer: keras.Optimizer, n_groups: int
) -> Callable:
    """A function of the gradients that changes the variables.

    An optimiser that treats every weight alone is given all of them as a few flat variables, one
    a core: dozens of small ones take it half as long as the gradients take.
    """
    import keras
    import tensorflow as tf

    if optimizer.name in NOT_BY_WEIGHT:
        optimizer.build(variables)
        return lambda gradients: optimizer.apply_gradients(zip(gradients, variables, strict=True))
    sizes = np.array([np.prod(variable.shape) for variable in variables], int)
    of_group = np.minimum(np.cumsum(sizes) * n_groups // sizes.sum(), n_groups - 1)
    groups = [np.flatnonzero(of_group == group) for group in np.unique(of_group)]
    flat = [keras.Variable(np.concatenate([np.ravel(variables[i]) for i in g])) for g in groups]
    optimizer.build(flat)

    def update(gradients: list[tf.Tensor]) -> None:
        joined = [tf.concat([tf.reshape(gradients[i], [-1]) for i in g], 0) for g in groups]
        optimizer.apply_gradients(zip(joined, flat, strict=True))
        for group, values in zip(groups, flat, strict=True):
            parts = tf.split(values.value, sizes[group])
            for i, part in zip(group, parts, strict=True):
                variables[i].assign(tf.reshape(part, variables[i].shape))

    return update


def _chained(model: keras.Model, parts: list[tf.Tensor]) -> list[tf.Tensor]:
    """The outputs of a chain of layers for the parts of a batch, as training runs them.

    The layers are Keras' own, but for batch normalisation, whose mean and variance are those of
    the whole batch. TensorFlow computes the parts at once, a core each (`start_tensorflow`):
    with two cores half a batch on each takes less than the whole on both.
    """
    for layer in model.layers[1:]:
        if type(layer).__name__ == "BatchNormalization":
            parts = _normalised(layer, parts)
        else:
            parts = [layer(part, training=True) for part in parts]
    return parts


def _normalised(layer: keras.layers.BatchNormalization, parts: list[tf.Tensor]) -> list[tf.Tensor]:
    """Batch normalisation over all parts; the layer's moving mean and variance follow.

    Ioffe and Szegedy 2015, arXiv:1502.03167, algorithm 1; the gradient is section 3's, in the
    order that goes over the values the fewest times.
    """
    import tensorflow as tf

    @tf.custom_gradient
    def normalise(gamma: tf.Tensor, beta: tf.Tensor, *parts: tf.Tensor) -> Any:
        n = _count(parts)
        mean = tf.add_n([tf.reduce_sum(part, 0) for part in parts]) / n  # (units,)
        centred = [part - mean for part in parts]
        variance = tf.add_n([tf.reduce_sum(tf.square(part), 0) for part in centred]) / n
        inverse = tf.math.rsqrt(variance + layer.epsilon)
        scale = gamma * inverse

        def gradient(*upstream: tf.Tensor) -> Any:
            ups = upstream[: len(parts)]  # nothing is asked of mean and variance
            pairs = list(zip(ups, centred, strict=True))
            of_beta = tf.add_n([tf.reduce_sum(up, 0) for up in ups])
            of_gamma = tf.add_n([tf.reduce_sum(up * part, 0) for up, part in pairs]) * inverse
            shift, slope = of_beta / n, of_gamma * inverse / n
            return (of_gamma, of_beta, *[(up - shift - part * slope) * scale for up, part in pairs])

        return (*[part * scale + beta for part in centred], mean, variance), gradient

    *outputs, mean, variance = normalise(layer.gamma.value, layer.beta.value, *parts)
    for moving, now in ((layer.moving_mean, mean), (layer.moving_variance, variance)):
        moving.assign(moving * layer.momentum + now * (1 - layer.momentum))
    return outputs
