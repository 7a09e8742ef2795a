"""What kind of answer a question asks for, and whether a text has one."""

from __future__ import annotations

import re
from collections.abc import Callable

from services.generation.sentences import Kind
from services.generation.words import stems

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
_DEFINITION = re.compile(
    r"\b(?:(?:is|are|was|were) (?:an?|the|one)|means|stands for|refers to)\b", re.IGNORECASE
)
# Words that may stand beside the subject of a definition: an article, a name's other half.
_SPARE_WORDS = 2
# A definition names its subject early.
_SUBJECT_CHARS = 120

_ASKS_WHAT_IS = re.compile(
    r"(?:what|who) (?:is|are|was|were) (?:an? |the )?(\S+(?: \S+){0,2})\Z",
    re.IGNORECASE,
)
_ASKS_HOW_TO = re.compile(
    r"\bhow (?:do|can|could|should|would|to)\b"
    r"|\b(?:commands?|examples?|install|syntax|usage|snippet)\b",
    re.IGNORECASE,
)
# The first that fits counts.
_ASKS_FOR: tuple[tuple[re.Pattern[str], re.Pattern[str]], ...] = tuple(
    (re.compile(asked, re.IGNORECASE), answer)
    for asked, answer in (
        (r"\bwhen\b|\b(?:what|which) (?:year|date|day|month|century|decade|time|era)\b", _DATE),
        (r"\bhow (?:many|much|old|long|far|tall|big|large|high|fast|often)\b", _NUMBER),
        (r"\bwhat (?:percent\w*|number|amount|share|size|population)\b", _NUMBER),
        (r"\bwho(?:m|se)?\b", _NAME),
        (r"\bwhere\b|\b(?:what|which) (?:city|country|state|place|town|river|region)\b", _PLACE),
        (r"\bwhy\b|\bwhat (?:caused|causes|reasons?)\b", _CAUSE),
    )
)

# How well a text of a kind fits, from 0; 1 is as well as a cue can tell for most questions.
Fit = Callable[[str, Kind], float]


def fit_of(question: str) -> Fit:
    """Return what tells how well a text has the kind of thing that the question asks for."""
    wants_code = _ASKS_HOW_TO.search(question) is not None
    definition = _ASKS_WHAT_IS.match(question.strip(" \t\n?.!"))
    subject = frozenset(stems(definition[1])) if definition else frozenset()
    cue = next((answer for asks, answer in _ASKS_FOR if asks.search(question)), None)
    asked = frozenset(stems(question))

    def fit(text: str, kind: Kind) -> float:
        if kind is Kind.CODE:
            return float(wants_code)
        if subject and _defines(text, subject):
            return 2.0
        return float(cue is not None and _has_new(text, cue, asked))

    return fit


def _defines(text: str, subject: frozenset[str]) -> bool:
    verb = _DEFINITION.search(text, 0, _SUBJECT_CHARS)
    before = stems(text[: verb.start()]) if verb else []
    return subject.issubset(before) and len(before) <= len(subject) + _SPARE_WORDS


def _has_new(text: str, cue: re.Pattern[str], asked: frozenset[str]) -> bool:
    """Tell whether a text has something of the kind that the question does not name itself."""
    found = (stems(match.group()) for match in cue.finditer(text))
    return any(words and words[-1] not in asked for words in found)
