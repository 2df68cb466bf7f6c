"""The network that all machine types share, in training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec

from asd import rows
from asd.clips import Clip
from asd.config import Config
from asd.detectors.detector import Fitted
from asd.features import segments
from asd.features.segments import Segments
from asd.sections import Choice, Limit, Section
from asd.store import Store
from common import UserError

if TYPE_CHECKING:
    from asd.discriminative import Task

Part = Literal["machine", "section", "attributes", "domain"]


class Optimiser(Section):
    """AdamW, see `asd.optimisers`."""

    learning_rate: Limit
    weight_decay: Annotated[float, msgspec.Meta(ge=0, lt=1)]
    warm_up_steps: Annotated[int, msgspec.Meta(ge=0)]


class ToldApart:
    """Classes that are told apart: what they are of, the loss, and its weight in the sum."""

    class Settings(Section):
        """The section of a task of the kind `classes`."""

        of: Annotated[tuple[Part, ...], msgspec.Meta(min_length=1)]
        loss: Choice
        weight: Limit = 1.0
        # True: classes of test clips have centres, too, as published, though no clip trains them
        faithful: bool = False


TASKS = {"classes": ToldApart}


class Learning(Section):
    """The network and what it learns."""

    seconds: Limit  # of a clip; shorter ones are repeated, longer ones cut
    network: Choice
    tasks: tuple[Choice, ...]
    augment: tuple[Choice, ...]
    optimiser: Optimiser


ALL = "all"  # in the place of a machine type: the network of all of them


class Network:
    """The network of all machine types in training; what 00_train.py asks of a detector.

    Attributes
    ----------
    rows : samples
    made_of : the network, what it learns and how
    """

    kind = "network"
    suffixes = (".keras",)

    def __init__(self, cfg: Config, settings: Learning) -> None:
        from asd.networks import kinds as networks

        self._cfg, self._settings = cfg, settings
        fit = msgspec.to_builtins(cfg.fit)
        del fit["verbose"]
        for name in ("network", "tasks", "augment"):
            _check(name, getattr(settings, name))
        self.made_of = {
            "feature": {"sample_rate": cfg.feature.sample_rate, "channel": cfg.feature.channel},
            "detector": {
                "seconds": settings.seconds,
                "network": networks.made_of(settings.network),
                "tasks": [_plain(one) for one in settings.tasks],
                "augment": [_plain(one) for one in settings.augment],
                "optimiser": msgspec.to_builtins(settings.optimiser),
            },
            "fit": fit,
            "seed": cfg.seed,
        }
        self.rows = rows.waves(cfg.feature)

    @property
    def is_faithful(self) -> bool:
        """Whether names of test clips tell of classes, too."""
        return any(choice.section(TASKS)[1].faithful for choice in self._settings.tasks)

    def segments(self, stores: Sequence[Store], others: Sequence[Clip] = ()) -> Segments:
        """The clips to learn from, of stores of samples; in one order, whatever theirs.

        Parameters
        ----------
        others : see `Segments`
        """
        n_samples = round(self._settings.seconds * self._cfg.feature.sample_rate)
        ordered = sorted(stores, key=lambda one: one.clips[0].machine_type)
        return Segments(tuple(ordered), n_samples, tuple(others))

    def fit(self, train: Segments, checkpoint: Path) -> Fitted:
        """Train, or go on from the checkpoint of an interrupted training of the same make.

        Raises
        ------
        UserError : clips are too short for the network, all are of one class, batches are of one
            clip, or the loss is not a number.
        """
        if self._cfg.fit.batch_size == 1:
            raise UserError("fit.batch_size 1: batch normalisation needs two clips or more")
        import keras_model

        keras_model.start_tensorflow(self._cfg.seed)
        from asd import augment, discriminative, optimisers
        from asd.networks import kinds as networks

        own = self._settings
        self._network = networks.build(own.network, train.n_samples, self._cfg.feature.sample_rate)
        tasks = [self._task(one, train, self._network.output_shape[-1]) for one in own.tasks]
        rate, warm_up = own.optimiser.learning_rate, own.optimiser.warm_up_steps
        how = optimisers.WarmUp(rate, warm_up) if warm_up else rate
        optimiser = optimisers.AdamW(how, own.optimiser.weight_decay)
        ways = augment.of(own.augment, self._cfg.feature.sample_rate)
        learner = discriminative.Learner(self._network, tasks, optimiser, ways, self._cfg.seed)
        fingerprint = discriminative.fingerprint(self.made_of, train)
        history = discriminative.epochs(learner, train, self._cfg.fit, checkpoint, fingerprint)
        return Fitted(len(train), list(history))

    def _task(self, choice: Choice, train: Segments, width: int) -> Task:
        from asd import augment, losses
        from asd.discriminative import Task

        _, values = choice.section(TASKS)
        others = train.others if values.faithful else ()
        classes = segments.classes(train.clips, values.of, others)
        count = len(classes.names)
        if count < 2:
            raise UserError(f"{choice.file}: key {choice.key}.of: all training clips are of the "
                            f"one class {classes.names[0]}, and nothing is told apart; name more "
                            f"of {', '.join(segments.PARTS)}")  # fmt: skip
        print(f"{count} classes by {', '.join(values.of)}")
        head = losses.of(values.loss, count * augment.factor(self._settings.augment), width)
        return Task(classes.of_clips, count, head, values.weight)

    def save(self, path: Path) -> None:
        """Write the Keras model."""
        self._network.save(path)


def _check(name: str, choices: Choice | tuple[Choice, ...]) -> None:
    """See that sections are right before anything is computed."""
    from asd import augment, losses
    from asd.networks import kinds as networks

    kinds: dict[str, Any] = {"network": networks.KINDS, "tasks": TASKS, "augment": augment.KINDS}
    for choice in choices if isinstance(choices, tuple) else (choices,):
        _, values = choice.section(kinds[name])
        if name == "tasks":
            losses.check(values.loss)


def _plain(choice: Choice) -> dict[str, Any]:
    return {"kind": choice.kind, **choice.values}
