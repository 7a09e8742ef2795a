"""A job's events, each once, whichever replicas of the jobs service come and go."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable

import grpc

from libs.clients.jobs import JobsClient
from libs.errors import MeshError
from libs.values.jobs import JobEvent

# While no replica tells more of a job, it is asked for again so long and so often.
_PATIENCE_S = 30.0
_FIRST_WAIT_S = 0.05
_MOST_WAIT_S = 1.0


async def follow(
    client: JobsClient, tenant_id: str, job_id: str, after: int, clock: Callable[[], float]
) -> AsyncGenerator[JobEvent, None]:
    """Yield a job's events above `after` up to its last; none if that was its last.

    Raises:
        JobNotFoundError: there is no such job of this tenant, or it has expired.
        MeshError: no replica could be read for half a minute.
    """
    quiet_since_s, wait_s = clock(), _FIRST_WAIT_S
    while True:
        try:
            async with client.watch(tenant_id, job_id, after) as events:
                async for each in events:
                    after = each.sequence
                    yield each
                    quiet_since_s, wait_s = clock(), _FIRST_WAIT_S
        except MeshError as error:
            if not _is_loss(error) or clock() - quiet_since_s > _PATIENCE_S:
                raise
        else:
            return
        await asyncio.sleep(wait_s)
        wait_s = min(2 * wait_s, _MOST_WAIT_S)


def _is_loss(error: MeshError) -> bool:
    """Return whether an error says nothing of the job, only of who was asked."""
    return error.code is grpc.StatusCode.UNAVAILABLE
