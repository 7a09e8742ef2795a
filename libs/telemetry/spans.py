"""Spans of the mesh: thin, ended in `finally`, never attached across a `yield`."""

from __future__ import annotations

import asyncio
import functools
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.types import AttributeValue

from libs.telemetry import metrics, names

# What this mesh sends; every other form is left to the SDK, which takes three times as long.
_PLAIN_PARENT = re.compile("00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")
_PROPAGATOR = TraceContextTextMapPropagator()
OK = "OK"


def tracer() -> trace.Tracer:
    """Return the tracer of the process; before `set_up_telemetry` it records nothing."""
    return _tracer_of(trace.get_tracer_provider())


# The SDK makes a new one each time it is asked, which costs more than a span.
@functools.lru_cache(maxsize=4)
def _tracer_of(provider: trace.TracerProvider) -> trace.Tracer:
    return provider.get_tracer(names.SCOPE, schema_url=names.SCHEMA_URL)


def current_trace_id() -> str:
    """Return the current trace's id, 32 hex digits; empty outside of any trace."""
    found = trace.get_current_span().get_span_context()
    return f"{found.trace_id:032x}" if found.is_valid else ""


def current_traceparent() -> str:
    """Return the `traceparent` of the current span; empty outside of any trace."""
    return traceparent(trace.get_current_span()) or ""


def traceparent(span_: Span) -> str | None:
    """Return the W3C `traceparent` that makes a remote span a child of `span_`."""
    found = span_.get_span_context()
    if not found.is_valid:
        return None
    return f"00-{found.trace_id:032x}-{found.span_id:016x}-{found.trace_flags:02x}"


def context_of(header: str | None) -> Context:
    """Return the context that a `traceparent` header carries; the empty one if it is not valid."""
    if not header:
        return Context()
    plain = _PLAIN_PARENT.fullmatch(header)
    if plain is not None:
        trace_id, span_id, flags = (int(part, 16) for part in plain.groups())
        parent = SpanContext(trace_id, span_id, is_remote=True, trace_flags=TraceFlags(flags))
        if parent.is_valid:
            return trace.set_span_in_context(NonRecordingSpan(parent), Context())
    return _PROPAGATOR.extract({names.TRACEPARENT: header}, Context())


def set_code(span_: Span, code: str) -> None:
    """Record how a call ended; every code but `OK` is an error."""
    span_.set_attribute(names.RPC_STATUS_CODE, code)
    if code != OK:
        span_.set_attribute(names.ERROR_TYPE, code)
        span_.set_status(Status(StatusCode.ERROR))


@contextmanager
def span(
    name: str,
    attributes: Mapping[str, AttributeValue] | None = None,
    context: Context | None = None,
) -> Iterator[Span]:
    """Record what happens inside as a span of the current trace.

    For plain blocks only: inside an async generator the block must not `yield`.
    """
    made = tracer().start_span(name, context, attributes=attributes)
    token = otel_context.attach(trace.set_span_in_context(made, context))
    try:
        yield made
    except BaseException as error:
        made.set_attribute(names.ERROR_TYPE, type(error).__name__)
        made.set_status(Status(StatusCode.ERROR))
        raise
    finally:
        otel_context.detach(token)
        made.end()


@contextmanager
def root_span(
    name: str, attributes: Mapping[str, AttributeValue], caused_by: str = ""
) -> Iterator[Span]:
    """Record what happens inside as a trace of its own.

    Args:
        name: of the span.
        attributes: of the span.
        caused_by: the `traceparent` of what has led to it, to which it links; empty for
            nothing.
    """
    cause = trace.get_current_span(context_of(caused_by)).get_span_context()
    links = [Link(cause)] if cause.is_valid else []
    made = tracer().start_span(name, Context(), attributes=attributes, links=links)
    token = otel_context.attach(trace.set_span_in_context(made, Context()))
    try:
        yield made
    finally:
        otel_context.detach(token)
        made.end()


class _CallSpan:
    """A span of one RPC, and its duration as a metric. `end` is idempotent."""

    __slots__ = ("_ended", "method", "span", "started_s")

    def __init__(self, method: str, kind: SpanKind, context: Context | None) -> None:
        self.method = method
        self.started_s = time.perf_counter()
        self._ended = False
        self.span = tracer().start_span(
            method, context, kind, {names.RPC_SYSTEM: "grpc", names.RPC_METHOD: method}
        )

    def _end(self, code: str, ended_ns: int | None = None) -> float | None:
        if self._ended:
            return None
        self._ended = True
        set_code(self.span, code)
        self.span.end(ended_ns)
        return time.perf_counter() - self.started_s


class ServerSpan(_CallSpan):
    """The span of a call that this process serves.

    The span becomes the current one of the task and stays it: each RPC is served by a
    task of its own, whose context dies with it.
    """

    __slots__ = ("queue_s",)

    def __init__(self, method: str, header: str | None) -> None:
        super().__init__(method, SpanKind.SERVER, context_of(header))
        self.queue_s = 0.0
        otel_context.attach(trace.set_span_in_context(self.span))
        metrics.count_in_flight(1)

    def end_soon(self, code: str) -> None:
        """End the span as of now, but in the loop's next pass: the response goes first."""
        asyncio.get_running_loop().call_soon(self.end, code, time.time_ns())

    def end(self, code: str, ended_ns: int | None = None) -> None:
        """End the span with the call's status code.

        Args:
            code: name of the status.
            ended_ns: when the call ended, in nanoseconds of the wall clock; None is now.
        """
        duration_s = self._end(code, ended_ns)
        if duration_s is not None:
            metrics.count_in_flight(-1)
            metrics.observe_server(self.method, code, duration_s, self.queue_s)


class ClientSpan(_CallSpan):
    """The span of a call that this process makes; its parent is the current span."""

    __slots__ = ()

    def __init__(self, method: str) -> None:
        super().__init__(method, SpanKind.CLIENT, None)

    def end(self, code: str) -> None:
        """End the span with the call's status code."""
        duration_s = self._end(code)
        if duration_s is not None:
            metrics.observe_client(self.method, code, duration_s)


def server_span(method: str, header: str | None) -> ServerSpan:
    """Start the span of a call that is served; `header` is its `traceparent`."""
    return ServerSpan(method, header)


def client_span(method: str) -> ClientSpan:
    """Start the span of a call that is made."""
    return ClientSpan(method)
