"""Keeps this replica's index of meanings like the store, whoever writes to it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from contextlib import suppress

from libs.errors import DependencyUnavailableError
from services.cache.changelog import ChangeLog, LostPlaceError, Place, StoreChange
from services.cache.entry import Entry
from services.cache.index import MOST_COUNT, MeaningIndex
from services.cache.store import EntryStore
from services.cache.vectors import VectorLengths

_RETRY_S = 0.25
_TIDY_S = 1.0
_LOG = logging.getLogger(__name__)


class Replica:
    """The index, built from the store at start and kept by its change log.

    Attributes:
        index: what can be found by meaning; replaced as a whole by a reload.
        lengths: of the vectors of each model.
    """

    def __init__(
        self,
        store: EntryStore,
        log: ChangeLog,
        *,
        clock: Callable[[], float] = time.time,
        most_count: int = MOST_COUNT,
    ) -> None:
        """Begin empty.

        Args:
            store: where the answers are; its client is patient enough for long reads.
            log: what changes there.
            clock: seconds of the wall clock, that entries expire by.
            most_count: how many questions the index holds.
        """
        self._store = store
        self._log = log
        self._clock = clock
        self._place: Place | None = None
        self._level_at_s: float | None = None
        self.lengths = VectorLengths()
        self._most_count = most_count
        self.index = MeaningIndex(self.lengths, most_count=most_count)
        self._tried = asyncio.Event()

    async def ready(self, limit_s: float) -> None:
        """Wait until the store was read, or could not be; at most `limit_s`."""
        with suppress(TimeoutError):
            async with asyncio.timeout(limit_s):
                await self._tried.wait()

    def behind_s(self) -> float:
        """Return the seconds since the index was last level with the log; infinite if never.

        A quiet log is looked at every `changelog.BLOCK_S`, so up to that is no lag.
        """
        return float("inf") if self._level_at_s is None else time.monotonic() - self._level_at_s

    async def follow(self) -> None:
        """Keep up until cancelled; a store that does not answer is asked again."""
        while True:
            try:
                self._place = await self._advanced(self._place)
                self._level_at_s = time.monotonic()
            except LostPlaceError as error:
                _LOG.info("reads all answers anew: %s", error)
                self._place = None
            except DependencyUnavailableError:
                await asyncio.sleep(_RETRY_S)
            except Exception:  # noqa: BLE001 - the outer edge of a task
                # Without this task the replica would never learn of another's writes again.
                _LOG.exception("following the change log failed; reads all answers anew")
                self._place = None
                await asyncio.sleep(_RETRY_S)
            finally:
                self._tried.set()

    async def tidy(self) -> None:
        """Let go of what has expired, and keep searches quick, until cancelled."""
        while True:
            await asyncio.sleep(_TIDY_S)
            self.index.sweep(self._clock())
            await self.index.compact()

    async def _advanced(self, place: Place | None) -> Place:
        """Return the next place, with the index brought up to it."""
        if place is None:
            return await self._loaded()
        changes = await self._log.after(place)
        await self._apply(changes)
        return changes[-1].place if changes else place

    async def _loaded(self) -> Place:
        # The place comes first: what changes while the store is read is told again.
        place = await self._log.end()
        index = MeaningIndex(self.lengths, most_count=self._most_count)
        for tenant_id in await self._store.tenants():
            keys = await self._store.keys(tenant_id)
            async for page in self._store.pages(tenant_id, keys):
                index.put(self.unexpired(page))
        self.index = index
        return place

    async def _apply(self, changes: Iterable[StoreChange]) -> None:
        """Bring the index up to the last change of each key."""
        put: defaultdict[str, list[str]] = defaultdict(list)
        for change in {change.key: change for change in changes}.values():
            if change.removed:
                self.index.remove(change.key, change.entry_id)
            elif change.renewed or not self.index.holds(change.key, change.entry_id):
                put[change.tenant_id].append(change.key)
        for tenant_id, keys in put.items():
            async for page in self._store.pages(tenant_id, keys):
                self.index.put(self.unexpired(page))

    def unexpired(self, entries: Iterable[Entry]) -> list[Entry]:
        """Return those answers that have not ended."""
        now_s = self._clock()
        return [entry for entry in entries if entry.expires_at_s > now_s]
