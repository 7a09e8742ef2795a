"""Sends a stored answer at a reader's pace, where a policy asks for that."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

from libs.values import Event, SectionText, TextDelta

REPLAY = "replay"
# The pace is raised where the answer would otherwise not be over by then.
_SHARE_OF_TIME = 0.8
_WORD = re.compile(r"\s*\S+\s*|\s+")


def word_by_word(events: Iterable[Event]) -> Iterator[Event]:
    """Yield the same events with their text in words; put together it is the same text."""
    for event in events:
        if isinstance(event, TextDelta | SectionText):
            for word in _WORD.findall(event.text):
                yield replace(event, text=word)
        else:
            yield event


def timetable(
    events: Iterable[Event], words_per_s: float, left_s: float
) -> Iterator[tuple[float, Event]]:
    """Yield events, their text word by word, with the seconds from the first at which each is due.

    Args:
        events: of the stored answer, in order.
        words_per_s: the pace.
        left_s: seconds until all must be over; a pace that is too slow for it is raised.
    """
    words = list(word_by_word(events))
    count = sum(isinstance(event, TextDelta | SectionText) for event in words)
    gap_s = min(1.0 / words_per_s, _SHARE_OF_TIME * left_s / max(1, count))
    number = 0
    for event in words:
        number += isinstance(event, TextDelta | SectionText)
        yield max(0, number - 1) * gap_s, event


async def replay(
    timed: Iterable[tuple[float, Event]],
    tell: Callable[[Event], None],
    clock: Callable[[], float],
) -> None:
    """Tell events when they are due, counted from now; what that costs does not add up."""
    began_s = clock()
    for due_s, event in timed:
        wait_s = began_s + due_s - clock()
        if wait_s > 0:
            await asyncio.sleep(wait_s)
        tell(event)
