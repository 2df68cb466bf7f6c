"""Sound in pieces: verdicts on each stretch as long as a training clip, and the k-of-n alarm."""

from __future__ import annotations

import re
import threading
import time
from collections import OrderedDict, deque
from typing import Any

import numpy as np

from apps.server.limits import Limits, Refused
from apps.server.models import Model, judge
from apps.server.sound import QUALITY, RATES_HZ, read_samples
from asd.evaluation import alarms
from asd.evaluation.alarms import Rule

MOST_STREAMS, FORGOTTEN_SECONDS = 256, 600
NAME = re.compile(r"[A-Za-z0-9_-]{8,64}")
LEAST_SECONDS = 1.0  # of a stretch


class Stream:
    """What is remembered of one."""

    def __init__(self, model: Model, rate_hz: int, rule: Rule, limits: Limits) -> None:
        import soxr

        self.key = model.name, rate_hz
        self.model, self.rule, self.lock, self.used = model, rule, threading.Lock(), 0.0
        wanted = model.feature.sample_rate
        self._resampler = None
        if rate_hz != wanted:
            self._resampler = soxr.ResampleStream(
                rate_hz, wanted, 1, dtype="float32", quality=QUALITY
            )
        lengths = model.facts.training.seconds or (LEAST_SECONDS, LEAST_SECONDS)
        feature = model.feature
        least = (feature.central_frames or (0, feature.frames))[1] * feature.hop_length / wanted
        self.seconds = min(max(lengths[0], least, LEAST_SECONDS), limits.seconds)
        self._samples = np.empty(0, np.float32)
        self._start, self._above = 0.0, deque(maxlen=rule.n)

    def take(self, samples: np.ndarray) -> list[dict[str, Any]]:
        """Verdicts on the stretches that are whole now; samples (n,) float32, full scale 1."""
        if self._resampler:
            samples = self._resampler.resample_chunk(samples)
        self._samples = np.concatenate([self._samples, samples])
        rate = self.model.feature.sample_rate
        length, found = round(self.seconds * rate), []
        while len(self._samples) >= length:
            stretch, self._samples = self._samples[:length], self._samples[length:].copy()
            found.append(self._judged(stretch, rate))
            self._start += self.seconds
        return found

    def _judged(self, stretch: np.ndarray, rate: int) -> dict[str, Any]:
        times = {"from": round(self._start, 3), "to": round(self._start + self.seconds, 3)}
        try:
            answer = judge(self.model, read_samples(stretch, self.model.feature, rate))
        except Refused as error:
            return {"seconds": times, "refused": error.line}
        self._above.append(answer["Anomaly"])
        return {"seconds": times, "alarm": self.alarm, "verdict": answer}

    @property
    def alarm(self) -> bool:
        """Whether at least k of the last n stretches were anomalous."""
        return sum(self._above) >= self.rule.k

    def told(self, found: list[dict[str, Any]]) -> dict[str, Any]:
        """The answer to a piece."""
        nominal = self.model.facts.false_alarms.nominal
        return {
            "alarm": self.alarm,
            "rule": {"k": self.rule.k, "n": self.rule.n},
            "false_alarms_a_day": float(alarms.a_day(nominal, self.rule, self.seconds)),
            "stretch_seconds": self.seconds,
            "stretches": found,
        }


class Streams:
    """Those that were heard of lately, by the name that the client gave."""

    def __init__(self, rule: Rule, limits: Limits) -> None:
        self._rule, self._limits, self._lock = rule, limits, threading.Lock()
        self._streams: OrderedDict[str, Stream] = OrderedDict()

    def get(self, name: str, model: Model, rate_hz: int) -> Stream:
        """The stream of that name, begun where there is none.

        Raises
        ------
        Refused : 400, no name or rate; 503, there are too many.
        """
        if not NAME.fullmatch(name):
            raise Refused(400, "session is 8 to 64 letters, digits, _ or -; draw it at random")
        if not RATES_HZ[0] <= rate_hz <= RATES_HZ[1]:
            raise Refused(400, f"rate_hz is {RATES_HZ[0]} to {RATES_HZ[1]}")
        now = time.monotonic()
        with self._lock:
            while self._streams:
                oldest = next(iter(self._streams))
                if now - self._streams[oldest].used < FORGOTTEN_SECONDS:
                    break
                del self._streams[oldest]
            stream = self._streams.get(name)
            if stream is None or stream.key != (model.name, rate_hz):
                if len(self._streams) >= MOST_STREAMS and stream is None:
                    raise Refused(503, "too many streams; send it again later", 60)
                stream = self._streams[name] = Stream(model, rate_hz, self._rule, self._limits)
            stream.used = now
            self._streams.move_to_end(name)
        return stream


def samples_of(content: bytes) -> np.ndarray:
    """Of 16 bit integers, little endian, mono, (n,) float32.

    Raises
    ------
    Refused : 400, half a sample.
    """
    if len(content) % 2:
        raise Refused(400, "an odd number of bytes; send whole samples of 16 bits, little endian")
    return np.frombuffer(content, "<i2").astype(np.float32) * np.float32(2**-15)
