"""A text as words in sentences, and what a question asks for."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

# What is longer is no word; cut, so that what is remembered stays small.
_MOST_CHARS = 24
# The longest first: the first that fits is cut off.
_ENDINGS = (
    *("ization", "ational", "fulness", "iveness", "ations", "ation", "ments", "ingly", "edly"),
    *("ment", "ness", "able", "ible", "ings", "ions", "ally", "ists", "ies", "ing", "ied", "ion"),
    *("ist", "ity", "ive", "ous", "ers", "est", "ed", "es", "er", "ly", "al", "s", "e", "y"),
)
_LEAST_STEM_CHARS = 4
# A word, or the end of a sentence: a full stop before a capital or the end, an empty line.
_TOKEN = re.compile(r"\d[\d.,]*\d|\w+|(?P<end>[.!?][\"')\]]*(?=\s+[\"'(\[]?[A-Z0-9]|\s*$)|\n\s*\n)")

_NUMBER = re.compile(
    r"\d|\b(?:one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|dozen|hundred|thousand"
    r"|million|billion|half|third|quarter|once|twice|first|second|single|several|both)\b",
    re.IGNORECASE,
)
_DATE = re.compile(
    r"\b(?:1\d{3}s?|20\d\ds?|\d{1,2}(?:st|nd|rd|th) century|\w*day|january|february|march|april|may"
    r"|june|july|august|september|october|november|december|century|centuries|decade)\b",
    re.IGNORECASE,
)
_NAME = re.compile(r"(?<=\w[ ,;(\"])[A-Z][^\W\d_]+")
_PLACE = re.compile(r"\b(?:in|at|near|from|to|of|on|along|outside|across)\s+(?:the\s+)?[A-Z]\w+")
_CAUSE = re.compile(
    r"\b(?:because|due to|since|so that|in order to|reason\w*|caus\w*|result\w*|therefore|thus"
    r"|led)\b",
    re.IGNORECASE,
)
# What is asked for, by the words that ask, and what an answer to it has; the first that fits.
_ASKS_FOR = tuple(
    (re.compile(asks, re.IGNORECASE), holds)
    for asks, holds in (
        (r"\bwhen\b|\b(?:what|which) (?:year|date|day|month|century|decade|time|era)\b", _DATE),
        (r"\bhow (?:many|much|old|long|far|tall|big|large|high|fast|often)\b", _NUMBER),
        (r"\bwhat (?:percent\w*|number|amount|share|size|population)\b", _NUMBER),
        (r"\bwho(?:m|se)?\b", _NAME),
        (r"\bwhere\b|\b(?:what|which) (?:city|country|state|place|town|river|region)\b", _PLACE),
        (r"\bwhy\b|\bwhat (?:caused|causes|reasons?)\b", _CAUSE),
    )
)


@dataclass(frozen=True, slots=True)
class Reading:
    """A text as the stems of its words.

    Attributes:
        stems: in order.
        starts: index of each sentence's first word; the first is 0.
        different: the stems, each once.
    """

    stems: tuple[str, ...]
    starts: tuple[int, ...]
    different: frozenset[str]


@lru_cache(maxsize=65_536)
def stem(word: str) -> str:
    """Return a word in lower case without its commonest ending."""
    word = word[:_MOST_CHARS].lower()
    if word[0].isdigit():
        return word.replace(",", "")
    for ending in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= _LEAST_STEM_CHARS:
            return word[: -len(ending)]
    return word


# Passages that are found often are read once; about 20 KiB each.
@lru_cache(maxsize=1_024)
def read(text: str) -> Reading:
    """Return the words of a text and where its sentences start."""
    stems: list[str] = []
    starts = [0]
    for token in _TOKEN.finditer(text):
        if token.lastgroup is None:
            stems.append(stem(token[0]))
        elif len(stems) > starts[-1]:
            starts.append(len(stems))
    if starts[-1] == len(stems) and len(starts) > 1:
        starts.pop()
    return Reading(tuple(stems), tuple(starts), frozenset(stems))


def stems_of(text: str) -> list[str]:
    """Return the stems of all words, in order."""
    return [stem(token[0]) for token in _TOKEN.finditer(text) if token.lastgroup is None]


def answer_pattern(question: str) -> re.Pattern[str] | None:
    """Return what an answer to the question has in it; None where the question does not say."""
    return next((holds for asks, holds in _ASKS_FOR if asks.search(question)), None)
