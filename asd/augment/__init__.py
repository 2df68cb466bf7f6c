"""Augmentation: training clips changed at random, so that more is learnt from few.

`KINDS` lists the ways by the name that `kind` has in the YAML; TensorFlow is imported when one is
made. Each is a pure function of its draws (`mixing`, `masking`, `emphasis`, `exchange`) and a thin
class that draws from a key, `keys`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from asd.augment import settings
from asd.sections import Choice, Section

if TYPE_CHECKING:
    import tensorflow as tf


@dataclass(frozen=True)
class Kind:
    """A way to augment: its section in the YAML, and where its class is."""

    Settings: type[Section]
    module: str  # of asd.augment
    name: str


KINDS = {
    "mixup": Kind(settings.Mixup, "mixing", "Mixup"),
    "cutmix": Kind(settings.Cutmix, "mixing", "Cutmix"),
    "emphasis": Kind(settings.Emphasis, "emphasis", "Emphasis"),
    "spec_augment": Kind(settings.SpecAugment, "masking", "SpecAugment"),
}


class Augmentation:
    """Ways to augment, one after the other.

    Attributes
    ----------
    factor : classes that they make of each
    """

    def __init__(self, ways: Sequence[Callable] = (), factor: int = 1) -> None:
        self._ways, self.factor = ways, factor

    def __call__(
        self, key: tf.Tensor, waves: tf.Tensor, labels: dict[str, tf.Tensor]
    ) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """Waves and labels to learn from.

        Parameters
        ----------
        key : see `keys.of_step`
        waves : (n, n_samples)
        labels : by name, (n, n_classes)

        Returns
        -------
        waves : (n, n_samples)
        labels : (n, n_classes * factor)
        """
        from asd.augment import keys

        for i, way in enumerate(self._ways):
            waves, labels = way(keys.split(key, i), waves, labels)
        return waves, labels


def factor(choices: tuple[Choice, ...]) -> int:
    """Classes that augmentations make of each; needs no TensorFlow."""
    values = [choice.section(KINDS)[1] for choice in choices]
    return math.prod(getattr(one, "factor", 1) for one in values)


def of(choices: tuple[Choice, ...], sample_rate: int) -> Augmentation:
    """The augmentations that sections of the YAML name, in their order.

    Parameters
    ----------
    sample_rate : of waves, Hz

    Raises
    ------
    UserError : see `Choice.section`.
    """
    from asd.augment import emphasis, masking, mixing

    modules = {"emphasis": emphasis, "mixing": mixing, "masking": masking}
    ways = []
    for choice in choices:
        kind, values = choice.section(KINDS)
        ways.append(getattr(modules[kind.module], kind.name)(values, sample_rate))
    return Augmentation(ways, factor(choices))
