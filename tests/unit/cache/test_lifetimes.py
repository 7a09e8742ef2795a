"""How long an answer lives, who makes it anew, and what a refusal and a quarantine are."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.values import FinishReason, Quality, Usage, Verdict
from libs.values.cache import AskedQuestion, Lookup
from libs.values.retrieval import Change, ChangeBatch
from services.cache.decision import Judgement
from services.cache.lifetimes import Lifetimes, jittered
from services.cache.reasons import Reason
from services.cache.scripts import (
    CHANGE_COUNT,
    CHANGE_LAST,
    CHANGES,
    ROOT,
    TENANT_BYTES,
    TENANTS,
    TOTALS,
)
from tests.unit.cache.parts import (
    STORE_ID,
    Parts,
    at_similarity,
    draft,
    exact,
    replica_parts,
    semantic,
)

HALF = Lifetimes(100.0, 10.0, refusal_s=30.0, fresh_share=0.5)
NONE: dict[str, Any] = {
    "finish_reason": FinishReason.NO_ANSWER,
    "quality": Quality.REFUSAL,
    "refusal": "NOTHING_FOUND",
    "store_id": STORE_ID,
    "index_version": 5,
    "asked": AskedQuestion("Who wrote Hamlet?", collection="plays"),
}


@pytest.fixture
async def parts(redis_url: str) -> AsyncIterator[Parts]:
    async with replica_parts(redis_url, HALF) as parts:
        yield parts


def of_plays(lookup: Lookup) -> Lookup:
    return replace(lookup, asked=NONE["asked"])


def heard(parts: Parts, *changes: tuple[int, str], upto: int = 5) -> None:
    """Let the replica hear of changes, by version and collection."""
    told = tuple(Change(version, "acme", where, "doc", deleted=False) for version, where in changes)
    parts.freshness.hear(ChangeBatch(told, upto, STORE_ID))


async def found(parts: Parts, lookup: Lookup, **more: Any) -> Judgement:
    return await parts.finder.find(replace(lookup, **more))


# -- ends ----------------------------------------------------------------------------------


@given(st.text(), st.floats(0, 0.99))
def test_a_life_varies_by_its_name_alone_and_within_bounds(name: str, most: float) -> None:
    factor = jittered(name, most)
    assert 1.0 - most <= factor <= 1.0 + most
    assert jittered(name, most) == factor


def test_what_is_stored_together_does_not_end_together() -> None:
    lives = sorted(jittered(f"run-{number}", 0.1) for number in range(1000))
    assert lives[0] < 0.91
    assert lives[-1] > 1.09
    assert 0.49 < sum(life < 1.0 for life in lives) / 1000 < 0.56


def test_each_kind_of_answer_has_its_ends() -> None:
    lifetimes = replace(HALF, quarantine_s=7.0)
    whole, poor = draft(), draft(degraded=True)
    ends = [lifetimes.ends(each, 1000.0) for each in (whole, poor, draft(**NONE))]
    assert [each.expires_at_s for each in ends] == [1100.0, 1010.0, 1030.0]
    assert [each.stale_at_s for each in ends] == [1050.0, 1005.0, 1030.0]
    assert {each.shared_from_s for each in ends} == {1007.0}


# -- stale ---------------------------------------------------------------------------------


@pytest.mark.parametrize("lookup", [exact(), semantic(at_similarity(0.95))])
async def test_past_its_soft_end_an_answer_serves_and_says_so(parts: Parts, lookup: Lookup) -> None:
    await parts.keeper.keep(draft())
    parts.clock.pass_s(49.0)
    assert not (await found(parts, lookup)).stale
    parts.clock.pass_s(1.0)
    for _ in range(3):
        late = await found(parts, lookup)
        assert (late.reason, late.stale, late.refresh) == (Reason.OK, True, False)
    parts.clock.pass_s(50.0)
    assert (await found(parts, lookup)).reason is Reason.EXPIRED


async def test_who_does_not_accept_a_stale_answer_gets_none(parts: Parts) -> None:
    await parts.keeper.keep(draft())
    assert (await found(parts, exact(), accept_stale=False)).reason is Reason.OK
    parts.clock.pass_s(50.0)
    for lookup in (exact(), semantic()):
        assert (await found(parts, lookup, accept_stale=False)).reason is Reason.STALE


async def test_one_caller_in_the_cluster_is_told_to_make_it_anew(
    parts: Parts, redis_url: str
) -> None:
    await parts.keeper.keep(draft())
    async with replica_parts(redis_url, HALF) as other:
        for each in (parts, other):
            each.clock.pass_s(60.0)
        told = [
            (await found(each, exact(), refreshes=True)).refresh
            for each in (parts, other, parts, other)
        ]
    assert told == [True, False, False, False]


async def test_a_fresh_answer_is_not_made_anew(parts: Parts) -> None:
    await parts.keeper.keep(draft())
    assert not (await found(parts, exact(), refreshes=True)).refresh


async def test_what_was_made_anew_is_fresh_again(parts: Parts) -> None:
    await parts.keeper.keep(draft())
    parts.clock.pass_s(60.0)
    assert (await found(parts, exact(), refreshes=True)).refresh
    await parts.keeper.keep(draft(entry_id="run-2"))
    fresh = await found(parts, exact(), refreshes=True)
    assert fresh.entry is not None
    assert (fresh.entry.entry_id, fresh.stale, fresh.refresh) == ("run-2", False, False)


# -- refusals ------------------------------------------------------------------------------


@pytest.fixture
def heard_parts(parts: Parts) -> Parts:
    parts.freshness.start_over(STORE_ID)
    heard(parts, (3, "plays"), (4, "poems"))
    return parts


async def test_a_refusal_serves_whatever_quality_is_asked_for_and_lives_briefly(
    heard_parts: Parts,
) -> None:
    assert await heard_parts.keeper.keep(draft(**NONE)) is Reason.OK
    lookup = of_plays(exact(minimum_quality=Quality.FULL))
    refused = await heard_parts.finder.find(lookup)
    assert refused.entry is not None
    assert refused.entry.refusal == "NOTHING_FOUND"
    heard_parts.clock.pass_s(30.0)
    assert (await heard_parts.finder.find(lookup)).reason is Reason.EXPIRED


async def test_a_refusal_is_found_by_its_own_question_alone(heard_parts: Parts) -> None:
    await heard_parts.keeper.keep(draft(**NONE))
    assert (await heard_parts.finder.find(of_plays(semantic()))).reason is Reason.NOT_FOUND


async def test_a_refusal_ends_with_the_next_change_in_its_collection(heard_parts: Parts) -> None:
    await heard_parts.keeper.keep(draft(**NONE))
    heard(heard_parts, (6, "poems"), upto=6)
    assert (await heard_parts.finder.find(of_plays(exact()))).entry is not None
    heard(heard_parts, (7, "plays"), upto=7)
    assert (await heard_parts.finder.find(of_plays(exact()))).reason is Reason.DOCUMENT_CHANGED


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"index_version": 2}, Reason.DOCUMENT_CHANGED),
        ({"store_id": "another"}, Reason.DOCUMENT_CHANGED),
        ({"index_version": 9}, Reason.WATCH_SILENT),
        ({"refusal": ""}, Reason.INCOMPLETE),
        ({"finish_reason": FinishReason.STOPPED}, Reason.INCOMPLETE),
    ],
)
async def test_a_refusal_that_may_not_hold_is_not_kept(
    heard_parts: Parts, more: dict[str, Any], reason: Reason
) -> None:
    assert await heard_parts.keeper.keep(draft(**(NONE | more))) is reason


async def test_an_answer_takes_the_place_of_a_refusal_and_not_the_other_way_round(
    heard_parts: Parts,
) -> None:
    await heard_parts.keeper.keep(draft(**NONE))
    asked = NONE["asked"]
    assert await heard_parts.keeper.keep(draft(entry_id="run-2", asked=asked)) is Reason.OK
    late = draft(**(NONE | {"entry_id": "run-3"}))
    assert await heard_parts.keeper.keep(late) is Reason.BETTER_STORED


# -- quarantine ----------------------------------------------------------------------------


async def test_without_a_quarantine_an_answer_is_shared_at_once(parts: Parts) -> None:
    await parts.keeper.keep(draft())
    assert (await parts.finder.find(semantic())).entry is not None


async def test_in_quarantine_an_answer_serves_its_own_question_until_the_time_is_over(
    redis_url: str,
) -> None:
    lifetimes = replace(HALF, quarantine_s=20.0)
    async with replica_parts(redis_url, lifetimes) as parts:
        await parts.keeper.keep(draft())
        for _ in range(5):
            assert (await parts.finder.find(exact())).entry is not None
        assert (await parts.finder.find(semantic())).reason is Reason.QUARANTINED
        parts.clock.pass_s(20.0)
        assert (await parts.finder.find(semantic())).entry is not None


async def test_so_many_hits_of_its_own_question_end_it_on_every_replica(redis_url: str) -> None:
    lifetimes = replace(HALF, quarantine_s=20.0)
    async with (
        replica_parts(redis_url, lifetimes, looks=3) as parts,
        replica_parts(redis_url, lifetimes, looks=3) as other,
    ):
        await parts.keeper.keep(draft())
        for each in (parts, other):
            await each.finder.find(exact())
        assert (await parts.finder.find(semantic())).reason is Reason.QUARANTINED
        await other.finder.find(exact())
        assert (await parts.finder.find(semantic())).entry is not None


async def test_a_good_verdict_ends_it_at_once(redis_url: str) -> None:
    lifetimes = replace(HALF, quarantine_s=20.0)
    async with replica_parts(redis_url, lifetimes, looks=3) as parts:
        await parts.keeper.keep(draft())
        assert not await parts.keeper.report("acme", "run-1", Verdict.GOOD)
        assert (await parts.finder.find(semantic())).entry is not None


# -- personal data -------------------------------------------------------------------------


async def test_a_question_with_personal_data_is_answered_to_itself_alone(parts: Parts) -> None:
    mine = AskedQuestion("Where is the parcel of jane@example.org?")
    await parts.keeper.keep(draft(asked=mine))
    assert (await found(parts, exact(asked=mine))).entry is not None
    assert (await found(parts, semantic())).reason is Reason.NOT_FOUND
    assert (await found(parts, semantic(asked=mine))).reason is Reason.PERSONAL


async def test_a_policy_may_share_it_and_those_of_others_still_do_not_get_it(parts: Parts) -> None:
    mine = AskedQuestion("Where is the parcel of jane@example.org?")
    await parts.keeper.keep(draft(asked=mine, shares_personal=True))
    assert (await found(parts, semantic(asked=mine), shares_personal=True)).entry is not None
    assert (await found(parts, semantic())).reason is Reason.PERSONAL


# -- what a hit has saved ------------------------------------------------------------------


async def test_an_answer_remembers_what_it_took_to_make(parts: Parts) -> None:
    usage = Usage(100, 20, 300, 5)
    await parts.keeper.keep(draft(made_in_s=1.5, usage=usage, index_version=4))
    entry = (await parts.finder.find(exact())).entry
    assert entry is not None
    assert (entry.made_in_s, entry.input_tokens, entry.output_tokens) == (1.5, 405, 20)
    assert entry.index_version == 4


async def test_nothing_is_left_in_redis_that_does_not_name_its_tenant(redis_url: str) -> None:
    lifetimes = replace(HALF, quarantine_s=70.0)
    async with replica_parts(redis_url, lifetimes, looks=3) as parts:
        await parts.keeper.keep(draft())
        parts.clock.pass_s(60.0)
        assert (await found(parts, exact(), refreshes=True)).refresh
        names = await parts.store._redis.keys("*")  # noqa: SLF001
        known = {TENANTS, CHANGES, CHANGE_COUNT, CHANGE_LAST, TENANT_BYTES, TOTALS}
        rest = {name.decode().removeprefix(ROOT) for name in names} - {
            name.removeprefix(ROOT) for name in known
        }
        assert {name.split(":")[1] for name in rest} >= {"looks", "refresh"}
        assert all(name.startswith("acme:") for name in rest)
