"""What replicas share about trust, in Redis: hits that may be judged yet, and looks."""

from __future__ import annotations

import functools
import json
import logging
from collections.abc import AsyncIterator, Sequence
from dataclasses import astuple, dataclass
from typing import Any

from services.cache.connection import Link
from services.cache.scripts import ROOT
from services.cache.trust.looks import Hit, Look, Source

# How long after a hit a verdict on it still counts.
_NOTE_TTL_S = 86_400
# Looks of a tenant that a replica reads when it starts; each takes about 100 bytes.
_LOOKS_KEPT_COUNT = 10_000
# A tenant without hits by meaning for so long begins anew; looks have faded by then.
_LOOKS_TTL_S = 30 * 86_400
_PAGE_COUNT = 500
_LOOKED_AT = f"{ROOT}looked-at"
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Note:
    """A hit, as long as somebody may still say whether it was right.

    Attributes:
        hit: what it was.
        asked_key: the exact key of the question that was asked; empty if what is written
            for it later is of no interest.
        key: the exact key of the answer that served, or could have.
        entry_id: its name.
    """

    hit: Hit
    asked_key: str
    key: str
    entry_id: str


class Book:
    """Notes under the answer's name and under the question's key; a stream of looks a tenant.

    Every method raises `DependencyUnavailableError` while Redis does not answer.
    """

    def __init__(self, link: Link) -> None:
        """Keep them behind this link."""
        self._redis: Any = link.redis
        self._pause = link.pause
        self._last_ids: dict[str, str] = {}

    async def note(self, notes: Sequence[Note]) -> None:
        """Keep notes, each instead of the last one of its answer and of its question."""
        pipe = self._redis.pipeline(transaction=False)
        for note in notes:
            record, tenant_id = _note_to(note), note.hit.tenant_id
            if note.hit.served:
                pipe.set(_by_entry(tenant_id, note.entry_id), record, ex=_NOTE_TTL_S)
            if note.asked_key:
                pipe.set(_by_question(tenant_id, note.asked_key), record, ex=_NOTE_TTL_S)
        await self._pause.ask(pipe.execute)

    async def take_served(self, tenant_id: str, entry_id: str) -> Note | None:
        """Return the last hit that an answer served, and forget it: it is judged once."""
        return await self._take(_by_entry(tenant_id, entry_id))

    async def take_asked(self, tenant_id: str, asked_key: str) -> Note | None:
        """Return the last hit of a question, and forget it."""
        return await self._take(_by_question(tenant_id, asked_key))

    async def write(self, looks: Sequence[Look]) -> None:
        """Append looks, for every replica."""
        pipe = self._redis.pipeline(transaction=False)
        for look in looks:
            name = looks_of(look.hit.tenant_id)
            pipe.xadd(name, {"look": _look_to(look)}, maxlen=_LOOKS_KEPT_COUNT)
        for tenant_id in {look.hit.tenant_id for look in looks}:
            pipe.expire(looks_of(tenant_id), _LOOKS_TTL_S)
            pipe.sadd(_LOOKED_AT, tenant_id)
        await self._pause.ask(pipe.execute)

    async def read(self) -> AsyncIterator[list[Look]]:
        """Yield the looks that were appended since the last time, some at a time.

        Those at the hits of one tenant come in the order in which they were appended.
        """
        tenants = await self._pause.ask(lambda: self._redis.smembers(_LOOKED_AT))
        for tenant_id in tenants:
            self._last_ids.setdefault(looks_of(tenant_id.decode()), "0")
        while self._last_ids:
            read = functools.partial(self._redis.xread, self._last_ids, count=_PAGE_COUNT)
            streams = _streams(await self._pause.ask(read))
            if not streams:
                return
            for name, entries in streams:
                self._last_ids[name] = entries[-1][0].decode()
                yield [look for _, fields in entries if (look := _look_from(fields)) is not None]

    async def _take(self, name: str) -> Note | None:
        record = await self._pause.ask(lambda: self._redis.getdel(name))
        return None if record is None else _note_from(record)


def looks_of(tenant_id: str) -> str:
    """Return the name of a tenant's stream of looks."""
    return f"{ROOT}{tenant_id}:looks"


def _by_entry(tenant_id: str, entry_id: str) -> str:
    return f"{ROOT}{tenant_id}:hit-of:{entry_id}"


def _by_question(tenant_id: str, key: str) -> str:
    return f"{ROOT}{tenant_id}:hit-by:{key}"


def _streams(found: Any) -> list[tuple[str, list[Any]]]:
    """Return names and entries from what `XREAD` answers, by RESP3 in a list of one page."""
    pages = found.items() if isinstance(found, dict) else found or ()
    streams = []
    for name, page in pages:
        entries = page[0] if page and isinstance(page[0], list) else page
        if entries:
            streams.append((name.decode(), list(entries)))
    return streams


def _note_to(note: Note) -> str:
    return json.dumps([astuple(note.hit), note.asked_key, note.key, note.entry_id])


def _note_from(record: bytes) -> Note | None:
    try:
        hit, asked_key, key, entry_id = json.loads(record)
        return Note(_hit_from(hit), asked_key, key, entry_id)
    except (ValueError, TypeError):
        _LOG.warning("a note of a hit cannot be read: %r", record[:80])
        return None


def _look_to(look: Look) -> str:
    return json.dumps([astuple(look.hit), look.wrong, look.source, round(look.at_s, 3)])


def _look_from(fields: dict[bytes, bytes]) -> Look | None:
    try:
        hit, wrong, source, at_s = json.loads(fields[b"look"])
        return Look(_hit_from(hit), bool(wrong), Source(source), float(at_s))
    except (KeyError, ValueError, TypeError):
        _LOG.warning("a look cannot be read: %r", fields)
        return None


def _hit_from(parts: Sequence[Any]) -> Hit:
    tenant_id, policy, allowance, region, probability, share, base_share, served = parts
    return Hit(
        str(tenant_id),
        str(policy),
        float(allowance),
        int(region),
        float(probability),
        float(share),
        float(base_share),
        served=bool(served),
    )
