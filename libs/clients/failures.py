"""What a failed call says: of the backend, and of another try.

| how a call ended | the breaker counts | tried again |
|---|---|---|
| `UNAVAILABLE` of the transport: refused, reset, no ping | a failure | yes |
| `INTERNAL`, `UNKNOWN` | a failure | no |
| `RESOURCE_EXHAUSTED` with a time to come back | a success | yes, then |
| `DEADLINE_EXCEEDED`, `CANCELLED`, its caller left | nothing | no |
| any other status | a success | no |

A backend that says why it cannot serve is there, even if it says `UNAVAILABLE`: what it needs
is down (`DEPENDENCY_UNAVAILABLE`, `MODEL_UNAVAILABLE`), and other calls may do without. Load
is no fault either: refusing is how a server stays well. Deadlines and cancellations are ours.
"""

from __future__ import annotations

from enum import Enum, auto

import grpc
from grpc import aio

from libs.errors import MeshError

# Where our errors' details are; a transport's own status has none.
_DETAILS = "grpc-status-details-bin"
_PUSHBACK = "grpc-retry-pushback-ms"
_FAULTS = (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN)
_OURS = (grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED)


class Verdict(Enum):
    """What the end of a call says of its backend."""

    SERVED = auto()
    FAILED = auto()
    UNKNOWN = auto()


def verdict_on(error: aio.AioRpcError) -> Verdict:
    """Return what a status says of the backend that it is from."""
    code = error.code()
    if code in _OURS:
        return Verdict.UNKNOWN
    if code in _FAULTS or _is_of_transport(error):
        return Verdict.FAILED
    return Verdict.SERVED


def retry_wait_s(error: aio.AioRpcError, raised: MeshError) -> float | None:
    """Return the seconds after which the call may be tried again; None if it may not.

    A server's `grpc-retry-pushback-ms` has the last word, as in gRPC's own retries (A6): a
    number of milliseconds, or anything else to forbid them.

    Args:
        error: the status.
        raised: the same as an error of ours, which knows its `RetryInfo`.
    """
    exhausted = error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    pushback = _trailer(error, _PUSHBACK)
    if pushback is not None and (exhausted or _is_of_transport(error)):
        return int(pushback) / 1e3 if pushback.isdigit() else None
    if exhausted:
        return raised.retry_after_s
    return 0.0 if _is_of_transport(error) else None


def _is_of_transport(error: aio.AioRpcError) -> bool:
    unavailable = error.code() is grpc.StatusCode.UNAVAILABLE
    return unavailable and _trailer(error, _DETAILS) is None


def _trailer(error: aio.AioRpcError, key: str) -> str | None:
    for name, value in error.trailing_metadata() or ():
        if name == key:
            return value if isinstance(value, str) else value.decode("latin-1")
    return None
