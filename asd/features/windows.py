"""Windows of frames as training examples: gathered batch by batch, read a block at a time.

Neither the matrix of all windows nor that of all frames ever exists.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from asd.store import Store

if TYPE_CHECKING:
    import tensorflow as tf

FRAMES_PER_BLOCK = 2**17  # 67 MB at 128 mel bands; 655 clips of 200 frames


@dataclass(frozen=True)
class Windows:
    """The windows of n frames of a store's clips, to be reconstructed.

    The last clips in their order, a share of `validation_split`, validate.
    """

    store: Store
    n: int
    validation_split: float

    @property
    def train(self) -> np.ndarray:
        """Numbers of the clips that are trained on."""
        return np.arange(max(1, int(len(self.store) * (1 - self.validation_split))))

    @property
    def validation(self) -> np.ndarray:
        """Numbers of the clips that validate."""
        return np.arange(len(self.train), len(self.store))

    def count(self, clips: np.ndarray) -> int:
        """Windows of some clips."""
        return int(self.store.n_windows(self.n)[clips].sum())

    def blocks(
        self, clips: np.ndarray, batch_size: int, rng: np.random.Generator | None
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Every window of some clips once, in blocks that are read one at a time.

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
        store, n = self.store, self.n
        sizes = np.cumsum(store.n_windows(n)[clips] + n - 1)  # frames, up to and with each clip
        parts = np.split(clips, np.flatnonzero(np.diff(sizes // FRAMES_PER_BLOCK)) + 1)
        left = np.empty((0, store.width), np.float32)  # windows of the block before, n rows each
        for part in parts:
            frames = store.read(part, space=len(left))
            frames[: len(left)] = left
            counts = store.n_windows(n)[part]
            first_rows = len(left) + np.cumsum(counts + n - 1) - counts - n + 1
            within = [f + np.arange(count) for f, count in zip(first_rows, counts, strict=True)]
            starts = np.concatenate([np.arange(0, len(left), n), *within]).astype(np.int32)
            if rng:
                rng.shuffle(starts)
            whole = len(starts) if part is parts[-1] else len(starts) // batch_size * batch_size
            yield frames, starts[:whole]
            left = frames[starts[whole:, None] + np.arange(n)].reshape(-1, store.width)

    def signature(self) -> tuple[tf.TensorSpec, tf.TensorSpec]:
        """Shapes and types of a block."""
        import tensorflow as tf

        frames = tf.TensorSpec((None, self.store.width), tf.float32)  # dB
        return frames, tf.TensorSpec((None,), tf.int32)

    def batch(self, frames: tf.Tensor, starts: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """The windows that begin at some rows, (n_windows, n * n_mels), as inputs and targets."""
        import tensorflow as tf

        rows = starts[:, None] + tf.range(self.n)  # (n_windows, n)
        windows = tf.reshape(tf.gather(frames, rows), (-1, self.n * self.store.width))
        return windows, windows
