"""A call that is made twice has one winner, and leaves nobody behind."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import pytest

from libs.errors import UnreachableError
from services.orchestrator.hedging import Hedge, hedged
from services.orchestrator.ledger import HopRecord

Learned = list[tuple[str, float, bool]]


class Backend:
    """Answers with its name after a while, or fails; counts what was asked and given up."""

    def __init__(self, name: str, takes_s: float, *, fails: bool = False) -> None:
        self.name = name
        self.takes_s = takes_s
        self.fails = fails
        self.asked = self.cancelled = 0

    async def __call__(self) -> str:
        self.asked += 1
        try:
            await asyncio.sleep(self.takes_s)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self.fails:
            raise UnreachableError(self.name)
        return self.name


def record(learned: Learned) -> HopRecord:
    def learn(hop: str, rung: str, took_s: float, is_cut: bool) -> None:  # noqa: FBT001
        learned.append((rung, took_s, is_cut))

    return HopRecord("retrieval", 10.0, time.monotonic, "dense", learn)


def once() -> Callable[[], bool]:
    left = [True]
    return lambda: bool(left and left.pop())


async def race(
    first: Backend, second: Backend, after_s: float, may: Callable[[], bool] | None = None
) -> tuple[str, Learned]:
    learned: Learned = []
    calls: tuple[Callable[[], Awaitable[str]], ...] = (first, second)
    found = await hedged(calls, Hedge(after_s, may or once()), record(learned))
    return found, learned


async def test_a_quick_answer_is_not_asked_for_twice() -> None:
    first, second = Backend("first", 0.0), Backend("second", 0.0)
    found, learned = await race(first, second, 1.0)
    assert (found, second.asked) == ("first", 0)
    assert learned == []


async def test_the_second_wins_where_the_first_is_slow_and_the_loser_is_cancelled() -> None:
    first, second = Backend("first", 30.0), Backend("second", 0.0)
    found, learned = await race(first, second, 0.01)
    assert (found, first.cancelled) == ("second", 1)
    assert [cut for _, _, cut in learned] == [True, False]
    assert learned[0][1] >= learned[1][1] + 0.01


async def test_the_first_may_still_win() -> None:
    first, second = Backend("first", 0.05), Backend("second", 30.0)
    found, learned = await race(first, second, 0.01)
    assert (found, second.cancelled) == ("first", 1)
    assert [cut for _, _, cut in learned] == [False, True]


async def test_without_an_allowance_there_is_no_second_call() -> None:
    first, second = Backend("first", 0.05), Backend("second", 0.0)
    found, _ = await race(first, second, 0.01, lambda: False)
    assert (found, second.asked) == ("first", 0)


async def test_one_that_fails_leaves_the_other_to_answer() -> None:
    first, second = Backend("first", 0.1), Backend("second", 0.0, fails=True)
    found, _ = await race(first, second, 0.01)
    assert found == "first"


async def test_if_both_fail_the_failure_is_told() -> None:
    first, second = Backend("first", 0.05, fails=True), Backend("second", 0.0, fails=True)
    with pytest.raises(UnreachableError):
        await race(first, second, 0.01)


async def test_who_is_cancelled_cancels_both() -> None:
    first, second = Backend("first", 30.0), Backend("second", 30.0)
    task = asyncio.create_task(race(first, second, 0.01))
    await asyncio.sleep(0.1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (first.cancelled, second.cancelled) == (1, 1)
