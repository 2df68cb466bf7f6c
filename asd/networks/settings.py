"""Sections of the YAML that say how a network is made; without TensorFlow."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from asd.sections import Section

MOST_SPECTROGRAMS = 3
CHANNEL_STEPS = 8  # the narrowest layers have an eighth of the width
Width = Annotated[int, msgspec.Meta(ge=CHANNEL_STEPS, le=4096, multiple_of=CHANNEL_STEPS)]
Mels = Annotated[int, msgspec.Meta(ge=1, le=4096)]
NFft = Annotated[int, msgspec.Meta(ge=2, le=2**20, multiple_of=2)]  # frames overlap by half


class MultiResNet(Section, omit_defaults=True):
    """What the network takes and how it is made.

    A default is what the record of a model without that key means: the toolkit's network as
    it has been since July 2025. Before, it had padding: reflect and affine: true.
    """

    input: Literal["wave", "spectrogram"] = "wave"
    width: Width = 128
    n_ffts: Annotated[tuple[NFft, ...], msgspec.Meta(max_length=MOST_SPECTROGRAMS)] = (1024,)
    fft: bool = True  # a branch on the magnitudes of the whole clip's spectrum
    range_hz: tuple[float, float] = (200.0, 8000.0)  # of spectrograms, both ends included
    n_mels: Mels | None = None  # null: bins of the Fourier transform, not mel bands
    padding: Literal["zeros", "reflect"] = "zeros"  # of clips, by half a frame on either side
    log: bool = False  # spectrograms in dB
    subtract_time_mean: bool = False  # from each bin or band of a clip
    affine: bool = False  # batch normalisation with gamma and beta
    bias: bool = False  # of convolutions and dense layers
    se: bool = True  # gates of channels in residual blocks; the branch fft always has them
    gap: bool = False  # means over frequency instead of a dense layer on all of them
    faithful: bool = False  # gates of under 16 channels have no hidden unit, and are 1/2

    def __post_init__(self) -> None:
        low, high = self.range_hz
        if not 0 <= low < high:
            raise ValueError(f"range_hz [{low}, {high}] must rise from 0 or above")
        if not (self.n_ffts or self.fft):
            raise ValueError("n_ffts is empty and fft is false: no branch is left")
        if self.input == "spectrogram" and (self.fft or len(self.n_ffts) != 1):
            raise ValueError("input: spectrogram is that of one branch; set fft to false, and "
                             "one length in n_ffts")  # fmt: skip

    @property
    def size(self) -> int:
        """Elements of an embedding: width x branches."""
        return self.width * (self.fft + len(self.n_ffts))


Rho = Annotated[int, msgspec.Meta(ge=1, le=22)]


class CPResNet(Section):
    """A residual network of three stages of four blocks, and how far its convolutions see."""

    rho: tuple[Rho, Rho]  # of the axis of frequency and that of time
    channels: Annotated[int, msgspec.Meta(ge=1, le=1024)]  # of the first stage; 2 and 4 times later
