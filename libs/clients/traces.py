"""A typed client of `hasten.traces.v1.TracesService`."""

from __future__ import annotations

import json

from hasten.traces.v1 import traces_service_pb2 as pb
from hasten.traces.v1.traces_service_pb2_grpc import TracesServiceStub
from libs.clients.connection import Connection
from libs.values.traces import Span, TraceOrder

_NANOS = 1_000_000_000


class TracesClient:
    """Reads the traces of the mesh; every method raises what the server raised."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._stub = TracesServiceStub(connection.channel)

    async def get(
        self, tenant_id: str, trace_id: str, *, limit_s: float | None = None
    ) -> tuple[Span, ...]:
        """Return the spans of one trace by start time; the first digits of its id will do."""
        request = pb.GetTraceRequest(tenant_id=tenant_id, trace_id=trace_id)
        response = await self._connection.unary(self._stub.GetTrace, request, limit_s=limit_s)
        return tuple(map(_span_from, response.spans))

    async def list(
        self,
        tenant_id: str,
        *,
        limit: int = 20,
        order: TraceOrder = TraceOrder.NEWEST,
        root_name: str = "",
        limit_s: float | None = None,
    ) -> tuple[Span, ...]:
        """Return the root spans of at most `limit` traces."""
        request = pb.ListTracesRequest(
            tenant_id=tenant_id,
            limit=limit,
            order=int(order),  # type: ignore[arg-type]
            root_name=root_name,
        )
        response = await self._connection.unary(self._stub.ListTraces, request, limit_s=limit_s)
        return tuple(map(_span_from, response.roots))


def _span_from(message: pb.Span) -> Span:
    return Span(
        trace_id=message.trace_id,
        span_id=message.span_id,
        parent_span_id=message.parent_span_id,
        name=message.name,
        service=message.service,
        start_ns=message.start_time.ToNanoseconds(),
        duration_ns=message.duration.seconds * _NANOS + message.duration.nanos,
        status=message.status,
        kind=message.kind,
        attributes={key: json.loads(value) for key, value in message.attributes.items()},
    )
