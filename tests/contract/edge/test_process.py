"""The edge as a process, as an operator starts it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest

from libs.clients.answer import AnswerClient
from libs.server.testing import serving
from libs.values import Question, TextDelta
from tests.support.answering_edge import ASK, SSE, Orchestrator, events_of


async def listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.close()
        await writer.wait_closed()
    except ConnectionError:  # refused, or reset where the listening just ended
        return False
    return True


@asynccontextmanager
async def process(target: str) -> AsyncIterator[tuple[subprocess.Popen[bytes], int]]:
    """The edge as an operator starts it, and its port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    env = {"EDGE_ADDRESS": f"127.0.0.1:{port}", "EDGE_ORCHESTRATOR_TARGET": target}
    command = [sys.executable, "-m", "services.edge"]
    running = await asyncio.to_thread(subprocess.Popen, command, env=os.environ | env)
    try:
        while not await listens(port):
            assert running.poll() is None
            await asyncio.sleep(0.02)
        yield running, port
    finally:
        running.kill()
        await asyncio.to_thread(running.wait)


async def test_on_sigterm_the_streams_finish_and_the_process_ends_well(
    orchestrator: Orchestrator,
) -> None:
    orchestrator.hold.clear()
    async with serving(orchestrator.register) as target, process(target) as (running, port):
        url = f"http://127.0.0.1:{port}/v1/answers"
        async with httpx.AsyncClient(trust_env=False, timeout=30) as http:
            asking = asyncio.create_task(http.post(url, json=ASK, headers=SSE))
            await asyncio.wait_for(orchestrator.arrived.wait(), 30)
            running.send_signal(signal.SIGTERM)
            while await listens(port):
                pass
            assert not asking.done()
            orchestrator.hold.set()
            told = [name for _, name, _ in events_of((await asking).text)]
            assert "goaway" in told
            assert told[-1] == "completed"
        assert await asyncio.to_thread(running.wait, 30) == 0


@pytest.mark.prove
async def test_a_caller_that_leaves_cancels_its_answer_within_150_ms(
    orchestrator: Orchestrator,
) -> None:
    waits = []
    async with serving(orchestrator.register) as target, process(target) as (_, port):
        for _ in range(20):
            orchestrator.hold.clear()
            orchestrator.arrived.clear()
            orchestrator.cancelled.clear()
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            head = "POST /v1/answers HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n"
            body = json.dumps(ASK)
            length = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
            writer.write((head + length + body).encode())
            await asyncio.wait_for(orchestrator.arrived.wait(), 30)
            writer.close()
            left_s = time.monotonic()
            await asyncio.wait_for(orchestrator.cancelled.wait(), 30)
            waits.append(time.monotonic() - left_s)
    print(f"left to cancelled: longest {max(waits) * 1e3:.1f} ms")
    assert max(waits) < 0.15


@pytest.mark.prove
async def test_the_edge_adds_little(client: AnswerClient, http: httpx.AsyncClient) -> None:
    async def direct() -> None:
        async with client.ask(Question("acme", "Why?")) as events:
            async for each in events:
                if isinstance(each.event, TextDelta):
                    return

    async def over_http() -> None:
        async with http.stream("POST", "/v1/answers", json=ASK, headers=SSE) as response:
            async for line in response.aiter_lines():
                if line == "event: text":
                    return

    medians_ms = []
    for ask in (direct, over_http):
        times = []
        for _ in range(200):
            started_s = time.perf_counter()
            await ask()
            times.append(time.perf_counter() - started_s)
        medians_ms.append(sorted(times)[100] * 1e3)
    print("first text, p50: gRPC {:.2f} ms, HTTP {:.2f} ms".format(*medians_ms))
    assert medians_ms[1] < medians_ms[0] + 50
