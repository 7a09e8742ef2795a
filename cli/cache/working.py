"""Many calls, a few at a time, and patient with a mesh that has much to do."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

from libs.errors import OverloadedError

Item = TypeVar("Item")
Result = TypeVar("Result")

_TRIES = 6
_PAUSE_S = 0.5


async def at_once(
    count: int, items: Iterable[Item], work: Callable[[Item], Awaitable[None]]
) -> None:
    """Do work on each item, beginning in their order, on at most `count` at a time.

    What one of them raises ends all of it.
    """
    left = iter(items)

    async def go_on() -> None:
        for item in left:
            await work(item)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(count):
                group.create_task(go_on())
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None


async def patiently(call: Callable[[], Awaitable[Result]], *, pause_s: float = _PAUSE_S) -> Result:
    """Make a call, and make it again while the server says that it has too much to do.

    Args:
        call: makes it.
        pause_s: least wait before the next try.

    Raises:
        OverloadedError: it still says so after six tries.
    """
    for _ in range(_TRIES - 1):
        try:
            return await call()
        except OverloadedError as error:
            await asyncio.sleep(max(pause_s, error.retry_after_s or 0.0))
    return await call()
