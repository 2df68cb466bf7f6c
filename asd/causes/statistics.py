"""What a classifier of causes looks at: how the log-mel frames of a clip are distributed."""

from __future__ import annotations

import numpy as np

QUANTILES = (0.1, 0.5, 0.9)  # of a band's level over time
NAMES = ("mean", *(f"quantile {q:g}" for q in QUANTILES), "standard deviation of changes")
LEAST_FRAMES = 2  # that there is a change


def statistics(frames: np.ndarray) -> np.ndarray:
    """Statistics of each mel band over the frames of a clip.

    The mean tells what sounds all the time; the quantiles what comes and goes, a knock or a rub,
    apart from it; and the changes from frame to frame how fast that is.

    Parameters
    ----------
    frames : (n_frames, n_mels) float32, dB, of `common.log_mel`; at least `LEAST_FRAMES`

    Returns
    -------
    (len(NAMES), n_mels) float32, dB

    Raises
    ------
    ValueError : too few frames, or not finite.
    """
    if frames.ndim != 2 or len(frames) < LEAST_FRAMES or not np.isfinite(frames).all():
        raise ValueError(f"at least {LEAST_FRAMES} frames of finite levels are needed")
    rows = [frames.mean(axis=0), *np.quantile(frames, QUANTILES, axis=0)]
    return np.stack([*rows, np.diff(frames, axis=0).std(axis=0)]).astype(np.float32)
