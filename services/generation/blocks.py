"""Text cut into blocks: paragraphs, list items, table rows, code; plain text and Markdown alike."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

# Quantifiers are possessive where two could share a run of blanks: passages may be anything, and
# trying every way to share one takes time that grows with its square.
_FENCE = re.compile(r"\s*+(?:>\s?)*+(`{3,}+|~{3,}+)")
_FENCE_LINE = re.compile(r"^[ \t]*+(?:`{3,}+|~{3,}+)[ \t]*+(?P<language>\S*+)", re.MULTILINE)
_HEADING = re.compile(r"\s{0,3}#{1,6}\s")
_RULE = re.compile(r"\s*+([=\-~^\"'`*+#_])\1{2,}+\s*+$")
_BULLET = re.compile(r"\s*+(?:[-*+\u2022]|\d{1,3}[.)])\s++")
_QUOTE_MARK = re.compile(r"\s*+(?:>\s?)++")
_PROMPT = re.compile(r"\s*+>>>\s")
# Lines that say nothing: badges, table rules, tags, directives, link definitions, blanks.
_FURNITURE = re.compile(
    r"""\s*+(?:
        (?:\[?!\[[^\]]*+\]\([^)]*+\)(?:\]\([^)]*+\))?\s*+)++
      | \|?\s*+:?-{2,}+[\s:|-]*+
      | <[^>]*+>\s*+
      | (?:\.\.|!!!|:::).*+
      | \[[^\]]++\]:\s*+\S++\s*+
    )?+$""",
    re.VERBOSE,
)
_CODE_INDENT = 4


@dataclass(frozen=True, slots=True)
class Block:
    """A stretch of a text that is one thought, or one piece of code.

    Attributes:
        start: its first character.
        end: one past its last character.
        heading: the heading above it within the text; may be empty.
        is_code: True for code, fences included.
    """

    start: int
    end: int
    heading: str = ""
    is_code: bool = False


def blocks(text: str) -> Iterator[Block]:
    """Yield the blocks of a text in order; headings, rules and badges belong to none."""
    reader = _Reader(text)
    while (line := reader.take()) is not None:
        yield from reader.read(*line)
    yield from reader.close()


class _Reader:
    """Reads a text line by line and remembers the paragraph and the heading it is in."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._next = _after_cut_code(text)
        self._heading = ""
        self._paragraph: list[tuple[int, int]] = []
        self._announces_code = False

    def take(self) -> tuple[int, int] | None:
        """Return where the next line starts and ends, without its newline; None at the end."""
        if self._next >= len(self._text):
            return None
        start = self._next
        newline = self._text.find("\n", start)
        end = len(self._text) if newline < 0 else newline
        self._next = end + 1
        return start, end

    def close(self) -> Iterator[Block]:
        """Yield the paragraph gathered so far, if there is one."""
        if self._paragraph:
            yield Block(self._paragraph[0][0], self._paragraph[-1][1], self._heading)
            self._paragraph.clear()

    def read(self, start: int, end: int) -> Iterator[Block]:
        """Yield the blocks that a line completes."""
        content = self._text[start:end]
        is_example = self._is_example(content)
        self._announces_code = not content.strip() and self._is_announced()
        if _FENCE.match(content) or _PROMPT.match(content) or is_example:
            yield from self.close()
            yield from self._code(start, end)
        elif _RULE.match(content):
            # Under a single line it makes that line a heading.
            if len(self._paragraph) == 1:
                self._heading = self._text[slice(*self._paragraph.pop())].strip()
            yield from self.close()
        elif _HEADING.match(content):
            yield from self.close()
            self._heading = content.strip("# \t")
        elif _FURNITURE.match(content):
            yield from self.close()
        elif content.lstrip().startswith("|"):
            yield from self.close()
            yield from self._row(start, content)
        else:
            if _BULLET.match(content):
                yield from self.close()
            skipped = 0 if self._paragraph else _mark_length(content)
            self._paragraph.append((start + skipped, end))

    def _row(self, start: int, content: str) -> Iterator[Block]:
        """Yield the cells of a table's row as one block."""
        inner = content.lstrip("| \t")
        begin = start + len(content) - len(inner)
        if inner := inner.rstrip("| \t\r"):
            yield Block(begin, begin + len(inner), self._heading)

    def _code(self, start: int, end: int) -> Iterator[Block]:
        """Yield the code that begins with a line, once its end is found."""
        content = self._text[start:end]
        if fence := _FENCE.match(content):
            closed = self._to_fence(fence.group(1))
        else:
            closed = self._to_blank(end, 0 if _PROMPT.match(content) else _CODE_INDENT)
        # Code whose end was cut off is worth nothing.
        if closed is not None:
            yield Block(start + _indent(content), closed, self._heading, is_code=True)

    def _is_announced(self) -> bool:
        """Tell whether the text so far, blank lines aside, ends with a colon."""
        if not self._paragraph:
            return self._announces_code
        return self._text[slice(*self._paragraph[-1])].rstrip().endswith(":")

    def _is_example(self, content: str) -> bool:
        # Docstrings are indented too; only after a colon and a blank line is it code.
        indented = _indent(content) >= _CODE_INDENT and bool(content.strip())
        return self._announces_code and indented and not _BULLET.match(content)

    def _to_fence(self, fence: str) -> int | None:
        while (line := self.take()) is not None:
            closing = _FENCE.match(self._text[slice(*line)])
            if closing and closing.group(1).startswith(fence):
                return line[1]
        return None

    def _to_blank(self, end: int, least_indent: int) -> int:
        while (line := self.take()) is not None:
            content = self._text[slice(*line)]
            if not content.strip() or _indent(content) < least_indent:
                self._next = line[0]
                break
            end = line[1]
        return end


def _after_cut_code(text: str) -> int:
    """Return where to begin in a text that was cut out of the middle of fenced code.

    Of an odd number of fences one is left over: the first, if nothing tells its language.
    """
    fences = list(_FENCE_LINE.finditer(text))
    return fences[0].end() if len(fences) % 2 and not fences[0]["language"] else 0


def _mark_length(content: str) -> int:
    """Return how much of a block's first line is its list or quotation mark."""
    mark = _BULLET.match(content) or _QUOTE_MARK.match(content)
    return mark.end() if mark else 0


def _indent(content: str) -> int:
    return len(content) - len(content.lstrip())
