"""The kinds of networks, by the name that `network.kind` has in the YAML; without TensorFlow."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from asd.networks import architecture, settings
from asd.sections import Choice
from common import Feature, UserError

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


class CPResNet:
    """See `asd.networks.cpresnet`."""

    Settings = settings.CPResNet

    @staticmethod
    def build(settings: settings.CPResNet, images: keras.KerasTensor, n_classes: int) -> tuple:
        """See `asd.networks.cpresnet.build`."""
        from asd.networks import cpresnet

        return cpresnet.build(settings, images, n_classes)


class BandMoments:
    """See `asd.networks.band_moments`."""

    Settings = settings.BandMoments

    @staticmethod
    def build(settings: settings.BandMoments, images: keras.KerasTensor, n_classes: int) -> tuple:
        """See `asd.networks.band_moments.build`."""
        from asd.networks import band_moments

        return band_moments.build(settings, images, n_classes)


CLASSIFIERS = {"cpresnet": CPResNet, "band_moments": BandMoments}
Normalisation = Literal["batchnorm", "mean_std"]


def classifier(
    choice: Choice, feature: Feature, n_samples: int, n_classes: int, normalisation: Normalisation
) -> keras.Model:
    """A network from waves, (n, n_samples), to embeddings, of any shape, and logits.

    Parameters
    ----------
    feature : of the log-mel images that it sees
    normalisation : of these: one batch normalisation of all values, or mean and deviation of bands

    Raises
    ------
    UserError : see `Choice.section`; or the waves are too short for the network.
    """
    import keras
    import msgspec

    from asd.networks import layers, spectra

    kind, settings = choice.section(CLASSIFIERS)
    waves = keras.Input((n_samples,), name="waves")
    n_frames = 1 + (n_samples - feature.n_fft) // feature.hop_length
    try:
        if n_frames < 1:
            raise ValueError(f"{n_samples} samples are no frame of {feature.n_fft}")
        images = spectra.LogMel(msgspec.to_builtins(feature), name="log_mel")(waves)
        of_bands = normalisation == "mean_std"
        norm = spectra.BandNormalization if of_bands else layers.BatchNormalization
        outputs = kind.build(settings, norm(name="norm")(images), n_classes)
    except ValueError as error:
        raise UserError(f"{choice.file}: key detector.seconds: {error}; take more") from error
    return keras.Model(waves, outputs)
