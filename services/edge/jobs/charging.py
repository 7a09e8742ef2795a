"""Charges callers for the tokens of their jobs, once these have ended; nobody has to wait there."""

from __future__ import annotations

import asyncio
import logging

from libs.clients.jobs import JobsClient
from libs.errors import JobNotFoundError, MeshError
from libs.values.jobs import Job
from services.edge.access.quotas import Quotas
from services.edge.access.tab import Tab

_LOG = logging.getLogger(__name__)
_LOOK_EVERY_S = 1.0
_CALL_S = 10.0


class Charging:
    """Looks after jobs that are not paid for; of several edges, one looks at a job at a time.

    Args:
        quotas: where tokens are counted, and jobs noted that owe some.
        client: the jobs service.
        look_every_s: seconds between two rounds.
    """

    def __init__(
        self, quotas: Quotas, client: JobsClient, *, look_every_s: float = _LOOK_EVERY_S
    ) -> None:
        self._quotas = quotas
        self._client = client
        self._look_every_s = look_every_s

    async def keep(self) -> None:
        """Charge for what ends, until cancelled."""
        while True:
            await asyncio.sleep(self._look_every_s)
            try:
                for tab in await self._quotas.due():
                    await self._look(tab)
            except Exception:  # noqa: BLE001 - the outer edge of a task, and it is logged
                _LOG.exception("jobs are not charged for now")

    async def _look(self, tab: Tab) -> None:
        try:
            job = await self._client.get(tab.tenant_id, tab.job_id, limit_s=_CALL_S)
        except JobNotFoundError:
            await self._quotas.settle(tab, 0)
        except MeshError:
            return  # it is looked at again
        else:
            if job.state.has_ended:
                await self._quotas.settle(tab, _tokens(job))


def _tokens(job: Job) -> int:
    return job.usage.input_tokens + job.usage.output_tokens
