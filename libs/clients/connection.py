"""A channel to one service, and how every call on it is made.

Each call gets its timeout from the budget, carries the trace and the token, is a span of
its own, is cancelled when its caller leaves, and raises the error that the server raised.
A wrapper does this and not gRPC's client interceptors: those add a task to each call and
lose cancellations (docs/adr/0005-own-interceptors.md).
"""

from __future__ import annotations

import json
import math
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, ClassVar, Self

from grpc import aio

from libs.budget import current_budget
from libs.errors import BudgetExhaustedError, from_rpc_error
from libs.telemetry import client_span, names, traceparent

MAX_MESSAGE_BYTES = 32 * 1024 * 1024
# Kept back of what is left, so that the reply still arrives in the caller's time.
REPLY_RESERVE_S = 0.002

_SERVICE_CONFIG = json.dumps(
    {
        "loadBalancingConfig": [{"round_robin": {}}],
        # A server that drains or is not warm yet gets no calls while there is another: a call
        # that meets the end of its server halfway would fail.
        "healthCheckConfig": {"serviceName": ""},
    }
)
_OPTIONS: tuple[tuple[str, Any], ...] = (
    ("grpc.service_config", _SERVICE_CONFIG),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    # The default grows to two minutes, in which a server that is back stays unused.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
)


class Connection:
    """A channel to one service; an async context manager that closes it."""

    def __init__(self, channel: aio.Channel, *, token: str = "") -> None:
        self.channel = channel
        self._authorization = ((names.AUTHORIZATION, f"Bearer {token}"),) if token else ()

    @classmethod
    def open(cls, target: str, *, token: str = "", options: Sequence[tuple[str, Any]] = ()) -> Self:
        """Open a channel to `target`: `host:port`, or any name gRPC resolves."""
        channel = aio.insecure_channel(target, options=[*_OPTIONS, *options])
        return cls(channel, token=token)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.channel.close()

    async def unary(self, method: Any, request: Any, *, limit_s: float | None = None) -> Any:
        """Call a method with one response.

        Args:
            method: the stub's method.
            request: its message.
            limit_s: seconds it may take; never more than the current budget leaves.

        Raises:
            MeshError: what the server raised; `BudgetExhaustedError` before anything is
                sent if there is no time left.
        """
        name = _name(method)
        timeout_s = _timeout_s(limit_s, name)
        span = client_span(name)
        code = "CANCELLED"
        call = method(request, timeout=timeout_s, metadata=self._metadata(span.span, timeout_s))
        try:
            response = await call
            code = "OK"
        except aio.AioRpcError as error:
            code = error.code().name
            raise from_rpc_error(error) from error
        finally:
            call.cancel()
            span.end(code)
        return response

    @asynccontextmanager
    async def stream(
        self, method: Any, request: Any, *, limit_s: float | None = None
    ) -> AsyncIterator[Responses]:
        """Call a method with many responses, and yield them as they come.

        Leaving the block cancels the call if it has not ended; a plain `break` out of a
        response iterator would not. Nothing is cancelled once `Responses.close` was called.

        Args:
            method: the stub's method.
            request: its message.
            limit_s: seconds it may take; never more than the current budget leaves.

        Raises:
            MeshError: as `unary`; later ones come out of the iteration.
        """
        name = _name(method)
        timeout_s = _timeout_s(limit_s, name)
        span = client_span(name)
        call = method(request, timeout=timeout_s, metadata=self._metadata(span.span, timeout_s))
        responses = Responses(call)
        try:
            yield responses
        finally:
            responses.leave()
            span.end(responses.code)

    def _metadata(self, span: Any, timeout_s: float | None) -> tuple[tuple[str, str], ...]:
        metadata = self._authorization
        parent = traceparent(span)
        if parent is not None:
            metadata = (*metadata, (names.TRACEPARENT, parent))
        if timeout_s is not None:
            metadata = (*metadata, (names.TIMEOUT_SENT_MS, str(round(timeout_s * 1e3))))
        return metadata


class Responses:
    """The responses of one call, in order.

    Attributes:
        code: name of the status that the call ended with; `CANCELLED` until it has.
    """

    # Calls whose last response was read, held until their status has come as well:
    # one that is collected before would be cancelled.
    _ending: ClassVar[set[Any]] = set()

    def __init__(self, call: Any) -> None:
        self.code = "CANCELLED"
        self._call = call
        self._iterator = call.__aiter__()
        self._is_closed = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        if self._is_closed:
            raise StopAsyncIteration
        try:
            return await anext(self._iterator)
        except StopAsyncIteration:
            self.code = "OK"
            raise
        except aio.AioRpcError as error:
            self.code = error.code().name
            raise from_rpc_error(error) from error

    def close(self) -> None:
        """Note that the last response has been read, as the contract of the method says.

        Nobody then waits for the status behind it, which says nothing more.
        """
        self.code = "OK"
        self._is_closed = True

    def leave(self) -> None:
        """Cancel the call, unless its last response has been read."""
        if not self._is_closed:
            self._call.cancel()
        elif not self._call.done():
            self._ending.add(self._call)
            self._call.add_done_callback(self._ending.discard)


def _name(method: Any) -> str:
    # Private, but the only place where a stub keeps its method's name; a contract test
    # notices if it moves.
    return str(method._method.decode()).removeprefix("/")  # noqa: SLF001


def _timeout_s(limit_s: float | None, name: str) -> float | None:
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
