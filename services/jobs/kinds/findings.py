"""What documents say to a question: findings with quotes that stand in them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from libs.values import Passage
from libs.values.retrieval import StoredDocument
from services.jobs.kinds.parts import passages_of
from services.jobs.kinds.quotes import place_of
from services.jobs.kinds.replies import written_to
from services.jobs.kinds.schema import BadOutputError, Form
from services.jobs.kinds.words import ranked
from services.jobs.kinds.work import side_by_side
from services.jobs.kinds.writing import DATA_RULE, Writer

_FINDINGS_TOKENS = 1_500
_MOST_FINDING, _MOST_FINDINGS = 1_000, 30
# Of one document, so that its item stays below a megabyte in any script.
_MOST_OF_DOCUMENT = 150
# Without a model: how large the passages are, and how many of a document are looked at.
_PASSAGE_CHARACTERS, _MOST_PASSAGES = 1_500, 10
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
_READER = (
    "You read a part of a document and write down everything in it that bears on the question: "
    "each finding in one or two sentences of your own, in the language of the question, with a "
    "quote of at most 40 words from the text, word for word, that shows it. If nothing bears on "
    f"the question, `findings` is empty. Never invent anything. {DATA_RULE}"
)


@dataclass(frozen=True, slots=True)
class _Finding:
    """What a document says to the question; the place of its quote, if the quote is real."""

    finding: str
    quote: str | None = None
    start_offset: int | None = None
    end_offset: int | None = None


@dataclass(frozen=True, slots=True)
class Reader:
    """Finds what a document says to the question."""

    writer: Writer
    question: str
    instructions: str

    async def item(self, stored: StoredDocument) -> dict[str, Any]:
        """Return the item of a document."""
        document = stored.document
        item = {"title": document.title}
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
            f"The question: {self.question}",
            system="\n\n".join(filter(None, (_READER, self.instructions))),
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
        question = self.question
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
