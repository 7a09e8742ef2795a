"""An edge over real HTTP, before a fake orchestrator that speaks the real protocol."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import httpx
from grpc import aio
from prometheus_client import CollectorRegistry

from hasten.answer.v1 import answer_service_pb2 as pb
from hasten.answer.v1.answer_service_pb2_grpc import (
    AnswerServiceServicer,
    add_AnswerServiceServicer_to_server,
)
from libs.clients import Connection
from libs.clients.answer import AnswerClient
from libs.clients.health import HealthClient
from libs.errors import MeshError
from libs.values import (
    Account,
    AnswerEvent,
    AnswerState,
    Citation,
    Completed,
    Degradation,
    Event,
    FinishReason,
    HopAccount,
    Passage,
    Piece,
    PieceKind,
    Plan,
    Quality,
    Question,
    Sources,
    StageFinished,
    TextDelta,
    Usage,
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


def events_of(text: str) -> list[tuple[str, str, Any]]:
    """The (id, event, data) of each event of a stream."""
    found = []
    for block in text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if line[:1] != ":")
        if fields:
            found.append((fields.get("id", ""), fields["event"], json.loads(fields["data"])))
    return found
