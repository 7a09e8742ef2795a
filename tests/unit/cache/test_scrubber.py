"""The index of a replica and the store cannot drift apart for long."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from redis.asyncio import Redis

from libs.values import SourceVersion
from libs.values.retrieval import Change, ChangeBatch
from services.cache import upkeep
from services.cache.scripts import ROOT
from services.cache.scrubber import Repairs, Scrubber
from tests.unit.cache.parts import STORE_ID, Parts, draft, replica_parts

NOTHING = Repairs()


@pytest.fixture
async def parts(redis_url: str) -> AsyncIterator[Parts]:
    async with replica_parts(redis_url) as parts:
        for number in range(5):
            await parts.keeper.keep(draft(f"Question {number}?", entry_id=f"run-{number}"))
        await parts.keeper.keep(draft("No vector?", entry_id="bare", vector=b""))
        yield parts


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Any]:
    async with Redis.from_url(redis_url, protocol=3, driver_info=None) as client:
        yield client


def scrubber(parts: Parts, **pace: float) -> Scrubber:
    pace = {"settle_s": 0.0, "pace_s": 0.0} | pace
    return Scrubber(parts.store, parts.replica, parts.freshness, every_s=0.01, **pace)


def rows(parts: Parts) -> set[str]:
    index = parts.replica.index
    return {index.name(key) for key in index.keys("acme")}


def repaired(wrong: str) -> float:
    (metric,) = upkeep._REPAIRED.labels(wrong).collect()  # noqa: SLF001 - no file is read
    return metric.samples[0].value


ALL = {f"run-{number}" for number in range(5)}


async def test_an_index_that_is_like_the_store_is_left_alone(parts: Parts) -> None:
    assert await scrubber(parts).scrub() == NOTHING
    assert rows(parts) == ALL


async def test_a_lost_row_is_put_back(parts: Parts) -> None:
    (key, *_) = parts.replica.index.keys("acme")
    parts.replica.index.remove(key)
    before = repaired("missing")
    assert await scrubber(parts).scrub() == Repairs(missing=1)
    assert rows(parts) == ALL
    assert repaired("missing") == before + 1
    assert await scrubber(parts).scrub() == NOTHING


async def test_a_row_that_is_left_over_is_taken_out(parts: Parts, redis: Any) -> None:
    for key in parts.replica.index.keys("acme")[:2]:
        # As a Redis does that runs out of memory: nobody is told.
        await redis.delete(f"{ROOT}acme:answer:{key}")
    before = repaired("left_over")
    assert await scrubber(parts).scrub() == Repairs(left_over=2)
    assert len(rows(parts)) == 3
    assert repaired("left_over") == before + 2
    assert len(await parts.store.keys("acme")) == 4


async def test_a_row_of_a_tenant_that_is_gone_is_taken_out(parts: Parts, redis: Any) -> None:
    await redis.flushall()
    assert await scrubber(parts).scrub() == Repairs(left_over=5)
    assert parts.replica.index.tenants() == []


async def test_a_row_of_another_answer_is_replaced(parts: Parts) -> None:
    index = parts.replica.index
    (key, *_) = index.keys("acme")
    stored = await parts.store.get("acme", key)
    assert stored is not None
    index.put([replace(stored, entry_id="of-before")])
    assert await scrubber(parts).scrub() == Repairs(missing=1, left_over=1)
    assert rows(parts) == ALL


async def test_what_the_log_puts_right_in_the_meantime_is_no_repair(parts: Parts) -> None:
    index = parts.replica.index
    (key, *_) = index.keys("acme")
    stored = await parts.store.get("acme", key)
    assert stored is not None
    index.remove(key)
    scrub = asyncio.create_task(scrubber(parts, settle_s=0.3).scrub())
    await asyncio.sleep(0.1)
    index.put([stored])
    assert await scrub == NOTHING


async def test_what_may_not_serve_is_not_put_back(parts: Parts) -> None:
    parts.freshness.start_over(STORE_ID)
    told = Change(1, "acme", "plays", "hamlet", deleted=False)
    parts.freshness.hear(ChangeBatch((told,), 1, STORE_ID))
    built = {"sources": (SourceVersion("plays", "hamlet", 1),), "store_id": STORE_ID}
    await parts.keeper.keep(draft("Outdated?", entry_id="outdated", **built))
    parts.freshness.hear(ChangeBatch((replace(told, version=2),), 2, STORE_ID))
    index = parts.replica.index
    (key,) = (each for each in index.keys("acme") if index.name(each) == "outdated")
    index.remove(key)
    assert await scrubber(parts).scrub() == NOTHING
    parts.clock.pass_s(101.0)
    parts.replica.index.sweep(parts.clock())
    assert await scrubber(parts).scrub() == NOTHING


async def test_it_goes_on_by_itself(parts: Parts) -> None:
    following = asyncio.create_task(scrubber(parts).follow())
    (key, *_) = parts.replica.index.keys("acme")
    parts.replica.index.remove(key)
    async with asyncio.timeout(20.0):
        while rows(parts) != ALL:  # noqa: ASYNC110 - nothing tells when it does
            await asyncio.sleep(0.01)
    following.cancel()
