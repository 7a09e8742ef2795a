"""OTLP in and `hasten.traces.v1.TracesService` out: from the wire to spans and back."""

from __future__ import annotations

import asyncio
import base64
import json
import math
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from grpc import aio
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as otlp
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import (
    TraceServiceServicer,
    add_TraceServiceServicer_to_server,
)
from opentelemetry.proto.common.v1 import common_pb2
from opentelemetry.proto.trace.v1 import trace_pb2

from hasten.traces.v1 import traces_service_pb2 as pb
from hasten.traces.v1.traces_service_pb2_grpc import (
    TracesServiceServicer,
    add_TracesServiceServicer_to_server,
)
from libs.errors import InvalidFieldError, MeshError, to_status
from libs.telemetry import names
from libs.values.traces import ALL_TENANTS, Span, TraceOrder
from libs.wire import duration
from services.traces.intake import Intake
from services.traces.store import SpanStore

_PREFIX = re.compile(r"[0-9a-f]{4,32}")
_MAX_LIMIT = 1000
_DEFAULT_LIMIT = 20
_NANOS = 1_000_000_000
# Beyond this, in the year 2262, a time does not fit into SQLite's integers.
_MAX_TIME_NS = 2**63 - 1
_TRACE_ID_BYTES = 16
_SPAN_ID_BYTES = 8


class OtlpServicer(TraceServiceServicer):
    """Takes spans from exporters; whoever reaches the port may send."""

    NAME = otlp.DESCRIPTOR.services_by_name["TraceService"].full_name

    def __init__(self, intake: Intake) -> None:
        self._intake = intake

    def register(self, server: aio.Server) -> None:
        """Attach this servicer to a server."""
        add_TraceServiceServicer_to_server(self, server)  # type: ignore[no-untyped-call]

    async def Export(
        self,
        request: otlp.ExportTraceServiceRequest,
        context: aio.ServicerContext[Any, Any],
    ) -> otlp.ExportTraceServiceResponse:
        spans = list(_spans_of(request))
        sent = sum(
            len(scope.spans) for each in request.resource_spans for scope in each.scope_spans
        )
        try:
            stored = await self._intake.put(spans)
        except MeshError as error:
            # Exporters have no identity, so the guard, which translates, is not around this.
            await context.abort_with_status(to_status(error))
        return _answer(malformed=sent - len(spans), too_many=len(spans) - stored)


class TracesServicer(TracesServiceServicer):
    """Reads the span store.

    Args:
        store: where the spans are.
        settle_s: seconds after which a trace without a root is listed by its earliest span.
        clock: seconds of the Unix epoch.
    """

    NAME = pb.DESCRIPTOR.services_by_name["TracesService"].full_name

    def __init__(self, store: SpanStore, *, settle_s: float, clock: Callable[[], float]) -> None:
        self._store = store
        self._settle_s = settle_s
        self._clock = clock

    def register(self, server: aio.Server) -> None:
        """Attach this servicer to a server."""
        add_TracesServiceServicer_to_server(self, server)

    async def GetTrace(
        self, request: pb.GetTraceRequest, context: aio.ServicerContext[Any, Any]
    ) -> pb.GetTraceResponse:
        prefix = request.trace_id.lower()
        if not _PREFIX.fullmatch(prefix):
            raise InvalidFieldError("trace_id", "must be 4 to 32 hex digits", got=request.trace_id)
        spans = await asyncio.to_thread(self._store.spans, prefix, _tenants(request.tenant_id))
        return pb.GetTraceResponse(spans=map(_span_to, spans))

    async def ListTraces(
        self, request: pb.ListTracesRequest, context: aio.ServicerContext[Any, Any]
    ) -> pb.ListTracesResponse:
        if not 0 <= request.limit <= _MAX_LIMIT:
            raise InvalidFieldError("limit", f"must be 1 to {_MAX_LIMIT}", got=request.limit)
        roots = await asyncio.to_thread(
            self._store.roots,
            _tenants(request.tenant_id),
            order=_order(request.order),
            limit=request.limit or _DEFAULT_LIMIT,
            name=request.root_name,
            settled_s=self._clock() - self._settle_s,
        )
        return pb.ListTracesResponse(roots=map(_span_to, roots))


def _tenants(tenant_id: str) -> frozenset[str] | None:
    """Return whose traces may be seen; the guard has asked whether the caller may."""
    return None if tenant_id == ALL_TENANTS else frozenset({tenant_id})


def _order(number: int) -> TraceOrder:
    try:
        return TraceOrder(number)
    except ValueError as error:
        raise InvalidFieldError("order", "must be a known order", got=number) from error


def _span_to(span: Span) -> pb.Span:
    message = pb.Span(
        trace_id=span.trace_id,
        span_id=span.span_id,
        parent_span_id=span.parent_span_id,
        name=span.name,
        service=span.service,
        duration=duration(span.duration_ns / _NANOS),
        status=span.status,
        kind=span.kind,
        attributes={key: json.dumps(value) for key, value in span.attributes.items()},
    )
    message.start_time.FromNanoseconds(span.start_ns)
    return message


def _answer(*, malformed: int, too_many: int) -> otlp.ExportTraceServiceResponse:
    """Return what an exporter is told: nothing, or which spans it must not send again."""
    response = otlp.ExportTraceServiceResponse()
    if malformed or too_many:
        response.partial_success.rejected_spans = malformed + too_many
        response.partial_success.error_message = (
            f"{malformed} spans had no valid id or time, "
            f"{too_many} were more than one export may hold"
        )
    return response


def _spans_of(request: otlp.ExportTraceServiceRequest) -> Iterator[Span]:
    """Yield the valid spans of an export."""
    for each in request.resource_spans:
        resource = _attributes(each.resource.attributes)
        service = str(resource.get(names.SERVICE_NAME, ""))
        for scope in each.scope_spans:
            yield from (_span_from(span, service) for span in scope.spans if _is_valid(span))


def _is_valid(span: trace_pb2.Span) -> bool:
    ids = len(span.trace_id) == _TRACE_ID_BYTES and len(span.span_id) == _SPAN_ID_BYTES
    times = 0 < span.start_time_unix_nano <= span.end_time_unix_nano <= _MAX_TIME_NS
    return ids and any(span.trace_id) and any(span.span_id) and times


def _span_from(span: trace_pb2.Span, service: str) -> Span:
    attributes = _attributes(span.attributes)
    if span.status.message:
        attributes["otel.status_description"] = span.status.message
    return Span(
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_span_id=span.parent_span_id.hex() if any(span.parent_span_id) else "",
        name=span.name,
        service=service,
        start_ns=span.start_time_unix_nano,
        duration_ns=span.end_time_unix_nano - span.start_time_unix_nano,
        status=_STATUSES.get(span.status.code, "UNSET"),
        kind=_KINDS.get(span.kind, "INTERNAL"),
        attributes=attributes,
    )


_STATUSES = {1: "OK", 2: "ERROR"}
_KINDS = {1: "INTERNAL", 2: "SERVER", 3: "CLIENT", 4: "PRODUCER", 5: "CONSUMER"}


def _attributes(pairs: Iterable[common_pb2.KeyValue]) -> dict[str, Any]:
    return {pair.key: _plain(pair.value) for pair in pairs}


def _plain(value: common_pb2.AnyValue) -> Any:
    """Return a value as JSON can hold it; bytes and odd floats as OTLP's JSON has them."""
    kind = value.WhichOneof("value")
    if kind is None:
        return None
    if kind == "array_value":
        return [_plain(each) for each in value.array_value.values]
    if kind == "kvlist_value":
        return _attributes(value.kvlist_value.values)
    plain = getattr(value, kind)
    if isinstance(plain, bytes):
        return base64.b64encode(plain).decode()
    if isinstance(plain, float) and not math.isfinite(plain):
        return str(plain)
    return plain
