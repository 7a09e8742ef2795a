"""Markdown as sections of blocks, each with its place in the text."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from markdown_it import MarkdownIt
from markdown_it.token import Token

# The lines that markdown-it counts; `str.splitlines` knows more kinds.
_LINE_END = re.compile(r"\r\n|\r|\n")
_FRONT_MATTER = re.compile(r"\A---[ \t]*\r?\n.*?^---[ \t]*$", re.DOTALL | re.MULTILINE)
_OF_LINES = frozenset(
    {"fence", "code_block", "table_open", "bullet_list_open", "ordered_list_open"}
)
# Blocks are all that places need; inline markup is read in headings alone.
_BLOCKS = MarkdownIt("commonmark").enable("table").disable("inline")
_INLINE = MarkdownIt("commonmark")


@dataclass(frozen=True, slots=True)
class Block:
    """A paragraph, list, table or piece of code: `text[start:end]`.

    Attributes:
        start: first character.
        end: one past the last.
        lines: True if it is cut between lines rather than between sentences.
    """

    start: int
    end: int
    lines: bool = False


@dataclass(frozen=True, slots=True)
class Section:
    """What stands under one heading, up to the next."""

    heading: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True, slots=True)
class _Heading:
    level: int
    title: str
    block: Block


def read_markdown(text: str) -> Iterator[Section]:
    """Yield the sections of a CommonMark text; headings are named, not part of a block.

    A heading with nothing under it, not even another heading, is a block of the section
    above, so that its words are found.
    """
    path: list[_Heading] = []
    blocks: list[Block] = []
    for item in _items(text):
        if isinstance(item, Block):
            blocks.append(item)
            continue
        yield from _section(path, blocks, item.level)
        path = [each for each in path if each.level < item.level] + [item]
        blocks = []
    yield from _section(path, blocks, 0)


def _section(path: Sequence[_Heading], blocks: list[Block], next_level: int) -> Iterator[Section]:
    if not blocks and path and next_level <= path[-1].level:
        path, blocks = path[:-1], [path[-1].block]
    if blocks:
        yield Section(" > ".join(each.title for each in path), tuple(blocks))


def _items(text: str) -> Iterator[_Heading | Block]:
    starts = [0, *(match.end() for match in _LINE_END.finditer(text)), len(text)]
    front = _FRONT_MATTER.match(text)
    if front:
        yield Block(0, front.end(), lines=True)
        # As many lines as before, so that the places of the rest stay right.
        text = "\n" * len(_LINE_END.findall(front[0])) + text[front.end() :]
    tokens = _BLOCKS.parse(text)
    for number, token in enumerate(tokens):
        if token.level or token.map is None or token.type == "hr":
            continue
        first, end = token.map
        block = Block(starts[first], starts[min(end, len(starts) - 1)], token.type in _OF_LINES)
        if token.type == "heading_open":
            title = _plain(tokens[number + 1].content)
            yield _Heading(int(token.tag[1]), title, replace(block, lines=False))
        else:
            yield block


def _plain(inline: str) -> str:
    """Return a heading without its markup, on one line."""
    return " ".join(" ".join(_words(_INLINE.parseInline(inline))).split())


def _words(tokens: Sequence[Token]) -> Iterator[str]:
    for token in tokens:
        if token.children:
            yield "".join(_words(token.children))
        elif token.type in ("softbreak", "hardbreak"):
            yield " "
        elif token.type in ("text", "code_inline"):
            yield token.content
