"""The engine without a model: the best sentences of the passages, word for word."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, replace

from libs.values import Citation, FinishReason, ModelTier, Passage, TextDelta, Usage
from libs.values.generation import Model, Prompt
from services.generation.engine import Finished, Piece
from services.generation.ranking import Candidate, candidates
from services.generation.sentences import MAX_FRAGMENT_CHARS, Kind, Unit, units

MAX_QUOTES = 2
# What is read costs time, and the rank of a later passage says that it hardly has the answer.
_MAX_PASSAGES = 10
_MAX_PASSAGE_CHARS = 8_000
# What a token stands for where no tokenizer counts.
_CHARS_PER_TOKEN = 4


@dataclass(frozen=True, slots=True)
class Quote:
    """A unit of one of the passages given."""

    passage_index: int
    unit: Unit


class ExtractiveEngine:
    """Answers with at most two sentences of the passages, each cited, in a few milliseconds."""

    waits_for_provider = False

    def __init__(self) -> None:
        self.model = Model(ModelTier.EXTRACTIVE, "extractive", "extractive")

    async def generate(self, prompt: Prompt) -> AsyncGenerator[Piece, None]:
        """Yield one sentence at a time, its citation after it."""
        # Sentences cannot satisfy a schema, so here there is no answer to one.
        found = [] if prompt.output_schema else quotes(prompt.question, prompt.passages)
        written = 0
        for quote in found:
            passage, unit = prompt.passages[quote.passage_index], quote.unit
            gap = "" if not written else "\n\n" if unit.kind is Kind.CODE else " "
            end = min(unit.end, unit.start + _room(prompt, written + len(gap)))
            if end > unit.start:
                written += len(gap) + end - unit.start
                yield TextDelta(gap + passage.text[unit.start : end])
                yield _citation(quote.passage_index, passage, (unit.start, end), written)
            if end < unit.end:
                yield Finished(FinishReason.MAX_TOKENS, Usage())
                return
        reason = FinishReason.END_TURN if written else FinishReason.NO_ANSWER
        yield Finished(reason, Usage())

    async def warm(self, prompt: Prompt) -> Usage:
        """Do nothing: there is nothing that could be cached."""
        return Usage()


def quotes(question: str, passages: Sequence[Passage]) -> list[Quote]:
    """Return what answers best, in the order to be read; nothing if nothing is related.

    At most two sentences. What is not a sentence (code, a table's row, words without a
    full stop) has `MAX_FRAGMENT_CHARS` in all.
    """
    read = [
        replace(passage, text=passage.text[:_MAX_PASSAGE_CHARS])
        for passage in passages[:_MAX_PASSAGES]
    ]
    ranked = candidates(question, read)
    announced = _announced(ranked[0], read) if ranked else []
    if announced and sum(map(_size, announced)) <= MAX_FRAGMENT_CHARS:
        return announced
    chosen: list[Quote] = []
    said: set[str] = set()
    for quote in _likeliest(ranked):
        text = read[quote.passage_index].text[quote.unit.start : quote.unit.end]
        fits = sum(map(_size, [*chosen, quote])) <= MAX_FRAGMENT_CHARS
        if fits and text not in said and len(chosen) < MAX_QUOTES:
            chosen.append(quote)
            said.add(text)
    return sorted(chosen, key=_position) if _are_neighbours(chosen, read) else chosen


def _likeliest(ranked: Sequence[Candidate]) -> list[Quote]:
    """Return what stands for itself and scores at least half of the best."""
    return [
        Quote(each.passage_index, each.unit)
        for each in ranked
        if not each.unit.leads and each.score >= ranked[0].score / 2
    ]


def _announced(best: Candidate, passages: Sequence[Passage]) -> list[Quote]:
    """Return a line that announces something and that thing, if the best unit is one of them."""
    around = units(passages[best.passage_index].text)
    at = around.index(best.unit)
    first = at if best.unit.leads else at - 1
    pair = around[max(0, first) : first + 2]
    if len(pair) == MAX_QUOTES and pair[0].leads and not pair[1].leads:
        return [Quote(best.passage_index, unit) for unit in pair]
    return []


def _size(quote: Quote) -> int:
    """Return how much of the room for other things than sentences a quote takes."""
    return 0 if quote.unit.kind is Kind.SENTENCE else quote.unit.end - quote.unit.start


def _position(quote: Quote) -> tuple[int, int]:
    return quote.passage_index, quote.unit.start


def _are_neighbours(chosen: Sequence[Quote], passages: Sequence[Passage]) -> bool:
    """Tell whether two quotes stand next to each other, and so are read in their own order."""
    if len(chosen) != MAX_QUOTES or chosen[0].passage_index != chosen[1].passage_index:
        return False
    first, second = sorted(chosen, key=_position)
    return not passages[first.passage_index].text[first.unit.end : second.unit.start].strip()


def _room(prompt: Prompt, written: int) -> int:
    """Return how many characters the token limit still allows."""
    if prompt.max_output_tokens is None:
        return _MAX_PASSAGE_CHARS
    return max(0, prompt.max_output_tokens * _CHARS_PER_TOKEN - written)


def _citation(index: int, passage: Passage, span: tuple[int, int], answer_offset: int) -> Citation:
    start, end = span
    return Citation(
        source_index=index,
        document_id=passage.document_id,
        cited_text=passage.text[start:end],
        start_offset=passage.start_offset + start,
        end_offset=passage.start_offset + end,
        answer_offset=answer_offset,
    )
