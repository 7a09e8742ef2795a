"""`analyze`: a long question over many documents: what each says to it, then one answer."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from libs.values import Passage, Quality
from services.jobs.kinds.clients import Clients
from services.jobs.kinds.condensing import condensed
from services.jobs.kinds.findings import Reader
from services.jobs.kinds.inputs import Asked, DocumentChoice, Instructions, Language
from services.jobs.kinds.kind import Task, Teller, kind_of
from services.jobs.kinds.library import Library
from services.jobs.kinds.parts import groups
from services.jobs.kinds.replies import written_to
from services.jobs.kinds.schema import BadOutputError, Form
from services.jobs.kinds.walk import walk
from services.jobs.kinds.writing import DATA_RULE, Tier, Writer

_READING, _ANSWERING = "reading", "answering"
_CONDENSED_TOKENS, _ANSWER_TOKENS = 1_500, 2_000
# Findings that are put before a model as one passage.
_PAGE_CHARACTERS = 6_000
# What is shown of each document's findings where no model writes of them.
_MOST_SHOWN = 3
# Not numbers alone: some engines number what they show, and read [1] as a citation of theirs.
_MARKER = re.compile(r"\[(F\d+(?:\s*[,;]\s*F?\d+)*)\]")
NO_DOCUMENT = "there is no document to read"
NOTHING = "no document says anything to the question"
UNREAD = "no document could be read"

_ANSWER = Form(
    {
        "type": "object",
        "properties": {"answer": {"type": "string"}},
        "required": ["answer"],
        "additionalProperties": False,
    }
)
_ANSWERER = (
    "You answer a question from findings, which are numbered F1, F2 and so on, and from nothing "
    "else. Behind each statement put the findings it rests on, as [F3] or [F3, F7]. Say "
    "where findings contradict each other, and what they leave open. Use Markdown. "
    f"{DATA_RULE}"
)
_CONDENSER = (
    "You put findings that bear on a question together into fewer words, leaving nothing out that "
    "matters. Behind each statement put the findings it rests on, as [F3] or [F3, F7]. "
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
                lines.append(f"- {finding} [F{number}]")
        return "\n".join(lines)

    def _pages(self) -> Iterator[str]:
        lines = [
            f"F{number} ({source.title or source.document_id}) {source.finding['finding']}"
            for number, source in enumerate(self.sources, start=1)
        ]
        for page in groups(lines, [len(line) for line in lines], _PAGE_CHARACTERS, len(lines)):
            yield "\n".join(page)

    async def _condense(self, texts: Sequence[str]) -> str:
        return await self._asked(_CONDENSER, texts, _CONDENSED_TOKENS)

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
    reader = Reader(writer, given.question, given.instructions)
    library = Library.of(task, clients, given)
    walked = await walk(library, given, teller, reader.item, stage=_READING, steps_after=1)
    await walked.steps.at(_ANSWERING)
    result = await _result(writer, given, walked.items)
    await walked.steps.done(_ANSWERING)
    return {
        **result,
        "document_count": len(walked.items),
        "relevant_count": sum(bool(each.get("findings")) for each in walked.items.values()),
        "unread": walked.unread,
        "is_cut": walked.is_cut,
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
    writer: Writer, given: AnalyzeInput, items: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    sources = list(_sources(items))
    if not sources:
        return {"answer": "", "citations": [], "reason": _no_answer(items)}
    said, problem = await _Answerer(writer, given, sources).answer()
    answer, citations = _cited(said, sources)
    return {"answer": answer, "citations": citations, "reason": problem}


ANALYZE = kind_of("analyze", AnalyzeInput, _run)
"""A question over many documents, each of them read whole."""
