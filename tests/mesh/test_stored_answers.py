"""How stored answers age, are made anew, and are told: seen by those who ask."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from blockbuster import BlockBuster

from libs.values import (
    AnswerState,
    CacheControl,
    Citation,
    Quality,
    Question,
    Role,
    Sources,
    TextDelta,
    Turn,
    Verdict,
)
from tests.support.corpus import FACTS, TENANT, other
from tests.support.mesh import Mesh, Setting, Told, ask, open_mesh
from tests.support.provider import Provider
from tests.support.traffic import Traffic
from tests.support.waiting import until

FACT = FACTS[0]
# An answer is stale once this part of its day is over: 90 ms.
SOON = {"cache": {"fresh_share": 1e-6}}


@pytest.fixture
async def ageing(
    redis_url: str, model_dir: Path, tmp_path: Path, provider: Provider, no_blocking: BlockBuster
) -> AsyncIterator[Mesh]:
    """A mesh with a model that never says the same twice, and whose answers age at once."""
    provider.behave(words=40)
    setting = Setting(redis_url, model_dir, tmp_path, provider_url=provider.url, settings=SOON)
    async with open_mesh(setting, no_blocking) as opened:
        yield opened


async def kept(mesh: Mesh, question: str | Question = FACT.question) -> Told:
    """Ask, and look until the answer is in the cache; a look has nothing made anew."""
    asked = patiently(question) if isinstance(question, str) else question
    first = await mesh.ask(asked)
    look = replace(asked, cache_control=CacheControl.ONLY_IF_CACHED)

    async def is_stored() -> bool:
        return (await mesh.ask(look)).completed.cache_hit is not None

    await until(is_stored)
    return first


def patiently(text: str, **more: Any) -> Question:
    """Return a question that waits for the exact lookup, however slow the machine is."""
    return Question(TENANT, text, policy="endless", **more)


async def asked_until_stale(mesh: Mesh, question: str | Question = FACT.question) -> Told:
    """Ask for a stored answer until it is served although it is stale; return that time."""
    told: list[Told] = []
    asked = patiently(question) if isinstance(question, str) else question

    async def is_stale() -> bool:
        told.append(await mesh.ask(asked))
        hit = told[-1].completed.cache_hit
        return hit is not None and hit.stale

    await until(is_stale)
    return told[-1]


async def watched(mesh: Mesh, run_id: str) -> Told:
    async with mesh.answers.watch(TENANT, run_id) as events:
        return Told(tuple([each async for each in events]))


def refresh_of(told: Told) -> str:
    """Return the run that a hit has begun; empty if it was none, or has begun none."""
    hit = told.completed.cache_hit
    return "" if hit is None else hit.refresh_run_id


# -- stale ---------------------------------------------------------------------------------


async def test_a_stale_answer_serves_and_the_run_that_makes_it_anew_can_be_followed(
    ageing: Mesh, provider: Provider
) -> None:
    await kept(ageing)
    stale = await asked_until_stale(ageing)
    anew = await watched(ageing, refresh_of(stale))
    assert anew.completed.answer_state is AnswerState.COMPLETE
    assert anew.completed.quality is stale.completed.quality
    assert anew.text != stale.text

    async def is_replaced() -> bool:
        hit = (told := await ageing.ask(FACT.question)).completed.cache_hit
        return hit is not None and hit.entry_id == anew.run_id and told.text == anew.text

    await until(is_replaced)
    assert provider.outcomes() == ["complete", "complete"]


async def test_of_many_callers_at_two_replicas_one_has_it_made_anew(
    ageing: Mesh, provider: Provider
) -> None:
    clients = [ageing.answers, await ageing.add_orchestrator("orchestrator-2")]
    await kept(ageing)
    first = await asked_until_stale(ageing)
    crowd = [ask(clients[number % 2], FACT.question) for number in range(20)]
    told = await asyncio.gather(*crowd)
    runs = {refresh_of(each) for each in (first, *told)} - {""}
    assert runs == {refresh_of(first)}
    await watched(ageing, refresh_of(first))
    assert len(provider.calls) == 2


async def test_by_meaning_the_stored_question_is_made_anew(ageing: Mesh) -> None:
    await kept(ageing)
    reworded = Question(TENANT, FACT.paraphrase)
    told = await asked_until_stale(ageing, reworded)
    assert told.layer == "SEMANTIC"
    await watched(ageing, refresh_of(told))

    async def is_replaced() -> bool:
        hit = (await ageing.ask(FACT.question)).completed.cache_hit
        return hit is not None and hit.entry_id == refresh_of(told)

    await until(is_replaced)


async def test_while_nothing_better_can_be_made_the_stale_answer_goes_on_to_serve(
    ageing: Mesh, provider: Provider
) -> None:
    first = await kept(ageing)
    provider.behave(status=500)
    stale = await asked_until_stale(ageing)
    failed = await watched(ageing, refresh_of(stale))
    assert failed.completed.answer_state is AnswerState.REFUSED
    assert (await ageing.ask(FACT.question)).text == first.text


async def test_a_policy_may_refuse_what_is_stale(ageing: Mesh) -> None:
    first = await kept(ageing)
    await asked_until_stale(ageing)
    fresh = Question(TENANT, FACT.question, policy="fresh")

    async def is_written_anew() -> bool:
        # For a moment after it was made, an answer is shared by its flight.
        told = await ageing.ask(fresh)
        assert not (told.completed.cache_hit and told.completed.cache_hit.stale)
        return told.text != first.text

    await until(is_written_anew)


@pytest.mark.parametrize("control", [CacheControl.NO_STORE, CacheControl.ONLY_IF_CACHED])
async def test_who_stores_nothing_has_nothing_made_anew(
    ageing: Mesh, provider: Provider, control: CacheControl
) -> None:
    await kept(ageing)
    question = Question(TENANT, FACT.question, cache_control=control)
    told = await asked_until_stale(ageing, question)
    assert refresh_of(told) == ""
    assert len(provider.calls) == 1


# -- what is not whole, and what was reported -----------------------------------------------

BREAKS: tuple[dict[str, Any], ...] = (
    {"stop_reason": "max_tokens"},
    {"end_after": 5},
    {"drop_after": 5},
    {"error_after": 5},
    {"status": 500},
)
SOUND = {
    "stop_reason": "end_turn",
    "end_after": None,
    "drop_after": None,
    "error_after": None,
    "status": 0,
}


async def ask_all(mesh: Mesh, provider: Provider, questions: list[str], rate: float) -> set[str]:
    """Ask each, with a model that breaks at a rate; return the texts that were whole."""
    random_ = random.Random(20_260_102)  # noqa: S311 - the same breaks each time
    whole = set()
    for text in questions:
        broken = random_.choice(BREAKS) if random_.random() < rate else {}
        provider.behave(**(SOUND | broken))
        told = await mesh.ask(Question(TENANT, text, policy="endless"))
        is_whole = told.completed.answer_state is AnswerState.COMPLETE
        if is_whole and (told.completed.quality is not Quality.FULL or not broken):
            whole.add(told.text)
    return whole


async def served_of(mesh: Mesh, questions: list[str]) -> list[Told]:
    look = CacheControl.ONLY_IF_CACHED
    told = [await mesh.ask(patiently(text, cache_control=look)) for text in questions]
    return [each for each in told if each.layer]


@pytest.mark.parametrize(
    ("count", "rate"), [(20, 0.5), pytest.param(1000, 0.02, marks=pytest.mark.prove)]
)
async def test_what_the_model_broke_off_is_never_stored_or_served(
    model_mesh: Mesh, provider: Provider, count: int, rate: float
) -> None:
    provider.behave(words=40)
    questions = [other(number) for number in range(count)]
    whole = await ask_all(model_mesh, provider, questions, rate)
    served = await served_of(model_mesh, questions)
    assert len(served) > (1 - rate) * count / 2
    for told in served:
        assert told.text in whole
        assert told.completed.finish_reason.is_whole


async def test_a_reported_answer_is_served_nowhere_a_moment_later(mesh: Mesh) -> None:
    clients = [mesh.answers, await mesh.add_orchestrator("orchestrator-2")]
    first = await kept(mesh)
    assert await clients[1].report(TENANT, first.run_id, Verdict.BAD)
    await asyncio.sleep(0.2)
    look = CacheControl.ONLY_IF_CACHED
    for client in clients:
        for text in (FACT.question, FACT.paraphrase):
            assert (await ask(client, patiently(text, cache_control=look))).layer == ""


# -- there is no answer --------------------------------------------------------------------


async def test_that_there_is_no_answer_is_remembered_until_the_collection_changes(
    mesh: Mesh, traffic: Traffic
) -> None:
    await mesh.retrieval.create_collection(TENANT, "empty")
    question = patiently(FACT.question, collection="empty")
    first = await kept(mesh, question)
    assert first.lost["answer"] == "NOTHING_FOUND"
    searches = sum("Search" in call.method for call in traffic.calls)
    again = await mesh.ask(question)
    assert (again.layer, again.text, again.lost) == ("EXACT", first.text, first.lost)
    assert again.completed.answer_state is AnswerState.REFUSED
    assert again.completed.quality is Quality.REFUSAL
    assert again.completed.finish_reason is first.completed.finish_reason
    assert sum("Search" in call.method for call in traffic.calls) == searches
    await mesh.retrieval.upsert(TENANT, "empty", [FACT.document])

    async def is_answered() -> bool:
        return FACT.answer in (await mesh.ask(question)).text

    await until(is_answered)


async def test_that_the_passages_do_not_hold_it_is_remembered_too(mesh: Mesh) -> None:
    question = patiently("Zxqv wpol?")
    first = await kept(mesh, question)
    assert first.lost["answer"] == "NOT_IN_SOURCES"
    again = await mesh.ask(question)
    assert (again.layer, again.text, again.lost) == ("EXACT", first.text, first.lost)


async def test_that_nobody_could_search_in_full_is_not_remembered(mesh: Mesh) -> None:
    await mesh.retrieval.create_collection(TENANT, "empty")
    await mesh.rooms["embedding"].close()
    question = Question(TENANT, FACT.question, collection="empty")
    for _ in range(5):
        told = await mesh.ask(question)
        assert (told.layer, told.lost["answer"]) == ("", "NOTHING_FOUND")
        await asyncio.sleep(0.05)
    await mesh.reopen("embedding")


# -- conversations -------------------------------------------------------------------------


def after(question: str, answer: str, follow_up: str) -> Question:
    history = (Turn(Role.USER, question), Turn(Role.ASSISTANT, answer))
    return Question(TENANT, follow_up, history=history)


async def test_a_follow_up_is_searched_for_as_what_it_stands_for_and_stays_in_its_conversation(
    mesh: Mesh,
) -> None:
    for fact in FACTS[:4]:
        question = after(fact.question, fact.answer, "And what else is known of it?")
        told = await mesh.ask(question)
        assert told.layer == ""
        (sources,) = told.of(Sources)
        assert sources.passages[0].document_id == fact.name
        hops = {hop.hop: hop.outcome for hop in told.completed.account.hops}
        assert hops["rewriting"] == "ok:merged"
        assert (await kept(mesh, question)).text == told.text


async def test_outside_of_a_conversation_nothing_is_rewritten(mesh: Mesh) -> None:
    told = await mesh.ask(FACT.question)
    assert "rewriting" not in {hop.hop for hop in told.completed.account.hops}


# -- cache control by meaning ------------------------------------------------------------


@pytest.mark.parametrize(
    ("control", "layer"),
    [
        (CacheControl.DEFAULT, "SEMANTIC"),
        (CacheControl.NO_STORE, "SEMANTIC"),
        (CacheControl.ONLY_IF_CACHED, "SEMANTIC"),
        (CacheControl.BYPASS, ""),
        (CacheControl.REFRESH, ""),
    ],
)
async def test_how_the_cache_may_be_used_holds_for_meanings_too(
    mesh: Mesh, control: CacheControl, layer: str
) -> None:
    await kept(mesh)
    reworded = Question(TENANT, FACT.paraphrase, cache_control=control)
    assert (await mesh.ask(reworded)).layer == layer
    await asyncio.sleep(0.2)
    is_stored = (await mesh.ask(patiently(FACT.paraphrase))).layer == "EXACT"
    assert is_stored == (control is CacheControl.REFRESH)


# -- replay --------------------------------------------------------------------------------


async def test_a_stored_answer_may_be_told_at_a_pace_and_is_the_same(model_mesh: Mesh) -> None:
    question = Question(TENANT, FACT.question, policy="spoken")
    first = await kept(model_mesh, question)
    told = await model_mesh.ask(question)
    assert told.layer == "EXACT"
    assert told.text == first.text
    assert told.of(Citation) == first.of(Citation)
    assert told.of(Sources)[0].passages == first.of(Sources)[0].passages
    words = len(told.text.split())
    assert len(told.of(TextDelta)) >= words
    account = told.completed.account
    assert account.total_s >= (words - 1) / 100.0
    (hop,) = [hop for hop in account.hops if hop.hop == "replay"]
    assert hop.used_s >= (words - 1) / 100.0
    assert sum(piece.length_s for piece in account.pieces) == pytest.approx(account.total_s)


async def test_a_caller_may_leave_in_the_middle_of_a_paced_answer(model_mesh: Mesh) -> None:
    question = Question(TENANT, FACT.question, policy="spoken")
    await kept(model_mesh, question)
    async with model_mesh.answers.ask(question) as events:
        async for each in events:
            if isinstance(each.event, TextDelta):
                break
    assert (await model_mesh.ask(question)).layer == "EXACT"


async def test_a_hit_says_where_it_is_from_and_how_old_it_is(mesh: Mesh) -> None:
    first = await kept(mesh)
    for question, layer in ((FACT.question, "EXACT"), (FACT.paraphrase, "SEMANTIC")):
        told = await mesh.ask(patiently(question))
        hit = told.completed.cache_hit
        assert hit is not None
        assert hit.layer.name == layer
        assert (hit.similarity == 1.0) == (layer == "EXACT")
        assert hit.similarity > 0.9
        assert 0.0 <= hit.age_s < 60.0
        assert hit.entry_id == first.run_id
        assert hit.index_version == first.of(Sources)[0].index_version > 0
        assert (hit.stale, hit.refresh_run_id) == (False, "")
