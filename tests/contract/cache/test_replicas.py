"""What one replica knows, the others come to know."""

from __future__ import annotations

import pytest

from libs.clients.cache import CacheClient
from tests.contract.cache.parts import PROMPT, until_decided
from tests.unit.cache.parts import (
    Documents,
    answer,
    at_similarity,
    built_from,
    cache_process,
    decided,
    exact,
    prompted,
    semantic,
    vector,
)


async def _slowest_s(cache: CacheClient, replica: CacheClient) -> float:
    """Return how long the other replica took to find the slowest of some answers."""
    took_s = []
    for number in range(8):
        where = vector(*(float(place == number) for place in range(8)))
        await cache.store(answer(f"Q{number}?", entry_id=f"run-{number}", embedding=where))
        took_s.append(await until_decided(replica, semantic(where), "OK"))
    return max(took_s)


async def test_what_one_replica_stores_another_finds_by_meaning(
    cache: CacheClient, replica: CacheClient
) -> None:
    assert await _slowest_s(cache, replica) < 10.0


@pytest.mark.prove
async def test_what_one_replica_stores_another_finds_within_half_a_second(
    cache: CacheClient, replica: CacheClient
) -> None:
    assert await _slowest_s(cache, replica) < 0.5


async def test_a_restarted_replica_knows_what_the_others_know(
    cache: CacheClient, redis_url: str, retrieval: str
) -> None:
    await cache.store(answer())
    async with cache_process(redis_url, retrieval) as late:
        assert (await decided(late, semantic())).hit
        assert (await late.stats("acme")).semantic_entry_count == 1


async def test_stats_tell_of_a_tenant_what_this_replica_saw(
    cache: CacheClient, documents: Documents
) -> None:
    version = documents.change("hamlet")
    await cache.store(answer(prompt_sha256=PROMPT, **built_from("hamlet", version)))
    for lookup in (exact(), exact(), exact("Never?"), semantic(), prompted(PROMPT)):
        await decided(cache, lookup)
    await decided(cache, semantic(at_similarity(0.5)))
    stats = await cache.stats("acme")
    assert stats.lookup_counts == {
        "exact_hit": 2,
        "prompt_hit": 1,
        "semantic_hit": 1,
        "NOT_FOUND": 1,
        "BELOW_FLOOR": 1,
    }
    assert (stats.semantic_entry_count, stats.index_version) == (1, version)
    rival = await cache.stats("rival")
    assert (rival.semantic_entry_count, rival.lookup_counts) == (0, {})
