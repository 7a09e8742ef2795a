"""No answer is given to another question or another tenant."""

from __future__ import annotations

import asyncio
import random
import secrets
from typing import Any

import pytest

from libs.clients import Connection
from libs.clients.cache import CacheClient
from libs.errors import TenantNotAllowedError
from libs.server import Identities, Identity
from libs.server.testing import serving
from libs.values import Verdict
from libs.values.cache import Everything
from services.cache.__main__ import build
from services.cache.config import CacheConfig
from tests.unit.cache.parts import answer, decided, exact, semantic, variant, vector


async def test_in_200_pairs_no_answer_is_given_to_another_question(cache: CacheClient) -> None:
    random_ = random.Random(20_260_101)  # noqa: S311 - the same pairs each time

    async def pair(number: int) -> int:
        (tenant, asked), (other_tenant, other) = (
            variant(random_, f"question {number}"),
            variant(random_, f"question {number}"),
        )
        if (tenant, asked) == (other_tenant, other):
            return 0
        where, whose = vector(*random_.choices([0.1, 0.5, 1.0], k=8)), f"run-{number}"
        own = answer(asked=asked, tenant_id=tenant, entry_id=whose, embedding=where)
        assert (await cache.store(own)).stored
        for lookup in (
            exact(asked=other, tenant_id=other_tenant),
            semantic(where, asked=other, tenant_id=other_tenant),
        ):
            decision = await decided(cache, lookup)
            assert decision.entry_id != whose
        assert (await decided(cache, exact(asked=asked, tenant_id=tenant))).entry_id == whose
        found = await decided(cache, semantic(where, asked=asked, tenant_id=tenant))
        assert found.hit
        return 1

    counts = []
    for start in range(0, 200, 50):
        counts += await asyncio.gather(*(pair(number) for number in range(start, start + 50)))
    assert sum(counts) > 190


async def test_a_record_that_lies_in_another_tenants_place_is_not_served(
    cache: CacheClient, redis: Any
) -> None:
    await cache.store(answer())
    await cache.store(answer(tenant_id="rival", text="Marlowe."))
    (mine,) = await redis.keys("hasten:{cache}:acme:answer:*")
    (theirs,) = await redis.keys("hasten:{cache}:rival:answer:*")
    await redis.set(theirs, await redis.get(mine))
    assert (await decided(cache, exact(tenant_id="rival"))).reason == "DAMAGED"
    assert (await decided(cache, exact(tenant_id="rival"))).reason == "NOT_FOUND"
    assert (await decided(cache, exact())).hit


async def test_an_identity_reaches_its_own_tenants_alone(redis_url: str, retrieval: str) -> None:
    config = CacheConfig(redis_url=redis_url, retrieval_target=retrieval)
    token = secrets.token_hex(8)
    known = Identities.of([(token, Identity("app", frozenset({"acme"})))])
    async with (
        build(config) as served,
        serving(served.register, identities=known) as address,
        Connection.open(address, token=token) as connection,
    ):
        cache = CacheClient(connection)
        assert (await cache.store(answer())).stored
        for refused in (
            decided(cache, exact(tenant_id="rival")),
            cache.store(answer(tenant_id="rival")),
            cache.invalidate("rival", Everything()),
            cache.report("rival", "run-1", Verdict.BAD),
            cache.stats("rival"),
        ):
            with pytest.raises(TenantNotAllowedError):
                await refused
