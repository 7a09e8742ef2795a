"""Cuts a text, as it comes, into what can be read alone.

A block is a sentence, a list item, a heading, a row of a table or a block of code, with the
white space after it. Where blocks end depends on the text and not on the pieces it comes in.
"""

from __future__ import annotations

import re
import unicodedata
from enum import Enum

# No block is longer, so that no end is waited for beyond it.
MOST_CHARS = 2_000
# So much of a line tells what it begins.
_LOOK_CHARS = 12
# A cut between two words is looked for so far back; some scripts have no spaces.
_LONGEST_WORD = 40

# A full stop of most scripts ends a sentence before white space only: not within a number, an
# address or a name. Those of Chinese and Japanese do so wherever they stand.
_STOPS, _WIDE_STOPS = ".!?…؟۔।॥։።", "。！？｡"  # noqa: RUF001
_CLOSERS = r"(?:[\"'”’»)\]}*_`]|\[\d+\])*"  # noqa: RUF001
_WIDE_CLOSERS = r"[」』）】》〉”’\"')\]*_\ufe00\ufe01]*"  # noqa: RUF001
# Without going back, and not from the middle of a row of stops: long ones take no time.
_STOP = re.compile(
    rf"(?<![{_STOPS}])[{_STOPS}]++{_CLOSERS}+(?=\s)|[{_WIDE_STOPS}]++{_WIDE_CLOSERS}|\n"
)
_SPACE = re.compile(r"\s*")
_FENCE = re.compile(r"`{3,}|~{3,}")
_OPENERS = "([{\"'“‘«„*_"  # noqa: RUF001
# What stands before a full stop that ends no sentence.
_ABBREVIATIONS = frozenset(
    """
    al approx bzw ca capt cf co col corp dept dr est evtl fr gen ggf gov hon hr hrsg inc inkl
    jr lt ltd mlle mme mr mrs ms prof rep rev sen sgt sog sr st vgl vs
    """.split()  # noqa: SIM905 - as in a dictionary
)
# The same before a number alone.
_NUMBERED = frozenset(
    """
    abs app art ch eq fig figs no nos nr p para pp sec secs tab v ver vol
    apr aug dec feb jan jul jun mar nov oct sep sept
    """.split()  # noqa: SIM905 - as in a dictionary
)
_DOTTED = re.compile(r"(?:\w\.)+\w")
_MONTH = re.compile(r"Jan|Feb|Mär|Apr|Mai|Jun|Jul|Aug|Sep|Okt|Nov|Dez")
_MONTH_CHARS = 3
_DAY_DIGITS = 2


class _Kind(Enum):
    """What begins with a line."""

    PROSE = "prose"
    LINE = "line"
    ITEM = "item"
    CODE = "code"


class Blocks:
    """A text that comes in pieces, as blocks."""

    def __init__(self) -> None:
        self._held = ""
        self._kind: _Kind | None = None
        # Up to here there is no end: what was looked at is not looked at again.
        self._from = 0
        # What the block of code began with that the text is in.
        self._fence = ""
        self._is_line_start = True

    @property
    def held(self) -> str:
        """What has come and is in no block yet."""
        return self._held

    def feed(self, text: str) -> list[str]:
        """Return the blocks that have ended once `text` has come."""
        self._held += text
        return self._ended(is_last=False)

    def end(self) -> list[str]:
        """Return what is left, once nothing more comes."""
        blocks = self._ended(is_last=True)
        return [*blocks, self._take(len(self._held))] if self._held else blocks

    def overdue(self) -> str:
        """Return what can be read of a block that has no end yet: whole words, or characters."""
        return self._take(_seam(self._held, len(self._held) - 1)) if self._held else ""

    def _ended(self, *, is_last: bool) -> list[str]:
        blocks = []
        while self._held:
            window = self._held[:MOST_CHARS]
            is_full = len(window) == MOST_CHARS
            end = self._end(window, is_last=is_last and not is_full)
            if end is None and is_full:
                end = _bound(window)
            if end is None:
                break
            blocks.append(self._take(end))
        return blocks

    def _take(self, end: int) -> str:
        block, self._held = self._held[:end], self._held[end:]
        self._kind, self._from = None, 0
        if block:
            self._is_line_start = block.endswith("\n")
        return block

    def _end(self, text: str, *, is_last: bool) -> int | None:
        """Return where the first block of a text ends; None if that is not known yet."""
        if self._kind is None:
            self._kind = self._begun(text, is_last=is_last)
        if self._kind is None:
            return None
        if self._kind is _Kind.CODE:
            return self._end_of_code(text, is_last=is_last)
        if self._kind is _Kind.PROSE:
            return self._end_of_sentence(text, is_last=is_last)
        return self._end_of_line(text, is_last=is_last)

    def _begun(self, text: str, *, is_last: bool) -> _Kind | None:
        """Return what has begun; None if that is not known yet."""
        if self._fence:
            return _Kind.CODE
        first = _first(text, 0)
        if not self._is_line_start:
            return _Kind.PROSE
        kind = _kind(text, first)
        if kind is not None:
            self._from = first
        return _Kind.PROSE if kind is None and is_last else kind

    def _end_of_code(self, text: str, *, is_last: bool) -> int | None:
        while (newline := text.find("\n", self._from)) >= 0:
            line = text[self._from : newline].strip()
            if not self._fence:
                self._fence = _FENCE.match(line)[0]  # type: ignore[index]
            elif self._is_closing(line):
                end = _after_space(text, newline, is_last=is_last)
                self._fence = "" if end is not None else self._fence
                return end
            self._from = newline + 1
        return None

    def _is_closing(self, line: str) -> bool:
        is_whole = self._from > 0 or self._is_line_start
        return is_whole and len(line) >= len(self._fence) and not line.strip(self._fence[0])

    def _end_of_line(self, text: str, *, is_last: bool) -> int | None:
        while (newline := text.find("\n", self._from)) >= 0:
            end = _after_space(text, newline, is_last=is_last)
            if end is None or not self._is_indented(text, newline, end):
                return end
            kind = _kind(text, _first(text, end))
            if kind is None and not is_last:
                return None
            if kind not in (None, _Kind.PROSE):
                return end
            self._from = end
        return None

    def _is_indented(self, text: str, newline: int, end: int) -> bool:
        """Return whether what follows a line may be more of the same item."""
        is_next = text.count("\n", newline, end) == 1
        return self._kind is _Kind.ITEM and is_next and text[end : end + 1] in (" ", "\t")

    def _end_of_sentence(self, text: str, *, is_last: bool) -> int | None:
        for stop in _STOP.finditer(text, self._from):
            self._from = stop.start()
            at = stop.start() if stop[0] == "\n" else stop.end()
            end = _after_space(text, at, is_last=is_last)
            is_end = None if end is None else _is_end(text, stop, end, is_last=is_last)
            if is_end is None:
                return None
            if is_end:
                return end
        # What ends a sentence stands at the end of a word, and has been seen if that has ended.
        self._from = max(self._from, text.rfind(" "))
        return None


def _first(text: str, at: int) -> int:
    """Return the place of the first mark from `at` on."""
    run = _SPACE.match(text, at)
    return at if run is None else run.end()


def _after_space(text: str, at: int, *, is_last: bool) -> int | None:
    """Return where white space ends, but for the indent of a line; None if it may go on."""
    end = _first(text, at)
    if end == len(text) and not is_last:
        return None
    newline = text.rfind("\n", at, end)
    return end if newline < 0 else newline + 1


def _is_end(text: str, stop: re.Match[str], end: int, *, is_last: bool) -> bool | None:
    """Return whether a sentence ends at a stop; None if that is not known yet."""
    first = _first(text, end)
    lines = text.count("\n", stop.start(), end)
    if first == len(text) or lines > 1:
        return True
    if lines:
        kind = _kind(text, first)
        if kind is None and not is_last:
            return None
        if kind not in (None, _Kind.PROSE):
            return True
    if stop[0][0] in _WIDE_STOPS:
        return True
    return stop[0] != "\n" and _begins_another(text, stop, first, is_last=is_last)


def _begins_another(text: str, stop: re.Match[str], first: int, *, is_last: bool) -> bool | None:
    """Return whether what follows a stop at `first` is another sentence."""
    if text[first].islower():
        return False
    if stop[0] != ".":
        return True
    word = text[: stop.start()].rsplit(None, 1)[-1:]
    return _is_full_stop(word[0].lstrip(_OPENERS) if word else "", text, first, is_last=is_last)


def _is_full_stop(word: str, text: str, first: int, *, is_last: bool) -> bool | None:
    """Return whether the point after a word is more than a part of it."""
    if word.isdigit() and len(word) <= _DAY_DIGITS:
        # Germans write the day of a month so.
        if len(text) - first < _MONTH_CHARS and not is_last:
            return None
        return _MONTH.match(text, first) is None
    if word.lower() in _NUMBERED:
        return not text[first].isdigit()
    is_initial = len(word) == 1 and word.isupper() and word != "I"
    return not (is_initial or word.lower() in _ABBREVIATIONS or _DOTTED.fullmatch(word))


def _kind(text: str, at: int) -> _Kind | None:
    """Return what the line whose first mark is at `at` begins; None if that is not known yet."""
    rest = text[at : at + _LOOK_CHARS]
    line, newline, _ = rest.partition("\n")
    is_open = len(rest) < _LOOK_CHARS and not newline
    if not line:
        return None if is_open else _Kind.PROSE
    for kind, whole, part in _FORMS:
        if whole.match(line if is_open else f"{line}\n"):
            return kind
        if is_open and part.fullmatch(line):
            return None
    return _Kind.PROSE


# What a line of a kind begins with, and what may still become that.
_FORMS = tuple(
    (kind, re.compile(whole), re.compile(part))
    for kind, whole, part in (
        (_Kind.CODE, r"`{3}|~{3}", r"`{1,2}|~{1,2}"),
        (_Kind.LINE, r"\||#{1,6}\s", r"#{1,6}"),
        (_Kind.LINE, r"(?:-{3,}|\*{3,}|_{3,})[ \t]*\n", r"[-*_]|(?:-{2,}|\*{2,}|_{2,})[ \t]*"),
        (_Kind.ITEM, r"(?:[-*+•]|\d{1,4}[.)])\s", r"[-*+•]|\d{1,4}[.)]?"),
    )
)


def _bound(text: str) -> int:
    """Return where a block ends that is too long: after a line, between words or characters."""
    newline = text.rfind("\n", MOST_CHARS // 2)
    return newline + 1 or _seam(text, MOST_CHARS) or MOST_CHARS


def _seam(text: str, at: int) -> int:
    """Return the last place up to `at` where a text can be cut; 0 if there is none."""
    for place in range(at, max(0, at - _LONGEST_WORD), -1):
        if text[place - 1].isspace() and _is_seam(text, place):
            return place
    return next((place for place in range(at, 0, -1) if _is_seam(text, place)), 0)


def _is_seam(text: str, at: int) -> bool:
    """Return whether no character, as readers see it, is on both sides of a place.

    Stricter than Unicode's rules for grapheme clusters (UAX 29), and cheaper.
    """
    if not 0 < at < len(text):
        return at == len(text)
    before, after = text[at - 1], text[at]
    if "\u200d" in (before, after) or (before, after) == ("\r", "\n"):
        return False
    joins = unicodedata.category(after).startswith("M") or _is_joined(after)
    is_flag = "\U0001f1e6" <= before <= "\U0001f1ff" and "\U0001f1e6" <= after <= "\U0001f1ff"
    return not (joins or is_flag or unicodedata.combining(before) == _VIRAMA)


# The combining class of what binds two letters of an Indic script into one.
_VIRAMA = 9


def _is_joined(char: str) -> bool:
    """Return whether a character changes the one before: skin tones, tags, parts of Hangul."""
    return (
        "\U0001f3fb" <= char <= "\U0001f3ff"
        or "\U000e0020" <= char <= "\U000e007f"
        or "\u1160" <= char <= "\u11ff"
    )
