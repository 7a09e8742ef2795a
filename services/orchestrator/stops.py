"""Tells every replica which runs are to end; the one that has it ends it."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.cluster import RedisCluster
from redis.exceptions import RedisError

from libs.errors import EventLogUnavailableError

_LOG = logging.getLogger(__name__)
_CHANNEL = "hasten:run:stops"
_POLL_S = 0.4
_RETRY_S = 0.25


class Stops:
    """A Redis channel that all orchestrators listen to."""

    def __init__(self, redis: Redis) -> None:
        self._redis: Any = redis

    async def publish(self, tenant_id: str, run_id: str) -> bool:
        """Ask for a run's end; return False if no replica listens.

        Raises:
            EventLogUnavailableError: Redis does not answer.
        """
        try:
            return bool(await self._redis.publish(_CHANNEL, json.dumps([tenant_id, run_id])))
        except RedisError as error:
            raise EventLogUnavailableError("the stop cannot be passed on now") from error

    async def listen(self, stop: Callable[[str, str], object]) -> None:
        """Call `stop(tenant_id, run_id)` for each run that is to end, until cancelled."""
        await listen(self._redis, _CHANNEL, lambda data: stop(*json.loads(data)))


async def listen(redis: Any, name: str, heard: Callable[[bytes], object]) -> None:
    """Call `heard(data)` for each message of a Redis channel, until cancelled."""
    while True:
        try:
            if isinstance(redis, RedisCluster):
                # It finds the channel's node only once it knows the nodes.
                await redis.initialize()
            async with redis.pubsub(ignore_subscribe_messages=True) as channel:
                await channel.subscribe(name)
                await _pass_on(channel, heard)
        except RedisError as error:
            _LOG.debug("%s is not heard: %s", name, type(error).__name__)
            await asyncio.sleep(_RETRY_S)


async def _pass_on(channel: Any, heard: Callable[[bytes], object]) -> None:
    while True:
        message = await channel.get_message(timeout=_POLL_S)
        if message is not None:
            heard(message["data"])
