"""What a caller over HTTP is told when there is no answer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace

import httpx
import pytest

from libs.clients import Connection
from libs.errors import (
    BudgetExhaustedError,
    CollectionNotFoundError,
    InternalError,
    InvalidFieldError,
    MeshError,
    ModelInterruptedError,
    OverloadedError,
    PolicyNotFoundError,
    TenantNotAllowedError,
    UnauthenticatedError,
    UnreachableError,
)
from libs.values import TextDelta
from tests.support.answering_edge import ASK, PACE, PLAN, RULES, SSE, Orchestrator, edge, events_of

ERRORS = [
    (InvalidFieldError("question", "must be at most 8000 characters"), 400, "question"),
    (InvalidFieldError("first_text_by", "must be positive"), 400, "budget_ms"),
    (TenantNotAllowedError("edge may not speak for tenant acme"), 403, ""),
    (CollectionNotFoundError("no collection manuals"), 404, ""),
    (PolicyNotFoundError("no policy hasty"), 404, ""),
    (OverloadedError("256 calls in flight", retry_after_s=2.5), 429, ""),
    (BudgetExhaustedError("embedding: 1 ms left"), 504, ""),
    (UnreachableError("failed to connect to ipv4:10.0.0.7:443"), 503, ""),
    (ModelInterruptedError("the model broke off"), 503, ""),
    (UnauthenticatedError("the token is not known"), 500, ""),
    (InternalError("internal error, incident 7"), 500, ""),
]


@pytest.mark.parametrize("headers", [SSE, {}])
@pytest.mark.parametrize(("error", "status_code", "field"), ERRORS)
async def test_an_error_of_the_mesh_has_its_status(
    http: httpx.AsyncClient,
    orchestrator: Orchestrator,
    error: MeshError,
    status_code: int,
    field: str,
    headers: dict[str, str],
) -> None:
    orchestrator.events, orchestrator.error = (), error
    response = await http.post("/v1/answers", json=ASK, headers=headers)
    problem = response.json()
    assert response.status_code == problem["status"] == status_code
    assert response.headers["content-type"] == "application/problem+json"
    assert problem.get("field", "") == field
    assert ("retry-after" in response.headers) == (error.retry_after_s is not None)
    if status_code < 429:
        assert problem["reason"] == error.reason
        assert problem["detail"] == str(error)
    else:
        assert str(error) not in response.text


async def test_a_server_that_is_full_says_when_to_come_again(
    http: httpx.AsyncClient, orchestrator: Orchestrator
) -> None:
    orchestrator.events, orchestrator.error = (), OverloadedError("full", retry_after_s=2.5)
    response = await http.post("/v1/answers", json=ASK)
    assert response.headers["retry-after"] == "3"
    assert response.json()["retry_after_s"] == 2.5


async def test_an_error_after_the_first_event_is_the_last_event(
    http: httpx.AsyncClient, orchestrator: Orchestrator
) -> None:
    orchestrator.events = (PLAN, TextDelta("Because"))
    orchestrator.error = UnreachableError("ipv4:10.0.0.7 went away")
    response = await http.post("/v1/answers", json=ASK, headers=SSE)
    assert response.status_code == 200
    number, name, problem = events_of(response.text)[-1]
    assert (number, name) == ("", "error")
    assert (problem["status"], problem["reason"]) == (503, "UNREACHABLE")
    assert "10.0.0.7" not in response.text


@pytest.mark.parametrize("headers", [SSE, {}])
async def test_an_answer_without_its_end_is_an_error(
    http: httpx.AsyncClient, orchestrator: Orchestrator, headers: dict[str, str]
) -> None:
    orchestrator.events = ()
    response = await http.post("/v1/answers", json=ASK, headers=headers)
    assert response.status_code == 503


async def test_an_orchestrator_that_fails_in_an_unforeseen_way_tells_nothing(
    http: httpx.AsyncClient, orchestrator: Orchestrator
) -> None:
    def fail() -> Callable[[], Awaitable[bool]]:
        raise ValueError("secret")

    orchestrator.events = ()
    orchestrator.hold.wait = fail  # type: ignore[method-assign, assignment]
    response = await http.post("/v1/answers", json=ASK)
    assert response.status_code == 500
    assert "secret" not in response.text


async def test_no_answer_outlives_its_deadline(
    http: httpx.AsyncClient, orchestrator: Orchestrator
) -> None:
    orchestrator.hold.clear()
    started_s = time.monotonic()
    response = await http.post("/v1/answers", json=ASK | {"deadline_ms": 200})
    assert response.status_code == 504
    assert time.monotonic() - started_s < 5


async def test_without_a_deadline_no_answer_takes_longer_than_the_longest(
    connection: Connection, orchestrator: Orchestrator
) -> None:
    orchestrator.hold.clear()
    async with edge(connection, pace=replace(PACE, max_deadline_s=0.2)) as http:
        response = await http.post("/v1/answers", json=ASK)
    assert (response.status_code, response.json()["reason"]) == (504, "BUDGET_EXHAUSTED")


async def test_more_questions_than_may_be_answered_at_once_are_refused(
    connection: Connection, orchestrator: Orchestrator
) -> None:
    orchestrator.hold.clear()
    async with edge(connection, replace(RULES, max_concurrency=1)) as http:
        first = asyncio.create_task(http.post("/v1/answers", json=ASK))
        await asyncio.wait_for(orchestrator.arrived.wait(), 10)
        refused = await http.post("/v1/answers", json=ASK)
        orchestrator.hold.set()
        assert (await first).status_code == 200
        assert (await http.post("/v1/answers", json=ASK)).status_code == 200
    assert (refused.status_code, refused.json()["reason"]) == (429, "OVERLOADED")
    assert refused.headers["retry-after"] == "1"


async def test_streams_and_questions_take_no_room_from_each_other(
    connection: Connection, orchestrator: Orchestrator
) -> None:
    orchestrator.hold.clear()
    async with edge(connection, replace(RULES, max_concurrency=1, max_streams=1)) as http:
        asked = []
        for headers in (SSE, {}):
            orchestrator.arrived.clear()
            asked.append(asyncio.create_task(http.post("/v1/answers", json=ASK, headers=headers)))
            await asyncio.wait_for(orchestrator.arrived.wait(), 10)
        for headers in (SSE, {}):
            refused = await http.post("/v1/answers", json=ASK, headers=headers)
            assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
        orchestrator.hold.set()
        assert [(await each).status_code for each in asked] == [200, 200]
