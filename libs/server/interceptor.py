"""What every call passes on its way to a servicer, in one place.

In this order: span, identity, tenant, budget, admission, then the servicer; whatever is
raised becomes a status. Every call ends with the server's load report in its trailers.
"""

from __future__ import annotations

import asyncio
import logging
import math
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn

import grpc
from google.protobuf.message import DecodeError
from grpc import aio
from opentelemetry.trace import Span

from libs.budget import Budget, adopt, current_budget
from libs.errors import (
    InternalError,
    InvalidFieldError,
    MeshError,
    OverloadedError,
    to_status,
)
from libs.resilience import Admission, Gate, Ticket, be_background
from libs.resilience.priority import BACKGROUND
from libs.server.call import Call, enter
from libs.server.identity import Identities, Identity
from libs.server.orca import LoadReport, Trailers
from libs.telemetry import count_shed, names, server_span, watch_admission

# Generic in the stubs only, so these must not be subscripted at run time.
Handler = Any
Context = Any
Continuation = Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]]

_LOG = logging.getLogger(__name__)
# Nothing is begun with less: it would be over before it could answer.
_LEAST_S = 0.0005
# gRPC ends a call at its deadline, but on a busy machine its own timers come a tenth of a
# second late. What it has not ended this long after is ended here.
_OVERDUE_S = 0.010
# How calls end that were not allowed to finish.
_CUT = frozenset({"CANCELLED", "DEADLINE_EXCEEDED"})


class _Malformed:
    """Stands for a request whose bytes are not the message they should be."""


# Where gRPC has the names of a caller's certificate, SPIFFE ids among them.
_ALTERNATIVE_NAME = "x509_subject_alternative_name"


class Guard(aio.ServerInterceptor):
    """Guards every method of a server but health and reflection.

    Those stay outside: they must answer while everything else is full, and to probes
    that have no identity.
    """

    def __init__(
        self,
        identities: Identities,
        *,
        admission: Admission,
        open_services: Sequence[str] = (),
    ) -> None:
        """Guard with these identities.

        Args:
            identities: who may call.
            admission: which of their calls are let in.
            open_services: full names of services that need no identity.
        """
        self._identities = identities
        self._admission = admission
        self._report = LoadReport(admission.load, admission.clock)
        self._outside = ("grpc.health.v1.", "grpc.reflection.", *open_services)
        self._guarded: dict[str, Handler] = {}
        limiter = admission.limiter
        watch_admission(lambda: limiter.in_flight, lambda: limiter.limit)

    async def intercept_service(
        self, continuation: Continuation, handler_call_details: grpc.HandlerCallDetails
    ) -> Handler | None:
        """Return the method's handler with the guard around it."""
        path = handler_call_details.method
        guarded = self._guarded.get(path)
        if guarded is not None:
            return guarded
        handler = await continuation(handler_call_details)
        method = path.removeprefix("/")
        if handler is None or method.startswith(self._outside):
            return handler
        self._guarded[path] = guarded = self._around(method, handler)
        return guarded

    def _around(self, method: str, handler: Handler) -> Handler:
        reader = _tolerant(handler.request_deserializer)
        if handler.unary_unary is not None:
            served = self._unary(method, handler.unary_unary)
            return grpc.unary_unary_rpc_method_handler(served, reader, handler.response_serializer)
        streamed = self._stream(method, handler.unary_stream)
        return grpc.unary_stream_rpc_method_handler(streamed, reader, handler.response_serializer)

    def _unary(self, method: str, inner: Any) -> Any:
        gate = self._admission.gate(method)

        async def serve(request: Any, context: Context) -> Any:
            header = dict(context.invocation_metadata() or ())
            span = server_span(method, header.get(names.TRACEPARENT))
            code, ticket = "OK", None
            try:
                ticket = self._admit(gate, method, request, context, header, span)
                with _ended_in_time():
                    response = await inner(request, context)
                ticket.answered()
                context.set_trailing_metadata(self._trailers(code, context))
                return response  # noqa: TRY300 - the success of all of it
            except BaseException as error:  # noqa: BLE001 - the outer edge of a call
                code = _code_of(error, context)
                await _fail(error, method, context, self._trailers(code, context))
            finally:
                if ticket is not None:
                    ticket.leave(cut=code in _CUT)
                # What comes back is sent only once this has returned.
                span.end_soon(code)

        return serve

    def _stream(self, method: str, inner: Any) -> Any:
        gate = self._admission.gate(method)

        async def serve(request: Any, context: Context) -> AsyncIterator[Any]:
            header = dict(context.invocation_metadata() or ())
            span = server_span(method, header.get(names.TRACEPARENT))
            code, ticket = "OK", None
            responses: Any = None
            try:
                ticket = self._admit(gate, method, request, context, header, span)
                responses = inner(request, context)
                with _ended_in_time():
                    async for response in responses:
                        ticket.answered()
                        yield response
                context.set_trailing_metadata(self._trailers(code, context))
            except BaseException as error:  # noqa: BLE001 - the outer edge of a call
                code = _code_of(error, context)
                await _fail(error, method, context, self._trailers(code, context))
            finally:
                if ticket is not None:
                    ticket.leave(cut=code in _CUT)
                span.end(code)
                if responses is not None:
                    # A servicer's `finally` runs now, not when garbage is collected.
                    await responses.aclose()

        return serve

    def _identify(self, authorization: str | None, context: Context) -> Identity:
        uris: Iterable[str] = ()
        if self._identities.by_certificate:
            shown = context.auth_context().get(_ALTERNATIVE_NAME, ())
            uris = [name.decode(errors="replace") for name in shown]
        return self._identities.of_call(authorization, uris)

    def _trailers(self, code: str, context: Context) -> Trailers:
        """Count a call that ends, and return its trailing metadata with the load report."""
        self._report.count(code)
        own, report = context.trailing_metadata(), self._report.trailers()
        if not own:
            return report
        # A servicer that knows its load better has said so itself.
        is_said = any(key == report[0][0] for key, _ in own)
        return tuple(own) if is_said else (*own, *report)

    def _admit(
        self,
        gate: Gate,
        method: str,
        request: Any,
        context: Context,
        header: dict[str, Any],
        span: Any,
    ) -> Ticket:
        """Check the call, let it in and enter it.

        Raises:
            MeshError: the caller, its request or the server's load forbid it.
        """
        remaining_s = context.time_remaining()
        span.queue_s = _queue_s(header.get(names.TIMEOUT_SENT_MS), remaining_s)
        identity = self._identify(header.get(names.AUTHORIZATION), context)
        identity.check_method(method)
        if isinstance(request, _Malformed):
            raise InvalidFieldError("request", "must be a well-formed message of the method")
        tenant_id = getattr(request, "tenant_id", None)
        if tenant_id is not None:
            identity.check(tenant_id)
        _describe(span.span, identity.name, tenant_id, remaining_s, span.queue_s)
        budget = None if remaining_s is None else Budget.of(remaining_s)
        if budget is not None:
            budget.require(_LEAST_S, method)
        is_background = header.get(names.PRIORITY) == BACKGROUND
        try:
            ticket = gate.admit(
                request, queue_s=span.queue_s, remaining_s=remaining_s, background=is_background
            )
        except OverloadedError as error:
            count_shed(method, error.metadata["cause"])
            raise
        if is_background:
            be_background()
        adopt(budget)
        enter(Call(method, identity, budget, span.queue_s))
        return ticket


def _describe(
    span: Span, identity: str, tenant_id: str | None, remaining_s: float | None, queue_s: float
) -> None:
    if not span.is_recording():
        return
    span.set_attribute(names.IDENTITY, identity)
    span.set_attribute(names.QUEUE_MS, round(queue_s * 1e3, 3))
    if tenant_id is not None:
        span.set_attribute(names.TENANT_ID, tenant_id)
    if remaining_s is not None:
        span.set_attribute(names.GRANTED_MS, round(remaining_s * 1e3, 3))


def _queue_s(sent_ms: str | None, remaining_s: float | None) -> float:
    """Return the seconds since the caller sent, without a clock in common.

    The caller sends only timeouts that the wire carries exactly (see
    `libs.clients.connection`), so what is missing at entry has passed on the way.
    """
    if sent_ms is None or remaining_s is None or not sent_ms.isdigit():
        return 0.0
    passed = int(sent_ms) / 1e3 - remaining_s
    return max(0.0, passed) if math.isfinite(passed) else 0.0


def _tolerant(read: Any) -> Any:
    def parse(data: bytes) -> Any:
        try:
            return read(data)
        except DecodeError:
            return _Malformed()

    return parse


@contextmanager
def _ended_in_time() -> Iterator[None]:
    """Cancel this task when the time of its call is over, if it is still inside."""
    budget, task = current_budget(), asyncio.current_task()
    if budget is None or task is None:
        yield
        return
    loop = asyncio.get_running_loop()
    timer = loop.call_later(budget.remaining_s() + _OVERDUE_S, task.cancel)
    try:
        yield
    finally:
        timer.cancel()


def _is_own_cancellation(error: BaseException) -> bool:
    """Return whether this call itself was cancelled, not something it waited for."""
    task = asyncio.current_task()
    return isinstance(error, asyncio.CancelledError) and bool(task and task.cancelling())


def _code_of(error: BaseException, context: Context) -> str:
    if isinstance(error, MeshError):
        return error.code.name
    if isinstance(error, GeneratorExit) or _is_own_cancellation(error):
        left = context.time_remaining()
        return "DEADLINE_EXCEEDED" if left is not None and left <= 0 else "CANCELLED"
    if isinstance(error, aio.AbortError):
        return str(grpc.StatusCode(context.code()).name) if context.code() else "UNKNOWN"
    return "INTERNAL"


async def _fail(
    error: BaseException, method: str, context: Context, trailers: Trailers
) -> NoReturn:
    """End the call with the status of `error`, and `trailers` beside what that has itself.

    A foreign cancellation, of a hedge that lost, say, must become a status: leaked, it
    would leave a caller without a deadline waiting for ever.
    """
    if isinstance(error, (GeneratorExit, aio.AbortError)) or _is_own_cancellation(error):
        raise error
    if not isinstance(error, MeshError):
        incident = secrets.token_hex(8)
        _LOG.error("incident %s in %s", incident, method, exc_info=error)
        error = InternalError(f"internal error, incident {incident}", incident=incident)
    await context.abort_with_status(to_status(error, trailers))
    raise AssertionError("abort returned")
