from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import pytest
from grpc import aio

from hasten.generation.v1 import generation_service_pb2 as pb
from hasten.generation.v1.generation_service_pb2_grpc import (
    GenerationServiceServicer,
    add_GenerationServiceServicer_to_server,
)
from libs.clients import Connection
from libs.clients.generation import GenerationClient
from libs.errors import DependencyUnavailableError
from libs.server.testing import serving
from libs.values import CacheLayer, Citation, ModelTier, TextDelta, Verdict
from libs.values.cache import AskedQuestion
from libs.wire import event_to
from services.cache.changelog import ChangeLog
from services.cache.connection import linked
from services.cache.decision import Judgement
from services.cache.entry import Draft, Entry
from services.cache.freshness import Freshness
from services.cache.keeper import Keeper
from services.cache.lifetimes import Lifetimes
from services.cache.reasons import Reason
from services.cache.replica import Replica
from services.cache.servicer import _pages_from, told_of
from services.cache.store import EntryStore
from services.cache.trust import NOT_TRUSTED, Look, Source, Trust, TrustTerms
from services.cache.trust.agreement import Told, agree
from services.cache.trust.book import Book, looks_of
from services.cache.trust.desk import Desk
from services.cache.trust.judge import Case, Judge, ModelJudge
from services.cache.trust.looks import Hit
from services.cache.trust.regions import REGION_COUNT
from services.cache.trust.trust import Traffic
from services.cache.trust.warden import Warden
from services.cache.vectors import unpacked
from tests.support.valkey import Valkey
from tests.unit.cache.parts import Clock, draft, numbered, semantic

TARGET = 0.8
ACME = Traffic("acme", "interactive", 0.01)
STORED, ASKED = "Who wrote Hamlet?", "Which author wrote Hamlet?"
SHAKESPEARE = "Hamlet was written by William Shakespeare in about 1600."


@dataclass
class Noting(Trust):
    """Trust that remembers what it was told."""

    taken: list[Look] = field(default_factory=list)

    def __init__(self) -> None:
        super().__init__(TrustTerms(TARGET))
        self.taken = []

    def take(self, look: Look) -> None:
        self.taken.append(look)
        super().take(look)

    @property
    def said(self) -> list[tuple[Source, bool]]:
        return [(look.source, look.wrong) for look in self.taken]


class Sentence(Judge):
    """A judge who always says the same."""

    def __init__(self, *, serves: bool | None) -> None:
        self._serves = serves
        self.cases: list[Case] = []

    async def serves(self, case: Case) -> bool | None:
        self.cases.append(case)
        return self._serves


@dataclass(frozen=True, slots=True)
class Office:
    """One replica's trust and those around it."""

    trust: Noting
    desk: Desk
    warden: Warden
    keeper: Keeper
    store: EntryStore

    async def stored(self, question: str, text: str, document: str = "plays", **more: Any) -> Entry:
        pages = _pages_from(map(event_to, numbered(*_events(text, document))))
        kept: Draft = draft(question, pages=pages, **more)
        assert await self.keeper.keep(kept) is Reason.OK
        key = await self.store.key_of("acme", kept.entry_id)
        entry = await self.store.get("acme", key or "")
        assert entry is not None
        return entry

    def reuse(self, entry: Entry, probability: float | None = 0.95) -> Judgement:
        """Return what becomes of the decision to reuse an answer for the question `ASKED`."""
        lookup = semantic(asked=AskedQuestion(ASKED), policy="interactive")
        found = Judgement(Reason.OK, entry, 0.97, probability=probability)
        return self.warden.settle(lookup, unpacked(lookup.embedding), found)


def _events(text: str, document: str) -> tuple[Any, ...]:
    return TextDelta(text), Citation(0, document, text, 0, len(text), 0)


@asynccontextmanager
async def opened(
    redis_url: str, *, judge: Judge | None = None, chance: float = 0.99
) -> AsyncIterator[Office]:
    """Yield an office; hits are drawn to be looked at if `chance` is below their share."""
    async with linked(redis_url, timeout_s=2.0, pause_s=0.0) as link:
        trust, store, clock = Noting(), EntryStore(link), Clock()
        desk = Desk(trust, Book(link), store, told_of, judge, clock=clock, note_lead_s=0.0)
        warden = Warden(trust, desk, allowance=0.01, share=0.05, chance=lambda: chance, clock=clock)
        replica = Replica(store, ChangeLog(link), clock=clock)
        lifetimes, freshness = Lifetimes(100.0, 10.0), Freshness(silence_s=10.0)
        keeper = Keeper(store, store, replica, freshness, lifetimes, desk=desk, clock=clock)
        yield Office(trust, desk, warden, keeper, store)


@pytest.fixture
async def office(redis_url: str) -> AsyncIterator[Office]:
    async with opened(redis_url) as office:
        yield office


def bad_looks(count: int = 40) -> list[Look]:
    hits = [
        Hit("acme", "interactive", 0.01, region, 0.99, 0.05, 0.05) for region in range(REGION_COUNT)
    ]
    return [Look(hit, True, Source.JUDGE, 0.0) for hit in hits for _ in range(count)]


async def test_a_trusted_hit_passes(office: Office) -> None:
    entry = await office.stored(STORED, SHAKESPEARE)
    assert office.reuse(entry).entry is entry


async def test_a_hit_that_is_not_trusted_is_a_miss_that_says_so(office: Office) -> None:
    entry = await office.stored(STORED, SHAKESPEARE)
    office.trust.take_all(bad_looks())
    found = office.reuse(entry)
    assert found.entry is None
    assert found.reason is Reason.NOT_TRUSTED
    assert found.probability == 0.95
    assert found.refused[-1][1] is Reason.NOT_TRUSTED


async def test_a_hit_by_cosine_alone_is_left_alone(office: Office) -> None:
    entry = await office.stored(STORED, SHAKESPEARE)
    office.trust.take_all(bad_looks())
    assert office.reuse(entry, probability=None).entry is entry


async def test_a_report_on_a_hit_by_meaning_counts_on_every_replica(
    redis_url: str, office: Office
) -> None:
    entry = await office.stored(STORED, SHAKESPEARE)
    office.reuse(entry)
    await office.desk.step()
    async with opened(redis_url) as other:
        await other.keeper.report("acme", entry.entry_id, Verdict.BAD, CacheLayer.SEMANTIC)
        await other.desk.step()
        await office.desk.step()
        assert office.trust.said == other.trust.said == [(Source.REPORT, True)]
        assert office.trust.taken[0].hit.probability == 0.95


async def test_a_hit_is_reported_once(office: Office) -> None:
    entry = await office.stored(STORED, SHAKESPEARE)
    office.reuse(entry)
    for _ in range(3):
        await office.keeper.report("acme", entry.entry_id, Verdict.GOOD, CacheLayer.SEMANTIC)
    await office.desk.step()
    assert office.trust.said == [(Source.REPORT, False)]


@pytest.mark.parametrize("layer", [CacheLayer.NONE, CacheLayer.EXACT, CacheLayer.PROMPT])
async def test_a_report_on_an_answer_to_the_very_question_says_nothing_of_meanings(
    office: Office, layer: CacheLayer
) -> None:
    entry = await office.stored(STORED, SHAKESPEARE)
    office.reuse(entry)
    await office.keeper.report("acme", entry.entry_id, Verdict.BAD, layer)
    await office.desk.step()
    assert office.trust.said == []


@pytest.mark.parametrize(
    ("text", "document", "said"),
    [
        (SHAKESPEARE, "plays", [(Source.AGREEMENT, False)]),
        ("Paris lies on the river Seine.", "cities", [(Source.AGREEMENT, True)]),
        ("It is a tragedy of his middle years.", "plays", []),
    ],
)
async def test_what_is_written_later_is_held_against_what_was_served(
    office: Office, text: str, document: str, said: list[tuple[Source, bool]]
) -> None:
    entry = await office.stored(STORED, SHAKESPEARE)
    office.reuse(entry)
    await office.desk.step()
    await office.stored(ASKED, text, document, entry_id="run-2")
    await office.desk.step()
    assert office.trust.said == said


async def test_a_judge_sees_both_questions_and_the_answer(redis_url: str) -> None:
    judge = Sentence(serves=False)
    async with opened(redis_url, judge=judge, chance=0.0) as office:
        office.reuse(await office.stored(STORED, SHAKESPEARE))
        await office.desk.judge_next()
        await office.desk.step()
        assert judge.cases == [Case("acme", ASKED, "who wrote Hamlet?", SHAKESPEARE)]
        assert office.trust.said == [(Source.JUDGE, True)]


async def test_a_judge_who_cannot_say_leaves_it_open(redis_url: str) -> None:
    async with opened(redis_url, judge=Sentence(serves=None), chance=0.0) as office:
        office.reuse(await office.stored(STORED, SHAKESPEARE))
        await office.desk.judge_next()
        await office.desk.step()
        assert office.trust.said == []


async def test_what_is_held_back_is_judged_all_the_same(redis_url: str) -> None:
    judge = Sentence(serves=True)
    async with opened(redis_url, judge=judge, chance=0.2) as office:
        entry = await office.stored(STORED, SHAKESPEARE)
        office.reuse(entry)
        assert judge.cases == []
        office.trust.take_all(bad_looks())
        assert office.reuse(entry).entry is None
        await office.desk.judge_next()
        assert len(judge.cases) == 1


async def test_a_busy_judge_is_shown_no_more_than_it_can_look_at(redis_url: str) -> None:
    judge = Sentence(serves=True)
    async with opened(redis_url, judge=judge, chance=0.0) as office:
        entry = await office.stored(STORED, SHAKESPEARE)
        for _ in range(1_000):
            office.reuse(entry)
        for _ in range(64):
            await office.desk.judge_next()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(office.desk.judge_next(), 0.05)


async def test_without_a_judge_silence_counts_as_consent(redis_url: str) -> None:
    async with opened(redis_url, chance=0.0) as office:
        office.reuse(await office.stored(STORED, SHAKESPEARE))
        await office.desk.step()
        assert office.trust.said == [(Source.SILENCE, False)]


async def test_a_replica_that_starts_holds_back_what_the_others_do(
    redis_url: str, office: Office
) -> None:
    for look in bad_looks():
        office.desk.found(look)
    await office.desk.step()
    async with opened(redis_url) as other:
        await other.desk.catch_up()
        targets = [
            [each.trust.target(ACME, r) for r in range(REGION_COUNT)] for each in (office, other)
        ]
        assert targets[0] == targets[1] == [NOT_TRUSTED] * REGION_COUNT


async def test_looks_at_many_tenants_are_all_read(redis_url: str, office: Office) -> None:
    hits = [Hit(f"tenant-{n % 7}", "p", 0.01, n % 32, 0.9, 0.05, 0.05) for n in range(1_500)]
    for number, hit in enumerate(hits):
        office.desk.found(Look(hit, number % 3 == 0, Source.JUDGE, float(number)))
    await office.desk.step()
    async with opened(redis_url) as other:
        await other.desk.catch_up()
        await other.desk.catch_up()
        for tenant in range(7):
            its_own = [
                each for each in other.trust.taken if each.hit.tenant_id == f"tenant-{tenant}"
            ]
            assert its_own == [
                each for each in office.trust.taken if each.hit.tenant_id == f"tenant-{tenant}"
            ]
        assert len(other.trust.taken) == 1_500


async def test_targets_hold_while_redis_is_gone(valkey: Valkey) -> None:
    async with opened(valkey.url) as office:
        entry = await office.stored(STORED, SHAKESPEARE)
        for look in bad_looks():
            office.desk.found(look)
        await office.desk.step()
        valkey.kill()
        for look in bad_looks():
            office.desk.found(look)
        with pytest.raises(DependencyUnavailableError):
            await office.desk.step()
        assert office.reuse(entry).reason is Reason.NOT_TRUSTED


async def test_the_desk_works_on_once_redis_is_back(valkey: Valkey) -> None:
    async with opened(valkey.url) as office:
        valkey.kill()
        following = asyncio.create_task(office.desk.follow())
        await asyncio.sleep(0.1)
        await asyncio.to_thread(valkey.start)
        office.desk.found(bad_looks()[0])
        async with asyncio.timeout(20):
            while not office.trust.taken:
                office.desk.found(bad_looks()[0])
                await asyncio.sleep(0.05)
        following.cancel()
        with suppress(asyncio.CancelledError):
            await following


async def test_a_look_that_cannot_be_read_is_passed_over(redis_url: str, office: Office) -> None:
    async with linked(redis_url, timeout_s=2.0, pause_s=0.0) as link:
        for damaged in ("", "[]", '[["acme"],true,"judge",0]', "\x00"):
            await link.redis.xadd(looks_of("acme"), {"look": damaged})
    office.desk.found(bad_looks()[0])
    await office.desk.step()
    assert office.trust.said == [(Source.JUDGE, True)]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("It costs 5 euros a month.", "It costs 5 euros a month.", True),
        ("It costs 5 euros a month.", "It costs 7 euros a month.", None),
        ("", "", None),
    ],
)
def test_answers_agree_only_if_their_numbers_do(one: str, other: str, *, same: bool | None) -> None:
    assert agree(Told(one, frozenset()), Told(other, frozenset())) is same


class Writer(GenerationServiceServicer):
    """A generation service that always writes the same."""

    def __init__(self, text: str) -> None:
        self._text = text
        self.asked: list[pb.GenerateTextRequest] = []
        self.priorities: list[Any] = []

    def register(self, server: aio.Server) -> None:
        add_GenerationServiceServicer_to_server(self, server)

    async def GenerateText(
        self, request: pb.GenerateTextRequest, context: aio.ServicerContext[Any, Any]
    ) -> AsyncIterator[pb.GenerateTextResponse]:
        self.asked.append(request)
        self.priorities.append(dict(context.invocation_metadata() or ()).get("hasten-priority"))
        event = pb.GenerationEvent(text_delta=pb.TextDelta(text=self._text))
        yield pb.GenerateTextResponse(events=[event])
        yield pb.GenerateTextResponse(events=[pb.GenerationEvent(completed=pb.Completed())])


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ('{"serves": true}', True),
        ('{"serves": false}', False),
        ('{"serves": "yes"}', None),
        ("[]", None),
        ("Yes.", None),
    ],
)
async def test_a_model_judges_in_the_background_and_keeps_to_the_form(
    text: str, *, verdict: bool | None
) -> None:
    writer = Writer(text)
    async with serving(writer.register) as address, Connection.open(address) as connection:
        judge = ModelJudge(GenerationClient(connection), ModelTier.FAST)
        assert await judge.serves(Case("acme", ASKED, STORED, SHAKESPEARE)) is verdict
    assert writer.priorities == ["background"]
    assert ASKED in writer.asked[0].question
    assert SHAKESPEARE in writer.asked[0].question


async def test_a_model_that_is_not_there_leaves_it_open() -> None:
    async with Connection.open("127.0.0.1:9") as connection:
        judge = ModelJudge(GenerationClient(connection), ModelTier.FAST)
        assert await judge.serves(Case("acme", ASKED, STORED, SHAKESPEARE)) is None
