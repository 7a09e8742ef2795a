"""How often two sentences hold the answer: XQuAD (English), 1,190 questions over 240 passages.

The passages come from BM25 alone, which finds them about as well as the mesh's own retrieval
does (the right one first for 93 of 100 questions), so that no model is needed here.
"""

import json
import math
import re
import statistics
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from libs.values import Passage
from services.generation.extractive import MAX_QUOTES, quotes

PASSAGES_GIVEN = 5
# Articles whose number is even chose the weights of `services.generation.ranking`.
HELD_OUT = 1


@dataclass(frozen=True)
class Asked:
    article: int
    question: str
    answers: tuple[str, ...]


def read(path: Path) -> tuple[list[Passage], list[Asked]]:
    passages: list[Passage] = []
    questions: list[Asked] = []
    for article, data in enumerate(json.loads(path.read_text("utf-8"))["data"]):
        for paragraph in data["paragraphs"]:
            text, name = paragraph["context"], f"p{len(passages)}"
            passages.append(Passage(name, name, 1, "", "", text, 0, len(text)))
            for qa in paragraph["qas"]:
                answers = tuple(answer["text"].lower() for answer in qa["answers"])
                questions.append(Asked(article, qa["question"], answers))
    return passages, questions


class Bm25:
    """The passages that share most words with a question (Robertson and Zaragoza, 2009)."""

    def __init__(self, passages: Sequence[Passage]) -> None:
        self._passages = passages
        self._counts = [Counter(self._words(passage.text)) for passage in passages]
        lengths = [counts.total() for counts in self._counts]
        self._norms = [1.2 * (0.25 + 0.75 * n / statistics.mean(lengths)) for n in lengths]
        self._found_in = Counter(word for counts in self._counts for word in counts)

    def best(self, question: str) -> list[Passage]:
        words = sorted(set(self._words(question)))
        order = sorted(range(len(self._passages)), key=lambda index: -self._score(index, words))
        return [self._passages[index] for index in order[:PASSAGES_GIVEN]]

    def _score(self, index: int, words: Sequence[str]) -> float:
        counts, norm = self._counts[index], self._norms[index]
        return sum(
            self._rarity(word) * counts[word] * 2.2 / (counts[word] + norm)
            for word in words
            if word in counts
        )

    def _rarity(self, word: str) -> float:
        found = self._found_in[word]
        return math.log1p((len(self._passages) - found + 0.5) / (found + 0.5))

    @staticmethod
    def _words(text: str) -> list[str]:
        return [word[:7] for word in re.findall(r"\w+", text.lower())]


@pytest.fixture(scope="module")
def given(eval_data: Path) -> list[tuple[Asked, list[Passage]]]:
    passages, questions = read(eval_data / "xquad_en" / "xquad.en.json")
    retrieval = Bm25(passages)
    return [(asked, retrieval.best(asked.question)) for asked in questions]


def holds_answer(asked: Asked, passages: Sequence[Passage]) -> bool:
    found = quotes(asked.question, passages)
    assert len(found) <= MAX_QUOTES
    said = " ".join(
        passages[quote.passage_index].text[quote.unit.start : quote.unit.end] for quote in found
    ).lower()
    return any(answer in said for answer in asked.answers)


def test_two_sentences_hold_the_answer_to_seven_questions_in_ten(
    given: list[tuple[Asked, list[Passage]]],
) -> None:
    held_out = [each for each in given if each[0].article % 2 == HELD_OUT]
    of_all = statistics.mean(holds_answer(*each) for each in given)
    of_held_out = statistics.mean(holds_answer(*each) for each in held_out)
    print(f"of {len(given)} questions {of_all:.1%}, of {len(held_out)} held out {of_held_out:.1%}")
    assert len(given) == 1190
    assert min(of_all, of_held_out) >= 0.85


@pytest.mark.prove
def test_an_answer_takes_a_few_milliseconds(
    given: list[tuple[Asked, list[Passage]]],
) -> None:
    took_s = []
    for asked, passages in given:
        started_s = time.perf_counter()
        quotes(asked.question, passages)
        took_s.append(time.perf_counter() - started_s)
    p50_s, p99_s = statistics.median(took_s), statistics.quantiles(took_s, n=100)[98]
    print(f"p50 {p50_s * 1e3:.1f} ms, p99 {p99_s * 1e3:.1f} ms")
    assert p50_s <= 0.005
    assert p99_s <= 0.020
