"""Waves of one length from clips of any, as networks on waves need them."""

from __future__ import annotations

from typing import Literal

import numpy as np

Fill = Literal["tile", "zero"]


def fixed_length(
    wave: np.ndarray, n_samples: int, fill: Fill = "tile", rng: np.random.Generator | None = None
) -> np.ndarray:
    """A clip cut to a length, or filled up to it.

    With "tile" a shorter clip is repeated as a whole until it is long enough, and then cut as a
    longer one is; with "zero" zeros are added.

    Parameters
    ----------
    wave : (n,) of any type
    n_samples : of the result
    fill : how shorter clips are filled up
    rng : draws in training where the clip is cut, any sample to the last that leaves enough, and
        how many of the zeros stand before it; None: from the start, and none

    Returns
    -------
    (n_samples,)

    Raises
    ------
    ValueError : the clip has no samples.
    """
    if not len(wave):
        raise ValueError("a clip without samples cannot be repeated")
    if fill == "zero" and len(wave) < n_samples:
        zeros = n_samples - len(wave)
        before = int(rng.integers(0, zeros + 1)) if rng else 0
        return np.pad(wave, (before, zeros - before))
    length = -(-n_samples // len(wave)) * len(wave) if len(wave) < n_samples else len(wave)
    start = int(rng.integers(0, length - n_samples + 1)) if rng else 0
    return np.take(wave, np.arange(start, start + n_samples), mode="wrap")
