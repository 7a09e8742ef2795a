"""The stored answers, in Redis: the truth that every replica reads."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any

from services.cache import scripts
from services.cache.connection import Link
from services.cache.entry import DamagedRecordError, Entry, decode, encode

# Redis keeps a record a little longer than it may be used, so that a lookup can tell what
# has expired from what never was.
KEPT_AFTER_EXPIRY_S = 60.0
_PAGE_COUNT = 64
_LOG = logging.getLogger(__name__)


class EntryStore:
    """Answers under their exact keys; the names in Redis begin with the tenant.

    Every method raises `DependencyUnavailableError` while Redis does not answer.
    """

    def __init__(self, link: Link) -> None:
        self._redis: Any = link.redis
        self._pause = link.pause
        self._put = link.redis.register_script(scripts.PUT)
        self._remove = link.redis.register_script(scripts.REMOVE)

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
        args: list[str | int | bytes] = [entry.tenant_id, entry.key, entry.entry_id]
        args += [entry.rank, ttl_ms, entry.prompt, record]
        better = await self._pause.ask(lambda: self._put(args=args))
        return await self._read(entry.tenant_id, entry.key, better)

    async def remove(self, tenant_id: str, named: Iterable[tuple[str, str]]) -> int:
        """Remove answers by key and name where both still fit; return how many did.

        An empty name fits whichever answer is there.
        """
        args = [tenant_id, *(part for pair in named for part in pair)]
        return int(await self._pause.ask(lambda: self._remove(args=args)))

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
            await self.remove(tenant_id, [(key, "")])
            raise


def _belonging(tenant_id: str, key: str, record: bytes) -> Entry:
    """Return the entry of a record, if it belongs where it was found."""
    entry = decode(record)
    if (entry.tenant_id, entry.key) != (tenant_id, key):
        raise DamagedRecordError(f"the record of {entry.key} of tenant {entry.tenant_id} is here")
    return entry


def _name(tenant_id: str, kind: str, name: str) -> str:
    return f"{scripts.ROOT}{tenant_id}:{kind}:{name}"
