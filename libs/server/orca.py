"""How busy this server is, as gRPC's `weighted_round_robin` wants to be told.

Each call ends with an `xds.data.orca.v3.OrcaLoadReport` in its trailing metadata (gRFC
A51); clients give a server calls in proportion to its rate over its utilisation (gRFC A58).
"""

from __future__ import annotations

import math
import struct
import time
from collections.abc import Callable

TRAILER = "endpoint-load-metrics-bin"
# A report is made anew after this long; in between, calls carry the same bytes.
_REFRESH_S = 0.05
# Clients look at reports about once a second, so that is what one speaks of.
_MEMORY_S = 1.0
# Failures that tell of the server, not of what it was asked.
_ERRORS = frozenset({"INTERNAL", "UNAVAILABLE", "UNKNOWN", "RESOURCE_EXHAUSTED"})

# Field numbers of OrcaLoadReport; each is a double, wire type 1.
_RPS, _EPS, _UTILIZATION = 6, 7, 9

Trailers = tuple[tuple[str, str | bytes], ...]


def encode_report(*, utilization: float, rps: float, eps: float) -> bytes:
    """Return a serialised `OrcaLoadReport` of three numbers.

    By hand, it is 27 bytes: the package `xds-protos`, which has the message, brings an old
    `opentelemetry.proto` of its own and so cannot be installed beside OpenTelemetry.

    Args:
        utilization: application utilisation; 1 is full.
        rps: calls a second.
        eps: failed calls a second.
    """
    fields = ((_RPS, rps), (_EPS, eps), (_UTILIZATION, utilization))
    # A field that is zero is not on the wire.
    return b"".join(struct.pack("<Bd", number << 3 | 1, value) for number, value in fields if value)


class LoadReport:
    """The report of one server, cheap to attach to each call."""

    def __init__(
        self, utilization: Callable[[], float], clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Report what `utilization` says, 1 being full, smoothed over about a second."""
        self._now_utilization = utilization
        self._clock = clock
        self._made_s = clock()
        self._due_s = self._made_s
        self._calls = self._failed = 0
        self._rps = self._eps = self._utilization = 0.0
        self._trailers: Trailers = ()

    def count(self, code: str) -> None:
        """Count a call that ends with this status."""
        self._calls += 1
        self._failed += code in _ERRORS

    def trailers(self) -> Trailers:
        """Return the trailing metadata that carries the report."""
        now_s = self._clock()
        if now_s >= self._due_s:
            self._make(now_s)
        return self._trailers

    def _make(self, now_s: float) -> None:
        since_s = max(now_s - self._made_s, 1e-3)
        weight = 1.0 - math.exp(-since_s / _MEMORY_S)
        self._rps += weight * (self._calls / since_s - self._rps)
        self._eps += weight * (self._failed / since_s - self._eps)
        self._utilization += weight * (self._now_utilization() - self._utilization)
        self._calls = self._failed = 0
        self._made_s, self._due_s = now_s, now_s + _REFRESH_S
        data = encode_report(utilization=self._utilization, rps=self._rps, eps=self._eps)
        self._trailers = ((TRAILER, data),)
