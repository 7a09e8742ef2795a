"""From a question to the words that are worth looking up."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

# Beyond this many words the rest of a long question is left to its meaning.
MAX_WORDS = 64
# Ranking costs about 1.5 us a matching passage: the rarest words that together match no
# more than this many decide, which keeps a search near 15 ms however large the store.
MAX_MATCHES = 10_000

_WORD = re.compile(r"\w+")
# Words that nearly every English passage has.
_STOP_TEXT = (
    "a about after all also am an and any are as at be because been before being between both "
    "but by can could did do does doing down during each few for from further had has have "
    "having he her here hers him his how i if in into is it its just me might more most must my "
    "no nor not of off on once only or other our out over own s same shall she should so some "
    "such t than that the their them then there these they this those through to too under "
    "until up us very was we were what when where which while who whom whose why will with "
    "would you your "
)
_STOP_WORDS = frozenset(_STOP_TEXT.split())


def words_of(question: str) -> list[str]:
    """Return the different words of a question, without stop words unless all are."""
    words = list(dict.fromkeys(_WORD.findall(question.lower())))
    telling = [word for word in words if word not in _STOP_WORDS]
    return (telling or words)[:MAX_WORDS]


def rarest(words: Sequence[str], count: Callable[[str], int]) -> list[str]:
    """Return the words that matter most for what ranking them may cost.

    Args:
        words: what is looked for.
        count: the number of passages that have a word.

    Returns:
        Words that match, rarest first; at least one, if any does.
    """
    counted = sorted((count(word), word) for word in words)
    kept: list[str] = []
    total = 0
    for matches, word in counted:
        total += matches
        if kept and total > MAX_MATCHES:
            break
        if matches:
            kept.append(word)
    return kept


def expression(words: Sequence[str]) -> str:
    """Return the FTS5 expression that matches any of the words.

    In quotes even `NOT` is a word; a word of `words_of` has no quotes itself.
    """
    return " OR ".join(f'"{word}"' for word in words)
