"""The kinds of detectors, by the name that `detector.kind` has in the YAML."""

from __future__ import annotations

from collections.abc import Sequence

from asd.config import Config
from asd.detectors.autoencoder import AutoEncoder
from asd.detectors.auxiliary import Auxiliary
from asd.detectors.density import Density
from asd.detectors.detector import Detector
from asd.detectors.embedding import Embedding
from asd.detectors.ensemble import Ensemble
from asd.detectors.frozen import Frozen
from asd.paths import Paths

KINDS = {
    "autoencoder": AutoEncoder,
    "frozen": Frozen,
    "embedding": Embedding,
    "auxiliary": Auxiliary,
    "density": Density,
    "ensemble": Ensemble,
}


def of(cfg: Config, paths: Paths | None = None, machine_type: str | None = None) -> Detector:
    """The detector that the configuration names, without a model.

    Parameters
    ----------
    paths : where a kind with a network finds that, and one whose scope is "company" its models
    machine_type : whose, of a kind that has a network for each

    Raises
    ------
    UserError : no such kind, or a key of its section is unknown, missing or ill-typed.
    """
    kind, settings = cfg.detector.section(KINDS)
    if kind is Embedding:
        return kind(cfg, settings, paths, machine_type)
    return kind(cfg, settings) if kind.scope == "machine" else kind(cfg, settings, paths)


def each(cfg: Config, paths: Paths, machine_types: Sequence[str]) -> dict[str, Detector]:
    """The detector of each machine type: one for all, unless each has a network of its own.

    So a network is opened once, however often its detector is asked.

    Raises
    ------
    UserError : see `of`.
    """
    one = of(cfg, paths)
    if one.network and one.scope == "machine":
        return {name: of(cfg, paths, name) for name in machine_types}
    return dict.fromkeys(machine_types, one)
