"""The student: a small separable network on log-mel patches, for microcontrollers.

Depthwise separable convolutions as in Howard et al. 2017, arXiv:1704.04861, of the size that
Banbury et al. 2021, arXiv:2010.11267 (MicroNets), have for anomaly detection on such machines. A
clip's embedding is the mean of those of its patches, so that one patch is in memory at a time.
"""

from __future__ import annotations

from keras import Model, layers

from asd.networks import bounded
from asd.networks.patches import LogMelPatches, MeanOfPatches
from asd.networks.settings import Student
from common import UserError


def build(settings: Student, n_samples: int, sample_rate: int) -> Model:
    """The network, not trained: waves, (n_clips, n_samples) float32, to (n_clips, settings.size).

    Parameters
    ----------
    n_samples : of a clip
    sample_rate : Hz

    Raises
    ------
    UserError : clips are shorter than a patch.
    """
    front = LogMelPatches(
        sample_rate, settings.n_mels, settings.n_fft, settings.hop_length, settings.frames,
        settings.step, name="patches",
    )  # fmt: skip
    if front.feature.all_frames(n_samples) < settings.frames:
        least = (settings.frames - 1) * settings.hop_length
        raise UserError(f"clips of {n_samples} samples are too short for network.frames "
                        f"{settings.frames}: it takes {least} or more")  # fmt: skip
    inputs = layers.Input((n_samples,), name="wave")
    x = bounded.normalised(front(inputs), "bands")
    x = layers.Reshape((settings.frames, settings.n_mels, 1), name="image")(x)
    how = {"padding": "same", "use_bias": False}
    stem = layers.Conv2D(settings.channels[0], 3, strides=2, name="stem", **how)
    x = bounded.active(stem(x), "stem")
    for i, (n_channels, step) in enumerate(zip(settings.channels, settings.steps, strict=True)):
        depth, point = f"b{i}.depth", f"b{i}.point"
        x = layers.DepthwiseConv2D(3, strides=step, name=depth, **how)(x)
        x = bounded.active(x, depth)
        x = bounded.active(layers.Conv2D(n_channels, 1, name=point, **how)(x), point)
    x = layers.GlobalAveragePooling2D(name="mean")(x)
    x = layers.Dense(settings.size, name="embed")(x)
    x = MeanOfPatches(len(front.starts(n_samples)), name="clip")(x)
    return Model(inputs, x, name="student")
