"""Bytes as text, and Markdown's title."""

from __future__ import annotations

import codecs
import re

from libs.reading.found import MAX_TITLE, UnreadableError

# Each part takes all that it can at once: a line of a million blanks is looked at once.
_HEADING = re.compile(r"^ {0,3}# ++(?P<title>.++)$", re.MULTILINE)
_LOOKED_AT = 8192
# A mark at the very start says which of these a text is in.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig", "UTF-8"),
    (codecs.BOM_UTF16_LE, "utf-16", "UTF-16"),
    (codecs.BOM_UTF16_BE, "utf-16", "UTF-16"),
)


def decoded(data: bytes) -> str:
    """Return the text that UTF-8 bytes spell, without a mark at its start.

    Raises:
        UnreadableError: they spell none.
    """
    if b"\0" in data[:_LOOKED_AT]:
        raise UnreadableError("is binary")
    return _in(data, "utf-8-sig", "UTF-8")


def decoded_as(data: bytes, charset: str) -> str:
    """Return a text in the charset that its bytes begin with, or else in the one that is named.

    Raises:
        UnreadableError: it is in neither.
    """
    for mark, codec, shown in _MARKS:
        if data.startswith(mark):
            return _in(data, codec, shown)
    try:
        name = codecs.lookup(charset).name
    except (LookupError, ValueError):
        name = "utf-8"
    return decoded(data) if name in ("utf-8", "ascii") else _in(data, name, name)


def title_of(markdown: str) -> str:
    """Return the first heading of the first level; empty if there is none."""
    found = _HEADING.search(markdown.partition("```")[0])
    return found["title"].rstrip("# ").strip()[:MAX_TITLE].rstrip() if found else ""


def _in(data: bytes, codec: str, shown: str) -> str:
    try:
        text = data.decode(codec)
    except UnicodeDecodeError as error:
        raise UnreadableError(f"is not {shown} at byte {error.start}") from error
    except (LookupError, UnicodeError) as error:  # a codec that is not of text
        raise UnreadableError(f"is not {shown}") from error
    if "\0" in text[:_LOOKED_AT]:
        raise UnreadableError("is binary")
    return text
