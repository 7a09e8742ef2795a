"""The hard facts of a question: what cannot differ in two that have one answer.

Words are compared by their plain form: lower case, contractions apart, a synonym by the
first of its group, endings of plurals and tenses cut off.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from typing import Final

from services.cache.judging import lexicon

Words = tuple[str, ...]


def _dresses(texts: Iterable[str], end: int) -> Mapping[str, list[Words]]:
    """Return texts as words by the first (0) or the last (-1) of them, the longest first."""
    found: defaultdict[str, list[Words]] = defaultdict(list)
    for words in sorted((tuple(text.split()) for text in texts), key=len, reverse=True):
        found[words[end]].append(words)
    return dict(found)


def _by_word(pairs: Iterable[tuple[str, ...]]) -> Mapping[str, frozenset[str]]:
    """Return what stands against each word, whichever of a pair comes first."""
    found: defaultdict[str, set[str]] = defaultdict(set)
    for one, other in pairs:
        found[one].add(other)
        found[other].add(one)
    return {word: frozenset(others) for word, others in found.items()}


_WORD: Final = re.compile(r"[a-z]+(?:'[a-z]+)?|\d+(?:[.,:/-]\d+)*[a-z]*")
_APART: Final = {
    **{short: long for long, short in lexicon.CONTRACTIONS},
    "cannot": "can not",
    "can't": "can not",
    "won't": "will not",
    "ain't": "is not", "couldn't": "could not", "shouldn't": "should not", "n't": "not",
}  # fmt: skip
_NUMBER: Final = {word: digits for digits, word in lexicon.NUMBER_WORDS.items()}
_FIRST: Final = {word: group[0] for group in reversed(lexicon.SYNONYMS) for word in group}
_CLASSES: Final = {
    word: index for index, group in reversed(tuple(enumerate(lexicon.CLASSES))) for word in group
}
_OPPOSITES: Final = _by_word((*lexicon.OPPOSITES, *lexicon.COMPLEMENTS))
_NAMES: Final = frozenset((*lexicon.FIRST_NAMES, *lexicon.LAST_NAMES))
_NEGATIVE: Final = frozenset(("not", "no", "never", "without", "none", "nobody", "nor", "neither"))
_ASKING: Final = frozenset(("who", "what", "when", "where", "why", "how", "which", "whom", "whose"))
_FRESH: Final = frozenset(
    [
        "now",
        "today",
        "tonight",
        "yesterday",
        "tomorrow",
        "currently",
        "current",
        "latest",
        "recent",
        "recently",
        "newest",
        "still",
        "anymore",
    ]
)
_OWNERS: Final = frozenset(
    ["my", "your", "his", "her", "our", "their", "mine", "yours", "me", "him", "them", "us"]
)
_TIMES: Final = frozenset(
    ["was", "were", "did", "had", "used", "is", "are", "does", "do", "has", "will", "would", "been"]
)
_GENDERS: Final = {"he": "m", "him": "m", "his": "m", "she": "f", "her": "f", "hers": "f"}
_BE: Final = frozenset("is are was were be been being get got".split())
_DENYING: Final = frozenset("un in im il ir non dis mis".split())
_LEAST_DENIED: Final = 4
_OPENERS: Final = _dresses(lexicon.OPENERS, 0)
_CLOSERS: Final = _dresses(lexicon.CLOSERS, -1)
_EMPTY: Final = frozenset(
    [
        "a",
        "an",
        "the",
        "of",
        "in",
        "on",
        "at",
        "to",
        "for",
        "from",
        "by",
        "with",
        "and",
        "or",
        "is",
        "are",
        "was",
        "were",
        "be",
        "been",
        "do",
        "did",
        "does",
        "can",
        "could",
        "will",
        "would",
        "should",
        "has",
        "have",
        "had",
        "i",
        "you",
        "he",
        "she",
        "it",
        "we",
        "they",
        "my",
        "your",
        "his",
        "her",
        "its",
        "our",
        "their",
        "this",
        "that",
        "these",
        "those",
        "as",
        "if",
        "than",
        "then",
        "there",
        "not",
        "no",
        "so",
        "into",
        "about",
        "please",
        "tell",
        "know",
        "me",
        "us",
        "just",
        "really",
        "actually",
        "truly",
        "indeed",
        "exactly",
        "simply",
        "honestly",
        "literally",
        "s",
        "t",
        "m",
        "hi",
        "hello",
        "thanks",
        "thank",
        "help",
        "need",
        "want",
        "like",
        "wondering",
        "question",
    ]
)


@dataclass(frozen=True, slots=True)
class Facts:
    """What a question states, apart from what it is about.

    Attributes:
        words: every word in its plain form, in order.
        content: those that say what it is about.
        numbers: numbers, dates and identifiers with a digit in them.
        names: people's names.
        asking: its words of question.
        owners: words that say whose.
        fresh: words that tie it to the moment.
        negations: how often it denies.
    """

    words: tuple[str, ...]
    content: frozenset[str]
    numbers: frozenset[str]
    names: frozenset[str]
    asking: frozenset[str]
    owners: frozenset[str]
    fresh: frozenset[str]
    negations: int


@lru_cache(maxsize=4096)
def facts_of(text: str) -> Facts:
    """Return the facts of a text; those of texts met lately are remembered."""
    parts = _WORD.findall(text.lower().replace("’", "'"))  # noqa: RUF001 - a mark that phones type
    words = tuple(chain.from_iterable(map(_plain, parts)))
    found = frozenset(words)
    return Facts(
        words,
        frozenset(map(stem, found - _EMPTY)),
        frozenset(word for word in found if word[0].isdigit()),
        found & _NAMES,
        found & _ASKING,
        found & _OWNERS,
        found & _FRESH,
        sum(word in _NEGATIVE for word in words),
    )


def undressed(words: Words) -> Words:
    """Return the words without what is said around a question and asks nothing itself."""
    while (count := _dress_at(words, _OPENERS, 0)) and count < len(words):
        words = words[count:]
    while (count := _dress_at(words, _CLOSERS, -1)) and count < len(words):
        words = words[:-count]
    return words


def _dress_at(words: Words, dresses: Mapping[str, list[Words]], end: int) -> int:
    """Return how many words the longest dress has that they begin (0) or end (-1) with."""
    for dress in dresses.get(words[end], ()) if words else ():
        part = words[: len(dress)] if end == 0 else words[-len(dress) :]
        if part == dress:
            return len(dress)
    return 0


@lru_cache(maxsize=16_384)
def stem(word: str) -> str:
    """Return a word without the ending of a plural or a tense, its synonyms as one."""
    word = _FIRST.get(word, word)
    for ending in ("ies", "ing", "ed", "es", "s"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:  # noqa: PLR2004 - what is left must be a word
            return word[: -len(ending)]
    return word


def opposed(only_a: frozenset[str], only_b: frozenset[str]) -> bool:
    """Return whether a word of the one stands against, or denies, a word of the other."""
    against = (_OPPOSITES.get(word) for word in only_a)
    return any(each and each & only_b for each in against) or denied(only_a, only_b)


def denied(only_a: frozenset[str], only_b: frozenset[str]) -> bool:
    """Return whether a word of the one is a word of the other with "un-" or the like before."""
    return any(_bare(word) & only_b for word in only_a) or any(
        _bare(word) & only_a for word in only_b
    )


def genders(facts: Facts) -> tuple[str, ...]:
    """Return who is meant by the words for him and her, in order."""
    return tuple(_GENDERS[word] for word in facts.words if word in _GENDERS)


def roles_turned(one: Facts, other: Facts) -> bool | None:
    """Return whether who did it and whom it was done to are changed about.

    Told where just one of the texts is in the passive and names who did it: in the other,
    that one must come first.

    Returns:
        True if they are, False if they are not, None where it does not show.
    """
    passives = _passive(one), _passive(other)
    if (passives[0] is None) == (passives[1] is None):
        return None
    (agent, patient), active = (
        (passives[0], other) if passives[0] else (passives[1] or ("", ""), one)
    )
    stems = [stem(word) for word in active.words]
    if agent not in stems or patient not in stems or agent == patient:
        return None
    return stems.index(patient) < stems.index(agent)


def _passive(facts: Facts) -> tuple[str, str] | None:
    """Return who did it and whom it was done to in "was done by", as stems."""
    words = facts.words
    for place, word in enumerate(words[1:-1], 1):
        if word != "by" or not _BE.intersection(words[: place - 1]):
            continue
        agents = _name_at(words[place + 1 :])
        patients = [each for each in words[: place - 1] if each not in _EMPTY]
        if agents and patients and words[place - 1] not in _EMPTY:
            return stem(agents[-1]), stem(patients[-1])
    return None


def _name_at(words: tuple[str, ...]) -> list[str]:
    """Return the words of the name that a text begins with, its article left out."""
    found: list[str] = []
    for word in words:
        if word in _EMPTY and found:
            break
        if word not in _EMPTY:
            found.append(word)
    return found


@lru_cache(maxsize=16_384)
def _bare(word: str) -> frozenset[str]:
    """Return what a word would deny, if what is behind "un-" or the like is a word."""
    return frozenset(
        word[len(before) :]
        for before in _DENYING
        if word.startswith(before) and len(word) - len(before) >= _LEAST_DENIED
    )


def of_one_class(only_a: Iterable[str], only_b: frozenset[str]) -> bool:
    """Return whether each has a word that the other's takes the place of."""
    classes = {_CLASSES[word] for word in only_b if word in _CLASSES}
    return any(_CLASSES.get(word) in classes for word in only_a)


def times(facts: Facts) -> frozenset[str]:
    """Return the words that say whether it is, was or will be."""
    return _TIMES.intersection(facts.words)


@lru_cache(maxsize=16_384)
def _plain(word: str) -> Words:
    """Return the words that one stands for, in their plain form."""
    if word in _APART:
        return tuple(_APART[word].split())
    if word.endswith("n't"):
        return (word[:-3], "not")
    if word.endswith("'s"):
        return (word[:-2],)
    return (_NUMBER.get(word, word),)
