"""What the edge adds to a stream, and how many streams it can carry; run on a quiet machine."""

from __future__ import annotations

import asyncio
import json
import statistics
import time
from itertools import pairwise
from typing import Any

import pytest
from blockbuster import BlockBuster

from libs.clients import Connection
from libs.clients.answer import AnswerClient
from libs.values import Question, TextDelta
from tests.support.blocking import blocking
from tests.support.edge_process import EdgeProcess, edge_process
from tests.support.steady import steady

pytestmark = pytest.mark.prove

STREAMS = 500
TEXTS = 100
GAP_S = 0.1
QUESTION = "Why is the sky blue?"


class Reader(asyncio.Protocol):
    """Asks as an event stream, and notes when each frame came."""

    def __init__(self) -> None:
        self.came_s: list[float] = []
        self.asked_s = self.first_text_s = 0.0
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.text = b""
        self._transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        body = json.dumps({"question": QUESTION})
        transport.write(
            f"POST /v1/answers HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: text/event-stream\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()
        )
        self.asked_s = time.perf_counter()

    def data_received(self, data: bytes) -> None:
        now_s = time.perf_counter()
        count = data.count(b"\nevent: text\n")
        if count and not self.first_text_s:
            self.first_text_s = now_s
        self.came_s += [now_s] * count
        if b"event: completed\n" in data and not self.ended.done():
            self.ended.set_result(None)
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.ended.done():
            self.ended.set_exception(exc or ConnectionError("the stream was cut off"))


async def read(port: int) -> Reader:
    loop = asyncio.get_running_loop()
    _, reader = await loop.create_connection(Reader, "127.0.0.1", port)
    await reader.ended
    return reader


async def measured(edge: EdgeProcess, count: int) -> tuple[list[Reader], int, float]:
    """Read so many streams, begun over a second, and return them, memory and CPU share."""
    reading = []
    for _ in range(count):
        reading.append(asyncio.create_task(read(edge.port)))
        await asyncio.sleep(1 / count)
    await asyncio.sleep(TEXTS * GAP_S / 4)
    began_s, cpu_s = time.perf_counter(), edge.cpu_s
    await asyncio.sleep(TEXTS * GAP_S / 2)
    share = (edge.cpu_s - cpu_s) / (time.perf_counter() - began_s)
    resident_bytes = edge.resident_bytes
    return list(await asyncio.gather(*reading)), resident_bytes, share


async def test_500_streams_of_10_frames_a_second_keep_their_pace(no_blocking: BlockBuster) -> None:
    env = {"EDGE_MAX_CONCURRENCY": "1000"}
    with blocking(no_blocking):
        async with steady(TEXTS, GAP_S) as target, edge_process(target, **env) as edge:
            await measured(edge, 1)
            before_bytes = edge.resident_bytes
            readers, resident_bytes, share = await measured(edge, STREAMS)
    assert {len(each.came_s) for each in readers} == {TEXTS}
    gaps_s = [later - one for each in readers for one, later in pairwise(each.came_s)]
    p50_s, p99_s = statistics.median(gaps_s), statistics.quantiles(gaps_s, n=100)[98]
    kib = (resident_bytes - before_bytes) / STREAMS / 1024
    print(
        f"edge: {STREAMS} streams: gap p50 {p50_s * 1e3:.0f} ms, p99 {p99_s * 1e3:.0f} ms, longest "
        f"{max(gaps_s) * 1e3:.0f} ms; {kib:.0f} KiB a stream; {share:.0%} of a core"
    )
    assert p99_s <= 0.250


async def test_the_first_text_is_there_3_ms_after_that_of_the_orchestrator(
    no_blocking: BlockBuster,
) -> None:
    async def over_grpc() -> float:
        began_s = time.perf_counter()
        async with client.ask(Question("default", QUESTION)) as events:
            async for each in events:
                if isinstance(each.event, TextDelta):
                    return time.perf_counter() - began_s
        raise AssertionError

    async def over_http() -> float:
        reader = await read(edge.port)
        return reader.first_text_s - reader.asked_s

    took_s: dict[Any, list[float]] = {over_grpc: [], over_http: []}
    with blocking(no_blocking):
        async with (
            steady(3, 0.01) as target,
            edge_process(target) as edge,
            Connection.open(target) as connection,
        ):
            client = AnswerClient(connection)
            for _ in range(220):
                for ask, times in took_s.items():
                    times.append(await ask())
    grpc_s, http_s = (statistics.median(each[20:]) for each in took_s.values())
    print(f"edge: first text: gRPC {grpc_s * 1e3:.2f} ms, HTTP {http_s * 1e3:.2f} ms (p50)")
    assert http_s - grpc_s <= 0.003
