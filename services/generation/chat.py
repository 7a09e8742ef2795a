"""How a prompt is laid out for chat completions, and how the citations in their text are read.

This API knows no sources, so they are numbered parts of a message, and the model is asked to put a
part's number behind what it took from there. As for other providers, what stays the same comes
first: those that cache prompts do so by themselves, from the start on.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from libs.values import Citation, Passage, Role, TextDelta
from libs.values.generation import Prompt
from services.generation.pointing import index_of, pointer, title_of
from services.generation.sentences import units

_CITING = (
    "The sources are numbered parts. Put the number of the part that supports a sentence behind"
    " it, in brackets: [3]. Cite nothing else."
)
_ROLES = {Role.USER: "user", Role.ASSISTANT: "assistant"}
# The smallest stretch that can be cited: some sentences.
_PART_CHARS = 400
_MARKER = re.compile(r" ?\[(\d{1,5})\]")
_BEGUN_MARKER = re.compile(r" ?(?:\[\d{0,5})?\Z")


@dataclass(frozen=True, slots=True)
class Part:
    """A stretch of a source that has a number.

    Attributes:
        index: where its passage or document stands in the request.
        passage: the passage or document.
        start: first character of the part in the passage's text.
        end: one past the last.
    """

    index: int
    passage: Passage
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class ChatLayout:
    """A prompt as messages, the parts to cite by number from 1, and the passages pointed to."""

    messages: list[dict[str, Any]]
    parts: tuple[Part, ...]
    pointed: tuple[Passage, ...] = ()

    def citation_of(self, number: int, answer_offset: int) -> Citation | None:
        """Return what a number in the text cites, or None if there is no such part."""
        if not 1 <= number <= len(self.parts):
            return None
        part = self.parts[number - 1]
        raw = part.passage.text[part.start : part.end]
        start = part.passage.start_offset + part.start + len(raw) - len(raw.lstrip())
        cited = raw.strip()
        citation = Citation(
            source_index=part.index,
            document_id=part.passage.document_id,
            cited_text=cited,
            start_offset=start,
            end_offset=start + len(cited),
            answer_offset=answer_offset,
        )
        if not self.pointed:
            return citation
        return replace(citation, source_index=index_of(citation, self.pointed))


def laid_out(prompt: Prompt) -> ChatLayout:
    """Return a prompt as the messages of a request."""
    parts = tuple(_parts(_sources(prompt)))
    cites = parts and not prompt.output_schema
    system = "\n\n".join(filter(None, (prompt.system.strip(), _CITING if cites else "")))
    messages = [_message("system", system)] if system else []
    if parts:
        messages.append(_message("user", _text_of(parts)))
    messages += [_message(_ROLES[turn.role], turn.text) for turn in prompt.history]
    if prompt.question:
        messages.append(_message("user", _asked(prompt)))
    # In JSON a number in brackets is an array, and cites nothing.
    cited = () if prompt.output_schema else parts
    return ChatLayout(messages, cited, prompt.passages if prompt.documents else ())


def response_format(output_schema: str) -> dict[str, Any]:
    """Return what has the text satisfy a JSON Schema."""
    named = {"name": "answer", "schema": json.loads(output_schema)}
    return {"type": "json_schema", "json_schema": named}


def _message(role: str, content: str) -> dict[str, Any]:
    return {"role": role, "content": content}


def _asked(prompt: Prompt) -> str:
    if prompt.documents and prompt.passages:
        return f"{pointer(prompt.passages)}\n\n{prompt.question}"
    return prompt.question


def _sources(prompt: Prompt) -> list[tuple[int, Passage]]:
    """Return the sources in an order that does not depend on their rank."""
    if prompt.documents:
        return list(enumerate(prompt.documents))
    return sorted(enumerate(prompt.passages), key=lambda each: each[1].passage_id)


def _parts(sources: Sequence[tuple[int, Passage]]) -> Iterator[Part]:
    """Yield the parts of all sources; blanks are none."""
    for index, passage in sources:
        start = 0
        ends = [unit.start for unit in units(passage.text)[1:]] + [len(passage.text)]
        for end, after in zip(ends, [*ends[1:], None], strict=True):
            is_full = after is None or after - start > _PART_CHARS
            if is_full and passage.text[start:end].strip():
                yield Part(index, passage, start, end)
                start = end


def _text_of(parts: Sequence[Part]) -> str:
    """Return the parts as one text, each source under its title."""
    lines: list[str] = []
    last = None
    for number, part in enumerate(parts, start=1):
        if part.passage is not last:
            lines.append(f"# {title_of(part.passage)}")
            last = part.passage
        lines.append(f"[{number}] {part.passage.text[part.start : part.end].strip()}")
    return "\n".join(lines)


class Markers:
    """A text that comes in pieces, with numbers in brackets that cite.

    What may become a number is held back until it is one or is not.
    """

    def __init__(self, layout: ChatLayout) -> None:
        self._layout = layout
        self._held = ""
        self._written_chars = 0

    @property
    def has_text(self) -> bool:
        """True once some text was let through."""
        return self._written_chars > 0

    def feed(self, text: str) -> Iterator[TextDelta | Citation]:
        """Yield what a piece lets through."""
        self._held += text
        kept = 0
        for marker in _MARKER.finditer(self._held):
            before = self._held[kept : marker.start()]
            place = self._written_chars + len(before)
            citation = self._layout.citation_of(int(marker[1]), place)
            if citation is not None:
                yield from self._through(before)
                yield citation
                kept = marker.end()
        begun = _BEGUN_MARKER.search(self._held, kept)
        end = len(self._held) if begun is None else begun.start()
        yield from self._through(self._held[kept:end])
        self._held = self._held[end:]

    def close(self) -> Iterator[TextDelta | Citation]:
        """Yield what was held back."""
        held, self._held = self._held, ""
        yield from self._through(held)

    def _through(self, text: str) -> Iterator[TextDelta]:
        if text:
            self._written_chars += len(text)
            yield TextDelta(text)
