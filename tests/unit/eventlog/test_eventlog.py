"""The event log on a real Valkey."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from libs.errors import EventLogUnavailableError, FencedError, RunNotFoundError
from libs.eventlog import EventLog, Whole
from libs.redislink import open_redis
from tests.support.valkey import Valkey


@pytest.fixture
async def log(redis_url: str) -> AsyncIterator[EventLog]:
    async with open_redis(redis_url, timeout_s=2) as redis:
        yield EventLog(redis, kind="run", ttl_s=60)


async def test_a_follower_gets_each_event_once_from_any_point(log: EventLog) -> None:
    writer = await log.open("acme", "r1", [b"one", b"two"])
    seen: list[tuple[int, bytes]] = []

    async def follow() -> None:
        async for rows in log.follow("acme", "r1", after=1):
            seen.extend(rows)
            if seen[-1][1] == b"last":
                return

    following = asyncio.create_task(follow())
    await log.append(writer, 3, [b"three"])
    await log.append(writer, 4, [b"four", b"last"])
    await asyncio.wait_for(following, 5)
    assert seen == [(2, b"two"), (3, b"three"), (4, b"four"), (5, b"last")]


async def test_a_writer_that_was_replaced_can_append_nothing(log: EventLog) -> None:
    old = await log.open("acme", "r1", [b"one"])
    new = await log.open("acme", "r1")
    with pytest.raises(FencedError):
        await log.append(old, 2, [b"late"])
    await log.append(new, 2, [b"two"])
    assert await log.read("acme", "r1") == [(1, b"one"), (2, b"two")]


async def test_numbers_never_go_back(log: EventLog) -> None:
    writer = await log.open("acme", "r1", [b"one", b"two"])
    with pytest.raises(FencedError):
        await log.append(writer, 2, [b"again"])
    assert [number for number, _ in await log.read("acme", "r1")] == [1, 2]


async def test_tenants_do_not_share_logs(log: EventLog) -> None:
    await log.open("acme", "r1", [b"secret"])
    assert await log.read("rival", "r1") == []
    assert not await log.exists("rival", "r1")
    with pytest.raises(RunNotFoundError):
        await anext(log.follow("rival", "r1"))


async def test_a_log_expires_after_its_last_event(redis_url: str) -> None:
    async with open_redis(redis_url, timeout_s=2) as redis:
        log = EventLog(redis, kind="run", ttl_s=0.2)
        await log.open("acme", "r1", [b"one"])
        assert await log.exists("acme", "r1")
        await asyncio.sleep(0.5)
        assert not await log.exists("acme", "r1")
        assert await redis.keys("*") == []


async def test_a_dead_redis_is_said_and_survived(valkey: Valkey) -> None:
    async with open_redis(valkey.url, timeout_s=1) as redis:
        log = EventLog(redis, kind="run", ttl_s=60)
        await asyncio.to_thread(valkey.kill)
        with pytest.raises(EventLogUnavailableError):
            await log.open("acme", "r1", [b"one"])
        await asyncio.to_thread(valkey.start)
        await log.open("acme", "r1", [b"one"])
        assert await log.exists("acme", "r1")


async def test_logs_written_together_are_each_whole_or_refused(log: EventLog) -> None:
    await log.open("acme", "r2", [b"old"])
    names = ("r1", "r2", "r3")
    outcomes = await log.write([Whole("acme", name, [b"one", b"two"]) for name in names])
    assert [type(each) for each in outcomes] == [type(None), FencedError, type(None)]
    assert await log.read("acme", "r1") == [(1, b"one"), (2, b"two")]
    assert await log.read("acme", "r2") == [(1, b"old")]
    assert await log.read("acme", "r3") == [(1, b"one"), (2, b"two")]


async def test_logs_written_together_meet_a_dead_redis_and_survive_it(valkey: Valkey) -> None:
    async with open_redis(valkey.url, timeout_s=1) as redis:
        log = EventLog(redis, kind="run", ttl_s=60)
        await asyncio.to_thread(valkey.kill)
        with pytest.raises(EventLogUnavailableError):
            await log.write([Whole("acme", "r1", [b"one"])])
        await asyncio.to_thread(valkey.start)
        assert await log.write([Whole("acme", "r1", [b"one"])]) == [None]


@pytest.mark.parametrize("apart", [True, False])
async def test_however_many_follow_there_is_a_connection_left_to_write_by(
    redis_url: str,
    apart: bool,  # noqa: FBT001
) -> None:
    async with (
        open_redis(redis_url, timeout_s=2, most_connections=3) as redis,
        open_redis(redis_url, timeout_s=2, most_connections=20) as many,
    ):
        log = EventLog(redis, kind="run", ttl_s=60, followers=many if apart else None)
        writer = await log.open("acme", "r1", [b"one"])
        first = [log.follow("acme", "r1", after=1) for _ in range(10)]
        following = [asyncio.create_task(anext(each)) for each in first]  # type: ignore[arg-type]
        try:
            await asyncio.sleep(0.1)
            await log.append(writer, 2, [b"two"])
            assert await asyncio.gather(*following) == [[(2, b"two")]] * 10
            assert apart
        except EventLogUnavailableError:
            assert not apart
        finally:
            for each in following:
                each.cancel()
            await asyncio.gather(*following, return_exceptions=True)
