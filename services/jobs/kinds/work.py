"""Work done side by side, a few at a time, and calls made again that failed for a moment."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

import grpc

from libs.errors import MeshError
from services.jobs.kinds.kind import Teller

AT_ONCE = 4
"""Calls of a model that one job has under way."""

_Thing = TypeVar("_Thing")
_Result = TypeVar("_Result")
# What may be otherwise in a moment. A model that fell silent is worth another try as well.
_PASSING = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.ABORTED,
        grpc.StatusCode.DEADLINE_EXCEEDED,
    }
)
_MOST_ATTEMPTS = 4
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.5, 30.0


async def side_by_side(
    things: Iterable[_Thing], work: Callable[[_Thing], Awaitable[None]], at_once: int = AT_ONCE
) -> None:
    """Do the work for each thing, at most `at_once` at a time, begun in their order.

    The first failure cancels the others and is raised as it is; leaving cancels all.
    """
    waiting = iter(things)

    async def worker() -> None:
        for thing in waiting:
            await work(thing)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(at_once):
                group.create_task(worker())
    except ExceptionGroup as failed:
        raise failed.exceptions[0] from failed


async def patiently(
    call: Callable[[], Awaitable[_Result]],
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> _Result:
    """Make a call, and make it again if it fails by what passes: nobody waits at a screen.

    Waits as long as the failure says, or else 0.5 s and twice as long each time.

    Args:
        call: makes it.
        sleep: waits so many seconds.

    Raises:
        MeshError: it failed for good, or four times.
    """
    wait_s = _FIRST_WAIT_S
    for _ in range(_MOST_ATTEMPTS - 1):
        try:
            return await call()
        except MeshError as error:
            if error.code not in _PASSING:
                raise
            said_s = error.retry_after_s
            await sleep(min(_LONGEST_WAIT_S, wait_s if said_s is None else said_s))
            wait_s *= 2
    return await call()


class Steps:
    """How far a job is, on one scale from its start to its end."""

    def __init__(self, teller: Teller, total: int, done: int = 0) -> None:
        """Count `done` of `total` steps as done by earlier attempts."""
        self._teller = teller
        self._total = max(1, total)
        self._done = done

    async def at(self, stage: str, message: str = "") -> None:
        """Tell what is being done."""
        await self._teller.progress(self._done, self._total, stage, message)

    async def done(self, stage: str, message: str = "") -> None:
        """Tell that one more step is done."""
        self._done = min(self._total, self._done + 1)
        await self.at(stage, message)
