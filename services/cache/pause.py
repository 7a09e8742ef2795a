"""Asking Redis only while it answers, so that a frozen one costs its timeout once."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisClusterException, RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from libs.errors import DependencyUnavailableError

# Commands under way at once. More would only wait for each other in Redis, and a burst
# would open a connection for each of them.
_MOST_AT_ONCE = 16
# Of the event loop, from bytes in the socket to the end of a command.
_PASSES = 10
# A cluster that cannot be reached says so in a class of its own.
_AWAY = (RedisConnectionError, RedisTimeoutError, RedisClusterException, OSError)
Answer = TypeVar("Answer")
_LOG = logging.getLogger(__name__)


class Pause:
    """Keeps calls away from a Redis that has just failed to answer.

    After a failure nobody asks for `pause_s`; then one call tries, and the others go on
    waiting until it has had an answer.

    A command goes on when its caller leaves or gives up: an answer that nobody waits for
    is read and dropped, where breaking off would cost the connection, and a Redis that
    thaws is noticed by it.
    """

    def __init__(
        self, *, timeout_s: float, pause_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Start without a pause.

        Args:
            timeout_s: how long a call waits for an answer.
            pause_s: how long nobody asks after a failure.
            clock: seconds that only go forward.
        """
        self._timeout_s = timeout_s
        self._pause_s = pause_s
        self._clock = clock
        self._ends_at_s: float | None = None
        self._slots = asyncio.Semaphore(_MOST_AT_ONCE)
        self._under_way: set[asyncio.Task[Any]] = set()

    async def ask(self, command: Callable[[], Awaitable[Answer]]) -> Answer:
        """Return what Redis answers.

        Raises:
            DependencyUnavailableError: it does not answer, refuses, or is not asked.
        """
        self._check()
        async with self._slots:
            self._enter()
            asking = asyncio.create_task(self._asked(command))
            self._under_way.add(asking)
            asking.add_done_callback(self._over)
            await asyncio.wait({asking}, timeout=self._timeout_s)
            if not asking.done():
                await _take_in_what_has_arrived()
            if not asking.done():
                self._begin("no answer in time")
                raise self._unavailable("no answer in time")
            return asking.result()

    async def close(self) -> None:
        """End the commands that are still under way."""
        for asking in self._under_way:
            asking.cancel()
        await asyncio.gather(*self._under_way, return_exceptions=True)

    async def _asked(self, command: Callable[[], Awaitable[Answer]]) -> Answer:
        try:
            answer = await command()
        except _AWAY as error:
            self._begin(str(error))
            raise self._unavailable(type(error).__name__) from error
        except RedisError as error:
            # Redis is there but will not do this: full, read-only, of another version.
            _LOG.warning("Redis refuses: %s", error)
            raise self._unavailable(type(error).__name__) from error
        self._end()
        return answer

    def _enter(self) -> None:
        self._check()
        if self._ends_at_s is not None:
            # This call tries; the others wait for what comes of it.
            self._ends_at_s = self._clock() + self._pause_s

    def _check(self) -> None:
        if self._ends_at_s is not None and self._clock() < self._ends_at_s:
            raise self._unavailable("paused after a failure")

    def _begin(self, why: str) -> None:
        if self._ends_at_s is None:
            _LOG.warning("Redis does not answer: %s", why)
        self._ends_at_s = self._clock() + self._pause_s

    def _end(self) -> None:
        if self._ends_at_s is not None:
            _LOG.info("Redis answers again")
            self._ends_at_s = None

    def _over(self, asking: asyncio.Task[Any]) -> None:
        self._under_way.discard(asking)
        if not asking.cancelled():
            # Looked at, so that asyncio does not report what a caller that left has missed.
            asking.exception()

    def _unavailable(self, why: str) -> DependencyUnavailableError:
        message = f"the cache's store does not answer ({why})"
        return DependencyUnavailableError(message, retry_after_s=self._pause_s, store="redis")


async def _take_in_what_has_arrived() -> None:
    """Let the event loop read what is there.

    A timer that fires late, because this process was busy, says nothing of Redis.
    """
    for _ in range(_PASSES):
        await asyncio.sleep(0)
