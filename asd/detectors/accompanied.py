"""What detectors have in common whose models hear clips of several data and machine types."""

from __future__ import annotations

from typing import Any

from asd.config import Config
from asd.features import outliers
from asd.paths import Paths


class Accompanied:
    """Of the scope "company"; settings have `learn_from` and `outliers.of`."""

    scope = "company"
    _cfg: Config
    _settings: Any
    _paths: Paths | None

    @property
    def home(self) -> Paths:
        """Where its models are: with the development data's where they learn from both."""
        return Paths(self._cfg, "dev") if self._settings.learn_from == "both" else self._paths

    @property
    def company(self) -> tuple[Paths, ...]:
        """The data that a model learns from."""
        both = self._settings.learn_from == "both"
        return tuple(Paths(self._cfg, mode) for mode in ("dev", "eval")) if both else (self.home,)

    @property
    def hears_others(self) -> bool:
        """Whether clips of other machine types are learnt from."""
        return outliers.of_machines(self._settings.outliers.of)
