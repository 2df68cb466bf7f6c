"""The mean mel frame of a clip, without logarithm; with `feature.power` 1, of magnitudes."""

from __future__ import annotations

import functools
from typing import Any

import msgspec
import numpy as np

import common
from asd.rows import Rows
from asd.sections import Section
from common import Feature


def mean_mel(samples: np.ndarray, feature: Feature) -> np.ndarray:
    """The mean over time of the mel frames of samples, (1, n_mels) float32."""
    return common.mel_spectrum(samples, feature).mean(axis=0, keepdims=True)


class MeanMel:
    """See `asd.embeddings.embedding.Embedding`."""

    class Settings(Section):
        """None: `feature` says it all."""

    def __init__(self, settings: Settings, feature: Feature) -> None:
        self.feature = msgspec.to_builtins(feature)
        del self.feature["frames"]
        self.made_of: dict[str, Any] = {}
        mean = functools.partial(mean_mel, feature=feature)
        self.rows = Rows("mean mel frames", self.feature, feature.n_mels, feature, mean)
