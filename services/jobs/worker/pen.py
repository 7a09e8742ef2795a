"""The right of one attempt to change its job, whatever happens to Redis meanwhile."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TypeVar

from libs.errors import (
    DependencyUnavailableError,
    FencedError,
    JobNotFoundError,
    JobsFullError,
)
from services.jobs.kinds import Meter
from services.jobs.record import Change, Record
from services.jobs.records import Outcome, Records

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.05, 1.0
T = TypeVar("T")


async def patiently(read: Callable[[], Awaitable[T]]) -> T:
    """Read, again and again while Redis is away."""
    pause_s = _FIRST_PAUSE_S
    while True:
        try:
            return await read()
        except DependencyUnavailableError:
            pause_s = await _paused(pause_s)


class Pen:
    """Writes what an attempt has to say, one thing after the other.

    While Redis is away it tries again and again: what an attempt has found is not lost for
    that. It stops for good when the job is another attempt's, or gone.

    Attributes:
        record: the job as it was last seen.
    """

    def __init__(
        self,
        records: Records,
        record: Record,
        lost: Callable[[], object],
        clock: Callable[[], float] = time.time,
        meter: Meter | None = None,
    ) -> None:
        """Write to `record`.

        Args:
            records: where it is kept.
            record: the job.
            lost: told when nothing more may be written.
            clock: gives Unix time.
            meter: counts tokens, which are told along with all that is written.
        """
        self.record = record
        self._meter = meter or Meter()
        self._spent_before = record.job.usage
        self._records = records
        self._lost = lost
        self._clock = clock
        self._turn = asyncio.Lock()

    async def write(self, change: Callable[[Record, float], Change | None]) -> None:
        """Make a change of what the job is by then.

        Args:
            change: makes it from the record and the Unix time; None leaves all as it is.

        Raises:
            FencedError: the job is another attempt's by now, or has ended.
            JobNotFoundError: it has expired, or Redis has lost it.
            JobsFullError: the tenant's jobs may hold no more than they do.
        """
        async with self._turn:
            try:
                await self._write(change)
            except (FencedError, JobNotFoundError):
                self._lost()
                raise

    async def _write(self, change: Callable[[Record, float], Change | None]) -> None:
        pause_s, last = _FIRST_PAUSE_S, None
        while True:
            try:
                if last is not None:
                    self.record = await self._reload()
                    if self.record == last.after:
                        # The answer was lost, the change was not.
                        return
                now_s = self._clock()
                wanted = change(self._metered(), now_s)
                if wanted is None:
                    return
                last = wanted
                outcome = await self._records.commit(wanted, now_s=now_s)
            except DependencyUnavailableError:
                pause_s = await _paused(pause_s)
                continue
            if outcome is Outcome.DONE:
                self.record = wanted.after
                return
            if outcome is Outcome.THERE_ALREADY:
                return
            if outcome is Outcome.NO_ROOM:
                raise JobsFullError("the tenant's jobs hold as many bytes as they may")

    def _metered(self) -> Record:
        """Return the job with what was spent on it by now."""
        usage = self._spent_before + self._meter.usage
        return replace(self.record, job=replace(self.record.job, usage=usage))

    async def _reload(self) -> Record:
        return await self._records.load(self.record.tenant_id, self.record.job.job_id)


async def _paused(pause_s: float) -> float:
    """Wait about so long, and return how long the next pause is."""
    await asyncio.sleep(pause_s * (0.5 + random.random()))  # noqa: S311 - no secret
    return min(2 * pause_s, _LONGEST_PAUSE_S)
