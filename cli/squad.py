"""SQuAD files as documents and questions, and how well retrieval answers them."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from libs.values.retrieval import Document, TextFormat


class SquadError(ValueError):
    """The file is not SQuAD JSON; the message says what is missing."""


@dataclass(frozen=True, slots=True)
class SquadQuestion:
    """A question, the document that answers it, and the answers that count as right."""

    question: str
    document_id: str
    answers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Squad:
    """The paragraphs of a file, one document each, and the questions asked of them."""

    documents: tuple[Document, ...]
    questions: tuple[SquadQuestion, ...]


@dataclass(frozen=True, slots=True)
class RetrievalScore:
    """How often and how high the right document was found.

    Attributes:
        question_count: questions asked.
        recall_at: share of questions, in [0, 1], whose document is among the first k, by k.
        mean_reciprocal_rank: mean of 1 / rank, in [0, 1]; a document not found counts 0.
        answer_at: share of questions whose answer stands in one of the first k passages.
    """

    question_count: int
    recall_at: dict[int, float]
    mean_reciprocal_rank: float
    answer_at: dict[int, float]


@dataclass(frozen=True, slots=True)
class Found:
    """What one question found: document ids and texts of the passages, best first."""

    question: SquadQuestion
    document_ids: tuple[str, ...]
    texts: tuple[str, ...]


def read_squad(path: Path) -> Squad:
    """Read a SQuAD file, version 1 or 2; each paragraph is kept in one passage.

    Raises:
        OSError: the file cannot be read.
        SquadError: it has another form.
    """
    try:
        articles = json.loads(path.read_text("utf-8"))["data"]
        documents, questions = [], []
        for number, article in enumerate(articles):
            for at, paragraph in enumerate(article["paragraphs"]):
                name = f"{number}/{at}"
                # Without the article's title: the figures others report are of passages alone.
                given = Document(name, paragraph["context"], TextFormat.PLAIN, unsplit=True)
                documents.append(given)
                questions += [_question(each, name) for each in paragraph["qas"]]
    except (ValueError, KeyError, TypeError) as error:
        raise SquadError(f"{path}: not SQuAD JSON: {error!r}") from error
    return Squad(tuple(documents), tuple(questions))


def scored(found: Sequence[Found], cutoffs: Iterable[int] = (1, 5, 10)) -> RetrievalScore:
    """Return how well the right documents were found.

    Raises:
        ValueError: nothing was asked.
    """
    if not found:
        raise ValueError("no question was asked")
    ranks = [_rank(each) for each in found]
    cutoffs, count = tuple(cutoffs), len(found)
    return RetrievalScore(
        question_count=count,
        recall_at={k: sum(0 < rank <= k for rank in ranks) / count for k in cutoffs},
        mean_reciprocal_rank=sum(1 / rank for rank in ranks if rank) / count,
        answer_at={k: sum(_is_answered(each, k) for each in found) / count for k in cutoffs},
    )


def contains_answer(text: str, answers: Iterable[str]) -> bool:
    """Return whether a text has one of the answers in it as whole words.

    Case, punctuation and the kind of Unicode spelling do not count.
    """
    words = f" {_plain(text)} "
    return any(f" {_plain(answer)} " in words for answer in answers if _plain(answer))


def _question(item: dict[str, object], document_id: str) -> SquadQuestion:
    answers = item.get("answers", ())
    if not isinstance(answers, Sequence):
        raise TypeError("answers must be a list")
    texts = dict.fromkeys(str(answer["text"]) for answer in answers)
    return SquadQuestion(str(item["question"]), document_id, tuple(texts))


def _rank(found: Found) -> int:
    """Return the rank of the right document, from 1; 0 if it was not found."""
    distinct = list(dict.fromkeys(found.document_ids))
    wanted = found.question.document_id
    return distinct.index(wanted) + 1 if wanted in distinct else 0


def _is_answered(found: Found, k: int) -> bool:
    return any(contains_answer(text, found.question.answers) for text in found.texts[:k])


def _plain(text: str) -> str:
    return " ".join(re.findall(r"\w+", unicodedata.normalize("NFKC", text).casefold()))
