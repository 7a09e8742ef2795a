"""What users of other answer caches complain of; each test is named after one complaint."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from blockbuster import BlockBuster
from prometheus_client import REGISTRY

from libs.clients.cache import CacheClient
from libs.errors import InvalidFieldError
from libs.values import (
    CacheControl,
    Citation,
    Filter,
    FinishReason,
    Quality,
    Question,
    Role,
    Sources,
    TextDelta,
    Turn,
)
from libs.values.cache import AskedQuestion, Decision, Lookup
from tests.support.corpus import FACTS, TENANT
from tests.support.mesh import Mesh, Setting, Told, open_mesh
from tests.support.provider import Provider
from tests.support.waiting import until
from tests.unit.cache.parts import answer, at_similarity, exact, semantic, vector

FACT = FACTS[0]
SCHEMA = '{"type": "object"}'


async def kept(mesh: Mesh, question: str | Question = FACT.question) -> Told:
    """Ask, and ask again until the answer is served from the cache."""
    first = await mesh.ask(question)

    async def is_stored() -> bool:
        return (await mesh.ask(question)).layer != ""

    await until(is_stored)
    return first


async def asked_alone(mesh: Mesh, question: str | Question = FACT.question) -> Told:
    """Ask until the answer is not one that another run has just made."""
    told: list[Told] = []

    async def is_alone() -> bool:
        told.append(await mesh.ask(question))
        return not told[-1].completed.followed_run_id

    await until(is_alone)
    return told[-1]


async def decided(cache: CacheClient, lookup: Lookup) -> tuple[Decision, Decision]:
    """Return the decision as it comes in one message, and as it comes as a stream."""
    at_once = (await cache.find(lookup, limit_s=10.0)).decision
    async with cache.lookup(lookup, limit_s=10.0) as found:
        return at_once, found.decision


async def test_unrelated_questions_hit(mesh: Mesh) -> None:
    for fact in FACTS:
        await kept(mesh, fact.question)
    for number, fact in enumerate(FACTS):
        reworded = await mesh.ask(Question(TENANT, fact.paraphrase, policy="endless"))
        hit = reworded.completed.cache_hit
        assert hit is None or fact.answer in reworded.text
        about_another = f"Is there a harbour, a bakery or a violin at place {number} of the moon?"
        assert (await mesh.ask(about_another)).layer == ""


async def test_negation_hits(mesh: Mesh) -> None:
    """The opposite question is as near as a rewording; only what it says tells them apart."""
    await kept(mesh, FACT.question)
    denied = FACT.question.replace("built", "did not build")
    assert (await mesh.ask(Question(TENANT, denied, policy="endless"))).layer == ""
    reworded = Question(TENANT, FACT.paraphrase, policy="endless")
    assert (await mesh.ask(reworded)).layer == "SEMANTIC"


LAST = "And where does it stand?"


def conversation(fact_number: int) -> tuple[Turn, ...]:
    fact = FACTS[fact_number]
    return (Turn(Role.USER, fact.question), Turn(Role.ASSISTANT, fact.answer))


@pytest.mark.parametrize(
    "differs",
    [
        {"history": conversation(1)},
        {"history": (Turn(Role.USER, FACT.question), Turn(Role.ASSISTANT, "Nobody knows."))},
        {"history": conversation(0)[:1]},
        {"history": ()},
        {"scope": "staff"},
        {"filters": (Filter("kind", ("tower",)),)},
        {"output_schema": SCHEMA},
    ],
)
async def test_the_last_message_only_is_the_key(mesh: Mesh, differs: dict[str, object]) -> None:
    question = Question(TENANT, LAST, conversation(0), policy="endless")
    first = await kept(mesh, question)
    told = await mesh.ask(replace(question, **differs))  # type: ignore[arg-type]
    hit = told.completed.cache_hit
    assert hit is None or hit.entry_id != first.run_id
    assert (await mesh.ask(question)).layer == "EXACT"


async def test_cached_streams_are_broken(model_mesh: Mesh, provider: Provider) -> None:
    provider.behave(words=300)
    first = await kept(model_mesh)
    for question, layer in ((FACT.question, "EXACT"), (FACT.paraphrase, "SEMANTIC")):
        told = await model_mesh.ask(Question(TENANT, question, policy="endless"))
        assert told.layer == layer
        for kind in (Sources, TextDelta, Citation):
            assert told.of(kind) == first.of(kind)
        assert [each.sequence for each in told.events] == list(range(1, len(told.events) + 1))
        assert told.completed.finish_reason is first.completed.finish_reason
        assert told.completed.answer_state is first.completed.answer_state
        assert told.completed.usage is None


@pytest.mark.parametrize(
    "truncated",
    [
        {"stop_reason": "max_tokens"},
        {"stop_reason": "refusal"},
        {"end_after": 5},
        {"drop_after": 5},
        {"error_after": 5},
    ],
)
async def test_truncated_answers_are_cached(
    model_mesh: Mesh, provider: Provider, truncated: dict[str, object]
) -> None:
    # Long enough to hold its number: no two answers are the same.
    provider.behave(words=40, **truncated)
    broken = await model_mesh.ask(FACT.question)
    # What the passages say in its place may be kept; what the model broke off may not.
    await asyncio.sleep(0.3)
    provider.behave(stop_reason="end_turn", end_after=None, drop_after=None, error_after=None)
    told = await asked_alone(model_mesh)
    hit = told.completed.cache_hit
    assert hit is None
    assert told.completed.quality is Quality.FULL
    assert told.completed.finish_reason is FinishReason.END_TURN
    assert told.text != broken.text
    assert (await kept(model_mesh)).text == told.text


@pytest.mark.parametrize("similarity", [0.90, 0.9199, 0.93, 0.97, 1.0])
@pytest.mark.parametrize("least", [None, 0.0, 0.5, 0.92, 0.95, 1.0])
async def test_sync_and_async_thresholds_differ(
    mesh: Mesh, similarity: float, least: float | None
) -> None:
    await mesh.cache.store(answer(tenant_id=TENANT))
    lookup = semantic(at_similarity(similarity), TENANT, min_similarity=least)
    at_once, streamed = await decided(mesh.cache, lookup)
    assert at_once.hit == streamed.hit == (similarity >= max(least or 0.0, 0.92))
    assert at_once.similarity == streamed.similarity == pytest.approx(similarity, abs=1e-5)


@pytest.mark.parametrize(("floor", "hits"), [(0.0, True), (0.92, False)])
async def test_a_threshold_of_0_is_ignored(
    redis_url: str,
    model_dir: Path,
    tmp_path: Path,
    no_blocking: BlockBuster,
    floor: float,
    *,
    hits: bool,
) -> None:
    """Set for the server it means 0; asked for, it cannot go below what the server has."""
    settings = {"cache": {"min_similarity": floor}}
    setting = Setting(redis_url, model_dir, tmp_path, settings=settings)
    far = semantic(vector(0.3, 1.0), TENANT)
    async with open_mesh(setting, no_blocking) as mesh:
        await mesh.cache.store(answer(tenant_id=TENANT))
        for lookup in (far, replace(far, min_similarity=0.0)):
            at_once, streamed = await decided(mesh.cache, lookup)
            assert (at_once.hit, streamed.hit) == (hits, hits)


@pytest.mark.parametrize("least", [-0.01, 1.01, float("nan"), float("inf")])
async def test_a_threshold_that_is_none_is_refused_and_not_ignored(
    mesh: Mesh, least: float
) -> None:
    with pytest.raises(InvalidFieldError, match="min_similarity"):
        await mesh.cache.find(semantic(min_similarity=least, tenant_id=TENANT), limit_s=10.0)


async def test_the_ttl_slides_on_every_hit(
    redis_url: str, model_dir: Path, tmp_path: Path, no_blocking: BlockBuster
) -> None:
    settings = {"cache": {"ttl_s": 2.0, "fresh_share": 0.25, "ttl_jitter": 0.0}}
    setting = Setting(redis_url, model_dir, tmp_path, settings=settings)
    async with open_mesh(setting, no_blocking) as mesh:
        await mesh.cache.store(answer(tenant_id=TENANT))
        seen: list[str] = []

        async def has_ended() -> bool:
            for lookup in (exact(tenant_id=TENANT), semantic(tenant_id=TENANT)):
                found, _ = await decided(mesh.cache, lookup)
                assert found.stale == (found.hit and found.age_s >= 0.5)
                seen.append(found.reason)
            return seen[-2] == "EXPIRED"

        # Looked at all the time, and over all the same.
        await until(has_ended)
    assert seen.count("OK") > 3


async def metric(name: str, labels: Mapping[str, str] | None = None) -> float:
    # In a thread: whoever reads metrics reads files of the kernel too.
    read = partial(REGISTRY.get_sample_value, f"hasten_cache_{name}", dict(labels or {}))
    return await asyncio.to_thread(read) or 0.0


async def test_there_are_no_metrics(model_mesh: Mesh) -> None:
    names = {
        "hits": ("lookups_total", {"layer": "exact", "outcome": "hit"}),
        "near hits": ("lookups_total", {"layer": "semantic", "outcome": "hit"}),
        "misses": ("lookups_total", {"layer": "exact", "outcome": "NOT_FOUND"}),
        "vetoes": ("vetoes_total", {"reason": "BELOW_QUALITY"}),
        "ages": ("hit_age_seconds_count", {"layer": "exact"}),
        "seconds": ("saved_seconds_total", {}),
        "input": ("saved_tokens_total", {"kind": "input"}),
        "output": ("saved_tokens_total", {"kind": "output"}),
    }
    before = {what: await metric(*name) for what, name in names.items()}
    await kept(model_mesh)
    await model_mesh.ask(Question(TENANT, FACT.paraphrase, cache_control=CacheControl.NO_STORE))
    asked = AskedQuestion("Who wrote Hamlet?")
    await model_mesh.cache.store(answer(asked=asked, tenant_id=TENANT, quality=Quality.FAST))
    demanding = exact(asked=asked, tenant_id=TENANT, minimum_quality=Quality.FULL)
    assert (await decided(model_mesh.cache, demanding))[0].reason == "BELOW_QUALITY"
    after = {what: await metric(*name) for what, name in names.items()}
    assert all(after[what] > before[what] for what in names), (before, after)
    assert await metric("index_entries") >= 2
    assert 0.0 <= await metric("index_lag_seconds") < 30.0
    assert 0.0 <= await metric("documents_silence_seconds") < 30.0


async def test_a_lesser_answer_is_served_where_more_was_asked(
    model_mesh: Mesh, provider: Provider
) -> None:
    provider.behave(status=500)
    poor = await model_mesh.ask(FACT.question)
    assert poor.completed.quality is Quality.EXTRACTIVE
    least = Question(TENANT, FACT.question, minimum_quality=Quality.EXTRACTIVE)

    async def is_kept() -> bool:
        return (await model_mesh.ask(least)).layer == "EXACT"

    await until(is_kept)
    provider.behave(status=0)
    good = await model_mesh.ask(FACT.question)
    assert (good.layer, good.completed.quality) == ("", Quality.FULL)

    async def is_replaced() -> bool:
        # Also who would have been content with less gets the better one.
        return (await model_mesh.ask(least)).text == good.text

    await until(is_replaced)
