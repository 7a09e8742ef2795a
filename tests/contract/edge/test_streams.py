"""Answers over HTTP as streams of events, and what leaving them does."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

import httpx
import pytest

from libs.clients import Connection
from libs.values import GoAway, Revised, TextDelta
from tests.support.answering_edge import (
    ASK,
    COMPLETED,
    PACE,
    PLAN,
    SSE,
    WHOLE,
    Orchestrator,
    edge,
    events_of,
)


async def test_a_stream_has_every_event_with_its_number(
    http: httpx.AsyncClient, orchestrator: Orchestrator
) -> None:
    orchestrator.events = (*WHOLE[:-1], Revised("STALE"), GoAway(1.5), COMPLETED)
    response = await http.post("/v1/answers", json=ASK, headers=SSE)
    assert response.headers["content-type"].startswith("text/event-stream")
    assert response.headers["cache-control"] == "no-cache, no-transform"
    assert response.headers["x-accel-buffering"] == "no"
    events = events_of(response.text)
    assert [(number, name) for number, name, _ in events] == [
        ("1", "plan"),
        ("2", "stage"),
        ("3", "sources"),
        ("4", "text"),
        ("5", "text"),
        ("6", "citation"),
        ("7", "revised"),
        ("8", "goaway"),
        ("9", "completed"),
    ]
    data = {name: members for _, name, members in events}
    assert data["plan"]["run_id"] == "run-1"
    assert data["stage"] == {"hop": "retrieval", "at_ms": 100, "outcome": "ok", "count": 3}
    assert data["sources"]["passages"][0]["document_id"] == "d1"
    assert data["text"] == {"text": "of „scattering“."}
    assert data["revised"] == {"reason": "STALE"}
    assert data["goaway"] == {"time_left_ms": 1500}
    assert data["completed"]["latency"]["budget_ms"] == 700


async def test_events_are_sent_while_the_answer_goes_on(
    http: httpx.AsyncClient, orchestrator: Orchestrator
) -> None:
    orchestrator.events = (PLAN, TextDelta("Wait"))
    orchestrator.hold.clear()
    async with http.stream("POST", "/v1/answers", json=ASK, headers=SSE) as response:
        lines = response.aiter_lines()
        seen = ""
        while "Wait" not in seen:
            seen = await anext(lines)
        assert not orchestrator.cancelled.is_set()


async def test_a_silent_stream_shows_that_it_lives(
    connection: Connection, orchestrator: Orchestrator
) -> None:
    orchestrator.events = ()
    orchestrator.hold.clear()
    async with (
        edge(connection, pace=replace(PACE, ping_every_s=0.05)) as http,
        http.stream("POST", "/v1/answers", json=ASK, headers=SSE) as response,
    ):
        lines = response.aiter_lines()
        assert [await anext(lines) for _ in range(4)] == [": ping", "", ": ping", ""]


@pytest.mark.parametrize("headers", [SSE, {}])
async def test_a_caller_that_leaves_cancels_its_answer_at_once(
    http: httpx.AsyncClient, orchestrator: Orchestrator, headers: dict[str, str]
) -> None:
    orchestrator.hold.clear()
    asking = asyncio.create_task(http.post("/v1/answers", json=ASK, headers=headers))
    await asyncio.wait_for(orchestrator.arrived.wait(), 10)
    asking.cancel()
    left_s = time.monotonic()
    await asyncio.wait_for(orchestrator.cancelled.wait(), 10)
    assert time.monotonic() - left_s < 2  # 0.15 on a quiet machine
    await asyncio.gather(asking, return_exceptions=True)
