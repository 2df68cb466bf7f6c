"""A network that tells the sections of a machine type apart; what it takes for another is odd.

The classifier of Primus and others 2021, "Improving generalizability of domain adaptation and proxy
outliers for anomalous sound detection", CP-JKU's system for DCASE 2021 Task 2: clips of other
sections and machines are proxy outliers, and few target clips are learnt from by alignment.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from asd import rows
from asd.clips import Scores
from asd.config import Config
from asd.detectors import weights
from asd.detectors.accompanied import Accompanied
from asd.detectors.aims import Settings
from asd.detectors.detector import Fitted
from asd.features import lessons, snippets, standard
from asd.features.lessons import Lesson
from asd.features.stores import Waves
from asd.paths import Paths
from asd.store import Store
from common import UserError

if TYPE_CHECKING:
    import keras

# What a model that another starts from has in common with it: keys of records, `kind` first.
OF_INITIAL = ("kind", "network", "normalisation", "task", "unit_rms")


class Auxiliary(Accompanied):
    """See `asd.detectors.detector.Detector`."""

    Settings = Settings
    kind = "auxiliary"
    network = None
    suffixes = (".npz",)
    score_title = "1 - probability of the own section"
    error = None

    def __init__(self, cfg: Config, settings: Settings, paths: Paths | None = None) -> None:
        from asd.networks import kinds as networks

        self._cfg, self._settings, self._paths = cfg, settings, paths
        settings.network.section(networks.CLASSIFIERS)  # which names a wrong key
        rate = cfg.feature.sample_rate
        self._length, self._hop = round(settings.seconds * rate), round(settings.hop_seconds * rate)
        if not (self._length and self._hop):
            raise UserError(f"{settings.network.file}: detector.seconds and hop_seconds: less than "
                            "a sample")  # fmt: skip
        self._feature = msgspec.structs.replace(cfg.feature, frames=1, central_frames=None)
        self._model: keras.Model | None = None
        self._names: tuple[str, ...] = ()
        fit, own = msgspec.to_builtins(cfg.fit), msgspec.structs.asdict(settings)
        del fit["verbose"]
        own |= {"network": {"kind": settings.network.kind, **settings.network.values}}
        if not settings.emphasis:  # as in records of before there was that key
            del own["emphasis"]
        self.made_of = {
            "feature": msgspec.to_builtins(self._feature),
            "detector": {"kind": self.kind, **msgspec.to_builtins(own)},
            "fit": fit,
            "seed": cfg.seed,
        }
        self.rows = rows.waves(cfg.feature)

    def lesson(self, machine_type: str, stores: Sequence[Store]) -> Lesson:
        """What the model of a machine type learns from.

        Raises
        ------
        UserError : it is nothing, or nothing that can be told apart.
        """
        own = self._settings
        there = lessons.lesson(machine_type, stores, own.outliers.of)
        if len(there.sections) == 1 and own.task == "sections":
            raise UserError(f"{machine_type}: all training clips are of section "
                            f"{there.sections[0]}, and nothing is told apart; take detector.task: "
                            "own_or_not, or another detector")  # fmt: skip
        if not len(there.of_domain(target=False)):
            raise UserError(f"{machine_type}: no source clips to learn from")
        if own.alignment and not len(there.of_domain(target=True)):
            raise UserError(f"{machine_type}: no target clips to align source clips with; set "
                            "detector.alignment to null")  # fmt: skip
        if own.initial:
            there = dataclasses.replace(there, initial=self._initial(machine_type)[1])
        return there

    def fit(self, train: Lesson) -> Fitted:
        """Train, or go on from the checkpoint of an interrupted training of the same make.

        Raises
        ------
        UserError : snippets are too short for the network or too few for a batch, the initial model
            is none or of another make, or the loss is not a number.
        """
        import keras_model

        keras_model.start_tensorflow(self._cfg.seed)
        from asd import auxiliary, discriminative, optimisers

        own, cfg = self._settings, self._cfg
        self._names = train.sections
        self._model = self._built()
        self._begin(train)
        how = own.optimiser
        rate = partial(optimisers.falling_rate, peak=how.learning_rate, lowest=how.lowest_rate,
                       constant=how.constant_epochs, falling=how.falling_epochs,
                       faithful=own.faithful)  # fmt: skip
        aligned = own.alignment
        aims = auxiliary.Aims(own.task == "own_or_not", own.outliers.weight, own.mixing,
                              aligned and aligned.margin, aligned.others if aligned else 1.0,
                              own.faithful)  # fmt: skip
        if altered := own.emphasis:
            aims = aims._replace(bands=altered.bands, db=altered.db,
                                 sample_rate=cfg.feature.sample_rate)  # fmt: skip
        optimiser = optimisers.Adam(how.learning_rate, how.weight_decay)
        learner = auxiliary.Classifier(self._model, train, aims, optimiser, rate, own.unit_rms,
                                       cfg.seed)  # fmt: skip
        fingerprint = discriminative.fingerprint(self.made_of, train)
        checkpoint = self.home.checkpoint(train.machine_type)
        history = list(discriminative.epochs(learner, train, cfg.fit, checkpoint, fingerprint))
        n_trained = len(train) if aligned else len(train.of_domain(target=False))
        return Fitted(n_trained, history, len(train) - n_trained)

    def _begin(self, train: Lesson) -> None:
        """Set what is not drawn: the weights of another run, or the statistics of bands."""
        own = self._settings
        if own.initial:
            path, sha256 = self._initial(train.machine_type)
            if sha256 != train.initial:
                raise UserError(f"{path}: another run has put another model there; run again")
            names, arrays = weights.read(path)
            if names != train.sections:
                raise UserError(f"{path}: of sections {', '.join(names)}, and these clips are of "
                                f"{', '.join(train.sections)}; train {own.initial} on the "
                                "same")  # fmt: skip
            weights.assign(path, self._model, arrays)
        elif own.normalisation == "mean_std":
            clips = (snippets.log_mel(self._wave(train[i]), self._feature)
                     for i in range(len(train)))  # fmt: skip
            found, norm = standard.statistics(clips), self._model.get_layer("norm")
            norm.mean.assign(found.mean)
            norm.deviation.assign(found.deviation)

    def _initial(self, machine_type: str) -> tuple[Path, str]:
        """The model that the training starts from, and its SHA-256."""
        detector = self.made_of["detector"]
        wanted = {f"detector.{key}": detector[key] for key in OF_INITIAL}
        wanted["feature"] = self.made_of["feature"]
        own = self._settings.initial
        return weights.initial(self.home, own, machine_type, self.suffixes, wanted)

    def _wave(self, samples: np.ndarray) -> np.ndarray:
        """A clip as it is cut, of at least one frame."""
        wave = snippets.unit_rms(samples) if self._settings.unit_rms else samples
        return snippets.cut(wave, 0, max(len(wave), self._feature.n_fft))

    def _built(self) -> keras.Model:
        from asd.networks import kinds as networks

        own, count = self._settings, len(self._names)
        return networks.classifier(own.network, self._feature, self._length, count,
                                   own.normalisation)  # fmt: skip

    def save(self, path: Path) -> None:
        """Write weights and the names of the sections."""
        weights.save(path, self._model, self._names)

    def load(self, path: Path) -> None:
        """Read a model.

        Raises
        ------
        UserError : it is damaged, or of another network.
        """
        import keras_model

        keras_model.start_tensorflow(0)  # nothing is drawn: any seed will do
        self._names, arrays = weights.read(path)
        self._model = self._built()
        weights.assign(path, self._model, arrays)

    def score(self, test: Store) -> Scores:
        """1 - the probability of each clip's own section, the mean over its snippets.

        Raises
        ------
        UserError : a clip is of a section that the model does not know.
        """
        return self._scores(Waves((test,)))

    def normal_scores(self, train: Lesson) -> Scores:
        """See `score`: of the clips that were learnt from, which score lower than others."""
        return self._scores(train.own)

    def _scores(self, clips: Waves) -> Scores:
        import tensorflow as tf

        from asd import auxiliary

        there = clips.clips
        for clip in there:
            if clip.section not in self._names:
                raise UserError(
                    f"{clip.path}: section {clip.section}, and the model of {clip.machine_type} "
                    f"knows {', '.join(self._names)}; with detector.learn_from: both it learns "
                    "from evaluation data too"
                )
        spec = tf.TensorSpec((None, self._length), tf.float32)
        logits = tf.function(lambda x: self._model(x, training=False)[1], input_signature=[spec])
        of_clips = [logits(self._snippets(clips[i])).numpy() for i in range(len(there))]
        sections = [self._names.index(clip.section) for clip in there]
        own = self._settings
        binary = own.task == "own_or_not"
        values = auxiliary.clip_scores(of_clips, sections, binary, own.faithful)
        if not np.isfinite(values).all():
            raise UserError("the model's output is not a number for some clip; train it anew")
        return Scores(tuple(there), values)

    def _snippets(self, samples: np.ndarray) -> np.ndarray:
        """Of a clip, (n_snippets, length) float32."""
        wave = self._wave(samples)
        starts = snippets.starts(len(samples), self._length, self._hop)
        return np.stack([snippets.cut(wave, int(start), self._length) for start in starts])

    def chain(self) -> None:
        """None: the network is no chain of dense layers."""
