"""Dense layers on the mean over time of a clip's log-mel frames.

A mean over seconds of sound is a measurement of few decibels' error, where a convolution first has
to learn to average; so a few hundred clips are enough. A device adds up frames as they come.
"""

from __future__ import annotations

from keras import Model, layers

from asd.networks import bounded
from asd.networks.patches import LogMelPatches, MeanOfFrames
from asd.networks.settings import MeanMel


def build(settings: MeanMel, n_samples: int, sample_rate: int) -> Model:
    """The network, not trained: waves, (n_clips, n_samples) float32, to (n_clips, settings.size).

    Parameters
    ----------
    n_samples : of a clip
    sample_rate : Hz
    """
    n_frames = 1 + n_samples // settings.hop_length
    how = settings.n_mels, settings.n_fft, settings.hop_length, n_frames, n_frames
    inputs = layers.Input((n_samples,), name="wave")
    x = LogMelPatches(sample_rate, *how, name="frames")(inputs)
    x = MeanOfFrames(name="mean")(x)
    x = bounded.normalised(x, "bands")
    for i, units in enumerate(settings.hidden):
        x = bounded.active(layers.Dense(units, use_bias=False, name=f"d{i}")(x), f"d{i}")
    return Model(inputs, layers.Dense(settings.size, name="embed")(x), name="mean_mel")
