"""The kinds of detectors, by the name that `detector.kind` has in the YAML."""

from __future__ import annotations

from asd.config import Config
from asd.detectors.autoencoder import AutoEncoder
from asd.detectors.detector import Detector
from asd.detectors.frozen import Frozen

KINDS = {"autoencoder": AutoEncoder, "frozen": Frozen}


def of(cfg: Config) -> Detector:
    """The detector that the configuration names, without a model.

    Raises
    ------
    UserError : no such kind, or a key of its section is unknown, missing or ill-typed.
    """
    kind, settings = cfg.detector.section(KINDS)
    return kind(cfg, settings)
