"""`summarize`: one text, or one or many documents, in a few sentences or points."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import StringConstraints, model_validator

from libs.values import FinishReason, Passage, Quality
from libs.values.retrieval import StoredDocument
from services.jobs.kinds.clients import Clients
from services.jobs.kinds.condensing import condensed
from services.jobs.kinds.inputs import DocumentChoice, Language, has_choice
from services.jobs.kinds.kind import Task, Teller, kind_of
from services.jobs.kinds.library import Library
from services.jobs.kinds.parts import spans
from services.jobs.kinds.schema import BadOutputError
from services.jobs.kinds.walk import walk
from services.jobs.kinds.words import central
from services.jobs.kinds.work import Steps, side_by_side
from services.jobs.kinds.writing import DATA_RULE, Tier, Writer

_MOST_TEXT = 2_000_000
_STAGE, _LAST_STAGE = "summarizing", "combining"
# Sentences or points, and the tokens that they may take in any language.
_SIZES = {"short": (3, 400), "long": (12, 1_600)}
_NOTES_TOKENS = 900
NOTHING = "there is nothing to summarize"


class SummarizeInput(DocumentChoice):
    """A text, or documents if there is none, and what the summary is to be like.

    Attributes:
        text: what to summarize.
        length: about three sentences, or about twelve.
        style: running text, or a list of points.
        focus: what is of interest; empty is everything.
        language: what to write in; empty is the text's own.
        tier: the model.
    """

    text: Annotated[str, StringConstraints(max_length=_MOST_TEXT)] = ""
    length: Literal["short", "long"] = "short"
    style: Literal["prose", "bullets"] = "prose"
    focus: Annotated[str, StringConstraints(max_length=1_000)] = ""
    language: Language = ""
    tier: Tier = "best"

    @model_validator(mode="after")
    def _text_or_documents(self) -> SummarizeInput:
        if self.text and has_choice(self):
            raise ValueError("text: cannot be given together with a choice of documents")
        return self


@dataclass(frozen=True, slots=True)
class _Summarizer:
    """Makes summaries, by a model or of the sentences that say most."""

    writer: Writer
    given: SummarizeInput

    async def of_text(self, text: str, title: str = "") -> str:
        """Return the summary of a text of any length.

        Raises:
            BadOutputError: there is none; the text says why.
        """
        parts = [text[start:end] for start, end in spans(text)]
        if not self.writer.has_model:
            return await asyncio.to_thread(self._extracted, parts)
        if len(parts) > 1:
            notes: dict[int, str] = {}

            async def note(place: int) -> None:
                notes[place] = await self._noted([parts[place]], title)

            await side_by_side(range(len(parts)), note)
            parts = await condensed([notes[place] for place in sorted(notes)], self._noted)
        return await self._written(parts, title)

    async def of_summaries(self, summaries: Sequence[str]) -> str:
        """Return the summary of several documents' summaries.

        Raises:
            BadOutputError: there is none; the text says why.
        """
        if len(summaries) == 1:
            return summaries[0]
        if not self.writer.has_model:
            return await asyncio.to_thread(self._extracted, ["\n\n".join(summaries)])
        return await self._written(await condensed(summaries, self._noted), "")

    async def _written(self, texts: Sequence[str], title: str) -> str:
        count, tokens = _SIZES[self.given.length]
        form = (
            f"a Markdown list of at most {count} points"
            if self.given.style == "bullets"
            else f"running text of at most {count} sentences"
        )
        return await self._asked(f"Summarize all of this as {form}.", texts, title, tokens)

    async def _noted(self, texts: Sequence[str], title: str = "") -> str:
        question = "Write down all that matters in this part of a longer text, as short notes."
        return await self._asked(question, texts, title, _NOTES_TOKENS)

    async def _asked(self, question: str, texts: Sequence[str], title: str, tokens: int) -> str:
        passages = [
            Passage(f"{number:04d}", f"part {number}", 0, title, "", text, 0, len(text))
            for number, text in enumerate(texts, start=1)
        ]
        written = await self.writer.write(
            f"{question} {self._wishes()}".strip(),
            system=f"You summarize texts. Say nothing that they do not say. {DATA_RULE}",
            passages=passages,
            max_output_tokens=tokens,
        )
        if written.finish_reason is FinishReason.REFUSAL:
            raise BadOutputError("the model refused")
        if not written.text:
            raise BadOutputError("the model wrote nothing")
        return written.text

    def _wishes(self) -> str:
        focus = f"What is of interest: {self.given.focus}" if self.given.focus else ""
        language = self.given.language or "the language of the text"
        return " ".join(filter(None, (focus, f"Write in {language}.")))

    def _extracted(self, parts: Sequence[str]) -> str:
        """Return the sentences that say most, word for word."""
        count, _ = _SIZES[self.given.length]
        best = "\n\n".join(sentence for part in parts for sentence in central(part, count))
        found = central(best, count)
        if not found:
            raise BadOutputError("it has no whole sentences, and no model is configured")
        if self.given.style == "bullets":
            return "\n".join(f"- {each}" for each in found)
        return " ".join(found)


async def _run(
    task: Task, given: SummarizeInput, teller: Teller, clients: Clients
) -> Mapping[str, Any]:
    writer = await Writer.open(task, clients, given.tier)
    summarizer = _Summarizer(writer, given)
    if given.text.strip():
        return await _text(summarizer, teller)
    return await _documents(task, summarizer, teller, clients)


async def _text(summarizer: _Summarizer, teller: Teller) -> Mapping[str, Any]:
    steps = Steps(teller, 1)
    await steps.at(_STAGE)
    try:
        end = {"summary": await summarizer.of_text(summarizer.given.text), "reason": ""}
    except BadOutputError as error:
        end = {"summary": "", "reason": str(error)}
    await steps.done(_STAGE)
    return {**end, **_account(summarizer, end["summary"])}


async def _documents(
    task: Task, summarizer: _Summarizer, teller: Teller, clients: Clients
) -> Mapping[str, Any]:
    async def item(stored: StoredDocument) -> Mapping[str, Any]:
        return await _item(summarizer, stored)

    library = Library.of(task, clients, summarizer.given)
    walked = await walk(library, summarizer.given, teller, item, stage=_STAGE, steps_after=1)
    await walked.steps.at(_LAST_STAGE)
    made = [each for each in walked.items.values() if "summary" in each]
    end = await _together(summarizer, made)
    await walked.steps.done(_LAST_STAGE)
    return {
        **end,
        "document_count": len(walked.items),
        "summarized_count": len(made),
        "is_cut": walked.is_cut,
        **_account(summarizer, end["summary"]),
    }


async def _item(summarizer: _Summarizer, stored: StoredDocument) -> Mapping[str, Any]:
    document = stored.document
    item = {"title": document.title, "version": stored.state.version}
    try:
        return {**item, "summary": await summarizer.of_text(document.text, document.title)}
    except BadOutputError as error:
        return {**item, "reason": str(error)}


async def _together(summarizer: _Summarizer, made: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    if not made:
        return {"summary": "", "reason": NOTHING}
    try:
        summary = await summarizer.of_summaries([_headed(each, len(made)) for each in made])
    except BadOutputError as error:
        return {"summary": "", "reason": str(error)}
    return {"summary": summary, "reason": ""}


def _headed(item: Mapping[str, Any], count: int) -> str:
    """Return a summary under its document's title, where there are several."""
    summary: str = item["summary"]
    return f"# {item['title']}\n\n{summary}" if count > 1 and item["title"] else summary


def _account(summarizer: _Summarizer, summary: str) -> dict[str, Any]:
    return summarizer.writer.account(None if summary else Quality.REFUSAL)


SUMMARIZE = kind_of("summarize", SummarizeInput, _run)
"""A summary of a text, or of documents."""
