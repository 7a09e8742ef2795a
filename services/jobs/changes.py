"""Tells those who wait for a job that it has changed, wherever that happened."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError

from services.jobs.records import CHANNEL

_LOG = logging.getLogger(__name__)
_POLL_S = 0.5
_RETRY_S = 0.25


class Changes:
    """Who waits for which job; one connection to Redis serves all of them.

    A message that is lost, as while Redis is away, is not sent again: who waits looks for
    themselves now and then.
    """

    def __init__(self, redis: Redis) -> None:
        """Hear of changes over `redis`, once `listen` runs."""
        self._redis: Any = redis
        self._waiting: defaultdict[str, set[asyncio.Event]] = defaultdict(set)
        self.is_closing = False

    @contextmanager
    def of(self, name: str) -> Iterator[asyncio.Event]:
        """Yield an event that is set when the job `name` changes, until the block is left."""
        event = asyncio.Event()
        self._waiting[name].add(event)
        try:
            yield event
        finally:
            self._waiting[name].discard(event)
            if not self._waiting[name]:
                del self._waiting[name]

    def close(self) -> None:
        """Let everybody go on, and wait no more: this process is about to end."""
        self.is_closing = True
        self._wake_all()

    async def listen(self) -> None:
        """Pass changes on until cancelled."""
        await listen(self._redis, CHANNEL, self._wake, self._wake_all)

    def _wake(self, change: str) -> None:
        name, _, _ = change.partition(" ")
        for event in self._waiting.get(name, ()):
            event.set()

    def _wake_all(self) -> None:
        for events in self._waiting.values():
            for event in events:
                event.set()


async def listen(
    redis: Any, channel: str, heard: Callable[[str], object], begun: Callable[[], object]
) -> None:
    """Call `heard` with each message of a Redis channel, until cancelled.

    Args:
        redis: where the channel is.
        channel: its name.
        heard: told each message.
        begun: told whenever listening begins (anew): what was said before is lost.
    """
    while True:
        try:
            async with redis.pubsub(ignore_subscribe_messages=True) as pubsub:
                await pubsub.subscribe(channel)
                begun()
                while True:
                    message = await pubsub.get_message(timeout=_POLL_S)
                    if message is not None:
                        heard(bytes(message["data"]).decode())
        except RedisError as error:
            _LOG.debug("%s is not heard: %s", channel, type(error).__name__)
            await asyncio.sleep(_RETRY_S)


async def changed_within(event: asyncio.Event, seconds: float) -> None:
    """Wait until the event is set, but no longer than `seconds`; clear it."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        pass
    event.clear()
