"""Who makes a stale answer anew: one caller in the cluster, for as long as a lease lives."""

from __future__ import annotations

from typing import Any

from services.cache.connection import Link
from services.cache.entry import Entry
from services.cache.scripts import ROOT


class Refreshes:
    """The leases on refreshes; each ends by itself, so that a refresher may die."""

    def __init__(self, link: Link, *, lease_s: float) -> None:
        """Keep leases over a link.

        Args:
            link: to Redis; gives up quickly.
            lease_s: seconds in which a refresh should be done, and no other is begun.
        """
        self._redis: Any = link.redis
        self._pause = link.pause
        self._lease_ms = int(lease_s * 1e3)

    async def claim(self, entry: Entry) -> bool:
        """Return whether the caller is the one who is to make an answer anew.

        Raises:
            DependencyUnavailableError: Redis does not answer.
        """
        name = f"{ROOT}{entry.tenant_id}:refresh:{entry.key}"
        taken = await self._pause.ask(
            lambda: self._redis.set(name, entry.entry_id, nx=True, px=self._lease_ms)
        )
        return taken is not None
