"""Makes sections of what a model writes, as it comes: headings first, and then what fills them.

A model is asked to list its headings and then to write each section below its own
(`policy.OUTLINE_PROMPT`). Whatever it writes instead, no text is lost: a heading that was not
listed is one more section, and what stands below none is below the question.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Protocol

from libs.values import Citation, Outline, Passage, Section, SectionText, TextDelta

Said = TextDelta | Outline | SectionText | Citation
"""What is told of an answer's text."""

# Beyond these, a heading is a line of the section before it: a skeleton is for an overview,
# and is sent anew with each section.
_MOST_SECTIONS = 24
_MOST_TITLE_CHARS = 160
_HEADING = re.compile(r"#{1,2}[ \t]+(\S.*?)[ \t#]*\r?")
# What may become one, or the fence of a block of code, once the line has ended.
_OPEN = re.compile(r"#{1,2}(?:[ \t].*)?|[ \t]{0,3}(?:`+|~+)")
_FENCE = re.compile(r"[ \t]{0,3}(`{3,}|~{3,})")
_BLANK_LINES = re.compile(r"\A\s*\n")
_MARKS = "*_:. \t"
# Between the headings above a passage, outermost first.
_BELOW = " > "


class Form(Protocol):
    """What the text of one writer is made into."""

    def feed(self, event: TextDelta | Citation) -> Iterator[Said]:
        """Yield what is ready once `event` has come."""

    def end(self) -> Iterator[Said]:
        """Yield what is left once the text has ended."""


class InSections:
    """The text of a model, which writes headings."""

    def __init__(self, title: str) -> None:
        """Begin.

        Args:
            title: heads what stands below no heading.
        """
        self._title = title_of(title)
        self._rest = ""
        self._is_line_start = True
        self._fence = ""
        # White space goes along with what follows it: no section ends with any.
        self._gap = ""
        self._sections: dict[str, Section] = {}
        self._is_told = True
        self._section = ""
        self._sizes: dict[str, int] = {}
        self._early: list[Citation] = []

    def feed(self, event: TextDelta | Citation) -> Iterator[Said]:
        """Yield what is ready; a heading is once its line has ended."""
        if isinstance(event, Citation):
            self._early.append(event)
        else:
            self._rest += event.text
            yield from self._lines()
        yield from self._skeleton()
        yield from self._citations()

    def end(self) -> Iterator[Said]:
        """Yield what is left of the last line."""
        self._rest += "\n"
        yield from self._lines()
        yield from self._skeleton()
        yield from self._citations()

    def _lines(self) -> Iterator[Said]:
        while self._rest:
            line, newline, after = self._rest.partition("\n")
            if self._is_line_start:
                if not newline and self._may_be_mark(line):
                    return
                title = self._heading(line) if newline else ""
                if title:
                    self._rest = after
                    self._begin(title)
                    # One that is gone on with has a gap between its parts.
                    self._gap = "\n\n" if self._sizes.get(self._section) else ""
                    continue
                self._turn(line)
            self._rest, self._is_line_start = after, bool(newline)
            yield from self._say(line + newline)

    def _may_be_mark(self, line: str) -> bool:
        """Return whether a line that has not ended may become a heading or a fence."""
        if self._fence:
            return not line.strip().strip(self._fence[0])
        return len(line) <= _MOST_TITLE_CHARS and bool(_OPEN.fullmatch(line))

    def _heading(self, line: str) -> str:
        """Return the title of a line that begins a section; empty if it does not."""
        if self._fence or len(line) > _MOST_TITLE_CHARS:
            return ""
        found = _HEADING.fullmatch(line)
        if found is None:
            return ""
        title = found[1].strip()
        if not title.strip("#"):
            return ""
        is_known = _key(title) in self._sections
        return title if is_known or len(self._sections) < _MOST_SECTIONS else ""

    def _turn(self, line: str) -> None:
        """Take in a line that may begin or end a block of code."""
        if not self._fence:
            fence = _FENCE.match(line)
            self._fence = fence[1] if fence else ""
        elif len(line.strip()) >= len(self._fence) and not line.strip().strip(self._fence[0]):
            self._fence = ""

    def _begin(self, title: str) -> None:
        section = self._sections.get(_key(title))
        if section is None:
            section = Section(f"s{len(self._sections) + 1}", title)
            self._sections[_key(title)] = section
            self._is_told = False
        self._section = section.section_id

    def _say(self, text: str) -> Iterator[Said]:
        if not self._section and text.strip():
            self._begin(self._title)
        text = self._gap + text
        said = text.rstrip()
        self._gap = text[len(said) :]
        if not said:
            return
        size = self._sizes.get(self._section, 0)
        said = said if size else _BLANK_LINES.sub("", said)
        self._sizes[self._section] = size + len(said)
        yield from self._skeleton()
        yield SectionText(self._section, said)

    def _skeleton(self) -> Iterator[Said]:
        if not self._is_told:
            self._is_told = True
            yield Outline(tuple(self._sections.values()))

    def _citations(self) -> Iterator[Said]:
        """Place citations behind what has been written; until there is a section, they wait."""
        if self._early and self._section:
            at = self._sizes.get(self._section, 0)
            for each in self._early:
                yield replace(each, answer_offset=at, section_id=self._section)
            self._early = []


class Excerpts:
    """Sentences that were taken from passages: their headings are there already."""

    def __init__(self, title: str, passages: Sequence[Passage]) -> None:
        """Begin.

        Args:
            title: heads what is from a passage without a heading or title.
            passages: what citations count.
        """
        self._title = title_of(title)
        self._passages = passages
        self._text = ""
        self._parts: dict[str, list[tuple[str, Citation | None]]] = {}

    def feed(self, event: TextDelta | Citation) -> Iterator[Said]:
        """Keep what comes: all of it takes milliseconds, and then the skeleton is whole."""
        if isinstance(event, TextDelta):
            self._text += event.text
        else:
            self._add(self._heading(event.source_index), event)
        return iter(())

    def end(self) -> Iterator[Said]:
        """Yield the headings, and below each the sentences from there."""
        self._add(self._title, None)
        sections = [Section(f"s{number}", each) for number, each in enumerate(self._parts, 1)]
        if sections:
            yield Outline(tuple(sections))
        for section in sections:
            at = 0
            for said, citation in self._parts[section.title]:
                text = said if at else said.lstrip()
                at += len(text)
                yield SectionText(section.section_id, text)
                if citation is not None:
                    yield replace(citation, answer_offset=at, section_id=section.section_id)

    def _add(self, title: str, citation: Citation | None) -> None:
        text, self._text = self._text, ""
        if text.strip():
            self._parts.setdefault(title, []).append((text, citation))

    def _heading(self, index: int) -> str:
        passage = self._passages[index] if index < len(self._passages) else None
        headings = (passage.heading or passage.title) if passage else ""
        return title_of(headings.rpartition(_BELOW)[2]) or self._title


def title_of(text: str) -> str:
    """Return a text as one line that is short enough for a heading."""
    line = " ".join(text.split())
    return line if len(line) <= _MOST_TITLE_CHARS else f"{line[: _MOST_TITLE_CHARS - 1]}…"


def _key(title: str) -> str:
    """Return what makes two headings the same."""
    return title.strip(_MARKS).casefold()
