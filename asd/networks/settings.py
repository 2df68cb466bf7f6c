"""Sections of the YAML that say how a network is made; without TensorFlow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec

from asd.networks import architecture
from asd.sections import Limit, Name, Section

if TYPE_CHECKING:
    from asd.networks.scaling import Scaling

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


Frames = Annotated[int, msgspec.Meta(ge=1, le=1024)]
Channels = Annotated[int, msgspec.Meta(ge=1, le=4096)]


class Student(Section, omit_defaults=True):
    """The patches that the small network takes, and its layers."""

    n_mels: Mels = 32
    n_fft: Annotated[int, msgspec.Meta(ge=2, le=2**16, multiple_of=2)] = 1024  # samples
    hop_length: Annotated[int, msgspec.Meta(ge=1, le=2**16)] = 512  # samples
    frames: Frames = 32  # of a patch
    step: Frames = 32  # frames from a patch to the next
    channels: Annotated[tuple[Channels, ...], msgspec.Meta(min_length=1, max_length=64)] = (
        32, 64, 64, 96, 96,
    )  # fmt: skip
    steps: tuple[Literal[1, 2], ...] = (1, 2, 1, 2, 1)  # of these blocks, in time and mel bands
    size: Channels = 64  # elements of an embedding

    def __post_init__(self) -> None:
        if len(self.channels) != len(self.steps):
            raise ValueError(f"{len(self.channels)} channels and {len(self.steps)} steps: each "
                             "block has one of both")  # fmt: skip


class MeanMel(Section, omit_defaults=True):
    """Log-mel frames, and the dense layers on their mean."""

    n_mels: Mels = 128
    n_fft: Annotated[int, msgspec.Meta(ge=2, le=2**16, multiple_of=2)] = 1024  # samples
    hop_length: Annotated[int, msgspec.Meta(ge=1, le=2**16)] = 512  # samples
    hidden: Annotated[tuple[Channels, ...], msgspec.Meta(max_length=64)] = (256, 256)  # units
    size: Channels = 128  # elements of an embedding


class Lora(Section):
    """What learns beside the dense layers of a transformer; see `asd.networks.transformer`."""

    rank: Annotated[int, msgspec.Meta(ge=0, le=4096)]  # 0: nothing
    alpha: Limit
    layers: Annotated[
        tuple[Literal["q", "k", "v", "out", "fc1", "fc2"], ...], msgspec.Meta(min_length=1)
    ]


# Shorter clips are filled up to it, as in EAT's training; longer ones to whole patches.
PATCH = architecture.PATCH
LeastFrames = Annotated[int, msgspec.Meta(ge=PATCH, le=1 << 16, multiple_of=PATCH)]


class Pretrained(Section):
    """A network in a file that `asd.networks.convert` wrote, and what learns with it."""

    path: Name
    lora: Lora | None = None  # null: the network stays as it is
    pooling: Literal["attentive", "mean"] = "attentive"  # of what it gives for each patch
    width: Annotated[int, msgspec.Meta(ge=1, le=4096)] = 256  # of embeddings

    def __post_init__(self) -> None:
        architecture.check_file(self.path)

    def scaling(self, usual: Scaling) -> Scaling:
        """How frames are scaled and filled up."""
        return usual

    @property
    def of_lora(self) -> dict[str, Any] | None:
        """`lora` as plain values."""
        return msgspec.to_builtins(self.lora) if self.lora and self.lora.rank else None


class PretrainedEat(Pretrained):
    """The same of EAT."""

    least_frames: LeastFrames = architecture.FRAMES_OF_EAT

    def scaling(self, usual: Scaling) -> Scaling:
        """As these frames fill it up."""
        return usual._replace(least_frames=self.least_frames)


Rho = Annotated[int, msgspec.Meta(ge=1, le=22)]


class BandMoments(Section):
    """Dense layers on the mean and the deviation of each band."""

    hidden: Annotated[tuple[Channels, ...], msgspec.Meta(min_length=1, max_length=64)]  # units


class CPResNet(Section):
    """A residual network of three stages of blocks, and how far its convolutions see."""

    rho: tuple[Rho, Rho]  # of the axis of frequency and that of time
    channels: Annotated[int, msgspec.Meta(ge=1, le=1024)]  # of the first stage; 2 and 4 times later
    blocks: Annotated[int, msgspec.Meta(ge=1, le=4)] = (
        4  # of a stage; fewer than published: smaller
    )
