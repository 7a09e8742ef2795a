from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from redis.asyncio import Redis

from libs.budget import Budget, spending
from libs.values import Quality
from libs.values.cache import Everything
from services.cache.index import MeaningIndex, Neighbour, Partition
from services.cache.reasons import Reason
from services.cache.vectors import Vector, VectorLengths
from tests.unit.cache.parts import Parts, draft, exact, replica_parts, semantic


class BrokenIndex(MeaningIndex):
    """An index that fails as FAISS does."""

    async def search(self, partition: Partition, vector: Vector, k: int) -> list[Neighbour]:
        raise RuntimeError("Error in faiss: std::bad_alloc")


@pytest.fixture
async def parts(redis_url: str) -> AsyncIterator[Parts]:
    async with replica_parts(redis_url) as parts:
        yield parts


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Any]:
    async with Redis.from_url(redis_url, protocol=3, driver_info=None) as client:
        yield client


async def test_an_answer_ends_at_its_time_however_often_it_was_used(parts: Parts) -> None:
    await parts.keeper.keep(draft())
    for _ in range(9):
        parts.clock.pass_s(10.0)
        for lookup in (exact(), semantic()):
            found = await parts.finder.find(lookup)
            assert found.entry is not None
    assert found.age_s == 90.0
    parts.clock.pass_s(10.0)
    for lookup in (exact(), semantic()):
        assert (await parts.finder.find(lookup)).reason is Reason.EXPIRED


async def test_an_answer_that_has_ended_makes_room_for_a_lesser_one(parts: Parts) -> None:
    await parts.keeper.keep(draft())
    parts.clock.pass_s(101.0)
    lesser = draft(entry_id="run-2", quality=Quality.UNSUPPORTED)
    assert await parts.keeper.keep(lesser) is Reason.OK


async def test_a_better_answer_that_is_damaged_makes_room(parts: Parts, redis: Any) -> None:
    await parts.keeper.keep(draft())
    (name,) = await redis.keys("hasten:{cache}:acme:answer:*")
    await redis.setrange(name, 60, b"\xff\xff\xff")
    lesser = draft(entry_id="run-2", quality=Quality.UNSUPPORTED)
    assert await parts.keeper.keep(lesser) is Reason.OK
    found = await parts.finder.find(exact())
    assert found.entry is not None
    assert found.entry.entry_id == "run-2"


async def test_an_index_that_fails_is_a_miss(parts: Parts) -> None:
    await parts.keeper.keep(draft())
    parts.replica.index = BrokenIndex(VectorLengths())
    assert (await parts.finder.find(semantic())).reason is Reason.STORE_UNAVAILABLE
    assert (await parts.finder.find(exact())).entry is not None


async def test_no_time_left_is_a_miss(parts: Parts) -> None:
    await parts.keeper.keep(draft())
    with spending(Budget.of(0.0)):
        assert (await parts.finder.find(exact())).reason is Reason.TIMED_OUT


async def test_what_the_index_still_holds_but_the_store_does_not_is_a_miss_and_forgotten(
    parts: Parts, redis: Any
) -> None:
    await parts.keeper.keep(draft())
    await redis.flushall()
    assert parts.replica.index.count("acme") == 1
    assert (await parts.finder.find(semantic())).reason is Reason.NOT_FOUND
    assert parts.replica.index.count("acme") == 0


async def test_many_answers_are_removed_in_one_call(parts: Parts) -> None:
    for number in range(200):
        await parts.keeper.keep(draft(f"Question {number}?", entry_id=f"run-{number}"))
    assert await parts.keeper.remove("acme", Everything()) == 200
    assert parts.replica.index.count("acme") == 0
    assert await parts.store.keys("acme") == []
