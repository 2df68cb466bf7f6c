"""Mel-frequency cepstral coefficients of the log-mel frames that everything here is made of."""

from __future__ import annotations

import numpy as np


def mfcc(frames: np.ndarray, count: int) -> np.ndarray:
    """The first coefficients of the orthonormal DCT-II of each frame along its mel bands.

    c[k] = s[k] * sum over m of x[m] * cos(pi * k * (2 * m + 1) / (2 * n_mels)), where s[0] is
    sqrt(1 / n_mels) and s[k] sqrt(2 / n_mels): Davis and Mermelstein 1980,
    doi:10.1109/TASSP.1980.1163420, with the scale of `librosa.feature.mfcc`. There is no liftering;
    c[0] is the level, and at a count of n_mels nothing is lost.

    Parameters
    ----------
    frames : (n_frames, n_mels) float, dB, of `common.log_mel`
    count : coefficients, 1 to n_mels

    Returns
    -------
    (n_frames, count) float32, dB

    Raises
    ------
    ValueError : there are not so many coefficients.
    """
    import scipy.fft

    if not 1 <= count <= frames.shape[1]:
        raise ValueError(f"{count} coefficients of {frames.shape[1]} mel bands")
    cepstrum = scipy.fft.dct(np.asarray(frames, np.float32), type=2, axis=1, norm="ortho")
    return np.ascontiguousarray(cepstrum[:, :count])
