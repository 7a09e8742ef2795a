"""`report`: an outline first, then each section from passages of its own, with its sources."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import Field, StringConstraints

from libs.values import Citation, FinishReason, Passage, Quality
from services.jobs.kinds.clients import Clients
from services.jobs.kinds.inputs import (
    CollectionName,
    Filters,
    Instructions,
    Language,
    filters_of,
)
from services.jobs.kinds.kind import JobInput, Task, Teller, kind_of
from services.jobs.kinds.library import Library
from services.jobs.kinds.markdown import Markdown
from services.jobs.kinds.replies import written_to
from services.jobs.kinds.schema import BadOutputError, Form
from services.jobs.kinds.work import Steps, side_by_side
from services.jobs.kinds.writing import DATA_RULE, Tier, Writer

_OUTLINE = "outline"
_OUTLINING, _WRITING = "outlining", "writing"
_OVERVIEW, _SECTION_PASSAGES, _SEARCHED = 20, 8, 40
_OUTLINE_TOKENS, _SECTION_TOKENS = 1_000, 1_200
_MOST_SECTIONS = 20
_MOST_QUERY = 1_000
NO_SOURCE = "nothing was found for it"
REFUSED = "the model refused"

_Heading = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"\S")]
# With the headings of all sections it must still fit into 8,000 characters.
_Topic = Annotated[str, StringConstraints(min_length=1, max_length=3_000, pattern=r"\S")]
_OUTLINE_FORM = Form(
    {
        "type": "object",
        "properties": {
            "title": {"type": "string"},
            "sections": {
                "type": "array",
                "items": {
                    "type": "object",
                    "properties": {"heading": {"type": "string"}, "query": {"type": "string"}},
                    "required": ["heading", "query"],
                    "additionalProperties": False,
                },
            },
        },
        "required": ["title", "sections"],
        "additionalProperties": False,
    }
)
_PLANNER = (
    "You plan a report. From what is asked for and from passages that show what there is to say, "
    "make a title and headings that do not overlap, each with a query that finds the passages its "
    f"section needs. Plan no introduction, summary or conclusion. {DATA_RULE}"
)
_AUTHOR = (
    "You write one section of a report, from the passages you are given and from nothing else: "
    "one to four paragraphs of Markdown without a heading. Leave to the other sections what is "
    f"theirs. If the passages say little, write little. Never invent anything. {DATA_RULE}"
)


class ReportInput(JobInput):
    """What a report is to be about, and from which documents it is written.

    Attributes:
        topic: what it is to be about.
        collection: where the documents are.
        filters: only those whose metadata fits.
        outline: the headings, if they are known.
        section_count: how many there are at most, if they are not.
        instructions: what else is to be heeded.
        language: what to write in; empty is the topic's own.
        tier: the model.
    """

    topic: _Topic
    collection: CollectionName = "default"
    filters: Filters = ()
    outline: tuple[_Heading, ...] = Field(default=(), max_length=_MOST_SECTIONS)
    section_count: int = Field(default=5, ge=1, le=_MOST_SECTIONS)
    instructions: Instructions = ""
    language: Language = ""
    tier: Tier = "best"


class _Author:
    """Plans a report, and writes its sections."""

    def __init__(self, given: ReportInput, writer: Writer, library: Library) -> None:
        self._given = given
        self._writer = writer
        self._library = library

    async def outline(self) -> dict[str, Any]:
        """Return title and sections: headings, with what finds their passages."""
        given = self._given
        if given.outline:
            sections = [
                {"heading": each, "query": self._query(f"{each} {given.topic}")}
                for each in given.outline
            ]
            return {"title": given.topic, "sections": sections}
        passages = await self._library.search(given.topic, _OVERVIEW)
        if self._writer.has_model and passages:
            try:
                return await self._planned(passages)
            except BadOutputError as error:
                return {**self._by_documents(passages), "reason": f"no outline by a model: {error}"}
        return self._by_documents(passages)

    async def section(self, section: Mapping[str, str], others: Sequence[str]) -> dict[str, Any]:
        """Return a section's text and what it cites."""
        heading = section["heading"]
        passages = await self._passages(section)
        if not passages:
            return {"heading": heading, "text": "", "citations": [], "reason": NO_SOURCE}
        written = await self._writer.write(
            self._asked(section, others),
            system="\n\n".join(filter(None, (_AUTHOR, self._given.instructions))),
            passages=passages,
            max_output_tokens=_SECTION_TOKENS,
        )
        if written.finish_reason is FinishReason.REFUSAL or not written.text:
            reason = REFUSED if written.finish_reason is FinishReason.REFUSAL else NO_SOURCE
            return {"heading": heading, "text": "", "citations": [], "reason": reason}
        citations = [_citation(each, passages[each.source_index]) for each in written.citations]
        return {"heading": heading, "text": written.text, "citations": citations}

    async def _planned(self, passages: Sequence[Passage]) -> dict[str, Any]:
        given = self._given
        reply: Any = await written_to(
            _OUTLINE_FORM,
            self._writer,
            f"The report is to be about: {given.topic}\n\nPlan at most {given.section_count}"
            f" sections. Write in {self._language()}.",
            system="\n\n".join(filter(None, (_PLANNER, given.instructions))),
            passages=passages,
            max_output_tokens=_OUTLINE_TOKENS,
        )
        sections = [
            {
                "heading": " ".join(each["heading"].split())[:200],
                "query": self._query(each["query"].strip() or given.topic),
            }
            for each in reply["sections"][: given.section_count]
            if each["heading"].strip()
        ]
        if not sections:
            raise BadOutputError("it has no headings")
        return {"title": " ".join(reply["title"].split()) or given.topic, "sections": sections}

    def _by_documents(self, passages: Sequence[Passage]) -> dict[str, Any]:
        """Return an outline by the documents that were found, best first."""
        titles = {each.document_id: each.title or each.document_id for each in reversed(passages)}
        found = list(dict.fromkeys(each.document_id for each in passages))
        sections = [
            {
                "heading": titles[document_id],
                "query": self._query(self._given.topic),
                "document_id": document_id,
            }
            for document_id in found[: self._given.section_count]
        ]
        return {"title": self._given.topic, "sections": sections}

    async def _passages(self, section: Mapping[str, str]) -> list[Passage]:
        only = section.get("document_id")
        limit = _SEARCHED if only else _SECTION_PASSAGES
        found = await self._library.search(section["query"], limit)
        kept = [each for each in found if only in (None, each.document_id)]
        return kept[:_SECTION_PASSAGES]

    def _asked(self, section: Mapping[str, str], others: Sequence[str]) -> str:
        heading = section["heading"]
        if not self._writer.has_model:
            # Sentences are looked for by its words; a document's title is no part of what is asked.
            return self._given.topic if "document_id" in section else heading
        listed = "; ".join(others)
        about = f"The report is about: {self._given.topic}\n\nThe section: {heading}"
        beside = f"\n\nThe other sections: {listed}" if listed else ""
        return f"{about}{beside}\n\nWrite it in {self._language()}."

    def _language(self) -> str:
        return self._given.language or "the language of the topic"

    @staticmethod
    def _query(text: str) -> str:
        return text[:_MOST_QUERY]


def _citation(citation: Citation, passage: Passage) -> dict[str, Any]:
    return {
        "document_id": citation.document_id,
        "title": passage.title,
        "uri": passage.uri,
        "document_version": passage.document_version,
        "cited_text": citation.cited_text,
        "start_offset": citation.start_offset,
        "end_offset": citation.end_offset,
        "answer_offset": citation.answer_offset,
    }


async def _run(
    task: Task, given: ReportInput, teller: Teller, clients: Clients
) -> Mapping[str, Any]:
    writer = await Writer.open(task, clients, given.tier)
    library = Library(task, clients, given.collection, filters_of(given.filters))
    author = _Author(given, writer, library)
    if _OUTLINE not in teller.items:
        await teller.progress(0, given.section_count + 1, _OUTLINING)
        await teller.item(_OUTLINE, await author.outline())
    outline = teller.items[_OUTLINE]
    sections: Sequence[Mapping[str, str]] = outline["sections"]
    keys = [f"section:{place}" for place in range(len(sections))]
    steps = Steps(teller, len(keys) + 1, 1 + sum(key in teller.items for key in keys))
    await steps.at(_WRITING)

    async def write(place: int) -> None:
        if keys[place] in teller.items:
            return
        others = [each["heading"] for at, each in enumerate(sections) if at != place]
        await teller.item(keys[place], await author.section(sections[place], others))
        await steps.done(_WRITING, sections[place]["heading"])

    await side_by_side(range(len(keys)), write)
    return _result(writer, outline, [teller.items[key] for key in keys])


def _result(
    writer: Writer, outline: Mapping[str, Any], sections: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    markdown = Markdown()
    text = markdown.of(outline["title"], sections)
    written = [each for each in sections if each["text"]]
    return {
        "title": outline["title"],
        "markdown": text if written else "",
        "section_count": len(written),
        "empty_sections": [each["heading"] for each in sections if not each["text"]],
        "sources": markdown.sources,
        "reason": outline.get("reason", "") if written else NO_SOURCE,
        **writer.account(None if written else Quality.REFUSAL),
    }


REPORT = kind_of("report", ReportInput, _run)
"""A report in sections, each from passages of its own."""
