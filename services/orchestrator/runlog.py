"""Writes every run to the event log, behind its back: a caller never waits for it."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass

from libs.errors import EventLogUnavailableError, FencedError
from libs.eventlog import EventLog, Writer
from libs.values import AnswerEvent, Completed
from services.orchestrator.run import Run

_LOG = logging.getLogger(__name__)
# Events of this long go into the log together: fewer round trips, and nobody waits.
_GATHER_S = 0.005


@dataclass(frozen=True, slots=True)
class Codec:
    """How an event becomes bytes and comes back; the wire's business."""

    encode: Callable[[AnswerEvent], bytes]
    decode: Callable[[bytes], AnswerEvent]


class RunLog:
    """The event log of runs."""

    def __init__(self, log: EventLog, codec: Codec) -> None:
        self._log = log
        self._codec = codec

    async def record(self, run: Run) -> None:
        """Write a run's events as they come, until it is done.

        A log that cannot be written is given up for this run: it would have gaps. The run
        goes on; it just cannot be followed from elsewhere.
        """
        writer: Writer | None = None
        try:
            async for _ in run.unlogged(_GATHER_S):
                writer = await self._write(run, writer)
        except (EventLogUnavailableError, FencedError) as error:
            _LOG.info("run %s is not logged: %s", run.run_id, error.reason)

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

    async def events(self, tenant_id: str, run_id: str) -> list[AnswerEvent]:
        """Return the events that are there now; none if there is no such run.

        Raises:
            EventLogUnavailableError: the log does not answer.
        """
        rows = await self._log.read(tenant_id, run_id)
        return [self._codec.decode(data) for _, data in rows]

    async def exists(self, tenant_id: str, run_id: str) -> bool:
        """Return whether the log knows a run.

        Raises:
            EventLogUnavailableError: the log does not answer.
        """
        return await self._log.exists(tenant_id, run_id)
