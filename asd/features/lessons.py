"""What a model of a machine type learns from: its own clips, and others as proxy outliers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from asd import files
from asd.features import company, outliers, snippets
from asd.features.ahead import ahead
from asd.features.company import Company
from asd.features.stores import Waves
from asd.store import Store
from common import UserError

TARGET = "target"


@dataclass(frozen=True)
class Lesson(Company):
    """See `Company`, of samples.

    Attributes
    ----------
    initial : the SHA-256 of the model that the training starts from
    """

    own: Waves
    heard: Waves
    initial: str | None = None

    @property
    def fingerprint(self) -> str:
        """See `Company.fingerprint`; and where that starts."""
        return files.fingerprint([super().fingerprint, self.initial])

    def of_domain(self, target: bool) -> np.ndarray:
        """Which of its own clips are of the target domain, or of any other, int64."""
        return np.flatnonzero([(clip.domain == TARGET) == target for clip in self.clips])


def lesson(machine_type: str, stores: Sequence[Store], which: outliers.Which) -> Lesson:
    """What the model of a machine type learns from, of all stores that are there.

    Raises
    ------
    UserError : see `outliers.chosen`.
    """
    return company.of(machine_type, stores, which, Waves, Lesson)


class Batch(NamedTuple):
    """Snippets of several groups of clips, one group behind the other."""

    clips: list[np.ndarray]  # of each group, (n,) int64
    waves: np.ndarray  # (n of all groups, length) float32


def batches(
    heard: Waves,
    groups: Sequence[np.ndarray],
    whole: Sequence[bool],
    size: int,
    length: int,
    scaled: bool,
    seed: Sequence[int],
) -> Iterator[Batch]:
    """Random snippets of clips, in any order, until the first group has no batch more.

    The next batch is read meanwhile.

    Parameters
    ----------
    groups : numbers of clips; one that is there twice gives snippets twice
    whole : of each group, whether a last batch that is not full is left out
    size : snippets of a group in a batch
    length : of a snippet, samples
    scaled : clips to a root mean square of 1
    seed : of all that is drawn

    Raises
    ------
    UserError : a group does not fill one batch.
    """
    drawn = [_drawn(heard, group, length, [*seed, i]) for i, group in enumerate(groups)]
    for group, full in zip(drawn, whole, strict=True):
        if full and len(group) < size:
            raise UserError(
                f"{len(group)} snippets of clips, of {heard.clips[group[0, 0]].machine_type} and "
                f"others, do not fill a batch; take a fit.batch_size of {len(group)} or less"
            )
    counts = [len(group) // size if full else -(-len(group) // size)
              for group, full in zip(drawn, whole, strict=True)]  # fmt: skip

    def read(step: int) -> Batch:
        some = [group[step * size : (step + 1) * size] for group in drawn]
        waves = [_snippet(heard[int(clip)], int(start), length, scaled)
                 for group in some for clip, start in group]  # fmt: skip
        return Batch([group[:, 0] for group in some], np.stack(waves))

    yield from ahead(read, range(min(counts)))


def _drawn(heard: Waves, clips: np.ndarray, length: int, seed: Sequence[int]) -> np.ndarray:
    """Clips and starts of snippets in any order, (n, 2) int64."""
    rng = np.random.default_rng(seed)
    starts = [snippets.random_starts(heard.length_of(int(i)), length, rng) for i in clips]
    numbers = np.repeat(clips, [len(some) for some in starts])
    return rng.permutation(np.stack([numbers, np.concatenate(starts)], 1))


def _snippet(wave: np.ndarray, start: int, length: int, scaled: bool) -> np.ndarray:
    return snippets.cut(snippets.unit_rms(wave) if scaled else wave, start, length)
