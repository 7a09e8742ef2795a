"""Every run of this replica, and how those of others are reached."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from opentelemetry import trace

from libs.budget import Budget
from libs.errors import EventLogUnavailableError, RunNotFoundError
from libs.telemetry import names
from libs.values import AnswerEvent, CacheLayer, Completed, GoAway, Question, Reader, Verdict
from services.orchestrator.answering import Answering, Asked
from services.orchestrator.catalog import Catalog
from services.orchestrator.course import Course, Courses
from services.orchestrator.flights import Flights
from services.orchestrator.hops import Clients
from services.orchestrator.keeping import Keeper
from services.orchestrator.ledger import Ledger
from services.orchestrator.libraries import Libraries
from services.orchestrator.plan import ladder_of, prior_of
from services.orchestrator.policy import Policies, Policy
from services.orchestrator.refreshing import Refresher
from services.orchestrator.report import Report
from services.orchestrator.run import Run
from services.orchestrator.runlog import RunLog
from services.orchestrator.stops import Stops

_LOG = logging.getLogger(__name__)
# How long a run may not be in the log yet although its caller knows its name.
_LOG_LAG_S = 0.1
# So often it is looked whether the replica of a run that is followed elsewhere lives; longer
# than a replica takes to give its name again.
_LOOK_EVERY_S = 1.5


@dataclass(frozen=True, slots=True)
class Parts:
    """What runs are made with."""

    clients: Clients
    catalog: Catalog
    keeper: Keeper
    policies: Policies
    log: RunLog
    stops: Stops
    courses: Courses
    flights: Flights | None = None
    libraries: Libraries | None = None


class Runs:
    """Starts, follows, stops and judges runs."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._live: dict[tuple[str, str], Run] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._gone_since_s: dict[tuple[str, str], float] = {}
        self._refresher = Refresher(self.start)

    def start(self, question: Question, budget: Budget, arrived_s: float, run_id: str = "") -> Run:
        """Start to answer a question.

        Args:
            question: what is asked.
            budget: the time there is.
            arrived_s: when it came, in seconds of the budget's clock.
            run_id: the run's name, if it has one already.

        Raises:
            PolicyNotFoundError: there is no policy of that name.
        """
        policy = self._parts.policies.named(question.policy)
        model = self._parts.catalog.best()
        name = run_id or secrets.token_hex(16)
        run = Run(name, question.tenant_id, resumable=question.resumable, scope=question.scope)
        span = trace.get_current_span()
        span.set_attribute(names.RUN_ID, run.run_id)
        span.set_attribute(names.POLICY, policy.name)
        course = self._course(question, policy)
        ledger = Ledger(budget.clock, arrived_s, course.learn)
        report = Report(question, run, ledger, span, model.tier)
        parts = self._parts
        asked = Asked(question, policy, model, budget, course, parts.libraries)
        answering = Answering(
            asked,
            run,
            report,
            parts.clients,
            parts.keeper,
            parts.flights,
            self._refresher.refresh,
        )
        self._live[run.tenant_id, run.run_id] = run
        run.task = self._spawn(answering.run())
        self._parts.log.record(run, self._let_go)
        return run

    def _course(self, question: Question, policy: Policy) -> Course:
        ladder = ladder_of(
            policy,
            self._parts.catalog.tiers(),
            question.minimum_quality,
            reads=question.cache_control.reads,
            hedged=self._parts.clients.doubled(),
        )
        return self._parts.courses.course(ladder, prior_of(policy.costs))

    async def watch(
        self, reader: Reader, run_id: str, after: int, *, passive: bool = False
    ) -> AsyncGenerator[Sequence[AnswerEvent], None]:
        """Yield a run's events above `after`, wherever it runs or ran.

        Args:
            reader: who reads.
            run_id: the run.
            after: the number of the last event that was seen.
            passive: True lets the run end when all others have left it.

        Raises:
            RunNotFoundError: there is no such run that the reader may see.
            EventLogUnavailableError: the log does not answer.
        """
        run = await self._seen_by(reader, run_id)
        if run is None:
            events = self._follow(reader.tenant_id, run_id, after)
        else:
            events = run.read(after, passive=passive)
        async with aclosing(events) as batches:
            async for batch in batches:
                yield batch

    async def stop(self, reader: Reader, run_id: str) -> bool:
        """End a run, wherever it runs; return False if it had ended.

        Raises:
            RunNotFoundError: there is no such run that the reader may see.
            EventLogUnavailableError: the log does not answer.
        """
        run = await self._seen_by(reader, run_id)
        if self.stop_here(reader.tenant_id, run_id):
            return True
        if await self._end_of(reader.tenant_id, run_id, run) is not None:
            return False
        return await self._parts.stops.publish(reader.tenant_id, run_id)

    def stop_here(self, tenant_id: str, run_id: str) -> bool:
        """End a run of this replica; return False if there is none that still runs."""
        run = self._live.get((tenant_id, run_id))
        if run is None or run.done:
            return False
        run.stop()
        return True

    async def report(self, reader: Reader, run_id: str, verdict: Verdict) -> bool:
        """Judge the answer of a run; return True if a stored answer was removed.

        Raises:
            RunNotFoundError: there is no such run that the reader may see.
            EventLogUnavailableError: the log does not answer.
        """
        run = await self._seen_by(reader, run_id)
        completed = await self._end_of(reader.tenant_id, run_id, run)
        entry_id = _entry_of(run_id, completed)
        hit = None if completed is None else completed.cache_hit
        layer = CacheLayer.NONE if hit is None else hit.layer
        cache = self._parts.clients.cache
        return (await cache.report(reader.tenant_id, entry_id, verdict, layer)).removed

    def go_away(self, time_left_s: float) -> None:
        """Tell the readers of every run that this replica ends."""
        for run in self._live.values():
            if not run.done:
                run.emit(GoAway(time_left_s))

    async def settle(self, timeout_s: float) -> None:
        """Wait until runs are logged and answers stored, but no longer than `timeout_s`.

        Answers that are being made anew are given up: nobody waits for them.
        """
        self._refresher.stop()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=timeout_s)
        await self._parts.log.settle(timeout_s)
        await self._parts.keeper.settle(timeout_s)

    def _let_go(self, run: Run) -> None:
        """Forget a run that is in the log; one that could not be logged lives to its end."""
        if run.done:
            del self._live[run.tenant_id, run.run_id]
        elif run.task is not None:
            run.task.add_done_callback(lambda _: self._live.pop((run.tenant_id, run.run_id)))

    async def _follow(
        self, tenant_id: str, run_id: str, after: int
    ) -> AsyncGenerator[Sequence[AnswerEvent], None]:
        looking = asyncio.create_task(self._end_if_lost(tenant_id, run_id))
        try:
            async for batch in self._parts.log.follow(tenant_id, run_id, after):
                yield batch
        finally:
            looking.cancel()

    async def _end_if_lost(self, tenant_id: str, run_id: str) -> None:
        """End the log of a run once its replica is gone, which two looks some time apart must find.

        After a failover of Redis a replica's name is not there for a moment. The looks may be
        those of two who only asked how the run stands.
        """
        loop, key = asyncio.get_running_loop(), (tenant_id, run_id)
        while True:
            try:
                if not await self._parts.log.is_lost(tenant_id, run_id):
                    self._gone_since_s.pop(key, None)
                elif loop.time() - self._gone_since_s.setdefault(key, loop.time()) >= _LOOK_EVERY_S:
                    await self._parts.log.end_lost(tenant_id, run_id)
                    self._gone_since_s.pop(key, None)
                    return
            except EventLogUnavailableError:
                self._gone_since_s.pop(key, None)
            await asyncio.sleep(_LOOK_EVERY_S)

    async def _end_of(self, tenant_id: str, run_id: str, run: Run | None) -> Completed | None:
        """Return a run's last event, where it is not here from the log; None if it goes on."""
        events = run.events if run else await self._parts.log.events(tenant_id, run_id)
        last = events[-1].event if events else None
        return last if isinstance(last, Completed) else None

    async def _seen_by(self, reader: Reader, run_id: str) -> Run | None:
        """Return a run if it is one of this replica; None if the log has it.

        Raises:
            RunNotFoundError: there is no such run that the reader may see.
            EventLogUnavailableError: the log does not answer.
        """
        run = self._live.get((reader.tenant_id, run_id))
        scope = await self._logged_scope(reader.tenant_id, run_id) if run is None else run.scope
        if scope is None or not reader.may_see(scope):
            raise RunNotFoundError(f"run_id: {run_id!r} is not known, or has expired")
        return run

    async def _logged_scope(self, tenant_id: str, run_id: str) -> str | None:
        """Return a run's scope; one that has just begun elsewhere has the time to be logged."""
        scope = await self._parts.log.scope_of(tenant_id, run_id)
        if scope is None:
            await asyncio.sleep(_LOG_LAG_S)
            scope = await self._parts.log.scope_of(tenant_id, run_id)
        return scope

    def _spawn(self, work: object) -> asyncio.Task[None]:
        task: asyncio.Task[None] = asyncio.create_task(work)  # type: ignore[arg-type]
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            _LOG.error("a run broke", exc_info=task.exception())


def _entry_of(run_id: str, completed: Completed | None) -> str:
    """Return the name of the stored answer that a run gave."""
    if completed is None:
        return run_id
    if completed.cache_hit is not None:
        return completed.cache_hit.entry_id
    return completed.followed_run_id or run_id
