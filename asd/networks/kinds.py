"""The kinds of networks, by the name that `network.kind` has in the YAML; without TensorFlow."""

from __future__ import annotations

from typing import TYPE_CHECKING

from asd.networks import settings
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


KINDS = {"multiresnet": MultiResNet, "student": Student}


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
