"""What is counted of WebSockets."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Gauge

from libs.telemetry import telemetry_disabled


class LiveMetrics:
    """The metrics of WebSockets, in one registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._on = not telemetry_disabled()
        self._open = Gauge(
            "hasten_edge_sockets_open", "WebSockets that are open now.", registry=registry
        )
        self._closed = Counter(
            "hasten_edge_sockets_closed",
            "WebSockets that this side closed, by the code that was sent.",
            ["code"],
            registry=registry,
        )

    @contextmanager
    def open(self) -> Iterator[None]:
        """Count a socket while it is open."""
        if self._on:
            self._open.inc()
        try:
            yield
        finally:
            if self._on:
                self._open.dec()

    def closed(self, code: int) -> None:
        """Count a socket that was closed."""
        if self._on:
            self._closed.labels(str(int(code))).inc()
