"""Which clips a report shows: the most anomalous, and those whose score is the most surprising."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from asd.clips import Scores

MOST = 10  # of either


class Chosen(NamedTuple):
    """A clip, by the position of its machine type and its own in there."""

    machine: int
    clip: int
    surprising: bool  # else one of the most anomalous


def of(scored: Sequence[Scores], normal: Sequence[Scores | None]) -> list[Chosen]:
    """The clips to show, without any twice; several machine types take turns.

    The most anomalous are those of the highest scores, at most half of all clips. The most
    surprising are, of the others, those that contradict their label most: by turns the normal clips
    of the highest and the anomalous clips of the lowest scores, on the wrong side of the test
    clips' median. Where labels are unknown, they are those whose score is furthest from the median
    of the training clips' (of the test clips', where there are none).

    Parameters
    ----------
    scored, normal : of each machine type the scores of test clips, and of training clips
    """
    tops = [np.argsort(-one.values, kind="stable")[:MOST] for one in scored]
    count = min(MOST, -(-sum(len(one.values) for one in scored) // 2))
    most = [Chosen(machine, clip, False) for machine, clip in _turns(tops)][:count]
    taken = {(one.machine, one.clip) for one in most}
    others = [[clip for clip in order if (machine, clip) not in taken]
              for machine, order in enumerate(map(_surprising, scored, normal))]  # fmt: skip
    return most + [Chosen(machine, clip, True) for machine, clip in _turns(others)][:MOST]


def _turns(lists: Sequence[Sequence[int]]) -> Iterator[tuple[int, int]]:
    """The first of each list, then the second of each, with the number of the list."""
    for place in range(max(map(len, lists), default=0)):
        for number, one in enumerate(lists):
            if place < len(one):
                yield number, int(one[place])


def _surprising(scored: Scores, train: Scores | None) -> list[int]:
    labels, values = scored.labels, scored.values
    if -1 in labels:
        middle = np.median(values if train is None else train.values)
        return np.argsort(-np.abs(values - middle), kind="stable").tolist()
    away = values - np.median(values)
    high = sorted(np.flatnonzero((labels == 0) & (away > 0)), key=lambda clip: -values[clip])
    low = sorted(np.flatnonzero((labels == 1) & (away < 0)), key=lambda clip: values[clip])
    return [clip for _, clip in _turns([high, low])]
