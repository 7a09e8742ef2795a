from __future__ import annotations

import asyncio

import pytest

from libs.errors import InvalidFieldError, ModelOverloadedError, OverloadedError
from services.jobs.kinds.work import patiently, side_by_side


async def test_things_are_worked_on_a_few_at_a_time_in_their_order() -> None:
    begun: list[int] = []
    under_way = most = 0

    async def work(number: int) -> None:
        nonlocal under_way, most
        begun.append(number)
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0)
        under_way -= 1

    await side_by_side(range(10), work, at_once=3)
    assert begun == list(range(10))
    assert most == 3
    await side_by_side([], work)


async def test_the_first_failure_cancels_the_others_and_is_raised_as_it_is() -> None:
    cancelled: list[int] = []

    async def work(number: int) -> None:
        if number == 2:
            raise OverloadedError("full")
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(number)
            raise

    with pytest.raises(OverloadedError):
        await side_by_side(range(9), work, at_once=4)
    assert {0, 1} <= set(cancelled) <= {0, 1, 3}


async def test_what_passes_is_tried_again_after_the_time_that_is_asked_for() -> None:
    waits: list[float] = []
    failures: list[Exception] = [
        ModelOverloadedError("full", retry_after_s=7.0),
        ModelOverloadedError("full", retry_after_s=600.0),
        OverloadedError("full"),
    ]

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    async def call() -> str:
        if failures:
            raise failures.pop(0)
        return "done"

    assert await patiently(call, sleep) == "done"
    assert waits == [7.0, 30.0, 2.0]


async def test_what_does_not_pass_and_the_fourth_failure_are_raised() -> None:
    calls = 0

    async def sleep(seconds: float) -> None:
        pass

    async def call(error: Exception) -> None:
        nonlocal calls
        calls += 1
        raise error

    with pytest.raises(InvalidFieldError):
        await patiently(lambda: call(InvalidFieldError("x", "is wrong")), sleep)
    assert calls == 1
    with pytest.raises(OverloadedError):
        await patiently(lambda: call(OverloadedError("full")), sleep)
    assert calls == 5
