"""The edge over real HTTP, before a fake orchestrator that speaks the real protocol."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import httpx
import pytest
from grpc import aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from prometheus_client import CollectorRegistry

from hasten.answer.v1 import answer_service_pb2 as pb
from hasten.answer.v1.answer_service_pb2_grpc import (
    AnswerServiceServicer,
    add_AnswerServiceServicer_to_server,
)
from libs.clients import Connection
from libs.clients.answer import AnswerClient
from libs.clients.health import HealthClient
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
from libs.server.testing import serving
from libs.values import (
    Account,
    AnswerEvent,
    AnswerState,
    CacheControl,
    CacheHit,
    CacheLayer,
    Citation,
    Completed,
    Degradation,
    Event,
    FinishReason,
    GoAway,
    HopAccount,
    Passage,
    Piece,
    PieceKind,
    Plan,
    Quality,
    Question,
    Revised,
    Sources,
    StageFinished,
    TextDelta,
    Usage,
    Verdict,
)
from libs.wire import event_to, question_from
from services.edge.access.caller import anyone
from services.edge.access.gate import Gate
from services.edge.access.quotas import Quotas
from services.edge.answers.answering import Pace
from services.edge.answers.asking import Asking
from services.edge.answers.running import Running
from services.edge.web.app import make_app
from services.edge.web.front import Front, Rules
from services.edge.web.metrics import EdgeMetrics
from services.edge.web.readiness import Readiness
from services.edge.web.server import bind, make_server

SSE = {"Accept": "text/event-stream"}
ASK = {"question": "Why is the sky blue?"}
PLAN = Plan("run-1", "ab" * 16, "interactive", 0.7, 10.0, Quality.FULL)
PASSAGE = Passage("d1:1:0", "d1", 1, "Sky", "", "Blue light scatters.", 0, 20)
CITATION = Citation(0, "d1", "Blue light scatters.", 0, 20, 8)
ACCOUNT = Account(
    total_s=0.5,
    first_text_s=0.25,
    pieces=(
        Piece("generation", PieceKind.MODEL, 0.0, 0.499),
        Piece("orchestrator", PieceKind.UNATTRIBUTED, 0.499, 0.001),
    ),
    hops=(
        HopAccount("generation", 0.01, 9.0, 0.48, 0.01, 0.02, 0.44, 0.01, outcome="ok"),
        HopAccount("cache.semantic", 0.0, skipped="NO_TIME"),
    ),
)
COMPLETED = Completed(
    FinishReason.END_TURN,
    AnswerState.COMPLETE,
    Quality.FULL,
    ACCOUNT,
    degradations=(Degradation("cache.semantic", "NO_TIME"),),
    model="best",
    usage=Usage(10, 5),
)
WHOLE: Sequence[Event] = (
    PLAN,
    StageFinished("retrieval", 0.1, "ok", 3),
    Sources((PASSAGE,), 7, "fused"),
    TextDelta("Because\n"),
    TextDelta("of „scattering“."),
    CITATION,
    COMPLETED,
)


class Orchestrator(AnswerServiceServicer):
    """Does what the test says, and remembers what it was asked."""

    def __init__(self) -> None:
        self.events: Sequence[Event] = WHOLE
        self.error: MeshError | None = None
        self.hold = asyncio.Event()
        self.hold.set()
        self.asked: Question | None = None
        self.granted_s: float | None = None
        self.parent = ""
        self.arrived = asyncio.Event()
        self.cancelled = asyncio.Event()

    def register(self, server: aio.Server) -> None:
        add_AnswerServiceServicer_to_server(self, server)

    async def StreamAnswer(self, request: Any, context: Any) -> AsyncIterator[Any]:
        self.asked, self.granted_s = question_from(request), context.time_remaining()
        self.parent = dict(context.invocation_metadata()).get("traceparent", "")
        told = [
            pb.StreamAnswerResponse(events=[event_to(AnswerEvent(sequence, event))])
            for sequence, event in enumerate(self.events, 1)
        ]
        # Whoever has seen the end is gone; what is held is held before it.
        ends_well = self.error is None and COMPLETED in self.events
        before_end = told[:-1] if ends_well else told
        for response in before_end:
            yield response
        self.arrived.set()
        try:
            await self.hold.wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        if self.error is not None:
            raise self.error
        for response in told[len(before_end) :]:
            yield response

    async def WatchAnswer(self, request: Any, context: Any) -> AsyncIterator[Any]:
        for sequence, event in list(enumerate(self.events, 1))[request.after_sequence :]:
            yield pb.WatchAnswerResponse(events=[event_to(AnswerEvent(sequence, event))])

    async def StopAnswer(self, request: Any, context: Any) -> Any:
        return pb.StopAnswerResponse(stopping=request.run_id == "run-1")

    async def ReportAnswer(self, request: Any, context: Any) -> Any:
        return pb.ReportAnswerResponse(removed=request.verdict == pb.VERDICT_BAD)


@pytest.fixture
def orchestrator() -> Orchestrator:
    return Orchestrator()


@pytest.fixture
def status() -> health.aio.HealthServicer:
    return health.aio.HealthServicer()


@pytest.fixture
async def connection(
    orchestrator: Orchestrator, status: health.aio.HealthServicer
) -> AsyncIterator[Connection]:
    def add_health(server: aio.Server) -> None:
        health_pb2_grpc.add_HealthServicer_to_server(status, server)

    async with (
        serving(orchestrator.register, add_health) as address,
        Connection.open(address) as opened,
    ):
        yield opened


@pytest.fixture
def client(connection: Connection) -> AnswerClient:
    return AnswerClient(connection)


RULES = Rules(
    hosts=frozenset({"127.0.0.1"}),
    max_body_bytes=10_000,
    body_timeout_s=0.5,
    max_concurrency=8,
)
PACE = Pace(max_deadline_s=300.0, ping_every_s=15.0)


@asynccontextmanager
async def edge(
    connection: Connection, rules: Rules = RULES, pace: Pace = PACE
) -> AsyncIterator[httpx.AsyncClient]:
    """An edge in this process, and an HTTP client of it."""
    registry = CollectorRegistry()
    readiness = Readiness(HealthClient(connection), timeout_s=5)
    metrics = EdgeMetrics(registry)
    front = Front(rules, Gate(anyone("acme")), Quotas(), metrics, time.monotonic)
    asking = Asking(AnswerClient(connection), pace, metrics, time.monotonic)
    running = Running(AnswerClient(connection), pace, time.monotonic)
    app = make_app(front, (*asking.operations(), *running.operations()), readiness, registry)
    server = make_server(app, grace_s=5)
    listening = bind("127.0.0.1:0")
    serving_ = asyncio.create_task(server.serve(sockets=[listening]))
    url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    try:
        # No proxy of the environment may stand between.
        async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=30) as http:
            yield http
    finally:
        # A drain would take a third of a second each time; the process's own test has one.
        serving_.cancel()
        await asyncio.gather(serving_, return_exceptions=True)
        for each in server.servers:
            each.close()


@pytest.fixture
async def http(connection: Connection) -> AsyncIterator[httpx.AsyncClient]:
    async with edge(connection) as opened:
        yield opened


def events_of(text: str) -> list[tuple[str, str, Any]]:
    """The (id, event, data) of each event of a stream."""
    found = []
    for block in text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if line[:1] != ":")
        if fields:
            found.append((fields.get("id", ""), fields["event"], json.loads(fields["data"])))
    return found


async def test_an_answer_is_one_json_object(http: httpx.AsyncClient) -> None:
    response = await http.post("/v1/answers", json=ASK)
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    answer = response.json()
    assert answer["answer"] == "Because\nof „scattering“."
    assert answer["citations"][0]["document_id"] == "d1"
    assert answer["sources"][0]["text"] == "Blue light scatters."
    assert answer["quality"] == "full"
    assert answer["finish_reason"] == "end_turn"
    assert answer["answer_state"] == "complete"
    assert answer["degradations"] == [{"hop": "cache.semantic", "reason": "NO_TIME"}]
    assert answer["cache"] is None
    assert answer["usage"]["output_tokens"] == 5
    assert (answer["trace_id"], answer["run_id"]) == ("ab" * 16, "run-1")


async def test_an_answer_says_where_its_time_went(http: httpx.AsyncClient) -> None:
    latency = (await http.post("/v1/answers", json=ASK)).json()["latency"]
    assert (latency["total_ms"], latency["first_text_ms"], latency["budget_ms"]) == (500, 250, 700)
    generation, semantic = latency["hops"]
    assert generation == {
        "hop": "generation",
        "start_ms": 10,
        "granted_ms": 9000,
        "used_ms": 480,
        "queue_ms": 10,
        "compute_ms": 20,
        "model_ms": 440,
        "network_ms": 10,
        "slack_ms": 8520,
        "outcome": "ok",
        "skipped": None,
    }
    assert semantic["skipped"] == "NO_TIME"
    assert sum(piece["length_ms"] for piece in latency["pieces"]) == latency["total_ms"]
    assert latency["unattributed_ms"] == 1


async def test_a_cached_answer_says_so(http: httpx.AsyncClient, orchestrator: Orchestrator) -> None:
    hit = CacheHit(
        CacheLayer.SEMANTIC,
        0.97,
        12.5,
        "run-0",
        stale=True,
        refresh_run_id="run-1",
        index_version=7,
    )
    orchestrator.events = (PLAN, TextDelta("Yes."), replace(COMPLETED, usage=None, cache_hit=hit))
    answer = (await http.post("/v1/answers", json=ASK)).json()
    assert answer["cache"] == {
        "layer": "semantic",
        "similarity": 0.97,
        "age_s": 12.5,
        "entry_id": "run-0",
        "stale": True,
        "refresh_run_id": "run-1",
        "index_version": 7,
    }
    assert answer["usage"] is None


@pytest.mark.parametrize("control", list(CacheControl))
async def test_each_way_to_use_the_cache_arrives(
    http: httpx.AsyncClient, orchestrator: Orchestrator, control: CacheControl
) -> None:
    body = ASK | {"cache_control": control.name.lower().replace("_", "-")}
    assert (await http.post("/v1/answers", json=body)).status_code == 200
    assert orchestrator.asked is not None
    assert orchestrator.asked.cache_control is control


@pytest.mark.parametrize("least", list(Quality)[1:])
async def test_each_quality_can_be_asked_for(
    http: httpx.AsyncClient, orchestrator: Orchestrator, least: Quality
) -> None:
    body = ASK | {"minimum_quality": least.name.lower()}
    assert (await http.post("/v1/answers", json=body)).status_code == 200
    assert orchestrator.asked is not None
    assert orchestrator.asked.minimum_quality is least


async def test_what_was_revised_is_not_in_the_answer(
    http: httpx.AsyncClient, orchestrator: Orchestrator
) -> None:
    withdrawn = (TextDelta("No. "), CITATION, Revised("MODEL_INTERRUPTED"))
    orchestrator.events = (PLAN, *withdrawn, TextDelta("Yes."), COMPLETED)
    answer = (await http.post("/v1/answers", json=ASK)).json()
    assert (answer["answer"], answer["citations"]) == ("Yes.", [])


async def test_every_field_of_a_question_arrives(
    http: httpx.AsyncClient, orchestrator: Orchestrator
) -> None:
    body = ASK | {
        "history": [{"role": "user", "text": "Hi"}, {"role": "assistant", "text": "Hello"}],
        "collection": "manuals",
        "filters": [{"key": "lang", "any_of": ["en", "de"]}],
        "policy": "patient",
        "budget_ms": 1500,
        "deadline_ms": 9000,
        "minimum_quality": "extractive",
        "cache_control": "no-store",
        "render": "block",
        "output_schema": {"type": "object"},
        "resumable": True,
        "scope": "hr",
    }
    assert (await http.post("/v1/answers", json=body)).status_code == 200
    asked = orchestrator.asked
    assert asked is not None
    assert (asked.tenant_id, asked.question) == ("acme", "Why is the sky blue?")
    assert [(turn.role.name, turn.text) for turn in asked.history] == [
        ("USER", "Hi"),
        ("ASSISTANT", "Hello"),
    ]
    assert (asked.collection, asked.policy, asked.scope) == ("manuals", "patient", "hr")
    assert (asked.filters[0].key, asked.filters[0].any_of) == ("lang", ("en", "de"))
    assert asked.first_text_by_s is not None
    assert 0.5 < asked.first_text_by_s <= 1.5
    assert orchestrator.granted_s is not None
    assert 5 < orchestrator.granted_s <= 9
    assert asked.minimum_quality is Quality.EXTRACTIVE
    assert (asked.cache_control.name, asked.render.name) == ("NO_STORE", "BLOCK")
    assert json.loads(asked.output_schema) == {"type": "object"}
    assert asked.resumable


async def test_without_times_of_its_own_a_question_takes_those_of_its_policy(
    http: httpx.AsyncClient, orchestrator: Orchestrator
) -> None:
    await http.post("/v1/answers", json=ASK)
    assert orchestrator.asked is not None
    assert orchestrator.asked.first_text_by_s is None
    assert orchestrator.granted_s is None


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


async def test_the_client_follows_stops_and_judges_runs(client: AnswerClient) -> None:
    async with client.watch("acme", "run-1", 5) as events:
        assert [each.sequence async for each in events] == [6, 7]
    assert await client.stop("acme", "run-1")
    assert not await client.stop("acme", "run-2")
    assert await client.report("acme", "run-1", Verdict.BAD)
    assert not await client.report("acme", "run-1", Verdict.GOOD)


async def test_the_client_yields_each_event_as_it_was_sent(client: AnswerClient) -> None:
    async with client.ask(Question("acme", "Why?"), limit_s=30) as events:
        assert [each async for each in events] == [
            AnswerEvent(sequence, event) for sequence, event in enumerate(WHOLE, 1)
        ]


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
