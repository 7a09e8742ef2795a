"""One factory for Redis clients."""

from __future__ import annotations

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.maint_notifications import MaintNotificationsConfig


def open_redis(url: str, *, timeout_s: float) -> Redis:
    """Return a client of the Redis or Valkey at `url`; close it with `aclose`.

    A broken connection is tried once more: after a restart of Redis every pooled one is.

    Args:
        url: `redis://host:port/database`.
        timeout_s: seconds to wait for a connection and for each answer; longer than
            any blocking read made over it.
    """
    return Redis.from_url(
        url,
        protocol=3,
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
        retry=Retry(NoBackoff(), 1, supported_errors=(RedisConnectionError,)),
        # Two round trips less for each new connection, and no look at the disk.
        driver_info=None,
        maint_notifications_config=MaintNotificationsConfig(enabled=False),
    )
