"""What the tests of the cache's contract share."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from libs.clients.cache import CacheClient
from libs.values.cache import Lookup
from tests.unit.cache.parts import decided

PROMPT = b"p" * 32


async def until(
    fact: Callable[[], Awaitable[bool]], *, within_s: float = 20.0, every_s: float = 0.01
) -> float:
    """Ask again and again until `fact` holds; return the seconds it took."""
    loop = asyncio.get_running_loop()
    start_s = loop.time()
    while not await fact():
        assert loop.time() - start_s < within_s
        await asyncio.sleep(every_s)
    return loop.time() - start_s


async def until_decided(
    cache: CacheClient, lookup: Lookup, reason: str, *, within_s: float = 20.0
) -> float:
    async def fact() -> bool:
        return (await decided(cache, lookup)).reason == reason

    return await until(fact, within_s=within_s)
