"""Finds jobs that nobody looks after, and issues tickets for them."""

from __future__ import annotations

import asyncio
import logging
import random

from libs.errors import DependencyUnavailableError
from services.jobs.records import Records
from services.jobs.tickets import Tickets

_LOG = logging.getLogger(__name__)
# A ticket may be lost with a master of Redis, or never have been issued.
_OVERDUE_S = 5.0
_COUNT = 100


class Sweeper:
    """Looks for strays now and then; a ticket that is there is not issued again."""

    def __init__(
        self, records: Records, tickets: Tickets, *, silent_s: float, every_s: float
    ) -> None:
        """Sweep.

        Args:
            records: where jobs are.
            tickets: what is issued for strays.
            silent_s: seconds that a worker may give no sign of life.
            every_s: seconds between two looks.
        """
        self._records = records
        self._tickets = tickets
        self._silent_s = silent_s
        self._every_s = every_s
        self._offset = 0
        self._is_away = False

    async def sweep(self) -> None:
        """Look again and again, until cancelled."""
        left_s = _OVERDUE_S
        while True:
            pause_s = self._every_s * (0.75 + random.random() / 2)  # noqa: S311 - no secret
            await asyncio.sleep(pause_s)
            left_s -= pause_s
            try:
                await self.look(overdue=left_s <= 0)
            except DependencyUnavailableError as error:
                self._say(error)
            else:
                self._say(None)
            if left_s <= 0:
                left_s = _OVERDUE_S

    def _say(self, error: DependencyUnavailableError | None) -> None:
        """Log that Redis is away, or back, once."""
        if (error is not None) is self._is_away:
            return
        self._is_away = error is not None
        if error is None:
            _LOG.info("Redis answers again")
        else:
            _LOG.warning("Redis does not answer, jobs wait for it: %s", error)

    async def look(self, *, overdue: bool) -> None:
        """Issue tickets for strays; `overdue` looks for jobs that were never taken, too.

        Raises:
            DependencyUnavailableError: Redis does not answer.
        """
        strays = await self._records.strays(
            overdue_s=_OVERDUE_S,
            silent_s=self._silent_s,
            overdue_count=_COUNT if overdue else 0,
            silent_count=_COUNT,
            offset=self._offset,
        )
        for name in (*strays.silent, *strays.overdue):
            tenant_id, _, job_id = name.partition("/")
            await self._tickets.issue(tenant_id, job_id)
        if overdue:
            # Where many wait, the next look goes on behind these.
            self._offset = self._offset + _COUNT if len(strays.overdue) == _COUNT else 0
