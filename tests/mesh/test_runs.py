"""A run can be followed, ended and judged from anywhere; what it may use is the caller's to say."""

from __future__ import annotations

import asyncio
import json

import pytest

from libs.clients.answer import AnswerClient
from libs.errors import RunNotFoundError
from libs.values import (
    AnswerEvent,
    AnswerState,
    CacheControl,
    Citation,
    Completed,
    FinishReason,
    Plan,
    Quality,
    Question,
    Render,
    Sources,
    TextDelta,
    Verdict,
)
from tests.support.corpus import FACTS, TENANT
from tests.support.mesh import Mesh, Told, until_text
from tests.support.provider import Provider
from tests.support.traffic import Hold, Traffic
from tests.support.waiting import until

FACT = FACTS[0]
SCHEMA = json.dumps(
    {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
)


async def watched(client: AnswerClient, run_id: str, after: int = 0) -> Told:
    """Follow a run to its end, and return what was told."""
    async with client.watch(TENANT, run_id, after, limit_s=20) as events:
        return Told(tuple([each async for each in events]))


async def stored(mesh: Mesh, question: str = FACT.question) -> Told:
    """Ask until the answer comes from the cache, and return it."""
    async with asyncio.timeout(10):
        while True:
            told = await mesh.ask(question)
            if told.layer == "EXACT":
                return told
            await asyncio.sleep(0.02)


async def has_ended(client: AnswerClient, run_id: str) -> bool:
    return not await client.stop(TENANT, run_id)


def writing() -> Hold:
    """Hold a text after its first piece."""
    return Hold(lambda method, _: method.endswith("/GenerateText"), after=1)


async def ask_in_the_background(
    client: AnswerClient, question: Question
) -> tuple[asyncio.Task[list[AnswerEvent]], list[AnswerEvent]]:
    """Ask, and return once there is text: the task that reads on, and what was seen."""
    seen: list[AnswerEvent] = []
    has_text = asyncio.Event()

    async def read() -> list[AnswerEvent]:
        async with client.ask(question) as events:
            async for each in events:
                seen.append(each)
                if isinstance(each.event, TextDelta):
                    has_text.set()
        return seen

    task = asyncio.create_task(read())
    await asyncio.wait_for(has_text.wait(), 10)
    return task, seen


def run_of(seen: list[AnswerEvent]) -> str:
    return next(each.event.run_id for each in seen if isinstance(each.event, Plan))


async def test_a_finished_run_is_followed_from_any_point_on_any_replica(mesh: Mesh) -> None:
    told = await mesh.ask(FACT.question)
    other = await mesh.add_orchestrator("orchestrator-2")
    for client in (mesh.answers, other):
        for after in range(len(told.events)):
            assert (await watched(client, told.run_id, after)).events == told.events[after:]


async def test_a_live_run_is_followed_from_any_point_on_any_replica(
    mesh: Mesh, traffic: Traffic
) -> None:
    other = await mesh.add_orchestrator("orchestrator-2")
    with traffic.holding(writing()):
        reading, seen = await ask_in_the_background(
            mesh.answers, Question(TENANT, FACT.question, policy="endless")
        )
        clients = (mesh.answers, other)
        followers = [
            asyncio.create_task(watched(client, run_of(seen), after))
            for client in clients
            for after in (0, 2)
        ]
        await asyncio.sleep(0.2)
        assert not any(each.done() for each in followers)
        assert await mesh.answers.stop(TENANT, run_of(seen))
    events = tuple(await reading)
    for follower, after in zip(followers, (0, 2, 0, 2), strict=True):
        assert (await asyncio.wait_for(follower, 10)).events == events[after:]


async def check_only_seen_in(client: AnswerClient, run_id: str, scope: str) -> None:
    """Check that a run is not there for who does not name its scope."""
    for scopes in ((), ("other",), (f"{scope}x", "")):
        with pytest.raises(RunNotFoundError):
            async with client.watch(TENANT, run_id, 1, scopes=scopes) as events:
                await anext(events)
        with pytest.raises(RunNotFoundError):
            await client.stop(TENANT, run_id, scopes=scopes)
        with pytest.raises(RunNotFoundError):
            await client.report(TENANT, run_id, Verdict.BAD, scopes=scopes)
    for scopes in (("other", scope), ("*",)):
        async with client.watch(TENANT, run_id, 1, scopes=scopes) as events:
            assert (await anext(events)).sequence == 2


async def test_a_run_of_a_scope_is_not_there_without_it_on_any_replica(
    mesh: Mesh, traffic: Traffic
) -> None:
    clients = (mesh.answers, await mesh.add_orchestrator("orchestrator-2"))
    with traffic.holding(writing()):
        question = Question(TENANT, FACT.question, policy="endless", scope="legal")
        reading, seen = await ask_in_the_background(mesh.answers, question)
        for client in clients:
            await check_only_seen_in(client, run_of(seen), "legal")
        assert await clients[1].stop(TENANT, run_of(seen), scopes=("legal",))
        await asyncio.wait_for(reading, 10)
    for client in clients:
        await check_only_seen_in(client, run_of(seen), "legal")
        assert not await client.report(TENANT, run_of(seen), Verdict.GOOD, scopes=("legal",))


@pytest.mark.parametrize("where", ["orchestrator", "orchestrator-2"])
async def test_a_run_is_ended_from_any_replica(mesh: Mesh, traffic: Traffic, where: str) -> None:
    clients = {
        "orchestrator": mesh.answers,
        "orchestrator-2": await mesh.add_orchestrator("orchestrator-2"),
    }
    with traffic.holding(writing()):
        reading, seen = await ask_in_the_background(
            mesh.answers, Question(TENANT, FACT.question, policy="endless")
        )
        assert await clients[where].stop(TENANT, run_of(seen))
        completed = (await asyncio.wait_for(reading, 10))[-1].event
    assert isinstance(completed, Completed)
    assert completed.finish_reason is FinishReason.STOPPED
    assert completed.answer_state is AnswerState.PARTIAL

    async def is_silent() -> bool:
        return not any(method.endswith("/GenerateText") for method in traffic.running())

    await until(is_silent)
    # It counts as ended everywhere once its last event is in the log.
    await until(lambda: has_ended(clients[where], run_of(seen)))


async def test_a_resumable_run_survives_its_caller_and_others_do_not(
    model_mesh: Mesh, provider: Provider
) -> None:
    provider.behave(words=40, gap="0.01")
    for resumable, outcome in ((True, "complete"), (False, "cancelled")):
        question = Question(
            TENANT, FACT.question, resumable=resumable, cache_control=CacheControl.BYPASS
        )
        async with model_mesh.answers.ask(question) as events:
            seen = await until_text(events)
        call = await asyncio.wait_for(provider.until(len(provider.calls), outcome), 10)
        assert call.outcome == outcome
        if resumable:
            told = await watched(model_mesh.answers, run_of(seen))
            assert told.completed.answer_state is AnswerState.COMPLETE
            assert told.events[: len(seen)] == tuple(seen)


@pytest.mark.parametrize("is_left", [True, False])
async def test_what_a_text_took_that_was_cut_is_told(
    model_mesh: Mesh,
    provider: Provider,
    is_left: bool,  # noqa: FBT001
) -> None:
    provider.behave(words=500, gap="0.02")
    question = Question(TENANT, FACT.question, policy="endless")
    async with model_mesh.answers.ask(question) as events:
        seen = await until_text(events)
        if not is_left:
            assert await model_mesh.answers.stop(TENANT, run_of(seen))
            seen += [each async for each in events]
    run_id = run_of(seen)
    async with model_mesh.answers.watch(TENANT, run_id, passive=True, limit_s=20) as events:
        usage = Told(tuple([each async for each in events])).completed.usage
    assert usage is not None
    assert usage.input_tokens > 0
    assert 0 <= usage.output_tokens < 500


async def test_a_bad_answer_is_removed_and_a_good_one_stays(mesh: Mesh) -> None:
    other = await mesh.add_orchestrator("orchestrator-2")
    told = await stored(mesh)
    assert not await mesh.answers.report(TENANT, told.run_id, Verdict.GOOD)
    assert (await mesh.ask(FACT.question)).layer == "EXACT"
    assert await other.report(TENANT, told.run_id, Verdict.BAD)
    assert (await mesh.ask(FACT.question)).layer == ""


async def test_bypass_neither_reads_nor_stores(mesh: Mesh) -> None:
    question = Question(TENANT, FACT.question, cache_control=CacheControl.BYPASS)
    for _ in range(2):
        assert (await mesh.ask(question)).layer == ""
    await asyncio.sleep(0.2)
    assert (await mesh.ask(FACT.question)).layer == ""
    await stored(mesh)
    assert (await mesh.ask(question)).layer == ""


async def test_no_store_reads_and_does_not_store(mesh: Mesh) -> None:
    question = Question(TENANT, FACT.question, cache_control=CacheControl.NO_STORE)
    assert (await mesh.ask(question)).layer == ""
    await asyncio.sleep(0.2)
    assert (await mesh.ask(question)).layer == ""
    await stored(mesh)
    assert (await mesh.ask(question)).layer == "EXACT"


async def test_only_if_cached_refuses_what_is_not_there(mesh: Mesh, traffic: Traffic) -> None:
    question = Question(TENANT, FACT.question, cache_control=CacheControl.ONLY_IF_CACHED)
    told = await mesh.ask(question)
    assert told.completed.answer_state is AnswerState.REFUSED
    assert told.lost["answer"] == "NOT_CACHED"
    assert not any("Generate" in call.method for call in traffic.calls)
    await stored(mesh)
    assert (await mesh.ask(question)).layer == "EXACT"


async def test_refresh_does_not_read_and_replaces(model_mesh: Mesh, provider: Provider) -> None:
    # Long enough to hold its number: no two answers are the same.
    provider.behave(words=40)
    first = await stored(model_mesh)
    refresh = Question(TENANT, FACT.question, cache_control=CacheControl.REFRESH)
    fresh = await model_mesh.ask(refresh)
    assert fresh.layer == ""
    assert fresh.text != first.text

    async def is_replaced() -> bool:
        return (await stored(model_mesh)).text == fresh.text

    await until(is_replaced)


async def test_below_the_quality_asked_for_there_is_a_refusal(mesh: Mesh) -> None:
    for least, is_refused in (
        (Quality.EXTRACTIVE_LEXICAL, False),
        (Quality.EXTRACTIVE, False),
        (Quality.FULL, True),
    ):
        told = await mesh.ask(
            Question(
                TENANT,
                FACT.question,
                minimum_quality=least,
                cache_control=CacheControl.BYPASS,
            )
        )
        assert (told.completed.answer_state is AnswerState.REFUSED) == is_refused
        assert ("BELOW_MINIMUM" in told.lost.values()) == is_refused


async def test_a_stored_answer_below_the_quality_asked_for_does_not_serve(mesh: Mesh) -> None:
    await stored(mesh)
    told = await mesh.ask(Question(TENANT, FACT.question, minimum_quality=Quality.FULL))
    assert told.layer == ""
    assert told.completed.answer_state is AnswerState.REFUSED


async def test_blocks_end_with_sentences_and_say_the_same(model_mesh: Mesh) -> None:
    token = await model_mesh.ask(FACT.question)
    await stored(model_mesh)
    block = await model_mesh.ask(Question(TENANT, FACT.question, render=Render.BLOCK))
    pieces = [each.text for each in block.of(TextDelta)]
    assert "".join(pieces) == token.text
    assert all(piece.rstrip().endswith((".", "!", "?")) for piece in pieces)
    assert block.of(Citation) == token.of(Citation)


async def test_an_answer_to_a_schema_is_checked_before_it_is_stored(
    model_mesh: Mesh, provider: Provider
) -> None:
    valid = Question(TENANT, FACT.question, output_schema=SCHEMA)
    told = await model_mesh.ask(valid)
    assert json.loads(told.text) == {"name": "text"}
    assert told.completed.finish_reason is FinishReason.END_TURN

    async def is_stored() -> bool:
        return (await model_mesh.ask(valid)).layer == "EXACT"

    await until(is_stored)


async def test_an_answer_that_breaks_its_schema_is_marked_and_not_stored(
    model_mesh: Mesh,
) -> None:
    # The provider of the tests always says "text", which is too short.
    long_name = {"type": "string", "minLength": 10}
    schema = json.dumps({"type": "object", "properties": {"name": long_name}})
    question = Question(TENANT, FACT.question, output_schema=schema)
    for _ in range(2):
        told = await model_mesh.ask(question)
        assert told.layer == ""
        assert told.completed.finish_reason is FinishReason.INVALID_OUTPUT
        assert told.completed.answer_state is AnswerState.PARTIAL
        await asyncio.sleep(0.1)


async def test_events_are_numbered_without_gaps_and_end_with_completed(mesh: Mesh) -> None:
    for _ in range(2):
        told = await mesh.ask(FACT.question)
        assert [each.sequence for each in told.events] == list(range(1, len(told.events) + 1))
        assert isinstance(told.events[0].event, Plan)
        assert [type(each.event) for each in told.events].count(Completed) == 1
        assert told.of(Sources)
        await stored(mesh)
