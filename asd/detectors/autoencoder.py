"""The dense auto-encoder of MLPerf Tiny and the DCASE 2020 Task 2 baseline.

It learns to reconstruct windows of log-mel frames; the score of a clip is its mean squared
reconstruction error.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec

import common
import keras_model
from asd import files, rows, training, workers
from asd.clips import Scores
from asd.config import Config
from asd.detectors.detector import Fitted
from asd.features.windows import Windows
from asd.sections import Section
from asd.store import Store
from asd.tflite import chain as float_chain
from asd.tflite import flatbuffer, keras_chain, keras_file, reader
from asd.tflite.chain import Dense, NotAChain
from common import Predict, UserError

if TYPE_CHECKING:
    import keras

Unit = Annotated[int, msgspec.Meta(ge=1, le=65535)]  # as many as generated C takes


class AutoEncoder:
    """See `asd.detectors.detector.Detector`."""

    class Settings(Section):
        """Units of the hidden layers, each with batch normalisation and ReLU."""

        encoder: tuple[Unit, ...]
        bottleneck: Unit
        decoder: tuple[Unit, ...]

        @property
        def hidden(self) -> tuple[int, ...]:
            """Units of all hidden layers, in order."""
            return (*self.encoder, self.bottleneck, *self.decoder)

    kind = "autoencoder"
    scope = "machine"
    suffixes = (*keras_model.SUFFIXES, "_fp32.tflite")
    score_title = "mean squared reconstruction error (dB²)"

    def __init__(self, cfg: Config, settings: Settings) -> None:
        self._cfg, self._settings = cfg, settings
        self._model: keras.Model | None = None
        self._chain: list[Dense] | None = None
        fit = msgspec.to_builtins(cfg.fit)
        del fit["verbose"]
        detector = {"kind": self.kind, **msgspec.to_builtins(settings)}
        feature = msgspec.to_builtins(cfg.feature)
        self.made_of = {"feature": feature, "detector": detector, "fit": fit, "seed": cfg.seed}
        self.rows = rows.log_mel(cfg.feature)

    def fit(self, train: Store) -> Fitted:
        """Train on the windows of all clips; the last clips validate."""
        cfg = self._cfg
        keras_model.start_tensorflow(cfg.seed)
        self._model = keras_model.build(cfg.feature.vector_size, self._settings.hidden)
        windows = Windows(train, cfg.feature.frames, cfg.fit.validation_split)
        history = training.fit(self._model, windows, cfg.fit, cfg.seed)
        self._chain = keras_chain.of_model(self._model)
        return Fitted(len(windows.train), history)

    def save(self, path: Path) -> None:
        """Write the Keras model."""
        self._model.save(path)

    def load(self, path: Path) -> None:
        """Read a Keras file or a float TFLite file; without TensorFlow where it is a dense chain.

        Raises
        ------
        UserError : see `keras_file.read`, `keras_model.load` and `reader.read_floats`.
        """
        self._path, self._model = path, None
        try:
            if path.suffix == ".tflite":
                content = files.read_bounded(path, flatbuffer.MOST_BYTES)
                self._chain = reader.read_floats(content)
            else:
                self._chain = self._of_keras(path)
        except UserError as error:
            text = str(error)
            raise UserError(text if text.startswith(str(path)) else f"{path}: {text}") from error
        if self._chain:
            sizes = {len(self._chain[0].weights), len(self._chain[-1].bias)}
            keras_model.check_sizes(path, sizes, self._cfg.feature.vector_size)

    def _of_keras(self, path: Path) -> list[Dense] | None:
        """The chain of a Keras file; None for another model, which Keras has loaded."""
        file = keras_file.read(path)
        types = keras_chain.of_types(file)
        try:
            chain = keras_chain.of_file(file)
        except NotAChain:
            keras_file.check_size(file.config)
            keras_model.start_tensorflow(0)  # nothing is drawn: any seed will do
            self._model = keras_model.load(path, self._cfg.feature.vector_size)
            return None
        if types:
            print(f"{path}: its layers compute in {', '.join(sorted(types))}, here in float32")
        return chain

    def predictor(self) -> Predict:
        """The model as a function of windows, (n, vector_size) float32 -> the same shape."""
        if self._chain:
            return float_chain.predictor(self._chain)
        return keras_model.predictor(self._model)

    def score(self, test: Store) -> Scores:
        """Mean squared reconstruction errors, dB^2."""
        # NumPy's products may run side by side; Keras uses the cores itself.
        n_workers = workers.number(self._cfg.workers) if self._chain else 1
        n = self._cfg.feature.frames
        values = common.anomaly_scores(self.predictor(), test, n, n_workers)
        return Scores(test.clips, values)

    def chain(self) -> list[Dense]:
        """The dense chain.

        Raises
        ------
        NotAChain : the model, a published one, is another.
        """
        if self._chain is None:
            try:
                self._chain = keras_chain.of_model(self._model)
            except NotAChain as error:
                raise NotAChain(f"{self._path}: {error}") from error
        return self._chain
