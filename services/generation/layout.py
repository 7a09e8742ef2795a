"""How a prompt is laid out for the Anthropic API, so that the provider can cache its start.

In this order: the system text, unchanged; the passages in the order of their ids, whatever
their rank; the conversation; the question last. Two breakpoints say where a cached start may end:
after the system text and after the passages.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from anthropic import transform_schema
from anthropic.types import CitationsSearchResultLocation

from libs.values import Citation, Passage, Role
from libs.values.generation import Prompt
from services.generation.sentences import units

_BREAKPOINT = {"type": "ephemeral"}
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
    """A prompt ready to be sent, and its passages in the order in which they are sent."""

    body: dict[str, Any]
    sources: tuple[Source, ...]


def laid_out(prompt: Prompt) -> Layout:
    """Return a prompt as the body of a request, without what concerns the model."""
    sources = _sources(prompt.passages)
    schema = _supported(prompt.output_schema) if prompt.output_schema else None
    question = prompt.question
    if prompt.output_schema and schema is None:
        question = f"{question}\n\n{_INSTRUCTION}\n{prompt.output_schema}"
    turns = [{"role": _ROLES[turn.role], "content": turn.text} for turn in prompt.history]
    # The API refuses citations beside an output format.
    read = _search_results(sources, cites=not prompt.output_schema)
    body: dict[str, Any] = {"messages": [*read, *turns, {"role": "user", "content": question}]}
    if prompt.system.strip():
        text = {"type": "text", "text": prompt.system, "cache_control": _BREAKPOINT}
        body["system"] = [text]
    if schema is not None:
        body["output_config"] = {"format": {"type": "json_schema", "schema": schema}}
    return Layout(body, sources)


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


def _cuts(text: str) -> tuple[int, ...]:
    """Return where to cut a text so that each block holds one sentence; nothing is left out."""
    return (0, *(unit.start for unit in units(text)[1:]), len(text))


def _search_results(sources: Sequence[Source], *, cites: bool) -> list[dict[str, Any]]:
    """Return the passages as one message, or as none if there are none."""
    if not sources:
        return []
    results = [_search_result(source, cites=cites) for source in sources]
    results[-1]["cache_control"] = _BREAKPOINT
    return [{"role": "user", "content": results}]


def _search_result(source: Source, *, cites: bool) -> dict[str, Any]:
    passage = source.passage
    names = (passage.title or passage.document_id, passage.heading)
    return {
        "type": "search_result",
        "source": passage.uri or passage.document_id,
        "title": " > ".join(filter(None, names)),
        "content": [
            {"type": "text", "text": passage.text[start:end]}
            for start, end in pairwise(source.cuts)
        ],
        "citations": {"enabled": cites},
    }
