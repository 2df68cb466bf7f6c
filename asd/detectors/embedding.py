"""Embeddings of a network that tells machines, sections and attributes apart, with a back end.

One network is trained on the clips of all machine types, or one on those of each; of each machine
type the embeddings of its training clips are remembered, and a back end scores by them, as the
frozen detector does.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from asd import embeddings, store
from asd.backends import centres
from asd.backends.centres import Centres
from asd.clips import Clip, ClipSet, Scores
from asd.config import Config
from asd.corpora.find import find_machine_types, has_clips
from asd.corpora.survey import survey
from asd.detectors.detector import Fitted
from asd.detectors.frozen import Frozen
from asd.detectors.network import ALL, Learning, Network
from asd.embeddings import engines
from asd.features.segments import Segments
from asd.paths import Paths
from asd.rows import Rows
from asd.sections import Choice
from asd.store import Store
from common import Feature, UserError

if TYPE_CHECKING:
    from asd.networks.parts import Parts


class Embedding:
    """See `asd.detectors.detector.Detector`."""

    class Settings(Learning):
        """The network and what it learns; what scores its embeddings."""

        backend: Choice
        sections: Literal["together", "apart"] = "together"
        # of the -d or -e of the run; or both, and then one network serves both
        learn_from: Literal["own", "both"] = "own"
        scope: Literal["all", "machine"] = "all"  # of a network: every machine type, or one each

    kind = "embedding"
    suffixes = Frozen.suffixes
    error = None

    def __init__(
        self,
        cfg: Config,
        settings: Settings,
        paths: Paths | None = None,
        machine_type: str | None = None,
    ) -> None:
        self._cfg, self._settings, self._paths = cfg, settings, paths
        self.scope = settings.scope
        self._own = machine_type if settings.scope == "machine" else None
        self.network = Network(cfg, settings)

    @property
    def network_name(self) -> str:
        """What stands for a machine type in the names of the network's files."""
        return f"{self._own}_network" if self._own else ALL

    def groups(self, machine_types: Sequence[str]) -> list[list[str]]:
        """The machine types of each network."""
        if self.scope == "machine":
            return [[name] for name in machine_types]
        return [list(machine_types)]

    def heard(self, paths: Paths) -> list[str]:
        """The machine types of some data whose clips the network learns from."""
        return [name for name in find_machine_types(paths) if self._own in (None, name)]

    @functools.cached_property
    def _frozen(self) -> Frozen:
        """The frozen detector of the trained network's embeddings."""
        of_file, whole = self._of_network()
        values = msgspec.to_builtins(of_file)
        embedding = Choice(Path(of_file.path), "detector.embedding", "file", values)
        own = self._settings
        settings = Frozen.Settings(backend=own.backend, sections=own.sections, embedding=embedding)
        return Frozen(msgspec.structs.replace(self._cfg, feature=whole), settings)

    def _of_network(self) -> tuple[embeddings.Network.Settings, Feature]:
        """How the network embeds clips, and that it does so with whole clips."""
        whole = msgspec.structs.replace(self._cfg.feature, central_frames=None)
        return embeddings.Network.Settings(path=str(self.network_path), input="wave"), whole

    @property
    def network_paths(self) -> Paths:
        """Where the network is: with the development data's models where it learns from both."""
        both = self._settings.learn_from == "both"
        return Paths(self._cfg, "dev") if both else self._paths

    @property
    def others(self) -> Paths | None:
        """The other data that the network learns from."""
        if self._settings.learn_from == "own":
            return None
        return Paths(self._cfg, "eval" if self._paths.mode == "dev" else "dev")

    @property
    def rows(self) -> Rows:
        """Embeddings, one a clip."""
        return self._frozen.rows

    @property
    def made_of(self) -> dict[str, Any]:
        """The network by its SHA-256, and so what that was made of."""
        made_of = dict(self._frozen.made_of)
        return made_of | {"detector": {**made_of["detector"], "kind": self.kind}}

    @property
    def score_title(self) -> str:
        """The back end's."""
        return self._frozen.score_title

    def fit(self, train: Store) -> Fitted:
        """Remember the embeddings of a machine type, and fit the back end to them."""
        return self._frozen.fit(train)

    def save(self, path: Path) -> None:
        """See `Frozen.save`."""
        self._frozen.save(path)

    def load(self, path: Path) -> None:
        """See `Frozen.load`."""
        self._frozen.load(path)

    def score(self, test: Store) -> Scores:
        """See `Frozen.score`."""
        return self._frozen.score(test)

    def normal_scores(self, train: Store) -> Scores:
        """See `Frozen.normal_scores`."""
        return self._frozen.normal_scores(train)

    def chain(self) -> None:
        """None: the network is no chain of dense layers; see `parts`."""

    @property
    def network_path(self) -> Path:
        """The file of the trained network."""
        return self.network_paths.require_model(self.network_name, self.network.suffixes)

    def learnt_from(self, own: Sequence[ClipSet], skip_bad_clips: bool, verify: bool) -> Segments:
        """The training clips of a run, and the others that the network learns from with them."""
        how = self.network.rows, skip_bad_clips, verify
        stores = [store.load(self._paths, one, *how) for one in own]
        if others := self.others:
            more = survey(others, self.heard(others), "train", skip_bad_clips)
            stores += [store.load(others, one, *how) for one in more]
        return self.network.segments(stores, self._named(skip_bad_clips))

    def _named(self, skip_bad_clips: bool) -> list[Clip]:
        """The test clips whose names a training that is faithful to the published looks at."""
        if not self.network.is_faithful:
            return []
        found = []
        for paths in filter(None, (self._paths, self.others)):
            there = [name for name in self.heard(paths) if has_clips(paths, name, "test")]
            found += survey(paths, there, "test", skip_bad_clips)
        return [clip for one in found for clip in one.clips]

    def parts(self) -> Parts:
        """The front end of the trained network, and its body, which becomes TFLite."""
        path = self.network_path
        network = engines.keras_network(path)
        from asd.networks import parts

        try:
            return parts.split(network)
        except UserError as error:
            raise UserError(f"{path}: {error}") from error

    def rows_of(self, tflite: Path) -> Rows:
        """Embeddings, one a clip, for which a TFLite file takes the place of the network's body."""
        settings, feature = self._of_network()
        return embeddings.Network(settings, feature, tflite).rows

    def centres(self) -> Centres:
        """What a device has in the place of the embeddings of a machine type's training clips."""
        how, distance = self._cfg.convert, self._settings.backend.values.get("distance", "")
        return centres.fit(*self._frozen.known, how.centres, how.centre_type, distance)
