"""Ends tasks that speak to Redis."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Any

_AGAIN_AFTER_S = 0.2
_MOST_TIMES = 10


async def end(tasks: Collection[asyncio.Task[Any]]) -> None:
    """Cancel tasks, again and again: a wait for Redis may swallow it (CPython bpo-42130)."""
    pending = set(tasks)
    for _ in range(_MOST_TIMES):
        for task in pending:
            task.cancel()
        if pending:
            _, pending = await asyncio.wait(pending, timeout=_AGAIN_AFTER_S)
