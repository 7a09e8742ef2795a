"""The attempts that are under way in this worker: who may begin, and who still lives."""

from __future__ import annotations

import asyncio
import logging
import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from libs.errors import DependencyUnavailableError, JobNotFoundError
from libs.telemetry import metrics
from libs.values.jobs import JobError, JobState
from services.jobs import measures
from services.jobs.kinds import Kind
from services.jobs.record import Record, given_up, lost
from services.jobs.records import Outcome
from services.jobs.tickets import Tickets
from services.jobs.worker.attempt import Attempt, Parts, Stop

_LOG = logging.getLogger(__name__)
# Parts of the lease: how often a sign of life is given, how long none may be seen before
# somebody looks closer, and how long that one looks. A dead worker is replaced after about
# the whole of it. The last part is by the clock of who looks: a Redis that was frozen makes
# nobody look dead.
BEAT_SHARE, SILENT_SHARE, LOOK_SHARE = 0.1, 0.5, 0.4
# Tickets of a tenant who has its share come back ten times a second, all together.
_COME_BACK_S = 0.1
_LONGEST_COME_BACK_S = 10.0
# Those of a suspect come back as if so many waited: after half a second, about.
_SUSPECT_COUNT = 5
# A kind that this worker does not know may be known to a newer one.
_UNKNOWN_AGAIN_S = 5.0
_EARLY_S = 0.05
_TAKE_PAUSE_S = 0.5
_MOST_TAKE_PAUSES = 60
_LET_GO_S = 8.0


@dataclass(frozen=True, slots=True)
class Room:
    """How much a worker does at once.

    Attributes:
        count: jobs.
        tenant_count: of these, one tenant's.
        lease_s: seconds after which the jobs of a dead worker are another's.
    """

    count: int
    tenant_count: int
    lease_s: float


class Attempts:
    """The attempts of one worker."""

    def __init__(
        self,
        parts: Parts,
        tickets: Tickets,
        kinds: Mapping[str, Kind[Any]],
        room: Room,
    ) -> None:
        """Make attempts at jobs of `kinds`."""
        self._parts = parts
        self._records = parts.records
        self._tickets = tickets
        self._kinds = kinds
        self._room = room
        self._clock = parts.clock
        self._running: dict[str, tuple[Attempt, asyncio.Task[None]]] = {}
        self._of_tenant: Counter[str] = Counter()
        # Jobs whose worker has died before. One at a time: of two, nobody would know which it was.
        self._suspects: set[str] = set()
        self._beginning = 0
        self._look = asyncio.Event()
        self._is_closing = False
        metrics.watch_jobs(lambda: len(self._running))

    async def take(self, tenant_id: str, job_id: str) -> None:
        """Begin an attempt at a job whose ticket has come, if it needs one.

        Returns once the job has begun, or there is nothing to do.

        Raises:
            DependencyUnavailableError: Redis has not answered for long.
        """
        for _ in range(_MOST_TAKE_PAUSES):
            try:
                await self._take(tenant_id, job_id)
            except DependencyUnavailableError:
                await asyncio.sleep(_TAKE_PAUSE_S)
            else:
                return
        await self._take(tenant_id, job_id)

    async def _take(self, tenant_id: str, job_id: str) -> None:
        if f"{tenant_id}/{job_id}" in self._running:
            return
        if self._is_closing:
            await self._put_back(tenant_id, job_id, 0.0)
            return
        if self._of_tenant[tenant_id] >= self._room.tenant_count:
            waiting = await self._records.unfinished_count(tenant_id)
            await self._put_back(tenant_id, job_id, _come_back_s(waiting))
            return
        self._of_tenant[tenant_id] += 1
        record = None
        try:
            record = await self._wanted(tenant_id, job_id)
            if record is not None and record.name in self._running:
                # Another ticket of the job was looked at at the same time.
                record = None
            if record is not None and record.is_suspect and self._suspects:
                await self._put_back(tenant_id, job_id, _come_back_s(_SUSPECT_COUNT))
                record = None
        finally:
            if record is None:
                self._of_tenant[tenant_id] -= 1
        if record is not None:
            # Counted until the attempt ends.
            await self._start(record, self._kinds[record.job.kind])

    async def _wanted(self, tenant_id: str, job_id: str) -> Record | None:
        """Return the job if an attempt is to be made at it now."""
        try:
            record = await self._records.load(tenant_id, job_id)
        except JobNotFoundError:
            await self._records.forget(tenant_id, job_id)
            return None
        if record.job.state is JobState.QUEUED:
            return record if await self._is_due(record) else None
        if record.job.state is not JobState.RUNNING or await self._is_done_elsewhere(record):
            return None
        record = lost(record)
        if record.failures < self._parts.terms.attempt_count:
            return record
        await self._give_up(record)
        return None

    async def _is_due(self, record: Record) -> bool:
        early_s = record.due_s - self._clock()
        if record.job.kind not in self._kinds:
            early_s = max(early_s, _UNKNOWN_AGAIN_S)
        if early_s > _EARLY_S:
            await self._put_back(record.tenant_id, record.job.job_id, early_s)
            return False
        return True

    async def _is_done_elsewhere(self, record: Record) -> bool:
        """Watch for signs of life of the worker that has the job; without one, it is dead."""
        if record.job.kind not in self._kinds:
            return True
        before = await self._records.last_beat(record)
        await asyncio.sleep(self._room.lease_s * LOOK_SHARE)
        return before is None or await self._records.last_beat(record) != before

    async def _give_up(self, record: Record) -> None:
        error = record.job.error or JobError("WORKER_LOST", "")
        change = given_up(record, error, dead_letter=True, now_s=self._clock())
        if await self._records.commit(change, now_s=self._clock()) is Outcome.DONE:
            measures.observe_end(change.after.job)

    async def _start(self, record: Record, kind: Kind[Any]) -> None:
        attempt = Attempt(record, kind, self._parts)
        task = asyncio.create_task(self._run(attempt))
        self._running[record.name] = attempt, task
        if record.is_suspect:
            self._suspects.add(record.name)
        # Its ticket is still out, and would count beside it.
        self._beginning += 1
        try:
            await attempt.begun.wait()
        finally:
            self._beginning -= 1
            self._make_room()

    async def _run(self, attempt: Attempt) -> None:
        record = attempt.record
        try:
            await attempt.run()
        except Exception:  # noqa: BLE001 - the outer edge of a task, and it is logged
            _LOG.exception("the attempt at %s broke", record.name)
        finally:
            del self._running[record.name]
            self._suspects.discard(record.name)
            self._of_tenant[record.tenant_id] -= 1
            self._make_room()
        if attempt.due_s is not None:
            await self._call_again(attempt)

    async def _call_again(self, attempt: Attempt) -> None:
        record = attempt.record
        try:
            await self._tickets.issue(record.tenant_id, record.job.job_id, attempt.due_s)
        except DependencyUnavailableError as error:
            # The sweeper finds it.
            _LOG.warning("%s: %s", record.name, error)

    async def _put_back(self, tenant_id: str, job_id: str, wait_s: float) -> None:
        await self._tickets.put_back(tenant_id, job_id, self._clock() + wait_s)

    def _make_room(self) -> None:
        """Let as many tickets be out as there may be attempts beside those under way."""
        free_count = self._room.count - len(self._running) + self._beginning
        self._tickets.make_room(0 if self._is_closing else free_count)

    def heard(self, change: str) -> None:
        """Look at once whether a job that has ended somewhere is one of ours."""
        name, _, place = change.partition(" ")
        if name in self._running and place not in ("waiting", "running"):
            self._look.set()

    async def keep_alive(self) -> None:
        """Give signs of life, and stop what is no longer ours, until cancelled."""
        while True:
            await self._beat()
            try:
                async with asyncio.timeout(self._room.lease_s * BEAT_SHARE):
                    await self._look.wait()
            except TimeoutError:
                pass
            self._look.clear()

    async def _beat(self) -> None:
        begun = [attempt for attempt, _ in self._running.values() if attempt.begun.is_set()]
        if not begun:
            return
        try:
            held = await self._records.beat([(each.record, each.number) for each in begun])
        except DependencyUnavailableError:
            return
        for attempt, is_held in zip(begun, held, strict=True):
            if not is_held:
                attempt.stop(Stop.LOST)

    def pause(self) -> None:
        """Begin no more attempts."""
        self._is_closing = True
        self._make_room()

    async def close(self, grace_s: float) -> None:
        """Let attempts end for `grace_s`, then leave what is not done to other workers."""
        self.pause()
        await self._settle(grace_s)
        for attempt, _ in self._running.values():
            attempt.stop(Stop.RELEASED)
        await self._settle(_LET_GO_S)
        for _, task in self._running.values():
            task.cancel()

    async def _settle(self, seconds: float) -> None:
        tasks = [task for _, task in self._running.values()]
        if tasks:
            await asyncio.wait(tasks, timeout=seconds)


def _come_back_s(waiting_count: int) -> float:
    most_s = min(_LONGEST_COME_BACK_S, _COME_BACK_S * max(1, waiting_count))
    return most_s * (0.5 + random.random())  # noqa: S311 - no secret
