"""What can be told of a question and the passages found for it, without a model.

Each feature of a passage is a number; most are shares of the question in [0, 1], where a word
counts as much as it is rare. Larger says likelier, but for `missing` and `rank_meaning`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from services.retrieval.reranking.wording import Reading, answer_pattern, read, stem, stems_of
from services.retrieval.words import words_of

NAMES: Final = (
    # Cosine of question and passage; its square; by how much it is above the best of the others.
    *("cosine", "cosine_squared", "cosine_lead"),
    # Logarithm of the rank by meaning, from 1.
    "rank_meaning",
    # Words that the passage has, where those of few candidates count more; the heaviest missing.
    *("coverage", "missing"),
    # Words of the best sentence; its square; of the best two that follow each other.
    *("sentence", "sentence_squared", "two_sentences"),
    # Words within a few of each other; neighbours that stay near; pairs and triples as asked.
    *("window", "near", "pairs", "triples"),
    # Words that the passage has in another form only.
    "forms",
    # Numbers and capitalised words of the question that the passage has.
    *("numbers", "names"),
    # Whether it has what is asked for (a date, a number, a name ...) and the question has not.
    "answers",
)  # fmt: skip

# A ranking that does not have a passage counts as if this were its rank there.
UNRANKED: Final = 60
_WINDOW_WORDS: Final = 15
# Words this far apart count half as near neighbours.
_NEAR_WORDS: Final = 3
_FORM_CHARS: Final = 5
# A word that no passage has is probably misspelt; it says less than its rarity.
_UNKNOWN_SHARE: Final = 0.5
# As alike as letters swapped in a word of six are.
_LEAST_LIKENESS: Final = 0.8
_NUMBER: Final = re.compile(r"\d[\d.,]*\d|\d")
# Not the first word, which has a capital anyway.
_NAME: Final = re.compile(r"(?<=\s)[A-Z]\w+")

Weights = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A passage that was found, and where.

    Attributes:
        title: of its document.
        heading: what it stands under.
        text: its text.
        cosine: of question and passage, in [-1, 1].
        rank_words: rank by words, from 1; None if it is not there.
        rank_meaning: rank by meaning, from 1; None if it is not there.
    """

    title: str
    heading: str
    text: str
    cosine: float
    rank_words: int | None = None
    rank_meaning: int | None = None


@dataclass(frozen=True, slots=True)
class Asked:
    """A question, and how much each of its words says.

    Attributes:
        question: as it was asked.
        counts: passages of the collection that have each of its words.
        total: passages of the collection.
    """

    question: str
    counts: Mapping[str, int]
    total: int


def features(asked: Asked, candidates: Sequence[Candidate]) -> NDArray[np.float64]:
    """Return a row of `NAMES` for each candidate."""
    pages = [_Page(each) for each in candidates]
    query = _Query(asked, pages)
    leads = _leads([each.cosine for each in candidates])
    rows = [
        [
            *(each.cosine, each.cosine**2, lead),
            _log_rank(each.rank_meaning),
            *query.of(page),
        ]
        for each, page, lead in zip(candidates, pages, leads, strict=True)
    ]
    return np.array(rows, np.float64).reshape(-1, len(NAMES))


class _Page:
    """A candidate as words.

    Attributes:
        text: title, heading and text, a paragraph each.
        reading: the words of it.
        stems: the different ones.
    """

    def __init__(self, candidate: Candidate) -> None:
        parts = (candidate.title, candidate.heading, candidate.text)
        self.text = "\n\n".join(part for part in parts if part)
        self.reading = read(self.text)
        self.stems = self.reading.different

    def places(self, wanted: Weights) -> list[tuple[int, str]]:
        """Return where the wanted stems stand, in order."""
        return [(at, each) for at, each in enumerate(self.reading.stems) if each in wanted]


class _Query:
    """A question, as its candidates are compared with it."""

    def __init__(self, asked: Asked, pages: Sequence[_Page]) -> None:
        self._weights, mended = _rarities(asked, pages)
        self._stems = tuple(mended.get(each, each) for each in read(asked.question).stems)
        self._total = sum(self._weights.values()) or 1.0
        self._local = _local_rarities(self._weights, pages)
        self._local_total = sum(self._local.values()) or 1.0
        self._heaviest = max(self._weights.values(), default=0.0) or 1.0
        self._pairs = frozenset(pairwise(self._stems))
        self._triples = frozenset(_triples(self._stems))
        telling = [each for each in self._stems if each in self._weights]
        self._neighbours = [(one, other) for one, other in pairwise(telling) if one != other]
        self._numbers = [stem(each) for each in _NUMBER.findall(asked.question)]
        names = (stem(each) for each in _NAME.findall(asked.question))
        self._names = [mended.get(each, each) for each in names]
        self._answer = answer_pattern(asked.question)

    def of(self, page: _Page) -> Iterable[float]:
        """Return the features that compare words, in the order of `NAMES`."""
        stems, places = page.reading.stems, page.places(self._weights)
        best, two = self._sentences(page.reading, places)
        missing = [weight for each, weight in self._weights.items() if each not in page.stems]
        return (
            sum(weight for each, weight in self._local.items() if each in page.stems)
            / self._local_total,
            max(missing, default=0.0) / self._heaviest,
            *(best, best**2, two),
            self._window(places),
            self._near(places),
            len(self._pairs.intersection(pairwise(stems))) / max(1, len(self._pairs)),
            len(self._triples.intersection(_triples(stems))) / max(1, len(self._triples)),
            self._forms(page),
            sum(each in page.stems for each in self._numbers) / max(1, len(self._numbers)),
            sum(each in page.stems for each in self._names) / max(1, len(self._names)),
            float(self._has_answer(page)),
        )

    def _share(self, found: Iterable[str]) -> float:
        # In the order of the question: sums come out the same to the last bit.
        held = set(found)
        return sum(w for each, w in self._weights.items() if each in held) / self._total

    def _sentences(
        self, reading: Reading, places: Sequence[tuple[int, str]]
    ) -> tuple[float, float]:
        held: list[set[str]] = [set() for _ in reading.starts]
        sentence = 0
        for at, each in places:
            while sentence + 1 < len(held) and reading.starts[sentence + 1] <= at:
                sentence += 1
            held[sentence].add(each)
        best = max(map(self._share, held), default=0.0)
        two = max((self._share(one | other) for one, other in pairwise(held)), default=best)
        return best, two

    def _window(self, places: Sequence[tuple[int, str]]) -> float:
        """Return the largest share of the question within `_WINDOW_WORDS`."""
        best, first = 0.0, 0
        inside: dict[str, int] = {}
        weight = 0.0
        for at, each in places:
            if not inside.get(each):
                weight += self._weights[each]
            inside[each] = inside.get(each, 0) + 1
            while at - places[first][0] > _WINDOW_WORDS:
                gone = places[first][1]
                inside[gone] -= 1
                weight -= 0.0 if inside[gone] else self._weights[gone]
                first += 1
            best = max(best, weight)
        return best / self._total

    def _near(self, places: Sequence[tuple[int, str]]) -> float:
        """Return how near neighbours of the question stand to each other, in [0, 1]."""
        where: dict[str, list[int]] = {}
        for at, each in places:
            where.setdefault(each, []).append(at)
        near = total = 0.0
        for one, other in self._neighbours:
            weight = self._weights[one] + self._weights[other]
            total += weight
            if one in where and other in where:
                apart = min(abs(a - b) for a in where[one] for b in where[other])
                near += weight / (1 + apart / _NEAR_WORDS)
        return near / total if total else 0.0

    def _forms(self, page: _Page) -> float:
        missing = [each for each in self._weights if each not in page.stems]
        if not missing:
            return 0.0
        starts = {each[:_FORM_CHARS] for each in page.stems if len(each) >= _FORM_CHARS}
        return self._share(each for each in missing if each[:_FORM_CHARS] in starts)

    def _has_answer(self, page: _Page) -> bool:
        if self._answer is None:
            return False
        found = (stems_of(match[0]) for match in self._answer.finditer(page.text))
        return any(stems and stems[-1] not in self._stems for stems in found)


def _triples(stems: Sequence[str]) -> Iterable[tuple[str, str, str]]:
    return zip(stems, stems[1:], stems[2:], strict=False)


def _leads(cosines: Sequence[float]) -> list[float]:
    """Return by how much each is above the largest of the others; less than 0 for all but one."""
    if len(cosines) <= 1:
        return [0.0] * len(cosines)
    first, second = sorted(cosines, reverse=True)[:2]
    return [each - (second if each == first else first) for each in cosines]


def _log_rank(rank: int | None) -> float:
    return math.log(UNRANKED if rank is None else min(rank, UNRANKED))


def _rarity(having: int, total: int) -> float:
    """Return BM25's inverse document frequency."""
    return math.log1p((total - having + 0.5) / (having + 0.5))


def _rarities(asked: Asked, pages: Sequence[_Page]) -> tuple[Weights, Mapping[str, str]]:
    """Return how much each stem of the question says, and the spelling of those misspelt."""
    weights: dict[str, float] = {}
    mended: dict[str, str] = {}
    for word in words_of(asked.question):
        found, having = stem(word), min(asked.counts.get(word, 0), asked.total)
        if not having and (other := _alike(found, pages)):
            mended[found] = found = other
        weight = _rarity(having, asked.total) * (1.0 if having else _UNKNOWN_SHARE)
        weights[found] = max(weight, weights.get(found, 0.0))
    return weights, mended


def _alike(word: str, pages: Sequence[_Page]) -> str | None:
    """Return the word of the candidates that is spelt most like one that no passage has."""
    if len(word) < _FORM_CHARS or word[0].isdigit():
        return None
    others = {
        each
        for page in pages
        for each in page.stems
        if each[0] == word[0] and abs(len(each) - len(word)) <= 1
    }
    # Sorted: of two as much alike the same one is taken each time.
    return next(iter(get_close_matches(word, sorted(others), 1, _LEAST_LIKENESS)), None)


def _local_rarities(weights: Weights, pages: Sequence[_Page]) -> Weights:
    return {
        each: _rarity(sum(each in page.stems for page in pages), len(pages)) for each in weights
    }
