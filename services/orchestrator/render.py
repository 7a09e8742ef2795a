"""Cuts text into the events a caller asked for; the text itself never changes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

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
from services.orchestrator.blocks import Blocks
from services.orchestrator.outlining import title_of


class Renderer:
    """Passes events on: text in tokens as it comes, in blocks, or in sections."""

    def __init__(self, question: Question) -> None:
        self._title = question.question
        self._blocks = Blocks() if question.render is Render.BLOCK else None
        self._in_sections = question.render is Render.OUTLINE
        self._cites_after = question.citation_placement is CitationPlacement.AFTER
        self._is_plain = question.render is Render.TOKEN and not self._cites_after
        # Citations that wait, each with how much of the text they follow.
        self._citations: list[tuple[int, Citation]] = []
        self._fed_chars = self._sent_chars = 0

    @property
    def holds(self) -> bool:
        """True if there is text that waits for its block to end."""
        return self._blocks is not None and bool(self._blocks.held)

    def feed(self, event: Event) -> Iterator[Event]:
        """Yield what is ready once `event` has come."""
        if self._is_plain:
            yield event
        elif isinstance(event, TextDelta):
            yield from self._text(event)
        elif isinstance(event, Citation):
            self._citations.append((self._fed_chars, event))
            yield from self._cited()
        else:
            if isinstance(event, Revised):
                self._withdraw()
            yield event

    def overdue(self) -> Iterator[Event]:
        """Yield what can be read of a text that has not gone on for long."""
        said = self._blocks.overdue() if self._blocks else ""
        yield from self._sent([said] if said else [])

    def end(self) -> Iterator[Event]:
        """Yield what is left once the text has ended."""
        if self._blocks:
            yield from self._sent(self._blocks.end())
        citations, self._citations = self._citations, []
        yield from (citation for _, citation in citations)

    def alone(self, text: str) -> list[Event]:
        """Return a text in place of what is held."""
        return list(self._as_section(text)) if self._in_sections else [TextDelta(text)]

    def _text(self, event: TextDelta) -> Iterator[Event]:
        if self._blocks:
            self._fed_chars += len(event.text)
            yield from self._sent(self._blocks.feed(event.text))
        elif self._in_sections:
            yield from self._as_section(event.text)
        else:
            yield event

    def _as_section(self, text: str) -> Iterator[Event]:
        """Yield a text without headings, such as a refusal, as the section it is."""
        section = Section("s1", title_of(self._title))
        yield Outline((section,))
        yield SectionText(section.section_id, text)

    def _sent(self, blocks: Iterable[str]) -> Iterator[Event]:
        for block in blocks:
            self._sent_chars += len(block)
            yield TextDelta(block)
            yield from self._cited()

    def _cited(self) -> Iterator[Event]:
        """Yield the citations of what has been sent, unless they come after all of it."""
        while self._citations and not self._cites_after:
            at, citation = self._citations[0]
            if at > self._sent_chars:
                return
            del self._citations[0]
            yield citation

    def _withdraw(self) -> None:
        self._blocks = Blocks() if self._blocks else None
        self._citations, self._fed_chars, self._sent_chars = [], 0, 0
