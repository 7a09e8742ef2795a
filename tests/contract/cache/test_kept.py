"""Which answers are kept, which replaces which, and for how long."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from libs.clients.cache import CacheClient
from libs.values import FinishReason, Quality
from tests.contract.cache.parts import until_decided
from tests.unit.cache.parts import (
    Documents,
    answer,
    built_from,
    cache_process,
    decided,
    exact,
    semantic,
    vector,
)


@pytest.mark.parametrize("finish_reason", list(FinishReason))
async def test_only_whole_answers_are_stored(
    cache: CacheClient, finish_reason: FinishReason
) -> None:
    stored = await cache.store(answer(finish_reason=finish_reason))
    assert stored.stored is finish_reason.is_whole
    assert stored.reason == ("" if finish_reason.is_whole else "INCOMPLETE")
    assert (await decided(cache, exact())).hit is finish_reason.is_whole


async def test_a_lesser_answer_never_replaces_a_better_one(cache: CacheClient) -> None:
    await cache.store(answer(text="Full.", entry_id="full"))
    lesser = await cache.store(answer(entry_id="lesser", quality=Quality.LEXICAL))
    assert (lesser.stored, lesser.reason) == (False, "BETTER_STORED")
    assert (await cache.store(answer(text="Newer.", entry_id="equal"))).stored
    assert (await decided(cache, exact())).entry_id == "equal"


async def test_a_better_answer_that_is_outdated_makes_room(
    cache: CacheClient, documents: Documents
) -> None:
    version = documents.change("hamlet")
    await cache.store(answer(entry_id="full", **built_from("hamlet", version)))
    later = documents.change("hamlet")
    lesser = answer(entry_id="now", quality=Quality.LEXICAL, **built_from("hamlet", later))
    assert (await cache.store(lesser)).stored
    assert (await decided(cache, exact())).entry_id == "now"


async def test_a_lookup_may_ask_for_quality(cache: CacheClient) -> None:
    await cache.store(answer(quality=Quality.LEXICAL))
    for lookup in (exact(), semantic()):
        asking = replace(lookup, minimum_quality=Quality.LEXICAL)
        assert (await decided(cache, asking)).hit
        demanding = replace(lookup, minimum_quality=Quality.FULL)
        assert (await decided(cache, demanding)).reason == "BELOW_QUALITY"


async def test_a_degraded_answer_lives_briefly(redis_url: str, retrieval: str, redis: Any) -> None:
    async with cache_process(redis_url, retrieval, ttl_s=1000.0, degraded_ttl_s=0.5) as cache:
        await cache.store(answer(entry_id="degraded", degraded=True))
        await cache.store(answer("Another?", entry_id="whole", embedding=vector(0, 1.0)))
        assert (await decided(cache, exact())).hit
        await until_decided(cache, exact(), "EXPIRED")
        assert (await decided(cache, semantic())).reason in ("EXPIRED", "NOT_FOUND")
        assert (await decided(cache, exact("Another?"))).hit


async def test_hits_do_not_prolong_an_answers_life(redis_url: str, retrieval: str) -> None:
    async with cache_process(redis_url, retrieval, ttl_s=1.0) as cache:
        await cache.store(answer())
        took_s = await until_decided(cache, exact(), "EXPIRED")
        assert 0.5 < took_s < 10.0
