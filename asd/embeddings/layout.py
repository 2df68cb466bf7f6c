"""How a clip becomes inputs of a network: which axis is time, which is mel bands, how long it is.

All of it is told by the shape of the network's input, and refused where that leaves it open.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from common import UserError

WAVES = "(samples), (1, samples), (1, 1, samples) or (1, samples, 1)"
FRAMES = "(frames, mels), (1, frames, mels), or that with axes of 1 or with mels before frames"


class Layout(NamedTuple):
    """The shape that a network takes.

    Attributes
    ----------
    rank : number of axes; those that are neither time nor mel bands have one element
    time : axis of samples or frames
    mel : axis of mel bands; None for waves
    length : samples or frames that it takes at once; None: any number
    """

    rank: int
    time: int
    mel: int | None
    length: int | None

    def inputs(self, clip: np.ndarray) -> Iterator[np.ndarray]:
        """What the network is given of a clip, in turn.

        The whole clip where any length will do. Else pieces of the network's length, one after the
        other; the last ends with the clip, and a clip that is shorter than one is repeated.

        Parameters
        ----------
        clip : (n_samples,) or (n_frames, n_mels) float32
        """
        n, length = len(clip), self.length or len(clip)
        if n < length:
            clip = np.resize(clip, (length, *clip.shape[1:]))
            n = length
        starts = list(range(0, n - length + 1, length))
        if starts[-1] + length < n:
            starts.append(n - length)
        for start in starts:
            yield self._arranged(clip[start : start + length])

    def _arranged(self, piece: np.ndarray) -> np.ndarray:
        """A piece with the network's axes, C-contiguous."""
        shape = [1] * self.rank
        shape[self.time] = len(piece)
        if self.mel is not None:
            shape[self.mel] = piece.shape[1]
            piece = piece if self.time < self.mel else piece.T
        return np.ascontiguousarray(piece).reshape(shape)


def of_waves(shape: Sequence[int | None]) -> Layout:
    """The layout of a network that takes samples.

    Parameters
    ----------
    shape : of its input; None for an axis of any length

    Raises
    ------
    UserError : it cannot be told which axis is which.
    """
    free = _free(shape, 1)
    if free is None or len(free) != 1:
        raise UserError(f"its input has the shape {_said(shape)}, and waves are {WAVES}; export it "
                        "so, or with a single clip as its batch")  # fmt: skip
    return Layout(len(shape), free[0], None, shape[free[0]])


def of_frames(shape: Sequence[int | None], n_mels: int) -> Layout:
    """The layout of a network that takes log-mel frames; see `of_waves`."""
    free = _free(shape, 2)
    if free is None or len(free) != 2:
        raise UserError(f"its input has the shape {_said(shape)}, and log-mel frames are {FRAMES}; "
                        "export it so, or with a single clip as its batch")  # fmt: skip
    bands = [axis for axis in free if shape[axis] == n_mels]
    if not bands:
        remedy = "set that to the mel bands which it takes"
        if all(shape[axis] is None for axis in free):
            remedy = "export it with a fixed number of mel bands"
        raise UserError(f"its input has the shape {_said(shape)}, and no axis of {n_mels} mel "
                        f"bands (feature.n_mels); {remedy}")  # fmt: skip
    if len(bands) == 2:
        raise UserError(
            f"its input has the shape {_said(shape)}, and either axis of {n_mels} may "
            "be the mel bands; export it for another number of frames, or for any"
        )
    time = free[0] if bands[0] == free[1] else free[1]
    return Layout(len(shape), time, bands[0], shape[time])


def _free(shape: Sequence[int | None], needed: int) -> list[int] | None:
    """The axes behind the batch that have not just one element; None where the batch is fixed.

    A shape of no more axes than are needed has no batch.
    """
    if len(shape) <= needed:
        return [axis for axis in range(len(shape)) if shape[axis] != 1 or needed == 2]
    if shape[0] not in (None, 1):
        return None
    return [axis for axis in range(1, len(shape)) if shape[axis] != 1]


def _said(shape: Sequence[int | None]) -> str:
    return f"({', '.join('any' if n is None else str(n) for n in shape)})"
