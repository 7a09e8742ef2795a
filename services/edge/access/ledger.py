"""What tenants and keys have used: in Redis for all replicas, or here for this one alone.

Requests are counted by GCRA (the generic cell rate algorithm of ATM, ITU-T I.371), which needs one
number a tenant: the time at which all that was taken will have been earned. Streams are leases
that end by themselves, so that what a killed replica held is free soon. Tokens are counted by the
minute and the day of the clock, after the answer: who is over waits for the next.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from redis.asyncio import Redis

from services.edge.access.quota import Quota
from services.edge.access.tab import Tab

LEASE_S = 30.0
"""Seconds that a stream counts after its last sign of life."""
_MINUTE_S = 60
_DAY_S = 86_400
# KEYS: earned-at of requests, leases, tokens of the minute, of the day; all of one tenant.
# ARGV: requests a minute, streams, tokens a minute, tokens a day, name of the lease or empty,
# seconds of a lease. Returns what stands in the way (0 nothing) and the ms until it is over, and
# how many requests are left.
_TAKE = """
local now = redis.call('TIME')
local now_ms = now[1] * 1000 + math.floor(now[2] / 1000)
local per_minute, streams = tonumber(ARGV[1]), tonumber(ARGV[2])
local minute, day = tonumber(ARGV[3]), tonumber(ARGV[4])
local minute_key = KEYS[3] .. ':' .. math.floor(now[1] / 60)
local day_key = KEYS[4] .. ':' .. math.floor(now[1] / 86400)
if minute > 0 and tonumber(redis.call('GET', minute_key) or 0) >= minute then
  return {3, 60000 - now_ms % 60000, 0}
end
if day > 0 and tonumber(redis.call('GET', day_key) or 0) >= day then
  return {4, 86400000 - now_ms % 86400000, 0}
end
if ARGV[5] ~= '' and streams > 0 then
  redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now_ms)
  if redis.call('ZCARD', KEYS[2]) >= streams then return {2, 1000, 0} end
end
local left = 0
if per_minute > 0 then
  local step = 60000 / per_minute
  local earned = math.max(now_ms, tonumber(redis.call('GET', KEYS[1]) or 0)) + step
  local over = earned - now_ms - 60000
  if over > 0.001 then return {1, math.ceil(over), 0} end
  redis.call('SET', KEYS[1], string.format('%.3f', earned), 'PX', 120000)
  left = math.floor((now_ms + 60000 - earned) / step)
end
if ARGV[5] ~= '' and streams > 0 then
  redis.call('ZADD', KEYS[2], now_ms + tonumber(ARGV[6]), ARGV[5])
  redis.call('PEXPIRE', KEYS[2], 2 * tonumber(ARGV[6]))
end
return {0, 0, left}
"""
# KEYS: tokens of the minute, of the day. ARGV: tokens.
_CHARGE = """
local now = redis.call('TIME')
for index, span in ipairs({60, 86400}) do
  local key = KEYS[index] .. ':' .. math.floor(now[1] / span)
  redis.call('INCRBY', key, ARGV[1])
  redis.call('EXPIRE', key, 2 * span)
end
"""
# KEYS: tabs by the ms from which on somebody may look, how often each was looked at. ARGV: how
# many at most, ms until the second look, ms between two at most. Returns the tabs.
_DUE = """
local now = redis.call('TIME')
local now_ms = now[1] * 1000 + math.floor(now[2] / 1000)
local found = redis.call('ZRANGE', KEYS[1], '-inf', now_ms, 'BYSCORE', 'LIMIT', 0, ARGV[1])
for _, tab in ipairs(found) do
  local looks = redis.call('HINCRBY', KEYS[2], tab, 1)
  local wait_ms = math.min(ARGV[3], ARGV[2] * 2 ^ (looks - 1))
  redis.call('ZADD', KEYS[1], now_ms + wait_ms, tab)
end
return found
"""
_TABS = ("hasten:quota:{tabs}:due", "hasten:quota:{tabs}:looks")
_MOST_DUE = 100
# A job is looked at after so long, and then after twice as long each time: seldom, if it takes
# long, and its end is seen at most half as late as it took.
_LOOK_AGAIN_S, _LOOK_AT_LAST_S = 0.5, 60.0
CAUSES = ("", "requests_per_minute", "streams", "tokens_per_minute", "tokens_per_day")
"""What may stand in the way, in the order of the script's numbers."""


@dataclass(frozen=True, slots=True)
class Taken:
    """What came of a try to take.

    Attributes:
        cause: the limit that stands in the way; empty if none does.
        wait_s: seconds until it does no more.
        left: requests that could still come at once.
    """

    cause: str
    wait_s: float
    left: int


class Ledger(Protocol):
    """Counts what an owner, a tenant or a key, has used."""

    async def take(self, owner: str, quota: Quota, lease: str) -> Taken:
        """Count a request, and a stream if it has a `lease`; if it may not be, count nothing."""

    async def charge(self, owner: str, tokens: int) -> None:
        """Count tokens."""

    async def renew(self, owner: str, lease: str) -> None:
        """Say that a stream is still open."""

    async def leave(self, owner: str, lease: str) -> None:
        """Say that a stream is closed."""

    async def owe(self, tab: Tab) -> bool:
        """Note a job that is to be paid for; returns True."""

    async def due(self) -> list[Tab]:
        """Return jobs that nobody looks at now; they are the caller's to look at for a while."""

    async def settle(self, tab: Tab) -> bool:
        """Strike a job off; False if somebody else has."""


class SharedLedger:
    """Counts in Redis; raises what its client raises."""

    def __init__(self, redis: Redis) -> None:
        self._redis: Any = redis
        self._take = redis.register_script(_TAKE)
        self._charge = redis.register_script(_CHARGE)
        self._due = redis.register_script(_DUE)

    async def take(self, owner: str, quota: Quota, lease: str) -> Taken:
        """Count a request, and a stream if it has a `lease`; if it may not be, count nothing."""
        limits = (quota.requests_per_minute, quota.streams)
        tokens = (quota.tokens_per_minute, quota.tokens_per_day)
        args: list[int | str] = [*limits, *tokens, lease, int(LEASE_S * 1000)]
        cause, wait_ms, left = await self._take(keys=_keys(owner), args=args)
        return Taken(CAUSES[cause], wait_ms / 1000, left)

    async def charge(self, owner: str, tokens: int) -> None:
        """Count tokens."""
        await self._charge(keys=_keys(owner)[2:], args=[tokens])

    async def renew(self, owner: str, lease: str) -> None:
        """Say that a stream is still open."""
        seconds, micros = await self._redis.time()
        ends_ms = int(seconds) * 1000 + int(micros) // 1000 + int(LEASE_S * 1000)
        async with self._redis.pipeline(transaction=False) as pipeline:
            pipeline.zadd(_keys(owner)[1], {lease: ends_ms})
            pipeline.pexpire(_keys(owner)[1], int(2 * LEASE_S * 1000))
            await pipeline.execute()

    async def leave(self, owner: str, lease: str) -> None:
        """Say that a stream is closed."""
        await self._redis.zrem(_keys(owner)[1], lease)

    async def owe(self, tab: Tab) -> bool:
        """Note a job that is to be paid for."""
        await self._redis.zadd(_TABS[0], {tab.to_json(): 0}, nx=True)
        return True

    async def due(self) -> list[Tab]:
        """Return jobs that nobody looks at now; they are the caller's to look at for a while."""
        args = [_MOST_DUE, int(_LOOK_AGAIN_S * 1000), int(_LOOK_AT_LAST_S * 1000)]
        return [Tab.from_json(each) for each in await self._due(keys=_TABS, args=args)]

    async def settle(self, tab: Tab) -> bool:
        """Strike a job off; False if somebody else has."""
        async with self._redis.pipeline(transaction=False) as pipeline:
            pipeline.zrem(_TABS[0], tab.to_json())
            pipeline.hdel(_TABS[1], tab.to_json())
            is_ours, _ = await pipeline.execute()
        return bool(is_ours)


@dataclass(slots=True)
class _Owner:
    earned_s: float = 0.0
    leases: set[str] = field(default_factory=set)
    tokens: dict[int, tuple[int, int]] = field(default_factory=dict)

    def used(self, span_s: int, now_s: float) -> int:
        window, tokens = self.tokens.get(span_s, (0, 0))
        return tokens if window == int(now_s // span_s) else 0

    def use(self, span_s: int, tokens: int, now_s: float) -> None:
        self.tokens[span_s] = (int(now_s // span_s), self.used(span_s, now_s) + tokens)


class LocalLedger:
    """Counts for this process alone, as `SharedLedger` does for all."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """Count by `clock`, seconds that only go forward."""
        self._clock = clock
        self._owners: dict[str, _Owner] = {}
        self._tabs: dict[Tab, tuple[float, float]] = {}

    async def take(self, owner: str, quota: Quota, lease: str) -> Taken:
        """Count a request, and a stream if it has a `lease`; if it may not be, count nothing."""
        now_s, used = self._clock(), self._owners.setdefault(owner, _Owner())
        for cause, limit, span_s in (
            ("tokens_per_minute", quota.tokens_per_minute, _MINUTE_S),
            ("tokens_per_day", quota.tokens_per_day, _DAY_S),
        ):
            if limit and used.used(span_s, now_s) >= limit:
                return Taken(cause, span_s - now_s % span_s, 0)
        if lease and quota.streams and len(used.leases) >= quota.streams:
            return Taken("streams", 1.0, 0)
        taken = self._request(used, quota.requests_per_minute, now_s)
        if lease and not taken.cause:
            used.leases.add(lease)
        return taken

    def _request(self, used: _Owner, per_minute: int, now_s: float) -> Taken:
        if not per_minute:
            return Taken("", 0.0, 0)
        step_s = _MINUTE_S / per_minute
        earned_s = max(now_s, used.earned_s) + step_s
        over_s = earned_s - now_s - _MINUTE_S
        if over_s > 1e-6:  # noqa: PLR2004 - less than a clock tells
            return Taken("requests_per_minute", over_s, 0)
        used.earned_s = earned_s
        return Taken("", 0.0, int((now_s + _MINUTE_S - earned_s) / step_s + 1e-6))

    async def charge(self, owner: str, tokens: int) -> None:
        """Count tokens."""
        used, now_s = self._owners.setdefault(owner, _Owner()), self._clock()
        for span_s in (_MINUTE_S, _DAY_S):
            used.use(span_s, tokens, now_s)

    async def renew(self, owner: str, lease: str) -> None:
        """Say that a stream is still open; here it is until it is closed."""

    async def leave(self, owner: str, lease: str) -> None:
        """Say that a stream is closed."""
        self._owners.setdefault(owner, _Owner()).leases.discard(lease)

    async def owe(self, tab: Tab) -> bool:
        """Note a job that is to be paid for."""
        self._tabs.setdefault(tab, (self._clock(), _LOOK_AGAIN_S))
        return True

    async def due(self) -> list[Tab]:
        """Return jobs that are to be looked at again."""
        now_s = self._clock()
        found = [tab for tab, (at_s, _) in self._tabs.items() if at_s <= now_s][:_MOST_DUE]
        for tab in found:
            wait_s = self._tabs[tab][1]
            self._tabs[tab] = now_s + wait_s, min(2 * wait_s, _LOOK_AT_LAST_S)
        return found

    async def settle(self, tab: Tab) -> bool:
        """Strike a job off; False if it is not there."""
        return self._tabs.pop(tab, None) is not None


def _keys(owner: str) -> list[str]:
    # The braces put all of an owner's into one slot of a Redis Cluster.
    return [f"hasten:quota:{{{owner}}}:{part}" for part in ("requests", "streams", "minute", "day")]
