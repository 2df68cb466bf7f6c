"""Our side of the comparison with PyTorch for the networks of CP-JKU's system of 2021."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

import keras_model
from asd.config import Config

SEED = 0
SECTIONS = ("00", "01", "02", "03", "04", "05")
EPOCH = 1


class Classifier:
    """A classifier of sections in training as 00_train.py has it, on one batch of noise.

    Half of the batch are proxy outliers.

    Parameters
    ----------
    cfg : of an auxiliary detector
    settings : `batch`, how many own clips
    """

    def __init__(self, cfg: Config, settings: dict[str, Any], folder: Path) -> None:
        keras_model.start_tensorflow(SEED)
        import tensorflow as tf

        from asd import auxiliary, optimisers
        from asd.detectors import kinds as detectors

        detector = detectors.of(cfg)
        _, own = cfg.detector.section(detectors.KINDS)
        detector._names = SECTIONS
        self.network, self._folder = detector._built(), folder
        rng, size, (_, n_samples) = (
            np.random.default_rng(SEED), settings["batch"], self.network.input_shape,
        )  # fmt: skip
        waves = rng.standard_normal((2 * size, n_samples), np.float32) / 10
        sections = rng.integers(0, len(SECTIONS), 2 * size).astype(np.int32)
        clips = np.arange(size)
        lesson = SimpleNamespace(
            of_domain=lambda target: clips, outliers=clips, sections=SECTIONS,
            machine_type="", heard=SimpleNamespace(clips=[]),
        )  # fmt: skip
        aims = auxiliary.Aims(False, own.outliers.weight, own.mixing, None, 1.0, own.faithful)
        adam = optimisers.Adam(own.optimiser.learning_rate, own.optimiser.weight_decay)
        self._learner = auxiliary.Classifier(
            self.network, lesson, aims, adam, lambda epoch: own.optimiser.learning_rate,
            own.unit_rms, SEED,
        )  # fmt: skip
        self._batch = [tf.constant(one) for one in (waves, sections, np.int32([size, 0, size]))]
        weights = {one.name: one.kernel.numpy() for one in self.network.layers
                   if hasattr(one, "kernel")}  # fmt: skip
        np.savez(folder / "batch.npz", waves=waves, sections=sections)
        np.savez(folder / "weights.npz", **weights)

    def embeddings(self, _: int) -> None:
        """Write the mean map of all clips, in training and in inference, and the loss.

        Not their logits: in training these are means of about 0, of which rounding is a large part.
        The moving statistics stay as they were.
        """
        import tensorflow as tf

        before, (waves, sections, counts) = self.network.get_weights(), self._batch
        inference, _ = self.network(waves, training=False)
        training, logits = self.network(waves, training=True)
        self.network.set_weights(before)
        own = int(counts[0])
        labels = tf.one_hot(sections[:own], len(SECTIONS))
        loss = self._learner._loss(labels, sections, logits, own)
        inference, training = (tf.reduce_mean(one, (1, 2)) for one in (inference, training))
        np.savez(self._folder / "ours.npz", inference=inference, training=training, loss=loss)

    def step(self, count: int) -> float:
        """Steps of training; the last one's loss."""
        for i in range(count):
            loss = self._learner._step(*self._batch, EPOCH, i)
        return float(loss)


class Density:
    """A density in training as 00_train.py has it, on one batch of noise.

    Half of the batch are outliers.

    Parameters
    ----------
    cfg : of a density detector
    settings : `batch`, how many normal windows
    """

    def __init__(self, cfg: Config, settings: dict[str, Any], folder: Path) -> None:
        keras_model.start_tensorflow(SEED)
        import tensorflow as tf

        from asd.densities.learner import Learner, Ranking
        from asd.detectors import density_networks
        from asd.detectors import kinds as detectors

        _, own = cfg.detector.section(detectors.KINDS)
        rng, size, width = np.random.default_rng(SEED), settings["batch"], cfg.feature.vector_size
        network = density_networks.build(own.network, width, len(SECTIONS))
        rate, how = own.optimiser.learning_rate, own.outliers
        ranking = Ranking(how.margin, how.weight)
        self._learner = Learner(network, lambda epoch: rate, own.optimiser.weight_decay, ranking,
                                SEED)  # fmt: skip
        windows = rng.standard_normal((2 * size, width), np.float32)
        conditions = rng.integers(0, len(SECTIONS), 2 * size).astype(np.int32)
        self._batch = [tf.constant(one) for one in (windows, conditions, np.int32(size))]
        self.network, self._folder, self._ranking = network, folder, ranking
        np.savez(folder / "batch.npz", windows=windows, conditions=conditions)
        weights = {name: one.numpy() for name, one in network.named().items()}
        np.savez(folder / "weights.npz", **weights)

    def embeddings(self, _: int) -> None:
        """Write the log-likelihoods of all windows, an element, and the loss."""
        from asd.densities import losses

        windows, conditions, n_normal = self._batch
        found = self.network(windows, conditions, training=True) / self.network.size
        normal, outliers = found[:n_normal], found[n_normal:]
        loss = losses.negative_log_likelihood(normal) + self._ranking.weight * (
            losses.margin_ranking(normal, outliers, self._ranking.margin)
        )
        np.savez(self._folder / "ours.npz", training=found, loss=loss)

    def step(self, count: int) -> float:
        """Steps of training; the last one's loss."""
        for _ in range(count):
            loss = self._learner._step(*self._batch)
        return float(loss)
