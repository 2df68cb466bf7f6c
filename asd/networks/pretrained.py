"""Pre-trained transformers from waves to tokens, or to an embedding that learns beside them."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import layers

from asd.networks import architecture, scaling
from asd.networks.architecture import Architecture, Beats, Eat
from asd.networks.blocks import Block, DistanceBias
from asd.networks.fbank import Fbank
from asd.networks.pooling import AttentivePooling
from asd.networks.scaling import Scaling
from asd.networks.settings import Pretrained
from asd.networks.transformer import ConvPositions, LoraDense, Patches, Tokens
from common import UserError

BEATS_EPSILON = 1e-5  # of its layer normalisations


def build(settings: Pretrained, kind: str, n_samples: int, sample_rate: int) -> keras.Model:
    """A network that learns an embedding: LoRA beside the transformer, pooling and a dense layer.

    Waves, (n_clips, n_samples) float32 -> (n_clips, settings.width).

    Parameters
    ----------
    kind : "beats" or "eat"
    n_samples : of a clip
    sample_rate : Hz

    Raises
    ------
    UserError : clips are too short for a patch, or of another sample rate; or see
        `architecture.read`.
    """
    scaling.check_rate(sample_rate)
    frames = settings.scaling(scaling.SCALINGS[kind])
    least = scaling.least_samples(frames)
    if n_samples < least:
        raise UserError(f"clips of {n_samples} samples are too short for network.kind {kind}: it "
                        f"takes {least} or more; raise detector.seconds")  # fmt: skip
    own, arrays = architecture.read(Path(settings.path), kind)
    inputs = layers.Input((n_samples,), name="wave")
    x = tokens(own, inputs, frames, settings.of_lora)
    if isinstance(own, Eat):
        x = layers.Cropping1D((own.tokens, 0), name="of_patches")(x)
    if settings.pooling == "attentive":
        x = AttentivePooling(settings.width, name="pooling")(x)
    else:
        x = layers.GlobalAveragePooling1D(name="pooling")(x)
        x = layers.Dense(settings.width, name="dense")(x)
    network = keras.Model(inputs, x, name=kind)
    fill(network, arrays)
    return network


@functools.lru_cache(maxsize=1)
def frozen(path: Path, sha256: str, kind: str, frames: Scaling) -> keras.Model:
    """A transformer that nothing learns in: waves of any length -> (n, n_tokens, width).

    Parameters
    ----------
    sha256 : of the file; another is read anew
    """
    own, arrays = architecture.read(path, kind)
    inputs = layers.Input((None,), name="wave")
    network = keras.Model(inputs, tokens(own, inputs, frames, None), name=kind)
    fill(network, arrays)
    return network


def tokens(
    own: Architecture, waves: keras.KerasTensor, frames: Scaling, lora: dict[str, Any] | None
) -> keras.KerasTensor:
    """(n, n_samples) -> (n, n_tokens, own.width), without the weights of a file."""
    squares = Patches(name="squares")(Fbank(frames, name="fbank")(waves))
    return (_beats if isinstance(own, Beats) else _eat)(own, squares, lora)


def _norm(x, name: str, epsilon: float):
    return layers.LayerNormalization(epsilon=epsilon, trainable=False, name=name)(x)


def _beats(own: Beats, squares, lora):
    x = LoraDense(own.patch_width, own.patch_bias, name="patches")(squares)
    x = _norm(x, "patch_norm", BEATS_EPSILON)
    if own.patch_width != own.width:
        x = LoraDense(own.width, name="project")(x)
    x = ConvPositions(own.kernel, own.groups, name="position")(x)
    if not own.norm_first:
        x = _norm(x, "norm", BEATS_EPSILON)
    bias = []
    if own.buckets:
        bias = [DistanceBias(own.heads, own.buckets, own.max_distance, name="distance")(x)]
    gated, order = own.gated and bool(own.buckets), "pre" if own.norm_first else "post"
    for i in range(own.layers):
        x = Block(own.hidden, own.heads, own.activation, BEATS_EPSILON, order, own.alpha, gated,
                  lora, name=f"block{i}")(x, *bias)  # fmt: skip
    return _norm(x, "norm", BEATS_EPSILON) if own.norm_first else x


def _eat(own: Eat, squares, lora):
    x = LoraDense(own.width, name="patches")(squares)
    x = Tokens(own.tokens, name="tokens")(x)
    if not own.norm_first:
        x = _norm(x, "norm", own.epsilon)
    order = "twice" if own.norm_first else "post"
    for i in range(own.layers):
        x = Block(own.hidden, own.heads, "gelu", own.epsilon, order, lora=lora,
                  name=f"block{i}")(x)  # fmt: skip
    return _norm(x, "norm", own.epsilon) if own.norm_first else x


def fill(network: keras.Model, arrays: dict[str, np.ndarray]) -> None:
    """Set the weights that a file has, by their names: layer/part/array."""
    for name, values in arrays.items():
        layer, *parts = name.split("/")
        weight: Any = network.get_layer(layer)
        for part in parts:
            weight = getattr(weight, part)
        weight.assign(values)
