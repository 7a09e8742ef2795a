"""What the edge takes for a request, and what it says of others."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import httpx
import pytest
from grpc_health.v1 import health, health_pb2

from libs.clients.answer import AnswerClient
from tests.support.answering_edge import ASK, SSE, Orchestrator

REFUSED = [
    (b"{", 400, "INVALID_JSON", ""),
    (b"", 400, "INVALID_JSON", ""),
    (b'"\xff"', 400, "INVALID_JSON", ""),
    (b"[" * 9000, 400, "INVALID_JSON", ""),
    (b"[]", 400, "INVALID_FIELD", ""),
    (b"{}", 400, "INVALID_FIELD", "question"),
    (b'{"question": 7}', 400, "INVALID_FIELD", "question"),
    (b'{"question": "x", "budgetms": 1}', 400, "UNKNOWN_FIELD", "budgetms"),
    (b'{"question": "x", "budget_ms": "5"}', 400, "INVALID_FIELD", "budget_ms"),
    (b'{"question": "x", "budget_ms": 0}', 400, "INVALID_FIELD", "budget_ms"),
    (b'{"question": "x", "budget_ms": true}', 400, "INVALID_FIELD", "budget_ms"),
    (b'{"question": "x", "deadline_ms": Infinity}', 400, "INVALID_FIELD", "deadline_ms"),
    (b'{"question": "x", "deadline_ms": 300001}', 400, "INVALID_FIELD", "deadline_ms"),
    (b'{"question": "x", "cache_control": "never"}', 400, "INVALID_FIELD", "cache_control"),
    (b'{"question": "x", "minimum_quality": "best"}', 400, "INVALID_FIELD", "minimum_quality"),
    (b'{"question": "x", "output_schema": []}', 400, "INVALID_FIELD", "output_schema"),
    (b'{"question": "x", "output_schema": {"a": NaN}}', 400, "INVALID_FIELD", "output_schema"),
    (
        b'{"question": "x", "history": [{"role": "system", "text": ""}]}',
        400,
        "INVALID_FIELD",
        "history[0].role",
    ),
    (
        b'{"question": "x", "filters": [{"key": "k", "any_of": [1]}]}',
        400,
        "INVALID_FIELD",
        "filters[0].any_of[0]",
    ),
    (b'{"question": "' + b"x" * 10_000 + b'"}', 413, "BODY_TOO_LARGE", ""),
]


@pytest.mark.parametrize(("body", "status_code", "reason", "field"), REFUSED)
async def test_a_bad_body_is_a_problem_that_names_what_is_wrong(
    http: httpx.AsyncClient,
    orchestrator: Orchestrator,
    body: bytes,
    status_code: int,
    reason: str,
    field: str,
) -> None:
    headers = {"Content-Type": "application/json"}
    response = await http.post("/v1/answers", content=body, headers=headers)
    problem = response.json()
    assert response.status_code == problem["status"] == status_code
    assert response.headers["content-type"] == "application/problem+json"
    assert (problem["reason"], problem.get("field", "")) == (reason, field)
    assert problem["type"] == f"urn:hasten:problem:{reason.lower().replace('_', '-')}"
    assert problem["title"]
    assert problem["detail"]
    assert orchestrator.asked is None


async def test_a_body_without_a_length_is_limited_too(http: httpx.AsyncClient) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(20):
            yield b" " * 1000

    headers = {"Content-Type": "application/json"}
    response = await http.post("/v1/answers", content=endless(), headers=headers)
    assert response.status_code == 413


async def test_a_body_that_does_not_come_is_not_waited_for(http: httpx.AsyncClient) -> None:
    reader, writer = await asyncio.open_connection(http.base_url.host, http.base_url.port)
    head = "POST /v1/answers HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    writer.write(f"{head}Content-Length: 100\r\n\r\n{{".encode())
    assert b" 408 " in await asyncio.wait_for(reader.readline(), 10)
    writer.close()


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", ""])
async def test_only_json_is_taken_so_that_no_foreign_page_can_ask(
    http: httpx.AsyncClient, content_type: str
) -> None:
    headers = {"Content-Type": content_type}
    response = await http.post("/v1/answers", content=json.dumps(ASK), headers=headers)
    assert (response.status_code, response.json()["reason"]) == (415, "NOT_JSON")


async def test_a_name_that_was_made_to_lead_here_is_refused(http: httpx.AsyncClient) -> None:
    response = await http.post("/v1/answers", json=ASK, headers={"Host": "evil.example:8080"})
    assert (response.status_code, response.json()["reason"]) == (421, "WRONG_HOST")


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        ("*/*", "application/json"),
        ("application/json", "application/json"),
        ("text/event-stream; q=1, application/json", "text/event-stream; charset=utf-8"),
        ("application/json, text/event-stream", "application/json"),
        ("text/html", "application/problem+json"),
    ],
)
async def test_the_form_is_the_first_that_is_asked_for(
    http: httpx.AsyncClient, accept: str, content_type: str
) -> None:
    response = await http.post("/v1/answers", json=ASK, headers={"Accept": accept})
    assert response.headers["content-type"] == content_type


async def test_paths_and_methods_that_are_not_there_are_problems(http: httpx.AsyncClient) -> None:
    unknown = await http.get("/v2/answers")
    assert (unknown.status_code, unknown.json()["reason"]) == (404, "NOT_FOUND")
    slash = await http.get("/v1/answers/", headers={"Host": "evil.example"})
    assert (slash.status_code, slash.headers.get("location")) == (404, None)
    wrong = await http.get("/v1/answers")
    assert (wrong.status_code, wrong.headers["allow"]) == (405, "POST")
    assert wrong.headers["content-type"] == "application/problem+json"


async def test_a_caller_that_traces_finds_the_answer_in_its_trace(
    http: httpx.AsyncClient, orchestrator: Orchestrator
) -> None:
    headers = {"traceparent": f"00-{'c' * 32}-{'d' * 16}-01"}
    await http.post("/v1/answers", json=ASK, headers=headers)
    assert orchestrator.parent.split("-")[1] == "c" * 32


async def test_it_is_ready_while_the_orchestrator_is(
    http: httpx.AsyncClient, status: health.aio.HealthServicer
) -> None:
    not_ready = await http.get("/readyz")
    assert (not_ready.status_code, not_ready.json()["reason"]) == (503, "NOT_READY")
    await status.set(AnswerClient.SERVICE, health_pb2.HealthCheckResponse.SERVING)
    assert (await http.get("/readyz")).status_code == 200
    assert (await http.get("/healthz")).status_code == 200


async def test_what_was_served_is_counted(http: httpx.AsyncClient) -> None:
    await http.post("/v1/answers", json=ASK)
    await http.post("/v1/answers", json=ASK, headers=SSE)
    await http.post("/v1/answers", json={})
    text = (await http.get("/metrics")).text
    counted = 'hasten_edge_requests_total{{form="{}",operation="askQuestion",status="{}"}} 1.0'
    assert counted.format("application/json", 200) in text
    assert counted.format("application/json", 400) in text
    assert counted.format("text/event-stream", 200) in text
    assert 'hasten_edge_answers_total{cache="none",quality="full"} 2.0' in text
    for limit in ("0.7", "1.0", "2.05", "10.0"):
        assert f'hasten_edge_first_text_seconds_bucket{{form="application/json",le="{limit}"}}' in (
            text
        )
