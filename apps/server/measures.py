"""What GET /metrics tells, for Prometheus."""

from __future__ import annotations

from collections import deque
from typing import Any

import prometheus_client as prometheus

from apps.server.models import Model

LATENCIES = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5)  # seconds
SCORES = (0.25, 0.5, 0.7, 0.8, 0.9, 0.95, 1, 1.05, 1.1, 1.2, 1.5, 2, 4)  # of the threshold
RECENT = 200  # recordings whose mean score is held against training


class Measures:
    """Counts and times of one service."""

    def __init__(self, models: dict[str, Model]) -> None:
        self._registry = registry = prometheus.CollectorRegistry()
        prometheus.ProcessCollector(registry=registry)
        self._requests = prometheus.Counter(
            "asd_requests", "Requests by path and status", ["path", "status"], registry=registry
        )
        self._latency = prometheus.Histogram(
            "asd_latency_seconds", "Seconds from the first byte of a request to its answer",
            ["path"], buckets=LATENCIES, registry=registry,
        )  # fmt: skip
        self._verdicts = prometheus.Counter(
            "asd_verdicts", "Recordings by outcome", ["machine_type", "outcome"], registry=registry
        )
        self._scores = prometheus.Histogram(
            "asd_score_of_threshold", "Scores, divided by the threshold", ["machine_type"],
            buckets=SCORES, registry=registry,
        )  # fmt: skip
        drift = prometheus.Gauge(
            "asd_score_drift", f"Mean score of the last {RECENT} recordings less that of the "
            "training clips, in standard deviations of these", ["machine_type"],
            registry=registry,
        )  # fmt: skip
        inside = prometheus.Gauge("asd_inside", "Requests being served", registry=registry)
        self._drift, self.inside = drift, inside
        self._recent: dict[str, deque[float]] = {name: deque(maxlen=RECENT) for name in models}
        self._models = models
        for name in models:
            for outcome in ("normal", "anomaly"):
                self._verdicts.labels(name, outcome)

    def request(self, path: str, status: int, seconds: float) -> None:
        """Count an answer."""
        self._requests.labels(path, str(status)).inc()
        self._latency.labels(path).observe(seconds)

    def verdict(self, answer: dict[str, Any]) -> None:
        """Count a verdict."""
        name = answer["model"]["machine_type"]
        self._verdicts.labels(name, "anomaly" if answer["Anomaly"] else "normal").inc()
        self._scores.labels(name).observe(answer["score"] / answer["threshold"])
        recent, training = self._recent[name], self._models[name].facts.training
        recent.append(answer["score"])
        off = sum(recent) / len(recent) - training.score_mean
        self._drift.labels(name).set(off / max(training.score_deviation, 1e-12))

    def text(self) -> bytes:
        """All of them, as Prometheus reads them."""
        return prometheus.generate_latest(self._registry)


CONTENT_TYPE = prometheus.CONTENT_TYPE_LATEST
