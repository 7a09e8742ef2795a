"""The same question in flight twice is answered once, and nobody can tell but by the account."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, suppress
from pathlib import Path

import pytest
from blockbuster import BlockBuster

from libs.clients.answer import AnswerClient
from libs.errors import MeshError
from libs.values import (
    AnswerState,
    CacheControl,
    FinishReason,
    Quality,
    Question,
    Revised,
    Verdict,
)
from services.orchestrator.flight import Following
from tests.support.corpus import FACTS, TENANT
from tests.support.mesh import Mesh, Setting, Told, ask, open_mesh, until_text
from tests.support.provider import Provider
from tests.support.valkey import Valkey
from tests.support.waiting import until

FACT = FACTS[0]
SAME = Question(TENANT, FACT.question, policy="endless")
# Long enough that each answer names its number, and that callers meet.
WORDY = {"words": 40, "gap": "0.02", "first_text": "0.2"}


@pytest.fixture
async def pair(model_mesh: Mesh, provider: Provider) -> Sequence[AnswerClient]:
    """Two orchestrators over a model that writes slowly, and never the same twice."""
    provider.behave(**WORDY)
    return [model_mesh.answers, await model_mesh.add_orchestrator("orchestrator-2")]


async def crowd(clients: Sequence[AnswerClient], count: int, question: Question) -> list[Told]:
    asking = [ask(clients[index % len(clients)], question) for index in range(count)]
    return list(await asyncio.gather(*asking))


def leaders(answers: Sequence[Told]) -> set[str]:
    return {told.completed.followed_run_id for told in answers} - {""}


def texts_of(provider: Provider, answers: Sequence[Told]) -> set[str]:
    """Return the different texts, each checked to be the whole of one generation."""
    for told in answers:
        assert told.completed.answer_state is AnswerState.COMPLETE
        assert is_of_one_generation(told.text), told.text
    return {told.text for told in answers}


def is_of_one_generation(text: str) -> bool:
    """Return whether a text of the provider of these tests begins once, and at its beginning."""
    return text.startswith("Answer ") and text.count("Answer ") == 1


async def leave_after_text(client: AnswerClient, question: Question = SAME) -> None:
    async with client.ask(question) as events, aclosing(events) as reading:  # type: ignore[type-var]
        await until_text(reading)


async def test_identical_questions_over_two_orchestrators_are_one_generation(
    pair: Sequence[AnswerClient], provider: Provider
) -> None:
    answers = await crowd(pair, 20, SAME)
    assert provider.outcomes() == ["complete"]
    assert len(texts_of(provider, answers)) == 1
    assert len(leaders(answers)) == 1
    assert sum(told.completed.followed_run_id == "" for told in answers) == 1
    assert len({told.run_id for told in answers}) == 20


async def test_a_followers_account_is_its_own_and_partitions_its_time(
    pair: Sequence[AnswerClient],
) -> None:
    for told in await crowd(pair, 4, SAME):
        account = told.completed.account
        at_s = 0.0
        for piece in account.pieces:
            assert piece.start_s == pytest.approx(at_s, abs=1e-3)
            at_s = piece.start_s + piece.length_s
        assert at_s == pytest.approx(account.total_s, abs=1e-3)
        waited_s = sum(piece.length_s for piece in account.pieces if piece.hop == "flight")
        is_follower = told.completed.followed_run_id != ""
        assert (waited_s > 0.5 * account.total_s) == is_follower
        assert (told.completed.usage is None) == is_follower


async def test_without_flights_each_question_is_a_generation_of_its_own(
    redis_url: str, model_dir: Path, tmp_path: Path, provider: Provider, no_blocking: BlockBuster
) -> None:
    provider.behave(**WORDY)
    setting = Setting(
        redis_url,
        model_dir,
        tmp_path,
        provider_url=provider.url,
        settings={"orchestrator": {"flights": False}},
    )
    async with open_mesh(setting, no_blocking) as mesh:
        answers = await crowd([mesh.answers], 5, SAME)
    assert len(provider.calls) == 5
    assert len({told.text for told in answers}) == 5


async def test_a_leaders_caller_may_leave_while_others_read(
    pair: Sequence[AnswerClient], provider: Provider
) -> None:
    for follower in pair:
        count = len(provider.calls) + 1
        question = Question(TENANT, FACTS[count].question, policy="endless")
        leading = asyncio.create_task(leave_after_text(pair[0], question))
        await asyncio.wait_for(provider.until_asked(count), 10)
        told = asyncio.create_task(ask(follower, question))
        await leading
        assert is_of_one_generation((await told).text)
        await asyncio.wait_for(provider.until(count, "complete"), 10)
    assert len(provider.calls) == 2


async def test_the_last_reader_to_leave_ends_it(
    pair: Sequence[AnswerClient], provider: Provider
) -> None:
    provider.behave(words=2000)
    for follower in pair:
        count = len(provider.calls) + 1
        leading = asyncio.create_task(leave_after_text(pair[0]))
        await asyncio.wait_for(provider.until_asked(count), 10)
        await asyncio.gather(leading, leave_after_text(follower))
        await asyncio.wait_for(provider.until(count, "cancelled"), 10)
    assert len(provider.calls) == 2


async def test_tenants_and_scopes_never_share_a_flight(
    model_mesh: Mesh, pair: Sequence[AnswerClient], provider: Provider
) -> None:
    await model_mesh.ingest("rival")
    questions = [
        SAME,
        Question("rival", FACT.question, policy="endless"),
        Question(TENANT, FACT.question, policy="endless", scope="staff"),
        Question(TENANT, FACT.question, policy="endless", cache_control=CacheControl.BYPASS),
    ]
    answers = await asyncio.gather(*(ask(pair[0], each) for each in questions))
    assert len(provider.calls) == len(questions)
    assert leaders(answers) == set()


async def test_who_asks_for_more_than_the_leader_promises_goes_alone(
    pair: Sequence[AnswerClient], provider: Provider
) -> None:
    """A caller in a hurry leads with sentences of the passages; a patient one wants a model."""
    hurried = Question(TENANT, FACT.question, first_text_by_s=0.3)
    answers = await asyncio.gather(
        *(ask(client, question) for client in pair for question in (hurried, SAME))
    )
    for told in answers:
        plan = told.whole.plan
        assert plan is not None
        if plan.policy == "endless":
            assert told.completed.quality is Quality.FULL


@pytest.mark.parametrize("where", [0, 1])
async def test_a_leader_that_would_be_too_late_is_not_followed(
    pair: Sequence[AnswerClient], provider: Provider, where: int
) -> None:
    provider.behave(first_text="3")
    leading = asyncio.create_task(ask(pair[0], SAME))
    await asyncio.wait_for(provider.until_asked(1), 10)
    hurried = Question(TENANT, FACT.question, policy="endless", first_text_by_s=0.25)
    told = await ask(pair[where], hurried)
    assert told.completed.followed_run_id == ""
    assert told.completed.quality <= Quality.EXTRACTIVE
    assert told.text
    await leading


async def test_a_stopped_leader_does_not_stop_its_followers(
    pair: Sequence[AnswerClient], provider: Provider
) -> None:
    async with pair[0].ask(SAME) as events:
        seen = await until_text(events)
        followers = [asyncio.create_task(ask(client, SAME)) for client in pair]
        await asyncio.sleep(0.3)
        run_id = next(each.event.run_id for each in seen if hasattr(each.event, "run_id"))
        assert await pair[0].stop(TENANT, run_id)
        rest = [each async for each in events]
    assert rest[-1].event.finish_reason is FinishReason.STOPPED  # type: ignore[union-attr]
    answers = await asyncio.gather(*followers)
    assert len(texts_of(provider, answers)) == 1
    assert len(provider.calls) == 2
    assert all(told.of(Revised) for told in answers)


async def test_a_bad_shared_answer_is_removed_by_any_of_its_readers(
    pair: Sequence[AnswerClient],
) -> None:
    answers = await crowd(pair, 4, SAME)

    async def is_stored() -> bool:
        return (await ask(pair[0], SAME)).layer == "EXACT"

    await until(is_stored)
    follower = next(told for told in answers if told.completed.followed_run_id)
    assert await pair[1].report(TENANT, follower.run_id, Verdict.BAD)


async def test_a_removed_answer_is_not_given_to_who_asks_next_although_it_has_just_landed(
    mesh: Mesh,
) -> None:
    """Its flight stays a while for those who missed it just before it was stored."""
    question = Question(TENANT, FACT.question)
    stored = Question(TENANT, FACT.question, cache_control=CacheControl.ONLY_IF_CACHED)

    async def is_stored() -> bool:
        return (await mesh.ask(stored)).layer == "EXACT"

    told = await mesh.ask(question)
    await until(is_stored)
    assert await mesh.answers.report(TENANT, told.run_id, Verdict.BAD)
    await asyncio.sleep(0.2)
    anew = await mesh.ask(question)
    assert anew.completed.followed_run_id == ""
    assert anew.layer == ""
    await until(is_stored)


async def ask_until_answered(clients: Sequence[AnswerClient], question: Question) -> Told:
    """Ask one orchestrator, and the next if that one ends."""
    for client in clients:
        with suppress(MeshError):
            return await ask(client, question)
    pytest.fail("no orchestrator answered")


async def lose_the_leader(
    mesh: Mesh, pair: Sequence[AnswerClient], provider: Provider, guard: BlockBuster
) -> list[Told]:
    """Close the leader's orchestrator once there is text, and return what the others were told."""
    provider.behave(words=300, gap="0.02")
    leading = asyncio.create_task(ask_until_answered(pair, SAME))
    await asyncio.wait_for(provider.until_asked(1), 10)
    followers = [asyncio.create_task(ask(pair[1], SAME)) for _ in range(5)]
    await asyncio.wait_for(provider.until_text(), 10)
    await asyncio.sleep(0.3)
    provider.behave(words=40)
    await mesh.rooms["orchestrator"].close()
    return list(await asyncio.gather(leading, *followers))


async def test_a_lost_leader_is_replaced_and_nobody_sees_a_splice(
    model_mesh: Mesh, pair: Sequence[AnswerClient], provider: Provider, no_blocking: BlockBuster
) -> None:
    answers = await lose_the_leader(model_mesh, pair, provider, no_blocking)
    assert len(texts_of(provider, answers)) == 1
    assert len(provider.calls) == 2
    assert all(told.of(Revised) for told in answers[1:])


async def test_without_the_reset_a_splice_is_seen(
    model_mesh: Mesh,
    pair: Sequence[AnswerClient],
    provider: Provider,
    no_blocking: BlockBuster,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Following, "_withdraw", lambda *_: None)
    answers = await lose_the_leader(model_mesh, pair, provider, no_blocking)
    with pytest.raises(AssertionError):
        texts_of(provider, answers)


@pytest.fixture
async def lonely_mesh(
    valkey: Valkey, model_dir: Path, tmp_path: Path, provider: Provider, no_blocking: BlockBuster
) -> AsyncIterator[Mesh]:
    """A mesh with a model and a Redis of its own, as hurried as it is where it is deployed."""
    setting = Setting(valkey.url, model_dir, tmp_path, provider_url=provider.url, is_patient=False)
    async with open_mesh(setting, no_blocking) as opened:
        yield opened


@pytest.mark.parametrize("fault", ["killed", "frozen"])
async def test_without_redis_each_orchestrator_answers_for_itself(
    lonely_mesh: Mesh, valkey: Valkey, provider: Provider, no_blocking: BlockBuster, fault: str
) -> None:
    provider.behave(**WORDY)
    pair = [lonely_mesh.answers, await lonely_mesh.add_orchestrator("orchestrator-2")]
    await asyncio.to_thread(valkey.freeze if fault == "frozen" else valkey.kill)
    answers = await crowd(pair, 6, Question(TENANT, FACT.question))
    assert 2 <= len(texts_of(provider, answers)) <= 6
    await asyncio.to_thread(valkey.thaw)
