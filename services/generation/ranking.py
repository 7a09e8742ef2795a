"""Which units of the passages are most likely to hold the answer: words, no model.

A unit is scored by the question's words that it holds (rare ones count more), by those its
surroundings hold (its headings, the sentence before it), by word pairs in the question's
order, by whether it has the kind of thing asked for, and by the rank of its passage.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from libs.values import Passage
from services.generation.cues import fit_of
from services.generation.sentences import Kind, Unit, units
from services.generation.words import content_stems, stems, without_markup

# Weights fitted by softmax regression on the even-numbered articles of XQuAD (English) and
# rounded; the odd ones were held out (`tests/eval/test_extractive.py`).
_COVERAGE, _CONTEXT, _PARTIAL, _PAIRS, _CUE, _RANK = 7.0, 1.5, 1.0, 2.0, 2.0, 4.0
# The best unit must hold this share of the question's content words. On XQuAD that gives up
# 0.8 % of the right answers, and 2 in 5 answers to questions about something else.
_MIN_RELATION = 0.25
# Shorter units are labels, menu entries and the like.
_MIN_STEMS = 3
_PREFIX_CHARS = 5


@dataclass(frozen=True, slots=True)
class Candidate:
    """A unit of a passage.

    Attributes:
        passage_index: where its passage stands in the list given.
        unit: the unit.
        score: larger is likelier; comparable within one question.
        relation: the share of the question's content words that it and its headings
            hold, in [0, 1].
    """

    passage_index: int
    unit: Unit
    score: float
    relation: float


def candidates(question: str, passages: Sequence[Passage]) -> list[Candidate]:
    """Return the units that have a content word of the question, likeliest first.

    None at all if the likeliest has too few of them; a question of function words alone has
    none to share.
    """
    pages = [_read(passage) for passage in passages]
    scorer = _Scorer(question, [line for page in pages for line in page])
    found = [
        Candidate(rank, line.unit, scorer.score(page, number, rank), scorer.relation(line))
        for rank, page in enumerate(pages)
        for number, line in enumerate(page)
    ]
    related = [candidate for candidate in found if candidate.relation > 0]
    # Ties go to the better passage, then to the earlier unit: the order they were made in.
    related.sort(key=lambda candidate: -candidate.score)
    return related if related and related[0].relation >= _MIN_RELATION else []


@dataclass(frozen=True, slots=True)
class _Line:
    """A unit with its text and stems, and the stems of what stands above it.

    Attributes:
        lead: the stems of the line that announces it; they count as its own.
        above: the stems of its headings.
    """

    unit: Unit
    text: str
    stems: tuple[str, ...]
    lead: frozenset[str]
    above: frozenset[str]

    @property
    def own(self) -> frozenset[str]:
        return self.lead.union(self.stems)


def _read(passage: Passage) -> list[_Line]:
    lines: list[_Line] = []
    for unit in units(passage.text):
        raw = passage.text[unit.start : unit.end]
        text = raw if unit.kind is Kind.CODE else without_markup(raw)
        # What is mostly markup is navigation.
        if 2 * len(text.strip()) > len(raw):
            above = frozenset(stems(f"{passage.title} {passage.heading} {unit.heading}"))
            announced = bool(lines) and lines[-1].unit.leads
            lead = frozenset(lines[-1].stems if announced else ())
            lines.append(_Line(unit, text, tuple(stems(text)), lead, above))
    return lines


class _Scorer:
    """Scores lines against one question."""

    def __init__(self, question: str, lines: Sequence[_Line]) -> None:
        self._pairs = frozenset(pairwise(stems(question)))
        self._fit = fit_of(question)
        self._content = content_stems(question)
        self._weights = _rarities(self._content, lines)
        self._total = sum(self._weights.values()) or 1.0

    def relation(self, line: _Line) -> float:
        """Return the share of the question's content words that a line and its headings hold."""
        shared = self._content.intersection(line.above | line.own)
        return len(shared) / max(1, len(self._content))

    def score(self, page: Sequence[_Line], number: int, rank: int) -> float:
        """Return how likely a line is to hold the answer."""
        line = page[number]
        own = line.own
        before = page[number - 1].stems if number else ()
        pairs = len(self._pairs.intersection(pairwise(line.stems))) / max(1, len(self._pairs))
        score = (
            _COVERAGE * self._share(own)
            + _CONTEXT * self._share(line.above.union(before) - own)
            + _PARTIAL * self._share(self._alike(own))
            + _PAIRS * pairs
            + _CUE * self._fit(line.text, line.unit.kind)
            + _RANK / (1 + rank)
        )
        return score if len(line.stems) >= _MIN_STEMS else score - _COVERAGE

    def _share(self, found: frozenset[str]) -> float:
        """Return how much of the question, by rarity, is among `found`, in [0, 1]."""
        return sum(self._weights.get(stem, 0.0) for stem in found) / self._total

    def _alike(self, own: frozenset[str]) -> frozenset[str]:
        """Return the question's words that are missing, but for one with the same beginning."""
        starts = {stem[:_PREFIX_CHARS] for stem in own if len(stem) >= _PREFIX_CHARS}
        return frozenset(stem for stem in self._content - own if stem[:_PREFIX_CHARS] in starts)


def _rarities(content: set[str], lines: Sequence[_Line]) -> dict[str, float]:
    """Return how rare each word is among the lines (BM25's inverse document frequency)."""
    counts = Counter(stem for line in lines for stem in content.intersection(line.stems))
    return {
        # Sorted, so that sums come out the same to the last bit in every process.
        stem: math.log1p((len(lines) - counts[stem] + 0.5) / (counts[stem] + 0.5))
        for stem in sorted(content)
    }
