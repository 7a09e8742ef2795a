"""Answers end with the documents that they are built on."""

from __future__ import annotations

from libs.clients.cache import CacheClient
from libs.server.testing import serving
from libs.values import SourceVersion
from tests.contract.cache.parts import PROMPT, until, until_decided
from tests.unit.cache.parts import (
    Documents,
    answer,
    built_from,
    cache_process,
    decided,
    exact,
    prompted,
    semantic,
    vector,
)


async def test_a_changed_document_makes_exactly_its_answers_unusable_on_every_replica(
    cache: CacheClient, replica: CacheClient, documents: Documents
) -> None:
    hamlet, macbeth = documents.change("hamlet"), documents.change("macbeth")
    changing = answer(
        "Hamlet?", entry_id="h", embedding=vector(1.0), **built_from("hamlet", hamlet)
    )
    staying = answer(
        "Macbeth?", entry_id="m", embedding=vector(0, 1.0), **built_from("macbeth", macbeth)
    )
    assert (await cache.store(changing)).stored
    assert (await cache.store(staying)).stored
    for each in (cache, replica):
        await until_decided(each, semantic(), "OK")
    documents.change("hamlet")
    for each in (cache, replica):
        took_s = await until_decided(each, exact("Hamlet?"), "DOCUMENT_CHANGED")
        assert took_s < 5.0
        assert not (await decided(each, semantic())).hit
        assert (await decided(each, exact("Macbeth?"))).hit
        assert (await decided(each, semantic(vector(0, 1.0)))).hit


async def test_the_same_prompt_serves_although_a_document_has_changed(
    cache: CacheClient, documents: Documents
) -> None:
    version = documents.change("hamlet")
    await cache.store(answer(prompt_sha256=PROMPT, **built_from("hamlet", version)))
    documents.change("hamlet")
    await until_decided(cache, exact(), "DOCUMENT_CHANGED")
    assert (await decided(cache, prompted(PROMPT))).hit


async def test_an_answer_generated_across_a_change_is_not_stored(
    cache: CacheClient, documents: Documents
) -> None:
    before = documents.change("hamlet")
    await cache.store(answer("Warm?", entry_id="warm", **built_from("hamlet", before)))
    documents.change("hamlet")
    await until_decided(cache, exact("Warm?"), "DOCUMENT_CHANGED")
    stored = await cache.store(answer(**built_from("hamlet", before)))
    assert (stored.stored, stored.reason) == (False, "DOCUMENT_CHANGED")


async def test_an_answer_from_a_document_written_this_moment_is_stored(
    cache: CacheClient, documents: Documents
) -> None:
    for number in range(20):
        version = documents.change("hamlet")
        stored = await cache.store(answer(f"Q{number}?", **built_from("hamlet", version)))
        assert stored.stored


async def test_a_version_that_nobody_has_told_of_is_not_stored(
    cache: CacheClient, documents: Documents
) -> None:
    documents.change("hamlet")
    stored = await cache.store(answer(**built_from("hamlet", 99)))
    assert (stored.stored, stored.reason) == (False, "WATCH_SILENT")


async def test_another_store_makes_its_predecessors_answers_unusable(
    cache: CacheClient, documents: Documents
) -> None:
    version = documents.change("hamlet")
    await cache.store(answer(**built_from("hamlet", version)))
    documents.replaced("store-2")
    await until_decided(cache, exact(), "DOCUMENT_CHANGED")
    sources = (SourceVersion("plays", "hamlet", version),)
    anew = answer(sources=sources, store_id="store-2")

    async def stored() -> bool:
        return (await cache.store(anew)).stored

    await until(stored)
    assert (await decided(cache, exact())).hit


async def test_a_silent_watch_misses_what_depends_on_documents_and_recovers(
    redis_url: str, retrieval: str, documents: Documents
) -> None:
    version = documents.change("hamlet")
    sourced = answer(**built_from("hamlet", version))
    async with cache_process(redis_url, retrieval, watch_silence_s=0.5) as cache:
        await cache.store(answer("Unsourced?", entry_id="free", embedding=vector(0, 1.0)))

        async def is_stored() -> bool:
            return (await cache.store(sourced)).stored

        await until(is_stored)
        await until_decided(cache, exact(), "OK")
        documents.quiet.set()
        took_s = await until_decided(cache, exact(), "WATCH_SILENT")
        assert took_s < 5.0
        assert (await decided(cache, exact("Unsourced?"))).hit
        assert (await cache.store(sourced)).reason == "WATCH_SILENT"
        documents.quiet.clear()
        await until_decided(cache, exact(), "OK")


async def test_a_retrieval_service_that_comes_back_is_watched_again(
    redis_url: str, documents: Documents
) -> None:
    version = documents.change("hamlet")
    async with serving(documents.register) as address:
        async with cache_process(redis_url, address) as cache:
            await cache.store(answer(**built_from("hamlet", version)))
            assert (await decided(cache, exact())).hit
    async with cache_process(redis_url, address, watch_silence_s=0.5) as cache:
        assert (await decided(cache, exact())).reason == "WATCH_SILENT"
        async with serving(documents.register, address=address):
            await until_decided(cache, exact(), "OK")
