"""An answer is found in each layer, and only there where it was stored."""

from __future__ import annotations

from dataclasses import replace

import pytest

from libs.clients.cache import CacheClient
from libs.values import CacheLayer, FinishReason, Quality
from libs.values.cache import Decision, Lookup
from tests.contract.cache.parts import PROMPT
from tests.unit.cache.parts import answer, at_similarity, decided, exact, prompted, said, semantic


@pytest.mark.parametrize(
    ("lookup", "similarity"),
    [
        (exact(), 1.0),
        (exact("  who wrote  Hamlet?"), 1.0),
        (prompted(PROMPT), 1.0),
        (semantic(at_similarity(0.95)), 0.95),
    ],
)
async def test_a_stored_answer_is_found_in_every_layer(
    cache: CacheClient, lookup: Lookup, similarity: float
) -> None:
    stored = await cache.store(answer(prompt_sha256=PROMPT, model="m-1"))
    assert (stored.stored, stored.reason) == (True, "")
    async with cache.lookup(lookup) as found:
        decision, events = found.decision, [page async for page in found.events]
    assert events == [said("Shakespeare.")]
    assert decision.similarity == pytest.approx(similarity, abs=1e-5)
    assert 0.0 <= decision.age_s < 10.0
    assert 0.0 < decision.timing.compute_s < 1.0
    expected = Decision(
        hit=True,
        reason="OK",
        similarity=decision.similarity,
        age_s=decision.age_s,
        entry_id="run-1",
        quality=Quality.FULL,
        model="m-1",
        finish_reason=FinishReason.END_TURN,
        timing=decision.timing,
        question="who wrote Hamlet?" if lookup.layer is CacheLayer.SEMANTIC else "",
    )
    assert decision == expected


@pytest.mark.parametrize("lookup", [exact(), prompted(PROMPT), semantic()])
async def test_what_was_never_stored_is_a_miss(cache: CacheClient, lookup: Lookup) -> None:
    async with cache.lookup(lookup) as found:
        decision, events = found.decision, [page async for page in found.events]
    assert (decision.hit, decision.reason, decision.similarity) == (False, "NOT_FOUND", None)
    assert events == []


async def test_a_miss_by_meaning_says_how_near_it_was(cache: CacheClient) -> None:
    await cache.store(answer())
    decision = await decided(cache, semantic(at_similarity(0.91)))
    assert (decision.hit, decision.reason) == (False, "BELOW_FLOOR")
    assert decision.similarity == pytest.approx(0.91, abs=1e-5)


async def test_an_answer_without_a_vector_or_a_prompt_is_found_exactly_alone(
    cache: CacheClient,
) -> None:
    await cache.store(replace(answer(), embedding=b"", embedding_fingerprint=""))
    assert (await decided(cache, exact())).hit
    assert (await decided(cache, semantic())).reason == "NOT_FOUND"
    assert (await decided(cache, prompted(PROMPT))).reason == "NOT_FOUND"
