"""Events are cut as a caller asked for them; what they say is the same."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from libs.values import (
    Citation,
    CitationPlacement,
    Event,
    Outline,
    Question,
    Render,
    Revised,
    Section,
    SectionText,
    TextDelta,
)
from services.orchestrator.render import Renderer

INLINE, AFTER = CitationPlacement.INLINE, CitationPlacement.AFTER
sentences = st.sampled_from(["One. ", "Two! ", "th", "ree", " and", " so on. ", "\n\n"])
pieces = st.lists(sentences | st.just("CITE"), max_size=30)


def question(render: Render, placement: CitationPlacement = INLINE) -> Question:
    return Question("acme", "Why?", render=render, citation_placement=placement)


def citation(number: int) -> Citation:
    return Citation(number, "d", "cited", 0, 5, number)


def rendered(events: Iterable[Event], asked: Question) -> list[Event]:
    renderer = Renderer(asked)
    found = [each for event in events for each in renderer.feed(event)]
    return [*found, *renderer.end()]


def written(pieces: list[str]) -> list[Event]:
    """Return the events of a text, with a citation wherever one is named."""
    return [
        citation(number) if piece == "CITE" else TextDelta(piece)
        for number, piece in enumerate(pieces)
    ]


def text_of(events: Iterable[Event]) -> str:
    return "".join(event.text for event in events if isinstance(event, TextDelta))


@given(
    pieces=pieces,
    render=st.sampled_from([Render.TOKEN, Render.BLOCK]),
    placement=st.sampled_from([INLINE, AFTER]),
)
def test_no_rendering_changes_text_or_citations(
    pieces: list[str], render: Render, placement: CitationPlacement
) -> None:
    events = written(pieces)
    found = rendered(events, question(render, placement))
    assert text_of(found) == text_of(events)
    citations = [event for event in events if isinstance(event, Citation)]
    assert [event for event in found if isinstance(event, Citation)] == citations
    if placement is AFTER and citations:
        assert found[-len(citations) :] == citations


@given(pieces)
def test_a_citation_comes_after_the_block_that_it_supports(pieces: list[str]) -> None:
    before: dict[Any, int] = {}
    size = 0
    for event in written(pieces):
        size += len(event.text) if isinstance(event, TextDelta) else 0
        before[event] = size
    size = 0
    for event in rendered(written(pieces), question(Render.BLOCK)):
        size += len(event.text) if isinstance(event, TextDelta) else 0
        if isinstance(event, Citation):
            assert size >= before[event]


def test_a_citation_does_not_wait_for_the_block_after_its_own() -> None:
    renderer = Renderer(question(Render.BLOCK))
    found = list(renderer.feed(TextDelta("Blue. ")))
    found += renderer.feed(citation(1))
    found += renderer.feed(TextDelta("And so"))
    assert found == [TextDelta("Blue. "), citation(1)]


def test_what_is_withdrawn_is_sent_in_no_form() -> None:
    for placement in (INLINE, AFTER):
        events = [TextDelta("Never"), citation(1), Revised("MODEL_INTERRUPTED"), TextDelta("New.")]
        found = rendered(events, question(Render.BLOCK, placement))
        assert found == [Revised("MODEL_INTERRUPTED"), TextDelta("New.")]


def test_a_text_without_headings_is_a_section_titled_with_the_question() -> None:
    assert rendered([TextDelta("No answer.")], question(Render.OUTLINE)) == [
        Outline((Section("s1", "Why?"),)),
        SectionText("s1", "No answer."),
    ]


def test_sections_are_passed_on_as_they_are() -> None:
    events: list[Event] = [
        Outline((Section("s1", "Causes"),)),
        SectionText("s1", "Blue"),
        citation(1),
        SectionText("s1", " light."),
    ]
    assert rendered(events, question(Render.OUTLINE)) == events
    after = rendered(events, question(Render.OUTLINE, AFTER))
    assert after == [events[0], events[1], events[3], citation(1)]
