"""An edge in this process, on a port the system picks, before the services that a test gives it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import httpx
from prometheus_client import CollectorRegistry
from starlette.datastructures import Headers, QueryParams

from libs.clients import Connection
from libs.clients.answer import AnswerClient
from libs.clients.health import HealthClient
from libs.clients.jobs import JobsClient
from libs.clients.retrieval import RetrievalClient
from services.edge.access.caller import ALL, Caller
from services.edge.access.gate import Gate
from services.edge.access.quota import UNLIMITED, Plans, Quota
from services.edge.access.quotas import Quotas
from services.edge.answers.answering import Pace
from services.edge.answers.following import Follower
from services.edge.documents.limits import Limits
from services.edge.documents.operations import Documents
from services.edge.documents.uploading import Uploading
from services.edge.jobs.charging import Charging
from services.edge.jobs.desk import Desk
from services.edge.jobs.operations import Jobs
from services.edge.live.door import Door, Entrance
from services.edge.live.metrics import LiveMetrics
from services.edge.live.session import Terms
from services.edge.live.subjects import Subjects
from services.edge.problem import Problem, ProblemError
from services.edge.web.app import make_app
from services.edge.web.draining import OpenStreams
from services.edge.web.front import Front, Rules
from services.edge.web.metrics import EdgeMetrics
from services.edge.web.readiness import Readiness
from services.edge.web.server import bind, make_server

EVERYTHING = frozenset({ALL})
HOSTS = frozenset({"127.0.0.1"})


def caller(
    tenant_id: str, rights: frozenset[str] = EVERYTHING, scopes: frozenset[str] = EVERYTHING
) -> Caller:
    return Caller(tenant_id, f"someone of {tenant_id}", rights, scopes)


@dataclass(frozen=True, slots=True)
class Guests(Gate):
    """Knows callers by the bearer token they send; without one, a caller of acme that may all."""

    guests: dict[str, Caller] = field(default_factory=dict)

    async def caller_of(self, headers: Headers, query: QueryParams | None = None) -> Caller:
        token = headers.get("authorization", "").removeprefix("Bearer ")
        if not token:
            return caller("acme")
        if token not in self.guests:
            raise ProblemError(Problem(401, "UNAUTHENTICATED", "The key is not known."))
        return self.guests[token]


@dataclass(frozen=True, slots=True)
class Setting:
    """How an edge is set up.

    Attributes:
        guests: callers by their tokens.
        gate: knows callers in place of those.
        quota: of every tenant.
        limits: of uploads.
        terms: of sockets.
        origins: sites whose pages may send forms and open sockets.
        max_sockets: sockets that are open at once.
        ping_every_s: seconds of silence that are too long.
        max_job_bytes: longest body of a submission.
        max_streams: event streams and long polls that are open at once.
    """

    guests: dict[str, Caller] = field(default_factory=dict)
    gate: Gate | None = None
    quota: Quota = UNLIMITED
    limits: Limits = field(default_factory=Limits)
    terms: Terms = field(default_factory=Terms)
    origins: frozenset[str] = frozenset()
    max_sockets: int = 100
    ping_every_s: float = 15.0
    max_job_bytes: int = 100_000
    max_streams: int = 100


DEFAULT = Setting()


@asynccontextmanager
async def edge_before(
    answers: Connection,
    *,
    jobs: JobsClient | None = None,
    retrieval: RetrievalClient | None = None,
    setting: Setting = DEFAULT,
) -> AsyncIterator[httpx.AsyncClient]:
    """Yield an HTTP client of an edge that has these services behind it."""
    registry, clock = CollectorRegistry(), time.monotonic
    readiness = Readiness(HealthClient(answers), timeout_s=5)
    rules = Rules(HOSTS, 10_000, 5.0, max_concurrency=64, max_streams=setting.max_streams)
    quotas = Quotas(Plans(setting.quota))
    gate = setting.gate or Guests(guests=setting.guests)
    front = Front(rules, gate, quotas, EdgeMetrics(registry), clock)
    desk = Desk(jobs, clock, quotas)
    charging = None if jobs is None else Charging(quotas, jobs, look_every_s=0.05)
    pace = Pace(300.0, setting.ping_every_s)
    operations = (
        *Jobs(desk, pace, OpenStreams(), setting.max_job_bytes).operations(),
        Uploading(desk, setting.limits, setting.origins).operation(),
        *Documents(retrieval).operations(),
    )
    subjects = Subjects(desk, Follower(AnswerClient(answers), clock))
    entrance = Entrance(HOSTS, setting.origins, setting.max_sockets)
    door = Door(front, subjects, entrance, setting.terms, LiveMetrics(registry), clock)
    app = make_app(front, operations, readiness, registry, [door.route()])
    server = make_server(app, grace_s=5, ping_every_s=setting.ping_every_s)
    listening = bind("127.0.0.1:0")
    serving = asyncio.create_task(server.serve(sockets=[listening]))
    keeping = asyncio.create_task(charging.keep()) if charging is not None else None
    url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    try:
        # No proxy of the environment may stand between.
        async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=30) as http:
            yield http
    finally:
        # A drain would take a third of a second each time.
        tasks = [serving] if keeping is None else [serving, keeping]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for each in server.servers:
            each.close()


def events_of(text: str) -> list[tuple[str, str, str]]:
    """Return the id, the name and the data of each event of a stream."""
    found = []
    for block in text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if line[:1] != ":")
        if "event" in fields:
            found.append((fields.get("id", ""), fields["event"], fields["data"]))
    return found
