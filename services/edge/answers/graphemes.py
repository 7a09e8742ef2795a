"""Where a text may be cut so that no character that readers see is cut in two.

Whether a grapheme cluster (Unicode Standard Annex 29) is whole shows only in what follows.
To wait for that after every piece of text would delay all of them by one. So it is waited
for only where more is likely: after an emoji or half a flag, in scripts whose signs follow
their letters, after a mark, and, once a text has shown letters with marks of their own,
after every letter.
"""

from __future__ import annotations

import regex

# The least character beyond ASCII and Latin-1 that can be a part of anything.
_PLAIN_BELOW = "\u0300"
_SIGNS_FOLLOW = (
    r"\p{Devanagari}\p{Bengali}\p{Gurmukhi}\p{Gujarati}\p{Oriya}\p{Tamil}\p{Telugu}\p{Kannada}"
    r"\p{Malayalam}\p{Sinhala}\p{Thai}\p{Lao}\p{Tibetan}\p{Myanmar}\p{Khmer}\p{Balinese}\p{Javanese}"
)
_OPEN = regex.compile(
    r"(?:\p{M}|\u200D|\p{GCB=Prepend}|\p{GCB=L}|\p{GCB=V}|\p{GCB=LV}|\p{Emoji_Modifier}"
    rf"|\p{{Extended_Pictographic}}|[{_SIGNS_FOLLOW}])\Z"
)
_FLAGS = regex.compile(r"\p{Regional_Indicator}+\Z")
_MARKED = regex.compile(r"\A\p{M}|[\p{Latin}\p{Greek}\p{Cyrillic}]\p{M}")


class Graphemes:
    """Knows, of one text, whether it may end where it does."""

    def __init__(self) -> None:
        self._has_marks = False

    def is_open(self, text: str) -> bool:
        """Return whether the last grapheme of a piece is likely to go on in the next piece."""
        if not text:
            return False
        if not self._has_marks and not text.isascii():
            self._has_marks = _MARKED.search(text) is not None
        last = text[-1]
        if last < _PLAIN_BELOW:
            return last == "\r" or (self._has_marks and last.isalpha())
        flags = _FLAGS.search(text)
        if flags is not None:
            return len(flags[0]) % 2 == 1
        return _OPEN.search(text, max(0, len(text) - 1)) is not None or (
            self._has_marks and last.isalpha()
        )
