from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from redis.asyncio import Redis

from services.cache.changelog import LostPlaceError, Place
from services.cache.index import Partition
from services.cache.reasons import Reason
from services.cache.vectors import unpacked
from tests.support.valkey import Valkey
from tests.unit.cache.parts import MODEL, Parts, draft, replica_parts, semantic, vector
from tests.unit.cache.test_watch import until


@asynccontextmanager
async def following(redis_url: str) -> AsyncIterator[Parts]:
    async with replica_parts(redis_url) as parts:
        task = asyncio.create_task(parts.replica.follow())
        await parts.replica.ready(10.0)
        yield parts
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


@pytest.fixture
async def one(redis_url: str) -> AsyncIterator[Parts]:
    async with following(redis_url) as parts:
        yield parts


@pytest.fixture
async def other(redis_url: str) -> AsyncIterator[Parts]:
    async with following(redis_url) as parts:
        yield parts


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Any]:
    async with Redis.from_url(redis_url, protocol=3, driver_info=None) as client:
        yield client


def count(parts: Parts) -> Callable[[], int]:
    return lambda: parts.replica.index.count("acme")


async def until_count(parts: Parts, wanted: int) -> None:
    await until(lambda: count(parts)() == wanted)


async def test_a_write_is_found_at_once_where_it_was_made(one: Parts) -> None:
    assert await one.keeper.keep(draft()) is Reason.OK
    assert count(one)() == 1


async def test_a_write_is_found_by_another_replica(one: Parts, other: Parts) -> None:
    await one.keeper.keep(draft())
    await until_count(other, 1)
    assert (await other.finder.find(semantic())).entry is not None


async def test_a_removal_reaches_another_replica(one: Parts, other: Parts) -> None:
    await one.keeper.keep(draft())
    await until_count(other, 1)
    await one.store.remove("acme", [(key, "") for key in await one.store.keys("acme")])
    await until_count(other, 0)


async def test_a_new_replica_knows_what_the_others_know(one: Parts, redis_url: str) -> None:
    for number in range(150):
        await one.keeper.keep(draft(f"Question {number}?", entry_id=f"run-{number}"))
    async with following(redis_url) as late:
        assert count(late)() == 150
        await one.keeper.keep(draft("One more?", entry_id="run-more"))
        await until_count(late, 151)


async def test_an_emptied_redis_empties_the_index(one: Parts, redis: Any) -> None:
    await one.keeper.keep(draft())
    await redis.flushall()
    await until_count(one, 0)
    assert await one.keeper.keep(draft("Another?")) is Reason.OK
    assert count(one)() == 1


async def test_a_log_that_was_cut_is_made_up_for(one: Parts, other: Parts, redis: Any) -> None:
    await one.keeper.keep(draft())
    await until_count(other, 1)
    place = await other.log.end()
    async with redis.pipeline(transaction=True) as together:
        # Two answers that no reader is told of, as if it had been away for long.
        await one.keeper.keep(draft("A?", entry_id="a"))
        together.xtrim("hasten:{cache}:changes", maxlen=0)
        await together.execute()
    await one.keeper.keep(draft("B?", entry_id="b"))
    await until_count(other, 3)
    with pytest.raises(LostPlaceError):
        await other.log.after(place)


async def test_a_log_that_began_anew_does_not_continue_the_old_one(one: Parts, redis: Any) -> None:
    await one.keeper.keep(draft())
    place = await one.log.end()
    await redis.flushall()
    await one.keeper.keep(draft("Another?"))
    with pytest.raises(LostPlaceError):
        await one.log.after(place)
    with pytest.raises(LostPlaceError):
        await one.log.after(Place(place.number, "9999999999999-0"))


async def test_a_log_whose_numbers_go_on_after_others_is_not_the_same_log(
    one: Parts, redis: Any
) -> None:
    """As after a failover that lost changes, between servers whose clocks differ."""
    await one.keeper.keep(draft("A?", entry_id="a"))
    place = await one.log.end()
    await redis.set("hasten:{cache}:change-last", "5-5")
    await one.keeper.keep(draft("B?", entry_id="b"))
    with pytest.raises(LostPlaceError):
        await one.log.after(place)


async def test_a_redis_that_was_away_is_followed_again(valkey: Valkey) -> None:
    async with following(valkey.url) as one, following(valkey.url) as other:
        await one.keeper.keep(draft())
        await until_count(other, 1)
        await asyncio.to_thread(valkey.kill)
        await asyncio.to_thread(valkey.start)
        await until_count(other, 0)
        await until_count(one, 0)

        for _ in range(1_000):
            kept = await asyncio.gather(one.keeper.keep(draft()), return_exceptions=True)
            if kept == [Reason.OK]:
                break
            await asyncio.sleep(0.02)
        await until_count(other, 1)


async def test_what_has_expired_is_not_taken_in(one: Parts, redis_url: str) -> None:
    await one.keeper.keep(draft())
    async with replica_parts(redis_url) as late:
        late.clock.pass_s(101.0)
        task = asyncio.create_task(late.replica.follow())
        await late.replica.ready(10.0)
        assert count(late)() == 0
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def test_a_replica_that_cannot_read_the_store_is_ready_and_empty() -> None:
    async with following("redis://127.0.0.1:1") as parts:
        assert count(parts)() == 0
        partition = Partition("acme", "c", MODEL)
        assert await parts.replica.index.search(partition, unpacked(vector(1.0)), 8) == []
