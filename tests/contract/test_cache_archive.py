"""Answers leave a cache as records, and come back as old as they were."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from libs.clients import Connection
from libs.clients.cache import CacheClient
from libs.errors import InvalidFieldError, TenantNotAllowedError
from libs.server import Identities, Identity
from libs.server.testing import serving
from libs.values import Quality
from libs.values.cache import Everything, ExportedAnswer
from services.cache.__main__ import build
from services.cache.config import CacheConfig
from services.cache.entry import decode, encode
from tests.support.waiting import until
from tests.unit.cache.parts import (
    Documents,
    answer,
    at_similarity,
    built_from,
    cache_process,
    decided,
    exact,
    prompted,
    replayed,
    semantic,
)

PROMPT = b"p" * 32


@pytest.fixture
def documents() -> Documents:
    return Documents()


@pytest.fixture
async def retrieval(documents: Documents) -> AsyncIterator[str]:
    async with serving(documents.register) as address:
        yield address


@pytest.fixture
async def cache(redis_url: str, retrieval: str) -> AsyncIterator[CacheClient]:
    async with cache_process(redis_url, retrieval) as client:
        yield client


async def exported(cache: CacheClient, tenant_id: str = "acme") -> dict[str, ExportedAnswer]:
    async with cache.export(tenant_id, limit_s=20.0) as answers:
        return {each.entry_id: each async for each in answers}


def changed(record: bytes, **fields: Any) -> bytes:
    """Return a whole record of an answer that is different."""
    return encode(replace(decode(record), **fields))


async def test_an_answer_that_was_exported_and_removed_comes_back_in_every_layer(
    cache: CacheClient,
) -> None:
    stored = answer(prompt_sha256=PROMPT, model="m-1")
    await cache.store(stored)
    (taken,) = (await exported(cache)).values()
    await cache.invalidate("acme", Everything())
    assert (await cache.restore("acme", taken.record)).stored
    assert (taken.question, taken.model, taken.quality) == (
        "who wrote Hamlet?",
        "m-1",
        Quality.FULL,
    )
    assert await replayed(cache, exact()) == stored.events
    assert await replayed(cache, prompted(PROMPT)) == stored.events
    assert await replayed(cache, semantic(at_similarity(0.95))) == stored.events


async def test_every_answer_of_the_tenant_is_exported_and_none_of_another(
    cache: CacheClient,
) -> None:
    names = {f"run-{number}" for number in range(150)}
    for name in names:
        await cache.store(answer(f"Question {name}?", entry_id=name))
    await cache.store(answer(tenant_id="rival", entry_id="theirs"))
    assert set(await exported(cache)) == names
    assert set(await exported(cache, "rival")) == {"theirs"}
    assert await exported(cache, "nobody") == {}


async def test_an_imported_answer_is_as_old_as_it_was_and_ends_when_it_did(
    cache: CacheClient,
) -> None:
    await cache.store(answer())
    (taken,) = (await exported(cache)).values()
    long_ago_s = taken.create_time_s - 3600.0
    record = changed(taken.record, created_at_s=long_ago_s)
    await cache.invalidate("acme", Everything())
    await cache.restore("acme", record)
    assert (await decided(cache, exact())).age_s >= 3600.0
    (again,) = (await exported(cache)).values()
    assert again.create_time_s == pytest.approx(long_ago_s, abs=0.01)
    # A life from when it was stored first, not from the import.
    life_s = taken.expire_time_s - taken.create_time_s
    assert again.expire_time_s == pytest.approx(long_ago_s + life_s, abs=1.0)


async def test_an_answer_past_its_end_is_neither_exported_nor_imported(
    cache: CacheClient,
) -> None:
    await cache.store(answer())
    (taken,) = (await exported(cache)).values()
    await cache.invalidate("acme", Everything())
    past = changed(taken.record, expires_at_s=taken.create_time_s + 0.001)
    stored = await cache.restore("acme", past)
    assert (stored.stored, stored.reason) == (False, "EXPIRED")
    assert await exported(cache) == {}


async def test_a_record_cannot_make_an_answer_live_longer_than_this_cache_lets_it(
    cache: CacheClient,
) -> None:
    await cache.store(answer())
    (taken,) = (await exported(cache)).values()
    await cache.invalidate("acme", Everything())
    year_s = 365 * 86_400.0
    created_s, ends_s = taken.create_time_s + year_s, taken.create_time_s + 2 * year_s
    await cache.restore("acme", changed(taken.record, created_at_s=created_s, expires_at_s=ends_s))
    (again,) = (await exported(cache)).values()
    assert again.expire_time_s <= taken.expire_time_s + 60.0


async def test_an_answer_whose_document_changed_since_is_not_imported(
    cache: CacheClient, documents: Documents
) -> None:
    version = documents.change("hamlet.md")
    await cache.store(answer(**built_from("hamlet.md", version)), limit_s=5.0)
    (taken,) = (await exported(cache)).values()
    await cache.invalidate("acme", Everything())
    later = documents.change("hamlet.md")
    # An answer built on the new version is only taken once the watch has told of it.
    after = answer("Else?", entry_id="run-2", **built_from("hamlet.md", later))
    assert (await cache.store(after, limit_s=5.0)).stored
    stored = await cache.restore("acme", taken.record)
    assert (stored.stored, stored.reason) == (False, "DOCUMENT_CHANGED")


async def test_an_imported_answer_does_not_replace_a_better_one(cache: CacheClient) -> None:
    await cache.store(answer(quality=Quality.FAST, entry_id="fast"))
    (taken,) = (await exported(cache)).values()
    await cache.store(answer(quality=Quality.FULL, entry_id="full"))
    stored = await cache.restore("acme", taken.record)
    assert (stored.stored, stored.reason) == (False, "BETTER_STORED")
    assert (await decided(cache, exact())).entry_id == "full"


async def test_an_answer_cannot_be_imported_for_another_tenant(cache: CacheClient) -> None:
    await cache.store(answer())
    (taken,) = (await exported(cache)).values()
    with pytest.raises(InvalidFieldError, match="record: is of another tenant than rival"):
        await cache.restore("rival", taken.record)
    assert await exported(cache, "rival") == {}


async def test_no_damaged_record_is_imported(cache: CacheClient) -> None:
    await cache.store(answer())
    (taken,) = (await exported(cache)).values()
    await cache.invalidate("acme", Everything())
    middle = len(taken.record) // 2
    flipped = bytes([taken.record[middle] ^ 1])
    damaged = [b"", b"HCA", taken.record[:-1], taken.record[:middle]]
    damaged.append(taken.record[:middle] + flipped + taken.record[middle + 1 :])
    # Whole, but not what a cache writes.
    damaged.append(changed(taken.record, pages=(b"\xff\xff",)))
    damaged.append(changed(taken.record, pages=()))
    damaged.append(changed(taken.record, key="../answer"))
    damaged.append(changed(taken.record, prompt="x"))
    damaged.append(changed(taken.record, vector=b"\0" * 32))
    damaged.append(changed(taken.record, expires_at_s=float("nan")))
    damaged.append(changed(taken.record, created_at_s="now"))
    damaged.append(changed(taken.record, question=7))
    for record in damaged:
        with pytest.raises(InvalidFieldError):
            await cache.restore("acme", record)
    assert await exported(cache) == {}


async def test_a_caller_exports_and_imports_for_its_own_tenants_alone(
    redis_url: str, retrieval: str
) -> None:
    known = Identities.of([("of-acme", Identity("acme-app", frozenset({"acme"})))])
    config = CacheConfig(redis_url=redis_url, retrieval_target=retrieval, redis_timeout_s=2.0)
    async with build(config) as served, serving(served.register, identities=known) as address:
        await served.warm()
        async with Connection.open(address, token="of-acme") as connection:  # noqa: S106
            cache = CacheClient(connection)
            await cache.store(answer())
            assert set(await exported(cache)) == {"run-1"}
            with pytest.raises(TenantNotAllowedError):
                await exported(cache, "rival")
            with pytest.raises(TenantNotAllowedError):
                await cache.restore("rival", b"")


async def test_an_imported_answer_is_found_by_meaning_on_other_replicas(
    cache: CacheClient, redis_url: str, retrieval: str
) -> None:
    await cache.store(answer())
    (taken,) = (await exported(cache)).values()
    await cache.invalidate("acme", Everything())
    async with cache_process(redis_url, retrieval) as replica:
        await cache.restore("acme", taken.record)

        async def is_found() -> bool:
            return (await decided(replica, semantic(at_similarity(0.95)))).hit

        await until(is_found)
