"""Embeddings of a network that the user brings as a file, from log-mel frames or from samples."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np

import common
from asd import files, rows
from asd.embeddings import engines, layout
from asd.rows import Rows
from asd.sections import Name, Section
from common import Feature, UnusableClip, UserError

TRIAL_SECONDS = 10  # of noise, where a file does not tell how wide its output is: DCASE's clips


class Network:
    """See `asd.embeddings.embedding.Embedding`.

    A network that gives several vectors, for steps in time or for pieces of a clip, gives one of
    all of them by pooling.

    Parameters
    ----------
    body : the TFLite file that runs in the place of a Keras network's body

    Raises
    ------
    UserError : see `engines.of_file`; or its input or output is of an unknown layout.
    """

    class Settings(Section):
        """The file and what it takes: log-mel frames in dB, as `common.log_mel`, or samples."""

        path: Name  # .keras, .tflite or .onnx
        input: Literal["log_mel", "wave"]
        pooling: Literal["mean", "max"] = "mean"

        def __post_init__(self) -> None:
            suffixes = ", ".join(engines.ENGINES)
            if Path(self.path).suffix not in engines.ENGINES:
                raise ValueError(f"path names no network ({suffixes}): {self.path}")
            if not files.is_file(Path(self.path)):
                raise ValueError("path names no file that is there; put the network there or name "
                                 f"another: {self.path}")  # fmt: skip

    def __init__(self, settings: Settings, feature: Feature, body: Path | None = None) -> None:
        self._path, self._pooling = Path(settings.path), settings.pooling
        self._engine = engines.with_body(self._path, body) if body else engines.of_file(self._path)
        waves = settings.input == "wave"
        try:
            shape = self._engine.shape
            self._layout = (layout.of_waves(shape) if waves
                            else layout.of_frames(shape, feature.n_mels))  # fmt: skip
        except UserError as error:
            raise UserError(f"{self._path}: {error}") from error
        if waves:
            self.feature, feature = of_waves(feature)
        else:
            self.feature = rows.log_mel(feature).settings
        self._feature = feature
        self.made_of: dict[str, Any] = {
            "kind": "file",
            "input": settings.input,
            "pooling": settings.pooling,
            "file_sha256": self._engine.sha256,  # and not its name: it may be moved
        }
        known = {"feature": self.feature, "embedding": self.made_of}
        self._width = self._engine.width
        if self._width is None:
            self._width = self._tried(waves)
        of_samples = self._pooled if waves else self._of_frames
        title = f"embeddings of {settings.input}"
        self.rows = Rows(title, known, self._width, feature, of_samples, padded=not waves)

    def _of_frames(self, samples: np.ndarray) -> np.ndarray:
        """The embedding of the log-mel frames of samples, (1, width) float32."""
        frames = common.log_mel(samples, self._feature)
        if not np.isfinite(frames).all():
            raise UnusableClip(rows.TOO_LOUD)
        return self._pooled(frames)

    def _pooled(self, clip: np.ndarray) -> np.ndarray:
        """The embedding of samples or frames, (1, width) float32."""
        vectors = np.concatenate([self._vectors(one) for one in self._layout.inputs(clip)])
        if not np.isfinite(vectors).all():
            raise UnusableClip(f"{self._path} gives it an embedding that is not finite")
        if self._pooling == "max":
            return vectors.max(axis=0, keepdims=True)
        return vectors.mean(axis=0, keepdims=True, dtype=np.float64).astype(np.float32)

    def _vectors(self, values: np.ndarray) -> np.ndarray:
        """What the network gives, (n, width) float32."""
        try:
            output = np.asarray(self._engine.run(values), np.float32)
        except Exception as error:  # whatever a library raises at what it cannot compute
            raise UserError(
                f"{self._path}: it does not run on a clip of the shape {values.shape} "
                f"({engines.reason(error)}); use longer clips, or export it for a "
                "fixed length, to which shorter ones are repeated"
            ) from error
        shape = output.shape
        if not shape or shape[:-2] not in ((), (1,)) or not output.size:
            raise UserError(f"{self._path}: its output has the shape {shape}, and an embedding is "
                            "(width), (1, width), (n, width) or (1, n, width); export it "
                            "so")  # fmt: skip
        if self._width not in (None, shape[-1]):
            raise UserError(f"{self._path}: its output has {shape[-1]} values for a clip and "
                            f"{self._width} for others; export it with an embedding that does not "
                            "depend on a clip's length")  # fmt: skip
        return output.reshape(-1, shape[-1])

    def _tried(self, waves: bool) -> int:
        """The width of the embedding of noise."""
        feature = self._feature
        n = feature.sample_rate * TRIAL_SECONDS
        noise = np.random.default_rng(0).standard_normal(n).astype(np.float32)
        clip = noise if waves else common.log_mel(noise, feature)
        return self._vectors(next(self._layout.inputs(clip))).shape[1]


def of_waves(feature: Feature) -> tuple[dict[str, Any], Feature]:
    """What samples depend on, and a feature with which all samples of a whole clip are read.

    Between `central_frames` it is the samples that these frames see.
    """
    needed = ["sample_rate", "channel", "central_frames"]
    if feature.central_frames is not None:
        needed += ["n_fft", "hop_length"]
    else:  # a clip's last samples may be in no frame of a feature with long hops
        feature = msgspec.structs.replace(feature, n_fft=2 * feature.hop_length)
    values = msgspec.to_builtins(feature)
    return {key: values[key] for key in needed}, feature
