"""Densities of windows of log-mel frames, given the section: MADE, MAF, a conditional auto-encoder.

The score of a clip is the mean over its windows of their negative log-likelihood, by element. The
system of DCASE 2021 Task 2 that is described in Primus and others 2021, "CP-JKU submission to
DCASE'21: improving out-of-distribution detection with outlier exposure".
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
import numpy as np

from asd import rows
from asd.clips import Scores
from asd.config import Config
from asd.detectors import array_files, density_chains, density_networks, sections
from asd.detectors.accompanied import Accompanied
from asd.detectors.aims import Emphasis
from asd.detectors.detector import Fitted
from asd.features import company, drawn, outliers, standard
from asd.features.altered import Altered
from asd.features.company import Company
from asd.features.drawn import NormalAndOutliers, Parts
from asd.paths import Paths
from asd.sections import Choice, Limit, NotNegative, Section
from asd.store import Store
from asd.tflite.chain import Dense
from common import Error, UserError, vectors

if TYPE_CHECKING:
    from asd.densities.networks import Density as Network

MOST_BYTES = 1 << 30  # of a model
NETWORK = "network."  # before the names of its arrays
Weight = Annotated[float, msgspec.Meta(ge=0)]


class Optimiser(Section):
    """Adam with a coupled decay, and how its learning rate falls; see `asd.optimisers`."""

    learning_rate: Limit
    lowest_rate: Weight
    constant_epochs: NotNegative
    falling_epochs: NotNegative
    weight_decay: Annotated[float, msgspec.Meta(ge=0, lt=1)]


class Outliers(Section):
    """Clips that stand for anomalies, and the loss that makes them unlikely."""

    of: outliers.Which = "none"
    weight: Limit = 1.0
    margin: Weight = 0.5  # nats an element


class Density(Accompanied):
    """See `asd.detectors.detector.Detector`."""

    class Settings(Section):
        """The network and how it is trained."""

        network: Choice
        optimiser: Optimiser
        outliers: Outliers = Outliers()
        condition: Literal["section", "none"] = "section"
        normalise: Literal["mean_std", "none"] = "mean_std"  # each band, by all training clips
        domains: Literal["source", "all"] = "source"  # whose clips are learnt from
        learn_from: Literal["own", "both"] = "own"  # both: development and evaluation data
        emphasis: Emphasis | None = None  # altered clips of its own, beside the outliers
        faithful: bool = False  # the learning rate as the original's program has it

    kind = "density"
    network = None
    suffixes = (".npz",)

    def __init__(self, cfg: Config, settings: Settings, paths: Paths | None = None) -> None:
        self._cfg, self._settings, self._paths = cfg, settings, paths
        self._kind, _ = settings.network.section(density_networks.KINDS)
        fit = msgspec.to_builtins(cfg.fit)
        del fit["verbose"]
        feature = msgspec.to_builtins(cfg.feature)
        network = {"kind": settings.network.kind, **settings.network.values}
        own = {name: msgspec.to_builtins(getattr(settings, name))
               for name in settings.__struct_fields__ if name != "network"}  # fmt: skip
        if not settings.emphasis:  # as in records of before there was that key
            del own["emphasis"]
        detector = {"kind": self.kind, "network": network, **own}
        self.made_of = {"feature": feature, "detector": detector, "fit": fit, "seed": cfg.seed}
        self.rows = rows.log_mel(cfg.feature)
        self.score_title = self._kind.title
        if settings.condition == "none" and outliers.of_sections(settings.outliers.of):
            raise UserError(f"{settings.network.file}: key detector.outliers.of: sections are "
                            "told apart by their condition; take detector.condition: section, or "
                            "other_machines")  # fmt: skip

    def lesson(self, machine_type: str, stores: Sequence[Store]) -> Company:
        """What the model of a machine type learns from.

        Raises
        ------
        UserError : it is nothing.
        """
        own = self._settings
        there = company.of(machine_type, stores, own.outliers.of)
        if not there.normal_parts((), own.domains == "all"):
            raise UserError(f"{machine_type}: no training clips of the source domain; take "
                            "detector.domains: all")  # fmt: skip
        return there

    def fit(self, train: Company) -> Fitted:
        """Learn from windows drawn from clips, or go on from where that was interrupted.

        Raises
        ------
        UserError : see `Learner.epoch`.
        """
        import keras_model

        keras_model.start_tensorflow(self._cfg.seed)
        from asd import discriminative
        from asd.densities.learner import Learner, Ranking

        own, cfg = self._settings, self._cfg
        self._sections = train.sections
        by_bands = own.normalise == "mean_std"
        width = self.rows.width
        clips = (train[i] for i in range(len(train)))
        self._standard = standard.of_clips(clips) if by_bands else standard.as_they_are(width)
        learnt = self._learnt(train)
        self._network = self._built()
        there = learnt.others.parts or learnt.altered
        weight = own.outliers.weight if there else 0.0
        ranking = Ranking(own.outliers.margin, weight)
        decay = own.optimiser.weight_decay
        learner = Learner(self._network, self._rate, decay, ranking, cfg.seed)
        fingerprint = discriminative.fingerprint(self.made_of, train)
        checkpoint = self.home.checkpoint(train.machine_type)
        args = learner, learnt, cfg.fit, checkpoint, fingerprint, "window"
        history = list(discriminative.epochs(*args))
        count = sum(len(part.clips) for part in learnt.normal.parts)
        return Fitted(count, history, len(train) - count)

    def _rate(self, epoch: int) -> float:
        """The learning rate of an epoch, counted from 0."""
        from asd.optimisers import falling_rate

        how = self._settings.optimiser
        return falling_rate(epoch, how.learning_rate, how.lowest_rate, how.constant_epochs,
                            how.falling_epochs, self._settings.faithful)  # fmt: skip

    def _learnt(self, train: Company) -> NormalAndOutliers:
        """The windows that are learnt from, and those of outliers."""
        feature, names = self._cfg.feature, self._sections
        normal = train.normal_parts(names, self._settings.domains == "all")
        others, own = train.outlier_parts(names)
        # A window of n frames and the rest of its last: 0.192 s of 5 frames.
        hops = feature.frames - 1 + -(-feature.n_fft // feature.hop_length)
        make = (Parts(one, feature.frames, hops) for one in (normal, others))
        how = self._settings.emphasis
        altered = Altered(how.bands, how.db) if how else None
        return NormalAndOutliers(*make, own, self._n_conditions, self._standard, altered)

    @property
    def _n_conditions(self) -> int:
        return len(self._sections) if self._settings.condition == "section" else 0

    def _built(self) -> Network:
        size = self._cfg.feature.vector_size
        return density_networks.build(self._settings.network, size, self._n_conditions)

    def save(self, path: Path) -> None:
        """Write the network's variables, the sections and how bands are normalised."""
        arrays = {NETWORK + name: one.numpy() for name, one in self._network.named().items()}
        arrays |= {"mean": self._standard.mean, "std": self._standard.std}
        with path.open("wb") as file:
            np.savez(file, sections=np.array(self._sections), **arrays)

    def load(self, path: Path) -> None:
        """Read a model.

        Raises
        ------
        UserError : the file is damaged or holds other arrays.
        """
        path.open("rb").close()  # what forbids that is no damage
        import keras_model

        keras_model.start_tensorflow(0)  # nothing is drawn: any seed will do
        try:
            arrays = array_files.read(path, MOST_BYTES)
            names = tuple(str(one) for one in arrays["sections"])
            mean, std = (_numbers(arrays[name], (self.rows.width,)) for name in ("mean", "std"))
            if not names or not (std > 0).all():
                raise ValueError("no sections, or bands without a deviation")
            self._sections, self._standard = names, standard.Standard(mean, std)
            self._network = self._built()
            for name, variable in self._network.named().items():
                variable.assign(_numbers(arrays[NETWORK + name], tuple(variable.shape)))
        except Exception as error:  # the reader raises whatever a damaged file leads it to
            reason = " ".join(str(error).split())[:120]
            raise UserError(f"{path}: not a readable model ({reason}); train it anew") from error
        self._path = path

    def score(self, test: Store | Company) -> Scores:
        """The mean negative log-likelihood of each clip's windows, by element.

        Each goes through the network alone: clips of equal frames have equal scores.

        Raises
        ------
        UserError : a clip is of a section that was not trained, or its score is not a number.
        """
        import tensorflow as tf

        network, size = self._network, self._cfg.feature.vector_size
        spec = tf.TensorSpec((None, size), tf.float32), tf.TensorSpec((None,), tf.int32)
        conditional = bool(self._n_conditions)
        likelihoods = tf.function(
            lambda x, given: network(x, given if conditional else None), input_signature=spec
        )
        conditions = drawn.numbers_of(test.clips, self._sections)
        if conditional and (conditions < 0).any():
            clip = test.clips[int(np.argmin(conditions))]
            raise UserError(f"{clip.path}: of section {clip.section}, and the model knows "
                            f"{', '.join(self._sections)}; train on its clips, too, see "
                            "detector.learn_from, or take detector.condition: none")  # fmt: skip
        values = np.empty(len(test))
        for i, condition in enumerate(conditions):
            frames = np.ascontiguousarray(vectors(test[i], self._cfg.feature.frames))
            windows = self._standard.of(frames)
            given = np.full(len(windows), max(condition, 0), np.int32)
            found = likelihoods(tf.constant(windows), tf.constant(given)).numpy()
            values[i] = -found.astype(np.float64).mean() / size
        if not np.isfinite(values).all():
            clip = test.clips[int(np.argmin(np.isfinite(values)))]
            raise UserError(f"{clip.path}: its score is not a number; train the model anew with a "
                            "smaller learning rate")  # fmt: skip
        return Scores(tuple(test.clips), values)

    def normal_scores(self, train: Company) -> Scores:
        """Of the training clips as they are: a density of so many windows knows none by heart."""
        return self.score(train)

    @property
    def error(self) -> Error | None:
        """The error of a clip, from its windows and their reconstruction, dB."""
        return density_chains.error_of(self._standard) if self._kind.is_chain else None

    def chains(self) -> dict[str, list[Dense]]:
        """The network given each section, or at all, as chains of dense layers; see `sections`.

        Raises
        ------
        UserError : the network gives likelihoods, and is no chain of dense layers.
        """
        if not self._kind.is_chain:
            raise UserError(f"{self._path}: network {self._settings.network.kind} gives likelihoods"
                            ", and is no chain of dense layers that TFLite and C have; take "
                            "conditional_autoencoder")  # fmt: skip
        names = self._sections if self._n_conditions else (sections.ALL,)
        return {name: density_chains.given(self._network, i, self._standard)
                for i, name in enumerate(names)}  # fmt: skip

    def chain(self) -> list[Dense]:
        """The chain of a model of one section.

        Raises
        ------
        UserError : it has several, or see `chains`.
        """
        found = self.chains()
        if len(found) > 1:
            raise UserError(f"{self._path}: a chain for each section, {', '.join(found)}; take a "
                            "model of one, or detector.condition: none")  # fmt: skip
        return next(iter(found.values()))


def _numbers(array: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    if array.shape != tuple(shape) or array.dtype != np.float32 or not np.isfinite(array).all():
        raise ValueError(f"an array of shape {array.shape}, or not of numbers")
    return array
