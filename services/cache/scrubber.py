"""Compares this replica's index with the store, and puts right what differs.

The change log keeps the two alike; this finds what it could not: a bug, a row lost by a
Redis that ran out of memory, whatever nobody thought of.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass

from libs.errors import DependencyUnavailableError
from services.cache.freshness import Freshness
from services.cache.provenance import judge_entry
from services.cache.reasons import Reason
from services.cache.replica import Replica
from services.cache.store import EntryStore
from services.cache.upkeep import count_repaired

_PAGE_COUNT = 256
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Repairs:
    """Rows of the index that were put right."""

    missing: int = 0
    left_over: int = 0


class Scrubber:
    """Looks at every answer, a page at a time, so that nobody waits for it."""

    def __init__(
        self,
        store: EntryStore,
        replica: Replica,
        freshness: Freshness,
        *,
        every_s: float,
        settle_s: float = 2.0,
        pace_s: float = 0.02,
    ) -> None:
        """Compare `replica` with `store`.

        Args:
            store: the truth; its client is patient.
            replica: whose index is looked at.
            freshness: tells which answers the index need not have.
            every_s: how long after one scrub the next begins.
            settle_s: how long a difference must last to be one; the log takes less.
            pace_s: how long Redis is left alone between two pages.
        """
        self._store = store
        self._replica = replica
        self._freshness = freshness
        self._every_s = every_s
        self._settle_s = settle_s
        self._pace_s = pace_s

    async def follow(self) -> None:
        """Scrub again and again until cancelled."""
        while True:
            await asyncio.sleep(self._every_s)
            try:
                await self.scrub()
            except DependencyUnavailableError as error:
                _LOG.info("a scrub of the index was broken off: %s", error)
            except Exception:  # noqa: BLE001 - the outer edge of a task
                _LOG.exception("a scrub of the index failed")

    async def scrub(self) -> Repairs:
        """Compare everything once; return what was put right.

        Raises:
            DependencyUnavailableError: the store does not answer.
        """
        suspects = [suspect async for suspect in self._suspects()]
        if suspects:
            await asyncio.sleep(self._settle_s)
        missing = left_over = 0
        for tenant_id, keys in suspects:
            done = await self._repaired(tenant_id, keys)
            missing, left_over = missing + done.missing, left_over + done.left_over
        count_repaired("missing", missing)
        count_repaired("left_over", left_over)
        if missing or left_over:
            _LOG.warning("the index lacked %d rows and had %d too many", missing, left_over)
        return Repairs(missing, left_over)

    async def _suspects(self) -> AsyncIterator[tuple[str, list[str]]]:
        """Yield tenants and keys whose rows are not as the store has them."""
        for tenant_id in sorted({*await self._store.tenants(), *self._replica.index.tenants()}):
            await self._store.sweep(tenant_id)
            stored = await self._store.keys(tenant_id)
            known = set(stored)
            rows = [key for key in self._replica.index.keys(tenant_id) if key not in known]
            for page in _pages([*stored, *rows]):
                differing = [key for key, _ in await self._differing(tenant_id, page)]
                if differing:
                    yield tenant_id, differing
                await asyncio.sleep(self._pace_s)

    async def _differing(self, tenant_id: str, keys: Sequence[str]) -> list[tuple[str, str]]:
        """Return those keys whose row differs, with the name that the store has, or ""."""
        names = await self._store.names(tenant_id, keys)
        index = self._replica.index
        pairs = zip(keys, names, strict=True)
        return [(key, name or "") for key, name in pairs if (name or "") != index.name(key)]

    async def _repaired(self, tenant_id: str, keys: Sequence[str]) -> Repairs:
        differing = await self._differing(tenant_id, keys)
        index = self._replica.index
        left_over = [key for key, _ in differing if index.name(key)]
        for key in left_over:
            index.remove(key)
        lacking = [key for key, name in differing if name]
        return Repairs(await self._taken_in(tenant_id, lacking), len(left_over))

    async def _taken_in(self, tenant_id: str, keys: Sequence[str]) -> int:
        """Take answers into the index that may still serve; return how many there were."""
        taken = 0
        async for page in self._store.pages(tenant_id, keys):
            index = self._replica.index
            if index.is_full:
                break
            usable = [
                entry
                for entry in self._replica.unexpired(page)
                if judge_entry(self._freshness, entry) is not Reason.DOCUMENT_CHANGED
            ]
            index.put(usable)
            taken += sum(index.holds(each.key, each.entry_id) for each in usable)
        return taken


def _pages(keys: Sequence[str]) -> Iterable[Sequence[str]]:
    return (keys[start : start + _PAGE_COUNT] for start in range(0, len(keys), _PAGE_COUNT))
