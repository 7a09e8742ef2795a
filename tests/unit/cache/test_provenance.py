"""What a policy says of the documents behind an answer holds, at store and at every read."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import pytest

from libs.values import SourceVersion
from libs.values.cache import AskedQuestion, OlderThan, Provenance, WrittenBy
from libs.values.retrieval import Change, ChangeBatch
from services.cache.entry import decode, encode
from services.cache.reasons import Reason
from tests.unit.cache.parts import STORE_ID, Parts, draft, exact, replica_parts, semantic
from tests.unit.cache.test_index import entry

TTL, SOURCES, COLLECTION = Provenance.TTL, Provenance.SOURCES, Provenance.COLLECTION
ASKED = AskedQuestion("Who wrote Hamlet?", collection="plays")
BUILT = {
    "asked": ASKED,
    "sources": (SourceVersion("plays", "hamlet", 1),),
    "store_id": STORE_ID,
    "index_version": 1,
}


@pytest.fixture
async def parts(redis_url: str) -> AsyncIterator[Parts]:
    async with replica_parts(redis_url) as parts:
        parts.freshness.start_over(STORE_ID)
        change(parts, 1, "hamlet")
        yield parts


def change(
    parts: Parts, version: int, document_id: str, collection: str = "plays", tenant: str = "acme"
) -> None:
    changes = (Change(version, tenant, collection, document_id, deleted=False),)
    parts.freshness.hear(ChangeBatch(changes, version, STORE_ID))


def other_document(parts: Parts) -> None:
    change(parts, 2, "macbeth")


def same_document(parts: Parts) -> None:
    change(parts, 2, "hamlet")


def elsewhere(parts: Parts) -> None:
    change(parts, 2, "hamlet", collection="poems")
    change(parts, 3, "hamlet", tenant="rival")


async def reasons(parts: Parts, wanted: Provenance = Provenance.UNSPECIFIED) -> set[Reason]:
    lookups = (
        exact(asked=ASKED, provenance=wanted),
        semantic(asked=ASKED, provenance=wanted),
    )
    return {(await parts.finder.find(lookup)).reason for lookup in lookups}


@pytest.mark.parametrize(
    ("stored", "happens", "reason"),
    [
        (SOURCES, other_document, Reason.OK),
        (SOURCES, same_document, Reason.DOCUMENT_CHANGED),
        (COLLECTION, other_document, Reason.DOCUMENT_CHANGED),
        (COLLECTION, same_document, Reason.DOCUMENT_CHANGED),
        (COLLECTION, elsewhere, Reason.OK),
        (TTL, other_document, Reason.OK),
        (TTL, same_document, Reason.OK),
    ],
)
async def test_a_change_makes_unusable_what_the_policy_says(
    parts: Parts, stored: Provenance, happens: Callable[[Parts], None], reason: Reason
) -> None:
    assert await parts.keeper.keep(draft(provenance=stored, **BUILT)) is Reason.OK
    assert await reasons(parts) == {Reason.OK}
    happens(parts)
    assert (await parts.finder.find(exact(asked=ASKED))).reason is reason
    assert (await parts.finder.find(semantic(asked=ASKED))).reason is reason


@pytest.mark.parametrize(
    ("stored", "wanted", "happens", "reason"),
    [
        (TTL, SOURCES, same_document, Reason.DOCUMENT_CHANGED),
        (TTL, TTL, same_document, Reason.OK),
        (SOURCES, TTL, same_document, Reason.DOCUMENT_CHANGED),
        (SOURCES, COLLECTION, other_document, Reason.DOCUMENT_CHANGED),
        (TTL, COLLECTION, elsewhere, Reason.OK),
    ],
)
async def test_of_two_policies_the_stricter_counts(
    parts: Parts,
    stored: Provenance,
    wanted: Provenance,
    happens: Callable[[Parts], None],
    reason: Reason,
) -> None:
    await parts.keeper.keep(draft(provenance=stored, **BUILT))
    happens(parts)
    assert await reasons(parts, wanted) == {reason}


async def test_a_stricter_reader_takes_nothing_from_others(parts: Parts) -> None:
    await parts.keeper.keep(draft(provenance=TTL, **BUILT))
    same_document(parts)
    assert await reasons(parts, SOURCES) == {Reason.DOCUMENT_CHANGED}
    assert await reasons(parts, TTL) == {Reason.OK}


@pytest.mark.parametrize(
    ("stored", "reason"),
    [(COLLECTION, Reason.DOCUMENT_CHANGED), (SOURCES, Reason.OK), (TTL, Reason.OK)],
)
async def test_a_collection_that_changed_during_the_generation_counts_at_store(
    parts: Parts, stored: Provenance, reason: Reason
) -> None:
    other_document(parts)
    assert await parts.keeper.keep(draft(provenance=stored, **BUILT)) is reason


async def test_a_silent_watch_is_a_miss_but_where_nothing_is_compared(parts: Parts) -> None:
    for number, stored in enumerate((TTL, SOURCES, COLLECTION)):
        asked = AskedQuestion(f"{number}?", collection="plays")
        built = BUILT | {"asked": asked, "entry_id": stored.name, "provenance": stored}
        assert await parts.keeper.keep(draft(**built)) is Reason.OK
    parts.freshness.start_over(STORE_ID)
    found = [
        await parts.finder.find(exact(f"{n}?", asked=AskedQuestion(f"{n}?", collection="plays")))
        for n in range(3)
    ]
    assert [each.reason for each in found] == [Reason.OK, Reason.WATCH_SILENT, Reason.WATCH_SILENT]


async def test_an_outdated_answer_never_keeps_a_newer_one_out(parts: Parts) -> None:
    await parts.keeper.keep(draft(provenance=TTL, **BUILT))
    same_document(parts)
    newer = BUILT | {"sources": (SourceVersion("plays", "hamlet", 2),), "degraded": True}
    assert await parts.keeper.keep(draft(entry_id="run-2", **newer)) is Reason.OK


async def test_a_record_of_before_provenance_is_read_as_of_its_sources() -> None:
    stored = entry("k", provenance=COLLECTION, index_version=7, made_in_s=1.5)
    assert decode(encode(stored)) == stored
    assert entry("k").provenance is SOURCES


async def test_old_answers_and_those_of_a_model_are_removed(parts: Parts) -> None:
    await parts.keeper.keep(draft("A?", entry_id="a", model="m"))
    parts.clock.pass_s(10.0)
    await parts.keeper.keep(draft("B?", entry_id="b", model="m"))
    assert await parts.keeper.remove("acme", OlderThan(11.0)) == 0
    assert await parts.keeper.remove("acme", OlderThan(10.0)) == 1
    assert await parts.keeper.remove("acme", WrittenBy("n")) == 0
    assert await parts.keeper.remove("acme", WrittenBy("m")) == 1
