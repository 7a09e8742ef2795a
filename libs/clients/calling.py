"""One call as its caller sees it: one attempt, and rarely a second.

A second attempt is made if all of this holds: the method's proto says that it may be called
twice, the failure says that another try makes sense (`failures`), no message has come yet,
the breaker is closed, the time left covers the wait and what the method usually takes, and
the allowance, which hedges draw on too, has a token. gRPC's own retries are not used: they
know neither the budget nor the allowance. (It still sends a call again that no server has
seen, as one that met a connection's end.)
"""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool
from grpc import aio

from libs.budget import current_budget
from libs.clients.failures import Verdict, retry_wait_s, verdict_on
from libs.errors import BreakerOpenError, BudgetExhaustedError, from_rpc_error
from libs.resilience import Allowance, Breaker
from libs.resilience.priority import BACKGROUND, is_background
from libs.telemetry import client_span, count_refused, count_retry, names, traceparent

# Kept back of what is left, so that the reply still arrives in the caller's time.
REPLY_RESERVE_S = 0.002
_BEHIND = (names.PRIORITY, BACKGROUND)
_MOST_ATTEMPTS = 2
# Those who were told to come back later should not all come back together.
_JITTER = 0.1
# The weight of the latest call in what a method usually takes: about the last ten count.
_LATEST = 0.1
_MAY_REPEAT = (
    descriptor_pb2.MethodOptions.NO_SIDE_EFFECTS,
    descriptor_pb2.MethodOptions.IDEMPOTENT,
)


@dataclass(slots=True)
class Method:
    """What a connection knows of one method.

    Attributes:
        name: `package.Service/Method`.
        may_repeat: True if its proto marks it free of side effects or idempotent.
        usual_s: what it lately took until its first message, in seconds.
    """

    name: str
    may_repeat: bool
    usual_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Repeat:
    """What a caller asks of a second attempt.

    Attributes:
        first_s: seconds from the start in which the first message is of use; an attempt that
            would have none by then is not made.
        waits: False leaves it to the caller when a server says to come back later.
        request: makes the request of an attempt so many seconds after the first one, of which
            less is left; None sends the same.
    """

    first_s: float = math.inf
    waits: bool = True
    request: Callable[[float], Any] | None = None


_PLAIN = Repeat()


@dataclass(slots=True)
class Line:
    """What all calls of a connection, and of its spare, have in common."""

    authorization: tuple[tuple[str, str], ...]
    breaker: Breaker
    allowance: Allowance
    methods: dict[bytes, Method] = field(default_factory=dict)

    def method(self, stub_method: Any) -> Method:
        """Return what is known of a stub's method."""
        # Private, but the only place where a stub keeps its method's name; a contract test
        # notices if it moves.
        path: bytes = stub_method._method  # noqa: SLF001
        known = self.methods.get(path)
        if known is None:
            name = path.decode().removeprefix("/")
            known = self.methods[path] = Method(name, _may_repeat(name))
        return known


class Calling:
    """A call from its start to its end.

    Attributes:
        call: the attempt under way.
        code: name of the status that the call ended with; `CANCELLED` until it has.
    """

    __slots__ = (
        "_attempts",
        "_end_s",
        "_first_at_s",
        "_invoke",
        "_is_judged",
        "_limit_s",
        "_line",
        "_method",
        "_repeat",
        "_request",
        "_span",
        "_started_s",
        "_ticket",
        "call",
        "code",
    )

    def __init__(
        self,
        line: Line,
        invoke: Any,
        request: Any,
        limit_s: float | None,
        repeat: Repeat = _PLAIN,
    ) -> None:
        """Ask for leave to call; nothing is sent yet.

        Raises:
            BudgetExhaustedError: there is no time to call at all.
            BreakerOpenError: the backend failed of late.
        """
        self._line = line
        self._invoke = invoke
        self._request = request
        self._method = method = line.method(invoke)
        self._limit_s = timeout_s(limit_s, method.name)
        self._ticket = line.breaker.admit()
        if not self._ticket:
            self._refuse()
        line.allowance.deposit()
        self.code = "CANCELLED"
        self._attempts = 0
        self._is_judged = False
        self._started_s = time.monotonic()
        self._end_s = math.inf if self._limit_s is None else self._started_s + self._limit_s
        self._repeat = repeat
        self._first_at_s = self._started_s + repeat.first_s
        self._span = client_span(method.name)
        self.call: Any = None

    def start(self) -> None:
        """Make an attempt, with the time that is left."""
        limit_s = self._limit_s
        self._attempts += 1
        metadata = self._metadata(limit_s)
        self.call = self._invoke(self._request, timeout=limit_s, metadata=metadata)

    def served(self) -> None:
        """Note that the backend has answered, with all or with a first message."""
        method, took_s = self._method, time.monotonic() - self._started_s
        method.usual_s += _LATEST * (took_s - method.usual_s) if method.usual_s else took_s
        self._line.breaker.succeeded(self._ticket)
        self._is_judged = True

    async def again(self, error: aio.AioRpcError, *, begun: bool = False) -> None:
        """Make the second attempt, once it is due, if there may be one.

        Args:
            error: how the first one failed.
            begun: True if messages have come; then there is none.

        Raises:
            MeshError: the failure, as the server raised it.
        """
        self.code = error.code().name
        raised = from_rpc_error(error)
        wait_s = None if begun else retry_wait_s(error, raised)
        if wait_s and not self._repeat.waits:
            wait_s = None
        if wait_s is None or not self._may_repeat(wait_s):
            self._judge(verdict_on(error))
            raise raised from error
        self.code = "CANCELLED"
        if wait_s:
            await asyncio.sleep(wait_s * (1 + _JITTER * random.random()))  # noqa: S311 - no secret
        if self._limit_s is not None:
            self._limit_s = timeout_s(self._end_s - time.monotonic(), self._method.name)
        count_retry(self._method.name)
        before_s, self._started_s = self._started_s, time.monotonic()
        if self._repeat.request is not None:
            self._request = self._repeat.request(self._started_s - before_s)
        self.start()

    def end(self, code: str) -> None:
        """End the call's span, and free a probe's place if nobody knows how it went."""
        if not self._is_judged:
            self._line.breaker.abandoned(self._ticket)
        if self._attempts > 1:
            self._span.span.set_attribute(names.ATTEMPTS, self._attempts)
        self._span.end(code)

    def _may_repeat(self, wait_s: float) -> bool:
        """Return whether there may be another attempt, and take its token if so."""
        due_s = min(self._end_s, self._first_at_s)
        fits = time.monotonic() + wait_s * (1 + _JITTER) + self._method.usual_s < due_s
        return (
            self._attempts < _MOST_ATTEMPTS
            and self._method.may_repeat
            and fits
            and not self._line.breaker.is_open
            and self._line.allowance.withdraw()
        )

    def _judge(self, verdict: Verdict) -> None:
        """Tell the breaker how the call ended; a stream that broke was served before."""
        breaker = self._line.breaker
        if verdict is Verdict.FAILED:
            breaker.failed(self._ticket)
        elif verdict is Verdict.SERVED and not self._is_judged:
            breaker.succeeded(self._ticket)
        else:
            return
        self._is_judged = True

    def _refuse(self) -> None:
        name, after_s = self._method.name, self._line.breaker.retry_after_s()
        count_refused(name)
        raise BreakerOpenError(
            f"{name}: its backend failed of late and is left alone", retry_after_s=after_s, hop=name
        )

    def _metadata(self, limit_s: float | None) -> tuple[tuple[str, str], ...]:
        metadata = self._line.authorization
        parent = traceparent(self._span.span)
        if parent is not None:
            metadata = (*metadata, (names.TRACEPARENT, parent))
        if limit_s is not None:
            metadata = (*metadata, (names.TIMEOUT_SENT_MS, str(round(limit_s * 1e3))))
        if is_background():
            metadata = (*metadata, _BEHIND)
        return metadata


def timeout_s(limit_s: float | None, name: str) -> float | None:
    """Return the timeout to set: the limit or what the budget leaves, whichever is less.

    Rounded down to what `grpc-timeout` carries exactly, so that the server can tell how
    long the call was on its way: 1 ms below 1 s, 10 ms below 10 s, 100 ms below 100 s.

    Raises:
        BudgetExhaustedError: there is no time to call at all.
    """
    budget = current_budget()
    if budget is not None:
        left = budget.remaining_s() - REPLY_RESERVE_S
        limit_s = left if limit_s is None else min(limit_s, left)
    if limit_s is None:
        return None
    step_ms = 1 if limit_s < 1 else 10 if limit_s < 10 else 100  # noqa: PLR2004
    timeout_ms = math.floor(limit_s * 1e3 / step_ms) * step_ms
    if timeout_ms <= 0:
        had_ms = f"{max(0.0, limit_s) * 1e3:.1f}"
        raise BudgetExhaustedError(
            f"{name}: {had_ms} ms left, 1 ms needed", hop=name, needed_ms=1, had_ms=had_ms
        )
    return timeout_ms / 1e3


def _may_repeat(name: str) -> bool:
    service, _, method = name.partition("/")
    try:
        found = descriptor_pool.Default().FindServiceByName(service)
        options = found.methods_by_name[method].GetOptions()
    except KeyError:
        return False
    return options.idempotency_level in _MAY_REPEAT
