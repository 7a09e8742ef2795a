"""How passages are named and pointed to where their documents are in the prompt, whole."""

from __future__ import annotations

from collections.abc import Sequence

from libs.values import Citation, Passage

WARMING = "Say nothing yet."
_OPENING_CHARS = 80
_POINTER = "Most likely to help, best first:"


def title_of(passage: Passage) -> str:
    """Return a passage's title and heading."""
    return " > ".join(filter(None, (passage.title or passage.document_id, passage.heading)))


def pointer(passages: Sequence[Passage]) -> str:
    """Return a text that says where to look first: titles, and how the passages begin."""
    lines = (f'- {title_of(each)}: "{_opening(each.text)}"' for each in passages)
    return "\n".join([_POINTER, *lines])


def _opening(text: str) -> str:
    words = " ".join(text[: 2 * _OPENING_CHARS].split())
    return words if len(words) <= _OPENING_CHARS else f"{words[:_OPENING_CHARS].rstrip()}..."


def index_of(citation: Citation, passages: Sequence[Passage]) -> int:
    """Return which passage a place in a document is in; behind them count the documents."""
    for index, each in enumerate(passages):
        begins, ends = each.start_offset, each.end_offset
        is_inside = begins <= citation.start_offset and citation.end_offset <= ends
        if each.document_id == citation.document_id and is_inside:
            return index
    return len(passages) + citation.source_index
