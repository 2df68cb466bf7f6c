"""A stream of samples judged hop by hop: the twin of the C that asd.embedded.stream generates.

The same arithmetic in the same order of time, many hops at once. Alarms and times of decisions are
those of the C; scores differ where the rounding of a log-mel value moves an input byte.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

import common
from asd.evaluation.stream_limits import Alarm
from asd.evaluation.streaming import Stream
from common import Predict

LOW, HIGH, CLIPPED, SILENT, GAP = FLAGS = 1, 2, 4, 8, 16  # of a hop, or-ed
FLAG_NAMES = ("low", "high", "clipped", "silent", "gap")
TOLERANCE_DB = 6.0  # outside the training clips' levels, before LOW or HIGH
Q12 = 4096  # a window's error is an integer of this part of a dB^2
MOST_ERROR = 2**32 - 1
FULL_SCALE = 32768  # of int16
FRAMES_TOGETHER = 1024  # whose windows are judged at once: 2.6 MB of ad01's


class Hops(NamedTuple):
    """What a stream says of some hops, a row each, in order of time; n: hops."""

    end: np.ndarray  # (n,) int64: samples since the start, up to the end of the newest frame
    score: np.ndarray  # (n,) float64, dB^2: mean over the last windows; NaN before the first
    decided: np.ndarray  # (n,) bool: whether there was a decision
    limit: np.ndarray  # (n,) float64, dB^2: what it was held against
    above: np.ndarray  # (n,) bool: whether it was above
    alarm: np.ndarray  # (n,) bool: after it
    level: np.ndarray  # (n,) float64, dB, smoothed
    flags: np.ndarray  # (n,) uint8
    band: np.ndarray  # (n,) int64: the worst; -1 before the first window


class Listener:
    """One stream.

    Parameters
    ----------
    stream : features, rule and thresholds
    predict : the int8 file, (n_windows, vector_size) float32 -> the same shape
    """

    def __init__(self, stream: Stream, predict: Predict) -> None:
        self.stream, self._predict = stream, predict
        windows = stream.windows
        self._limits = [_limit(one) for one in (stream.threshold, stream.release)]
        self._alarm = Alarm(stream.k, stream.n, *(one * windows for one in self._limits))
        self._band_errors = np.array(stream.band_errors)
        self._at = 0  # of the first sample that is kept, since the start
        self.gap()

    def gap(self) -> None:
        """Start frames, windows and decisions anew: samples are missing here.

        The alarm stays until there are decisions again.
        """
        if hasattr(self, "_samples"):
            self._at += len(self._samples)
        self._samples = np.empty(0, np.int16)
        self._lead = self._new = 0  # where the next frame, and what is new to it, begins there
        self._frames = np.empty((0, self.stream.feature.n_mels), np.float32)
        self._errors = np.empty(0, np.int64)  # the last, at most `windows`
        self._windows = 0  # since the gap
        self._level: float | None = None
        self._bands: np.ndarray | None = None  # (n_mels,) float64, dB^2, smoothed
        self._after_gap = True
        self._alarm.forget()

    def push(self, samples: np.ndarray) -> Hops:
        """Hear some samples, and say what the hops are like that they complete.

        Parameters
        ----------
        samples : (any number,) int16, full scale is 32768
        """
        feature = self.stream.feature
        self._samples = np.concatenate([self._samples, np.asarray(samples, np.int16)])
        free = len(self._samples) - self._lead - feature.n_fft
        left, parts = max(free // feature.hop_length + 1, 0), []
        while left > 0 or not parts:
            parts.append(self._hear(min(left, FRAMES_TOGETHER)))
            left -= FRAMES_TOGETHER
        return Hops(*map(np.concatenate, zip(*parts, strict=True)))

    def _hear(self, n: int) -> Hops:
        """The next n frames of the samples that are kept."""
        feature = self.stream.feature
        starts = self._lead + feature.hop_length * np.arange(n)  # in the kept samples
        ends = starts + feature.n_fft
        at, flags = self._at + ends, self._flags_of_samples(starts, ends)
        frames = np.empty((0, feature.n_mels), np.float32)
        if n:
            own = self._samples[starts[0] : ends[-1]] * np.float32(1 / FULL_SCALE)
            frames = common.log_mel(own, feature)
            self._keep_samples(int(starts[-1]))
        level = self._levels(frames.mean(axis=1, dtype=np.float64))
        low, high = self.stream.level_db
        flags |= np.where(level < low - TOLERANCE_DB, LOW, 0).astype(np.uint8)
        flags |= np.where(level > high + TOLERANCE_DB, HIGH, 0).astype(np.uint8)
        errors, bands = self._window_errors(frames)
        return Hops(at, *self._decisions(n, errors), level, flags, self._worst(n, bands))

    def _flags_of_samples(self, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
        """CLIPPED, SILENT and GAP, (n,) uint8."""
        flags = np.zeros(len(starts), np.uint8)
        if not len(starts):
            return flags
        limits = np.iinfo(np.int16)
        samples = self._samples[: ends[-1]]
        extreme = _sums((samples == limits.min) | (samples == limits.max))
        new = np.concatenate([[self._new], ends[:-1]])
        flags[extreme[ends] > extreme[new]] |= CLIPPED
        steps = _sums(samples[1:] != samples[:-1])
        flags[steps[ends - 1] == steps[starts]] |= SILENT
        if self._after_gap:
            flags[0] |= GAP
        self._after_gap = False
        return flags

    def _keep_samples(self, start: int) -> None:
        """Let those go that no later frame needs, after the frame that starts at `start`."""
        following, end = start + self.stream.feature.hop_length, start + self.stream.feature.n_fft
        first = min(following, end)
        self._samples = self._samples[first:].copy()
        self._lead, self._new, self._at = following - first, end - first, self._at + first

    def _levels(self, means: np.ndarray) -> np.ndarray:
        """Smoothed, (n,) float64, dB."""
        level = np.empty(len(means))
        for i, mean in enumerate(means.tolist()):
            before = mean if self._level is None else self._level
            level[i] = self._level = before + (mean - before) / self.stream.windows
        return level

    def _window_errors(self, frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Of the windows that new frames complete, in dB^2.

        Returns
        -------
        errors : (n_windows,) int64, in parts of Q12
        bands : (n_windows, n_mels) float64
        """
        n, n_mels = self.stream.feature.frames, self.stream.feature.n_mels
        frames = np.concatenate([self._frames, frames])
        self._frames = frames[max(len(frames) - n + 1, 0) :].copy()
        if len(frames) < n:
            return np.empty(0, np.int64), np.empty((0, n_mels))
        inputs = np.ascontiguousarray(common.vectors(frames, n))
        squares = np.square(inputs - self._predict(inputs)).reshape(-1, n, n_mels)
        bands = squares.mean(axis=1, dtype=np.float64)
        errors = np.minimum(np.rint(bands.mean(axis=1) * Q12), MOST_ERROR)
        return errors.astype(np.int64), bands

    def _decisions(self, n: int, errors: np.ndarray) -> tuple[np.ndarray, ...]:
        """Score, decided, limit, above and alarm of n hops, the last of which have windows."""
        windows, first = self.stream.windows, n - len(errors)
        score, limit = np.full(n, np.nan), np.full(n, np.nan)
        decided, above, alarm = (np.zeros(n, bool) for _ in range(3))
        known = np.concatenate([self._errors, errors])
        sums = np.concatenate([[0], np.cumsum(known)])
        ends = np.arange(len(self._errors), len(known)) + 1
        counts = np.minimum(ends, windows)
        totals = sums[ends] - sums[ends - counts]
        score[first:] = totals / (Q12 * counts)
        number = self._windows + np.arange(len(errors)) - (windows - 1)
        decided[first:] = (number >= 0) & (number % self.stream.step == 0)
        at = 0
        for i in np.flatnonzero(decided).tolist():
            alarm[at:i] = self._alarm.on
            limit[i] = self._limits[self._alarm.on] / Q12
            above[i] = self._alarm.decide(int(totals[i - first]))
            at = i
        alarm[at:] = self._alarm.on
        self._windows += len(errors)
        self._errors = known[max(len(known) - windows, 0) :].copy()
        return score, decided, limit, above, alarm

    def _worst(self, n: int, bands: np.ndarray) -> np.ndarray:
        """The band whose smoothed error is most above that of the training clips, (n,) int64."""
        worst = np.full(n, -1)
        for i, errors in enumerate(bands, n - len(bands)):
            before = errors if self._bands is None else self._bands
            self._bands = before + (errors - before) / self.stream.windows
            worst[i] = (self._bands / self._band_errors).argmax()
        return worst


def _limit(value: float) -> int:
    """A threshold in parts of Q12, within what an error can be."""
    return int(min(max(np.rint(value * Q12), 0), MOST_ERROR))


def _sums(values: np.ndarray) -> np.ndarray:
    """How many are True before each place, (n + 1,) int64."""
    return np.concatenate([[0], np.cumsum(values)])


def flag_names(flags: int) -> list[str]:
    """The flags of a hop in words."""
    return [name for name, bit in zip(FLAG_NAMES, FLAGS, strict=True) if flags & bit]
