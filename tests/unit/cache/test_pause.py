from __future__ import annotations

import asyncio
import time

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from libs.errors import DependencyUnavailableError
from services.cache.pause import Pause
from tests.unit.cache.parts import Clock


class Server:
    """What is asked: it answers, fails or hangs as a test wants."""

    def __init__(self) -> None:
        self.asked_count = 0
        self.error: Exception | None = None
        self.hangs = False

    async def command(self) -> str:
        self.asked_count += 1
        if self.hangs:
            await asyncio.Event().wait()
        if self.error is not None:
            raise self.error
        return "PONG"


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def pause(server: Server, clock: Clock) -> Pause:
    return Pause(timeout_s=5.0, pause_s=0.25, clock=clock)


@pytest.mark.parametrize("error", [RedisConnectionError(), RedisTimeoutError(), OSError()])
async def test_after_a_failure_nobody_asks_for_a_while(
    server: Server, clock: Clock, pause: Pause, error: Exception
) -> None:
    server.error = error
    for _ in range(5):
        with pytest.raises(DependencyUnavailableError):
            await pause.ask(server.command)
    assert server.asked_count == 1
    clock.pass_s(0.3)
    server.error = None
    assert await pause.ask(server.command) == "PONG"
    assert await pause.ask(server.command) == "PONG"


async def test_after_the_pause_one_call_tries_for_all(
    server: Server, clock: Clock, pause: Pause
) -> None:
    server.error = RedisTimeoutError()
    with pytest.raises(DependencyUnavailableError):
        await pause.ask(server.command)
    clock.pass_s(0.3)
    server.hangs = True
    trying = asyncio.create_task(pause.ask(server.command))
    await asyncio.sleep(0.01)
    with pytest.raises(DependencyUnavailableError):
        await pause.ask(server.command)
    assert server.asked_count == 2
    trying.cancel()
    await asyncio.wait({trying})
    await pause.close()


async def test_a_refusal_is_a_failure_but_no_reason_to_pause(server: Server, pause: Pause) -> None:
    server.error = ResponseError("OOM command not allowed")
    with pytest.raises(DependencyUnavailableError):
        await pause.ask(server.command)
    server.error = None
    assert await pause.ask(server.command) == "PONG"


async def test_a_command_without_an_answer_ends_in_time_and_begins_a_pause(
    server: Server, clock: Clock
) -> None:
    pause = Pause(timeout_s=0.05, pause_s=0.25, clock=clock)
    server.hangs = True
    for _ in range(5):
        with pytest.raises(DependencyUnavailableError):
            await pause.ask(server.command)
    assert server.asked_count == 1
    await pause.close()


async def test_an_answer_that_comes_late_ends_the_pause(clock: Clock) -> None:
    pause, thaw = Pause(timeout_s=0.05, pause_s=60.0, clock=clock), asyncio.Event()
    with pytest.raises(DependencyUnavailableError):
        await pause.ask(thaw.wait)
    thaw.set()
    await asyncio.sleep(0.01)
    assert await pause.ask(thaw.wait)


async def test_a_timer_that_fires_late_is_not_held_against_redis(clock: Clock) -> None:
    pause, answers = Pause(timeout_s=0.05, pause_s=60.0, clock=clock), asyncio.Event()
    asking = asyncio.create_task(pause.ask(answers.wait))
    await asyncio.sleep(0)
    # The loop stands still past the timeout, and the answer is there when it goes on.
    busy_until_s = time.monotonic() + 0.1
    asyncio.get_running_loop().call_later(0.04, answers.set)
    while time.monotonic() < busy_until_s:
        pass
    assert await asking


async def test_callers_in_a_hurry_do_not_hide_that_nobody_answers(pause: Pause) -> None:
    given_up = asyncio.Event()

    async def frozen() -> None:
        await given_up.wait()
        raise RedisTimeoutError

    with pytest.raises(TimeoutError):
        await asyncio.wait_for(pause.ask(frozen), 0.01)
    given_up.set()
    await asyncio.sleep(0.01)
    with pytest.raises(DependencyUnavailableError):
        await pause.ask(frozen)


async def test_a_caller_that_leaves_does_not_break_its_command_off(pause: Pause) -> None:
    go_on, done = asyncio.Event(), asyncio.Event()

    async def command() -> None:
        await go_on.wait()
        done.set()

    asking = asyncio.create_task(pause.ask(command))
    await asyncio.sleep(0)
    asking.cancel()
    await asyncio.wait({asking})
    assert asking.cancelled()
    go_on.set()
    await asyncio.wait_for(done.wait(), 10.0)


async def test_a_burst_does_not_ask_all_at_once(server: Server, pause: Pause) -> None:
    server.hangs = True
    asking = [asyncio.create_task(pause.ask(server.command)) for _ in range(100)]
    await asyncio.sleep(0.01)
    assert 0 < server.asked_count < 50
    for each in asking:
        each.cancel()
    await asyncio.wait(asking)
    await pause.close()


async def test_those_that_waited_behind_a_failure_do_not_ask(server: Server, pause: Pause) -> None:
    server.error = RedisTimeoutError()
    asked = await asyncio.gather(
        *(pause.ask(server.command) for _ in range(100)), return_exceptions=True
    )
    assert all(isinstance(each, DependencyUnavailableError) for each in asked)
    assert server.asked_count < 50
