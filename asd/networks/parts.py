"""The parts of a trained network: its front end, and its body, which alone becomes TFLite.

The front end makes tensors of waves: spectra, or log-mel patches; where the network first
averages, normalises or clips their bands, so does the front end, as int8 would else have one scale
for loud bands and quiet ones. The body makes embeddings of them; a clip's embedding is the mean of
those of its rows, if it has several.
"""

from __future__ import annotations

from typing import NamedTuple

import keras
import tensorflow as tf

from asd.networks.layers import BatchNormalization
from asd.networks.patches import Clipped, LogMelPatches, MeanOfFrames, MeanOfPatches
from asd.networks.spectra import Spectrogram, Spectrum
from common import UserError

FRONT_LAYERS = (Spectrogram, Spectrum, LogMelPatches)
BEHIND_FRONT = (BatchNormalization, Clipped, MeanOfFrames)


class Parts(NamedTuple):
    """A network in two.

    Attributes
    ----------
    front : waves, (n_clips, n_samples) float32, to a list of tensors, (n_clips * n_rows, ...) each
    body : a list of such tensors to embeddings, (n_clips * n_rows, width)
    names : of the tensors, letters and digits and _
    n_rows : of a clip
    """

    front: keras.Model
    body: keras.Model
    names: tuple[str, ...]
    n_rows: int

    def tensors(self, waves: tf.Tensor) -> list[tf.Tensor]:
        """What the front end makes of waves, a list also where it is one tensor."""
        made = self.front(waves)
        return list(made) if isinstance(made, list | tuple) else [made]


def split(network: keras.Model) -> Parts:
    """The parts of a network; they share its weights.

    Raises
    ------
    UserError : it does not begin with a layer of `FRONT_LAYERS`.
    """
    fronts = [layer for layer in network.layers if isinstance(layer, FRONT_LAYERS)]
    if not fronts:
        raise UserError("the network has no front end that could stay outside: it begins with "
                        f"none of {', '.join(kind.__name__ for kind in FRONT_LAYERS)}")  # fmt: skip
    tensors = [_normalised(network, layer.output) for layer in fronts]
    means = [layer for layer in network.layers if isinstance(layer, MeanOfPatches)]
    end, n_rows = (means[0].input, means[0].n_patches) if means else (network.outputs[0], 1)
    front = keras.Model(network.inputs[0], tensors, name="front")
    body = keras.Model(tensors, end, name="body")
    names = tuple(layer.name.replace(".", "_") for layer in fronts)
    return Parts(front, body, names, n_rows)


def _normalised(network: keras.Model, tensor: keras.KerasTensor) -> keras.KerasTensor:
    """What is made of a tensor by layers of `BEHIND_FRONT` that directly follow it."""
    for layer in network.layers:
        if isinstance(layer, BEHIND_FRONT) and layer.input is tensor:
            return _normalised(network, layer.output)
    return tensor
