"""What has changed, for those who watch."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence

from libs.values.retrieval import Change

# Versions remembered; a watcher that is further behind reads them from the store.
MEMORY_COUNT = 1_024


class Feed:
    """The last commits, in memory, so that a watcher costs no read of the store.

    Used in the event loop alone.
    """

    def __init__(self, version: int) -> None:
        self.version = version
        self.is_closed = False
        self._forgotten = version
        self._commits: deque[tuple[int, Sequence[Change]]] = deque()
        self._news = asyncio.Event()

    def publish(self, version: int, changes: Sequence[Change]) -> None:
        """Tell of a commit; the next in order."""
        self._commits.append((version, changes))
        if len(self._commits) > MEMORY_COUNT:
            self._forgotten, _ = self._commits.popleft()
        self.version = version
        self._wake()

    def close(self) -> None:
        """Let every watcher go."""
        self.is_closed = True
        self._wake()

    def since(self, position: int, tenant_id: str) -> list[Change] | None:
        """Return what changed after a version; None if that is too long ago to remember.

        Args:
            position: the last version that is known.
            tenant_id: whose changes; `*` is every tenant's.
        """
        if position < self._forgotten:
            return None
        newest_first: list[Sequence[Change]] = []
        for version, changes in reversed(self._commits):
            if version <= position:
                break
            newest_first.append(changes)
        return [
            change
            for changes in reversed(newest_first)
            for change in changes
            if tenant_id in ("*", change.tenant_id)
        ]

    async def wait(self, position: int, timeout_s: float) -> None:
        """Return when there is news after `position`, at the end, or in time."""
        if self.version > position or self.is_closed:
            return
        try:
            async with asyncio.timeout(timeout_s):
                await self._news.wait()
        except TimeoutError:
            return

    def _wake(self) -> None:
        self._news.set()
        self._news = asyncio.Event()
