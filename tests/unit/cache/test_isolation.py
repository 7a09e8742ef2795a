from __future__ import annotations

import random
from collections.abc import AsyncIterator

import pytest

from libs.values.cache import AskedQuestion, Provenance
from services.cache.reasons import Reason
from tests.unit.cache.parts import (
    Parts,
    draft,
    exact,
    prompted,
    replica_parts,
    semantic,
    variant,
    vector,
)


@pytest.fixture
async def parts(redis_url: str) -> AsyncIterator[Parts]:
    async with replica_parts(redis_url) as parts:
        yield parts


async def found_names(parts: Parts, tenant: str, asked: AskedQuestion, where: bytes) -> set[str]:
    """Return the names of all answers that a tenant gets for a question, in two layers."""
    lookups = exact(asked=asked, tenant_id=tenant), semantic(where, asked=asked, tenant_id=tenant)
    found = [await parts.finder.find(lookup) for lookup in lookups]
    return {each.entry.entry_id for each in found if each.entry is not None}


async def try_pairs(parts: Parts, count: int, seed: int) -> int:
    """Try pairs that differ in something; return how many there were."""
    random_ = random.Random(seed)  # noqa: S311 - the same pairs each time
    tried = 0
    for number in range(count):
        tenant, asked = variant(random_, f"question {number}")
        other_tenant, other = variant(random_, f"question {number}")
        if (tenant, asked) == (other_tenant, other):
            continue
        where, name = vector(*random_.choices([0.1, 0.5, 1.0], k=8)), f"run-{number}"
        provenance = random_.choice([Provenance.TTL, Provenance.SOURCES])
        own = draft(
            tenant_id=tenant, asked=asked, entry_id=name, vector=where, provenance=provenance
        )
        assert await parts.keeper.keep(own) is Reason.OK
        assert name not in await found_names(parts, other_tenant, other, where)
        assert name in await found_names(parts, tenant, asked, where)
        tried += 1
    return tried


async def test_in_2000_pairs_no_answer_is_given_to_another_question(parts: Parts) -> None:
    assert await try_pairs(parts, 2_000, 20_260_102) > 1_900


@pytest.mark.prove
async def test_in_10000_pairs_no_answer_is_given_to_another_question(parts: Parts) -> None:
    tried = await try_pairs(parts, 10_100, 20_260_103)
    assert tried >= 10_000
    print(f"tenants: {tried} pairs of tenant, scope, model, policy and filters: no crossing")


async def test_a_tenants_prompt_leads_to_its_own_answers_alone(parts: Parts) -> None:
    prompt = b"p" * 32
    for tenant in ("acme", "rival"):
        stored = draft(tenant_id=tenant, entry_id=f"run-{tenant}", prompt=prompt.hex())
        await parts.keeper.keep(stored)
    for tenant in ("acme", "rival"):
        found = await parts.finder.find(prompted(prompt, tenant_id=tenant))
        assert found.entry is not None
        assert found.entry.entry_id == f"run-{tenant}"
    assert (await parts.finder.find(prompted(prompt, tenant_id="third"))).entry is None


async def test_every_near_twin_of_one_question_has_its_own_answer(parts: Parts) -> None:
    """All differ in one thing alone, and all are stored at once."""
    random_ = random.Random(7)  # noqa: S311 - the same questions each time
    twins = dict.fromkeys(variant(random_, "Who wrote Hamlet?") for _ in range(1_000))
    for number, (tenant, asked) in enumerate(twins):
        await parts.keeper.keep(draft(tenant_id=tenant, asked=asked, entry_id=f"run-{number}"))
    for number, (tenant, asked) in enumerate(twins):
        assert await found_names(parts, tenant, asked, vector(1.0)) == {f"run-{number}"}
