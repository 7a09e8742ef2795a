"""From the events of a run to the frames of a stream."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from typing import Self

from libs.values import (
    SHOWN,
    AnswerEvent,
    Completed,
    GoAway,
    Plan,
    Revised,
    SectionText,
    TextDelta,
)
from libs.values.answer_json import members_of, name_of
from services.edge.answers.graphemes import Graphemes
from services.edge.answers.headers import headers_of
from services.edge.web import sse
from services.edge.web.sse import EventStream, ReaderTooSlowError

# What is held for its end is let go after so long, or when it is so many characters.
_HELD_S = 0.25
_MOST_HELD = 256
_AT_ONCE = (Completed, Revised, GoAway)

Piece = TextDelta | SectionText


@dataclass(frozen=True, slots=True)
class _Held:
    sequence: int
    piece: Piece


class Relay:
    """Tells a stream the events of one run, in order, each once.

    A text that ends inside a grapheme is held for the next one, and both are told as one
    event with the number of the last: whoever resumes behind a number has all of the text up
    to it. An event of the number 0 is not of the run, and told without one.

    Attributes:
        plan: the run's plan, once it was told.
        has_text: True once something of the answer itself was told.
    """

    def __init__(self, stream: EventStream) -> None:
        self.plan: Plan | None = None
        self.has_text = False
        self._stream = stream
        self._graphemes = Graphemes()
        self._held: _Held | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._is_urgent = True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Tell what is held; nothing follows."""
        self._release()

    async def tell(self, numbered: AnswerEvent) -> None:
        """Tell the next event.

        Raises:
            ReaderTooSlowError: the reader was cut off.
        """
        event = numbered.event
        if isinstance(event, TextDelta | SectionText):
            numbered = self._joined(numbered.sequence, event)
            if self._holds(numbered):
                return
        else:
            self._release()
        data, is_urgent = self._frame(numbered)
        await self._stream.write(data, urgent=is_urgent)

    def _frame(self, numbered: AnswerEvent) -> tuple[bytes, bool]:
        """Return the frame of an event, and whether it is urgent."""
        event = numbered.event
        if isinstance(event, Plan):
            self.plan = event
        if not self._stream.is_started and isinstance(event, Plan | Completed):
            completed = event if isinstance(event, Completed) else None
            self._stream.headers.update(headers_of(self.plan, completed))
        is_urgent = isinstance(event, _AT_ONCE)
        if isinstance(event, SHOWN):
            is_urgent, self._is_urgent, self.has_text = self._is_urgent, False, True
        elif isinstance(event, Revised):
            self._is_urgent = True  # the next text is a first one again
        members = members_of(event, self.plan)
        return sse.frame(name_of(event), members, numbered.sequence or None), is_urgent

    # -- graphemes ---------------------------------------------------------------------

    def _joined(self, sequence: int, piece: Piece) -> AnswerEvent:
        """Return a text with what is held before it; what is of elsewhere is told first."""
        held = self._held
        if held is not None:
            if _place_of(held.piece) == _place_of(piece):
                self._let_go()
                text = held.piece.text + piece.text
                return AnswerEvent(sequence, _with_text(piece, text))
            self._release()
        return AnswerEvent(sequence, piece)

    def _holds(self, numbered: AnswerEvent) -> bool:
        """Hold a text if it is likely to end inside a grapheme."""
        piece = numbered.event
        assert isinstance(piece, TextDelta | SectionText)  # noqa: S101 - for the types
        if len(piece.text) > _MOST_HELD or not self._graphemes.is_open(piece.text):
            return False
        self._held = _Held(numbered.sequence, piece)
        self._timer = asyncio.get_running_loop().call_later(_HELD_S, self._release)
        return True

    def _release(self) -> None:
        """Tell what is held as it is."""
        held = self._held
        if held is None:
            return
        self._let_go()
        data, is_urgent = self._frame(AnswerEvent(held.sequence, held.piece))
        with suppress(ReaderTooSlowError):  # the next frame says so
            self._stream.put(data, urgent=is_urgent)

    def _let_go(self) -> None:
        self._held = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _place_of(piece: Piece) -> str | None:
    return piece.section_id if isinstance(piece, SectionText) else None


def _with_text(piece: Piece, text: str) -> Piece:
    if isinstance(piece, SectionText):
        return SectionText(piece.section_id, text)
    return TextDelta(text)
