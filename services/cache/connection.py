"""How Redis is reached."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from redis.asyncio import Redis

from libs.redislink import keep_to_master, open_redis
from services.cache.pause import Pause

# When a command is broken off; who asked may have given up long before.
_GIVE_UP_S = 2.0


@dataclass(frozen=True, slots=True)
class Link:
    """A client of Redis, and what keeps it from asking a Redis that is not there."""

    redis: Redis
    pause: Pause


@asynccontextmanager
async def linked(url: str, *, timeout_s: float, pause_s: float) -> AsyncIterator[Link]:
    """Yield a link that waits `timeout_s` for an answer, and `pause_s` after a failure."""
    redis = open_redis(url, timeout_s=_GIVE_UP_S)
    pause = Pause(timeout_s=timeout_s, pause_s=pause_s)
    keeping = asyncio.create_task(keep_to_master(redis))
    try:
        yield Link(redis, pause)
    finally:
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)
        await pause.close()
        await redis.aclose()
