"""A report put together: its sections, and the numbers of what they cite."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


class Markdown:
    """A report as Markdown, with the numbers of its sources where it cites them."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self.sources: list[dict[str, Any]] = []

    def of(self, title: str, sections: Sequence[Mapping[str, Any]]) -> str:
        """Return title, sections that say something, and the list of sources."""
        told = [each for each in sections if each["text"]]
        parts = [f"# {title}"]
        parts += [f"## {each['heading']}\n\n{self._numbered(each)}" for each in told]
        if self.sources:
            parts.append("---\n\n" + "\n".join(map(self._line, self.sources)))
        return "\n\n".join(parts)

    def _numbered(self, section: Mapping[str, Any]) -> str:
        text: str = section["text"]
        places: dict[int, list[int]] = {}
        for each in section["citations"]:
            at = len(text[: each["answer_offset"]].rstrip())
            number = self._number(each)
            if number not in places.setdefault(at, []):
                places[at].append(number)
        for at in sorted(places, reverse=True):
            marks = "".join(f"[{number}]" for number in sorted(places[at]))
            text = f"{text[:at]} {marks}{text[at:]}"
        return text

    def _number(self, citation: Mapping[str, Any]) -> int:
        document_id = citation["document_id"]
        if document_id not in self._numbers:
            self._numbers[document_id] = len(self._numbers) + 1
            source = {key: citation[key] for key in ("document_id", "title", "uri")}
            self.sources.append({"number": self._numbers[document_id], **source})
        return self._numbers[document_id]

    @staticmethod
    def _line(source: Mapping[str, Any]) -> str:
        name = source["title"] or source["document_id"]
        place = f" ({source['uri']})" if source["uri"] else ""
        return f"{source['number']}. {name}{place}"
