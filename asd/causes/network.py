"""The network of a classifier of causes: a dense layer and its softmax in int8."""

from __future__ import annotations

import numpy as np

from asd.tflite import litert
from asd.tflite.chain import Dense
from asd.tflite.int8 import LEAST, MOST, IntDense, Scale, int8_weights, weight_scales

LARGEST = 6.0  # standard deviations: a standardised statistic beyond is taken for so much
STATISTICS_SCALE = Scale(float(np.float32(LARGEST / MOST)), 0)
_STEPS = STATISTICS_SCALE.scale, STATISTICS_SCALE.zero_point


def quantised(rows: np.ndarray) -> np.ndarray:
    """Standardised statistics as the network takes them, int8 with `STATISTICS_SCALE`."""
    return litert.to_int8(np.asarray(rows, np.float32), *_STEPS)


def stepped(rows: np.ndarray) -> np.ndarray:
    """Standardised statistics, or `quantised` ones, as numbers of int8's steps; float64."""
    steps = rows if rows.dtype == np.int8 else quantised(rows)
    return litert.to_float(steps, *_STEPS).astype(np.float64)


def network(weights: np.ndarray, bias: np.ndarray, rows: np.ndarray) -> bytes:
    """A dense layer and its softmax as an int8 TFLite file, with a scale for each class.

    Parameters
    ----------
    weights : (n, n_classes) float
    bias : (n_classes,) float
    rows : (n_clips, n) float32, standardised, that calibrate the logits

    Returns
    -------
    the TFLite flatbuffer: int8 in, `STATISTICS_SCALE`; int8 out, steps of 1 / 256
    """
    from asd.tflite import writer  # not for those who only ask a classifier

    layer = integers(weights, bias, rows)
    return writer.of_integers([layer], int8_io=True, softmax=True)


def integers(weights: np.ndarray, bias: np.ndarray, rows: np.ndarray) -> IntDense:
    """The dense layer of `network` in integers."""
    layer, step = Dense(np.asarray(weights), np.asarray(bias)), STATISTICS_SCALE.scale
    scales = weight_scales(layer, per_channel=True, input_scale=step)
    logits = np.clip(rows, -LARGEST, LARGEST) @ layer.weights + layer.bias
    low, high = min(float(logits.min()), 0.0), max(float(logits.max()), 0.0)
    size = np.float32((high - low) / (MOST - LEAST)) or np.float32(1)
    target = Scale(float(size), int(np.clip(np.rint(LEAST - low / float(size)), LEAST, MOST)))
    of_bias = np.rint(layer.bias / (step * scales.astype(np.float64))).astype(np.int32)
    return IntDense(int8_weights(layer, scales), of_bias, scales, False, STATISTICS_SCALE, target)
