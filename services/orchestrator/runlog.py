"""Writes every run to the event log, behind its back: a caller never waits for it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass

from libs.errors import EventLogUnavailableError, FencedError, MeshError
from libs.eventlog import EventLog, Whole, Writer
from libs.values import AnswerEvent, Completed
from services.orchestrator.owners import Owners, ending_of
from services.orchestrator.run import Run

_LOG = logging.getLogger(__name__)
# Events of this long go into the log together: fewer round trips, and nobody waits.
_GATHER_S = 0.005
# Runs that began within this long are first logged together, and what has ended by then in
# one round trip: a short run's log then costs the run behind it next to nothing. Well below
# the time that another replica waits for a run to appear (`runs._LOG_LAG_S`).
_GATHER_RUNS_S = 0.040
# A log that could not be written is closed as soon as that can be, within a minute.
_DISOWN_EVERY_S = 1.0
_DISOWN_TRIES = 60


@dataclass(frozen=True, slots=True)
class Codec:
    """How an event becomes bytes and comes back; the wire's business."""

    encode: Callable[[AnswerEvent], bytes]
    decode: Callable[[bytes], AnswerEvent]


Over = Callable[[Run], None]


class RunLog:
    """The event log of runs."""

    def __init__(self, log: EventLog, codec: Codec, owners: Owners | None = None) -> None:
        """Write to `log`; `owners` know which replica a run that goes on is written by."""
        self._log = log
        self._codec = codec
        self._owners = owners
        self._begun: list[tuple[Run, Over]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._disowning: set[asyncio.Task[None]] = set()

    def record(self, run: Run, over: Over) -> None:
        """Write a run's events in the background, until it is done.

        A log that cannot be written is given up for this run: it would have gaps. The run
        goes on; it just cannot be followed from elsewhere.

        Args:
            run: the run, which has just begun.
            over: told once nothing more of it will be written.
        """
        self._begun.append((run, over))
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_GATHER_RUNS_S, self._take_up)

    async def settle(self, timeout_s: float) -> None:
        """Write what there is, and wait until it is written, but no longer than `timeout_s`."""
        if self._timer is not None:
            self._timer.cancel()
            self._take_up()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=timeout_s)

    def _take_up(self) -> None:
        """Write the runs that have ended together, and follow each of the others."""
        begun, self._begun, self._timer = self._begun, [], None
        ended = [(run, over) for run, over in begun if run.done]
        if ended:
            self._spawn(self._write_whole(ended))
        for run, over in begun:
            if not run.done:
                self._spawn(self._follow_up(run, over))

    async def _write_whole(self, ended: Sequence[tuple[Run, Over]]) -> None:
        try:
            logs = [self._whole(run) for run, _ in ended]
            outcomes = await self._log.write(logs)
            for (run, _), outcome in zip(ended, outcomes, strict=True):
                if outcome is None:
                    run.logged_count = len(run.events)
                else:
                    _given_up(run, outcome)
        except EventLogUnavailableError as error:
            for run, _ in ended:
                _given_up(run, error)
        finally:
            for run, over in ended:
                over(run)

    def _whole(self, run: Run) -> Whole:
        events = [self._encoded(run, event) for event in run.events]
        return Whole(run.tenant_id, run.run_id, events)

    async def _follow_up(self, run: Run, over: Over) -> None:
        writer: Writer | None = None
        try:
            if self._owners is not None:
                await self._owners.claim(run.tenant_id, run.run_id)
            async for _ in run.unlogged(_GATHER_S):
                writer = await self._write(run, writer)
        except (EventLogUnavailableError, FencedError) as error:
            _given_up(run, error)
            if self._owners is not None:
                self._disown(run, self._owners)
        finally:
            over(run)

    def _disown(self, run: Run, owners: Owners) -> None:
        """Let nobody wait for what will not be written, once the log can be written again."""

        async def disown() -> None:
            for _ in range(_DISOWN_TRIES):
                with suppress(EventLogUnavailableError):
                    await owners.disown(run.tenant_id, run.run_id)
                    break
                await asyncio.sleep(_DISOWN_EVERY_S)

        # Not among those that are waited for at the end.
        task = asyncio.create_task(disown())
        self._disowning.add(task)
        task.add_done_callback(self._disowning.discard)

    async def _write(self, run: Run, writer: Writer | None) -> Writer:
        done_count = run.logged_count
        fresh = [self._encoded(run, event) for event in run.events[done_count:]]
        if writer is None:
            writer = await self._log.open(run.tenant_id, run.run_id, fresh)
        elif fresh:
            await self._log.append(writer, done_count + 1, fresh)
        run.logged_count = done_count + len(fresh)
        return writer

    def _encoded(self, run: Run, event: AnswerEvent) -> bytes:
        return run.encoded.pop(event.sequence, None) or self._codec.encode(event)

    def _spawn(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            _LOG.error("a run's log broke", exc_info=task.exception())

    async def follow(
        self, tenant_id: str, run_id: str, after: int
    ) -> AsyncGenerator[Sequence[AnswerEvent], None]:
        """Yield a run's events above `after`, until its last.

        Raises:
            RunNotFoundError: there is no such run of this tenant.
            EventLogUnavailableError: the log does not answer.
        """
        async for rows in self._log.follow(tenant_id, run_id, after):
            events = [self._codec.decode(data) for _, data in rows]
            yield events
            if isinstance(events[-1].event, Completed):
                return

    async def is_lost(self, tenant_id: str, run_id: str) -> bool:
        """Return whether the replica that wrote a run's log is gone.

        Raises:
            EventLogUnavailableError: the log does not answer.
        """
        return self._owners is not None and await self._owners.is_lost(tenant_id, run_id)

    async def end_lost(self, tenant_id: str, run_id: str) -> None:
        """End the log of a run whose replica is gone, unless it has its end.

        Raises:
            EventLogUnavailableError: the log does not answer.
        """
        # Before what is there is read, so that nothing more can come: a replica that only
        # stood still is no writer of this log any more.
        writer = await self._log.open(tenant_id, run_id)
        ending = ending_of(await self.events(tenant_id, run_id))
        if ending:
            encoded = [self._codec.encode(event) for event in ending]
            with suppress(FencedError):  # somebody else has ended it
                await self._log.append(writer, ending[0].sequence, encoded)

    async def events(self, tenant_id: str, run_id: str) -> list[AnswerEvent]:
        """Return the events that are there now; none if there is no such run.

        Raises:
            EventLogUnavailableError: the log does not answer.
        """
        rows = await self._log.read(tenant_id, run_id)
        return [self._codec.decode(data) for _, data in rows]

    async def scope_of(self, tenant_id: str, run_id: str) -> str | None:
        """Return the access scope that a run was asked in; None if the log does not know it.

        Raises:
            EventLogUnavailableError: the log does not answer.
        """
        rows = await self._log.read(tenant_id, run_id, most=1)
        return self._codec.decode(rows[0][1]).scope if rows else None


def _given_up(run: Run, error: MeshError) -> None:
    _LOG.info("run %s is not logged: %s", run.run_id, error.reason)
