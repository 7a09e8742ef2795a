"""Who leads a flight, as Redis knows it: a lease that lives only while it is renewed.

It also ends with the connection on which its replica listens: a killed process is noticed
at once, a frozen one when the lease expires.

The name of the leading run is the fencing token: no two runs share it, and every script
changes a lease only for the run that holds it. Whoever was replaced can neither renew nor
end the lease of the next. Points in time are those of Redis, so no two clocks need to agree.
"""

from __future__ import annotations

import asyncio
import logging
import math
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError

from libs.errors import EventLogUnavailableError
from libs.values import Quality
from services.orchestrator.stops import listen

# Longer than any lease: nothing has landed so long ago.
_EVER_S = 86_400.0
# KEYS: lease, readers. Each script begins with the time of Redis in ms.
_NOW = """
local time = redis.call('TIME')
local now = time[1] * 1000 + time[2] / 1000
"""
# A replica listens on a channel of its own. When its process dies, Redis sees the connection
# end long before the lease does. What was not heard from here (another node of a cluster) is
# never taken for dead.
_LISTENERS = """
local function listeners(replica)
  return redis.call('PUBSUB', 'NUMSUB', 'hasten:flight:' .. replica)[2]
end
local function is_dead()
  local leader = redis.call('HMGET', KEYS[1], 'replica', 'heard')
  return tonumber(leader[2] or 0) > 0 and listeners(leader[1]) == 0
end
"""
_TAKE = """
redis.call('HSET', KEYS[1], 'run', ARGV[1], 'replica', ARGV[2], 'quality', ARGV[4],
  'text_at', now + ARGV[5], 'heard', listeners(ARGV[2]), 'landed', 0)
redis.call('PEXPIRE', KEYS[1], ARGV[3])
"""
_READ_ON = """
redis.call('ZADD', KEYS[2], now + ARGV[3], ARGV[2])
redis.call('PEXPIRE', KEYS[2], 2 * ARGV[3])
"""
_LEFT = """
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now)
local left = redis.call('ZCARD', KEYS[2])
"""
# ARGV of all: run, replica, ms that a lease and a reader live, and what follows here.
# ARGV: quality, ms to the first text, the flight's name, a run that is known to have ended,
# ms ago by which an answer must have landed to be of no use.
_CLAIM = f"""{_NOW}{_LISTENERS}
local held = redis.call('HMGET', KEYS[1], 'run', 'replica', 'quality', 'text_at', 'landed')
local landed = tonumber(held[5] or 0)
local is_past = landed > 0 and now - landed >= tonumber(ARGV[8])
if held[1] and held[1] ~= ARGV[7] and not is_past and not is_dead() then
  {_READ_ON}
  redis.call('PUBLISH', 'hasten:flight:' .. held[2], ARGV[6])
  return {{held[1], held[3], string.format('%.0f', held[4] - now)}}
end
redis.call('DEL', KEYS[2])
{_TAKE}
return {{}}
"""
# ARGV: quality, ms to the first text. A lease that expired and nobody took is taken again.
_RENEW = f"""{_NOW}{_LISTENERS}
local run = redis.call('HGET', KEYS[1], 'run')
if run and run ~= ARGV[1] then return -1 end
{_TAKE}{_LEFT}
return left
"""
# ARGV: 1 to end it whoever reads.
_RELEASE = f"""{_NOW}
if redis.call('HGET', KEYS[1], 'run') ~= ARGV[1] then return 0 end
{_LEFT}
if left > 0 and ARGV[4] ~= '1' then return left end
redis.call('DEL', KEYS[1], KEYS[2])
return 0
"""
_FOLLOW = f"""{_NOW}{_LISTENERS}
if redis.call('HGET', KEYS[1], 'run') ~= ARGV[1] or is_dead() then return -1 end
{_READ_ON}
return redis.call('PTTL', KEYS[1])
"""
_LAND = f"""{_NOW}
if redis.call('HGET', KEYS[1], 'run') == ARGV[1] then
  redis.call('HSET', KEYS[1], 'landed', string.format('%.0f', now))
end
return 0
"""
# ARGV: the flight's name.
_LEAVE = """
local held = redis.call('HMGET', KEYS[1], 'run', 'replica')
if held[1] ~= ARGV[1] then return 0 end
redis.call('ZREM', KEYS[2], ARGV[2])
return redis.call('PUBLISH', 'hasten:flight:' .. held[2], ARGV[4])
"""


@dataclass(frozen=True, slots=True)
class Offer:
    """What a leader promises, or what a follower needs.

    Attributes:
        quality: of the answer, at least.
        first_text_in_s: seconds from now to the first text, at most.
    """

    quality: Quality
    first_text_in_s: float


@dataclass(frozen=True, slots=True)
class Held:
    """A lease that another run holds."""

    run_id: str
    offer: Offer


class Leases:
    """The leases of all flights; one replica's view of them."""

    def __init__(self, redis: Redis, *, lease_s: float) -> None:
        """Keep leases in `redis`.

        Args:
            redis: a client.
            lease_s: seconds that a lease lives without being renewed, and a reader without
                being heard of.
        """
        self._redis = redis
        self._replica = secrets.token_hex(8)
        self._ttl_ms = int(lease_s * 1e3)
        self._scripts: dict[str, Any] = {
            text: redis.register_script(text)
            for text in (_CLAIM, _RENEW, _RELEASE, _FOLLOW, _LAND, _LEAVE)
        }

    async def claim(
        self,
        name: str,
        run_id: str,
        offer: Offer,
        *,
        ended: str = "",
        missed_s: float = math.inf,
    ) -> Held | None:
        """Take the lease and return None; or return who holds it, and be a reader of theirs.

        Args:
            name: the flight.
            run_id: who would lead it.
            offer: what that run promises.
            ended: a run whose lease counts no more: its end was seen.
            missed_s: the lease of a run whose answer is there for so long counts no more.

        Raises:
            EventLogUnavailableError: Redis does not answer.
        """
        missed_ms = int(min(missed_s, _EVER_S) * 1e3)
        held = await self._call(_CLAIM, name, run_id, *_promise(offer), name, ended, missed_ms)
        if not held:
            return None
        holder, quality, in_ms = (bytes(each).decode() for each in held)
        return Held(holder, Offer(Quality(int(quality)), int(in_ms) / 1e3))

    async def renew(self, name: str, run_id: str, offer: Offer) -> int:
        """Keep the lease; return how many replicas read, or -1 if another run has it now.

        Raises:
            EventLogUnavailableError: Redis does not answer.
        """
        return int(await self._call(_RENEW, name, run_id, *_promise(offer)))

    async def release(self, name: str, run_id: str, *, always: bool = False) -> int:
        """End the lease if nobody reads, or `always`; return how many replicas still do.

        Raises:
            EventLogUnavailableError: Redis does not answer.
        """
        return int(await self._call(_RELEASE, name, run_id, int(always)))

    async def land(self, name: str, run_id: str) -> None:
        """Say that the answer is there; the lease lives on for those who just missed it.

        Raises:
            EventLogUnavailableError: Redis does not answer.
        """
        await self._call(_LAND, name, run_id)

    async def follow(self, name: str, run_id: str) -> float | None:
        """Stay a reader; return the seconds that the lease still has, None if it is gone.

        Raises:
            EventLogUnavailableError: Redis does not answer.
        """
        left_ms = int(await self._call(_FOLLOW, name, run_id))
        return None if left_ms < 0 else left_ms / 1e3

    async def leave(self, name: str, run_id: str) -> None:
        """Be a reader no more, and tell the leader.

        Raises:
            EventLogUnavailableError: Redis does not answer.
        """
        await self._call(_LEAVE, name, run_id, name)

    async def listen(self, heard: Callable[[str], object]) -> None:
        """Call `heard(name)` when readers of a flight led here come or go, until cancelled."""
        channel = f"hasten:flight:{self._replica}"
        await listen(self._redis, channel, lambda data: heard(data.decode()))

    async def _call(self, script: str, name: str, run_id: str, *rest: str | int) -> Any:
        # The braces put both keys of a flight into one slot of a Redis Cluster.
        keys = [f"hasten:flight:{{{name}}}:{part}" for part in ("lease", "readers")]
        args = [run_id, self._replica, self._ttl_ms, *rest]
        try:
            async with asyncio.timeout(self._ttl_ms / 1e3):
                return await self._scripts[script](keys=keys, args=args)
        except (RedisError, TimeoutError) as error:
            logging.getLogger(__name__).debug("leases: %s", type(error).__name__)
            raise EventLogUnavailableError("no leases: Redis does not answer") from error


def _promise(offer: Offer) -> tuple[int, int]:
    return int(offer.quality), round(offer.first_text_in_s * 1e3)
