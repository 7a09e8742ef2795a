"""Makes the follow-up of a conversation stand alone, so that it can be searched for.

"And for Spain?" finds nothing by itself. Rules put in what it leaves out, from what was asked
before: they take microseconds, say nothing that was not said, and where they are not sure they
put both questions together, which finds the passages of both. The rewritten text is what is
searched for; the model reads the conversation as it was, and the cache's key holds all of it.

English alone: in other languages a follow-up is searched for as it stands.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from libs.values import Role, Turn

REWRITING = "rewriting"
# Questions further back have seldom anything to do with the last one.
_MOST_TURNS = 4
# What is taken over of an earlier question, which may be pages long.
_MOST_CHARACTERS = 400
# Words of a question that has nothing but what is new in it.
_MOST_FRAGMENT_WORDS = 6
_FEW_WORDS = 3

_PREPOSITION = "for|in|of|on|at|from|to|with|by|about|under|after|before|during|since"
# Names, years, codes: a capital or a digit, and what goes on with capitals after it.
_NAME = (
    r"(?:the )?[A-Z0-9][\w'&.-]*(?<![.'])(?: (?:(?:of|de|van|von|and) )?[A-Z0-9][\w'&-]*(?<!'))*"
)
_NAMED = re.compile(rf"(?:\b(?P<preposition>(?i:{_PREPOSITION})) )?(?P<name>{_NAME})")
# Prepositions of which one may be asked with and the other answered with.
_ALIKE = frozenset({"in", "for", "of", "at"})
_TIME = re.compile(
    r"(?:(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day|January|February|March|April|May|June|July"
    r"|August|September|October|November|December|Christmas|Easter)"
)
_VERB_FIRST = re.compile(
    r"(?:who|whom|whose|what|when|where|why|how|which|is|are|was|were|do|does|did|has|have|had|can"
    r"|could|will|would|should|may|must)\b",
    re.IGNORECASE,
)
_OPENING = re.compile(
    r"(?:(?:and|but|or|so|then|ok|okay|also)\b,?\s*)?(?:(?:what|how) about|same (?:question )?for"
    r"|and|but|or|so|then|ok|okay|also)\b,?\s*(?P<rest>.*)",
    re.IGNORECASE | re.DOTALL,
)
_FRAGMENT = re.compile(
    rf"(?:(?P<preposition>{_PREPOSITION}) )?(?P<what>.+?)\s*[?.!]*\s*", re.IGNORECASE
)
_WHOLE = re.compile(
    r"(?:who|what|where|when|how|why|which)(?:'s| is| are| was| were| do| does| did)\b \w+",
    re.IGNORECASE,
)
_PRONOUN = re.compile(
    r"\b(?:its?|they|them|their|he|him|his|she|hers?|those|these"
    r"|(?:that|this)(?=\s*[?.!,]|\s*$| (?:is|was|are|were|does|do|did|mean|one)\b)"
    r"|there(?=\s*[?.!]|\s*$))\b",
    re.IGNORECASE,
)
# "How long does it take to ...", "Is it possible to ...": stands for nothing said before.
_EMPTY_IT = re.compile(
    r"\bit (?:takes? (?:\w+ )?(?:to|until|till|for|before)|(?:is |was )?(?:possible|true|legal"
    r"|necessary|allowed|safe|worth|better|best|common|normal|ok|okay|rain\w*|snow\w*))\b"
    r"|\btime is it\b",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Rewritten:
    """A question that stands alone.

    Attributes:
        text: what to search for.
        how: `substituted`, `merged`, or `as_it_is`.
    """

    text: str
    how: str


def standing_alone(question: str, history: Sequence[Turn]) -> Rewritten:
    """Return a question with what it leaves out to the conversation before it put in."""
    asked = [turn.text.strip() for turn in history if turn.role is Role.USER]
    before = ""
    for earlier in asked[-_MOST_TURNS:]:
        before = _alone(earlier, before).text
    return _alone(question, before)


def _alone(question: str, before: str) -> Rewritten:
    """Return a question as it stands alone, after one that does."""
    before = before[-_MOST_CHARACTERS:]
    text = question.strip()
    if not before or text == before:
        return Rewritten(question, "as_it_is")
    opening = _OPENING.fullmatch(text)
    rest = opening["rest"].strip() if opening else text
    if _is_fragment(rest, is_opened=opening is not None):
        return _put_in(rest, before) or _merged(text, before)
    if _looks_back(rest) or (opening and not _WHOLE.match(rest)):
        # Of what, nobody but a reader can tell: "When was it built?" after "Who built the
        # lighthouse of Arran?" is not asked of Arran.
        return _merged(text, before)
    return Rewritten(question, "as_it_is")


def _is_fragment(rest: str, *, is_opened: bool) -> bool:
    """Return whether there is nothing in it but what is new: "for Spain?", "in 2020?"."""
    count = len(rest.split())
    if _VERB_FIRST.match(rest):
        # "Why?" and "Since when?" ask what was asked before; "Who is Hamlet?" does not.
        return count < _FEW_WORDS and not _WHOLE.match(rest)
    return count <= (_MOST_FRAGMENT_WORDS if is_opened else _FEW_WORDS)


def _looks_back(text: str) -> bool:
    """Return whether a pronoun stands for something said before this question."""
    found = None if _EMPTY_IT.search(text) else _PRONOUN.search(text)
    # With a name before it, it stands for that.
    return found is not None and not _names(text[: found.start()])


def _put_in(fragment: str, before: str) -> Rewritten | None:
    """Return the question before with what is new in the place of what it replaces.

    Only where there is no doubt which that is: a name for a name, a day for a day, a number
    for a number, behind the same preposition or behind one that says as much.
    """
    parts = _FRAGMENT.fullmatch(fragment)
    if parts is None or _VERB_FIRST.match(fragment) or not re.fullmatch(_NAME, parts["what"]):
        return None
    what, preposition = parts["what"], (parts["preposition"] or "").lower()
    places = [each for each in _names(before) if _kind(each["name"]) == _kind(what)]
    alike = [each for each in places if _says_as_much(preposition, each["preposition"])]
    same = [each for each in alike if (each["preposition"] or "").lower() == preposition]
    chosen = same if preposition and same else alike
    if len(chosen) > 1:
        # "VAT" is what is asked about, "in France" is what it is asked for.
        chosen = [each for each in chosen if each["preposition"]]
    if len(chosen) != 1:
        return None
    start, end = chosen[0].span("name")
    return Rewritten(before[:start] + what + before[end:], "substituted")


def _says_as_much(new: str, old: str | None) -> bool:
    old = (old or "").lower()
    return not new or new == old or (new in _ALIKE and old in _ALIKE)


def _kind(name: str) -> str:
    if name[0].isdigit():
        return "number"
    return "time" if _TIME.match(name) else "name"


def _merged(text: str, before: str) -> Rewritten:
    end = "" if before.endswith(("?", ".", "!")) else "?"
    return Rewritten(f"{before}{end} {text}", "merged")


def _names(text: str) -> list[re.Match[str]]:
    """Return the names in a text; its first word has a capital whatever it is."""
    return [each for each in _NAMED.finditer(text) if each.start("name") > 0]
