"""Says that a job is due, once or more, to one of the workers. All of pydocket is in here.

A ticket is a pydocket task that names a job; who takes it looks at the job itself to learn
whether there is anything to do. It is handed in as soon as the job has begun: from then on
the job's own record says who does it, and whether that one still lives (`records`).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Self

import docket.docket
import docket.worker
import redis
import redis.utils
from docket import Docket, Worker
from opentelemetry.trace import NoOpTracer
from redis.exceptions import RedisError

from libs.errors import DependencyUnavailableError

_LOG = logging.getLogger(__name__)
_NAME = "hasten-jobs"
_TASK = "due"
_MOST_TRIES, _TRY_S = 4, 0.4
_READ_WITHIN_S = 3.0
_LOOK_EVERY = timedelta(milliseconds=50)
_RECONNECT_AFTER = timedelta(milliseconds=500)

Take = Callable[[str, str], Awaitable[None]]


class Tickets:
    """Tickets of jobs; one for each job at a time is enough, several do no harm."""

    def __init__(self, queue: Docket) -> None:
        """Issue tickets over `queue`, which is open."""
        self._queue = queue
        self._queue.register(_due, names=[_TASK])
        self._worker: Worker | None = None

    @classmethod
    @asynccontextmanager
    async def open(cls, url: str) -> AsyncIterator[Self]:
        """Issue tickets in the Redis at `url`, until the block is left."""
        _be_quiet()
        # What is kept of a task after its end keeps its name from being used again.
        queue = Docket(name=_NAME, url=_bounded(url), execution_ttl=timedelta(0))
        async with queue:
            yield cls(queue)

    async def issue(self, tenant_id: str, job_id: str, due_s: float | None = None) -> None:
        """Issue a ticket, unless there is one.

        Args:
            tenant_id: whose job.
            job_id: the job.
            due_s: Unix time at which it is due; None is now.

        Raises:
            DependencyUnavailableError: Redis does not answer.
        """
        when = datetime.now(UTC) if due_s is None else datetime.fromtimestamp(due_s, UTC)
        add = self._queue.add(_TASK, when=when, key=f"{tenant_id}/{job_id}")
        await _in_time(lambda: add(tenant_id, job_id))

    async def put_back(self, tenant_id: str, job_id: str, due_s: float) -> None:
        """Issue a ticket anew, from where it is being taken.

        Raises:
            DependencyUnavailableError: Redis does not answer.
        """
        when = datetime.fromtimestamp(due_s, UTC)
        replace = self._queue.replace(_TASK, when=when, key=f"{tenant_id}/{job_id}")
        await _in_time(lambda: replace(tenant_id, job_id))

    def make_room(self, count: int) -> None:
        """Let at most `count` tickets be taken at once; 0 takes none for now."""
        if self._worker is not None:
            self._worker.concurrency = count

    async def deliver(self, take: Take, *, name: str, count: int, redelivery_s: float) -> None:
        """Take tickets, and go on whatever happens to Redis, until cancelled.

        Args:
            take: told of each; the ticket is handed in when it returns.
            name: this worker's, different from that of all others.
            count: tickets that are taken at once, until `make_room` says otherwise.
            redelivery_s: seconds after which the ticket of a worker that died is another's.
        """

        async def due(tenant_id: str, job_id: str) -> None:
            try:
                await take(tenant_id, job_id)
            except Exception:  # noqa: BLE001 - the outer edge of a task; the job is found again
                _LOG.exception("the ticket of %s/%s was of no use", tenant_id, job_id)

        self._queue.register(due, names=[_TASK])
        self._worker = Worker(
            self._queue,
            name=name,
            concurrency=count,
            redelivery_timeout=timedelta(seconds=redelivery_s),
            reconnection_delay=_RECONNECT_AFTER,
            minimum_check_interval=_LOOK_EVERY,
            scheduling_resolution=_LOOK_EVERY,
            schedule_automatic_tasks=False,
        )
        await self._work(self._worker)

    async def _work(self, worker: Worker) -> None:
        while True:
            try:
                async with worker:
                    # Returns when it is cancelled, with what it had begun to take taken.
                    return await worker.run_forever()
            except Exception:  # noqa: BLE001 - the outer edge: a worker that takes nothing is none
                _LOG.exception("tickets are taken anew")
                await asyncio.sleep(_RECONNECT_AFTER.total_seconds())


async def _due(tenant_id: str, job_id: str) -> None:
    """Stand for the task where none is taken."""


async def _in_time(schedule: Callable[[], Awaitable[object]]) -> None:
    """Try a few times: after a failover of Redis each pooled connection is broken, or frozen."""
    for left in reversed(range(_MOST_TRIES)):
        try:
            async with asyncio.timeout(_TRY_S):
                await schedule()
                return
        except (RedisError, TimeoutError) as error:
            if not left:
                kind = type(error).__name__
                message = f"no ticket can be issued now ({kind})"
                raise DependencyUnavailableError(message, retry_after_s=1.0) from error


def _bounded(url: str) -> str:
    """Return a URL whose reads end; pydocket would wait for a frozen Redis for ever."""
    if "socket_timeout=" in url:
        return url
    return f"{url}{'&' if '?' in url else '?'}socket_timeout={_READ_WITHIN_S:g}"


def _be_quiet() -> None:
    """Leave logs and spans of jobs to those who know jobs, and the disk alone."""
    # While Redis is away it logs a whole traceback, again and again.
    logging.getLogger("docket").setLevel(logging.CRITICAL)
    docket.docket.tracer = NoOpTracer()
    docket.worker.tracer = NoOpTracer()
    # redis-py reads its own version from the disk for each new connection, in the loop's time,
    # unless it is told who drives it; pydocket does not say.
    redis.utils.get_lib_version = lambda: redis.__version__
