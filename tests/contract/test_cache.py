from __future__ import annotations

import asyncio
import random
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from google.protobuf import duration_pb2
from redis.asyncio import Redis

from hasten.cache.v1 import cache_service_pb2 as pb
from hasten.cache.v1.cache_service_pb2_grpc import CacheServiceStub
from libs.budget import Budget, spending
from libs.clients import Connection
from libs.clients.cache import CacheClient
from libs.errors import (
    BudgetExhaustedError,
    DependencyUnavailableError,
    DimensionMismatchError,
    InvalidFieldError,
    TenantNotAllowedError,
)
from libs.server import Identities, Identity
from libs.server.testing import serving
from libs.values import (
    CacheLayer,
    Event,
    FinishReason,
    Plan,
    Quality,
    Revised,
    SourceVersion,
    TextDelta,
    Verdict,
)
from libs.values.cache import (
    AskedOf,
    AskedQuestion,
    BuiltFrom,
    Decision,
    Everything,
    Lookup,
    OlderThan,
    Selector,
    WithTag,
    WrittenBy,
)
from services.cache.__main__ import build
from services.cache.config import CacheConfig
from tests.support.valkey import Valkey
from tests.unit.cache.parts import (
    Documents,
    answer,
    at_similarity,
    built_from,
    cache_process,
    decided,
    exact,
    numbered,
    prompted,
    replayed,
    said,
    semantic,
    variant,
    vector,
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


@pytest.fixture
async def replica(redis_url: str, retrieval: str) -> AsyncIterator[CacheClient]:
    """A second cache process on the same Redis."""
    async with cache_process(redis_url, retrieval) as client:
        yield client


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Any]:
    async with Redis.from_url(redis_url, protocol=3, driver_info=None) as client:
        yield client


async def until(
    fact: Callable[[], Awaitable[bool]], *, within_s: float = 20.0, every_s: float = 0.01
) -> float:
    """Ask again and again until `fact` holds; return the seconds it took."""
    loop = asyncio.get_running_loop()
    start_s = loop.time()
    while not await fact():
        assert loop.time() - start_s < within_s
        await asyncio.sleep(every_s)
    return loop.time() - start_s


async def until_decided(
    cache: CacheClient, lookup: Lookup, reason: str, *, within_s: float = 20.0
) -> float:
    async def fact() -> bool:
        return (await decided(cache, lookup)).reason == reason

    return await until(fact, within_s=within_s)


# -- layers --------------------------------------------------------------------------------


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


# -- replay --------------------------------------------------------------------------------


async def test_events_are_replayed_as_they_were_and_numbered_from_one(cache: CacheClient) -> None:
    events = said("Shakespeare.")
    shifted = tuple(replace(each, sequence=each.sequence + 7) for each in events)
    await cache.store(answer(events=shifted))
    assert await replayed(cache, exact()) == events


async def test_a_small_answer_comes_with_the_decision_and_a_large_one_in_parts(
    cache: CacheClient,
) -> None:
    source = said("")[0].event
    text = [TextDelta(f"{number} " + "ä" * 300) for number in range(400)]
    events = numbered(source, *text)
    await cache.store(answer(events=events))
    async with cache.lookup(exact()) as found:
        pages = [page async for page in found.events]
    assert len(pages) > 1
    assert tuple(event for page in pages for event in page) == events


async def test_an_event_larger_than_a_message_is_replayed_too(cache: CacheClient) -> None:
    events = numbered(TextDelta("a"), TextDelta("b" * 200_000), TextDelta("c"))
    await cache.store(answer(events=events))
    assert await replayed(cache, exact()) == events


@pytest.mark.parametrize("lookup", [exact(), prompted(PROMPT), semantic()])
async def test_an_outcome_is_the_same_at_once_as_in_parts(
    cache: CacheClient, lookup: Lookup
) -> None:
    sizes = {"none": (), "small": (3,), "full": (20_000, 20_000, 20_000), "large": (200_000,)}
    for name, lengths in sizes.items():
        if lengths:
            events = numbered(*(TextDelta("x" * length) for length in lengths))
            await cache.store(answer(entry_id=name, events=events, prompt_sha256=PROMPT))
        found = await cache.find(lookup, limit_s=10.0)
        assert found.decision.entry_id == ("" if name == "none" else name)
        assert found.events == await replayed(cache, lookup)
        streamed = await decided(cache, lookup)
        same = {"age_s": 0.0, "timing": streamed.timing}
        assert replace(found.decision, **same) == replace(streamed, **same)
        assert found.decision.timing.compute_s > 0


async def test_of_a_large_answer_the_decision_alone_comes_at_once(
    redis_url: str, retrieval: str
) -> None:
    config = CacheConfig(redis_url=redis_url, retrieval_target=retrieval)
    async with (
        build(config) as served,
        serving(served.register) as address,
        Connection.open(address) as connection,
    ):
        events = numbered(TextDelta("x" * 20_000), TextDelta("y" * 20_000))
        await CacheClient(connection).store(answer(events=events))
        request = pb.FindAnswerRequest(tenant_id="acme", layer=1)  # type: ignore[arg-type]
        request.asked.question = "Who wrote Hamlet?"
        found = await CacheServiceStub(connection.channel).FindAnswer(request)
    assert (found.decision.hit, found.final, list(found.events)) == (True, False, [])


async def test_a_reader_that_leaves_does_not_disturb_the_next(cache: CacheClient) -> None:
    events = numbered(*(TextDelta("x" * 20_000) for _ in range(40)))
    await cache.store(answer(events=events))
    for _ in range(5):
        async with cache.lookup(exact()) as found:
            await anext(found.events)
    assert await replayed(cache, exact()) == events


# -- what is kept --------------------------------------------------------------------------


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


# -- nobody meets --------------------------------------------------------------------------


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


# -- similarity ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked_for", "similarity", "hit"),
    [
        (None, 0.93, True),
        (None, 0.91, False),
        (0.0, 0.93, True),
        (0.0, 0.91, False),
        (0.5, 0.91, False),
        (0.95, 0.93, False),
        (0.95, 0.96, True),
        (1.0, 0.99, False),
        (1.0, 1.0, True),
    ],
)
async def test_a_caller_may_only_raise_the_floor(
    cache: CacheClient, asked_for: float | None, similarity: float, *, hit: bool
) -> None:
    await cache.store(answer())
    lookup = semantic(at_similarity(similarity), min_similarity=asked_for)
    decision = await decided(cache, lookup)
    assert (decision.hit, decision.reason) == (hit, "OK" if hit else "BELOW_FLOOR")


@pytest.mark.parametrize("outside", [-0.01, 1.01, float("nan"), float("inf")])
async def test_a_similarity_outside_zero_to_one_is_refused(
    cache: CacheClient, outside: float
) -> None:
    with pytest.raises(InvalidFieldError, match=r"^min_similarity: must be in \[0, 1\]") as caught:
        await decided(cache, semantic(min_similarity=outside))
    assert caught.value.field == "min_similarity"


async def test_an_allowance_of_none_at_all_is_refused_and_not_taken_for_unset(
    cache: CacheClient,
) -> None:
    with pytest.raises(InvalidFieldError, match=r"^wrong_hit_allowance: must be in \(0, 1\]"):
        await decided(cache, semantic(wrong_hit_allowance=0.0))


async def test_a_vector_of_another_length_is_refused(cache: CacheClient) -> None:
    await cache.store(answer())
    for refused in (
        decided(cache, semantic(vector(1.0, dimensions=4))),
        cache.store(answer("Other?", embedding=vector(1.0, dimensions=4))),
    ):
        with pytest.raises(DimensionMismatchError) as caught:
            await refused
        assert caught.value.metadata == {"got": "4", "want": "8"}


async def test_vectors_of_two_models_are_never_compared(cache: CacheClient) -> None:
    await cache.store(answer())
    other = semantic(vector(1.0, dimensions=4), embedding_fingerprint="model-2")
    assert (await decided(cache, other)).reason == "NOT_FOUND"


async def test_many_unusable_neighbours_do_not_hide_one_that_serves(
    cache: CacheClient, documents: Documents
) -> None:
    version = documents.change("hamlet")
    for number in range(30):
        near = answer(f"Near {number}?", entry_id=f"near-{number}", **built_from("hamlet", version))
        await cache.store(near)
    await cache.store(answer("Far?", entry_id="far", embedding=at_similarity(0.93)))
    documents.change("hamlet")
    await until_decided(cache, exact("Near 0?"), "DOCUMENT_CHANGED")
    assert (await decided(cache, semantic())).entry_id == "far"


# -- documents -----------------------------------------------------------------------------


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


# -- removal -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("selector", "removed"),
    [
        (Everything(), {"a", "b", "c"}),
        (WithTag("red"), {"a", "b"}),
        (WithTag("re"), set()),
        (AskedOf("plays"), {"a"}),
        (AskedOf(""), {"c"}),
        (BuiltFrom("plays", "hamlet"), {"a"}),
        (BuiltFrom("poems", "hamlet"), {"b"}),
        (BuiltFrom("plays", "macbeth"), set()),
        (WrittenBy("model-b"), {"b"}),
        (WrittenBy("model"), set()),
        (OlderThan(0.0), {"a", "b", "c"}),
        (OlderThan(3600.0), set()),
    ],
)
async def test_exactly_the_answers_that_match_are_removed(
    cache: CacheClient,
    replica: CacheClient,
    documents: Documents,
    selector: Selector,
    removed: set[str],
) -> None:
    version = documents.change("hamlet")
    documents.change("hamlet", collection="poems")
    asked = {
        "a": AskedQuestion("A?", collection="plays"),
        "b": AskedQuestion("B?", collection="poems"),
        "c": AskedQuestion("C?"),
    }
    more: dict[str, dict[str, Any]] = {
        "a": {"tags": ("red", "blue"), **built_from("hamlet", version)},
        "b": {
            "tags": ("red",),
            "model": "model-b",
            **built_from("hamlet", version + 1, "poems"),
        },
        "c": {},
    }
    for name, question in asked.items():
        stored = await cache.store(answer(asked=question, entry_id=name, **more[name]))
        assert stored.stored
    await cache.store(answer(tenant_id="rival", tags=("red",), asked=asked["a"]))
    await until_decided(replica, semantic(asked=asked["c"]), "OK")
    assert (await cache.invalidate("acme", selector)).count == len(removed)
    for each in (cache, replica):
        for name, question in asked.items():
            gone = name in removed
            assert (await decided(each, exact(asked=question))).hit is not gone
            assert (await decided(each, semantic(asked=question))).hit is not gone
        assert (await decided(each, exact(asked=asked["a"], tenant_id="rival"))).hit
    assert (await cache.invalidate("acme", selector)).count == 0


async def test_a_bad_answer_is_gone_everywhere_at_once(
    cache: CacheClient, replica: CacheClient
) -> None:
    await cache.store(answer(prompt_sha256=PROMPT))
    await until_decided(replica, semantic(), "OK")
    assert (await cache.report("acme", "run-1", Verdict.BAD)).removed
    for each in (cache, replica):
        for lookup in (exact(), prompted(PROMPT), semantic()):
            assert (await decided(each, lookup)).reason == "NOT_FOUND"
    assert not (await cache.report("acme", "run-1", Verdict.BAD)).removed


async def test_a_good_answer_stays_and_a_strangers_verdict_counts_for_nothing(
    cache: CacheClient,
) -> None:
    await cache.store(answer())
    assert not (await cache.report("acme", "run-1", Verdict.GOOD)).removed
    assert not (await cache.report("rival", "run-1", Verdict.BAD)).removed
    assert not (await cache.report("acme", "run-2", Verdict.BAD)).removed
    assert (await decided(cache, exact())).hit


# -- replicas ------------------------------------------------------------------------------


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


# -- trouble -------------------------------------------------------------------------------


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


# -- bad requests --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("event", "kind"),
    [(Revised("r"), "revised"), (Plan("r", "t", "p", 1.0, 1.0, Quality.FULL), "plan")],
)
async def test_events_that_cannot_be_replayed_are_refused(
    cache: CacheClient, event: Event, kind: str
) -> None:
    with pytest.raises(InvalidFieldError) as caught:
        await cache.store(answer(events=numbered(TextDelta("a"), event)))
    problem = f"must be one of sources, text_delta, outline, section_text, citation, is {kind}"
    assert str(caught.value) == f"events[1]: {problem}"


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"question": ""}, "asked.question"),
        ({"entry_id": ""}, "entry_id"),
        ({"events": ()}, "events"),
        ({"events": numbered(TextDelta("x" * 2_000_000))}, "events"),
        ({"quality": Quality.UNSPECIFIED}, "quality"),
        ({"embedding": b"abc"}, "embedding"),
        ({"embedding": vector(1.0) + vector(1.0)}, "embedding"),
        ({"prompt_sha256": b"short"}, "prompt_sha256"),
        ({"tags": ("x",) * 17}, "tags"),
        ({"tags": ("x" * 65,)}, "tags[0]"),
        ({"tenant_id": ""}, "tenant_id"),
    ],
)
async def test_an_answer_that_cannot_be_kept_names_the_field(
    cache: CacheClient, wrong: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidFieldError) as caught:
        await cache.store(answer(**wrong))
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("lookup", "field"),
    [
        (replace(exact(), layer=CacheLayer.NONE), "layer"),
        (replace(exact(), asked=None), "asked"),
        (prompted(b""), "prompt_sha256"),
        (semantic(b""), "embedding"),
        (semantic(b"\0" * 32), "embedding"),
        (semantic(embedding_fingerprint=""), "embedding_fingerprint"),
    ],
)
async def test_a_lookup_that_lacks_something_names_the_field(
    cache: CacheClient, lookup: Lookup, field: str
) -> None:
    with pytest.raises(InvalidFieldError) as caught:
        await decided(cache, lookup)
    assert caught.value.field == field


async def test_a_report_and_an_invalidation_must_say_what(cache: CacheClient) -> None:
    for refused, field in (
        (cache.report("acme", "run-1", Verdict.UNSPECIFIED), "verdict"),
        (cache.report("acme", "", Verdict.BAD), "entry_id"),
        (cache.invalidate("acme", WithTag("")), "tag"),
    ):
        with pytest.raises(InvalidFieldError) as caught:
            await refused
        assert caught.value.field == field


async def _read(connection: Connection, method: Any, request: Any) -> None:
    async with connection.stream(method, request) as messages:
        await anext(messages)


@pytest.mark.parametrize(
    ("method", "request_", "field"),
    [
        ("LookupAnswer", pb.LookupAnswerRequest(layer=9), "layer"),  # type: ignore[arg-type]
        (
            "LookupAnswer",
            pb.LookupAnswerRequest(layer=1, minimum_quality=56),  # type: ignore[arg-type]
            "minimum_quality",
        ),
        ("FindAnswer", pb.FindAnswerRequest(layer=9), "layer"),  # type: ignore[arg-type]
        (
            "FindAnswer",
            pb.FindAnswerRequest(layer=1, minimum_quality=56),  # type: ignore[arg-type]
            "minimum_quality",
        ),
        ("StoreAnswer", pb.StoreAnswerRequest(finish_reason=99), "finish_reason"),  # type: ignore[arg-type]
        ("StoreAnswer", pb.StoreAnswerRequest(events=[{}]), "events[0]"),
        ("ReportAnswer", pb.ReportAnswerRequest(entry_id="a", verdict=9), "verdict"),  # type: ignore[arg-type]
        ("InvalidateAnswers", pb.InvalidateAnswersRequest(), "selector"),
        ("InvalidateAnswers", pb.InvalidateAnswersRequest(everything=False), "selector"),
        (
            "InvalidateAnswers",
            pb.InvalidateAnswersRequest(older_than=duration_pb2.Duration(seconds=-1)),
            "older_than",
        ),
    ],
    ids=range(10),
)
async def test_what_no_client_of_ours_would_send_is_refused_by_its_field(
    redis_url: str, retrieval: str, method: str, request_: Any, field: str
) -> None:
    config = CacheConfig(redis_url=redis_url, retrieval_target=retrieval)
    request_.tenant_id = "acme"
    async with (
        build(config) as served,
        serving(served.register) as address,
        Connection.open(address) as connection,
    ):
        stub = CacheServiceStub(connection.channel)
        called = getattr(stub, method)
        with pytest.raises(InvalidFieldError) as caught:
            await (_read if method == "LookupAnswer" else Connection.unary)(
                connection, called, request_
            )
    assert caught.value.field == field


async def test_the_nearest_stored_questions_are_explained_whatever_their_context(
    cache: CacheClient,
) -> None:
    asked = AskedQuestion("Who wrote Hamlet?", collection="plays")
    await cache.store(answer())
    await cache.store(answer(entry_id="run-2", asked=asked, embedding=vector(0.0, 1.0)))
    looked_up = semantic()
    told = await cache.explain(
        "acme", "Who wrote it?", vector(1.0), looked_up.embedding_fingerprint
    )
    assert [each.entry_id for each in told.candidates] == ["run-1", "run-2"]
    near, far = told.candidates
    assert (near.reason, far.reason) == ("OK", "BELOW_FLOOR")
    assert near.similarity == pytest.approx(1.0, abs=1e-5)
    assert near.context != far.context
    assert far.collection == "plays"
    # Nothing was fitted for the model of these vectors.
    assert (told.floor, near.probability) == (pytest.approx(0.92), None)


async def test_no_other_tenants_questions_are_explained(cache: CacheClient) -> None:
    await cache.store(answer())
    told = await cache.explain("rival", "Who?", vector(1.0), semantic().embedding_fingerprint)
    assert told.candidates == ()


@pytest.mark.parametrize(
    ("question", "fingerprint", "limit", "field"),
    [
        ("", "f", 5, "asked.question"),
        ("Who?", "", 5, "embedding_fingerprint"),
        ("Who?", "f", 51, "limit"),
        ("Who?", "f", -1, "limit"),
    ],
)
async def test_what_cannot_be_explained_is_refused_by_its_field(
    cache: CacheClient, question: str, fingerprint: str, limit: int, field: str
) -> None:
    with pytest.raises(InvalidFieldError) as caught:
        await cache.explain("acme", question, vector(1.0), fingerprint, limit=limit)
    assert caught.value.field == field
