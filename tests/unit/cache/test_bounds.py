"""What is kept stays within its bounds, and what is worth most is what stays."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from typing import Any

import pytest
from redis.asyncio import Redis

from services.cache.connection import linked
from services.cache.entry import Entry, encode
from services.cache.hits import Hits
from services.cache.index import MeaningIndex
from services.cache.scripts import OVERHEAD_BYTES, ROOT
from services.cache.store import Bounds, EntryStore
from services.cache.vectors import VectorLengths
from tests.unit.cache.parts import draft, replica_parts, vector
from tests.unit.cache.test_index import entry

PLENTY = 1 << 40


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Any]:
    async with Redis.from_url(redis_url, protocol=3, driver_info=None) as client:
        yield client


def bounds(**changes: int) -> Bounds:
    few = {"tenant_count": PLENTY, "tenant_bytes": PLENTY, "count": PLENTY, "bytes": PLENTY}
    return Bounds(**(few | changes))


def sized(key: str, size: int = 100, **more: Any) -> Entry:
    return entry(key, pages=(b"x" * size,), **more)


async def kept(store: EntryStore, tenant_id: str = "acme") -> set[str]:
    return set(await store.keys(tenant_id))


async def totals(redis: Any) -> tuple[int, int]:
    count, size = await redis.hmget(f"{ROOT}totals", "count", "bytes")
    return int(count), int(size)


async def test_a_tenant_keeps_no_more_answers_than_it_may(redis_url: str, redis: Any) -> None:
    async with linked(redis_url, timeout_s=2.0, pause_s=0.05) as link:
        store = EntryStore(link, bounds(tenant_count=3))
        await store.put(sized("theirs", tenant_id="rival"), 60.0)
        for number in range(10):
            assert await store.put(sized(f"k{number}"), 60.0) is None
        assert len(await kept(store)) == 3
        assert "k9" in await kept(store)
        assert await kept(store, "rival") == {"theirs"}
        assert (await totals(redis))[0] == 4


async def test_a_tenant_keeps_no_more_bytes_than_it_may(redis_url: str, redis: Any) -> None:
    each_bytes = len(encode(sized("k0", 1_000))) + OVERHEAD_BYTES
    async with linked(redis_url, timeout_s=2.0, pause_s=0.05) as link:
        store = EntryStore(link, bounds(tenant_bytes=5 * each_bytes))
        for number in range(9):
            await store.put(sized(f"k{number}", 1_000), 60.0)
        assert len(await kept(store)) == 5
        assert await totals(redis) == (5, 5 * each_bytes)


async def test_who_takes_the_most_gives_way_for_all(redis_url: str) -> None:
    async with linked(redis_url, timeout_s=2.0, pause_s=0.05) as link:
        store = EntryStore(link, bounds(count=6))
        for number in range(6):
            await store.put(sized(f"k{number}"), 60.0)
        for number in range(3):
            await store.put(sized(f"r{number}", tenant_id="rival"), 60.0)
        assert len(await kept(store)) == 3
        assert len(await kept(store, "rival")) == 3


async def test_what_was_used_or_was_dear_stays(redis_url: str) -> None:
    async with linked(redis_url, timeout_s=2.0, pause_s=0.05) as link:
        store = EntryStore(link, bounds(tenant_count=4))
        await store.put(sized("used", made_in_s=1.0), 60.0)
        await store.put(sized("dear", made_in_s=9.0), 60.0)
        await store.put(sized("large", 9_000, made_in_s=1.0), 60.0)
        await store.put(sized("plain", made_in_s=1.0), 60.0)
        await store.count_hits("acme", {"used": 5, "gone": 3})
        for number in range(2):
            await store.put(sized(f"new-{number}", made_in_s=2.0), 60.0)
        assert await kept(store) == {"used", "dear", "new-0", "new-1"}


async def test_what_was_used_long_ago_goes_at_last(redis_url: str) -> None:
    async with linked(redis_url, timeout_s=2.0, pause_s=0.05) as link:
        store = EntryStore(link, bounds(tenant_count=2))
        await store.put(sized("old", made_in_s=1.0), 60.0)
        await store.count_hits("acme", {"old": 4})
        for number in range(20):
            await store.put(sized(f"k{number}", made_in_s=1.0), 60.0)
        assert "old" not in await kept(store)


async def test_accounts_agree_with_what_is_there(redis_url: str, redis: Any) -> None:
    order = random.Random(7)  # noqa: S311 - the same steps each time
    async with linked(redis_url, timeout_s=2.0, pause_s=0.05) as link:
        store = EntryStore(link, bounds(tenant_count=8, count=12))
        for number in range(200):
            tenant_id, key = order.choice(["acme", "rival", "other"]), f"k{order.randrange(20)}"
            match order.randrange(4):
                case 0:
                    await store.remove(tenant_id, [(key, "")])
                case 1:
                    await store.count_hits(tenant_id, {key: 2})
                case _:
                    new = sized(key, order.randrange(2_000), tenant_id=tenant_id)
                    await store.put(new, 60.0)
            tenants = await store.tenants()
            records = [
                await redis.get(f"{ROOT}{each}:answer:{key}")
                for each in tenants
                for key in await store.keys(each)
            ]
            assert None not in records
            taken = sum(len(record) + OVERHEAD_BYTES for record in records)
            assert await totals(redis) == (len(records), taken), number
            assert len(records) <= 12
            assert sorted(await redis.zrange(f"{ROOT}tenant-bytes", 0, -1)) == [
                each.encode() for each in tenants
            ]


async def test_what_ended_is_no_longer_counted(redis_url: str, redis: Any) -> None:
    async with linked(redis_url, timeout_s=2.0, pause_s=0.05) as link:
        store = EntryStore(link)
        await store.put(entry("k"), 60.0)
        await redis.zadd(f"{ROOT}acme:keys", {"k": 1})
        await store.sweep("acme")
        assert await totals(redis) == (0, 0)
        assert (await store.tenants(), await store.keys("acme")) == ([], [])


def test_an_index_holds_no_more_than_it_may() -> None:
    index = MeaningIndex(VectorLengths(), most_count=3)
    index.put([entry("used"), entry("dear", made_in_s=5.0)])
    index.hit("used", 100)
    for number in range(10):
        index.put([entry(f"k{number}", vector(1.0, number))])
    assert len(index) == 3
    assert {"used", "dear"} < set(index.keys("acme"))


async def test_hits_are_told_to_the_store_and_to_the_index(redis_url: str, redis: Any) -> None:
    async with replica_parts(redis_url) as parts:
        await parts.keeper.keep(draft(made_in_s=1.0))
        (key,) = await parts.store.keys("acme")
        hits = Hits()
        for _ in range(3):
            hits.add("acme", key)
        await hits.tell(parts.store, parts.replica)
        facts = (await redis.hget(f"{ROOT}acme:facts", key)).decode()
        assert facts.split()[1:] == ["3", "1"]
        await hits.tell(parts.store, parts.replica)
        assert (await redis.hget(f"{ROOT}acme:facts", key)).decode() == facts
