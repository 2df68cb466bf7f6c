"""Layers whose values have bounds, so that int8 has steps enough for them.

A fault makes levels that no training clip has; without bounds int8 would be calibrated too narrow
for them, or be too coarse for all others.
"""

from __future__ import annotations

import keras
import tensorflow as tf
from keras import layers

from asd.networks.layers import BatchNormalization
from asd.networks.patches import Clipped

# Beyond so many standard deviations nothing counts, in bands and at first in layers: int8 has 256
# steps for what is left. The only bound that an operator of TFLite has within itself is ReLU6's.
MOST_DEVIATIONS = 3.0
MOST_ACTIVATION = 6.0


def normalised(levels: keras.KerasTensor, name: str) -> keras.KerasTensor:
    """Levels of mel bands, (..., n_mels), each band in its standard deviations, and cut."""
    return Clipped(MOST_DEVIATIONS, name="clipped")(
        BatchNormalization(affine=False, name=name)(levels)
    )


def active(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
    """Batch normalisation and ReLU6, of (..., n_channels)."""
    norm = BatchNormalization(name=f"{name}.bn")
    x = norm(x)
    norm.gamma.assign(tf.fill(norm.gamma.shape, MOST_ACTIVATION / MOST_DEVIATIONS))
    return layers.ReLU(MOST_ACTIVATION, name=f"{name}.relu")(x)
