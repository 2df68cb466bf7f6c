"""Residual networks with a limited receptive field, on log-mel images.

Koutini and others 2019, "The receptive field as a regularizer in deep convolutional neural networks
for acoustic scene classification", EUSIPCO, doi:10.23919/EUSIPCO.2019.8902732.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import keras
from keras import layers

from asd.networks.layers import BatchNormalization
from asd.networks.settings import CPResNet

STAGES = 3
BLOCKS = 4  # of a stage, as published; each has two convolutions
FIRST_FIELD, FIELD_OF_RHO = 11, 8  # frames or bands; what each 3 behind the max-pooling adds


def kernels(rho: int, blocks: int = BLOCKS) -> list[int]:
    """The kernel size of every convolution of the blocks, in order, on one axis.

    The first is 3, the second 1, and of those behind them the first rho are 3.
    """
    return [3, 1, *(3 if i < rho else 1 for i in range(2 * STAGES * blocks - 2))]


def receptive_field(rho: int) -> int:
    """Bands or frames of the input that a place of the last map depends on."""
    return FIRST_FIELD + FIELD_OF_RHO * (kernels(rho).count(3) - 1)


def build(settings: CPResNet, images: keras.KerasTensor, n_classes: int) -> tuple:
    """The network behind images, (n, n_mels, n_frames, 1).

    Returns
    -------
    map : of the last stage, (n, height, width, 4 * channels), the embedding
    logits : (n, n_classes)

    Raises
    ------
    ValueError : the images are too small to be halved twice.
    """
    x = layers.ZeroPadding2D(1, name="in.pad")(images)
    x = layers.ReLU(name="in")(_conv(x, "in", settings.channels, (5, 5), step=2))
    if min(x.shape[1:3]) < 2:
        raise ValueError(f"{images.shape[1]} bands and {images.shape[2]} frames are too few")
    sizes = zip(*(kernels(rho, settings.blocks) for rho in settings.rho), strict=True)
    for stage in range(1, STAGES + 1):
        for block in range(1, settings.blocks + 1):
            name, n_channels = f"s{stage}b{block}", settings.channels << (stage - 1)
            x = _block(x, name, n_channels, sizes)
            if name == "s1b1":
                x = layers.MaxPooling2D(2, 2, name=f"{name}.max")(x)
    logits = layers.GlobalAveragePooling2D(name="logits")(_conv(x, "cls", n_classes, (1, 1)))
    return x, logits


def _block(x, name: str, n_channels: int, sizes: Iterator[tuple[int, int]]):
    shortcut = x
    one, two = itertools.islice(sizes, 2)
    if x.shape[-1] != n_channels:
        shortcut = _conv(x, f"{name}.skip", n_channels, (1, 1), own=(".conv", ".bn"))
    x = layers.ReLU(name=f"{name}.mid")(_conv(x, name, n_channels, one, own=(".conv1", ".bn1")))
    x = _conv(x, name, n_channels, two, own=(".conv2", ".bn2"))
    return layers.ReLU(name=name)(layers.Add(name=f"{name}.sum")([x, shortcut]))


def _conv(
    x, name: str, n_channels: int, size: tuple[int, int], step: int = 1, own=(".conv", ".bn")
):
    """A convolution without bias, weights as He and others 2015 draw them, and its norm."""
    x = layers.Conv2D(
        n_channels,
        size,
        step,
        "same" if step == 1 else "valid",
        use_bias=False,
        kernel_initializer=keras.initializers.VarianceScaling(2.0, "fan_in", "untruncated_normal"),
        name=name + own[0],
    )(x)
    return BatchNormalization(name=name + own[1])(x)
