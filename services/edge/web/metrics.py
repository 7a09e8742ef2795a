"""What the edge counts, as its callers see it."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Histogram

from libs.telemetry import names, telemetry_disabled
from libs.values import Completed


class EdgeMetrics:
    """The edge's metrics, in one registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._on = not telemetry_disabled()
        self._requests = Counter(
            "hasten_edge_requests",
            "Requests that came in, by operation, form of the answer and HTTP status; "
            "499 if the caller left.",
            ["operation", "form", "status"],
            registry=registry,
        )
        self._duration = Histogram(
            "hasten_edge_request_duration_seconds",
            "Time from a request's arrival to the end of its answer.",
            ["operation", "form"],
            buckets=names.LATENCY_BUCKETS_S,
            registry=registry,
        )
        self._first_text = Histogram(
            "hasten_edge_first_text_seconds",
            "Time from a question's arrival to its first text.",
            ["form"],
            buckets=names.LATENCY_BUCKETS_S,
            registry=registry,
        )
        self._answers = Counter(
            "hasten_edge_answers",
            "Answers that were completed, by quality and by the cache layer that had them.",
            ["quality", "cache"],
            registry=registry,
        )

        self._cut = Counter(
            "hasten_edge_readers_cut",
            "Readers of event streams that took too little for too long and were cut off.",
            ["operation"],
            registry=registry,
        )

    def request(self, operation: str, form: str, status: int, duration_s: float) -> None:
        """Count a request that has ended, well or not."""
        if self._on:
            self._requests.labels(operation, form, str(status)).inc()
            self._duration.labels(operation, form).observe(duration_s)

    def cut(self, operation: str) -> None:
        """Count a reader that was too slow."""
        if self._on:
            self._cut.labels(operation).inc()

    def first_text(self, form: str, after_s: float) -> None:
        """Count a first text."""
        if self._on:
            self._first_text.labels(form).observe(after_s)

    def answer(self, completed: Completed) -> None:
        """Count an answer."""
        if self._on:
            layer = completed.cache_hit.layer.name.lower() if completed.cache_hit else "none"
            self._answers.labels(completed.quality.name.lower(), layer).inc()
