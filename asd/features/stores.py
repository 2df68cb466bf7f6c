"""The clips of several stores, one after the other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from asd import files
from asd.clips import Clip
from asd.rows import FULL_SCALE
from asd.store import Store


@dataclass(frozen=True)
class Stores:
    """Clips of some stores of one kind of rows, in the place of a store of all."""

    stores: tuple[Store, ...]

    @property
    def clips(self) -> list[Clip]:
        """The clips of all stores."""
        return [clip for store in self.stores for clip in store.clips]

    @property
    def fingerprint(self) -> str:
        """16 hex digits that stand for the clips."""
        return files.fingerprint([store.fingerprint for store in self.stores])

    def __len__(self) -> int:
        return sum(map(len, self.stores))

    def __getitem__(self, i: int) -> np.ndarray:
        """The rows of clip i."""
        store, i = self.place(i)
        return store[i]

    def place(self, i: int) -> tuple[Store, int]:
        """The store of clip i, and its position there."""
        for store in self.stores:
            if i < len(store):
                return store, i
            i -= len(store)
        raise IndexError(i)


class Waves(Stores):
    """The clips of some stores of samples, see `rows.waves`."""

    def __getitem__(self, i: int) -> np.ndarray:
        """The samples of clip i, (n_samples,) float32, full scale 1."""
        return super().__getitem__(i)[:, 0].astype(np.float32) / FULL_SCALE

    def length_of(self, i: int) -> int:
        """Samples of clip i."""
        store, i = self.place(i)
        return int(store.offsets[i + 1] - store.offsets[i])
