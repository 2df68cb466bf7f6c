"""Windows of frames as training examples: gathered batch by batch, read a block at a time.

Neither the matrix of all windows nor that of all frames ever exists.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from asd.config import Fit
from asd.store import Store

if TYPE_CHECKING:
    import tensorflow as tf

FRAMES_PER_BLOCK = 2**17  # 67 MB at 128 mel bands; 655 clips of 200 frames


@dataclass(frozen=True)
class Windows:
    """Windows of n successive frames of a store's clips, to be reconstructed.

    Attributes
    ----------
    items : numbers of the clips
    chosen : (n_windows,) bool, which of all windows of the store; None: all of these clips
    """

    store: Store
    n: int
    items: np.ndarray
    chosen: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.numbers())

    def numbers(self) -> np.ndarray:
        """The windows' numbers, counted through all clips of the store, int64."""
        numbers = self.store.windows_of(self.items, self.n)
        return numbers if self.chosen is None else numbers[self.chosen[numbers]]

    def blocks(
        self, clips: np.ndarray, batch_size: int, rng: np.random.Generator | None
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Every window once, in blocks that are read one at a time.

        Windows that do not fill a batch go into the next block, so only the last batch is smaller.

        Parameters
        ----------
        clips : `items` in any order, which blocks follow
        rng : draws the order of the windows within a block; None: as they come

        Yields
        ------
        frames : (n_frames, n_mels) float32, dB
        starts : (n_windows,) int32, the rows of `frames` at which windows begin
        """
        store, n = self.store, self.n
        all_counts = store.n_windows(n)
        begins = np.cumsum(all_counts) - all_counts  # numbers of the clips' first windows
        sizes = np.cumsum(all_counts[clips] + n - 1)  # frames, up to and with each clip
        parts = np.split(clips, np.flatnonzero(np.diff(sizes // FRAMES_PER_BLOCK)) + 1)
        left = np.empty((0, store.width), np.float32)  # windows of the block before, n rows each
        for part in parts:
            frames = store.read(part, space=len(left))
            frames[: len(left)] = left
            counts = all_counts[part]
            first_rows = len(left) + np.cumsum(counts + n - 1) - counts - n + 1
            within = [
                first + self._chosen(begin, count)
                for first, begin, count in zip(first_rows, begins[part], counts, strict=True)
            ]
            starts = np.concatenate([np.arange(0, len(left), n), *within]).astype(np.int32)
            if rng:
                rng.shuffle(starts)
            whole = len(starts) if part is parts[-1] else len(starts) // batch_size * batch_size
            yield frames, starts[:whole]
            left = frames[starts[whole:, None] + np.arange(n)].reshape(-1, store.width)

    def _chosen(self, begin: int, count: int) -> np.ndarray:
        """Which windows of a clip, whose first has the number `begin`, are among these."""
        if self.chosen is None:
            return np.arange(count)
        return np.flatnonzero(self.chosen[begin : begin + count])

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


def split(store: Store, n: int, settings: Fit, seed: int) -> tuple[Windows, Windows]:
    """The windows that are trained on, and those that validate, a share of `validation_split`.

    The last clips in their order validate, or windows drawn from all clips, as in the DCASE Task 2
    baselines since 2023: there every clip is learnt from, those of the few target clips, too.
    """
    clips = np.arange(len(store))
    if settings.validation == "random_windows":
        n_windows = int(store.n_windows(n).sum())
        drawn = np.random.default_rng(seed).permutation(n_windows)
        trained = np.ones(n_windows, bool)
        trained[drawn[: int(n_windows * settings.validation_split)]] = False
        return Windows(store, n, clips, trained), Windows(store, n, clips, ~trained)
    count = max(1, int(len(store) * (1 - settings.validation_split)))
    return Windows(store, n, clips[:count]), Windows(store, n, clips[count:])
