"""Texts cut into parts that a model reads at once, and gathered into groups that fit."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TypeVar

from libs.values import Passage
from libs.values.retrieval import StoredDocument

PART_CHARACTERS = 24_000
"""Characters that a model is given to read at once: about 6,000 tokens of English."""

MOST_PASSAGES = 100
"""Passages that a prompt takes."""

# Where a part may end, best first; of the last part of the room, so that parts are not short.
_ENDS = tuple(map(re.compile, (r"\n\s*\n", r"\n", r"[.!?…][\"'”’)\]]*\s|[。！？]", r"\s")))  # noqa: RUF001 - CJK marks are meant
_SEARCHED_SHARE = 0.3
_Thing = TypeVar("_Thing")


def spans(text: str, most: int = PART_CHARACTERS) -> list[tuple[int, int]]:
    """Return where the parts of a text begin and end, each of at most so many characters.

    Cut at a paragraph if there is one in the last third of the room, else at a line, a
    sentence, a space, anywhere. Blank parts are left out.
    """
    found: list[tuple[int, int]] = []
    start = 0
    while start < len(text):
        end = len(text) if len(text) - start <= most else _cut(text, start, start + most)
        if text[start:end].strip():
            found.append((start, end))
        start = end
    return found


def _cut(text: str, start: int, limit: int) -> int:
    earliest = limit - max(1, int((limit - start) * _SEARCHED_SHARE))
    for mark in _ENDS:
        ends = [match.end() for match in mark.finditer(text, earliest, limit)]
        if ends:
            return ends[-1]
    return limit


def passages_of(stored: StoredDocument, most: int = PART_CHARACTERS) -> list[Passage]:
    """Return a document as passages of at most so many characters."""
    document = stored.document
    return [
        Passage(
            passage_id=f"{document.document_id}#{start:08d}",
            document_id=document.document_id,
            document_version=stored.state.version,
            title=document.title,
            heading="",
            text=document.text[start:end],
            start_offset=start,
            end_offset=end,
            uri=document.uri,
        )
        for start, end in spans(document.text, most)
    ]


def groups(
    things: Iterable[_Thing], sizes: Sequence[int], most: int, most_things: int
) -> list[list[_Thing]]:
    """Gather neighbours into groups of a bounded sum of sizes; one that is larger is alone."""
    gathered: list[list[_Thing]] = []
    size = 0
    for thing, own in zip(things, sizes, strict=True):
        if not gathered or size + own > most or len(gathered[-1]) >= most_things:
            gathered.append([])
            size = 0
        gathered[-1].append(thing)
        size += own
    return gathered
