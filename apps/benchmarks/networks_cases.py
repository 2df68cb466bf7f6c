"""Which networks are compared with PyTorch, and how much is measured; see networks.py."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

LAYOUTS = {"first": "PyTorch", "last": "PyTorch, channels last"}
MASKS = {"masked": "PyTorch, weights times masks", "closed": "PyTorch, masks behind the step"}


@dataclass(frozen=True)
class Case:
    """Networks that are compared.

    Attributes
    ----------
    title : in the table
    recipe : that trains it
    values : of a width, those of the YAML's section `detector.network` that differ from the
        recipe's. Its kind is also the name in `networks_torch.WAYS`.
    width, batch : of the network and of a step, unless the size has less
    steps : that are timed as one, where one is short
    ways : of PyTorch, and how the table calls them
    least : ratios that are asked for, if any are
    scored : scoring is measured, too
    """

    title: str
    recipe: str
    values: Callable[[int], dict[str, Any]]
    width: int
    batch: int
    steps: int = 1
    ways: Mapping[str, str] = field(default_factory=lambda: LAYOUTS)
    least: float | None = None
    scored: bool = False


def branches(fft: bool) -> Callable[[int], dict[str, Any]]:
    """Values of a MultiResNet."""
    own = {"kind": "multiresnet", "n_ffts": [1024], "range_hz": [200, 8000], "fft": fft}
    return lambda width: own | {"width": width}


TOOLKIT = "scac_trainable.yaml"
CASES = {
    "spectrogram": Case("spectrogram branch", TOOLKIT, branches(False), 128, 64, least=1,
                        scored=True),
    "whole": Case("both branches", TOOLKIT, branches(True), 128, 64, scored=True),
    "cpresnet": Case("CP-ResNet", "auxiliary.yaml", lambda width: {
        "kind": "cpresnet", "rho": [12, 12], "channels": width}, 16, 16, least=1),
    "made": Case("MADE", "made.yaml", lambda width: {"kind": "made", "hidden": [width] * 5},
                 256, 512, 20, MASKS, least=1),
}  # fmt: skip


@dataclass(frozen=True)
class Size:
    """How much is measured; at most so large a batch and so wide a network."""

    batch: int
    width: int
    classes: int
    seconds: float  # of a clip
    turns: int
    clips: int  # to score
    scorings: int


SIZES = {
    "full": Size(512, 256, 187, 10.0, 9, 1000, 3),
    "medium": Size(512, 256, 187, 10.0, 2, 200, 1),
    "small": Size(4, 16, 5, 5.0, 2, 8, 1),
}
