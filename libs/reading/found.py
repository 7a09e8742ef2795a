"""What comes of reading: documents, or reasons why there are none."""

from __future__ import annotations

from dataclasses import dataclass

from libs.values.retrieval import Document

MAX_CHARACTERS = 2_000_000
"""Characters that a document may have, as retrieval takes them."""

MAX_BYTES = 50 * 1024 * 1024
"""Bytes of a file that is read at all."""

MAX_TITLE = 512


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A file, or a line of one, that is no document; `reason` completes "it ..."."""

    path: str
    reason: str


Found = tuple[str, Document | Unreadable]
"""Where something stands, and what it is."""


class UnreadableError(ValueError):
    """What stands here is no document; the text completes "it ..."."""


def too_long(size: str) -> UnreadableError:
    """Return the error of a text that no document may have."""
    return UnreadableError(f"has {size}, more than {MAX_CHARACTERS} characters")
