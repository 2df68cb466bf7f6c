"""What a monitor tells: JSON lines, one for a decision, an alarm, a recording, and a summary."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from typing import Any

import numpy as np

from asd.evaluation import streaming
from asd.evaluation.streaming import Stream
from asd.monitor.drift import Drift
from asd.monitor.listener import Hops, Listener, flag_names

DIGITS = 7  # of a number that is told
DECIMALS = 6  # of a time, s: after days there are more digits than those
TIMES = ("time", "seconds", "alarm_seconds")


class Journal:
    """Lines on stdout about everything that is heard.

    Parameters
    ----------
    trained : as the record has it, which drift is told against
    brief : no lines of decisions

    Attributes
    ----------
    name : of what is heard; whoever lets it hear sets it
    """

    def __init__(self, stream: Stream, trained: Stream, brief: bool = False) -> None:
        feature = stream.feature
        self._band_hz = streaming.band_hz(feature)
        self._rate, self._brief = feature.sample_rate, brief
        self._drift = Drift(trained)
        self.name = ""
        self.files = self.failed = self.decisions = self.above = self.alarms = 0
        self.seconds = self.alarm_seconds = 0.0
        self._largest: float | None = None

    def hear(self, listener: Listener, pieces: Iterable[Any]) -> None:
        """Tell what a listener makes of a recording, or of a microphone.

        Parameters
        ----------
        pieces : int16 samples, or whether some are missing before them, and samples
        """
        self._flags, self._begun, self._end = 0, None, 0.0
        before = self._counts()
        try:
            for piece in pieces:
                gap, samples = piece if isinstance(piece, tuple) else (False, piece)
                if gap:
                    listener.gap()
                self._tell(listener.push(samples))
                sys.stdout.flush()
        finally:
            if self._begun is not None:
                self._alarm("end", self._end, ended="with the sound")
            counts = {key: value - before[key] for key, value in self._counts().items()}
            self.seconds += self._end
            self._line("file", file=self.name, seconds=self._end, **counts)
        self.files += 1

    def _counts(self) -> dict[str, int]:
        return {"decisions": self.decisions, "above": self.above, "alarms": self.alarms}

    def _tell(self, hops: Hops) -> None:
        """The decisions among some hops; flags of the hops since the last one are theirs."""
        decided = np.flatnonzero(hops.decided)
        first = 0
        for i in decided.tolist():
            flags = self._flags | int(np.bitwise_or.reduce(hops.flags[first : i + 1]))
            self._flags, first = 0, i + 1
            self._decision(
                {name: column[i].item() for name, column in hops._asdict().items()}, flags
            )
        self._flags |= int(np.bitwise_or.reduce(hops.flags[first:], initial=0))
        if len(hops.end):
            self._end = float(hops.end[-1]) / self._rate

    def _decision(self, hop: dict[str, Any], flags: int) -> None:
        end, score = hop["end"] / self._rate, hop["score"]
        self._end = end
        self.decisions += 1
        self.above += hop["above"]
        self._largest = score if self._largest is None else max(score, self._largest)
        self._drift.add(score)
        facts = {"score": score, "threshold": hop["limit"]}
        band = float(self._band_hz[hop["band"]])
        if not self._brief:
            self._line("decision", time=end, file=self.name, **facts, above=hop["above"],
                       alarm=hop["alarm"], level_db=hop["level"], flags=flag_names(flags),
                       band_hz=band, drift=self._drift.value())  # fmt: skip
        if hop["alarm"] and self._begun is None:
            self._begun = end
            self.alarms += 1
            self._alarm("begin", end, **facts, band_hz=band)
        elif not hop["alarm"] and self._begun is not None:
            self._alarm("end", end, **facts)

    def _alarm(self, state: str, end: float, **facts: Any) -> None:
        if state == "end":
            facts["seconds"] = end - self._begun
            self.alarm_seconds += facts["seconds"]
            self._begun = None
        self._line("alarm", state=state, time=end, file=self.name, **facts)

    def fail(self, reason: str) -> None:
        """Tell that the recording could not be heard, or not to its end."""
        self.failed += 1
        self._line("error", file=self.name, error=reason)

    def summary(self, interrupted: bool) -> None:
        """Tell of everything that was heard."""
        self._line("summary", files=self.files, failed=self.failed, seconds=self.seconds,
                   **self._counts(),
                   alarm_seconds=self.alarm_seconds, largest_score=self._largest,
                   drift=self._drift.value(), interrupted=interrupted)  # fmt: skip
        sys.stdout.flush()

    def start(self, model: str, stream: Stream) -> None:
        """Tell by what everything is judged."""
        rates = {key: stream.false_alarms.get(key) for key in
                 ("nominal", "share", "low", "high", "alarms_an_hour")}  # fmt: skip
        self._line("start", model=model, windows=stream.windows, step=stream.step,
                   rule=[stream.k, stream.n], threshold=stream.threshold, release=stream.release,
                   false_alarms=rates)  # fmt: skip
        sys.stdout.flush()

    def _line(self, event: str, **facts: Any) -> None:
        told = {
            key: round(value, DECIMALS) if key in TIMES else _short(value)
            for key, value in facts.items()
        }
        print(json.dumps({"event": event, **told}))


def _short(value: Any) -> Any:
    """A number with the digits that mean something; so within a mapping."""
    if isinstance(value, dict):
        return {key: _short(one) for key, one in value.items()}
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value
