"""Follows retrieval's changes for as long as the process lives."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from libs.errors import MeshError
from libs.values.retrieval import ChangeBatch
from services.cache.freshness import Freshness

_EVERY_TENANT = "*"
_FIRST_BACK_OFF_S = 0.05
_LAST_BACK_OFF_S = 1.0
_LOG = logging.getLogger(__name__)


class Retrieval(Protocol):
    """What tells of changes: a client of the retrieval service."""

    def watch(
        self, tenant_id: str, after_version: int
    ) -> AbstractAsyncContextManager[AsyncIterator[ChangeBatch]]:
        """Yield what changed after a version, then what changes."""


class Watch:
    """Keeps a `Freshness` up to date; connects anew whenever it hears nothing."""

    def __init__(self, retrieval: Retrieval, freshness: Freshness) -> None:
        self._retrieval = retrieval
        self._freshness = freshness
        self._back_off_s = _FIRST_BACK_OFF_S

    async def follow(self) -> None:
        """Listen until cancelled."""
        while True:
            try:
                await self._listen()
            except MeshError as error:
                # Once for each time it breaks, not for each try.
                is_first = self._back_off_s == _FIRST_BACK_OFF_S
                level = logging.WARNING if is_first else logging.DEBUG
                _LOG.log(level, "the watch of documents broke: %s", error)
            except Exception:  # noqa: BLE001 - the outer edge of a task
                # Without this task every answer that depends on documents would stay a miss.
                _LOG.exception("the watch of documents failed")
            await asyncio.sleep(self._back_off_s)
            self._back_off_s = min(2 * self._back_off_s, _LAST_BACK_OFF_S)

    async def _listen(self) -> None:
        """Hear one stream of changes out, until it ends or falls silent.

        A stream that was silent is left even if it speaks again: what comes then was
        said long ago if it was this process that stood still.
        """
        freshness = self._freshness
        known = freshness.index_version
        async with self._retrieval.watch(_EVERY_TENANT, known) as batches:
            is_whole = not known
            while (batch := await self._next(batches)) is not None:
                if not freshness.continues(batch):
                    freshness.start_over(batch.store_id)
                    if not is_whole:
                        # Of the other store this stream tells a part; it is asked for all.
                        return
                freshness.hear(batch)
                is_whole = False
                self._back_off_s = _FIRST_BACK_OFF_S

    async def _next(self, batches: AsyncIterator[ChangeBatch]) -> ChangeBatch | None:
        """Return the next batch; None if the stream has ended or fallen silent."""
        since_s, limit_s = self._freshness.clock(), self._freshness.silence_s
        coming = asyncio.ensure_future(anext(batches, None))
        try:
            await asyncio.wait({coming}, timeout=limit_s)
            batch = coming.result() if coming.done() else None
        finally:
            coming.cancel()
            await asyncio.wait({coming})
        is_late = self._freshness.clock() - since_s > limit_s
        return None if is_late else batch
