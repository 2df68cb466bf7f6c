"""The kinds of networks, by the name that `network.kind` has in the YAML; without TensorFlow."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from asd.networks import architecture, settings
from asd.sections import Choice

if TYPE_CHECKING:
    import keras


class MultiResNet:
    """Residual networks on spectrograms of one to three lengths of frames, one on the spectrum.

    Wilkinghoff 2023, "Design choices for learning embeddings from auxiliary tasks for domain
    generalization in anomalous sound detection", ICASSP; several lengths of frames: Fujimura and
    others 2024, arXiv:2409.09332.
    """

    Settings = settings.MultiResNet

    @staticmethod
    def build(settings: settings.MultiResNet, n_samples: int, sample_rate: int) -> keras.Model:
        """See `asd.networks.multiresnet.build`."""
        from asd.networks import multiresnet

        return multiresnet.build(settings, n_samples, sample_rate)


class Student:
    """A small separable network on log-mel patches, whose int8 body fits a microcontroller."""

    Settings = settings.Student

    @staticmethod
    def build(settings: settings.Student, n_samples: int, sample_rate: int) -> keras.Model:
        """See `asd.networks.student.build`."""
        from asd.networks import student

        return student.build(settings, n_samples, sample_rate)


class MeanMel:
    """Dense layers on the mean of a clip's log-mel frames: what little data is enough for."""

    Settings = settings.MeanMel

    @staticmethod
    def build(settings: settings.MeanMel, n_samples: int, sample_rate: int) -> keras.Model:
        """See `asd.networks.mean_mel.build`."""
        from asd.networks import mean_mel

        return mean_mel.build(settings, n_samples, sample_rate)


class Beats:
    """BEATs, and what learns beside and behind it; see `asd.networks.pretrained`."""

    Settings = settings.Pretrained
    kind = "beats"

    @classmethod
    def build(cls, settings: settings.Pretrained, n_samples: int, sample_rate: int) -> keras.Model:
        """See `asd.networks.pretrained.build`."""
        from asd.networks import pretrained

        return pretrained.build(settings, cls.kind, n_samples, sample_rate)


class Eat(Beats):
    """The same of EAT."""

    Settings = settings.PretrainedEat
    kind = "eat"


KINDS = {
    "multiresnet": MultiResNet,
    "student": Student,
    "mean_mel": MeanMel,
    "beats": Beats,
    "eat": Eat,
}


def made_of(choice: Choice) -> dict[str, Any]:
    """What a network depends on: its section, and of a file that it names the SHA-256 alone."""
    values = {"kind": choice.kind, **choice.values}
    if "path" in values:
        values["file_sha256"] = architecture.sha256(Path(values.pop("path")))
    return values


def build(choice: Choice, n_samples: int, sample_rate: int) -> keras.Model:
    """The network that a section of the YAML names, not trained.

    Parameters
    ----------
    n_samples : of a clip
    sample_rate : Hz

    Raises
    ------
    UserError : see `Choice.section` and the kind's `build`.
    """
    kind, settings = choice.section(KINDS)
    return kind.build(settings, n_samples, sample_rate)
