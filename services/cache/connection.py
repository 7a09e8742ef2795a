"""How Redis is reached."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.maint_notifications import MaintNotificationsConfig

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
    """Yield a link that waits `timeout_s` for an answer, and `pause_s` after a failure.

    A broken connection is tried once more: after a restart of Redis every pooled one is.
    """
    redis = Redis.from_url(
        url,
        protocol=3,
        socket_timeout=_GIVE_UP_S,
        socket_connect_timeout=_GIVE_UP_S,
        retry=Retry(NoBackoff(), 1, supported_errors=(RedisConnectionError,)),
        # Two round trips less for each new connection.
        driver_info=None,
        maint_notifications_config=MaintNotificationsConfig(enabled=False),
    )
    pause = Pause(timeout_s=timeout_s, pause_s=pause_s)
    try:
        yield Link(redis, pause)
    finally:
        await pause.close()
        await redis.aclose()
