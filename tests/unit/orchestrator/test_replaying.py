from __future__ import annotations

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from libs.values import Citation, Event, Sources, TextDelta
from services.orchestrator.replaying import replay, timetable, word_by_word

SOURCES = Sources((), 1, "fused")
CITATION = Citation(0, "doc", "words", 0, 5, 10)
EVENTS = (SOURCES, TextDelta("One two  three."), CITATION, TextDelta("\n\n- four"))


@given(st.lists(st.text(max_size=30), max_size=5))
def test_words_are_the_text_that_was_stored(texts: list[str]) -> None:
    words = [event for event in word_by_word(map(TextDelta, texts)) if isinstance(event, TextDelta)]
    assert "".join(word.text for word in words) == "".join(texts)
    assert all(len(word.text.split()) <= 1 for word in words)


def test_each_word_is_due_at_the_pace_and_events_stay_in_order() -> None:
    timed = list(timetable(EVENTS, words_per_s=4.0, left_s=10.0))
    assert [at_s for at_s, _ in timed] == [0.0, 0.0, 0.25, 0.5, 0.5, 0.75, 1.0]
    assert [event for _, event in timed] == list(word_by_word(EVENTS))


def test_a_pace_that_is_too_slow_for_the_time_is_raised() -> None:
    timed = list(timetable(EVENTS, words_per_s=0.1, left_s=1.0))
    assert timed[-1][0] < 0.8


async def test_events_are_told_when_they_are_due() -> None:
    told: list[Event] = []
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    await replay([(0.0, SOURCES), (0.05, CITATION)], told.append, loop.time)
    assert told == [SOURCES, CITATION]
    assert loop.time() - began_s >= 0.05
