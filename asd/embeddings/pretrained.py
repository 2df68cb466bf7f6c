"""Embeddings of BEATs and EAT as they are: what they give for each patch of a clip, pooled."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np

from asd.embeddings.layout import Layout
from asd.embeddings.network import of_waves
from asd.rows import Rows
from asd.sections import Limit, Name, Section
from common import Feature, UnusableClip


class Beats:
    """See `asd.embeddings.embedding.Embedding`.

    Raises
    ------
    UserError : see `asd.networks.architecture.read`; or clips are of another sample rate.
    """

    class Settings(Section):
        """The file that `asd.networks.convert` wrote, and what becomes of a clip."""

        path: Name
        pooling: Literal["mean", "max"] = "mean"
        # Longer clips are heard in pieces, the last of which ends with the clip; null: at once.
        seconds: Limit | None = None

        def __post_init__(self) -> None:
            _check(self)

    kind = "beats"

    def __init__(self, settings: Settings, feature: Feature) -> None:
        from asd.networks import architecture, scaling

        scaling.check_rate(feature.sample_rate)
        self._path, self._pooling = Path(settings.path), settings.pooling
        self._scaling = scaling.SCALINGS[self.kind]
        if frames := getattr(settings, "least_frames", None):
            self._scaling = self._scaling._replace(least_frames=frames)
        self._least = scaling.least_samples(self._scaling)
        self._piece = settings.seconds and max(round(settings.seconds * feature.sample_rate),
                                               self._least)  # fmt: skip
        sha256 = architecture.sha256(self._path)
        own = architecture.told(self._path, self.kind)
        self._tokens = getattr(own, "tokens", 0)
        self._run = functools.cache(functools.partial(self._network, sha256))
        self.feature, feature = of_waves(feature)
        self.made_of: dict[str, Any] = {
            "kind": self.kind,
            "pooling": settings.pooling,
            "seconds": settings.seconds,
            "least_frames": self._scaling.least_frames,
            "file_sha256": sha256,  # and not its name: it may be moved
        }
        known = {"feature": self.feature, "embedding": self.made_of}
        title = f"embeddings of {self.kind}"
        self.rows = Rows(title, known, own.width, feature, self._pooled, padded=False)

    def _network(self, sha256: str) -> Callable[[np.ndarray], np.ndarray]:
        """What runs the network: (1, n_samples) -> (1, n_tokens, width), float32."""
        import keras_model

        keras_model.start_tensorflow(0)  # nothing is drawn: any seed will do
        import tensorflow as tf

        from asd.networks import pretrained

        network = pretrained.frozen(self._path, sha256, self.kind, self._scaling)
        spec = tf.TensorSpec((1, None), tf.float32)
        call = tf.function(lambda x: network(x, training=False), input_signature=[spec])
        return lambda waves: call(tf.constant(waves, tf.float32)).numpy()

    def _pooled(self, samples: np.ndarray) -> np.ndarray:
        """The embedding of samples, (1, width) float32; too short ones are repeated."""
        whole = Layout(2, 1, None, self._piece or max(len(samples), self._least))
        tokens = [self._of_pooling(self._run()(one)[0]) for one in whole.inputs(samples)]
        vectors = np.concatenate(tokens)  # (n, width)
        if not np.isfinite(vectors).all():
            raise UnusableClip(f"{self._path} gives it an embedding that is not finite")
        if self._pooling == "max":
            return vectors.max(axis=0, keepdims=True)
        return vectors.mean(axis=0, keepdims=True, dtype=np.float64).astype(np.float32)

    def _of_pooling(self, tokens: np.ndarray) -> np.ndarray:
        """Those of a piece's tokens that are pooled: its patches, or the one that stands for it."""
        return tokens[:1] if self._pooling == "cls" else tokens[self._tokens :]


class Eat(Beats):
    """The same of EAT, which also has a token for the whole clip."""

    class Settings(Section):
        """The same; and how many frames the network is given at least."""

        path: Name
        pooling: Literal["mean", "max", "cls"] = "mean"
        seconds: Limit | None = None
        least_frames: int = 1024  # filled up with silence; of 10 s, as in EAT's training

        def __post_init__(self) -> None:
            from asd.networks.architecture import PATCH

            _check(self)
            if self.least_frames < PATCH or self.least_frames % PATCH:
                raise ValueError(
                    f"least_frames {self.least_frames}: a multiple of {PATCH} is needed"
                )

    kind = "eat"


def _check(settings: Any) -> None:
    from asd.networks import architecture

    architecture.check_file(settings.path)
