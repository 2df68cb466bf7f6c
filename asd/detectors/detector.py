"""What the numbered scripts ask of a detector, whatever its method."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

from asd.backends.centres import Centres
from asd.clips import ClipSet, Scores
from asd.features.segments import Segments
from asd.paths import Paths
from asd.rows import Rows
from asd.store import Store
from asd.tflite.chain import Dense
from asd.training import Epoch
from common import Error, UserError

if TYPE_CHECKING:
    from asd.networks.parts import Parts


class TooFewClips(UserError):
    """Training clips are too few to be scored as clips not heard before."""


class Fitted(NamedTuple):
    """How a training went."""

    trained: int  # clips that were learnt from
    history: list[Epoch]  # empty where nothing is trained by epochs
    left_out: int = 0  # clips that neither were learnt from nor validated


class Detector(Protocol):
    """A method: it learns from normal clips and gives others an anomaly score.

    A kind is a class with a section `Settings`, made of the configuration and that section;
    `asd.detectors.kinds` lists them.

    Attributes
    ----------
    kind : its name in the YAML
    scope : "machine", a model for each machine type; "all", a network for all of them; "company",
        a model for each that learns from clips of others too: `fit` takes a lesson, see
        `asd.features.lessons`, in the place of a store
    network : an `asd.detectors.network.Network`, which is trained before, of a `Shared` one; or
        None
    suffixes : of its model files, the one that `save` writes first
    score_title : what a score is, with its unit
    made_of : the part of the configuration that a model depends on, as plain values
    rows : what a store holds of each clip for it
    names_as_published : of a kind that has it, whether submitted files are named as a published
        program does, see `asd.evaluation.years.PUBLISHED`
    error : of a method with a chain, what makes a clip's score of its windows and of what the chain
        gives for them
    """

    kind: str
    scope: Literal["machine", "all", "company"]
    network: Any
    suffixes: tuple[str, ...]
    score_title: str
    made_of: dict[str, Any]
    rows: Rows
    error: Error | None

    def fit(self, train: Store) -> Fitted:
        """Learn from the training clips."""

    def save(self, path: Path) -> None:
        """Write the model."""

    def load(self, path: Path) -> None:
        """Read a model.

        Raises
        ------
        UserError : it is damaged, or does not fit the configuration.
        """

    def score(self, test: Store) -> Scores:
        """The anomaly scores of clips."""

    def normal_scores(self, train: Store) -> Scores:
        """The scores of the training clips as those of clips not heard before.

        Raises
        ------
        TooFewClips : see there.
        """

    def chain(self) -> list[Dense] | None:
        """The dense chain that becomes TFLite and C; None for a method that has none.

        Raises
        ------
        UserError : the method has one, but this model is another.
        """


class Shared(Detector, Protocol):
    """A detector with a network, of one or of all machine types, which becomes TFLite.

    Attributes
    ----------
    network_name : what stands for a machine type in the names of its files
    network_path : its Keras file
    network_paths : where that is, and its TFLite files
    """

    network_name: str
    network_path: Path
    network_paths: Paths

    def groups(self, machine_types: Sequence[str]) -> list[list[str]]:
        """The machine types of each network."""

    def heard(self, paths: Paths) -> list[str]:
        """The machine types of some data whose clips the network learns from."""

    def learnt_from(self, own: Sequence[ClipSet], skip_bad_clips: bool, verify: bool) -> Segments:
        """All training clips of the network, where those of the run are given."""

    def parts(self) -> Parts:
        """The network's front end, and its body, which is converted."""

    def rows_of(self, tflite: Path) -> Rows:
        """Embeddings, one a clip, where a TFLite file takes the place of the body."""

    def centres(self) -> Centres:
        """What a device compares them with, of the machine type whose model was loaded."""
