"""`analyze`: a long question over many documents: what each says to it, then one answer."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from libs.values import Passage, Quality
from libs.values.retrieval import StoredDocument
from services.jobs.kinds.clients import Clients
from services.jobs.kinds.condensing import condensed
from services.jobs.kinds.inputs import Asked, DocumentChoice, Instructions, Language
from services.jobs.kinds.kind import Task, Teller, kind_of
from services.jobs.kinds.library import NOT_FOUND, Library
from services.jobs.kinds.parts import groups, passages_of
from services.jobs.kinds.quotes import place_of
from services.jobs.kinds.replies import written_to
from services.jobs.kinds.schema import BadOutputError, Form
from services.jobs.kinds.words import ranked
from services.jobs.kinds.work import Steps, side_by_side
from services.jobs.kinds.writing import DATA_RULE, Tier, Writer

_READING, _ANSWERING = "reading", "answering"
_FINDINGS_TOKENS, _ANSWER_TOKENS = 1_500, 2_000
_MOST_FINDING, _MOST_FINDINGS = 1_000, 30
# Of one document, so that its item stays below a megabyte in any script.
_MOST_OF_DOCUMENT = 150
# Findings that are put before a model as one passage.
_PAGE_CHARACTERS = 6_000
# Without a model: how large the passages are, and how many of a document are looked at.
_PASSAGE_CHARACTERS, _MOST_PASSAGES = 1_500, 10
# What is shown of each document's findings where no model writes of them.
_MOST_SHOWN = 3
_MARKER = re.compile(r"\[(\d+(?:\s*[,;]\s*\d+)*)\]")
NO_DOCUMENT = "there is no document to read"
NOTHING = "no document says anything to the question"
UNREAD = "no document could be read"

_FINDINGS = Form(
    {
        "type": "object",
        "properties": {
            "findings": {
                "type": "array",
                "items": {
                    "type": "object",
                    "properties": {"finding": {"type": "string"}, "quote": {"type": "string"}},
                    "required": ["finding", "quote"],
                    "additionalProperties": False,
                },
            }
        },
        "required": ["findings"],
        "additionalProperties": False,
    }
)
_ANSWER = Form(
    {
        "type": "object",
        "properties": {"answer": {"type": "string"}},
        "required": ["answer"],
        "additionalProperties": False,
    }
)
_READER = (
    "You read a part of a document and write down everything in it that bears on the question: "
    "each finding in one or two sentences of your own, in the language of the question, with a "
    "quote of at most 40 words from the text, word for word, that shows it. If nothing bears on "
    f"the question, `findings` is empty. Never invent anything. {DATA_RULE}"
)
_ANSWERER = (
    "You answer a question from findings, each with its number in brackets, and from nothing else. "
    "Behind each statement put the numbers of the findings it rests on, as [3] or [3, 7]. Say "
    "where findings contradict each other, and what they leave open. Use Markdown. "
    f"{DATA_RULE}"
)
_CONDENSER = (
    "You put findings that bear on a question together into fewer words, leaving nothing out that "
    "matters. Behind each statement put the numbers of the findings it rests on, as [3] or [3, 7]. "
    f"{DATA_RULE}"
)


class AnalyzeInput(DocumentChoice):
    """A question, and the documents that are read for it, each from its start to its end.

    Attributes:
        question: what is asked.
        instructions: what else is to be heeded.
        language: what to write in; empty is the question's own.
        tier: the model.
    """

    question: Asked
    instructions: Instructions = ""
    language: Language = ""
    tier: Tier = "best"


@dataclass(frozen=True, slots=True)
class _Finding:
    """What a document says to the question; the place of its quote, if the quote is real."""

    finding: str
    quote: str | None = None
    start_offset: int | None = None
    end_offset: int | None = None


@dataclass(frozen=True, slots=True)
class _Source:
    """A finding, and the document that it is from."""

    document_id: str
    title: str
    version: int
    finding: Mapping[str, Any]

    def citation(self, number: int) -> dict[str, Any]:
        """Return it as the answer's citation."""
        return {
            "number": number,
            "document_id": self.document_id,
            "title": self.title,
            "document_version": self.version,
            "cited_text": self.finding["quote"],
            "start_offset": self.finding["start_offset"],
            "end_offset": self.finding["end_offset"],
        }


@dataclass(frozen=True, slots=True)
class _Reader:
    """Finds what a document says to the question."""

    writer: Writer
    given: AnalyzeInput

    async def item(self, stored: StoredDocument) -> dict[str, Any]:
        """Return the item of a document."""
        document = stored.document
        item = {"document_id": document.document_id, "title": document.title}
        parts = passages_of(stored)
        found, problems = await self._findings(stored, parts)
        if problems and len(problems) == len(parts):
            return {**item, "reason": problems[0]}
        return {
            **item,
            "version": stored.state.version,
            "findings": [asdict(each) for each in found[:_MOST_OF_DOCUMENT]],
            "part_count": len(parts),
            "unread_part_count": len(problems),
            "is_cut": len(found) > _MOST_OF_DOCUMENT,
        }

    async def _findings(
        self, stored: StoredDocument, parts: Sequence[Passage]
    ) -> tuple[list[_Finding], list[str]]:
        """Return what is found in a document, and why parts of it could not be read."""
        if not self.writer.has_model:
            return await self._quoted(stored), []
        found: dict[int, list[_Finding]] = {}
        problems: list[str] = []

        async def read(place: int) -> None:
            try:
                found[place] = await self._read(parts[place])
            except BadOutputError as error:
                problems.append(f"the model's answer cannot be used: {error}")

        await side_by_side(range(len(parts)), read)
        return [each for place in sorted(found) for each in found[place]], problems

    async def _read(self, part: Passage) -> list[_Finding]:
        reply: Any = await written_to(
            _FINDINGS,
            self.writer,
            f"The question: {self.given.question}",
            system="\n\n".join(filter(None, (_READER, self.given.instructions))),
            passages=[part],
            max_output_tokens=_FINDINGS_TOKENS,
        )
        return [
            _placed(each, part)
            for each in reply["findings"][:_MOST_FINDINGS]
            if each["finding"].strip()
        ]

    async def _quoted(self, stored: StoredDocument) -> list[_Finding]:
        """Return the sentences that answer best, word for word."""
        parts = passages_of(stored, _PASSAGE_CHARACTERS)
        question = self.given.question
        best = await asyncio.to_thread(ranked, question, [each.text for each in parts])
        passages = [parts[place] for place in best[:_MOST_PASSAGES]]
        written = await self.writer.write(
            question, passages=passages, max_output_tokens=_FINDINGS_TOKENS
        )
        return [
            _Finding(each.cited_text, each.cited_text, each.start_offset, each.end_offset)
            for each in written.citations
        ]


def _placed(said: Mapping[str, str], part: Passage) -> _Finding:
    """Return a finding with the place of its quote, which must be there."""
    text = said["finding"].strip()[:_MOST_FINDING]
    place = place_of(said["quote"], part.text)
    if place is None:
        return _Finding(text)
    start, end = place
    offset = part.start_offset
    return _Finding(text, part.text[start:end], offset + start, offset + end)


@dataclass(frozen=True, slots=True)
class _Answerer:
    """Writes the answer from all findings, which are numbered from 1."""

    writer: Writer
    given: AnalyzeInput
    sources: Sequence[_Source]

    async def answer(self) -> tuple[str, str]:
        """Return the answer with the findings' numbers, and what went wrong, if anything."""
        if not self.writer.has_model:
            return self._listed(), ""
        try:
            pages = await condensed(list(self._pages()), self._condense)
            return await self._asked(_ANSWERER, pages, _ANSWER_TOKENS), ""
        except BadOutputError as error:
            return self._listed(), f"the model's answer cannot be used: {error}"

    def _listed(self) -> str:
        """Return the first findings of each document as a list."""
        shown: dict[str, int] = {}
        lines = []
        for number, source in enumerate(self.sources, start=1):
            shown[source.document_id] = shown.get(source.document_id, 0) + 1
            if shown[source.document_id] <= _MOST_SHOWN:
                finding = " ".join(source.finding["finding"].split())
                lines.append(f"- {finding} [{number}]")
        return "\n".join(lines)

    def _pages(self) -> Iterator[str]:
        lines = [
            f"[{number}] ({source.title or source.document_id}) {source.finding['finding']}"
            for number, source in enumerate(self.sources, start=1)
        ]
        for page in groups(lines, [len(line) for line in lines], _PAGE_CHARACTERS, len(lines)):
            yield "\n".join(page)

    async def _condense(self, texts: Sequence[str]) -> str:
        return await self._asked(_CONDENSER, texts, _FINDINGS_TOKENS)

    async def _asked(self, system: str, texts: Sequence[str], tokens: int) -> str:
        passages = [
            Passage(f"{number:04d}", f"findings {number}", 0, "", "", text, 0, len(text))
            for number, text in enumerate(texts, start=1)
        ]
        language = self.given.language or "the language of the question"
        reply: Any = await written_to(
            _ANSWER,
            self.writer,
            f"The question: {self.given.question}\n\nWrite in {language}.",
            system="\n\n".join(filter(None, (system, self.given.instructions))),
            passages=passages,
            max_output_tokens=tokens,
        )
        answer: str = reply["answer"]
        return answer.strip()


def _cited(answer: str, sources: Sequence[_Source]) -> tuple[str, list[dict[str, Any]]]:
    """Return an answer whose numbers count its citations, in order, and these.

    A number that no finding has is taken out.
    """
    numbers: dict[int, int] = {}

    def renumbered(marker: re.Match[str]) -> str:
        said = [int(each) for each in re.findall(r"\d{1,9}", marker[1])]
        known = [each for each in said if 1 <= each <= len(sources)]
        for each in known:
            numbers.setdefault(each, len(numbers) + 1)
        shown = ", ".join(str(numbers[each]) for each in dict.fromkeys(known))
        return f"[{shown}]" if shown else ""

    text = _MARKER.sub(renumbered, answer)
    return text, [sources[said - 1].citation(shown) for said, shown in numbers.items()]


async def _run(
    task: Task, given: AnalyzeInput, teller: Teller, clients: Clients
) -> Mapping[str, Any]:
    writer = await Writer.open(task, clients, given.tier)
    library = Library.of(task, clients, given)
    chosen = await library.choose(given)
    keys = [each.document_id for each in chosen.documents]
    everything = [*keys, *chosen.missing]
    steps = Steps(teller, len(everything) + 1, sum(key in teller.items for key in everything))
    await steps.at(_READING)
    reader = _Reader(writer, given)

    async def read(key: str) -> None:
        if key in teller.items:
            return
        missing = chosen.missing.get(key)
        stored = None if missing else await library.document(key)
        lost = {"document_id": key, "reason": missing or NOT_FOUND}
        await teller.item(key, await reader.item(stored) if stored else lost)
        await steps.done(_READING, key)

    await side_by_side(everything, read)
    await steps.at(_ANSWERING)
    items = {key: teller.items[key] for key in keys}
    result = await _result(writer, given, list(_sources(items)), _no_answer(items))
    await steps.done(_ANSWERING)
    return {
        **result,
        "document_count": len(keys),
        "relevant_count": sum(bool(each.get("findings")) for each in items.values()),
        "unread": [
            {"document_id": key, "reason": teller.items[key]["reason"]}
            for key in everything
            if "reason" in teller.items[key]
        ],
        "is_cut": chosen.is_cut,
        **writer.account(None if result["answer"] else Quality.REFUSAL),
    }


def _sources(items: Mapping[str, Mapping[str, Any]]) -> Iterator[_Source]:
    for key, item in items.items():
        for finding in item.get("findings", ()):
            yield _Source(key, item["title"], item["version"], finding)


def _no_answer(items: Mapping[str, Mapping[str, Any]]) -> str:
    """Return why there is no answer, if there is none."""
    if not items:
        return NO_DOCUMENT
    return NOTHING if any("findings" in each for each in items.values()) else UNREAD


async def _result(
    writer: Writer, given: AnalyzeInput, sources: Sequence[_Source], no_answer: str
) -> dict[str, Any]:
    if not sources:
        return {"answer": "", "citations": [], "reason": no_answer}
    said, problem = await _Answerer(writer, given, sources).answer()
    answer, citations = _cited(said, sources)
    return {"answer": answer, "citations": citations, "reason": problem}


ANALYZE = kind_of("analyze", AnalyzeInput, _run)
"""A question over many documents, each of them read whole."""
