"""One answer in the form that was asked for: in blocks, in sections, with citations after it."""

from __future__ import annotations

import asyncio
import statistics
from dataclasses import replace

import pytest

from libs.errors import InvalidFieldError
from libs.values import (
    SHOWN,
    AnswerState,
    CacheControl,
    Citation,
    CitationPlacement,
    Completed,
    FinishReason,
    Outline,
    Plan,
    Question,
    Render,
    Revised,
    SectionText,
    TextDelta,
)
from tests.support.corpus import FACTS, TENANT
from tests.support.mesh import Mesh, Told, until_text
from tests.support.provider import Provider
from tests.support.waiting import until

FACT = FACTS[0]
OUTLINED = Question(TENANT, FACT.question, render=Render.OUTLINE)


async def kept(mesh: Mesh, question: Question) -> Told:
    """Ask until the answer comes from the cache, and return that."""
    told: list[Told] = []

    async def is_stored() -> bool:
        told.append(await mesh.ask(question))
        return told[-1].layer == "EXACT"

    await until(is_stored)
    return told[-1]


def titles(told: Told) -> list[str]:
    return [each.title for each in told.whole.sections.sections]


def kinds(told: Told) -> list[type]:
    """Return the kinds of events that a reader sees of the answer, each once in a row."""
    shown = [type(each.event) for each in told.events if isinstance(each.event, SHOWN)]
    return [kind for at, kind in enumerate(shown) if not at or shown[at - 1] is not kind]


async def test_an_outline_comes_before_what_fills_it(model_mesh: Mesh, provider: Provider) -> None:
    provider.behave(sections=3, words=60)
    told = await model_mesh.ask(OUTLINED)
    assert titles(told) == [f"Part {part} of answer 1" for part in (1, 2, 3)]
    assert kinds(told) == [Outline, SectionText]
    assert told.text.count("## Part") == 3
    assert told.text.startswith("## Part 1 of answer 1\n\nAnswer 1 says")
    assert told.completed.answer_state is AnswerState.COMPLETE
    assert told.completed.account.first_text_s is not None
    ends = [told.text[: each.answer_offset] for each in told.whole.placed]
    assert ends
    for citation, end in zip(told.of(Citation), ends, strict=True):
        assert end.split()[-1] in citation.cited_text
    (call,) = provider.calls
    assert "heading" in str(call.body)


async def test_a_stored_outline_is_replayed_as_one(model_mesh: Mesh, provider: Provider) -> None:
    provider.behave(sections=2, words=60)
    first = await model_mesh.ask(OUTLINED)
    again = await kept(model_mesh, OUTLINED)
    assert again.of(Outline)[-1] == first.of(Outline)[-1]
    assert again.of(SectionText) == first.of(SectionText)
    assert again.of(Citation) == first.of(Citation)
    assert again.text == first.text


async def test_an_outline_is_another_answer_and_cuts_and_places_are_not(
    model_mesh: Mesh, provider: Provider
) -> None:
    provider.behave(sections=2, words=60)
    outlined = await kept(model_mesh, OUTLINED)
    plain = Question(TENANT, FACT.question, cache_control=CacheControl.ONLY_IF_CACHED)
    assert (await model_mesh.ask(plain)).completed.answer_state is AnswerState.REFUSED
    provider.behave(words=40)
    told = await kept(model_mesh, replace(plain, cache_control=CacheControl.DEFAULT))
    assert not told.of(Outline)
    for question in (
        replace(plain, render=Render.BLOCK),
        replace(plain, citation_placement=CitationPlacement.AFTER),
    ):
        same = await model_mesh.ask(question)
        assert same.layer == "EXACT"
        assert same.text == told.text != outlined.text


async def test_citations_come_after_the_text_if_asked_for(
    model_mesh: Mesh, provider: Provider
) -> None:
    for render in (Render.TOKEN, Render.BLOCK, Render.OUTLINE):
        provider.behave(sections=2 if render is Render.OUTLINE else 0, words=40)
        question = Question(
            TENANT, FACT.question, render=render, citation_placement=CitationPlacement.AFTER
        )
        for told in (await model_mesh.ask(question), await kept(model_mesh, question)):
            shown = [
                each.event for each in told.events if isinstance(each.event, (*SHOWN, Citation))
            ]
            count = len(told.of(Citation))
            assert count > 0
            assert shown[-count:] == told.of(Citation)


async def test_a_model_that_writes_no_headings_fills_one_section(
    model_mesh: Mesh, provider: Provider
) -> None:
    provider.behave(words=40)
    told = await model_mesh.ask(OUTLINED)
    assert titles(told) == [FACT.question]
    assert told.text.startswith(f"## {FACT.question}\n\nAnswer 1 says")
    assert not told.of(TextDelta)


async def test_without_a_model_sections_are_those_of_the_passages(mesh: Mesh) -> None:
    told = await mesh.ask(OUTLINED)
    assert kinds(told) == [Outline, SectionText]
    assert FACT.answer in told.text
    stored = await kept(mesh, OUTLINED)
    assert stored.text == told.text


async def test_a_refusal_has_the_form_that_was_asked_for(mesh: Mesh) -> None:
    nothing = Question(TENANT, "zzz qqq xxx", render=Render.OUTLINE)
    for _ in range(2):
        told = await mesh.ask(nothing)
        assert told.completed.answer_state is AnswerState.REFUSED
        assert kinds(told) == [Outline, SectionText]
        assert "No answer" in told.text


async def test_an_answer_to_a_schema_has_no_outline(mesh: Mesh) -> None:
    with pytest.raises(InvalidFieldError, match="render"):
        await mesh.ask(replace(OUTLINED, output_schema='{"type": "object"}'))


async def test_a_broken_outline_is_withdrawn_whole(model_mesh: Mesh, provider: Provider) -> None:
    provider.behave(sections=2, words=60, error_after=25)
    told = await model_mesh.ask(OUTLINED)
    places = [type(each.event) for each in told.events]
    assert Outline in places[: places.index(Revised)]
    assert Outline in places[places.index(Revised) :]
    assert "Part 1" not in told.text
    assert FACT.answer in told.text


async def test_a_run_in_sections_is_followed_from_any_event_on(
    model_mesh: Mesh, provider: Provider
) -> None:
    provider.behave(sections=3, words=60, gap="0.002")
    other = await model_mesh.add_orchestrator("other")
    told = await model_mesh.ask(replace(OUTLINED, resumable=True))
    for after in (0, 3, len(told.events) - 2):
        async with other.watch(TENANT, told.run_id, after, limit_s=20) as events:
            seen = [each async for each in events]
        assert tuple(seen) == told.events[after:]


async def test_the_same_outline_in_flight_is_made_once(
    model_mesh: Mesh, provider: Provider
) -> None:
    provider.behave(sections=3, words=60, first_text="0.2", gap="0.002")
    tolds = await asyncio.gather(*(model_mesh.ask(OUTLINED) for _ in range(4)))
    assert len(provider.calls) == 1
    assert len({told.text for told in tolds}) == 1
    assert all(titles(told) == titles(tolds[0]) for told in tolds)


async def test_who_wants_citations_elsewhere_makes_an_answer_of_its_own(
    model_mesh: Mesh, provider: Provider
) -> None:
    provider.behave(words=40, first_text="0.2")
    inline = Question(TENANT, FACT.question)
    after = replace(inline, citation_placement=CitationPlacement.AFTER)
    tolds = await asyncio.gather(model_mesh.ask(inline), model_mesh.ask(after))
    assert not any(told.completed.followed_run_id for told in tolds)
    assert isinstance(tolds[1].events[-2].event, Citation)


async def test_the_skeleton_is_the_first_text_and_whoever_leaves_then_ends_the_call(
    model_mesh: Mesh, provider: Provider
) -> None:
    provider.behave(sections=2, words=60, stall_after=12)
    async with model_mesh.answers.ask(OUTLINED, limit_s=20) as events:
        seen = await until_text(events)
        assert isinstance(seen[-1].event, Outline)

    async def is_cancelled() -> bool:
        return provider.calls[0].outcome == "cancelled"

    await until(is_cancelled)


async def test_a_stopped_outline_ends_with_what_there_was(
    model_mesh: Mesh, provider: Provider
) -> None:
    provider.behave(sections=3, words=60, stall_after=30)
    seen = []
    async with model_mesh.answers.ask(OUTLINED, limit_s=20) as events:
        async for each in events:
            seen.append(each)
            if isinstance(each.event, Outline):
                plan = seen[0].event
                assert isinstance(plan, Plan)
                assert await model_mesh.answers.stop(TENANT, plan.run_id)
    completed = seen[-1].event
    assert isinstance(completed, Completed)
    assert completed.finish_reason is FinishReason.STOPPED
    assert completed.answer_state is AnswerState.PARTIAL


async def test_a_block_that_goes_silent_is_shown_as_far_as_it_goes(
    model_mesh: Mesh, provider: Provider
) -> None:
    provider.behave(words=60, stall_after=5)
    question = Question(TENANT, FACT.question, render=Render.BLOCK, policy="endless")
    async with model_mesh.answers.ask(question, limit_s=20) as events:
        seen = await until_text(events)
    text = seen[-1].event
    assert isinstance(text, TextDelta)
    assert "Answer 1 says in ".startswith(text.text)
    assert text.text.endswith(" ")


@pytest.mark.prove
async def test_what_each_form_costs_until_there_is_something_to_read(
    model_mesh: Mesh, provider: Provider
) -> None:
    """A model that takes 200 ms to its first word, and then writes a word every 12 ms."""
    first_s, gap_s, words, count = 0.200, 0.012, 60, 15
    waits: dict[Render, list[float]] = {}
    for number in range(count):
        for render in (Render.TOKEN, Render.BLOCK, Render.OUTLINE):
            sections = 3 if render is Render.OUTLINE else 0
            provider.behave(sections=sections, words=words, first_text=str(first_s), gap=str(gap_s))
            question = Question(
                TENANT,
                FACTS[number % len(FACTS)].question,
                render=render,
                cache_control=CacheControl.BYPASS,
                policy="endless",
            )
            account = (await model_mesh.ask(question)).completed.account
            assert account.first_text_s is not None
            waits.setdefault(render, []).append(account.first_text_s)
    medians = {render: statistics.median(each) for render, each in waits.items()}
    for render, median_s in medians.items():
        most_s = max(waits[render])
        print(f"{render.name:8} first text p50 {median_s * 1e3:6.0f} ms, most {most_s * 1e3:6.0f}")
    # A heading is six words here, and is told with the first of the next line.
    assert medians[Render.OUTLINE] < medians[Render.TOKEN] + 8 * gap_s + 0.05
    # The first sentence takes as long as it is; nothing is added but a word.
    sentence_s = (words - 2 * 12) * gap_s
    assert medians[Render.BLOCK] < medians[Render.TOKEN] + sentence_s + 0.1


async def test_a_slow_replay_keeps_an_outline(model_mesh: Mesh, provider: Provider) -> None:
    provider.behave(sections=2, words=30)
    spoken = replace(OUTLINED, policy="spoken")
    first = await model_mesh.ask(spoken)
    again = await kept(model_mesh, spoken)
    assert again.text == first.text
    assert len(again.of(SectionText)) > len(again.text.split()) / 2
