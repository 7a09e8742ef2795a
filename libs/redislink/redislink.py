"""One factory for Redis clients."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.cluster import ClusterNode, RedisCluster
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel, SentinelConnectionPool
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.maint_notifications import MaintNotificationsConfig

from libs.redislink.places import CLUSTER, SENTINEL, Place, place_of

# The next Sentinel is asked when one takes longer, within the time of the command.
_SENTINEL_LIMIT_S = 0.5
# How long a master that lost its place may still be read by who has heard nothing.
_LOOK_EVERY_S = 0.5


class _MastersPool(SentinelConnectionPool):
    """Connections to the master; none goes on with a server that is it no more.

    redis-py closes idle ones when it hears of another master, and forgets those in use: a
    frozen master that thaws would go on being written to, and lose what was written.
    """

    async def release(self, connection: Any) -> None:
        if (connection.host, connection.port) != self.master_address:
            await connection.disconnect()
        await super().release(connection)


class _BehindSentinels(Redis):
    """A client of the server that is the master; closes its Sentinels with itself."""

    async def aclose(self, close_connection_pool: bool | None = None) -> None:  # noqa: FBT001 - redis-py's
        await super().aclose(close_connection_pool)
        await self.masters.sentinel_manager.aclose()

    @property
    def masters(self) -> Any:
        """The connections; redis-py has no types for them."""
        return self.connection_pool


def open_redis(url: str, *, timeout_s: float, most_connections: int = 100) -> Redis:
    """Return a client of the Redis or Valkey at `url`; close it with `aclose`.

    A broken connection is tried once more: after a restart of Redis every pooled one is.
    Behind Sentinels each new connection is to the master as they name it then.

    Args:
        url: `redis://host:port/database`;
            `redis+sentinel://user:password@host:port,host:port/service/database`;
            `redis+cluster://user:password@host:port,host:port`, where names that are used
            together must share a hash tag. User and password are the server's.
        timeout_s: seconds to wait for a connection and for each answer; longer than
            any blocking read made over it.
        most_connections: connections that may be open at once, of a cluster to each node;
            each blocking read takes one for as long as it lasts.
    """
    place = place_of(url)
    if place.kind == CLUSTER:
        return _cluster(place, timeout_s, most_connections)
    if place.kind == SENTINEL:
        return _behind_sentinels(place, timeout_s, most_connections)
    options = _options(timeout_s) | {"max_connections": most_connections}
    return Redis.from_url(url, **options, **_QUIET)


async def keep_to_master(redis: Redis) -> None:
    """Ask the Sentinels for the master until cancelled, and leave one that is it no more.

    A connection that is never broken would not notice. Of no use for another Redis, where
    this returns at once.
    """
    while isinstance(redis, _BehindSentinels):
        await asyncio.sleep(_LOOK_EVERY_S)
        with suppress(RedisError, OSError):
            await redis.masters.get_master_address()


# Two round trips less for each new connection, and no look at the disk.
_QUIET: dict[str, Any] = {
    "driver_info": None,
    "maint_notifications_config": MaintNotificationsConfig(enabled=False),
}


def _options(timeout_s: float) -> dict[str, Any]:
    return {
        "protocol": 3,
        "socket_timeout": timeout_s,
        "socket_connect_timeout": timeout_s,
        "retry": Retry(NoBackoff(), 1, supported_errors=(RedisConnectionError,)),
    }


def _login(place: Place) -> dict[str, Any]:
    return {"username": place.username, "password": place.password}


def _behind_sentinels(place: Place, timeout_s: float, most_connections: int) -> Redis:
    asking = _options(min(timeout_s, _SENTINEL_LIMIT_S)) | _QUIET
    sentinel: Any = Sentinel(  # type: ignore[no-untyped-call]
        list(place.nodes), sentinel_kwargs=asking
    )
    options = _options(timeout_s) | _login(place) | {"db": place.database, "driver_info": None}
    options["max_connections"] = most_connections
    kinds = {"redis_class": _BehindSentinels, "connection_pool_class": _MastersPool}
    master: Redis = sentinel.master_for(place.service, **kinds, **options)
    return master


def _cluster(place: Place, timeout_s: float, most_connections: int) -> Redis:
    nodes = [ClusterNode(host, port) for host, port in place.nodes]
    options = _options(timeout_s) | _login(place) | _QUIET
    options["max_connections"] = most_connections
    # Not a `Redis`, but it has the commands that are used.
    cluster: Any = RedisCluster(startup_nodes=nodes, **options)
    return cluster  # type: ignore[no-any-return]
