"""Waits for what only shows when one looks."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable


async def until(
    holds: Callable[[], Awaitable[bool]], *, within_s: float = 10.0, every_s: float = 0.02
) -> float:
    """Look again and again until it holds; return the seconds that took.

    Raises:
        TimeoutError: it did not within `within_s`.
    """
    began_s = time.monotonic()
    async with asyncio.timeout(within_s):
        while not await holds():  # noqa: ASYNC110 - nothing tells when it does
            await asyncio.sleep(every_s)
    return time.monotonic() - began_s
