"""Asks a second backend when the first one is slow, and takes whichever answers first."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from services.orchestrator.ledger import HopRecord

Result = TypeVar("Result")
NEVER_S = math.inf


@dataclass(frozen=True, slots=True)
class Hedge:
    """When a call that only reads may be made a second time.

    Attributes:
        after_s: seconds from its start; `NEVER_S` is never.
        may: takes the second call out of the allowance, or says no.
    """

    after_s: float = NEVER_S
    may: Callable[[], bool] = lambda: False


NO_HEDGE = Hedge()


async def hedged(
    calls: Sequence[Callable[[], Awaitable[Result]]], hedge: Hedge, record: HopRecord
) -> Result:
    """Return the first result of two calls, the second made only if the first one is slow.

    A call that fails leaves the other one to answer; the loser is cancelled. What each of
    them took is learned, of the loser that it would have taken longer.

    Args:
        calls: the call, and the same to another backend.
        hedge: when the second one is made.
        record: of the hop; its own end is not learned from once there are two calls.

    Raises:
        Exception: what the last call to fail has raised.
    """
    if hedge.after_s >= record.granted_s:
        return await calls[0]()
    tasks: list[asyncio.Future[Result]] = [asyncio.ensure_future(calls[0]())]
    try:
        await asyncio.wait(tasks, timeout=hedge.after_s)
        if not tasks[0].done() and hedge.may():
            tasks.append(asyncio.ensure_future(calls[1]()))
        winner = await _first_result(tasks)
        if len(tasks) > 1:
            _learn(tasks, winner, hedge.after_s, record)
        return winner.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _first_result(tasks: Sequence[asyncio.Future[Result]]) -> asyncio.Future[Result]:
    """Return the first that has a result; if none will have, the last to fail."""
    pending = set(tasks)
    ended: set[asyncio.Future[Result]] = set()
    while pending:
        ended, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
        good = [task for task in ended if not task.cancelled() and task.exception() is None]
        if good:
            return good[0]
    return ended.pop()


def _learn(
    tasks: Sequence[asyncio.Future[Any]],
    winner: asyncio.Future[Any],
    after_s: float,
    record: HopRecord,
) -> None:
    rung, record.rung = record.rung, ""
    elapsed_s = record.elapsed_s()
    for task, took_s in zip(tasks, (elapsed_s, elapsed_s - after_s), strict=True):
        record.learn(rung, took_s, is_cut=task is not winner)
