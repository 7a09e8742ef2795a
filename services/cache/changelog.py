"""What changed in the store, in order: how a replica hears of the others' writes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from services.cache import scripts
from services.cache.connection import Link

# Redis is asked again this often, so that a log that was lost is noticed without a write.
BLOCK_S = 0.5
_PAGE_COUNT = 512


class LostPlaceError(Exception):
    """The log does not continue where this replica stopped: read everything anew."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a reader of the log stands.

    Attributes:
        number: of the last change it knows; the next one's is larger by 1.
        stream_id: the same, as Redis names it.
    """

    number: int
    stream_id: str


@dataclass(frozen=True, slots=True)
class StoreChange:
    """What happened to the answer under a key.

    Attributes:
        place: of this change.
        after: stream id of the change before.
        removed: True if it was removed, else it was put there.
        renewed: True if it is the one that was there, with another vector.
    """

    place: Place
    after: str
    removed: bool
    renewed: bool
    tenant_id: str
    key: str
    entry_id: str


class ChangeLog:
    """The store's change log.

    Every method raises `DependencyUnavailableError` while Redis does not answer. The
    link's timeout must be longer than `BLOCK_S`.
    """

    def __init__(self, link: Link) -> None:
        self._redis: Any = link.redis
        self._pause = link.pause
        self._end: Any = self._redis.register_script(scripts.END)

    async def end(self) -> Place:
        """Return the place after the last change."""
        number, last = await self._pause.ask(lambda: self._end(keys=[scripts.ROOT]))
        return Place(int(number), last.decode())

    async def after(self, place: Place) -> list[StoreChange]:
        """Return the changes after a place, once there are any; after `BLOCK_S` none.

        Raises:
            LostPlaceError: changes are missing in between; the log was cut, or Redis was
                emptied or replaced.
        """
        changes = await self._read(place, block_ms=int(BLOCK_S * 1e3))
        if not changes and await self.end() != place:
            # Either a change has come this moment, or the log has ended before `place`.
            changes = await self._read(place, block_ms=None)
            if not changes:
                raise LostPlaceError(f"the log ends before change {place.number}")
        for change in changes:
            if (change.place.number, change.after) != (place.number + 1, place.stream_id):
                raise LostPlaceError(
                    f"change {change.place.number} of the log does not follow {place.number}"
                )
            place = change.place
        return changes

    async def _read(self, place: Place, block_ms: int | None) -> list[StoreChange]:
        streams = {scripts.CHANGES: place.stream_id}
        found = await self._pause.ask(
            lambda: self._redis.xread(streams, count=_PAGE_COUNT, block=block_ms)
        )
        return [_change(row) for row in _rows(found)]


def _rows(found: Any) -> list[Any]:
    """Return the rows of an XREAD answer, whichever of its two shapes the protocol gives."""
    if not found:
        return []
    if isinstance(found, Mapping):
        (pages,) = found.values()
        return [row for page in pages for row in page]
    return list(found[0][1])


def _change(row: Any) -> StoreChange:
    stream_id, fields = row
    return StoreChange(
        Place(int(fields[b"number"]), stream_id.decode()),
        after=fields[b"after"].decode(),
        removed=fields[b"change"] == b"removed",
        renewed=fields[b"change"] == b"renewed",
        tenant_id=fields[b"tenant"].decode(),
        key=fields[b"key"].decode(),
        entry_id=fields[b"name"].decode(),
    )
