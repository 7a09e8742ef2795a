import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc import aio
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as otlp
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import TraceServiceStub
from opentelemetry.proto.trace.v1 import trace_pb2
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from hasten.traces.v1 import traces_service_pb2 as pb
from hasten.traces.v1.traces_service_pb2_grpc import TracesServiceStub
from libs.clients import Connection
from libs.clients.traces import TracesClient
from libs.errors import (
    InvalidFieldError,
    OverloadedError,
    TenantNotAllowedError,
    TraceNotFoundError,
)
from libs.server import Identities, Identity
from libs.server.testing import serving
from libs.values.traces import ALL_TENANTS, TENANT_ATTRIBUTE, Span, TraceOrder
from services.traces.intake import Intake
from services.traces.servicer import OtlpServicer, TracesServicer
from services.traces.store import SpanStore

NOW_NS = 1_800_000_000_000_000_000
TRACE = bytes.fromhex("abcdef" + "01" * 13)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SpanStore]:
    opened = await asyncio.to_thread(SpanStore.open, tmp_path)
    yield opened
    await asyncio.to_thread(opened.close)


@pytest.fixture
async def intake(store: SpanStore) -> AsyncIterator[Intake]:
    made = Intake(store, capacity_spans=1000, clock=time.time)
    running = asyncio.create_task(made.run())
    yield made
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


@pytest.fixture
def servicer(store: SpanStore) -> TracesServicer:
    return TracesServicer(store, settle_s=0.0, clock=time.time)


@pytest.fixture
async def address(intake: Intake, servicer: TracesServicer) -> AsyncIterator[str]:
    async with serving(OtlpServicer(intake).register, servicer.register) as bound:
        yield bound


@pytest.fixture
async def connection(address: str) -> AsyncIterator[Connection]:
    async with Connection.open(address) as opened:
        yield opened


@pytest.fixture
def traces(connection: Connection) -> TracesClient:
    return TracesClient(connection)


@pytest.fixture
def exporter(connection: Connection) -> TraceServiceStub:
    return TraceServiceStub(connection.channel)


def wire_span(
    number: int, trace_id: bytes = TRACE, tenant: str = "", **fields: object
) -> trace_pb2.Span:
    span = trace_pb2.Span(
        trace_id=trace_id,
        span_id=number.to_bytes(8, "big"),
        name="work",
        start_time_unix_nano=NOW_NS + number,
        end_time_unix_nano=NOW_NS + number + 1_500_000,
        **fields,  # type: ignore[arg-type]
    )
    if tenant:
        span.attributes.add(key=TENANT_ATTRIBUTE).value.string_value = tenant
    return span


def export(*spans: trace_pb2.Span) -> otlp.ExportTraceServiceRequest:
    request = otlp.ExportTraceServiceRequest()
    each = request.resource_spans.add()
    each.resource.attributes.add(key="service.name").value.string_value = "orchestrator"
    each.scope_spans.add().spans.extend(spans)
    return request


async def test_an_exported_span_is_readable_at_once_in_every_field(
    exporter: TraceServiceStub, traces: TracesClient
) -> None:
    span = wire_span(
        7, parent_span_id=b"\1" * 8, kind=2, status=trace_pb2.Status(code=2, message="late")
    )
    for key, value in (("n", 3), ("x", 0.5), ("yes", True), ("who", "me"), ("raw", b"\0\1")):
        slot = span.attributes.add(key=key).value
        kind = {int: "int", float: "double", bool: "bool", str: "string", bytes: "bytes"}[
            type(value)
        ]
        setattr(slot, f"{kind}_value", value)
    span.attributes.add(key="many").value.array_value.values.add(int_value=1)
    await exporter.Export(export(span))

    [read] = await traces.get(ALL_TENANTS, TRACE.hex())
    assert (read.trace_id, read.span_id) == (TRACE.hex(), "0000000000000007")
    assert read.parent_span_id == "01" * 8
    assert (read.name, read.service, read.kind, read.status) == (
        "work",
        "orchestrator",
        "SERVER",
        "ERROR",
    )
    assert (read.start_ns, read.duration_ns) == (NOW_NS + 7, 1_500_000)
    assert read.attributes == {
        "n": 3,
        "x": 0.5,
        "yes": True,
        "who": "me",
        "raw": "AAE=",
        "many": [1],
        "otel.status_description": "late",
    }


async def test_every_attribute_is_json_on_the_wire(
    exporter: TraceServiceStub, servicer: TracesServicer
) -> None:
    span = wire_span(1)
    span.attributes.add(key="odd").value.double_value = float("nan")
    span.attributes.add(key="none")
    await exporter.Export(export(span))
    context: aio.ServicerContext[pb.GetTraceRequest, pb.GetTraceResponse] = None  # type: ignore[assignment]
    response = await servicer.GetTrace(
        pb.GetTraceRequest(tenant_id="*", trace_id=TRACE.hex()), context
    )
    assert {k: json.loads(v) for k, v in response.spans[0].attributes.items()} == {
        "odd": "nan",
        "none": None,
    }


async def test_the_sdks_own_exporter_is_understood(address: str, traces: TracesClient) -> None:
    def work() -> None:
        provider = TracerProvider(resource=Resource.create({"service.name": "edge"}))
        exporter = OTLPSpanExporter(address, insecure=True, timeout=5)
        provider.add_span_processor(SimpleSpanProcessor(exporter))
        with provider.get_tracer("test").start_as_current_span("ask", attributes={"n": 1}):
            pass
        provider.shutdown()

    await asyncio.to_thread(work)
    [root] = await traces.list(ALL_TENANTS)
    assert (root.name, root.service, root.parent_span_id) == ("ask", "edge", "")
    assert root.attributes == {"n": 1}


async def test_four_digits_name_a_trace_in_either_case(
    exporter: TraceServiceStub, traces: TracesClient
) -> None:
    await exporter.Export(export(wire_span(1)))
    assert await traces.get(ALL_TENANTS, "ABCD") == await traces.get(ALL_TENANTS, TRACE.hex())


@pytest.mark.parametrize("trace_id", ["", "abc", "wxyz", "a" * 33, "abcd\n", "%a%a"])
async def test_what_is_no_part_of_an_id_is_an_invalid_field(
    traces: TracesClient, trace_id: str
) -> None:
    with pytest.raises(InvalidFieldError, match="4 to 32 hex digits") as refused:
        await traces.get(ALL_TENANTS, trace_id)
    assert refused.value.field == "trace_id"


async def test_an_unknown_trace_is_not_found(traces: TracesClient) -> None:
    with pytest.raises(TraceNotFoundError):
        await traces.get(ALL_TENANTS, "abcdef")


@pytest.mark.parametrize("limit", [-1, 1001])
async def test_a_limit_out_of_range_is_an_invalid_field(traces: TracesClient, limit: int) -> None:
    with pytest.raises(InvalidFieldError, match="limit: must be 1 to 1000"):
        await traces.list(ALL_TENANTS, limit=limit)


async def test_twenty_traces_are_listed_if_no_limit_is_given(
    exporter: TraceServiceStub, traces: TracesClient
) -> None:
    await exporter.Export(export(*(wire_span(n, n.to_bytes(16, "big")) for n in range(1, 31))))
    newest = await traces.list(ALL_TENANTS, limit=0)
    assert [int(each.span_id, 16) for each in newest] == list(range(30, 10, -1))
    assert len(await traces.list(ALL_TENANTS, limit=1000, order=TraceOrder.SLOWEST)) == 30


async def test_an_order_of_a_later_version_is_an_invalid_field(connection: Connection) -> None:
    request = pb.ListTracesRequest(tenant_id="*", order=99)  # type: ignore[arg-type]
    method = connection.channel.unary_unary(
        "/hasten.traces.v1.TracesService/ListTraces",
        request_serializer=pb.ListTracesRequest.SerializeToString,
        response_deserializer=pb.ListTracesResponse.FromString,
    )
    with pytest.raises(aio.AioRpcError) as refused:
        await method(request)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_only_roots_of_the_name_are_listed(
    exporter: TraceServiceStub, traces: TracesClient
) -> None:
    await exporter.Export(export(wire_span(1)))
    assert len(await traces.list(ALL_TENANTS, root_name="work")) == 1
    assert await traces.list(ALL_TENANTS, root_name="play") == ()


async def test_an_identity_sees_the_traces_of_its_tenants_alone(
    servicer: TracesServicer,
) -> None:
    known = Identities.of([("s3cret", Identity("ops-acme", frozenset({"acme"})))])
    async with (
        serving(servicer.register, identities=known) as address,
        Connection.open(address, token="s3cret") as connection,  # noqa: S106 - a test's
    ):
        traces = TracesClient(connection)
        assert await traces.list("acme") == ()
        for tenant in ("rival", ALL_TENANTS):
            with pytest.raises(TenantNotAllowedError):
                await traces.list(tenant)
            with pytest.raises(TenantNotAllowedError):
                await traces.get(tenant, "abcd")


async def test_a_tenant_does_not_see_the_traces_of_another(
    exporter: TraceServiceStub, traces: TracesClient
) -> None:
    other = bytes.fromhex("abce" * 8)
    await exporter.Export(export(wire_span(1, tenant="acme"), wire_span(2, other, "rival")))
    assert [each.trace_id for each in await traces.list("acme")] == [TRACE.hex()]
    with pytest.raises(TraceNotFoundError):
        await traces.get("acme", other.hex())


async def test_spans_without_ids_or_times_are_rejected_and_counted(
    exporter: TraceServiceStub, traces: TracesClient
) -> None:
    backwards = wire_span(3)
    backwards.end_time_unix_nano = 1
    bad = [wire_span(1, b"short"), wire_span(2, bytes(16)), backwards]
    response = await exporter.Export(export(*bad, wire_span(4)))
    assert response.partial_success.rejected_spans == 3
    assert "3 spans had no valid id or time" in response.partial_success.error_message
    assert len(await traces.get(ALL_TENANTS, TRACE.hex())) == 1


async def test_an_export_that_is_all_stored_says_nothing(exporter: TraceServiceStub) -> None:
    response = await exporter.Export(export(wire_span(1)))
    assert not response.HasField("partial_success")


async def test_a_full_queue_refuses_with_the_time_to_come_again(store: SpanStore) -> None:
    unwritten = Intake(store, capacity_spans=2, clock=time.time)
    span = Span(TRACE.hex(), "1" * 16, "", "work", "test", start_ns=1, duration_ns=1)
    waiting = asyncio.create_task(unwritten.put([span, span]))
    await asyncio.sleep(0)
    async with (
        serving(OtlpServicer(unwritten).register) as address,
        Connection.open(address) as connection,
    ):
        method = TraceServiceStub(connection.channel).Export
        with pytest.raises(OverloadedError) as refused:
            await connection.unary(method, export(wire_span(3)))
    assert refused.value.retry_after_s == 1.0
    waiting.cancel()


@contextmanager
def process(data_dir: Path) -> Iterator[tuple[subprocess.Popen[bytes], grpc.Channel]]:
    """The service as an operator starts it, and a channel to it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    env = os.environ | {"TRACES_DATA_DIR": str(data_dir), "TRACES_ADDRESS": address}
    running = subprocess.Popen([sys.executable, "-m", "services.traces"], env=env)
    try:
        with grpc.insecure_channel(address) as channel:
            grpc.channel_ready_future(channel).result(timeout=30)
            yield running, channel
    finally:
        running.kill()
        running.wait()


def send(channel: grpc.Channel, request: otlp.ExportTraceServiceRequest) -> None:
    TraceServiceStub(channel).Export(request, timeout=30)


def read(channel: grpc.Channel, trace_id: bytes = TRACE) -> pb.GetTraceResponse:
    # The stubs' types know only asyncio's channels.
    stub: Any = TracesServiceStub(channel)  # type: ignore[arg-type]
    request = pb.GetTraceRequest(tenant_id=ALL_TENANTS, trace_id=trace_id.hex())
    return stub.GetTrace(request, timeout=30)


def test_what_was_acknowledged_survives_a_kill(tmp_path: Path) -> None:
    with process(tmp_path) as (running, channel):
        send(channel, export(wire_span(1), wire_span(2)))
        running.kill()
        running.wait()
    with process(tmp_path) as (_, channel):
        assert len(read(channel).spans) == 2


def test_the_process_ends_well_on_sigterm(tmp_path: Path) -> None:
    with process(tmp_path) as (running, channel):
        send(channel, export(wire_span(1)))
        running.send_signal(signal.SIGTERM)
        assert running.wait(timeout=30) == 0


@pytest.mark.prove
def test_twenty_thousand_spans_are_stored_in_seconds_and_little_memory(tmp_path: Path) -> None:
    def batch(first: int) -> otlp.ExportTraceServiceRequest:
        spans = []
        for number in range(first, first + 500):
            span = wire_span(number + 1, (number // 12 + 1).to_bytes(16, "big"), "acme")
            for key in ("rpc.system.name", "rpc.method", "rpc.status_code", "hasten.queue_ms"):
                span.attributes.add(key=key).value.string_value = "hasten.cache.v1.CacheService"
            spans.append(span)
        return export(*spans)

    with process(tmp_path) as (running, channel):
        requests = [batch(first) for first in range(0, 20_000, 500)]
        started_s = time.perf_counter()
        for request in requests:
            send(channel, request)
        took_s = time.perf_counter() - started_s
        status = Path(f"/proc/{running.pid}/status").read_text()
        [stored] = read(channel, (20_000 // 12 + 1).to_bytes(16, "big")).spans[-1:]
    assert stored.span_id == f"{20_000:016x}"
    memory = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    print(f"20,000 spans in {took_s:.2f} s, {memory}")
    assert took_s < 15
    assert int(memory.split()[1]) < 200_000


@pytest.mark.prove
def test_a_span_is_readable_within_a_tenth_of_a_second_of_its_export(tmp_path: Path) -> None:
    waits = []
    with process(tmp_path) as (_, channel):
        for number in range(1, 101):
            request = export(wire_span(1, number.to_bytes(16, "big")))
            started_s = time.perf_counter()
            send(channel, request)
            read(channel, number.to_bytes(16, "big"))
            waits.append(time.perf_counter() - started_s)
    p95_s = sorted(waits)[94]
    print(f"export to readable: p95 {p95_s * 1e3:.1f} ms")
    assert p95_s < 0.1
