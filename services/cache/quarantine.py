"""A new answer proves itself on its own question before others get it by their meaning.

It is let out by time, by so many hits of its own question that nobody complained of, or by
a good verdict; a bad one removes it. Off unless an operator sets a time: who asks the same in
other words a minute later expects a hit, and what keeps a wrong one away is the decision.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from services.cache.connection import Link
from services.cache.entry import Entry
from services.cache.scripts import ROOT


class Quarantine:
    """How often each answer in quarantine was looked at; the count is the cluster's."""

    def __init__(self, link: Link, *, longest_s: float, looks: int) -> None:
        """Count over a link.

        Args:
            link: to Redis; gives up quickly.
            longest_s: seconds after which the time alone has let an answer out.
            looks: how many looks let it out before; 0 leaves it to the time.
        """
        self._redis: Any = link.redis
        self._pause = link.pause
        self._longest_ms = int(longest_s * 1e3)
        self._looks = looks

    async def look(self, entry: Entry, now_s: float) -> None:
        """Count a hit of its own question, while it is in quarantine.

        Raises:
            DependencyUnavailableError: Redis does not answer.
        """
        if not self._looks or now_s >= entry.shared_from_s:
            return
        name = _name(entry.tenant_id, entry.entry_id)
        # The end first: a count that nobody ends would stay for ever.
        await self._pause.ask(lambda: self._redis.set(name, 0, nx=True, px=self._longest_ms))
        await self._pause.ask(lambda: self._redis.incr(name))

    async def vouch(self, tenant_id: str, entry_id: str) -> None:
        """Let an answer out at once: somebody found it good.

        Raises:
            DependencyUnavailableError: Redis does not answer.
        """
        if self._looks and self._longest_ms:
            name = _name(tenant_id, entry_id)
            enough, px = self._looks, self._longest_ms
            await self._pause.ask(lambda: self._redis.set(name, enough, px=px))

    async def let_out(self, entries: Iterable[Entry], now_s: float) -> frozenset[str]:
        """Return the names of those among `entries` that have left quarantine before its end.

        Raises:
            DependencyUnavailableError: Redis does not answer.
        """
        inside = [entry for entry in entries if now_s < entry.shared_from_s]
        if not (inside and self._looks):
            return frozenset()
        names = [_name(entry.tenant_id, entry.entry_id) for entry in inside]
        counts = await self._pause.ask(lambda: self._redis.mget(names))
        pairs = zip(inside, counts, strict=True)
        return frozenset(each.entry_id for each, count in pairs if int(count or 0) >= self._looks)


def _name(tenant_id: str, entry_id: str) -> str:
    return f"{ROOT}{tenant_id}:looks:{entry_id}"
