"""What happens after the last event, off the caller's path."""

from __future__ import annotations

import asyncio
import logging

from libs.budget import spending
from libs.clients.cache import CacheClient
from libs.errors import MeshError
from libs.values.cache import Answer

_LOG = logging.getLogger(__name__)
_LIMIT_S = 2.0
# Beyond this many stores under way an answer is not kept: the cache is too slow for it.
_MOST_UNDER_WAY = 256


class Keeper:
    """Stores answers in a scope that outlives the calls that made them."""

    def __init__(self, cache: CacheClient) -> None:
        self._cache = cache
        self._tasks: set[asyncio.Task[None]] = set()

    def keep(self, answer: Answer) -> None:
        """Store an answer soon; nobody waits, and a failure is only a later miss."""
        if len(self._tasks) >= _MOST_UNDER_WAY:
            _LOG.warning("run %s is not kept: too many stores under way", answer.entry_id)
            return
        task = asyncio.create_task(self._store(answer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def settle(self, timeout_s: float) -> None:
        """Wait for the stores under way, but no longer than `timeout_s`."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=timeout_s)

    async def _store(self, answer: Answer) -> None:
        # The caller's budget is not for this.
        with spending(None):
            try:
                stored = await self._cache.store(answer, limit_s=_LIMIT_S)
            except MeshError as error:
                _LOG.info("run %s is not kept: %s", answer.entry_id, error.reason)
                return
        if not stored.stored:
            _LOG.info("run %s is not kept: %s", answer.entry_id, stored.reason)
