"""The stored answers, in Redis: the truth that every replica reads."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from services.cache import scripts
from services.cache.connection import Link
from services.cache.entry import LEAST_COST_S, DamagedRecordError, Entry, decode, encode
from services.cache.upkeep import count_damaged, count_evicted

# Redis keeps a record a little longer than it may be used, so that a lookup can tell what
# has expired from what never was.
KEPT_AFTER_EXPIRY_S = 60.0
_PAGE_COUNT = 64
# Every script is sent to the node of the one hash tag; a single Redis does not look at it.
_ROUTE = [scripts.ROOT]
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much is kept; beyond it, what is of least worth goes.

    Attributes:
        tenant_count: answers of one tenant.
        tenant_bytes: what they take in Redis, about.
        count: answers of all tenants.
        bytes: what they take.
    """

    tenant_count: int = 100_000
    tenant_bytes: int = 1 << 30
    count: int = 250_000
    bytes: int = 2 << 30


class EntryStore:
    """Answers under their exact keys; the names in Redis begin with the tenant.

    Every method raises `DependencyUnavailableError` while Redis does not answer.
    """

    def __init__(self, link: Link, bounds: Bounds | None = None) -> None:
        """Keep answers in the Redis of `link`, as many as `bounds` allow."""
        self._redis: Any = link.redis
        self._pause = link.pause
        self._bounds = bounds or Bounds()
        self._put = self._redis.register_script(scripts.PUT)
        self._remove = self._redis.register_script(scripts.REMOVE)
        self._set_aside = self._redis.register_script(scripts.SET_ASIDE)
        self._hits = self._redis.register_script(scripts.HITS)
        self._names = self._redis.register_script(scripts.NAMES)
        self._sweep = self._redis.register_script(scripts.SWEEP)
        self._renew = self._redis.register_script(scripts.RENEW)
        self._claim = self._redis.register_script(scripts.CLAIM)

    async def get(self, tenant_id: str, key: str) -> Entry | None:
        """Return the answer under an exact key; one round trip.

        Raises:
            DamagedRecordError: it cannot be read; it has been set aside.
        """
        name = _name(tenant_id, "answer", key)
        record = await self._pause.ask(lambda: self._redis.get(name))
        return await self._read(tenant_id, key, record)

    async def by_prompt(self, tenant_id: str, prompt: str) -> Entry | None:
        """Return the answer to a full prompt.

        Raises:
            DamagedRecordError: it cannot be read; it has been set aside.
        """
        key = await self._pointed_to(_name(tenant_id, "prompt", prompt))
        entry = None if key is None else await self.get(tenant_id, key)
        # Another prompt may have led to what is now stored under that key.
        return entry if entry is not None and entry.prompt == prompt else None

    async def many(
        self, tenant_id: str, keys: Sequence[str]
    ) -> list[Entry | DamagedRecordError | None]:
        """Return the answers under these keys, in their order; one round trip."""
        names = [_name(tenant_id, "answer", key) for key in keys]
        records = await self._pause.ask(lambda: self._redis.mget(names))
        return [
            await self._tried(tenant_id, key, record)
            for key, record in zip(keys, records, strict=True)
        ]

    async def put(self, entry: Entry, ttl_s: float) -> Entry | None:
        """Store an answer, unless a better one is in its place: return that one.

        Raises:
            DamagedRecordError: the better one cannot be read; it has been set aside.
        """
        ttl_ms = int((ttl_s + KEPT_AFTER_EXPIRY_S) * 1e3)
        record = encode(entry)
        bounds, cost_s = self._bounds, max(entry.made_in_s, LEAST_COST_S)
        args: list[str | int | float | bytes] = [entry.tenant_id, entry.key, entry.entry_id]
        args += [entry.rank, ttl_ms, entry.prompt, cost_s]
        args += [bounds.tenant_count, bounds.tenant_bytes, bounds.count, bounds.bytes, record]
        better, evicted = await self._pause.ask(lambda: self._put(keys=_ROUTE, args=args))
        count_evicted(evicted)
        return await self._read(entry.tenant_id, entry.key, better)

    async def renew(self, entry: Entry) -> bool:
        """Replace the record of an answer that is still there; its end stays where it is."""
        args: list[str | bytes] = [entry.tenant_id, entry.key, entry.entry_id, encode(entry)]
        return bool(await self._pause.ask(lambda: self._renew(keys=_ROUTE, args=args)))

    async def claim(self, what: str, name: str, lease_s: float) -> bool:
        """Return whether `name` is the one in the cluster that does a thing; for `lease_s`."""
        keys = [f"{scripts.ROOT}lease:{what}"]
        args: list[str | int] = [name, int(lease_s * 1e3)]
        return bool(await self._pause.ask(lambda: self._claim(keys=keys, args=args)))

    async def remove(self, tenant_id: str, named: Iterable[tuple[str, str]]) -> int:
        """Remove answers by key and name where both still fit; return how many did.

        An empty name fits whichever answer is there.
        """
        args = [tenant_id, *(part for pair in named for part in pair)]
        return int(await self._pause.ask(lambda: self._remove(keys=_ROUTE, args=args)))

    async def count_hits(self, tenant_id: str, hits: Mapping[str, int]) -> None:
        """Add to how often the answers under these keys were used: they are worth more."""
        args = [tenant_id, *(part for pair in hits.items() for part in pair)]
        await self._pause.ask(lambda: self._hits(keys=_ROUTE, args=args))

    async def names(self, tenant_id: str, keys: Sequence[str]) -> list[str | None]:
        """Return the names of the answers under these keys, in their order.

        An answer that cannot be found by meaning has the name `""`, one that is not there
        None; what else is left of that one is removed.
        """
        args = [tenant_id, *keys]
        found = await self._pause.ask(lambda: self._names(keys=_ROUTE, args=args))
        return [None if name is None else name.decode() for name in found]

    async def sweep(self, tenant_id: str) -> None:
        """Forget what is left of a tenant's answers that have ended."""
        while await self._pause.ask(lambda: self._sweep(keys=_ROUTE, args=[tenant_id])):
            pass

    async def key_of(self, tenant_id: str, entry_id: str) -> str | None:
        """Return the exact key that an answer is stored under."""
        return await self._pointed_to(_name(tenant_id, "entry", entry_id))

    async def tenants(self) -> list[str]:
        """Return every tenant that has stored an answer."""
        found = await self._pause.ask(lambda: self._redis.smembers(scripts.TENANTS))
        return sorted(tenant.decode() for tenant in found)

    async def keys(self, tenant_id: str) -> list[str]:
        """Return the exact keys of all answers of a tenant."""
        name = f"{scripts.ROOT}{tenant_id}:keys"
        found = await self._pause.ask(lambda: self._redis.zrange(name, 0, -1))
        return [key.decode() for key in found]

    async def pages(self, tenant_id: str, keys: Sequence[str]) -> AsyncIterator[list[Entry]]:
        """Yield the readable ones of the answers under these keys, some at a time."""
        for start in range(0, len(keys), _PAGE_COUNT):
            found = await self.many(tenant_id, keys[start : start + _PAGE_COUNT])
            yield [entry for entry in found if isinstance(entry, Entry)]

    async def _pointed_to(self, name: str) -> str | None:
        key = await self._pause.ask(lambda: self._redis.get(name))
        return None if key is None else str(key, "ascii")

    async def _tried(
        self, tenant_id: str, key: str, record: bytes | None
    ) -> Entry | DamagedRecordError | None:
        try:
            return await self._read(tenant_id, key, record)
        except DamagedRecordError as error:
            return error

    async def _read(self, tenant_id: str, key: str, record: bytes | None) -> Entry | None:
        if record is None:
            return None
        try:
            return _belonging(tenant_id, key, record)
        except DamagedRecordError as error:
            _LOG.warning("set aside the answer under %s: %s", key, error)
            count_damaged()
            await self._put_aside(tenant_id, key, record)
            raise

    async def _put_aside(self, tenant_id: str, key: str, record: bytes) -> None:
        digest = hashlib.sha1(record, usedforsecurity=False).hexdigest()
        args = [tenant_id, key, digest]
        await self._pause.ask(lambda: self._set_aside(keys=_ROUTE, args=args))


def _belonging(tenant_id: str, key: str, record: bytes) -> Entry:
    """Return the entry of a record, if it belongs where it was found."""
    entry = decode(record)
    if (entry.tenant_id, entry.key) != (tenant_id, key):
        raise DamagedRecordError(f"the record of {entry.key} of tenant {entry.tenant_id} is here")
    return entry


def _name(tenant_id: str, kind: str, name: str) -> str:
    return f"{scripts.ROOT}{tenant_id}:{kind}:{name}"
