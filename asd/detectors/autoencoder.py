"""The dense auto-encoder of MLPerf Tiny and the DCASE 2020 Task 2 baseline.

It learns to reconstruct windows of log-mel frames; the score of a clip is its mean squared
reconstruction error or, as in the baselines since 2023, the Mahalanobis distance of its residual.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
import numpy as np

import common
import keras_model
from asd import files, rows, training, workers
from asd.clips import Clip, Scores
from asd.config import Config
from asd.detectors import residuals
from asd.detectors.detector import Fitted
from asd.detectors.residuals import Kept, Mahalanobis
from asd.features.windows import Windows, split
from asd.sections import Section
from asd.store import Store
from asd.tflite import chain as float_chain
from asd.tflite import flatbuffer, keras_chain, keras_file, reader
from asd.tflite.chain import Dense, NotAChain
from common import Error, Predict, UserError

if TYPE_CHECKING:
    import keras

TITLES = {
    "mse": "mean squared reconstruction error (dB²)",
    "mahalanobis": "selective Mahalanobis distance of the residual",
}
Unit = Annotated[int, msgspec.Meta(ge=1, le=65535)]  # as many as generated C takes


class AutoEncoder:
    """See `asd.detectors.detector.Detector`."""

    class Settings(Section, omit_defaults=True):
        """Units of the hidden layers, each with batch normalisation and ReLU; and the score.

        A default is what the record of a model without that key means.
        """

        encoder: tuple[Unit, ...]
        bottleneck: Unit
        decoder: tuple[Unit, ...]
        score: Literal["mse", "mahalanobis"] = "mse"
        faithful: bool = False  # Mahalanobis as the baseline's program has it, mistakes and all

        @property
        def hidden(self) -> tuple[int, ...]:
            """Units of all hidden layers, in order."""
            return (*self.encoder, self.bottleneck, *self.decoder)

    kind = "autoencoder"
    network = None
    scope = "machine"
    suffixes = (*keras_model.SUFFIXES, "_fp32.tflite")

    def __init__(self, cfg: Config, settings: Settings) -> None:
        self._cfg, self._settings = cfg, settings
        self._model: keras.Model | None = None
        self._chain: list[Dense] | None = None
        self._kept: Kept | None = None
        fit = msgspec.to_builtins(cfg.fit)
        del fit["verbose"]
        detector = {"kind": self.kind, **msgspec.to_builtins(settings)}
        detector.pop("score", None)  # one training serves both
        feature = msgspec.to_builtins(cfg.feature)
        self.made_of = {"feature": feature, "detector": detector, "fit": fit, "seed": cfg.seed}
        self.rows = rows.log_mel(cfg.feature)
        self.score_title = TITLES[settings.score]
        self._by_distance = settings.score == "mahalanobis"

    def fit(self, train: Store) -> Fitted:
        """Train on windows of all clips but those that validate; see `windows.split`."""
        cfg, n = self._cfg, self._cfg.feature.frames
        if self._by_distance or self._settings.faithful:
            residuals.check(train, n)
        keras_model.start_tensorflow(cfg.seed)
        self._model = keras_model.build(cfg.feature.vector_size, self._settings.hidden)
        windows, validation = split(train, n, cfg.fit, cfg.seed)
        of_target = residuals.is_target(train)
        if of_target.any() and not of_target[windows.items].any():
            print(
                f"warning: {train.clips[0].machine_type}: all {of_target.sum()} target clips "
                "validate, and none is learnt from; fit.validation: random_windows changes that"
            )
        history = training.fit(self._model, windows, validation, cfg.fit, cfg.seed)
        self._chain = keras_chain.of_model(self._model)
        self._kept = self._residuals(windows, validation, history[-1].batches)
        return Fitted(len(windows.items), history)

    def _residuals(self, windows: Windows, validation: Windows, errors: np.ndarray) -> Kept:
        """What is kept of the residuals, of clips, or of batches as the baseline's program does.

        Parameters
        ----------
        errors : the mean squared errors of the last epoch's batches, dB^2
        """
        predict, n, n_mels = self.predictor(), windows.n, windows.store.width
        if not self._settings.faithful:
            return residuals.of_clips(predict, windows.store, n)

        def batches(part: Windows) -> Iterator[tuple[np.ndarray, ...]]:
            rng = np.random.default_rng(self._cfg.seed)
            return residuals.batches(predict, part, self._cfg.fit.batch_size, rng)

        trained = ((inputs - outputs, target) for inputs, outputs, target in batches(windows))
        kept = residuals.published_covariances(trained, n_mels)
        distance, parts = Mahalanobis(kept, published=True), (windows, validation)
        values = [distance(one[0], one[1]) for part in parts for one in batches(part)]
        return kept._replace(batch_errors=errors, batch_distances=np.array(values))

    def save(self, path: Path) -> None:
        """Write the Keras model, and into its file the covariances of residuals."""
        self._model.save(path)
        residuals.save(path, self._kept)

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
        if self._by_distance or self._settings.faithful:
            self._kept = residuals.load(path, self._cfg.feature.n_mels)

    @property
    def error(self) -> Error:
        """The error of a clip, from its windows and their reconstruction."""
        if self._by_distance:
            return Mahalanobis(self._kept, self._settings.faithful)
        return common.reconstruction_error

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
        """Mean squared reconstruction errors, dB^2, or Mahalanobis distances."""
        # NumPy's products may run side by side; Keras uses the cores itself.
        n_workers = workers.number(self._cfg.workers) if self._chain else 1
        n = self._cfg.feature.frames
        values = common.anomaly_scores(self.predictor(), test, n, n_workers, self.error)
        return Scores(test.clips, values)

    def normal_scores(self, train: Store) -> Scores:
        """See `score`: that a clip was heard makes its score little lower.

        Where it is faithful, the values are of batches of windows, as in the baseline's program:
        they vary less than clips, and a threshold made of them calls half of the clips anomalous.
        """
        if not self._settings.faithful:
            return self.score(train)
        kept = self._kept
        values = kept.batch_distances if self._by_distance else kept.batch_errors
        sections = {clip.section for clip in train.clips}
        section = sections.pop() if len(sections) == 1 else ""
        machine_type = train.clips[0].machine_type
        batches = [Clip(Path(f"batch_{i:06}"), machine_type, section, "train", 0)
                   for i in range(len(values))]  # fmt: skip
        return Scores(tuple(batches), values)

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
