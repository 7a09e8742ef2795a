import asyncio

import pytest
from starlette.types import Message

from services.edge.web.presence import CallerLeftError, while_present


async def stays() -> Message:
    await asyncio.Event().wait()
    return {"type": "http.disconnect"}


async def leaves() -> Message:
    return {"type": "http.disconnect"}


async def test_the_result_of_the_work_is_returned() -> None:
    async def work() -> str:
        return "done"

    assert await while_present(stays, work()) == "done"


async def test_what_the_work_raises_is_raised() -> None:
    async def work() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await while_present(stays, work())


async def test_work_whose_caller_left_has_ended_when_that_is_said() -> None:
    ended = False

    async def work() -> None:
        nonlocal ended
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ended = True

    with pytest.raises(CallerLeftError):
        await while_present(leaves, work())
    assert ended


async def test_to_cancel_the_wait_is_to_cancel_the_work() -> None:
    started, cancelled = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    waiting = asyncio.create_task(while_present(stays, work()))
    await started.wait()
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert cancelled.is_set()
