from __future__ import annotations

import asyncio

import pytest

from libs.values import SourceVersion
from libs.values.retrieval import Change, ChangeBatch
from services.cache.freshness import Freshness
from services.cache.reasons import Reason
from tests.unit.cache.parts import STORE_ID, Clock

HAMLET_3 = (SourceVersion("plays", "hamlet", 3),)


def change(version: int, document_id: str, **more: object) -> Change:
    values = {"tenant_id": "acme", "collection": "plays", "deleted": False} | more
    return Change(version=version, document_id=document_id, **values)  # type: ignore[arg-type]


def batch(*changes: Change, upto: int = 5, store_id: str = STORE_ID) -> ChangeBatch:
    return ChangeBatch(changes, upto, store_id)


@pytest.fixture
def clock() -> Clock:
    return Clock(100.0)


@pytest.fixture
async def freshness(clock: Clock) -> Freshness:
    freshness = Freshness(silence_s=0.5, clock=clock)
    freshness.start_over(STORE_ID)
    freshness.hear(batch(change(2, "macbeth"), change(3, "hamlet")))
    return freshness


async def test_an_answer_from_unchanged_documents_is_fresh(freshness: Freshness) -> None:
    assert freshness.judge("acme", HAMLET_3, STORE_ID) is None


@pytest.mark.parametrize("deleted", [False, True])
async def test_a_changed_or_deleted_document_makes_exactly_its_answers_unusable(
    freshness: Freshness, *, deleted: bool
) -> None:
    freshness.hear(batch(change(6, "hamlet", deleted=deleted), upto=6))
    assert freshness.judge("acme", HAMLET_3, STORE_ID) is Reason.DOCUMENT_CHANGED
    macbeth = (SourceVersion("plays", "macbeth", 2),)
    assert freshness.judge("acme", macbeth, STORE_ID) is None
    assert freshness.judge("acme", HAMLET_3 + macbeth, STORE_ID) is Reason.DOCUMENT_CHANGED


@pytest.mark.parametrize("elsewhere", [{"tenant_id": "rival"}, {"collection": "poems"}])
async def test_a_document_of_that_name_elsewhere_does_not_count(
    freshness: Freshness, elsewhere: dict[str, str]
) -> None:
    freshness.hear(batch(change(6, "hamlet", **elsewhere), upto=6))
    assert freshness.judge("acme", HAMLET_3, STORE_ID) is None


async def test_a_document_that_was_never_told_counts_as_changed(freshness: Freshness) -> None:
    unknown = (SourceVersion("plays", "othello", 1),)
    assert freshness.judge("acme", unknown, STORE_ID) is Reason.DOCUMENT_CHANGED


async def test_silence_is_a_miss_for_what_depends_on_documents_alone(
    freshness: Freshness, clock: Clock
) -> None:
    clock.pass_s(0.5)
    assert freshness.judge("acme", HAMLET_3, STORE_ID) is None
    clock.pass_s(0.01)
    assert freshness.judge("acme", HAMLET_3, STORE_ID) is Reason.WATCH_SILENT
    assert freshness.judge("acme", (), "") is None


async def test_a_sign_of_life_ends_the_silence(freshness: Freshness, clock: Clock) -> None:
    clock.pass_s(3.0)
    freshness.hear(batch())
    assert freshness.judge("acme", HAMLET_3, STORE_ID) is None


async def test_nothing_heard_yet_is_silence() -> None:
    assert Freshness(silence_s=0.5).judge("acme", HAMLET_3, STORE_ID) is Reason.WATCH_SILENT


async def test_a_batch_that_is_continued_does_not_end_the_silence(
    freshness: Freshness, clock: Clock
) -> None:
    clock.pass_s(3.0)
    freshness.hear(batch(change(7, "macbeth"), upto=5))
    assert freshness.judge("acme", HAMLET_3, STORE_ID) is Reason.WATCH_SILENT
    freshness.hear(batch(change(9, "hamlet"), upto=9))
    assert freshness.judge("acme", HAMLET_3, STORE_ID) is Reason.DOCUMENT_CHANGED


async def test_a_version_that_was_not_heard_of_is_no_verdict(freshness: Freshness) -> None:
    newer = (SourceVersion("plays", "hamlet", 6),)
    assert freshness.judge("acme", newer, STORE_ID) is Reason.WATCH_SILENT


async def test_another_store_makes_all_answers_unusable(freshness: Freshness) -> None:
    assert freshness.judge("acme", HAMLET_3, "store-2") is Reason.DOCUMENT_CHANGED
    freshness.start_over("store-2")
    assert freshness.judge("acme", HAMLET_3, STORE_ID) is Reason.WATCH_SILENT
    freshness.hear(batch(change(3, "hamlet"), store_id="store-2"))
    assert freshness.judge("acme", HAMLET_3, STORE_ID) is Reason.DOCUMENT_CHANGED
    assert freshness.judge("acme", HAMLET_3, "store-2") is None


async def test_a_store_waits_for_the_watch_to_catch_up(freshness: Freshness) -> None:
    newer = (SourceVersion("plays", "hamlet", 6),)
    waiting = asyncio.create_task(freshness.catch_up(newer, limit_s=10.0))
    await asyncio.sleep(0)
    freshness.hear(batch(upto=5))
    await asyncio.sleep(0)
    assert not waiting.done()
    freshness.hear(batch(change(6, "hamlet"), upto=6))
    await waiting
    assert freshness.judge("acme", newer, STORE_ID) is None


async def test_a_store_does_not_wait_for_ever(freshness: Freshness) -> None:
    newer = (SourceVersion("plays", "hamlet", 6),)
    await freshness.catch_up(newer, limit_s=0.01)
    assert freshness.judge("acme", newer, STORE_ID) is Reason.WATCH_SILENT


async def test_a_store_without_documents_does_not_wait_at_all(clock: Clock) -> None:
    await asyncio.wait_for(Freshness(silence_s=0.5, clock=clock).catch_up((), limit_s=100.0), 1.0)
