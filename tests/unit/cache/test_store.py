from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from redis.asyncio import Redis

from libs.values import Quality
from services.cache.connection import linked
from services.cache.entry import DamagedRecordError, Entry, encode
from services.cache.scripts import ROOT, SET_ASIDE_S
from services.cache.store import EntryStore
from tests.unit.cache.test_index import entry

EVERYWHERE = ("tenants", "tenant-bytes", "totals", "changes", "change-count", "change-last")
RUNGS = [Quality.UNSUPPORTED, Quality.EXTRACTIVE, Quality.LEXICAL, Quality.FULL]


@pytest.fixture
async def store(redis_url: str) -> AsyncIterator[EntryStore]:
    async with linked(redis_url, timeout_s=2.0, pause_s=0.05) as link:
        yield EntryStore(link)


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Any]:
    async with Redis.from_url(redis_url, protocol=3, driver_info=None) as client:
        yield client


def written(name: str, **more: object) -> Entry:
    return entry("k", entry_id=name, pages=(name.encode(),), **more)


async def names(redis: Any) -> list[str]:
    return sorted(name.decode() for name in await redis.keys("*"))


async def test_what_is_put_is_found_by_key_prompt_and_name(store: EntryStore) -> None:
    stored = written("run-1", prompt="p")
    assert await store.put(stored, 60.0) is None
    assert await store.get("acme", "k") == stored
    assert await store.by_prompt("acme", "p") == stored
    assert await store.key_of("acme", "run-1") == "k"
    assert (await store.tenants(), await store.keys("acme")) == (["acme"], ["k"])


async def test_every_name_of_an_answer_holds_its_tenant(store: EntryStore, redis: Any) -> None:
    await store.put(written("run-1", prompt="p"), 60.0)
    everywhere = {f"hasten:{{cache}}:{name}" for name in EVERYWHERE}
    for name in set(await names(redis)) - everywhere:
        assert name.startswith("hasten:{cache}:acme:")


async def test_another_tenant_finds_nothing(store: EntryStore) -> None:
    await store.put(written("run-1", prompt="p"), 60.0)
    assert await store.get("rival", "k") is None
    assert await store.by_prompt("rival", "p") is None
    assert await store.key_of("rival", "run-1") is None
    assert await store.remove("rival", [("k", "run-1"), ("k", "")]) == 0


async def test_a_record_of_another_tenant_is_never_given_out(store: EntryStore, redis: Any) -> None:
    await redis.set("hasten:{cache}:rival:answer:k", encode(written("run-1")))
    with pytest.raises(DamagedRecordError):
        await store.get("rival", "k")
    assert await store.get("rival", "k") is None


@pytest.mark.parametrize(
    ("before", "after", "kept"),
    [
        ({"quality": Quality.FULL}, {"quality": Quality.LEXICAL}, "before"),
        ({"quality": Quality.LEXICAL}, {"quality": Quality.FULL}, "after"),
        ({"quality": Quality.FULL}, {"quality": Quality.FULL}, "after"),
        ({}, {"degraded": True}, "before"),
        ({"degraded": True}, {}, "after"),
        ({"quality": Quality.LEXICAL}, {"quality": Quality.FULL, "degraded": True}, "after"),
    ],
)
async def test_a_lesser_answer_never_replaces_a_better_one(
    store: EntryStore, before: dict[str, Any], after: dict[str, Any], kept: str
) -> None:
    await store.put(written("before", **before), 60.0)
    better = await store.put(written("after", **after), 60.0)
    found = await store.get("acme", "k")
    assert found is not None
    assert found.entry_id == kept
    assert (better and better.entry_id) == ("before" if kept == "before" else None)


async def test_the_best_of_many_writers_at_once_remains(store: EntryStore) -> None:
    order = random.Random(3)  # noqa: S311 - the same orders each time
    for _ in range(20):
        rungs = order.sample(RUNGS, len(RUNGS))
        writes = [store.put(written(rung.name, quality=rung), 60.0) for rung in rungs]
        await asyncio.gather(*writes)
        found = await store.get("acme", "k")
        assert found is not None
        assert found.quality is Quality.FULL
        assert await store.remove("acme", [("k", "FULL")]) == 1


async def test_a_replaced_answer_leaves_no_name_behind(store: EntryStore, redis: Any) -> None:
    await store.put(written("old"), 60.0)
    await store.put(written("new"), 60.0)
    assert await store.key_of("acme", "old") is None
    assert await store.remove("acme", [("k", "old")]) == 0
    assert await store.remove("acme", [("k", "new")]) == 1
    assert [name for name in await names(redis) if name.startswith("hasten:{cache}:acme")] == []


async def test_a_name_stands_for_one_answer(store: EntryStore) -> None:
    await store.put(written("run-1"), 60.0)
    await store.put(replace(written("run-1"), key="k2"), 60.0)
    assert await store.get("acme", "k") is None
    assert await store.keys("acme") == ["k2"]


async def test_a_prompt_that_now_leads_to_another_prompts_answer_finds_nothing(
    store: EntryStore,
) -> None:
    await store.put(written("old", prompt="p1"), 60.0)
    await store.put(written("new", prompt="p2"), 60.0)
    assert await store.by_prompt("acme", "p1") is None
    assert await store.by_prompt("acme", "p2") is not None


@pytest.mark.parametrize("damage", ["flip", "cut", "empty"])
async def test_a_damaged_record_is_set_aside_and_missed(
    store: EntryStore, redis: Any, damage: str
) -> None:
    await store.put(written("run-1"), 60.0)
    record = bytearray(await redis.get("hasten:{cache}:acme:answer:k"))
    record[-1] ^= 1
    spoilt = {"flip": bytes(record), "cut": bytes(record[:-3]), "empty": b""}[damage]
    await redis.set("hasten:{cache}:acme:answer:k", spoilt)
    with pytest.raises(DamagedRecordError):
        await store.get("acme", "k")
    assert await store.get("acme", "k") is None
    assert await store.keys("acme") == []
    assert await redis.get(f"{ROOT}acme:damaged:k") == spoilt
    assert 0 < await redis.ttl(f"{ROOT}acme:damaged:k") <= SET_ASIDE_S
    assert await store.put(written("run-2", quality=Quality.UNSUPPORTED), 60.0) is None


async def test_what_replaced_a_damaged_record_is_not_set_aside_with_it(
    store: EntryStore, redis: Any
) -> None:
    await store.put(written("good"), 60.0)
    # One who read the damage a moment ago, and asks for it to be put aside only now.
    await store._put_aside("acme", "k", b"damaged")  # noqa: SLF001
    assert await store.get("acme", "k") is not None


async def test_names_are_those_of_what_can_be_found_by_meaning(
    store: EntryStore, redis: Any
) -> None:
    await store.put(entry("k", entry_id="\u00e9" * 128), 60.0)
    await store.put(entry("bare", b"", entry_id="bare"), 60.0)
    await store.put(entry("gone"), 60.0)
    await redis.delete(f"{ROOT}acme:answer:gone")
    await redis.set(f"{ROOT}acme:answer:spoilt", b"no record")
    keys = ["k", "bare", "gone", "spoilt", "never"]
    assert await store.names("acme", keys) == ["\u00e9" * 128, "", None, None, None]
    assert sorted(await store.keys("acme")) == ["bare", "k"]


async def test_one_damaged_record_among_many_spoils_no_other(store: EntryStore, redis: Any) -> None:
    for key in ("a", "b", "c"):
        await store.put(entry(key), 60.0)
    await redis.set("hasten:{cache}:acme:answer:b", b"HCA1 and no more")
    found = await store.many("acme", ["a", "b", "c", "d"])
    assert [type(each) for each in found] == [Entry, DamagedRecordError, Entry, type(None)]
    pages = [page async for page in store.pages("acme", ["a", "b", "c"])]
    assert [each.key for page in pages for each in page] == ["a", "c"]


async def test_everything_of_an_answer_ends(store: EntryStore, redis: Any) -> None:
    await store.put(written("run-1", prompt="p"), 60.0)
    for kind in ("answer:k", "entry:run-1", "prompt:p"):
        left_ms = await redis.pttl(f"hasten:{{cache}}:acme:{kind}")
        assert 60_000 < left_ms <= 120_000


async def test_reading_an_answer_does_not_prolong_it(store: EntryStore, redis: Any) -> None:
    await store.put(written("run-1", prompt="p"), 60.0)
    ends_at = await redis.pexpiretime("hasten:{cache}:acme:answer:k")
    for _ in range(3):
        await store.get("acme", "k")
        await store.by_prompt("acme", "p")
        await store.many("acme", ["k"])
    assert await redis.pexpiretime("hasten:{cache}:acme:answer:k") == ends_at


async def test_keys_of_what_redis_let_go_are_forgotten(store: EntryStore, redis: Any) -> None:
    await store.put(entry("gone"), 60.0)
    await redis.zadd("hasten:{cache}:acme:keys", {"gone": 1})
    await store.put(entry("there"), 60.0)
    assert await store.keys("acme") == ["there"]
