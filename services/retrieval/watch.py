"""Tells one watcher what changes."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import replace
from functools import partial

from libs.values.retrieval import Change, ChangeBatch
from services.retrieval.feed import Feed
from services.retrieval.reader import Reader
from services.retrieval.store import Store

# Changes in one message: about 0.6 MB with the longest of names.
PAGE_COUNT = 1_000


class Watch:
    """Follows the feed, and reads from the store what the feed does not remember."""

    def __init__(
        self, store: Store, feed: Feed, *, heartbeat_s: float, clock: Callable[[], float]
    ) -> None:
        """Tell of `feed`, with a sign of life every `heartbeat_s`."""
        self._store = store
        self._feed = feed
        self._heartbeat_s = heartbeat_s
        self._clock = clock

    async def follow(
        self, tenant_id: str, after_version: int, store_id: str
    ) -> AsyncGenerator[ChangeBatch]:
        """Yield what changes after a version until the feed is closed.

        Args:
            tenant_id: whose changes; `*` is every tenant's.
            after_version: the last version that is known.
            store_id: name of the store.
        """
        # A store that was restored from a copy may be behind what its watcher knows.
        position, spoke_s = min(after_version, self._feed.version), float("-inf")
        while not self._feed.is_closed:
            changes = self._feed.since(position, tenant_id)
            if changes is None:
                async with aclosing(self._catch_up(tenant_id, position)) as batches:
                    async for batch in batches:
                        yield batch
                        position = batch.index_version
                spoke_s = self._clock()
                continue
            # What was caught up on may be ahead of the feed by a commit on its way.
            position, told = max(position, self._feed.version), position
            for start in range(0, len(changes), PAGE_COUNT):
                page = tuple(changes[start : start + PAGE_COUNT])
                is_last = start + PAGE_COUNT >= len(changes)
                yield ChangeBatch(page, position if is_last else told, store_id)
                spoke_s = self._clock()
            left_s = spoke_s + self._heartbeat_s - self._clock()
            if left_s <= 0:
                yield ChangeBatch((), position, store_id)
                spoke_s, left_s = self._clock(), self._heartbeat_s
            await self._feed.wait(position, left_s)

    async def _catch_up(self, tenant_id: str, after_version: int) -> AsyncGenerator[ChangeBatch]:
        """Yield all changes since a version, of each document the last one.

        The version moves on with the last page alone: until then, more is to be told
        that had happened before.
        """
        last = Change(after_version + 1, "", "", "", deleted=False)
        while True:
            async with self._store.snapshot() as snapshot:
                page = await snapshot.run(partial(_page, tenant_id, last))
            if len(page.changes) < PAGE_COUNT:
                yield page
                return
            yield replace(page, index_version=after_version)
            last = page.changes[-1]


def _page(tenant_id: str, last: Change, reader: Reader) -> ChangeBatch:
    changes = tuple(reader.changes(tenant_id, last, PAGE_COUNT))
    return ChangeBatch(changes, reader.version, reader.store_id)
