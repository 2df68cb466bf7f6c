"""Augmentation: training clips changed at random, so that more is learnt from few.

`KINDS` lists the ways by the name that `kind` has in the YAML; TensorFlow is imported when one is
made. Each is a pure function of its draws (`mixing`, `masking`, `exchange`) and a thin class that
draws from a key, `keys`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from asd.augment import settings
from asd.sections import Choice, Section


@dataclass(frozen=True)
class Kind:
    """A way to augment: its section in the YAML, and where its class is."""

    Settings: type[Section]
    module: str  # of asd.augment
    name: str


KINDS = {
    "mixup": Kind(settings.Mixup, "mixing", "Mixup"),
    "cutmix": Kind(settings.Cutmix, "mixing", "Cutmix"),
    "spec_augment": Kind(settings.SpecAugment, "masking", "SpecAugment"),
}


def of(choices: tuple[Choice, ...]) -> Callable:
    """The augmentations that sections of the YAML name, one after the other.

    Returns
    -------
    function of a key, see `keys.of_step`; waves, (n, n_samples); and labels by name,
        (n, n_classes), that returns the waves and labels to learn from

    Raises
    ------
    UserError : see `Choice.section`.
    """
    from asd.augment import keys, masking, mixing

    modules = {"mixing": mixing, "masking": masking}
    ways = []
    for choice in choices:
        kind, values = choice.section(KINDS)
        ways.append(getattr(modules[kind.module], kind.name)(values))

    def augment(key, waves, labels):
        for i, way in enumerate(ways):
            waves, labels = way(keys.split(key, i), waves, labels)
        return waves, labels

    return augment
