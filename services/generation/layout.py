"""How a prompt is laid out for the Anthropic API, so that the provider can cache its start.

In this order: the system text, unchanged; the passages in the order of their ids, whatever
their rank; the conversation; the question last. With whole documents, those come in place of the
passages, which are then pointed to beside the question. Breakpoints say where a cached start may
end: after the system text, after the passages or documents, after the conversation (`Marks`).
"""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from anthropic import transform_schema
from anthropic.types import CitationsSearchResultLocation

from libs.values import Citation, Passage, Role
from libs.values.generation import Prompt
from services.generation.marks import Marks
from services.generation.pointing import WARMING, index_of, pointer, title_of
from services.generation.sentences import units

# Texts whose sentences are remembered: those of documents come with every question.
_MOST_TEXTS = 512
_INSTRUCTION = "Answer with nothing but JSON that satisfies this JSON Schema:"
_ROLES = {Role.USER: "user", Role.ASSISTANT: "assistant"}


@dataclass(frozen=True, slots=True)
class Source:
    """A passage as the provider sees it.

    Attributes:
        index: where it stands among the request's passages.
        passage: the passage.
        cuts: where its text is cut into blocks, the smallest stretches that can be
            cited: block `n` is `text[cuts[n]:cuts[n + 1]]`.
    """

    index: int
    passage: Passage
    cuts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Layout:
    """A prompt ready to be sent, and its sources in the order in which they are sent.

    Attributes:
        body: the request, without what concerns the model.
        sources: passages, or whole documents.
        pointed: the passages that are parts of these documents; empty if passages are sent.
    """

    body: dict[str, Any]
    sources: tuple[Source, ...]
    pointed: tuple[Passage, ...] = ()

    def citation_of(
        self, location: CitationsSearchResultLocation, answer_offset: int
    ) -> Citation | None:
        """Return the citation in the request's terms, or None if there is no such place."""
        citation = citation_of(self.sources, location, answer_offset)
        if citation is None or not self.pointed:
            return citation
        return replace(citation, source_index=index_of(citation, self.pointed))


_ALL = Marks()


def laid_out(prompt: Prompt, marks: Marks = _ALL) -> Layout:
    """Return a prompt as the body of a request, without what concerns the model."""
    sources = _documents(prompt.documents) or _sources(prompt.passages)
    schema = _supported(prompt.output_schema) if prompt.output_schema else None
    turns: list[dict[str, Any]] = [
        {"role": _ROLES[turn.role], "content": turn.text} for turn in prompt.history
    ]
    if turns and marks.history:
        text = {"type": "text", "text": turns[-1]["content"], **marks.at(place=True)}
        turns[-1]["content"] = [text]
    # The API refuses citations beside an output format.
    read = _search_results(sources, marks, cites=not prompt.output_schema)
    asked = _asked(prompt, is_enforced=schema is not None)
    body: dict[str, Any] = {"messages": [*read, *turns, {"role": "user", "content": asked}]}
    if prompt.system.strip():
        text = {"type": "text", "text": prompt.system, **marks.at(place=marks.system)}
        body["system"] = [text]
    if schema is not None:
        body["output_config"] = {"format": {"type": "json_schema", "schema": schema}}
    return Layout(body, sources, prompt.passages if prompt.documents else ())


def start_of(prompt: Prompt, marks: Marks) -> dict[str, Any]:
    """Return a request that has nothing but the start of a prompt read."""
    body = laid_out(prompt, marks).body
    if prompt.documents:
        # The question is not part of it.
        body["messages"].pop()
    else:
        body["messages"] = [{"role": "user", "content": WARMING}]
    return body


def _asked(prompt: Prompt, *, is_enforced: bool) -> str:
    """Return the question with all that differs from question to question."""
    parts = [pointer(prompt.passages)] if prompt.documents and prompt.passages else []
    parts.append(prompt.question)
    if prompt.output_schema and not is_enforced:
        parts.append(f"{_INSTRUCTION}\n{prompt.output_schema}")
    return "\n\n".join(parts)


def citation_of(
    sources: Sequence[Source], location: CitationsSearchResultLocation, answer_offset: int
) -> Citation | None:
    """Return the citation in the document's terms, or None if the provider names no such place."""
    if not 0 <= location.search_result_index < len(sources):
        return None
    source = sources[location.search_result_index]
    first, last = location.start_block_index, location.end_block_index
    if not 0 <= first < last < len(source.cuts):
        return None
    start, end = source.cuts[first], source.cuts[last]
    quoted = source.passage.text[start:end]
    start += len(quoted) - len(quoted.lstrip())
    cited = quoted.strip()
    return Citation(
        source_index=source.index,
        document_id=source.passage.document_id,
        cited_text=cited,
        start_offset=source.passage.start_offset + start,
        end_offset=source.passage.start_offset + start + len(cited),
        answer_offset=answer_offset,
    )


def _supported(output_schema: str) -> dict[str, Any] | None:
    """Return a JSON Schema in the subset that the provider enforces; None if it is beyond it."""
    try:
        return transform_schema(json.loads(output_schema))
    except (ValueError, TypeError, AttributeError, AssertionError):
        # The SDK raises whatever it stumbles over.
        return None


def _sources(passages: Sequence[Passage]) -> tuple[Source, ...]:
    ordered = sorted(enumerate(passages), key=lambda each: each[1].passage_id)
    return tuple(
        # Blocks of nothing but blanks are refused.
        Source(index, passage, _cuts(passage.text))
        for index, passage in ordered
        if passage.text.strip()
    )


def _documents(documents: Sequence[Passage]) -> tuple[Source, ...]:
    return tuple(
        Source(index, document, _cuts(document.text))
        for index, document in enumerate(documents)
        if document.text.strip()
    )


@functools.lru_cache(maxsize=_MOST_TEXTS)
def _cuts(text: str) -> tuple[int, ...]:
    """Return where to cut a text so that each block holds one sentence; nothing is left out."""
    return (0, *(unit.start for unit in units(text)[1:]), len(text))


def _search_results(
    sources: Sequence[Source], marks: Marks, *, cites: bool
) -> list[dict[str, Any]]:
    """Return the sources as one message, or as none if there are none."""
    if not sources:
        return []
    results = [_search_result(source, cites=cites) for source in sources]
    results[-1] |= marks.at(place=marks.sources)
    return [{"role": "user", "content": results}]


def _search_result(source: Source, *, cites: bool) -> dict[str, Any]:
    passage = source.passage
    return {
        "type": "search_result",
        "source": passage.uri or passage.document_id,
        "title": title_of(passage),
        "content": [
            {"type": "text", "text": passage.text[start:end]}
            for start, end in pairwise(source.cuts)
        ],
        "citations": {"enabled": cites},
    }
