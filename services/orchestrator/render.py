"""Cuts text into the events a caller asked for; the text itself never changes."""

from __future__ import annotations

import re
from collections.abc import Iterator

from libs.values import Citation, Event, Render, Revised, TextDelta

# The end of a sentence or of a line; what follows starts a new block.
_BLOCK_END = re.compile(r"(?<=[.!?])\s+|\n+")


class Renderer:
    """Passes events on, text in tokens as it comes or in whole blocks."""

    def __init__(self, render: Render) -> None:
        self._whole_blocks = render is Render.BLOCK
        self._held = ""
        self._citations: list[Citation] = []

    def feed(self, event: Event) -> Iterator[Event]:
        """Yield what is ready once `event` has come."""
        if not self._whole_blocks:
            yield event
        elif isinstance(event, TextDelta):
            self._held += event.text
            yield from self._blocks()
        elif isinstance(event, Citation) and self._held:
            # A citation follows the text that it supports.
            self._citations.append(event)
        else:
            if isinstance(event, Revised):
                self._held, self._citations = "", []
            yield event

    def end(self) -> Iterator[Event]:
        """Yield what is left once the text has ended."""
        if self._held:
            yield TextDelta(self._held)
            self._held = ""
        yield from self._cited()

    def _blocks(self) -> Iterator[Event]:
        ends = [match.end() for match in _BLOCK_END.finditer(self._held)]
        # An end at the very end may still grow: more white space may follow.
        ends = [end for end in ends if end < len(self._held)]
        if ends:
            yield TextDelta(self._held[: ends[-1]])
            self._held = self._held[ends[-1] :]
            yield from self._cited()

    def _cited(self) -> Iterator[Event]:
        yield from self._citations
        self._citations = []
