"""What detectors that reconstruct leave unexplained, by time and mel band."""

from __future__ import annotations

import numpy as np

from asd.detectors import sections
from asd.detectors.detector import Detector
from asd.tflite import chain
from common import Predict, vectors


def of(detector: Detector) -> dict[str, Predict]:
    """The loaded model as a function of windows, by section, or for `sections.ALL` of them.

    (n, vector_size) float32, dB -> the same. Nothing of a method that does not reconstruct.
    """
    if detector.error is None:
        return {}
    if hasattr(detector, "predictor"):  # also of a model that is no chain
        return {sections.ALL: detector.predictor()}
    return {name: chain.predictor(one) for name, one in sections.chains(detector).items()}


def errors(predict: Predict, frames: np.ndarray, n: int) -> np.ndarray:
    """The squared error of each frame and band, its mean over the windows that hold the frame.

    Parameters
    ----------
    frames : (n_frames, n_mels) float32, dB, C-contiguous
    n : frames of a window

    Returns
    -------
    (n_frames, n_mels) float32, dB^2
    """
    from threadpoolctl import threadpool_limits

    inputs = np.ascontiguousarray(vectors(frames, n))
    with threadpool_limits(1):  # a clip's few windows: threads would wait for one another
        outputs = predict(inputs)
    squares = np.square(inputs - outputs).reshape(len(inputs), n, -1)
    total, count = np.zeros(frames.shape), np.zeros((len(frames), 1))
    for i in range(n):
        total[i : i + len(inputs)] += squares[:, i]
        count[i : i + len(inputs)] += 1
    return (total / count).astype(np.float32)
