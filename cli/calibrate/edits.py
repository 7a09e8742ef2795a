"""Minimal edits of a question or sentence that change what answers it.

Each takes the text's words, all in lower case, and a seeded source of chance; it returns
the edited words, or None where it finds nothing to edit.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from typing import Final

from services.cache.judging import lexicon

Words = list[str]
_PARTICIPLE: Final = {base: last for base, _, last in lexicon.VERBS}
_BASE: Final = {last: base for base, _, last in lexicon.VERBS}
Edit = Callable[[Words, random.Random], Words | None]

_AUXILIARIES: Final = frozenset(
    [
        "is",
        "are",
        "was",
        "were",
        "do",
        "does",
        "did",
        "can",
        "could",
        "will",
        "would",
        "should",
        "has",
        "have",
        "had",
        "am",
        "may",
        "might",
        "must",
    ]
)
_ARTICLES: Final = frozenset(("a", "an", "the", "my"))
_CLASS_OF: Final = {word: group for group in reversed(lexicon.CLASSES) for word in group}
_OPPOSITES: Final = {
    **{one: other for one, other in lexicon.OPPOSITES},  # noqa: C416 - pairs of unknown length to mypy
    **{b: a for a, b in reversed(lexicon.OPPOSITES)},
}
_STOP: Final = frozenset(
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
        "does",
        "did",
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
        "what",
        "who",
        "whom",
        "whose",
        "when",
        "where",
        "why",
        "how",
        "which",
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
        "s",
        "t",
        "m",
        "re",
        "ve",
        "d",
        "me",
        "us",
        "them",
    ]
)
_FRESH: Final = ("right now", "today", "this week", "at the moment", "as of this morning", "currently", "this month", "yesterday", "last year", "next week")  # fmt: skip
_SCOPES: Final = (
    "for students", "for businesses", "for children", "abroad", "in europe", "in canada", "online", "at the weekend", "on sundays",
    "by phone", "by post", "without a passport", "on a joint account", "for free", "in cash", "after 60 days", "in winter",
    "for the first time", "in the uk", "in texas", "on my phone", "with a credit card", "for my wife", "in the book", "in the movie",
    "before 1950", "since 2010", "in season 2", "on broadway", "per year", "on average",
)  # fmt: skip
_ACTIONS: Final = (
    "please {} for me now", "{} for me", "go ahead and {}", "i want you to {} today", "{} immediately",
)  # fmt: skip


def is_content(word: str) -> bool:
    """Return whether a word says what a text is about."""
    return word not in _STOP and word[:1].isalnum() and len(word) > 1


def number(words: Words, chance: random.Random) -> Words | None:
    """Another number in a number's place."""
    places = [index for index, word in enumerate(words) if re.search(r"\d", word)]
    if not places:
        return None
    place = chance.choice(places)
    found = re.search(r"\d+", words[place])
    assert found  # noqa: S101 - the search above found it
    old = int(found.group()[:9])
    near = (
        old + chance.choice((1, 2, 5, 10, 100)),
        max(old - chance.choice((1, 3, 10)), 0),
        old * 10,
        old // 10,
    )
    new = chance.choice([each for each in near if each != old] or [old + 1])
    word = words[place]
    return _with(words, place, word[: found.start()] + str(new) + word[found.end() :])


def member(words: Words, chance: random.Random) -> Words | None:
    """Another member of its class in a word's place."""
    places = [index for index, word in enumerate(words) if word in _CLASS_OF]
    if not places:
        return None
    place = chance.choice(places)
    return _with(
        words,
        place,
        chance.choice([each for each in _CLASS_OF[words[place]] if each != words[place]]),
    )


def opposite(words: Words, chance: random.Random) -> Words | None:
    """A word's opposite in its place."""
    places = [index for index, word in enumerate(words) if word in _OPPOSITES]
    if not places:
        return None
    place = chance.choice(places)
    return _with(words, place, _OPPOSITES[words[place]])


def negation(words: Words, chance: random.Random) -> Words | None:
    """A denial put in or taken out."""
    for index, word in enumerate(words):
        if word in {"not", "never", "no"} and chance.random() < 0.8:
            return words[:index] + words[index + 1 :]
    places = [index for index, word in enumerate(words[:-1]) if word in _AUXILIARIES]
    if not places:
        return None
    place = places[0]
    gap = place + 1
    if place == 0 or words[place - 1] in {"what", "who", "how", "why", "when", "where"}:
        gap = min(place + (2 if words[place + 1] not in _ARTICLES else 3), len(words))
    if words[place] in {"do", "does", "did", "can", "is", "are", "was"} and chance.random() < 0.4:
        contracted = {"can": "can't"}.get(words[place], words[place] + "n't")
        return _with(words, place, contracted)
    return [*words[:gap], chance.choice(("not", "not", "not", "never", "no longer")), *words[gap:]]


def name(words: Words, chance: random.Random) -> Words | None:
    """Another person in a person's place."""
    lists = (lexicon.FIRST_NAMES, lexicon.LAST_NAMES)
    places = [
        (index, names) for index, word in enumerate(words) for names in lists if word in names
    ]
    if not places:
        return None
    place, names = chance.choice(places)
    return _with(words, place, chance.choice(names))


def swap(words: Words, chance: random.Random) -> Words | None:
    """Two words of content change places."""
    places = [index for index, word in enumerate(words) if is_content(word)]
    if len(places) < 3:
        return None
    first, second = sorted(chance.sample(places, 2))
    joint = {"and", "or", ","}
    if second - first <= 1 or set(words[first + 1 : second]) <= joint:
        return None
    swapped = _with(words, first, words[second])
    return _with(swapped, second, words[first])


def swap_around(words: Words, chance: random.Random) -> Words | None:
    """What stands before and after a joining word change places."""
    joins = {
        "by",
        "from",
        "to",
        "than",
        "of",
        "in",
        "with",
        "for",
        "before",
        "after",
        "into",
        "over",
        "against",
        "between",
    }
    places = [
        index for index, word in enumerate(words) if word in joins and 0 < index < len(words) - 1
    ]
    chance.shuffle(places)
    for place in places:
        left, right = place - 1, place + 1
        while right < len(words) - 1 and words[right] in _STOP:
            right += 1
        if is_content(words[left]) and is_content(words[right]):
            return _with(_with(words, left, words[right]), right, words[left])
    return None


def wrong_passive(words: Words, chance: random.Random) -> Words | None:
    """Told from the other side, but with who did it and to whom left in their places."""
    text = " ".join(words)
    found = re.match(r"^(did|does|will|can) ((?:the |a )?\w+) (\w+) ((?:the |a )?\w+)(.*)$", text)
    if found and found.group(3) in _PARTICIPLE:
        aux, one, verb, other, rest = found.groups()
        start = {"did": "was", "does": "is"}.get(aux, aux)
        middle = " be" if aux in {"will", "can"} else ""
        return f"{start} {one}{middle} {_PARTICIPLE[verb]} by {other}{rest}".split()
    found = re.match(r"^(.*\b(?:was|were|is|are|be) \w+) by (.+)$", text)
    if found and found.group(1).split()[-1] in _BASE:
        *before, participle = found.group(1).split()
        kept = [word for word in before if word not in {"was", "were", "is", "are", "be"}]
        return [*kept, participle, *found.group(2).split()]
    return None


def crossed(words: Words, chance: random.Random) -> Words | None:
    """Two that stand against each other change places: he and she, before and after."""
    turned = {
        "he": "she", "she": "he", "him": "her", "her": "him", "his": "her", "hers": "his",
        "first": "second", "second": "first", "former": "latter", "latter": "former", "more": "less", "less": "more",
        "before": "after", "after": "before", "from": "to", "to": "from", "i": "you", "you": "i", "my": "your", "your": "my",
    }  # fmt: skip
    places = [index for index, word in enumerate(words) if word in turned]
    if len(places) < 2 and not (places and words[places[0]] not in {"i", "you", "to", "from"}):
        return None
    changed = [turned.get(word, word) for word in words]
    return changed if changed != words else None


def swap_runs(words: Words, chance: random.Random) -> Words | None:
    """Two names, or two numbers, of one text change places."""
    runs = _runs(words)
    numbers = [(index, index + 1) for index, word in enumerate(words) if word[:1].isdigit()]
    kinds = [found for found in (runs, numbers) if len(found) > 1]
    if not kinds:
        return None
    (a, b), (c, d) = sorted(chance.sample(chance.choice(kinds), 2))
    between = set(words[b:c])
    if words[a:b] == words[c:d] or between <= {"and", "or", ","}:
        return None
    return [*words[:a], *words[c:d], *words[b:c], *words[a:b], *words[d:]]


def _runs(words: Words) -> list[tuple[int, int]]:
    """Return where names stand, in a text that still has its capitals."""
    runs: list[tuple[int, int]] = []
    for index, word in enumerate(words):
        if not word[:1].isupper() or index == 0 or word == "I":
            continue
        if runs and runs[-1][1] == index:
            runs[-1] = (runs[-1][0], index + 1)
        else:
            runs.append((index, index + 1))
    return runs


def narrowing(words: Words, chance: random.Random) -> Words | None:
    """A word that narrows what is asked about."""
    places = [
        index
        for index, word in enumerate(words[:-1])
        if word in _ARTICLES and is_content(words[index + 1])
    ]
    if not places:
        return None
    place = chance.choice(places)
    article = "a" if words[place] == "an" else words[place]
    return [*words[:place], article, chance.choice(lexicon.NARROWING), *words[place + 1 :]]


def scope(words: Words, chance: random.Random) -> Words | None:
    """A restriction at the end."""
    return [*words, *chance.choice(_SCOPES).split()]


def freshness(words: Words, chance: random.Random) -> Words | None:
    """A time at which it is asked."""
    if set(words) & {"now", "today", "currently", "current", "latest"}:
        return None
    return [*words, *chance.choice(_FRESH).split()]


def tense(words: Words, chance: random.Random) -> Words | None:
    """What is becomes what was, or was once."""
    if not words:
        return None
    then = {
        "is": "was",
        "are": "were",
        "was": "is",
        "were": "are",
        "does": "did",
        "do": "did",
        "has": "had",
        "will": "did",
        "can": "could",
    }
    places = [index for index, word in enumerate(words[:3]) if word in then]
    if not places:
        return None
    place = places[0]
    if words[place] in {"is", "are"} and place == 0 and len(words) > 3 and chance.random() < 0.6:
        gap = 2 if words[1] not in _ARTICLES else 3
        return ["did", *words[1:gap], "use", "to", "be", *words[gap:]]
    if words[place] in {"is", "are"} and chance.random() < 0.3:
        return [*words[: place + 1], "no", "longer", *words[place + 1 :]]
    return _with(words, place, then[words[place]])


def both_or_either(words: Words, chance: random.Random) -> Words | None:
    """Either becomes both, or both either."""
    other = {"or": "and", "and": "or"}
    places = [index for index, word in enumerate(words) if word in other]
    if not places:
        return None
    place = chance.choice(places)
    changed = _with(words, place, other[words[place]])
    if changed[place] == "and" and chance.random() < 0.5:
        changed = [
            *changed,
            *chance.choice(("at the same time", "together", "simultaneously")).split(),
        ]
    return changed


def principal(words: Words, chance: random.Random) -> Words | None:
    """Another owner."""
    owners = (
        "my",
        "your",
        "his",
        "her",
        "our",
        "their",
        "my wife's",
        "my son's",
        "my boss's",
        "a customer's",
        "john's",
        "maria's",
    )
    places = [index for index, word in enumerate(words) if word in owners]
    if not places:
        return None
    place = chance.choice(places)
    new = chance.choice([each for each in owners if each != words[place]])
    return [*words[:place], *new.split(), *words[place + 1 :]]


def action(words: Words, chance: random.Random) -> Words | None:
    """A question how becomes a wish that it be done."""
    match = re.match(r"(?:how (?:do|can|could|would|should) i|can i|could i|is it possible to|what do i need to do to) (.+)", " ".join(words))  # fmt: skip
    return chance.choice(_ACTIONS).format(match.group(1)).split() if match else None


def aspect(words: Words, chance: random.Random) -> Words | None:
    """Another thing asked of the same subject."""
    start = " ".join(words[:2])
    turns = {
        "how do": "why do", "how can": "when can", "when was": "where was", "where is": "what is", "who is": "where is",
        "when did": "why did", "where was": "when was", "who was": "when was", "why is": "when is", "what is": "where is",
        "how much": "how many", "how many": "how often", "how long": "how far", "can i": "must i", "who wrote": "when wrote",
        "do i": "why do i", "how old": "how tall", "where did": "when did", "who played": "who directed", "who sang": "who wrote",
    }  # fmt: skip
    return [*turns[start].split(), *words[2:]] if start in turns else None


def dropped(words: Words, chance: random.Random) -> Words | None:
    """A word that narrows is taken away."""
    places = [
        index
        for index in range(1, len(words) - 1)
        if is_content(words[index]) and is_content(words[index + 1]) and words[index - 1] in _STOP
    ]
    if not places:
        return None
    place = chance.choice(places)
    return words[:place] + words[place + 1 :]


EDITS: Final[dict[str, tuple[Edit, float]]] = {
    "number": (number, 1.5), "member": (member, 2.0), "opposite": (opposite, 2.0), "negation": (negation, 1.2),
    "name": (name, 1.5), "swap": (swap, 0.7), "swap_around": (swap_around, 1.2), "swap_runs": (swap_runs, 2.5),
    "wrong_passive": (wrong_passive, 2.5), "crossed": (crossed, 1.0), "narrowing": (narrowing, 1.2),
    "scope": (scope, 0.8), "freshness": (freshness, 0.6), "tense": (tense, 1.0), "both_or_either": (both_or_either, 1.0),
    "principal": (principal, 1.0), "action": (action, 1.0), "aspect": (aspect, 1.0), "dropped": (dropped, 0.5),
}  # fmt: skip


def _with(words: Words, place: int, word: str) -> Words:
    return [*words[:place], word, *words[place + 1 :]]
