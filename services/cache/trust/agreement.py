"""Whether two answers say the same, as far as that can be seen without a model."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

# Both shares of the words of the two answers together. Between them nothing is said.
_SAME = 0.6
_SAME_PLACE = 0.4
_OTHER = 0.2
_WORD = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class Told:
    """What an answer tells.

    Attributes:
        text: all of it.
        cited: the places it cites: document, first and last character there.
    """

    text: str
    cited: frozenset[tuple[str, int, int]]


Reading = Callable[[tuple[bytes, ...]], Told]
"""Reads an answer out of its pages, which only the servicer can."""


def agree(one: Told, other: Told) -> bool | None:
    """Return True if two answers say the same, False if they do not, None if it is open.

    The same: most words in common, and the same numbers; or fewer, and the very same
    places cited. Not the same: hardly a word in common, and no document cited by both. What two
    models make of the same passages differs by more than that, so most pairs stay open.
    """
    shared = _overlap(_words(one.text), _words(other.text))
    if _numbers(one.text) == _numbers(other.text):
        same_place = bool(one.cited) and one.cited == other.cited
        if shared >= (_SAME_PLACE if same_place else _SAME):
            return True
    ours, theirs = _documents(one), _documents(other)
    if shared <= _OTHER and ours and theirs and not ours & theirs:
        return False
    return None


def _overlap(ours: frozenset[str], theirs: frozenset[str]) -> float:
    """Return Jaccard's share, in [0, 1]."""
    together = ours | theirs
    return len(ours & theirs) / len(together) if together else 0.0


def _words(text: str) -> frozenset[str]:
    return frozenset(_WORD.findall(text.casefold()))


def _numbers(text: str) -> frozenset[str]:
    return frozenset(word for word in _WORD.findall(text) if any(map(str.isdigit, word)))


def _documents(told: Told) -> frozenset[str]:
    return frozenset(document for document, _, _ in told.cited)
