"""Our side of the comparison with PyTorch: a training step, and convolutions alone.

    python -m apps.benchmarks.networks_ours FOLDER

writes what PyTorch's side reads (weights, a batch), and serves; see `serving` and networks.py.
"""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

import keras_model
from apps.benchmarks.networks_ours_2021 import Classifier, Density
from apps.benchmarks.serving import serve
from asd import config, store
from asd.config import Config
from asd.corpora.find import find_machine_types
from asd.corpora.survey import survey
from asd.paths import Paths
from common import HERE, UserError

SEED = 0
FEW = 8  # clips that are scored to warm up


class Way:
    """A learner as 00_train.py has it, on one batch of noise.

    Parameters
    ----------
    cfg : of an embedding detector with one task
    settings : `classes` and `batch`, how many
    """

    def __init__(self, cfg: Config, settings: dict[str, Any], folder: Path) -> None:
        keras_model.start_tensorflow(SEED)
        import tensorflow as tf

        from asd import augment, losses, optimisers
        from asd.detectors import kinds as detectors
        from asd.detectors.network import TASKS
        from asd.discriminative import Learner, Task
        from asd.networks import kinds

        self.folder = folder
        _, own = cfg.detector.section(detectors.KINDS)
        rate, n_samples = cfg.feature.sample_rate, round(own.seconds * cfg.feature.sample_rate)
        self.network = kinds.build(own.network, n_samples, rate)
        _, task = own.tasks[0].section(TASKS)
        width = self.network.output_shape[-1]
        self.head = losses.of(task.loss, settings["classes"], width)
        adamw = optimisers.AdamW(own.optimiser.learning_rate, own.optimiser.weight_decay)
        rng = np.random.default_rng(SEED)
        waves = rng.standard_normal((settings["batch"], n_samples), np.float32) / 10
        classes = rng.integers(0, settings["classes"], settings["batch"])
        tasks = [Task(classes, settings["classes"], self.head, 1.0)]
        self._learner = Learner(self.network, tasks, adamw, augment.of(own.augment, rate), cfg.seed)
        self._batch = tf.constant(waves), (tf.constant(classes),)
        np.savez(folder / "batch.npz", waves=waves, classes=classes)
        np.savez(folder / "weights.npz", centres=self.head.centres.numpy(), **self._weights())
        self._steps = 0

    def _weights(self) -> dict[str, np.ndarray]:
        """Of layers that learn, by their names."""
        return {
            layer.name: layer.trainable_weights[0].numpy()
            for layer in self.network.layers
            if layer.trainable_weights
        }

    def embeddings(self, n: int) -> None:
        """Write the embeddings of some clips, in training and in inference, and the loss.

        The moving statistics stay as they were.
        """
        import tensorflow as tf

        before = self.network.get_weights()
        waves, (classes,) = self._batch
        inference = self.network(waves[:n], training=False)
        training = self.network(waves[:n], training=True)
        loss = self.head(training, tf.one_hot(classes[:n], self.head.classes))
        self.network.set_weights(before)
        np.savez(self.folder / "ours.npz", inference=inference, training=training, loss=loss)

    def step(self, count: int) -> float:
        """Steps of training; the last one's loss."""
        import tensorflow as tf

        for _ in range(count):
            self._steps += 1
            loss = self._learner._step(*self._batch, tf.constant(1), tf.constant(self._steps))
        return float(loss)


WAYS = {"embedding": Way, "auxiliary": Classifier, "density": Density}  # by kind of detector


def shapes(network: Any, batch: int) -> list[dict[str, Any]]:
    """What is known of each two-dimensional convolution, in the order of the network.

    `of_input` says whether the gradient of its input is needed: of all but those behind which
    nothing is learnt.
    """
    import keras

    found = []
    for layer in getattr(network, "layers", ()):
        if isinstance(layer, keras.layers.Conv2D):
            size = layer.kernel_size[0]
            found.append({
                "name": layer.name,
                "input": [batch, *layer.input.shape[1:]],
                "channels": layer.filters,
                "kernel": list(layer.kernel_size),
                "step": list(layer.strides),
                "padding": [size // 2 if layer.padding == "same" else 0] * 2,
                "of_input": bool(found),
            })  # fmt: skip
    return found


class Convolutions:
    """Convolutions alone, each compiled: forward, and the gradients of kernel and input."""

    def __init__(self, described: list[dict[str, Any]]) -> None:
        self._made = [self._one(**one) for one in described]

    @staticmethod
    def _one(
        input: list[int], channels: int, kernel: list[int], step: list[int],
        padding: list[int], of_input: bool, **_: Any,
    ) -> Any:  # fmt: skip
        import tensorflow as tf

        x = tf.random.stateless_normal(input, (0, 1))
        weights = tf.random.stateless_normal((*kernel, input[-1], channels), (0, 2))
        how = {"strides": [1, *step, 1], "padding": "SAME" if padding[0] else "VALID"}
        gradient = tf.random.stateless_normal(
            tf.raw_ops.Conv2D(input=x, filter=weights, **how).shape, (0, 3)
        )

        @tf.function
        def run(x: tf.Tensor, weights: tf.Tensor, gradient: tf.Tensor) -> list[tf.Tensor]:
            made = [
                tf.raw_ops.Conv2D(input=x, filter=weights, **how),
                tf.raw_ops.Conv2DBackpropFilter(
                    input=x, filter_sizes=weights.shape, out_backprop=gradient, **how
                ),
            ]
            if of_input:
                made.append(
                    tf.raw_ops.Conv2DBackpropInput(
                        input_sizes=x.shape, filter=weights, out_backprop=gradient, **how
                    )
                )
            return made

        run(x, weights, gradient)
        return run, (x, weights, gradient)

    def __call__(self) -> list[list[float]]:
        """Wall and CPU seconds of each."""
        seconds = []
        for run, arguments in self._made:
            wall, cpu = time.perf_counter(), time.process_time()
            run(*arguments)
            seconds.append([time.perf_counter() - wall, time.process_time() - cpu])
        return seconds


def train(folder: Path) -> None:
    """Make what scores: 00_train.py, one epoch of few clips."""
    command = [sys.executable, HERE / "00_train.py", "-d", "-c", folder / "case.yaml"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise UserError(done.stderr.strip().splitlines()[-1])


class Scorer:
    """What 01_test.py does with the clips of a machine type."""

    def __init__(self, cfg: Config) -> None:
        from asd.detectors import kinds

        self._paths = Paths(cfg, "dev")
        (self._clips,) = survey(self._paths, find_machine_types(self._paths), "test", False)
        name = self._clips.machine_type
        self._detector = kinds.of(cfg, self._paths)
        self._detector.load(self._paths.require_model(name, self._detector.suffixes))

    def __call__(self, few: bool) -> int:
        """Embeddings of all clips, or of few to warm up, and their scores; how many."""
        clips = self._clips
        if few:
            clips = dataclasses.replace(clips, clips=clips.clips[:FEW])
        rows = store.load(self._paths, clips, self._detector.rows, False, False)
        return len(self._detector.score(rows).values)


def main(folder: Path) -> None:
    """Serve."""
    settings = json.loads((folder / "case.json").read_text(encoding="utf-8"))
    cfg = config.load_config(folder / "case.yaml")
    way = WAYS[cfg.detector.kind](cfg, settings, folder)
    described = shapes(way.network, settings["batch"])
    alone: list[Convolutions] = []
    scorers: list[Scorer] = []

    def convolutions() -> list[list[float]]:
        alone[:] = alone or [Convolutions(described)]
        return alone[0]()

    serve({
        "shapes": lambda: described,
        "embeddings": way.embeddings,
        "step": way.step,
        "convolutions": convolutions,
        "train": lambda: train(folder),
        "scorer": lambda: scorers.append(Scorer(cfg)),
        "score": lambda few: scorers[0](few),
    })  # fmt: skip


if __name__ == "__main__":
    main(Path(sys.argv[1]))
