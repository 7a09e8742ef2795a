"""A text is cut where a reader would, whatever pieces it comes in, and nothing of it is lost."""

from __future__ import annotations

import time
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.orchestrator.blocks import MOST_CHARS, Blocks

CODE = '```python\nx = "One. Two."\n\n# no heading\ny = 1\n```\n'
# Words, marks and scripts of which texts are made that are hard to cut.
PARTS = st.sampled_from(
    [
        *("Hello", "there", "Dr.", "e.g.", "U.S.", "3.14", "No.", "7", "12.", "Oktober", "I."),
        *(". ", "! ", "? ", '." ', "...", "… ", ".[1] ", "\n", "\n\n", "  ", "\r\n", ", ", ": "),
        *("- item", "* point", "1. first", "| a | b |", "# Title", "## ", "---", "> quote"),
        *("```", "````", "~~~", "`code`", "**bold.** ", "https://a.example/b?c=d.e "),
        *("これは文です。", "「はい。」", "次！", "你好。", "यह वाक्य है। ", "هل هذا؟ "),  # noqa: RUF001
        *("é", "e\u0301", "👩\u200d👩\u200d👧", "🇩🇪", "👍🏽", "한국어", "क्षि"),
    ]
)
texts = st.lists(PARTS, max_size=40).map("".join) | st.text(max_size=200)
sizes = st.lists(st.integers(1, 9), max_size=200)


def cut(text: str, *sizes: int) -> list[str]:
    """Return the blocks of a text that comes in pieces of these sizes, then all of the rest."""
    blocks, found, at = Blocks(), [], 0
    for size in sizes:
        found += blocks.feed(text[at : at + size])
        at += size
    return [*found, *blocks.feed(text[at:]), *blocks.end()]


@given(text=texts, sizes=sizes)
def test_blocks_depend_on_the_text_and_not_on_its_pieces(text: str, sizes: list[int]) -> None:
    whole = cut(text)
    assert "".join(whole) == text
    assert all(whole)
    assert cut(text, *sizes) == whole


@given(text=texts, count=st.integers(2, 60), sizes=sizes)
def test_no_block_is_longer_than_the_bound(text: str, count: int, sizes: list[int]) -> None:
    text = text * count
    whole = cut(text)
    assert "".join(whole) == text
    assert max(map(len, whole), default=0) <= MOST_CHARS
    assert cut(text, *sizes) == whole


@given(text=texts, sizes=sizes)
def test_what_is_sent_for_being_overdue_is_lost_to_nobody(text: str, sizes: list[int]) -> None:
    blocks, found, at = Blocks(), [], 0
    for size in sizes:
        found += blocks.feed(text[at : at + size])
        found.append(blocks.overdue())
        at += size
    found += [*blocks.feed(text[at:]), *blocks.end()]
    assert "".join(found) == text


@given(text=texts, size=st.integers(1, 60))
def test_nothing_overdue_ends_within_a_character(text: str, size: int) -> None:
    blocks = Blocks()
    blocks.feed(text[:size])
    before = blocks.held
    said = blocks.overdue()
    rest = before[len(said) :]
    if said and rest:
        assert not unicodedata.category(rest[0]).startswith("M")
        assert "\u200d" not in (said[-1], rest[0])
        assert not "\U0001f3fb" <= rest[0] <= "\U0001f3ff"


@pytest.mark.parametrize(
    "text",
    [
        "Dr. Smith paid 3.14 dollars to the U.S. Treasury, e.g. Monday's share of No. 5.",
        "Ask at https://hasten.example/a.b?c=d.e or by mail to a.b@c.example.",
        "Am 3. Oktober 1990 war es z.B. Mittwoch.",
        '"Really?" he said, and "Yes!" she answered.',
        "It waits... and goes on.",
        "- an item. With two sentences",
        "- an item\n  that goes on here",
        "| a row. | Of a table. |",
        "### A heading. With a full stop",
        CODE,
        "~~~\n- a list\n\n| and a table |\n~~~",
        "a line\nthat is wrapped",
    ],
)
def test_what_belongs_together_is_one_block(text: str) -> None:
    assert cut(text) == [text]
    assert cut(text, *[1] * len(text)) == [text]


@pytest.mark.parametrize(
    "blocks",
    [
        ["One. ", "Two! ", "Three? ", "Four."],
        ["It is 42. ", "So am I. ", "Plan it."],
        ["He said “Go.” ", "**They went.** ", "Done.[1] ", "Good."],
        ["これは文です。", "次の文です！", "終わり"],  # noqa: RUF001
        ["यह एक वाक्य है। ", "यह दूसरा है।"],
        ["And so:\n", "- one\n", "- two\n", "  - below two\n", "3. three\n\n", "After it."],
        ["| a | b |\n", "|---|---|\n", "| 1 | 2 |\n\n", "Below."],
        ["Look:\n\n", f"{CODE}\n", "So. ", "It is."],
        ["# Title\n\n", "A paragraph\n\n", "Another."],
    ],
)
def test_what_can_be_read_alone_is_a_block_of_its_own(blocks: list[str]) -> None:
    text = "".join(blocks)
    assert cut(text) == blocks
    assert cut(text, *[1] * len(text)) == blocks


def test_a_sentence_is_there_with_the_first_letter_of_the_next() -> None:
    blocks = Blocks()
    assert blocks.feed("The sky is blue. ") == []
    assert blocks.feed("B") == ["The sky is blue. "]


def test_a_block_without_an_end_is_cut_between_lines_or_words() -> None:
    lines = "```\n" + "value = 1\n" * 500
    assert all(block.endswith("\n") for block in cut(lines))
    words = "word " * 1_000
    assert all(block.endswith(" ") for block in cut(words))


def test_of_an_overdue_text_a_word_that_may_go_on_stays() -> None:
    blocks = Blocks()
    blocks.feed("It is said to be unbeliev")
    assert blocks.overdue() == "It is said to be "
    assert blocks.overdue() == "unbelie"
    blocks = Blocks()
    blocks.feed("これは長い")
    assert blocks.overdue() == "これは長"


@pytest.mark.parametrize(
    "row", [".", "!", ")", '."', "[1]", "* ", "\n", "\u200d", "a.b. ", "e.g. "]
)
def test_a_row_of_marks_takes_no_time(row: str) -> None:
    blocks, count = Blocks(), 0
    began_s = time.process_time()
    for _ in range(4_000 // len(row)):
        count += len(blocks.feed(row))
    assert time.process_time() - began_s < 5.0
