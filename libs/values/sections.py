"""Answers in sections: how they are put together to one text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from libs.values.answers import Outline, Section, SectionText
from libs.values.basics import Citation

_GAP = "\n\n"


@dataclass(slots=True)
class Sections:
    """The sections of one answer, and what has been written of each so far."""

    _titles: dict[str, str] = field(default_factory=dict)
    _texts: dict[str, list[str]] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self._titles)

    @property
    def sections(self) -> tuple[Section, ...]:
        """The sections, in the order in which they are read."""
        return tuple(Section(*each) for each in self._titles.items())

    def open(self, outline: Outline) -> None:
        """Take a skeleton in; it takes the place of an earlier one."""
        self._titles = {each.section_id: each.title for each in outline.sections}

    def write(self, piece: SectionText) -> None:
        """Take a piece of a section's text in."""
        self._texts.setdefault(piece.section_id, []).append(piece.text)

    def clear(self) -> None:
        """Forget everything: it is withdrawn."""
        self._titles.clear()
        self._texts.clear()

    def text(self) -> str:
        """Return the whole text, as Markdown."""
        return _GAP.join(head + text for _, head, text in self._parts())

    def placed(self, citations: Sequence[Citation]) -> list[Citation]:
        """Return citations with their offsets counted in the whole text."""
        starts, at = {}, 0
        for section_id, head, text in self._parts():
            starts[section_id] = at + len(head)
            at += len(head) + len(text) + len(_GAP)
        return [
            replace(each, answer_offset=starts.get(each.section_id, 0) + each.answer_offset)
            for each in citations
        ]

    def _parts(self) -> list[tuple[str, str, str]]:
        """Return id, heading and text of each section that has text."""
        return [
            (section_id, f"## {title}{_GAP}", "".join(self._texts[section_id]))
            for section_id, title in self._titles.items()
            if section_id in self._texts
        ]
