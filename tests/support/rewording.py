"""Other words for the same question, as people write them: one answer serves all of them.

Rules alone, seeded. What they change never carries meaning: case, courtesy, contractions,
slips of the keyboard, the order of clauses, and what is said around a question.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from random import Random

Rule = Callable[[Random, str], str | None]

_BEFORE = ("please, ", "hi, ", "hello! ", "hey, ", "good morning, ", "excuse me, ")
_AFTER = (", please", " please", " thanks", ", thank you", " pls")
_FRAMES = (
    "can you tell me {}",
    "could you tell me {}",
    "i would like to know {}",
    "i'd like to know {}",
    "do you know {}",
    "quick question: {}",
    "i have a question, {}",
    "just wondering {}",
    "tell me {}",
    "{} - any idea",
)
_CONTRACTIONS = (
    ("what is", "what's"),
    ("who is", "who's"),
    ("where is", "where's"),
    ("how is", "how's"),
    ("it is", "it's"),
    ("i am", "i'm"),
    ("i have", "i've"),
    ("i would", "i'd"),
    ("i will", "i'll"),
    ("do not", "don't"),
    ("does not", "doesn't"),
    ("did not", "didn't"),
    ("is not", "isn't"),
    ("has not", "hasn't"),
    ("have not", "haven't"),
    ("cannot", "can't"),
    ("can not", "can't"),
    ("could not", "couldn't"),
)
_SHORTER = (("you", "u"), ("are", "r"), ("because", "cuz"), ("account", "acct"), ("and", "&"))
_WH = re.compile(r"(who|when|where|which \w+|how many \w+|how much|how long) (.+)", re.IGNORECASE)
_CLAUSE = re.compile(
    r"([^,.?!]{8,}) ((?:if|when|because|while|after|before) [^,.?!]{8,})", re.IGNORECASE
)
_WORD = re.compile(r"[A-Za-z]{5,}")
_NEIGHBOURS = {"a": "s", "e": "r", "i": "o", "o": "p", "t": "y", "n": "m", "s": "d", "r": "t"}


def reworded(random: Random, question: str) -> str:
    """Return a question in other words: one change, or two; never the very same text."""
    text = question
    for _ in range(random.choice((1, 1, 1, 2))):
        rules = list(RULES)
        random.shuffle(rules)
        changed = (rule(random, text) for rule in rules)
        text = next(each for each in changed if each and each not in (text, question))
    return text


def _case(random: Random, text: str) -> str | None:
    how = random.choice((str.lower, str.lower, str.lower, str.title, str.upper))
    return how(text)


def _mark(random: Random, text: str) -> str | None:
    bare = text.rstrip(" ?.!")
    return bare + random.choice(("", "?", "??", " ?", "."))


def _courtesy(random: Random, text: str) -> str | None:
    if random.random() < 0.5:
        return random.choice(_BEFORE) + _small(text)
    bare, mark = _split_mark(text)
    return bare + random.choice(_AFTER) + mark


def _frame(random: Random, text: str) -> str | None:
    bare, mark = _split_mark(text)
    return random.choice(_FRAMES).format(_small(bare)) + mark


def _contraction(random: Random, text: str) -> str | None:
    pairs = [*_CONTRACTIONS, *((short, long) for long, short in _CONTRACTIONS), *_SHORTER]
    random.shuffle(pairs)
    for old, new in pairs:
        changed = re.sub(rf"\b{re.escape(old)}\b", new, text, count=1, flags=re.IGNORECASE)
        if changed != text:
            return changed
    return None


def _slip(random: Random, text: str) -> str | None:
    """Return a text with one letter wrong, within a longer word and never its first."""
    words = list(_WORD.finditer(text))
    if not words:
        return None
    word = random.choice(words)
    at = random.randrange(word.start() + 1, word.end() - 1)
    here, following = text[at], text[at + 1]
    slips = (here + here, "", following + here, _NEIGHBOURS.get(here.lower(), here + here))
    chosen = random.randrange(len(slips))
    end = at + 2 if chosen == 2 else at + 1
    return text[:at] + slips[chosen] + text[end:]


def _order(random: Random, text: str) -> str | None:
    """Return a text whose asking word, or whose clause, stands elsewhere."""
    bare, mark = _split_mark(text)
    clause = _CLAUSE.fullmatch(bare)
    if clause is not None:
        return f"{clause[2]}, {_small(clause[1])}{mark}"
    asking = _WH.fullmatch(bare)
    return None if asking is None else f"{asking[2]}, {_small(asking[1])}{mark}"


# Such as people need most come twice.
RULES: tuple[Rule, ...] = (
    _case,
    _mark,
    _mark,
    _courtesy,
    _courtesy,
    _frame,
    _frame,
    _contraction,
    _contraction,
    _slip,
    _slip,
    _order,
)


def _split_mark(text: str) -> tuple[str, str]:
    bare = text.rstrip(" ?.!")
    return bare, text[len(bare) :].strip()


def _small(text: str) -> str:
    """Return a text that begins small, unless its first word may be a name."""
    is_common = text.split(" ", 1)[0].lower() in _COMMON
    return text[:1].lower() + text[1:] if is_common else text


_COMMON = frozenset(
    re.findall(
        r"\w+",
        "a an the who what when where which why how is are was were do does did can could "
        "will would should has have my there please in on if for",
    )
)
