"""The jobs service and its workers in this process, and kinds of jobs that tests need."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from blockbuster import BlockBuster
from pydantic import Field

from libs.clients import Connection
from libs.clients.jobs import JobsClient
from libs.errors import CollectionNotFoundError, OverloadedError, UnreachableError
from libs.server import Identities
from libs.server.testing import serving
from libs.values import Usage
from libs.values.jobs import JobEvent
from services.jobs.__main__ import build as build_jobs
from services.jobs.config import JobsConfig
from services.jobs.kinds import Clients, JobInput, Kind, Task, Teller
from services.jobs.worker.__main__ import build as build_worker
from services.jobs.worker.config import WorkerConfig
from tests.support.blocking import blocking

# For jobs that are to be tried again at once.
HASTY = {"retry_first_s": 0.01, "retry_most_s": 0.02, "lease_s": 1.0, "grace_s": 0.2}


class Steps(JobInput):
    """A job in steps, each with an item; the first attempts fail after some of them."""

    count: int = Field(3, ge=0, le=100_000)
    pause_s: float = Field(0.0, ge=0)
    failures: int = Field(0, ge=0)
    fail_after: int = Field(0, ge=0)
    failure: str = "UNREACHABLE"
    backwards: bool = False
    result_bytes: int = Field(0, ge=0)
    tokens: int = Field(0, ge=0)
    scope: str | None = None
    kills: bool = False


def _failure(reason: str) -> Exception:
    made: dict[str, Exception] = {
        "UNREACHABLE": UnreachableError("the other end is gone"),
        "OVERLOADED": OverloadedError("come back", retry_after_s=0.05),
        "COLLECTION_NOT_FOUND": CollectionNotFoundError("no such collection"),
        "BUG": ZeroDivisionError("secret"),
    }
    return made[reason]


@dataclass
class Watched:
    """What attempts have done, as they saw it themselves.

    Attributes:
        steps: (job, attempt, step) of each step that was begun.
        cancelled: jobs whose work was cancelled.
        open_gate: what jobs of kind `gate` wait for.
    """

    steps: list[tuple[str, int, int]] = field(default_factory=list)
    cancelled: list[str] = field(default_factory=list)
    open_gate: asyncio.Event = field(default_factory=asyncio.Event)


def kinds_for(watched: Watched) -> Mapping[str, Kind[Any]]:
    """Return the kinds of the tests: `steps` works, `gate` waits."""

    async def steps(task: Task, given: Steps, teller: Teller, clients: Clients) -> dict[str, Any]:
        for step in range(given.count):
            if task.attempt <= given.failures and step >= given.fail_after:
                raise _failure(given.failure)
            key = f"step-{step}"
            if key in teller.items:
                continue
            watched.steps.append((task.job_id, task.attempt, step))
            await asyncio.sleep(given.pause_s)
            if given.kills:
                os.kill(os.getpid(), signal.SIGKILL)
            task.meter.add(Usage(output_tokens=given.tokens))
            await teller.item(key, {"step": step})
            done = given.count - step if given.backwards else step + 1
            await teller.progress(done, given.count, "stepping", f"step {step}")
        if task.attempt <= given.failures:
            raise _failure(given.failure)
        more = {"text": "x" * given.result_bytes} if given.result_bytes else {}
        return {"steps": len(teller.items), "attempt": task.attempt} | more

    async def gate(task: Task, given: Steps, teller: Teller, clients: Clients) -> dict[str, Any]:
        try:
            await teller.progress(1, 2, "waiting")
            await watched.open_gate.wait()
        except asyncio.CancelledError:
            watched.cancelled.append(task.job_id)
            raise
        return {}

    return {"steps": Kind("steps", Steps, steps), "gate": Kind("gate", Steps, gate)}


@dataclass
class Jobs:
    """A jobs service of one or more replicas.

    Attributes:
        clients: one for each replica.
        watched: what attempts have done.
    """

    clients: list[JobsClient]
    watched: Watched

    @property
    def client(self) -> JobsClient:
        return self.clients[0]


@asynccontextmanager
async def jobs_running(
    redis_url: str,
    guard: BlockBuster,
    *,
    replicas: int = 1,
    workers: int = 1,
    identities: Identities | None = None,
    token: str = "",
    server: Mapping[str, Any] | None = None,
    worker: Mapping[str, Any] | None = None,
) -> AsyncIterator[Jobs]:
    """Serve jobs of the tests' kinds until the block is left."""
    watched = Watched()
    kinds = kinds_for(watched)
    async with AsyncExitStack() as stack:
        clients = []
        with blocking(guard):
            for _ in range(replicas):
                config = JobsConfig(redis_url=redis_url, **(server or {}))
                served = await stack.enter_async_context(build_jobs(config, kinds))
                address = await stack.enter_async_context(
                    serving(served.register, identities=identities)
                )
                connection = await stack.enter_async_context(Connection.open(address, token=token))
                clients.append(JobsClient(connection))
            for _ in range(workers):
                await stack.enter_async_context(work(redis_url, kinds, **(worker or {})))
        yield Jobs(clients, watched)
        watched.open_gate.set()


@asynccontextmanager
async def work(
    redis_url: str, kinds: Mapping[str, Kind[Any]], **settings: Any
) -> AsyncIterator[None]:
    """Run a worker until the block is left."""
    config = WorkerConfig(redis_url=redis_url, **(HASTY | settings))
    async with build_worker(config, kinds):
        yield


async def told(
    client: JobsClient, tenant_id: str, job_id: str, after: int = 0, *, limit_s: float = 30.0
) -> list[JobEvent]:
    """Follow a job to its end, and return all that was told."""
    async with client.watch(tenant_id, job_id, after, limit_s=limit_s) as events:
        return [each async for each in events]
