"""The kinds of networks of a density, by the name that `network.kind` has; without TensorFlow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import msgspec

from asd.sections import Choice, Section
from common import Positive

if TYPE_CHECKING:
    from asd.densities.networks import Density

Unit = Annotated[int, msgspec.Meta(ge=1, le=65535)]  # as many as generated C takes
Hidden = Annotated[tuple[Unit, ...], msgspec.Meta(min_length=1)]
Degrees = Literal["cyclic", "spread"]


class Made:
    """See `asd.densities.networks.Made`."""

    title = "negative log-likelihood of an element of a window (nats)"
    is_chain = False

    class Settings(Section):
        """Units of the hidden layers; components of a mixture, 1 for a single Gaussian."""

        hidden: Hidden
        components: Positive = 1
        degrees: Degrees = "cyclic"

    @staticmethod
    def build(settings: Settings, size: int, n_conditions: int) -> Density:
        """The network, without variables."""
        from asd.densities import networks

        own = settings
        return networks.Made(size, n_conditions, own.hidden, own.components, degrees=own.degrees)


class Maf:
    """See `asd.densities.networks.Maf`."""

    title = Made.title
    is_chain = False

    class Settings(Section):
        """Units of the hidden layers of each block; components of the mixture behind them."""

        hidden: Hidden
        blocks: Positive
        components: Positive = 1
        degrees: Degrees = "cyclic"

    @staticmethod
    def build(settings: Settings, size: int, n_conditions: int) -> Density:
        """The network, without variables."""
        from asd.densities import networks

        own = settings
        return networks.Maf(size, n_conditions, own.hidden, own.blocks, own.components, own.degrees)


class ConditionalAutoEncoder:
    """See `asd.densities.networks.ConditionalAutoEncoder`."""

    title = "mean squared reconstruction error"
    is_chain = True  # of dense layers, given a section

    class Settings(Section):
        """Units of the hidden layers, each with batch normalisation and ReLU."""

        encoder: tuple[Unit, ...]
        bottleneck: Unit
        decoder: tuple[Unit, ...]

    @staticmethod
    def build(settings: Settings, size: int, n_conditions: int) -> Density:
        """The network, without variables."""
        from asd.densities import networks

        units = settings.encoder, settings.bottleneck, settings.decoder
        return networks.ConditionalAutoEncoder(size, n_conditions, *units)


KINDS = {"made": Made, "maf": Maf, "conditional_autoencoder": ConditionalAutoEncoder}


def build(choice: Choice, size: int, n_conditions: int) -> Density:
    """The network that a section of the YAML names, with its variables.

    Parameters
    ----------
    size : elements of a window
    n_conditions : how many there are; 0: none

    Raises
    ------
    UserError : see `Choice.section`.
    """
    kind, settings = choice.section(KINDS)
    network = kind.build(settings, size, n_conditions)
    network.make()
    return network
