"""How far a machine's scores have gone from those of its training clips."""

from __future__ import annotations

import math

import numpy as np

from asd.evaluation.streaming import Stream

OVER_SECONDS = 600.0  # the last ten minutes
LEAST_SECONDS = 60.0  # before there is a median worth telling
MOST_SCORES = 4096  # of a stream that decides more than six times a second, the last so many


class Drift:
    """Drift: (m - m0) / (t - m0), m the median score of the last ten minutes.

    m0 is the median score of the decisions on the training clips, t the threshold as 02_convert.py
    made it. So 0 is as in training, below 0 quieter, and at 1 half of the decisions are above the
    threshold: the share of the way to it that the machine as it usually sounds has gone. A median,
    as an anomaly shorter than five minutes moves it little; over ten minutes, as wear and weather
    take longer; in parts of the way to the threshold, as that tells when to train anew, where a
    rank among the training scores would stay at 1 above the largest of them.
    """

    def __init__(self, stream: Stream) -> None:
        a_second = stream.feature.sample_rate / stream.feature.hop_length / stream.step
        self._size = max(min(math.ceil(OVER_SECONDS * a_second), MOST_SCORES), 1)
        self._least = min(math.ceil(LEAST_SECONDS * a_second), self._size)
        self._scores, self._count = np.empty(self._size), 0  # a ring
        self._from, self._to = stream.score_median, stream.threshold

    def add(self, score: float) -> None:
        """The score of a decision."""
        self._scores[self._count % self._size] = score
        self._count += 1

    def value(self) -> float | None:
        """The drift; None within the first minute, or where the record tells no median."""
        if self._count < self._least or self._from is None or self._to <= self._from:
            return None
        median = float(np.median(self._scores[: min(self._count, self._size)]))
        return (median - self._from) / (self._to - self._from)
