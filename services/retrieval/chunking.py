"""A document's text, cut into passages at the places where a reader would pause."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from libs.values.retrieval import Document, TextFormat
from services.retrieval.markdown import Block, Section, read_markdown

# A section's short end joins the passage before it, which may grow by this share. With
# the default target that is 1,125 characters: about the 256 tokens that the encoder reads.
STRETCH = 1.25

_PARAGRAPH = re.compile(r"(?:\r\n|\r|\n)[ \t]*(?:\r\n|\r|\n)\s*")
_SENTENCE = re.compile(r"[.!?…][\"'”’)\]]*\s+|[。！？]")  # noqa: RUF001 - CJK marks are meant
_LINE = re.compile(r"\r\n|\r|\n")
_SPACE = re.compile(r"\s+")
_PROSE = (_SENTENCE, _SPACE)
_LINES = (_LINE, _SENTENCE, _SPACE)

Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Chunk:
    """A stretch of a document that becomes a passage: `text[start:end]`, not blank.

    Attributes:
        start: first character, in code points.
        end: one past the last character.
        heading: headings above it, outermost first, joined by " > ".
    """

    start: int
    end: int
    heading: str = ""


class Chunker:
    """Cuts texts into passages of about `target_count` characters.

    Passages do not overlap: they are cited by their place in the document and shown
    side by side, where an overlap would be read, and paid for, twice.
    """

    def __init__(self, target_count: int) -> None:
        self._target_count = target_count

    def split(self, document: Document) -> list[Chunk]:
        """Return the passages of a document in order; none if it is blank."""
        text = document.text
        if document.unsplit:
            return [Chunk(*span) for span in _trimmed(text, [(0, len(text))])]
        sections = read_markdown(text) if document.format is TextFormat.MARKDOWN else _plain(text)
        return [
            Chunk(start, end, section.heading)
            for section in sections
            for start, end in _trimmed(text, self._packed(text, section.blocks))
        ]

    def _packed(self, text: str, blocks: Iterable[Block]) -> list[Span]:
        pieces = [
            piece
            for block in blocks
            for piece in _cut(
                text,
                (block.start, block.end),
                self._target_count,
                _LINES if block.lines else _PROSE,
            )
        ]
        packed = _merged(pieces, self._target_count)
        if len(packed) > 1:
            (start, _), (last_start, end) = packed[-2:]
            short = end - last_start < self._target_count * (STRETCH - 1)
            if short and end - start <= self._target_count * STRETCH:
                packed[-2:] = [(start, end)]
        return packed


def _plain(text: str) -> Iterator[Section]:
    yield Section("", tuple(Block(*span) for span in _between(text, (0, len(text)), _PARAGRAPH)))


def _cut(text: str, span: Span, limit: int, marks: Sequence[re.Pattern[str]]) -> list[Span]:
    """Cut a span at the first kind of mark that makes it fit; in mid-word if nothing does."""
    start, end = span
    if end - start <= limit:
        return [span]
    if not marks:
        return [(at, min(at + limit, end)) for at in range(start, end, limit)]
    parts = _between(text, span, marks[0])
    return _merged([small for part in parts for small in _cut(text, part, limit, marks[1:])], limit)


def _between(text: str, span: Span, mark: re.Pattern[str]) -> list[Span]:
    ends = [match.end() for match in mark.finditer(text, *span)]
    return [
        each for each in zip([span[0], *ends], [*ends, span[1]], strict=True) if each[0] < each[1]
    ]


def _merged(spans: Iterable[Span], limit: int) -> list[Span]:
    """Join neighbours from the left while they fit."""
    merged: list[Span] = []
    for start, end in spans:
        if merged and end - merged[-1][0] <= limit:
            merged[-1] = (merged[-1][0], end)
        else:
            merged.append((start, end))
    return merged


def _trimmed(text: str, spans: Iterable[Span]) -> Iterator[Span]:
    for start, end in spans:
        piece = text[start:end]
        if body := piece.strip():
            first = start + len(piece) - len(piece.lstrip())
            yield first, first + len(body)
