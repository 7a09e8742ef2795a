"""An event log on Redis Streams: one stream a run, numbered from 1, with a fencing token.

The entry id `N-0` is the event's number, so Redis itself refuses a gap backwards, and a
reader asks for what comes after the last number it has. The fencing token makes a writer
that was replaced harmless (Kleppmann, "How to do distributed locking", 2016): each writer
takes the next token, and only the newest may append.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.cluster import RedisCluster
from redis.exceptions import RedisError, ResponseError

from libs.errors import EventLogUnavailableError, FencedError, RunNotFoundError

# KEYS: stream, fence. ARGV: token, TTL in ms, number of the first event, events.
_APPEND = """
if redis.call('GET', KEYS[2]) ~= ARGV[1] then return 0 end
local number = tonumber(ARGV[3])
for i = 4, #ARGV do
  redis.call('XADD', KEYS[1], string.format('%.0f-0', number), 'e', ARGV[i])
  number = number + 1
end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
redis.call('PEXPIRE', KEYS[2], ARGV[2])
return 1
"""
# KEYS: stream, fence. ARGV: TTL in ms, events.
_OPEN = """
local token = redis.call('INCR', KEYS[2])
for i = 2, #ARGV do
  redis.call('XADD', KEYS[1], string.format('%.0f-0', i - 1), 'e', ARGV[i])
end
redis.call('PEXPIRE', KEYS[1], ARGV[1])
redis.call('PEXPIRE', KEYS[2], ARGV[1])
return token
"""
_BLOCK_MS = 500
_PAGE = 512


@dataclass(frozen=True, slots=True)
class Writer:
    """The right to append to one log, until another writer opens it.

    Attributes:
        tenant_id: whose log it is.
        name: the log's name.
        token: the fencing token, larger than that of every writer before.
    """

    tenant_id: str
    name: str
    token: int


@dataclass(frozen=True, slots=True)
class Whole:
    """A log that is complete before any of it is written.

    Attributes:
        tenant_id: whose log it is.
        name: the log's name.
        events: all of them, numbered from 1.
    """

    tenant_id: str
    name: str
    events: Sequence[bytes]


class EventLog:
    """Logs of one kind, each named by a tenant and a name."""

    def __init__(
        self, redis: Redis, *, kind: str, ttl_s: float, followers: Redis | None = None
    ) -> None:
        """Keep logs in `redis`.

        Args:
            redis: a client whose `socket_timeout` is longer than the blocking reads
                (0.5 s) made here.
            followers: a client of the same Redis for those reads alone, which take a
                connection each: however many follow, there is one left to write by. None
                makes them by `redis`.
            kind: part of every key, such as `run`.
            ttl_s: seconds that a log lives after its last event.
        """
        self._redis: Any = redis
        self._followers: Any = redis if followers is None else followers
        self._kind = kind
        self._ttl_ms = int(ttl_s * 1000)
        self._append_script = redis.register_script(_APPEND)
        self._open_script = redis.register_script(_OPEN)

    async def open(self, tenant_id: str, name: str, events: Sequence[bytes] = ()) -> Writer:
        """Take over the log; whoever wrote before can no longer append.

        Args:
            tenant_id: whose log it is.
            name: the log's name.
            events: the first events of a log that is new, numbered from 1.

        Raises:
            FencedError: `events` were given and the log is not new.
            EventLogUnavailableError: Redis does not answer.
        """
        args: list[int | bytes] = [self._ttl_ms, *events]
        try:
            token = await self._open_script(keys=self._keys(tenant_id, name), args=args)
        except ResponseError as error:
            raise FencedError(f"{name}: the log is not new") from error
        except RedisError as error:
            raise _unavailable(error) from error
        return Writer(tenant_id, name, int(token))

    async def write(self, logs: Sequence[Whole]) -> list[FencedError | None]:
        """Write new logs, each all or none, together: in one round trip but on a cluster.

        Returns:
            For each log why it was refused, or None: it is written.

        Raises:
            EventLogUnavailableError: Redis does not answer; some may be written.
        """
        # The pipeline of a cluster takes no scripts: there each log has a round trip of its own,
        # all at a time.
        together = self._one_by_one if isinstance(self._redis, RedisCluster) else self._at_once
        try:
            outcomes = await together(logs)
        except RedisError as error:
            raise _unavailable(error) from error
        return [
            FencedError(f"{log.name}: the log is not new") if isinstance(each, Exception) else None
            for log, each in zip(logs, outcomes, strict=True)
        ]

    async def _at_once(self, logs: Sequence[Whole]) -> list[Any]:
        # Left as a block, or a connection that failed within is never given back.
        async with self._redis.pipeline(transaction=False) as pipeline:
            for log in logs:
                await self._open_script(**self._opening(log), client=pipeline)
            found: list[Any] = await pipeline.execute(raise_on_error=False)
            return found

    async def _one_by_one(self, logs: Sequence[Whole]) -> list[Any]:
        # Before several ask at a time: redis-py closes connections while it finds the nodes.
        await self._redis.initialize()
        calls = (self._open_script(**self._opening(log)) for log in logs)
        found = await asyncio.gather(*calls, return_exceptions=True)
        for each in found:
            if isinstance(each, BaseException) and not isinstance(each, ResponseError):
                raise each
        return found

    def _opening(self, log: Whole) -> dict[str, Any]:
        keys = self._keys(log.tenant_id, log.name)
        return {"keys": keys, "args": [self._ttl_ms, *log.events]}

    async def append(self, writer: Writer, first_number: int, events: Sequence[bytes]) -> None:
        """Append events numbered from `first_number`, all or none.

        Raises:
            FencedError: another writer has taken over, or the log has expired.
            EventLogUnavailableError: Redis does not answer.
        """
        keys = self._keys(writer.tenant_id, writer.name)
        args: list[int | bytes] = [writer.token, self._ttl_ms, first_number, *events]
        try:
            done = await self._append_script(keys=keys, args=args)
        except ResponseError as error:
            raise FencedError(f"{writer.name}: number {first_number} is taken") from error
        except RedisError as error:
            raise _unavailable(error) from error
        if not done:
            raise FencedError(f"{writer.name}: a newer writer has taken over", token=writer.token)

    async def exists(self, tenant_id: str, name: str) -> bool:
        """Return whether the log holds at least one event.

        Raises:
            EventLogUnavailableError: Redis does not answer.
        """
        try:
            return bool(await self._redis.exists(self._key(tenant_id, name, "events")))
        except RedisError as error:
            raise _unavailable(error) from error

    async def read(
        self, tenant_id: str, name: str, after: int = 0, most: int | None = None
    ) -> list[tuple[int, bytes]]:
        """Return the events numbered above `after` that are there now, the first `most` of them.

        Raises:
            EventLogUnavailableError: Redis does not answer.
        """
        key = self._key(tenant_id, name, "events")
        try:
            rows = await self._redis.xrange(key, min=f"{after + 1}-0", count=most)
        except RedisError as error:
            raise _unavailable(error) from error
        return [_event(row) for row in rows]

    async def follow(
        self, tenant_id: str, name: str, after: int = 0
    ) -> AsyncIterator[list[tuple[int, bytes]]]:
        """Yield lists of (number, event) above `after`, as they are appended.

        Does not end by itself: the reader knows the last event when it sees it.

        Raises:
            RunNotFoundError: there is no such log, or it has expired meanwhile.
            EventLogUnavailableError: Redis does not answer.
        """
        key = self._key(tenant_id, name, "events")
        while True:
            try:
                found = await self._followers.xread(
                    {key: f"{after}-0"}, count=_PAGE, block=_BLOCK_MS
                )
            except RedisError as error:
                raise _unavailable(error) from error
            rows = _rows(found)
            if rows:
                after = rows[-1][0]
                yield rows
            elif not await self.exists(tenant_id, name):
                raise RunNotFoundError(f"{self._kind} {name} is not known, or has expired")

    def _keys(self, tenant_id: str, name: str) -> list[str]:
        return [self._key(tenant_id, name, part) for part in ("events", "fence")]

    def key(self, tenant_id: str, name: str) -> str:
        """Return where the events are, for a script that appends while it does other things."""
        return self._key(tenant_id, name, "events")

    def _key(self, tenant_id: str, name: str, part: str) -> str:
        # The braces put both keys of a log into one slot of a Redis Cluster.
        return f"hasten:{self._kind}:{{{tenant_id}/{name}}}:{part}"


def _rows(found: Any) -> list[tuple[int, bytes]]:
    """Return the events of an XREAD answer, whichever of its two shapes the protocol gives."""
    if not found:
        return []
    if isinstance(found, dict):
        (pages,) = found.values()
        rows = [row for page in pages for row in page]
    else:
        rows = found[0][1]
    return [_event(row) for row in rows]


def _event(row: Any) -> tuple[int, bytes]:
    entry_id, fields = row
    return int(bytes(entry_id).split(b"-")[0]), bytes(fields[b"e"])


def _unavailable(error: Exception) -> EventLogUnavailableError:
    kind = type(error).__name__
    return EventLogUnavailableError(f"the event log does not answer ({kind})", retry_after_s=1.0)
