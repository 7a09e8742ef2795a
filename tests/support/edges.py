"""Edges over HTTP, before orchestrators that say what a test wants and share their runs.

The orchestrators speak the real protocol; `Story` is the event log that they share.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import grpc
import httpx
from grpc import aio
from prometheus_client import CollectorRegistry
from starlette.applications import Starlette

from hasten.answer.v1 import answer_service_pb2 as pb
from hasten.answer.v1.answer_service_pb2_grpc import (
    AnswerServiceServicer,
    add_AnswerServiceServicer_to_server,
)
from libs.clients import Connection
from libs.clients.answer import AnswerClient
from libs.clients.health import HealthClient
from libs.errors import RunNotFoundError
from libs.values import (
    Account,
    AnswerEvent,
    AnswerState,
    Completed,
    Event,
    FinishReason,
    HopAccount,
    Plan,
    Quality,
    Question,
)
from libs.wire import event_to, question_from
from services.edge.access.caller import Caller, anyone
from services.edge.access.gate import Gate
from services.edge.access.quotas import Quotas
from services.edge.access.tickets import Tickets
from services.edge.answers.answering import Pace
from services.edge.documents.limits import Limits
from services.edge.jobs.desk import Desk
from services.edge.operations import Parts, operations_of
from services.edge.web.app import make_app
from services.edge.web.draining import OpenStreams
from services.edge.web.front import Front, Rules
from services.edge.web.metrics import EdgeMetrics
from services.edge.web.readiness import Readiness
from services.edge.web.server import bind, make_server
from services.edge.web.sse import DEFAULT_FLOW, Flow

SSE = {"Accept": "text/event-stream"}
PLAN = Plan("run-1", "ab" * 16, "interactive", 0.7, 10.0, Quality.FULL)
ACCOUNT = Account(0.5, 0.25, (), (HopAccount("generation", 0.01, 9.0, 0.48, outcome="ok"),))
COMPLETED = Completed(FinishReason.END_TURN, AnswerState.COMPLETE, Quality.FULL, ACCOUNT)
RULES = Rules(frozenset({"127.0.0.1"}), 10_000, 0.5, 64)
PACE = Pace(max_deadline_s=300.0, ping_every_s=15.0)


@dataclass
class Story:
    """One run of the tenant `acme`: what has happened, and how much of it is written down.

    Attributes:
        events: numbered from 1 by their place.
        logged: how many of them whoever watches can see; None is all.
        number_of_end: the number of the last event, where that is not its place.
    """

    events: list[Event] = field(default_factory=list)
    logged: int | None = None
    number_of_end: int = 0
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    def tell(self, *events: Event) -> None:
        self.events += events
        self.changed()

    def changed(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def read(self, after: int, *, logged: bool) -> AsyncIterator[AnswerEvent]:
        """Yield events above `after`, up to the last, as they come."""
        while True:
            changed = self._changed
            seen = self.events[: self.logged] if logged else list(self.events)
            for place, event in enumerate(seen, 1):
                is_end = isinstance(event, Completed) and self.number_of_end
                number = self.number_of_end if is_end else place
                if number <= after:
                    continue
                after = number
                yield AnswerEvent(number, event)
                if isinstance(event, Completed):
                    return
            await changed.wait()


class Replica(AnswerServiceServicer):
    """An orchestrator that tells a story."""

    def __init__(self, story: Story) -> None:
        self.story = story
        self.asked: list[Question] = []
        self.watched: list[int] = []
        self.stopped: list[str] = []
        self.cancelled = asyncio.Event()
        self.is_forgotten = False
        self._broken = asyncio.Event()

    def register(self, server: aio.Server) -> None:
        add_AnswerServiceServicer_to_server(self, server)

    def break_off(self) -> None:
        """End every call as a process does that is killed, and refuse all others."""
        self._broken.set()

    async def StreamAnswer(self, request: Any, context: Any) -> AsyncIterator[Any]:
        self.asked.append(question_from(request))
        if isinstance(self.story.events[-1], Completed):
            # As a stored answer comes: all in one message.
            told = enumerate(self.story.events, 1)
            yield pb.StreamAnswerResponse(events=[event_to(AnswerEvent(*each)) for each in told])
            return
        try:
            async for each in self._until_broken(self.story.read(0, logged=False), context):
                yield pb.StreamAnswerResponse(events=[event_to(each)])
        except (asyncio.CancelledError, GeneratorExit):
            # The second, if it is cancelled while a message is on its way out.
            self.cancelled.set()
            raise

    async def WatchAnswer(self, request: Any, context: Any) -> AsyncIterator[Any]:
        self._known(request)
        self.watched.append(request.after_sequence)
        events = self.story.read(request.after_sequence, logged=True)
        async for each in self._until_broken(events, context):
            yield pb.WatchAnswerResponse(events=[event_to(each)])

    async def StopAnswer(self, request: Any, context: Any) -> Any:
        self._known(request)
        self.stopped.append(request.run_id)
        return pb.StopAnswerResponse(stopping=True)

    async def ReportAnswer(self, request: Any, context: Any) -> Any:
        self._known(request)
        return pb.ReportAnswerResponse(removed=request.verdict == pb.VERDICT_BAD)

    def _known(self, request: Any) -> None:
        known = (request.tenant_id, request.run_id) == ("acme", PLAN.run_id)
        if self.is_forgotten or not known:
            raise RunNotFoundError(f"run_id: {request.run_id!r} is not known, or has expired")

    async def _until_broken(
        self, events: AsyncIterator[AnswerEvent], context: Any
    ) -> AsyncIterator[AnswerEvent]:
        breaking = asyncio.create_task(self._broken.wait())
        try:
            while True:
                reading = asyncio.create_task(anext(events, None))  # type: ignore[arg-type]
                await asyncio.wait({breaking, reading}, return_when=asyncio.FIRST_COMPLETED)
                if breaking.done():
                    reading.cancel()
                    await context.abort(grpc.StatusCode.UNAVAILABLE, "Socket closed")
                each = reading.result()
                if each is None:
                    return
                yield each
        finally:
            breaking.cancel()


@dataclass
class Edge:
    """An edge in this process."""

    http: httpx.AsyncClient
    port: int
    streams: OpenStreams
    app: Starlette


@asynccontextmanager
async def open_edge(
    connection: Connection,
    *,
    tenant: str = "acme",
    pace: Pace = PACE,
    rules: Rules = RULES,
    flow: Flow = DEFAULT_FLOW,
    clock: Callable[[], float] = time.monotonic,
    quotas: Quotas | None = None,
    caller: Caller | None = None,
) -> AsyncIterator[Edge]:
    """Run an edge over a connection to orchestrators; everybody is `caller`."""
    registry, streams = CollectorRegistry(), OpenStreams()
    metrics, answers = EdgeMetrics(registry), AnswerClient(connection)
    rules = replace(rules, flow=flow)
    quotas = quotas or Quotas()
    front = Front(rules, Gate(caller or anyone(tenant)), quotas, metrics, clock)
    parts = Parts(
        answers=answers,
        pace=pace,
        metrics=metrics,
        clock=clock,
        now=time.time,
        quotas=quotas,
        streams=streams,
        tickets=Tickets(b"a-secret", time.time),
        desk=Desk(None, clock),
        retrieval=None,
        limits=Limits(),
        origins=frozenset(),
        max_job_bytes=100_000,
        policies=("interactive", "patient"),
    )
    readiness = Readiness(HealthClient(connection), timeout_s=5)
    app = make_app(front, operations_of(parts), readiness, registry)
    server = make_server(app, grace_s=5)
    listening = bind("127.0.0.1:0")
    serving = asyncio.create_task(server.serve(sockets=[listening]))
    port = listening.getsockname()[1]
    try:
        # No proxy of the environment may stand between.
        async with httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=30
        ) as http:
            yield Edge(http, port, streams, app)
    finally:
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
        for each in server.servers:
            each.close()


Frames = list[tuple[str, str, Any]]


def frames_of(text: str) -> Frames:
    """The (id, event, data) of each event of a stream."""
    return [each for each in map(_frame, text.split("\n\n")) if each is not None]


def _frame(block: str) -> tuple[str, str, Any] | None:
    fields = dict(line.split(": ", 1) for line in block.splitlines() if line[:1] != ":")
    if "data" not in fields:
        return None
    return fields.get("id", ""), fields.get("event", ""), json.loads(fields["data"])


def text_of(frames: Sequence[tuple[str, str, Any]]) -> str:
    """The text that a reader of events has in the end."""
    text = ""
    for _, name, data in frames:
        text = "" if name == "revised" else text + data["text"] if name == "text" else text
    return text
