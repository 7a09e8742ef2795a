"""What the simulated provider writes: blocks of text, some of them cited."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.support.provider.behaviour import Behaviour

# No two answers are alike: each carries its number, so that a mixed-up stream shows.
_OPENING = "Answer {number} says in words of its own what the sources have to say about it"
_FILLER = (
    "and so it goes on in plain words that mean little but take their time to read".split()  # noqa: SIM905
)
_CITED_WORDS = 12


@dataclass(frozen=True)
class Block:
    """A block of an answer: its pieces, and the place it cites."""

    pieces: tuple[str, ...]
    citation: dict[str, Any] | None = None

    @property
    def text(self) -> str:
        return "".join(self.pieces)


def write(request: Mapping[str, Any], number: int, behaviour: Behaviour) -> list[Block]:
    """Return the blocks of the answer to a request."""
    schema = request.get("output_config", {}).get("format", {}).get("schema")
    if schema is not None:
        return [Block(pieces(json.dumps(sample(schema, schema))))]
    cited = list(_cited(search_results(request), behaviour.cites))
    room = max(1, behaviour.words - sum(len(block.pieces) for block in cited))
    if behaviour.sections:
        return list(_in_sections(number, room, cited, behaviour.sections))
    return [Block(pieces(prose(number, room))), *cited]


def _in_sections(number: int, words: int, cited: list[Block], count: int) -> Iterator[Block]:
    """Yield a list of headings and then each with prose below it; the last has the citations."""
    headings = [f"## Part {part} of answer {number}" for part in range(1, count + 1)]
    yield Block(pieces("\n".join(headings) + "\n"))
    for heading in headings:
        yield Block(pieces(f"\n{heading}\n\n{prose(number, max(1, words // count))}\n"))
    yield from cited


def search_results(request: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return all search results of a request, in order."""
    contents = (message["content"] for message in request["messages"])
    return [
        block
        for content in contents
        if not isinstance(content, str)
        for block in content
        if block["type"] == "search_result"
    ]


def prose(number: int, words: int) -> str:
    """Return a sentence of so many words."""
    opening = _OPENING.format(number=number).split()
    filler = (_FILLER[index % len(_FILLER)] for index in range(words))
    return " ".join([*opening, *filler][:words]) + "."


def _cited(results: Sequence[dict[str, Any]], cites: int) -> Iterator[Block]:
    """Yield a block for each of the last sources: its last sentence, quoted."""
    for index in range(max(0, len(results) - cites), len(results)):
        result = results[index]
        if not result.get("citations", {}).get("enabled"):
            continue
        last = len(result["content"]) - 1
        quoted = result["content"][last]["text"]
        location = {
            "type": "search_result_location",
            "source": result["source"],
            "title": result["title"],
            "search_result_index": index,
            "start_block_index": last,
            "end_block_index": last + 1,
            "cited_text": quoted,
        }
        yield Block(pieces(" " + " ".join(quoted.split()[:_CITED_WORDS])), location)


def pieces(text: str) -> tuple[str, ...]:
    """Return a text cut before each space: one piece a word."""
    return tuple(
        f" {word}" if index else word for index, word in enumerate(text.split(" ")) if word or index
    )


def sample(schema: Mapping[str, Any], root: Mapping[str, Any]) -> Any:
    """Return the plainest value that satisfies a schema of the subset that the API takes."""
    if "$ref" in schema:
        return sample(root["$defs"][schema["$ref"].rpartition("/")[2]], root)
    for literal in ("const", "enum"):
        if literal in schema:
            return schema[literal] if literal == "const" else schema[literal][0]
    for several in ("anyOf", "allOf"):
        if several in schema:
            return sample(schema[several][0], root)
    plain = {"string": "text", "integer": 1, "number": 1.5, "boolean": True, "null": None}
    if schema["type"] == "array":
        return [sample(schema["items"], root)] if "items" in schema else []
    if schema["type"] == "object":
        properties = schema.get("properties", {})
        return {name: sample(each, root) for name, each in properties.items()}
    return plain[schema["type"]]
