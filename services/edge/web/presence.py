"""Work that is of use only while its caller is there."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from starlette.types import Receive

Result = TypeVar("Result")


class CallerLeftError(Exception):
    """The caller hung up before its answer was whole."""


async def while_present(receive: Receive, work: Coroutine[Any, Any, Result]) -> Result:
    """Do the work, and cancel it at once if the caller hangs up.

    Args:
        receive: the request's channel, its body read.
        work: what the caller waits for.

    Raises:
        CallerLeftError: nobody waits any more; the work has ended.
    """
    working = asyncio.create_task(work)
    leaving = asyncio.create_task(_disconnected(receive))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise CallerLeftError
    finally:
        working.cancel()
        leaving.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
