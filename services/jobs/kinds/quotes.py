"""Whether a document says what it is quoted for, and where."""

from __future__ import annotations

import re

_MOST_CHARACTERS = 1_000
_WORD = re.compile(r"\S+")


def place_of(quote: str, text: str) -> tuple[int, int] | None:
    """Return where a text has a quote, whatever its blanks and capitals; None if nowhere.

    Typographic quotation marks and dots around it do not count.
    """
    words = _WORD.findall(quote.strip(" \t\n\"'“”‘’«»…."))  # noqa: RUF001 - quotation marks are meant
    if not words or len(quote) > _MOST_CHARACTERS:
        return None
    pattern = r"\s+".join(map(re.escape, words))
    found = re.search(pattern, text) or re.search(pattern, text, re.IGNORECASE)
    return found.span() if found else None
