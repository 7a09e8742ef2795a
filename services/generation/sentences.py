"""Text cut into units that can be quoted alone: sentences, fragments and whole pieces of code."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto

from services.generation.blocks import Block, blocks

# Text that never comes to a full stop is quoted in parts of at most this many characters.
MAX_FRAGMENT_CHARS = 300

_INLINE_CODE = re.compile(r"(`++)[^`]++\1")
# Possessive, and begun only where a run of marks begins: such runs may be long.
_END = re.compile(
    r"(?<![.!?\u2026])(?P<mark>[.!?\u2026]++)(?:[\"'\u201d\u2019)\]*_`]|\[\d++\])*+(?=\s|\Z)"
    r"|[\u3002\uff01\uff1f]++[\u300d\u300f\uff09]*+"
)
_INK = re.compile(r"\S")
_LAST_WORD = re.compile(r"(?:[^\W\d_]\.)*[^\W_]+\Z")
# How far a mark is looked around for the words beside it.
_NEAR_CHARS = 24
_OPENING = "\"'\u201c\u2018([*_`"
# Words whose full stop seldom ends a sentence.
_ABBREVIATIONS = frozenset(
    """
    mr mrs ms dr st prof sr jr v vs etc e.g i.e cf al no nos fig figs eq sec ch vol vols pp ed eds
    gen lt col capt sgt rev hon gov sen rep pres jan feb mar apr jun jul aug sep sept oct nov dec
    approx ca inc ltd co corp dept est bros mt ft u.s u.k
    """.split()  # noqa: SIM905 - one line of words reads better than fifty lines of one
)
# After an abbreviation or an initial, these words begin a sentence all the same.
_STARTERS = frozenset(
    "The In It He She They This That These A An As At By For On We You If".split()  # noqa: SIM905
)


class Kind(Enum):
    """What a unit is."""

    SENTENCE = auto()
    FRAGMENT = auto()
    CODE = auto()


@dataclass(frozen=True, slots=True)
class Unit:
    """A stretch of a text that may be quoted alone.

    Attributes:
        start: its first character.
        end: one past its last character.
        kind: a sentence that comes to an end, words without one, or code, which is never cut.
        heading: the heading above it within the text; may be empty.
        leads: True if it announces what follows, as a line before an example does.
    """

    start: int
    end: int
    kind: Kind = Kind.SENTENCE
    heading: str = ""
    leads: bool = False


def units(text: str) -> list[Unit]:
    """Return the units of a text, in order; headings, rules and badges belong to none."""
    return [unit for block in blocks(text) for unit in _units_of(text, block)]


def _units_of(text: str, block: Block) -> Iterator[Unit]:
    if block.is_code:
        yield Unit(block.start, block.end, Kind.CODE, block.heading)
        return
    for start, end, kind in _sentences(text, block.start, block.end):
        pieces = [(start, end)] if kind is Kind.SENTENCE else _fragments(text, start, end)
        for piece_start, piece_end in pieces:
            leads = text[piece_start:piece_end].endswith((":", ":**", ":*"))
            yield Unit(piece_start, piece_end, kind, block.heading, leads)


def _sentences(text: str, start: int, end: int) -> Iterator[tuple[int, int, Kind]]:
    """Yield the sentences between two positions, and what is left after the last one."""
    # Marks inside inline code end nothing; masking keeps every position.
    masked = _INLINE_CODE.sub(lambda code: "x" * len(code.group()), text[start:end])
    at = 0
    for mark in _END.finditer(masked):
        if _is_end(masked, mark):
            yield *_trimmed(text, start + at, start + mark.end()), Kind.SENTENCE
            at = mark.end()
    rest = _trimmed(text, start + at, end)
    if rest[0] < rest[1]:
        yield *rest, Kind.FRAGMENT


def _is_end(text: str, mark: re.Match[str]) -> bool:
    """Tell a full stop that ends a sentence from one that abbreviates."""
    following = text[mark.end() : mark.end() + _NEAR_CHARS].lstrip().lstrip(_OPENING)
    if mark["mark"] is None or not following:
        return True
    if following[0].islower():
        return False
    word = _LAST_WORD.search(text, max(0, mark.start() - _NEAR_CHARS), mark.start())
    if mark["mark"] != "." or word is None:
        return True
    last = word.group()
    if (len(last) == 1 and last.isupper()) or last.lower() in _ABBREVIATIONS:
        return re.split(r"\W", following, maxsplit=1)[0] in _STARTERS
    return True


def _fragments(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Yield a stretch in parts of at most `MAX_FRAGMENT_CHARS`, cut between words."""
    while start < end:
        cut = min(end, start + MAX_FRAGMENT_CHARS)
        if cut < end:
            space = max(text.rfind(" ", start + 1, cut), text.rfind("\n", start + 1, cut))
            cut = cut if space < 0 else space
        yield _trimmed(text, start, cut)
        ink = _INK.search(text, cut, end)
        start = end if ink is None else ink.start()


def _trimmed(text: str, start: int, end: int) -> tuple[int, int]:
    """Return a stretch without the blanks around it; an empty one at `end` if it is all blank."""
    ink = _INK.search(text, start, end)
    if ink is None:
        return end, end
    while text[end - 1].isspace():
        end -= 1
    return ink.start(), end
