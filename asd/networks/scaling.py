"""How pre-trained transformers want the frames of a wave; without TensorFlow."""

from __future__ import annotations

from typing import NamedTuple

from asd.networks.architecture import FRAMES_OF_EAT, PATCH, SAMPLE_RATE
from common import UserError

FRAME, HOP = 400, 160  # samples: 25 and 10 ms


class Scaling(NamedTuple):
    """How a network wants its frames; lengths in frames.

    Attributes
    ----------
    window : "povey" or "hanning"
    gain : by which waves are multiplied
    centred : the mean of each wave is taken away
    mean, deviation : of all frames of the training; half of (x - mean) / deviation is given
    least_frames : shorter clips are filled up to, and longer ones to whole patches, by frames of
        0 before they are scaled; None: what is more than whole patches is left out
    """

    window: str
    gain: float
    centred: bool
    mean: float
    deviation: float
    least_frames: int | None


# As the programs of the two have them; EAT's are those of AudioSet.
SCALINGS = {
    "beats": Scaling("povey", 2.0**15, False, 15.41663, 6.55582, None),
    "eat": Scaling("hanning", 1.0, True, -4.268, 4.569, FRAMES_OF_EAT),
}


def least_samples(scaling: Scaling) -> int:
    """The shortest wave that gives a patch."""
    frames = PATCH if scaling.least_frames is None else 1
    return (frames - 1) * HOP + FRAME


def n_frames(n_samples: int, scaling: Scaling) -> int:
    """Frames that are given of a wave, a multiple of a patch's."""
    frames = 1 + (n_samples - FRAME) // HOP
    if scaling.least_frames is None:
        return frames // PATCH * PATCH
    return max(scaling.least_frames, -(-frames // PATCH) * PATCH)


def check_rate(sample_rate: int) -> None:
    """See that clips are of the rate that these networks were made for."""
    if sample_rate != SAMPLE_RATE:
        raise UserError(
            f"feature.sample_rate {sample_rate}: pre-trained networks hear {SAMPLE_RATE} samples a "
            "second; set it to that, and resample the clips"
        )
