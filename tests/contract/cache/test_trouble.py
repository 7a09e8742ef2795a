"""A Redis that is damaged, dead, frozen or slow costs hits and nothing else."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from typing import Any

import pytest

from libs.budget import Budget, spending
from libs.clients.cache import CacheClient
from libs.errors import BudgetExhaustedError, DependencyUnavailableError
from libs.values import Verdict
from libs.values.cache import Everything
from tests.contract.cache.parts import PROMPT, until, until_decided
from tests.support.valkey import Valkey
from tests.unit.cache.parts import answer, cache_process, decided, exact, prompted, semantic


async def test_a_damaged_answer_is_set_aside(cache: CacheClient, redis: Any) -> None:
    await cache.store(answer())
    (name,) = await redis.keys("hasten:{cache}:acme:answer:*")
    record = bytearray(await redis.get(name))
    record[len(record) // 2] ^= 0xFF
    await redis.set(name, bytes(record))
    assert (await decided(cache, semantic())).reason == "DAMAGED"
    for lookup in (exact(), semantic()):
        assert (await decided(cache, lookup)).reason == "NOT_FOUND"
    assert (await cache.stats("acme")).lookup_counts["DAMAGED"] == 1
    assert (await cache.store(answer())).stored


async def test_a_dead_redis_is_a_miss_and_its_return_is_noticed(
    valkey: Valkey, retrieval: str
) -> None:
    async with cache_process(valkey.url, retrieval) as cache:
        await cache.store(answer(prompt_sha256=PROMPT))
        assert (await decided(cache, exact())).hit
        await asyncio.to_thread(valkey.kill)
        for lookup in (exact(), prompted(PROMPT), semantic()):
            assert (await decided(cache, lookup)).reason == "STORE_UNAVAILABLE"
        stored = await cache.store(answer())
        assert (stored.stored, stored.reason) == (False, "STORE_UNAVAILABLE")
        for refused in (
            cache.invalidate("acme", Everything()),
            cache.report("acme", "run-1", Verdict.BAD),
        ):
            with pytest.raises(DependencyUnavailableError) as caught:
                await refused
            assert caught.value.retry_after_s is not None
        await asyncio.to_thread(valkey.start)

        async def stored_again() -> bool:
            return (await cache.store(answer())).stored

        await until(stored_again)
        await until_decided(cache, semantic(), "OK")


async def _time_of_lookups(cache: CacheClient, count: int) -> float:
    loop = asyncio.get_running_loop()
    start_s = loop.time()
    for _ in range(count):
        assert (await decided(cache, exact())).reason == "STORE_UNAVAILABLE"
    return loop.time() - start_s


async def test_a_frozen_redis_costs_its_timeout_now_and_then_and_not_each_time(
    valkey: Valkey, retrieval: str
) -> None:
    settings = {"redis_timeout_s": 0.1, "redis_pause_s": 60.0}
    async with cache_process(valkey.url, retrieval, **settings) as cache:
        await cache.store(answer())
        assert (await decided(cache, exact())).hit
        valkey.freeze()
        assert await _time_of_lookups(cache, 20) < 1.5
    # The control: without the pause every one of them waits.
    async with cache_process(valkey.url, retrieval, **settings | {"redis_pause_s": 0.0}) as cache:
        assert await _time_of_lookups(cache, 20) > 1.9


async def test_a_thawed_redis_is_used_again(valkey: Valkey, retrieval: str) -> None:
    async with cache_process(valkey.url, retrieval, redis_timeout_s=0.1) as cache:
        await cache.store(answer())
        valkey.freeze()
        await until_decided(cache, exact(), "STORE_UNAVAILABLE")
        valkey.thaw()
        await until_decided(cache, exact(), "OK")
        await until_decided(cache, semantic(), "OK")


async def test_a_lookup_that_runs_out_of_time_is_a_miss_in_time(
    valkey: Valkey, retrieval: str
) -> None:
    async with cache_process(valkey.url, retrieval) as cache:
        await cache.store(answer())
        assert (await decided(cache, exact())).hit
        valkey.freeze()
        with spending(Budget.of(0.3)):
            decision = await decided(cache, exact())
        assert (decision.hit, decision.reason) == (False, "TIMED_OUT")


async def test_callers_in_a_hurry_find_out_that_redis_is_frozen(
    valkey: Valkey, retrieval: str
) -> None:
    settings = {"redis_timeout_s": 0.4, "redis_pause_s": 60.0}
    async with cache_process(valkey.url, retrieval, **settings) as cache:
        await cache.store(answer())
        valkey.freeze()

        async def is_known() -> bool:
            with spending(Budget.of(0.1)), suppress(BudgetExhaustedError):
                return (await decided(cache, exact())).reason == "STORE_UNAVAILABLE"
            return False

        await until(is_known)


async def test_lookups_that_are_cancelled_spoil_none_that_follow(cache: CacheClient) -> None:
    for number in range(20):
        each = answer(f"Q{number}?", f"A{number}.", entry_id=f"run-{number}")
        assert (await cache.store(each)).stored
    delays = random.Random(5)  # noqa: S311 - the same delays each time

    async def hurried(number: int) -> None:
        asking = asyncio.create_task(decided(cache, exact(f"Q{number}?")))
        await asyncio.wait({asking}, timeout=delays.uniform(0, 0.003))
        asking.cancel()
        await asyncio.wait({asking})

    for _ in range(20):
        await asyncio.gather(*(hurried(number) for number in range(20)))
        decisions = await asyncio.gather(
            *(decided(cache, exact(f"Q{number}?")) for number in range(20))
        )
        assert [each.entry_id for each in decisions] == [f"run-{number}" for number in range(20)]
